"""What the database knows of a person who comes to this process for the first time.

After a restart thousands come at once: those who come while one statement runs share the next.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Double, cast, func, select

from community_gql.actions.accounts import sub_hash
from community_gql.db import models as m
from community_gql.db.database import Database, Transaction
from community_gql.errors import Unavailable

TOGETHER = 500
"""So many people one statement looks for."""

_deleted = m.deleted_accounts
EPOCH = cast(func.extract("epoch", _deleted.c.deleted_at), Double).label("epoch")
# unscoped: the same as in `look`
_LOOK = """
SELECT array_agg(ARRAY[
  (SELECT email::text FROM users WHERE auth0_sub = asked.sub),
  (SELECT extract(epoch FROM deleted_at)::float8::text FROM deleted_accounts
    WHERE sub_hash = asked.hash)
] ORDER BY asked.place)
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (sub, hash, place)
"""


class Found(NamedTuple):
    """What the database knows of a person."""

    email: str | None
    """The address in their row; None if they have none."""
    deleted_at: float | None
    """When an earlier account of theirs was deleted, in seconds since 1970."""


class Looks:
    """Looks for the people of one process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[tuple[str, asyncio.Future[Found]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, sub: str) -> Found:
        """What is known of ``sub``. Raises Unavailable."""
        if self._database.replicas is not None:
            # Their next read must see the row, which another process may just have made.
            return await self._database.write(
                lambda session: look(session, sub), viewer=sub, followed=False
            )
        future: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._waiting.append((sub, future))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        """Answer all who wait, and those who come meanwhile."""
        while self._waiting:
            some = [self._waiting.popleft() for _ in range(min(len(self._waiting), TOGETHER))]
            try:
                found = await self._look([sub for sub, _ in some])
            except Exception as error:
                for _, future in some:
                    if not future.done():
                        future.set_exception(_again(error))
            except BaseException:
                for _, future in some:
                    future.cancel()
                raise
            else:
                for (_, future), one in zip(some, found, strict=True):
                    if not future.done():
                        future.set_result(one)

    async def _look(self, subs: Sequence[str]) -> list[Found]:
        rows = await self._database.value(_LOOK, (subs, [sub_hash(sub) for sub in subs]))
        return [
            Found(email, None if deleted_at is None else float(deleted_at))
            for email, deleted_at in rows
        ]


def _again(error: Exception) -> Exception:
    """The error for one of those who share it: raised by many, it would collect all their calls."""
    return Unavailable(error.message, error.cause) if isinstance(error, Unavailable) else error


async def look(session: Transaction, sub: str) -> Found:
    """The same in a transaction."""
    # unscoped: the person's own row and grave, to decide whether there may be a viewer
    own = select(m.User.email).where(m.User.auth0_sub == sub).scalar_subquery()
    grave = (
        # unscoped: the same
        select(EPOCH).where(_deleted.c.sub_hash == sub_hash(sub)).scalar_subquery()
    )
    # unscoped: the same
    row = await session.first(select(own.label("email"), grave.label("deleted_at")))
    return Found(row.email, row.deleted_at)
