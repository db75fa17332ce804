"""The line of a document: once, with its text, and without what people may be in."""

from __future__ import annotations

from typing import Any

import pytest

from community_gql.operations.first_sight import LONGEST, shown
from tests.support.client import Client


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("query A($id: ID!) { user(id: $id) { id } }", "query A($id:ID!){user(id:$id){id}}"),
        ('{ tag(name: "secret") { id } } # secret', '{tag(name:"…"){id}}'),
        ('{ tag(name: """secret\nmore""") { id } }', '{tag(name:"…"){id}}'),
        ("{ a(first: 20, n: 4711, x: -1.5) { b } }", "{a(first:20 n:0 x:0){b}}"),
        ("{ a(n: [1, 2], first: 3) { ... on B { c } } }", "{a(n:[0 0]first:3){...on B{c}}}"),
    ],
)
def test_what_is_spelled_out_is_hidden(text: str, line: str) -> None:
    assert shown(text) == line


def test_a_long_document_is_cut() -> None:
    text = shown("{" + " field" * 2000 + "}")

    assert len(text) == LONGEST + 1
    assert text.endswith("…")


async def test_each_document_is_logged_once_under_the_hash_of_its_requests(api: Client) -> None:
    query = "query Once { __typename }"
    first, second = await api(query), await api(query)
    seen = [line for line in first.lines if line.name == "community_gql.documents"]

    assert [(vars(line)["document"], vars(line)["text"]) for line in seen] == [
        (vars(first.line)["document"], "query Once{__typename}")
    ]
    assert [line for line in second.lines if line.name == "community_gql.documents"] == []


async def test_what_is_refused_is_not_logged(api: Client) -> None:
    for query in ("{ nope }", "{"):
        answer: Any = await api(query)
        assert [line for line in answer.lines if line.name == "community_gql.documents"] == []
