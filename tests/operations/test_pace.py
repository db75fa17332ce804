"""Long work of the event loop leaves room: for others, and by being made once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import asyncpg

from community_gql.operations.live import TOGETHER
from community_gql.operations.pace import Pace
from tests.support import factories as make
from tests.support.live import Follower, process

FOLLOWERS = 600
SHARED = "subscription { stories { kind story { title } } }"
VIEWERS = """subscription {
  stories { kind story { author { viewerFriendship { status } } } }
}"""


async def test_others_have_their_turn_while_many_are_told(
    database_url: str, db: asyncpg.Connection
) -> None:
    """Between two turns of somebody else no more than so many are told, whatever it takes."""
    people = [await make.person(db, f"Person {number}") for number in range(3)]
    for text in (SHARED, VIEWERS):
        async with process(database_url) as here:
            begun = [
                await here.follow(text, people[number % len(people)]) for number in range(FOLLOWERS)
            ]
            for follower in begun:
                await follower.count(1)
            steps = await _steps(begun, make.story(db, people[0]))
            assert sum(steps) == FOLLOWERS
            assert max(steps) <= TOGETHER


async def _steps(followers: list[Follower], writing: Awaitable[Any]) -> list[int]:
    """How many were told between two turns of ours, while something is told to all."""
    before = told = sum(len(follower.raw) for follower in followers)
    steps: list[int] = []
    await writing
    async with asyncio.timeout(30):
        while told < before + len(followers):
            await asyncio.sleep(0)
            now = sum(len(follower.raw) for follower in followers)
            if now > told:
                steps.append(now - told)
            told = now
    return steps


async def test_pieces_are_everything_in_order() -> None:
    pace = Pace()
    found = [list(piece) async for piece in pace.pieces(list(range(10)), 4)]
    assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    nothing: list[int] = []
    assert [piece async for piece in pace.pieces(nothing, 4)] == []


async def test_who_comes_while_a_statement_is_made_waits_for_it(
    database_url: str, db: asyncpg.Connection
) -> None:
    """After a restart thousands come at once: the loaders would answer them one by one."""
    await make.person(db)
    async with process(database_url, pushdown="on") as here:
        first = await here.follow(SHARED)
        await asyncio.sleep(0)  # it is being made now
        prepared = first.subscription.form.prepared  # type: ignore[union-attr]
        assert here.operations.pushdown.is_making(prepared)
        assert here.operations.statement(prepared) is None
        await here.follow(SHARED)
        assert here.operations.statement(prepared) is not None
