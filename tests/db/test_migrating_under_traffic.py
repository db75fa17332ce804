"""Migrations while the application works."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import pytest

from community_gql.db import migrate
from tests.db.conftest import Connect, Make

pytestmark = pytest.mark.system

LONGEST = 1.0
"""How long, in seconds, a migration may make anyone wait. Migration 4 rewrites tables and may."""
TABLES = (
    "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
    "AND relname <> 'alembic_version'"
)


async def longest_waits(
    connection: asyncpg.Connection, tables: list[str], stop: asyncio.Event
) -> dict[str, float]:
    """How long reading a table and writing to it took at most, by table."""
    longest = dict.fromkeys(tables, 0.0)
    while not stop.is_set():
        for table in tables:
            start = time.monotonic()
            await connection.execute(f"SELECT FROM {table} LIMIT 1")
            await connection.execute(f"DELETE FROM {table} WHERE false")
            longest[table] = max(longest[table], time.monotonic() - start)
        await asyncio.sleep(0.005)
    return longest


async def test_the_newest_migrations_delay_nobody_behind_a_long_writer(
    make: Make, connect: Connect
) -> None:
    """Somebody writes to every table for seconds; others read and write all of them meanwhile."""
    url = await make("0004")
    slow, quick = await connect(url), await connect(url)
    tables = [name for (name,) in await quick.fetch(TABLES)]
    assert len(tables) > 10
    stop = asyncio.Event()
    traffic = asyncio.create_task(longest_waits(quick, tables, stop))
    writing = slow.transaction()
    await writing.start()
    for table in tables:
        await slow.execute(f"DELETE FROM {table} WHERE false")
    upgrading = asyncio.create_task(asyncio.to_thread(migrate.upgrade, url))
    await asyncio.sleep(3)
    assert not upgrading.done()
    await writing.commit()
    await upgrading
    stop.set()
    assert {table: took for table, took in (await traffic).items() if took >= LONGEST} == {}
    assert "(head)" in await asyncio.to_thread(migrate.current, url)
