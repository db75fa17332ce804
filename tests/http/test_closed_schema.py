"""What a server that keeps its schema to itself says in errors."""

from __future__ import annotations

from typing import Any

import pytest

from community_gql.identity.development import DevelopmentIssuer
from tests.support import factories as make
from tests.support.client import serving

# As many lists within each other as are allowed.
DEEP = "{ users { nodes { stories { nodes { author { stories { nodes { %s } } } } } } } }"
# Each beside one that differs in a name: of something there is, and of nothing.
PAIRS = [
    ("{ users }", "{ userz }"),
    ("{ users { nope } }", "{ userz { nope } }"),
    ("{ users { nodes { id { x } } } }", "{ users { nodes { ix { x } } } }"),
    ("{ users(first: {}) { totalCount } }", "{ users(fist: {}) { totalCount } }"),
    ("{ user { id } }", "{ usr { id } }"),
    (DEEP % "tags { x }", DEEP % "tagz { x }"),
    ("{ stories(filter: {search: 5}) { id } }", "{ stories(filter: {seerch: 5}) { id } }"),
    ("{ node(id: 1) { ... on User { nope } } }", "{ node(id: 1) { ... on Usher { nope } } }"),
]  # fmt: skip


@pytest.mark.parametrize("policy", ["signed-in", "nobody"])
async def test_errors_confirm_no_names(
    database_url: str, issuer: DevelopmentIssuer, policy: str
) -> None:
    async with serving(database_url, issuer, introspection=policy) as api:
        too_deep = await api(DEEP % "tags { id }")
        assert "4 lists" in too_deep.errors[0]["message"]  # it is valid: there is nothing to hide
        for pair in PAIRS:
            there, not_there = [await api(text) for text in pair]
            assert there.errors == not_there.errors
            assert there.codes == ["GRAPHQL_VALIDATION_FAILED"]
            assert "locations" not in there.errors[0]


async def test_errors_of_a_document_by_itself_are_told(
    database_url: str, issuer: DevelopmentIssuer
) -> None:
    async with serving(database_url, issuer, introspection="nobody") as api:
        answer = await api("query($n: Int) { users { nodes { ...Missing } } }")

    said = " ".join(error["message"] for error in answer.errors)
    assert "Missing" in said
    assert "$n" in said


async def test_errors_of_variables_confirm_no_names(
    database_url: str, issuer: DevelopmentIssuer
) -> None:
    query = "query($f: StoryFilter, $n: Int) { stories(first: $n, filter: $f) { totalCount } }"
    async with serving(database_url, issuer, introspection="signed-in") as api:
        answers = [await api(query, f={name: {}}) for name in ("search", "seerch", "authr")]
        plain = await api(query, n="many")

    assert all(answer.errors == answers[0].errors for answer in answers)
    assert answers[0].codes == ["BAD_REQUEST"]
    assert "$f" in answers[0].errors[0]["message"]
    assert "many" in plain.errors[0]["message"]  # of a plain number there is nothing to hide


async def test_nobody_is_told_to_sign_in_where_that_does_not_help(
    database_url: str, issuer: DevelopmentIssuer, db: Any
) -> None:
    anna = await make.person(db, "Anna")
    told = {}
    for policy in ("signed-in", "nobody"):
        async with serving(database_url, issuer, introspection=policy) as api:
            for viewer in (None, anna):
                for query in ("{ __schema { queryType { name } } }", "{ nope }"):
                    told[policy, viewer is None, query] = (await api(query, viewer)).response.text
    for (policy, signed_out, _), text in told.items():
        assert ("Sign in" in text) == (policy == "signed-in" and signed_out)
