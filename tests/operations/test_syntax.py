"""Our parser makes of a text what graphql-core's does, or leaves it to that one."""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from graphql import GraphQLError, parse
from graphql.utilities import ast_to_dict

from community_gql.operations import syntax
from tests.operations.texts import mutated, random_documents

CASES = int(os.environ.get("FUZZ_CASES", "3000"))
SEED = os.environ.get("FUZZ_SEED", "community")

READ = [
    "{ a }",
    "query Q($a: [Int!]! = [1, 2], $b: In = {c: {d: null}}) { a(b: $b, c: [$a]) }",
    'mutation M { a(b: "text", c: -1.5e+3, d: ENUM, e: true, f: null, g: -0) { c } }',
    '{ a(b: "esc\\"aped \\u00e9 \\u{1F600} \\\\", c: """block "" \n  lines \\""" """) }',
    '{ a(b: "", c: """""", d: ["a""b"]) }',
    "subscription { a ...F ... on B @c(d: 1) @e { f } ... { g } ... @skip(if: $x) { h } }",
    "fragment F on on { on: query fragment: type }",
    '\ufeff{ a, # comment with " and { \u00e9\r\n b\t}#last',
    "{ a {} }",
]
LEFT = [
    "",
    "   ",
    "#only",
    "{",
    "{ a } }",
    "{ a(b:) }",
    "{ a() }",
    "{ a(b: 01) }",
    "{ a(b: 1.) }",
    "{ a(b: 1a) }",
    "{ a(b: .5) }",
    '{ a(b: "x) }',
    '{ a(b: "x\n") }',
    '{ a(b: "\\x") }',
    '{ a(b: """x) }',
    "{ a: }",
    "{ .. }",
    "{ ... on }",
    "{ a & b }",
    "{ \u00e9 }",
    "{ a } # \ud800",
    'query ($a: A = "\ud800") { a }',
    "query ($a: A = $b) { a }",
    "query ($a: [A B]) { a }",
    "query () { a }",
    "fragment on on A { a }",
    "fragment F A { a }",
    "type A { b: C }",
    '"described" query { a }',
    "extend type A { b: C }",
    "{" * 300 + "}" * 300,
]


def tree(document: Any) -> Any:
    """The document as plain values, without the places of names."""

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            is_name = value.get("kind") == "name"
            return {k: without(v) for k, v in value.items() if not (is_name and k == "loc")}
        return [without(item) for item in value] if isinstance(value, list | tuple) else value

    return without(ast_to_dict(document, locations=True)), document.token_count


def read(text: str) -> bool:
    """Whether our parser reads the text, which must then be as graphql-core reads it."""
    ours = syntax.parse(text, max_tokens=5000, max_comments=500)
    if ours is not None:
        theirs = parse(text, max_lexical_tokens=5000, max_comments=500)
        assert tree(ours) == tree(theirs), text
    return ours is not None


@pytest.mark.parametrize("text", READ)
def test_it_reads_executable_documents(text: str) -> None:
    assert read(text)


@pytest.mark.parametrize("text", LEFT)
def test_it_leaves_the_rest_to_graphql_core(text: str) -> None:
    assert not read(text)


def test_it_keeps_to_the_limits() -> None:
    text = "{ a b } # one\n# two"
    assert syntax.parse(text, max_tokens=4, max_comments=2) is not None
    assert syntax.parse(text, max_tokens=3, max_comments=2) is None
    assert syntax.parse(text, max_tokens=4, max_comments=1) is None


def test_random_texts_are_read_alike() -> None:
    chance = random.Random(f"{SEED}-syntax")
    read_mutations = left_mutations = needless = 0
    for text in random_documents(chance, CASES // 30):
        assert read(text)
        for _ in range(3):
            spoilt = mutated(text, chance)
            if read(spoilt):
                read_mutations += 1
                continue
            left_mutations += 1
            try:
                parse(spoilt, max_lexical_tokens=5000, max_comments=500)
            except GraphQLError:
                continue
            needless += 1  # a description, or a directive where it is rare

    assert read_mutations > CASES // 60 < left_mutations > 20 * needless
