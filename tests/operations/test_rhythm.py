"""When a process looks for changes, and what ends its rest."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from community_gql.db import hints
from community_gql.graph.visibility import Viewer
from community_gql.operations import rhythm
from community_gql.operations.prepared import Params
from community_gql.operations.rhythm import Rhythm
from tests.support import factories as make
from tests.support.factories import Person
from tests.support.live import Process, process, told

CREATE = """mutation { createStory(input: {title: "t", content: "c", visibility: PUBLIC}) {
  story { id }
} }"""


@pytest.fixture(autouse=True)
def tired(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process rests after a moment, and then looks by itself in an hour."""
    monkeypatch.setattr(rhythm, "REST_AFTER", 0.3)
    monkeypatch.setattr(rhythm, "REST", 3600.0)
    monkeypatch.setattr(hints, "EVERY", 0.1)


async def resting(here: Process, seconds: float = 60) -> None:
    """Wait until its next look is so far away."""
    async with asyncio.timeout(30):
        while here.live.pause < seconds:  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0.02)


async def write(there: Process, who: Person) -> None:
    """Write a story by a mutation."""
    prepared = there.operations.prepare(Params(CREATE), open_schema=True)
    assert (await there.operations.execute(prepared, Viewer(who.sub))).errors == []


def test_looks_are_frequent_after_a_change_and_rare_at_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setattr(rhythm, "REST_AFTER", 10.0)
    found = Rhythm(0.1)
    assert found.pause(may_rest=True) == 3600
    assert found.pause(may_rest=False) == 0.1
    found.stirs()
    assert found.pause(may_rest=True) == 0.1
    found.has_changed()
    assert found.pause(may_rest=True) == 0.1 * rhythm.BRISK
    now += rhythm.BRISK_SECONDS
    assert found.pause(may_rest=True) == 0.1
    now += 10.0
    assert found.pause(may_rest=True) == 3600


async def test_a_commit_of_another_process_ends_the_rest(
    database_url: str, db: asyncpg.Connection
) -> None:
    ada = await make.person(db)
    async with process(database_url) as here, process(database_url) as there:
        follower = await here.begin()
        for number in range(1, 3):
            await resting(here)
            await write(there, ada)
            await follower.count(number)
    assert told(follower) == [("APPEARED", "t")] * 2


async def test_who_comes_ends_the_rest(database_url: str, db: asyncpg.Connection) -> None:
    async with process(database_url) as here:
        await here.begin()
        await resting(here)
        await here.begin()


async def test_what_is_written_beside_is_found_by_a_rare_look(
    database_url: str, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rhythm, "REST", 1.0)
    ada = await make.person(db)
    async with process(database_url, interval=0.02) as here:
        follower = await here.begin()
        await resting(here, 0.5)
        await make.story(db, ada)
        await follower.count(1)


async def test_who_cannot_hear_any_more_does_not_rest(
    database_url: str, db: asyncpg.Connection
) -> None:
    ada = await make.person(db)
    async with process(database_url) as here:
        follower = await here.begin()
        await resting(here)
        await db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        )
        await make.story(db, ada)
        await follower.count(1)


async def test_a_state_that_is_to_be_read_again_is_waited_for(
    database_url: str, db: asyncpg.Connection
) -> None:
    """It was changed twice within the time in which it is read once."""
    ada = await make.person(db, "Ada")
    rename = "UPDATE user_profiles SET display_name = $1 WHERE user_id = $2"
    async with process(database_url, state_seconds=2.0) as here:
        follower = await here.follow(
            "subscription { viewer { user { profile { displayName } } } }", ada
        )
        await follower.count(1)
        for name in ("Bea", "Cleo"):
            await db.execute(rename, name, ada.sub)
            await asyncio.sleep(0.1)
        await follower.until(lambda: "Cleo" in str(follower.events[-1]))
