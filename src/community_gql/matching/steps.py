"""The lock of a run's steps: exclusive in the first two, shared in the third."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Literal

import asyncpg

from community_gql.matching.batches import PAUSE, Another

KEY = 0x636F6D6D79
"""Of the advisory lock, which is the session's."""
Kind = Literal["", "_shared"]


class Steps:
    """The lock as one run holds it, over its connection and ``another`` one."""

    def __init__(self, connection: asyncpg.Connection, another: Another | None) -> None:
        self._connection, self._another = connection, another

    async def take(self, kind: Kind) -> bool:
        """Take it, if nobody is in the way; whether it is taken."""
        return bool(await self._connection.fetchval(f"SELECT pg_try_advisory_lock{kind}({KEY})"))

    async def wait(self, kind: Kind) -> None:
        """Take it once nobody is in the way."""
        # Asked again and again: a statement that waits would hold a snapshot.
        while not await self.take(kind):  # noqa: ASYNC110
            await asyncio.sleep(PAUSE)

    @contextlib.asynccontextmanager
    async def held(self, kind: Kind) -> AsyncIterator[None]:
        """Give it back after the block, unless the connection is gone and the lock with it."""
        try:
            yield
        finally:
            if not self._connection.is_closed():
                with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError):
                    await self._connection.execute(f"SELECT pg_advisory_unlock{kind}({KEY})")

    @contextlib.asynccontextmanager
    async def helper(self) -> AsyncIterator[asyncpg.Connection]:
        """Another connection, which holds the lock of the third step as well."""
        assert self._another is not None
        async with self._another() as connection:
            await connection.execute(f"SELECT pg_advisory_lock_shared({KEY})")
            yield connection
