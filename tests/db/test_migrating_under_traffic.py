"""Migrations while the application works."""

from __future__ import annotations

import asyncio
import time

import asyncpg

from community_gql.db import migrate
from tests.db.conftest import Connect, Make

LONGEST = 1.0
"""How long, in seconds, a migration may make anyone wait. Migration 4 rewrites tables and may."""


async def longest_wait(connection: asyncpg.Connection, stop: asyncio.Event) -> float:
    longest = 0.0
    while not stop.is_set():
        start = time.monotonic()
        await connection.execute(
            "UPDATE users SET email = 'ada@example.com' WHERE auth0_sub = 'other'"
        )
        longest = max(longest, time.monotonic() - start)
        await asyncio.sleep(0.01)
    return longest


async def test_the_newest_migrations_delay_nobody_behind_a_long_writer(
    make: Make, connect: Connect
) -> None:
    url = await make("0004")
    slow, quick = await connect(url), await connect(url)
    await slow.execute(
        "INSERT INTO users (auth0_sub, email) VALUES "
        "('slow', 's@example.com'), ('other', 'o@example.com')"
    )
    stop = asyncio.Event()
    traffic = asyncio.create_task(longest_wait(quick, stop))
    writing = slow.transaction()
    await writing.start()
    await slow.execute("UPDATE users SET email = 'grace@example.com' WHERE auth0_sub = 'slow'")
    upgrading = asyncio.create_task(asyncio.to_thread(migrate.upgrade, url))
    await asyncio.sleep(3)
    assert not upgrading.done()
    await writing.commit()
    await upgrading
    stop.set()
    assert await traffic < LONGEST
    assert "(head)" in await asyncio.to_thread(migrate.current, url)
