"""What is certainly valid, graphql-core finds nothing wrong with."""

from __future__ import annotations

import os
import random
from unittest.mock import patch

import pytest
from graphql import GraphQLError, parse, validate
from graphql.validation.rules import overlapping_fields_can_be_merged as overlapping

from community_gql.operations import syntax
from community_gql.operations.validity import is_certainly_valid
from community_gql.schema.executable import core
from tests.operations.texts import mutated, random_documents

CASES = int(os.environ.get("FUZZ_CASES", "3000"))
SEED = os.environ.get("FUZZ_SEED", "community")

CERTAIN = [
    "{ __typename viewer { user { ...P } } } fragment P on User { id profile { displayName } }",
    "query A { __typename } query B($n: Int = 3) { users(first: $n) { totalCount } }",
    "query ($f: Int, $s: String) { users(first: $f, filter: {search: $s}) { nodes { id } } }",
    'query ($t: String!) { stories(filter: {tagsAny: [$t, "a"]}) { totalCount } }',
    "query ($i: ID!, $x: Boolean!) { node(id: $i) { id ... on User @include(if: $x) { id } } }",
    "{ users { totalCount nodes { id } } users { nodes { createdAt } } }",
    '{ user(id: "a") { id } other: user(id: 7) { id } }',
    "mutation ($t: String!) { createStory(input: {title: $t, content: $t}) { story { id } } }",
]
NOT_CERTAIN = [
    "{ nope }",
    "{ users }",
    "{ users { totalCount { a } } }",
    "{ users(nope: 1) { totalCount } }",
    "{ users(first: 1, first: 1) { totalCount } }",
    '{ users(first: "1") { totalCount } }',
    "{ users(first: 99999999999) { totalCount } }",
    "{ users(orderBy: NOPE) { totalCount } }",
    "{ users(filter: {nope: 1}) { totalCount } }",
    '{ users(filter: {search: "a", search: "a"}) { totalCount } }',
    "{ user { id } }",
    "{ user(id: null) { id } }",
    "{ user(id: $i) { id } }",
    "query ($i: ID) { user(id: $i) { id } }",
    "query ($i: Int!) { user(id: $i) { id } }",
    "query ($i: User!) { user(id: $i) { id } }",
    "query ($i: Nope!) { user(id: $i) { id } }",
    "query ($i: ID!, $i: ID!) { user(id: $i) { id } }",
    "query ($i: ID!) { __typename }",
    'query ($n: Int = "a") { users(first: $n) { totalCount } }',
    "{ ...F }",
    "{ __typename } fragment F on User { id }",
    "{ ...F } fragment F on Query { ...F }",
    "{ ...F } fragment F on Query { ...G } fragment G on Query { ...F }",
    "{ ...F } fragment F on Nope { id }",
    "{ ...F } fragment F on ID { id }",
    "{ ...F } fragment F on User { id }",
    "{ ...F } fragment F on Query { a: __typename } fragment F on Query { a: __typename }",
    "{ ... on User { id } }",
    "{ users { totalCount } users(first: 1) { totalCount } }",
    "{ a: users { totalCount } a: stories { totalCount } }",
    "{ users { a: totalCount } users { a: __typename } }",
    "{ __typename @nope }",
    "{ __typename @skip }",
    "{ __typename @skip(if: true) @skip(if: true) }",
    "{ __typename @skip(if: 1) }",
    "query @skip(if: true) { __typename }",
    "query A { __typename } query A { __typename }",
    "{ __typename } query A { __typename }",
    "{ viewer { } }",
]


def compare(text: str) -> tuple[bool, bool]:
    """Whether a text is certainly valid, and whether graphql-core has nothing to say about it."""
    ours = syntax.parse(text, max_tokens=5000, max_comments=500)
    certain = ours is not None and is_certainly_valid(ours)
    try:
        errors = validate(core, parse(text))
    except GraphQLError as error:
        errors = [error]
    assert not (certain and errors), f"{text}\n{errors}"
    return certain, not errors


@pytest.mark.parametrize("text", CERTAIN)
def test_usual_documents_are_certainly_valid(text: str) -> None:
    assert compare(text) == (True, True)


@pytest.mark.parametrize("text", NOT_CERTAIN)
def test_wrong_documents_are_left_to_graphql_core(text: str) -> None:
    assert not compare(text)[0]


def test_graphql_core_finds_nothing_wrong_with_what_is_certainly_valid() -> None:
    chance = random.Random(f"{SEED}-validity")
    counts = dict.fromkeys([(True, True), (False, True), (False, False)], 0)
    with patch.object(overlapping, "MAX_COMPLEXITY_BUDGET", 10**9):
        for text in random_documents(chance, CASES // 15):
            found = compare(text)
            counts[found] += 1
            assert found != (False, False)
        certain, left = counts[True, True], counts[False, True]
        for text in random_documents(chance, CASES // 15):
            counts[compare(mutated(text, chance))] += 1

    assert certain > 4 * left
    assert counts[True, True] - certain > CASES // 200
    assert counts[False, False] > CASES // 50
