"""Every way to be refused after the text was read is charged, and so is what an answer took."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from community_gql.http import rate_limit
from community_gql.http.exchange import (
    POINTS_PER_MILLISECOND,
    POINTS_PER_TOKEN,
    REFUSED_COST,
)
from community_gql.identity.development import DevelopmentIssuer
from tests.support.client import Answer, serving
from tests.support.writing import waiting

POINTS = 600_000
FOREIGN = "VXNlcjox"
REFUSED: dict[str, tuple[str, dict[str, Any], int]] = {
    "syntax": ("POST", {"query": "{ users"}, 400),
    "tokens": ("POST", {"query": "{ %s }" % ("id " * 6000)}, 400),
    "shape": ("POST", {"query": "{ users { %s } }" % ("totalCount " * 2100)}, 422),
    "validation": ("POST", {"query": "{ nope }"}, 422),
    "two operations": ("POST", {"query": "query A { __typename } query B { __typename }"}, 422),
    "unknown operation": (
        "POST",
        {"query": "query A { __typename }", "operationName": "B"},
        422,
    ),
    "variables": (
        "POST",
        {"query": "query($n: Int!) { users(first: $n) { totalCount } }"},
        422,
    ),
    "null for a default": (
        "POST",
        {
            "query": "query($n: Int = 1) { users(first: $n) { totalCount } }",
            "variables": {"n": "x"},
        },
        422,
    ),
    "page size": ("POST", {"query": "{ users(first: 500) { totalCount } }"}, 422),
    "page size by variable": (
        "POST",
        {
            "query": "query($n: Int) { users(first: $n) { totalCount } }",
            "variables": {"n": 500},
        },
        422,
    ),
    "foreign cursor": ("POST", {"query": '{ users(after: "%s") { totalCount } }' % FOREIGN}, 422),
    "cost": (
        "POST",
        {"query": "{ users(first: 100) { nodes { stories(first: 100) { nodes { id } } } } }"},
        422,
    ),
    "introspection": ("POST", {"query": "{ __schema { queryType { name } } }"}, 422),
    "mutation by GET": (
        "GET",
        {"query": 'mutation { deleteStory(input: {id: "x"}) { userErrors { code } } }'},
        405,
    ),
}


@pytest.fixture(autouse=True)
def _no_refill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "MINUTE", 10.0**9)


def spent(answer: Answer) -> int:
    """What the request took from a full budget."""
    limit, left = (answer.response.headers[f"ratelimit-{n}"] for n in ("limit", "remaining"))
    return int(limit) - int(left)


@pytest.mark.parametrize("way", REFUSED)
async def test_a_refusal_is_charged_and_says_what_is_left(
    way: str, database_url: str, issuer: DevelopmentIssuer
) -> None:
    method, members, status = REFUSED[way]
    options = {"cost_per_minute": POINTS, "cost_limit": 5000, "introspection": "nobody"}
    async with serving(database_url, issuer, **options) as api:
        if method == "GET":
            answer = await api.send("GET", params=members)
        else:
            answer = await api.send("POST", content=json.dumps(members), headers=JSON)

    assert answer.status == status
    assert answer.statements == []
    assert spent(answer) in range(REFUSED_COST, REFUSED_COST + 5100 * POINTS_PER_TOKEN)
    assert "ratelimit-reset" in answer.response.headers


JSON = {"Content-Type": "application/json"}


async def test_a_refusal_that_the_budget_does_not_hold_is_429(
    database_url: str, issuer: DevelopmentIssuer
) -> None:
    async with serving(database_url, issuer, cost_per_minute=REFUSED_COST - 1) as api:
        answer = await api("{ nope }")

    assert (answer.status, answer.codes) == (429, ["RATE_LIMITED"])


async def test_a_document_first_seen_is_charged_by_its_tokens(
    database_url: str, issuer: DevelopmentIssuer
) -> None:
    # Neither asks the database, whose time would be charged too.
    short, long = "{ __typename }", "{ viewer { user { %s} } }" % ("id " * 100)
    async with serving(database_url, issuer, cost_per_minute=POINTS, pushdown="off") as api:
        seen = [spent(await api(text)) for text in (short, long)]
        again = spent(await api(long))

    assert (seen[1] - seen[0]) - (again - seen[1]) >= 90 * POINTS_PER_TOKEN


async def test_a_long_text_is_charged_by_its_characters(
    database_url: str, issuer: DevelopmentIssuer
) -> None:
    charges = []
    for lines in (1, 10_000):
        texts = ["{ tag(name: %s) { id } }", "{ nope(name: %s) }", "{ tag(name: %s"]
        async with serving(database_url, issuer, cost_per_minute=POINTS, pushdown="off") as api:
            for text in texts:
                answer = await api(text % '"""%s"""' % ("a\n" * lines))
        charges.append(spent(answer))

    assert charges[1] - charges[0] >= 3 * 20_000 // 20 * POINTS_PER_TOKEN - 50


async def test_an_invalid_document_is_charged_by_its_tokens_too(
    database_url: str, issuer: DevelopmentIssuer
) -> None:
    charges = []
    for text in ("{ nope }", "{ nope %s}" % ("nope " * 1000)):
        async with serving(database_url, issuer, cost_per_minute=POINTS) as api:
            charges.append(spent(await api(text)))

    assert charges[1] - charges[0] in range(900 * POINTS_PER_TOKEN, 1500 * POINTS_PER_TOKEN)


async def test_nothing_is_read_for_someone_whose_budget_is_spent(
    database_url: str, issuer: DevelopmentIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(number: int) -> str:
        return "{ a%d: users { nope %s} }" % (number, "totalCount " * 1000)

    async with serving(database_url, issuer, cost_per_minute=1500) as api:
        first = await api(read(1))
        monkeypatch.setattr("community_gql.operations.syntax.parse", None)
        second = await api(read(2))

    assert first.status != 429
    assert second.status == 429


@pytest.mark.parametrize("pushdown", ["off", "always"])
async def test_milliseconds_in_the_database_are_charged_afterwards(
    database_url: str, issuer: DevelopmentIssuer, db: Any, pushdown: str
) -> None:
    query = "{ users(first: 1) { nodes { id } } }"
    options = {"cost_per_minute": POINTS, "pushdown": pushdown}
    async with serving(database_url, issuer, **options) as api:
        for _ in range(3):
            before = await api(query)
        async with db.transaction():
            await db.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
            asked = asyncio.create_task(api(query))
            await waiting(db)
            await asyncio.sleep(0.4)
        slow = await asked

    assert slow.status == 200
    assert slow.line.database_milliseconds > 300  # type: ignore[attr-defined]
    assert spent(slow) - spent(before) > 290 * POINTS_PER_MILLISECOND
