"""Runs at the same time, runs that are killed, and people who leave in the middle."""

from __future__ import annotations

import asyncio
import random
import sys

import asyncpg
import pytest

from community_gql.actions import accounts, friendships, match_choices
from community_gql.db import migrate
from community_gql.matching import running
from community_gql.settings.checks import plain_address
from tests.actions.conftest import Writer
from tests.matching.conftest import community, lists, made_anew, matched, quiet
from tests.support.postgres import own_server

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("small_steps")]


async def test_several_runs_at_once_share_the_lists(
    db: asyncpg.Connection, database_url: str
) -> None:
    people, words = await community(db, 120, random.Random(1))
    reports = await asyncio.gather(*(matched(database_url) for _ in range(3)))
    whole = await lists(db)
    assert sum(report.vectors for report in reports) == len(
        await db.fetch("SELECT user_id FROM user_features")
    )
    assert await made_anew(db, database_url) == whole
    # While others run, people change what they have: nobody's change is lost.
    for number in range(6):
        changing = db.execute(
            "INSERT INTO user_tags SELECT $1, id FROM tags WHERE id = $2 ON CONFLICT DO NOTHING",
            people[number].sub,
            words[number].key,
        )
        await asyncio.gather(changing, *(matched(database_url) for _ in range(2)))
    await matched(database_url)
    refreshed = await lists(db)
    assert await made_anew(db, database_url) == refreshed


SLOW = """
import asyncio, sys, time
from community_gql.matching import batches, features, running
features.PEOPLE, batches.LISTS = 7, 5
def progress(what, done, total):
    print(what, done, flush=True)
    time.sleep(0.02)
asyncio.run(running.run(sys.argv[1], "built-in", progress))
"""


@pytest.mark.parametrize(
    ("what", "lines"), [("vectors", 1), ("vectors", 5), ("lists", 1), ("lists", 6)]
)
async def test_a_killed_run_is_continued(
    db: asyncpg.Connection, database_url: str, what: str, lines: int
) -> None:
    await community(db, 50, random.Random(2))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SLOW, database_url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    seen = 0
    async for line in process.stdout:
        seen += line.decode().startswith(what)
        if seen == lines:
            break
    process.kill()
    await process.wait()
    assert seen == lines
    halfway = await lists(db)  # those that are there are whole
    left = await db.fetchval("SELECT count(*) FROM stale_features")
    left += await db.fetchval("SELECT count(*) FROM stale_lists")
    assert left > 0
    await matched(database_url)
    whole = await lists(db)
    if what == "lists":
        assert halfway
        assert {owner: whole[owner] for owner in halfway} == halfway
    assert await made_anew(db, database_url) == whole


async def test_people_who_leave_in_the_middle_are_in_no_list(
    db: asyncpg.Connection, database_url: str, act: Writer
) -> None:
    people, _ = await community(db, 90, random.Random(3))
    await matched(database_url)
    await db.execute("UPDATE match_recipes SET created_at = created_at - interval '8 days'")
    leaving, gone, befriending = people[:9], people[10:14], people[20:40]
    begun = asyncio.Event()

    def progress(what: str, done: int, total: int) -> None:
        if what == "lists":
            begun.set()

    runs = [asyncio.create_task(running.run(database_url, "built-in", progress)) for _ in range(2)]
    await begun.wait()
    await asyncio.gather(
        *(act(match_choices.update, who, wanted=False) for who in leaving),
        *(act(accounts.delete, who, id=who.public_id) for who in gone),
        *(
            act(friendships.request, one, user_id=other.public_id)
            for one, other in zip(befriending[::2], befriending[1::2], strict=True)
        ),
        *(
            act(match_choices.dismiss, one, user_id=other.public_id)
            for one, other in zip(people[50:60], people[60:70], strict=True)
        ),
    )
    out = {who.sub for who in (*leaving, *gone)}

    async def none_is_listed() -> None:
        found = await lists(db)
        assert out.isdisjoint(found)
        assert out.isdisjoint(who for one in found.values() for who, _ in one)

    await none_is_listed()
    await asyncio.gather(*runs)
    await none_is_listed()
    assert act.deadlocks == []
    await matched(database_url)
    whole = await lists(db)
    assert await made_anew(db, database_url) == whole


async def test_a_database_that_goes_away(db: asyncpg.Connection, database_url: str) -> None:
    await community(db, 60, random.Random(4))
    ended = False

    def progress(what: str, done: int, total: int) -> None:
        nonlocal ended
        if what == "lists" and done >= 20 and not ended:
            ended = True
            asyncio.get_running_loop().create_task(cut())

    async def cut() -> None:
        await db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'community-gql matching' AND datname = current_database()"
        )

    with pytest.raises(running.MatchingError, match=r"the database failed.*the same command"):
        await running.run(database_url, "built-in", progress)
    await running.run(database_url, "built-in", quiet)
    whole = await lists(db)
    assert await made_anew(db, database_url) == whole


async def test_a_server_that_crashes_takes_marks_and_lists_away_together() -> None:
    with own_server() as server:
        await asyncio.to_thread(migrate.upgrade, server.url("postgres"))
        url = plain_address(server.url("postgres"))
        db = await asyncpg.connect(url)
        # What was committed last is not in the log yet.
        await db.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        await db.execute("SELECT pg_reload_conf()")
        await community(db, 60, random.Random(5))
        committed = 0

        def progress(what: str, done: int, total: int) -> None:
            nonlocal committed
            if what == "lists" and done >= 30 and not committed:
                committed = done
                server.stop()

        with pytest.raises(running.MatchingError, match="the database failed"):
            await running.run(url, "built-in", progress)
        await db.close()
        with server.again():
            db = await asyncpg.connect(url)
            assert await db.fetchval("SELECT count(*) FROM users") == 60
            there = len(await lists(db))
            left = await db.fetchval("SELECT count(*) FROM stale_lists")
            left += await db.fetchval("SELECT count(*) FROM stale_features")
            assert there < committed  # else nothing was lost, and this shows nothing
            assert left > 0
            await matched(url)
            found = await lists(db)
            assert len(found) > committed
            assert await made_anew(db, url) == found
            await db.close()
