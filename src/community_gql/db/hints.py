"""Hints between the processes over one database: one of them has committed something.

Whoever follows changes looks less often when nothing has happened for a while, and a hint ends
that. It carries nothing and may be lost: what has changed is found by looking.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from community_gql.db.pool import Pool, detached
from community_gql.db.states import away_is_unavailable

CHANNEL = "community_gql_committed"
EVERY = 2.0
"""Seconds between two hints of one process at least. PostgreSQL has transactions that notify commit
one after the other, so a hint is rare and never part of what is written."""
AGAIN = 10.0
"""Seconds between two attempts to listen."""

_TELL = f"SELECT pg_notify('{CHANNEL}', '')::text"  # unscoped: a signal without content


class Hints:
    """Those that one process gives and gets."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._told_at = float("-inf")
        self._tries_at = float("-inf")
        self._ear: Any = None
        """The driver's connection that listens, or did."""
        self.heard: Callable[[], None] = _nothing
        """Called for each hint, those of this process included, and where one may be missed."""

    @property
    def listens(self) -> bool:
        """Whether hints are heard now, as far as anybody can know."""
        return self._ear is not None and not self._ear.is_closed()

    def listen(self) -> None:
        """Begin to hear hints, in the background, on the connection beside the pool.

        Behind PgBouncer nothing is heard: it lends a connection for one transaction.
        """
        now = time.monotonic()
        if not self.listens and not self._pool.config.pgbouncer and now >= self._tries_at:
            self._tries_at = now + AGAIN
            detached(self._listen())

    async def _listen(self) -> None:
        with away_is_unavailable():
            self._ear = await self._pool.listen(CHANNEL, self._hear)
        self._ear.add_termination_listener(self._hear)  # nothing is heard from then on
        self.heard()  # there may have been one before

    def tell(self) -> None:
        """Give one in the background, unless one was given a moment ago.

        It takes no connection of the pool, for which requests may be waiting.
        """
        now = time.monotonic()
        if now - self._told_at >= EVERY and not self._pool.config.pgbouncer:
            self._told_at = now
            detached(self._pool.check(_TELL))

    def _hear(self, *_: object) -> None:
        self.heard()


def _nothing() -> None:
    """Nobody follows."""
