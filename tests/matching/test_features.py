"""Vectors that are made of what is read at once, while the ones before are saved."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import numpy as np
import orjson
import pytest

from community_gql.actions import accounts, match_choices, tags
from community_gql.matching import recipe, stored
from community_gql.matching.material import Everybody
from community_gql.matching.stored import Loaded, OwnVectors, Version
from tests.actions.conftest import Writer
from tests.matching.conftest import community, lists, made_anew, matched
from tests.matching.test_running import put
from tests.support import factories as make

pytestmark = pytest.mark.usefixtures("small_steps")

WEEK_AGO = "UPDATE match_recipes SET created_at = created_at - interval '8 days'"
STOPS = """
import asyncio, sys, time
from community_gql.matching import batches, features, running
from community_gql.matching.features import Features
features.PEOPLE, batches.LISTS = 7, 5
where, left = sys.argv[2], [int(sys.argv[3])]

def stop(at):
    left[0] -= at == where
    if not left[0]:
        print("here", flush=True)
        time.sleep(60)

reading, making, writing = Features._begin, Features._block, Features._write

async def begin(self, *given):
    stop("everybody is marked")
    await reading(self, *given)

def block(self, *given):
    made = making(self, *given)
    stop("the next ones are made")
    return made

async def write(self, *given):
    done = await writing(self, *given)
    stop("vectors are not committed")
    return done

Features._begin, Features._block, Features._write = begin, block, write
asyncio.run(running.run(sys.argv[1], "built-in", lambda *_: None))
"""


@pytest.mark.system
@pytest.mark.parametrize(
    ("where", "time", "again"),
    [
        ("everybody is marked", 1, True),
        ("the next ones are made", 3, False),
        ("vectors are not committed", 3, True),
    ],
)
async def test_a_run_that_is_killed_between_two_halves(
    db: asyncpg.Connection, database_url: str, where: str, time: int, again: bool
) -> None:
    await community(db, 40, random.Random(2))
    if again:
        await matched(database_url)
        await db.execute(WEEK_AGO)
        await db.execute("DELETE FROM story_tags WHERE story_id % 3 = 0")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", STOPS, database_url, where, str(time)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"here\n"
    finally:
        process.kill()
        await process.wait()
    marked = await db.fetchval("SELECT count(*) FROM stale_features")
    saved = await db.fetchval("SELECT count(*) FROM stale_lists WHERE vector_changed")
    assert marked == 40 - 7 * max(0, time - (2 if "next" in where else 1))
    assert (saved > 0) == (marked < 40)
    await matched(database_url)
    versions = {row[0] for row in await db.fetch("SELECT version FROM user_features")}
    assert versions == {2 if again else 1}
    whole = await lists(db)
    assert len(whole) > 20
    assert await made_anew(db, database_url) == whole


def after(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[], Awaitable[Any]], times: int = 1
) -> list[int]:
    """Have ``change`` happen after everybody was read; what is returned gets longer then."""
    read, calls = Everybody.read, list[int]()

    async def reading(connection: asyncpg.Connection) -> Everybody:
        found = await read(connection)
        if len(calls) < times:
            calls.append(1)
            await change()
        return found

    monkeypatch.setattr(Everybody, "read", reading)
    return calls


@pytest.mark.parametrize("again", [False, True])
async def test_who_changes_after_everybody_was_read(
    db: asyncpg.Connection,
    database_url: str,
    act: Writer,
    monkeypatch: pytest.MonkeyPatch,
    again: bool,
) -> None:
    people, words = await community(db, 60, random.Random(3))
    if again:
        await matched(database_url)
        await db.execute(WEEK_AGO)
    out, gone, hiding = people[:4], people[4:6], people[9:30:3]

    async def change() -> None:
        for number, who in enumerate(people[30:40]):
            await act(tags.add, who, names=[words[number].name])
        await db.execute("DELETE FROM user_tags WHERE user_id = $1", people[41].sub)
        for who in out:
            await act(match_choices.update, who, wanted=False)
        for who in hiding:
            await act(match_choices.update, who, habits=False)
        for who in gone:
            await act(accounts.delete, who, id=who.public_id)
        for name in ("Whittle", "whittle"):  # a habit that has no place yet
            who = people.pop()
            await act(match_choices.update, who, habits=True)
            await make.habit(db, who, name)
        people.append(await make.person(db, tags=words[:3]))

    assert after(monkeypatch, change) == []
    await matched(database_url)
    never = {who.sub for who in (*out, *gone)}
    shared = {row[0] for row in await db.fetch("SELECT user_id FROM user_features")}
    assert never.isdisjoint(shared)
    found = await lists(db)
    assert never.isdisjoint(found)
    assert never.isdisjoint(who for one in found.values() for who, _ in one)
    await matched(database_url)
    assert await db.fetchval("SELECT count(*) FROM stale_features") == 0
    kept = await db.fetchval("SELECT places::text FROM match_recipes ORDER BY version DESC LIMIT 1")
    assert '"whittle"' in kept
    found = await lists(db)
    assert people[-1].sub in found
    assert await made_anew(db, database_url) == found
    assert act.deadlocks == []


async def test_a_place_that_is_missing_begins_another_version(
    db: asyncpg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "MIN_FREE", 1)
    people, _ = await community(db, 30, random.Random(4), tags=12)
    await matched(database_url)

    async def change() -> None:
        for who in people[:4]:
            await make.choose(db, who, *[await make.tag(db) for _ in range(3)])

    await db.execute(WEEK_AGO)
    calls = after(monkeypatch, change)
    await matched(database_url)
    assert calls == [1]
    versions = {row[0] for row in await db.fetch("SELECT version FROM user_features")}
    assert versions == {3}
    found = await lists(db)
    assert await made_anew(db, database_url) == found


async def test_what_is_marked_once_all_lists_are_marked_is_left_for_the_next_run(
    db: asyncpg.Connection, database_url: str, act: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(5)
    people, _ = await community(db, 30, chance)
    await put(act, people, 7, chance)
    load, calls = stored.load, 0

    async def loading(
        connection: asyncpg.Connection, version: Version, own: OwnVectors | None = None
    ) -> Loaded:
        nonlocal calls
        calls += 1
        if calls == 1:
            await put(act, people[:2], 7, chance)
        found = await load(connection, version, own)
        if calls == 1:
            await put(act, people[2:4], 7, chance)
        return found

    monkeypatch.setattr(stored, "load", loading)
    await matched(database_url, "features")
    left = "SELECT user_id FROM stale_lists WHERE vector_changed"
    assert {row[0] for row in await db.fetch(left)} == {who.sub for who in people[:4]}
    await matched(database_url, "features")
    found = await lists(db)
    assert await made_anew(db, database_url, "features") == found


async def test_own_vectors_are_those_that_are_stored(
    db: asyncpg.Connection, database_url: str
) -> None:
    await community(db, 40, random.Random(6))
    await matched(database_url)
    version = await stored.current(db)
    assert version is not None
    own = OwnVectors()
    rows = await db.fetch("SELECT user_id, updated_at, vector FROM user_features ORDER BY 1")
    # Of some there was another vector before, and some were not saved by this run.
    for some, there in ((rows[:20:3], False), (rows[:-4], True)):
        numbers = [np.array(orjson.loads(row[2])) for row in some]
        wrong = [one * 0 if not there else one for one in numbers]
        subs = [row[0] for row in some]
        moments = {row[0]: row[1] for row in some[1:]}
        own.add(moments, subs, np.rint(np.array(wrong) * 1000).astype(np.int32))

    async def same() -> int:
        with_own, without = [await stored.load(db, version, each) for each in (own, None)]
        assert with_own.people == without.people
        assert with_own.rows == without.rows
        for name in ("starts", "columns", "values"):
            ours, theirs = (getattr(one.vectors, name) for one in (with_own, without))
            assert (ours == theirs).all()
            assert ours.dtype == theirs.dtype
        return len(with_own.people)

    count = await same()
    assert count == len(rows) > 30
    subs = [row[0] for row in rows]
    # Others write meanwhile: another vector, another version, none.
    swap = "UPDATE user_features SET vector = $2 WHERE user_id = $1"
    await db.execute(swap, subs[3], rows[8][2])
    await db.execute("UPDATE user_features SET version = 9 WHERE user_id = $1", subs[4])
    await db.execute("DELETE FROM user_features WHERE user_id = $1", subs[5])
    assert await same() == count - 2
    await db.execute("UPDATE user_features SET version = 1 WHERE user_id = $1", subs[4])
    assert await same() == count - 1
    own.forget()
    assert await same() == count - 1
    own.add({rows[0][0]: rows[0][1]}, subs[:1], np.ones((1, 3), np.int32))  # too few: not used
    assert await same() == count - 1
