"""A batch of a run that goes on for ever leaves most of the time to others."""

from __future__ import annotations

import asyncio
import random
import time

import asyncpg
import pytest

from community_gql.matching import batches, features, running
from tests.matching.conftest import community, lists, made_anew, matched, quiet
from tests.support import factories as make

pytestmark = pytest.mark.usefixtures("small_steps")
STATES = """
    SELECT array_agg(state) FROM pg_stat_activity
    WHERE application_name = 'community-gql matching' AND datname = current_database()
"""


THEIRS = "SELECT EXISTS (SELECT FROM match_results WHERE user_id = $1)"


async def paced(url: str, share: float) -> None:
    await running.run(url, "built-in", quiet, share=share)


async def test_a_batch_rests_and_holds_nothing_meanwhile(
    db: asyncpg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "PACED_LISTS", 5)
    monkeypatch.setattr(features, "PACED_PEOPLE", 7)
    await community(db, 60, random.Random(6))
    await matched(database_url)
    await db.execute("UPDATE match_recipes SET created_at = created_at - interval '8 days'")
    run = asyncio.create_task(paced(database_url, 0.2))
    idle = seen = 0
    while not run.done():
        states = await db.fetchval(STATES) or []
        assert len(states) <= 1  # nobody writes beside it
        idle += states == ["idle"]
        seen += len(states)
        await asyncio.sleep(0.005)
    await run
    assert idle > 0.5 * seen > 0
    found = await lists(db)
    assert await made_anew(db, database_url) == found


async def test_the_first_lists_and_small_changes_do_not_rest(
    db: asyncpg.Connection, database_url: str
) -> None:
    started = time.monotonic()
    people, words = await community(db, 60, random.Random(7), tags=150)
    await paced(database_url, 0.001)
    found = await lists(db)
    assert len(found) > 20
    await db.execute(
        "INSERT INTO user_tags VALUES ($1, $2) ON CONFLICT DO NOTHING",
        people[0].sub,
        words[0].key,
    )
    await paced(database_url, 0.001)
    assert time.monotonic() - started < 60  # a piece of a hundredth of a second would rest for five
    found = await lists(db)
    assert await made_anew(db, database_url) == found


async def test_who_comes_meanwhile_does_not_wait_for_the_end(
    db: asyncpg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "PACED_LISTS", 2)
    monkeypatch.setattr(batches, "ATTEND", 0.0)
    _, words = await community(db, 60, random.Random(8))
    late = await make.person(db)
    await matched(database_url)
    await db.execute("UPDATE match_recipes SET created_at = created_at - interval '8 days'")
    begun = asyncio.Event()

    def progress(what: str, done: int, total: int) -> None:
        if what == "lists":
            begun.set()

    run = asyncio.create_task(running.run(database_url, "built-in", progress, share=0.02))
    async with asyncio.timeout(60):
        await begun.wait()
    await db.executemany(
        "INSERT INTO user_tags (user_id, tag_id) VALUES ($1, $2)",
        [(late.sub, word.key) for word in words[:3]],
    )
    while not await db.fetchval(THEIRS, late.sub):
        assert await db.fetchval("SELECT count(*) FROM stale_lists") > 20  # far from the end
        await asyncio.sleep(0.01)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    await matched(database_url)
    found = await lists(db)
    assert len(found[late.sub]) > 0
    assert await made_anew(db, database_url) == found
