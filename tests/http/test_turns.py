"""One caller after another, and the requests of one caller one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from unittest.mock import patch

import asyncpg

from community_gql.http.exchange import DEAR_COST
from community_gql.http.turns import Turns
from community_gql.identity.development import DevelopmentIssuer
from community_gql.operations.pipeline import Operations
from tests.support import factories as make
from tests.support.client import Client, serving
from tests.support.factories import Person

DEAR = "{ %s }" % " ".join(f"a{n}: stories {{ totalCount }}" for n in range(20))
WRONG = "{ stories(first: 500) { nodes { id } } }"


async def in_turn(turns: Turns, key: str, order: list[str], *, alone: bool = False) -> None:
    async with turns.of(key, alone=alone):
        order.append(f"{key} begins")
        await asyncio.sleep(0.01)
        order.append(f"{key} ends")


async def test_a_caller_has_one_turn_at_a_time() -> None:
    turns, order = Turns(), list[str]()
    async with asyncio.TaskGroup() as group:
        for key in ("many", "many", "one"):
            group.create_task(in_turn(turns, key, order))
    assert order[:2] == ["many begins", "one begins"]
    assert [each for each in order if "many" in each] == ["many begins", "many ends"] * 2
    await asyncio.sleep(0)
    assert len(turns) == 0


async def test_between_two_turns_of_a_caller_others_have_theirs() -> None:
    """Also where nothing is awaited within a turn."""
    turns, order = Turns(), list[str]()

    async def one(key: str) -> None:
        async with turns.of(key):
            order.append(key)

    async with asyncio.TaskGroup() as group:
        for key in ["many"] * 5 + ["one"]:
            group.create_task(one(key))
    assert order[:2] == ["many", "one"]


async def test_of_those_that_are_alone_there_is_one_and_callers_alternate() -> None:
    turns, order = Turns(), list[str]()
    async with asyncio.TaskGroup() as group:
        for key in ("many", "many", "one"):
            group.create_task(in_turn(turns, key, order, alone=True))
    wanted = [f"{key} {what}" for key in ("many", "one", "many") for what in ("begins", "ends")]
    assert order == wanted


async def test_who_gives_up_leaves_nothing() -> None:
    turns = Turns()
    async with turns.of("a", alone=True):
        for key in ("a", "b"):
            waiting = asyncio.ensure_future(in_turn(turns, key, [], alone=True))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
    await asyncio.sleep(0)
    assert len(turns) == 0
    async with asyncio.timeout(10):
        await in_turn(turns, "b", [], alone=True)


async def at_once(api: Client, text: str, viewers: list[Person]) -> list[int]:
    answers = await asyncio.gather(*(api(text, viewer) for viewer in viewers))
    return [answer.status for answer in answers]


async def test_the_loop_has_a_turn_between_two_refusals_of_a_caller(
    database_url: str, issuer: DevelopmentIssuer, db: asyncpg.Connection
) -> None:
    ada = await make.person(db)
    turn, found = 0, list[int]()

    async def count() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    real = Operations.prepare

    def prepare(self: Operations, *given: Any, **named: Any) -> Any:
        found.append(turn)
        return real(self, *given, **named)

    async with serving(database_url, issuer) as api:
        await api(WRONG, ada)
        counting = asyncio.ensure_future(count())
        try:
            with patch.object(Operations, "prepare", prepare):
                assert await at_once(api, WRONG, [ada] * 10) == [422] * 10
        finally:
            counting.cancel()
    assert len(set(found)) == 10


async def test_dear_queries_of_a_caller_run_one_by_one(
    database_url: str, issuer: DevelopmentIssuer, db: asyncpg.Connection
) -> None:
    ada, ben = await make.person(db), await make.person(db)
    running: list[object] = []
    most: dict[bool, int] = {}
    real: Callable[..., Awaitable[Any]] = Operations.execute

    async def execute(self: Operations, prepared: Any, viewer: Any, **named: Any) -> Any:
        running.append(viewer.sub)
        is_dear = prepared.cost > DEAR_COST
        most[is_dear] = max(most.get(is_dear, 0), len(running))
        try:
            # They take as long as such queries do where there are many stories.
            await asyncio.sleep(0.05)
            return await real(self, prepared, viewer, **named)
        finally:
            running.remove(viewer.sub)

    async with serving(database_url, issuer) as api:
        with patch.object(Operations, "execute", execute):
            assert await at_once(api, DEAR, [ada] * 3) == [200] * 3
            assert most == {True: 1}
            assert await at_once(api, DEAR.replace("a0", "b"), [ada, ben] * 2) == [200] * 4
            assert most == {True: 2}
            assert await at_once(api, "{ stories { totalCount } }", [ada] * 3) == [200] * 3
            assert most == {True: 2, False: 3}
