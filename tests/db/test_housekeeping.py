"""Popularity is counted beside the requests: when something changed, by one process at a time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import asyncpg
import pytest

from community_gql.db import housekeeping
from community_gql.db.database import Database, opened
from community_gql.db.housekeeping import Housekeeping, count_popularity
from community_gql.settings.checks import plain_address
from community_gql.telemetry import metrics
from tests.support import factories as make
from tests.support.waiting import until


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened(database_url) as database:
        yield database


async def counted(database: Database, db: asyncpg.Connection) -> bool:
    # A session may keep what it counted to itself for some seconds.
    await db.execute("SELECT pg_stat_force_next_flush()")
    return await database.write(count_popularity)


async def popularity(db: asyncpg.Connection) -> dict[str, int]:
    rows = await db.fetch("SELECT name, popularity FROM tags")
    return {row["name"]: row["popularity"] for row in rows}


async def test_popularity_is_counted_when_choices_have_changed(
    database: Database, db: asyncpg.Connection
) -> None:
    moss, fern, _ = [await make.tag(db, name) for name in ("moss", "fern", "ivy")]
    ada = await make.person(db, tags=[moss, fern])
    await make.person(db, tags=[moss])

    assert await counted(database, db)
    assert await popularity(db) == {"moss": 2, "fern": 1, "ivy": 0}

    await db.execute("DELETE FROM users WHERE auth0_sub = $1", ada.sub)
    assert await counted(database, db)
    assert await popularity(db) == {"moss": 1, "fern": 0, "ivy": 0}


async def test_nothing_is_written_while_nothing_changes(
    database: Database, db: asyncpg.Connection
) -> None:
    moss = await make.tag(db, "moss")
    await make.person(db, tags=[moss])
    assert await counted(database, db)
    before = (
        await db.fetch("SELECT xmin, * FROM tags"),
        await db.fetch("SELECT xmin, * FROM housekeeping"),
    )

    assert not await counted(database, db)

    assert before == (
        await db.fetch("SELECT xmin, * FROM tags"),
        await db.fetch("SELECT xmin, * FROM housekeeping"),
    )
    await db.execute("UPDATE housekeeping SET done_at = now() - interval '2 hours'")
    assert await counted(database, db)  # for changes that PostgreSQL does not count


async def test_one_process_counts_and_the_others_do_not_wait(
    database: Database, db: asyncpg.Connection
) -> None:
    await make.person(db, tags=[await make.tag(db, "moss")])
    await db.execute("SELECT pg_stat_force_next_flush()")
    found = await asyncio.gather(*(database.write(count_popularity) for _ in range(5)))
    assert found.count(True) == 1
    assert await popularity(db) == {"moss": 1}


async def test_a_tag_that_is_being_renamed_is_counted_later(
    database: Database, database_url: str, db: asyncpg.Connection
) -> None:
    moss, fern = [await make.tag(db, name) for name in ("moss", "fern")]
    await make.person(db, tags=[moss, fern])
    other = await asyncpg.connect(plain_address(database_url))
    try:
        async with other.transaction():
            await other.execute("SELECT FROM tags WHERE name = 'moss' FOR UPDATE")
            async with asyncio.timeout(5):
                assert await counted(database, db)
            assert await popularity(db) == {"moss": 0, "fern": 1}
    finally:
        await other.close()
    assert await database.write(count_popularity)  # without another change
    assert await popularity(db) == {"moss": 1, "fern": 1}


def ran(outcome: str) -> dict[str, float]:
    """How often each job has ended so."""
    return {
        sample.labels["job"]: sample.value
        for sample in next(iter(metrics.JOB_SECONDS.collect())).samples
        if sample.name.endswith("_count") and sample.labels["outcome"] == outcome
    }


def waiting() -> float:
    return next(iter(metrics.MATCHING_WAITING.collect())).samples[0].value


async def test_a_process_looks_by_itself(database: Database, db: asyncpg.Connection) -> None:
    await make.person(db, tags=[await make.tag(db, "moss")])
    await db.execute("UPDATE stale_features SET at = now() - interval '2 hours'")
    async with Housekeeping(database, every=0.2).running(), asyncio.timeout(60):
        while await popularity(db) != {"moss": 1}:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await until(lambda: 7200 <= waiting() < 7300)
        await db.execute("TRUNCATE stale_features, stale_lists")
        await until(lambda: waiting() == 0)
    assert ran("done").keys() == {"popularity", "changes", "waiting"}


async def test_a_job_that_fails_is_counted_and_keeps_no_other_from_running(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(_: object) -> bool:
        raise ValueError("broken")

    monkeypatch.setattr(housekeeping, "count_popularity", fails)
    failed, done = ran("failed").get("popularity", 0), ran("done").get("changes", 0)
    async with Housekeeping(database, every=0.1, matches=False).running():
        await until(lambda: ran("failed").get("popularity", 0) > failed + 1)
        await until(lambda: ran("done").get("changes", 0) > done)
    assert "Housekeeping failed: popularity." in caplog.text


async def test_a_role_without_rights_is_told_once_which(
    guest: str, guest_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(guest_url) as database, Housekeeping(database, every=0.05).running():
        await until(lambda: len(caplog.records) > 2)
        await asyncio.sleep(0.3)
    said = [record.getMessage() for record in caplog.records]
    assert all(record.exc_info is None for record in caplog.records)
    assert len(said) == 3
    assert {text.partition(":")[0].rpartition(" ")[2] for text in said} == set(housekeeping.NEEDS)
    grants = f"GRANT SELECT, UPDATE ON tags TO {guest}; GRANT SELECT ON user_tags TO {guest};"
    assert grants in said[0]


async def test_the_rights_that_are_named_are_enough(
    guest: str, guest_url: str, db: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """First those of the statements, then those of their triggers."""
    await make.person(db, tags=[await make.tag(db, "moss")])
    done = ran("done")
    async with opened(guest_url) as database, Housekeeping(database, every=0.05).running():
        for told in (3, 4):
            await until(lambda told=told: len(caplog.records) == told)  # type: ignore[misc]
            for grant in re.findall(r"GRANT .*?;", caplog.text):
                await db.execute(grant)
        await until(
            lambda: all(ran("done").get(job, 0) > done.get(job, 0) for job in housekeeping.NEEDS)
        )
    assert await popularity(db) == {"moss": 1}
    assert len(caplog.records) == 4
