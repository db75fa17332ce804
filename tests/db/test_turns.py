"""Who gets a connection when."""

from __future__ import annotations

import asyncio

import pytest

from community_gql.db.turns import Turns


async def served(turns: Turns, order: list[str], caller: str, *, write: bool = False) -> None:
    await turns.take(caller, write=write, seconds=5)
    order.append(caller)
    await asyncio.sleep(0)
    turns.give(caller, write=write)


def test_a_caller_holds_a_part_at_most_and_writers_as_well() -> None:
    turns = Turns(10, caller_part=3, write_part=5)
    assert [turns.try_take("a", write=False) for _ in range(4)] == [True, True, True, False]
    assert [turns.try_take(name, write=True) for name in "bcdefg"] == [True] * 5 + [False]
    assert [turns.try_take(name, write=False) for name in "ghi"] == [True, True, False]
    turns.give("b", write=True)
    assert turns.try_take("g", write=True)


async def test_callers_are_served_in_turns_not_by_arrival() -> None:
    turns, order = Turns(1, caller_part=1, write_part=1), list[str]()
    await turns.take(None, write=False, seconds=1)
    async with asyncio.TaskGroup() as group:
        for name in ["many"] * 20 + ["one", "two"]:
            group.create_task(served(turns, order, name))
        await asyncio.sleep(0)
        turns.give(None, write=False)
    assert order[:3] == ["many", "one", "two"]
    assert turns.waiting == 0


async def test_writers_do_not_starve_beside_readers() -> None:
    turns, order = Turns(1, caller_part=1, write_part=1), list[str]()
    await turns.take(None, write=False, seconds=1)
    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(served(turns, order, f"reader {number}"))
        group.create_task(served(turns, order, "writer", write=True))
        await asyncio.sleep(0)
        turns.give(None, write=False)
    assert "writer" in order[:2]


async def test_who_gives_up_loses_no_place() -> None:
    turns = Turns(1, caller_part=1, write_part=1)
    await turns.take("a", write=False, seconds=1)
    with pytest.raises(TimeoutError):
        await turns.take("b", write=True, seconds=0.01)
    waiting = asyncio.create_task(turns.take("c", write=False, seconds=1))
    await asyncio.sleep(0)
    turns.give("a", write=False)  # granted, and cancelled before it knows
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert turns.waiting == 0
    assert turns.try_take("d", write=True)
