"""Popularity is counted beside the requests: when something changed, by one process at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from community_gql.db.database import Database, opened
from community_gql.db.housekeeping import Housekeeping, count_popularity
from community_gql.settings.checks import plain_address
from tests.support import factories as make


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


async def test_a_process_looks_by_itself(database: Database, db: asyncpg.Connection) -> None:
    await make.person(db, tags=[await make.tag(db, "moss")])
    async with Housekeeping(database, every=0.2).running(), asyncio.timeout(10):
        while await popularity(db) != {"moss": 1}:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
