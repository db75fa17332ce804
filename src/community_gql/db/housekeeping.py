"""What a serving process does now and then, so that no request has to.

Every process looks once a minute. One at a time does the work, under an advisory lock: it counts
the popularity of tags, if ``user_tags`` has changed since the last count, and forgets old changes.
Each tells the metrics how long ``matching run`` has not come.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from sqlalchemy import text

from community_gql.db.background import in_background
from community_gql.db.changes import forget_changes
from community_gql.db.database import Database, Transaction
from community_gql.db.rights import Rights
from community_gql.errors import Unavailable
from community_gql.telemetry import metrics

EVERY = 60.0
"""Seconds between two looks of one process."""
NEEDS = {
    "popularity": {
        "housekeeping": "SELECT, INSERT, UPDATE",
        "tags": "SELECT, UPDATE",
        "user_tags": "SELECT",
    },
    "changes": {"changes": "SELECT, DELETE", "housekeeping": "SELECT, INSERT, UPDATE"},
    "waiting": {"stale_features": "SELECT", "stale_lists": "SELECT"},
}
"""Which rights each job itself takes, by table; the triggers of tags take more."""

_LOCK = 0x636F6D6D76
_log = logging.getLogger("community_gql.housekeeping")

# What PostgreSQL has counted of the changes of user_tags. Changes that it does not count (TRUNCATE,
# or all of them with track_counts = off) are found within the hour.
# unscoped: a number of changes, shown to nobody
_LOOK = text("""
    SELECT changes.number, (
      done.seen IS NULL
      OR done.seen <> changes.number
      OR done.done_at < now() - interval '1 hour'
    ) AS due
    FROM (
      SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint AS number
      FROM pg_stat_user_tables WHERE relid = 'user_tags'::regclass
    ) AS changes
    LEFT JOIN housekeeping AS done ON done.job = 'popularity'
""")
# unscoped: an advisory lock
_ALONE = text("SELECT pg_try_advisory_xact_lock(:key)")
_WAITING = """
    SELECT coalesce(extract(epoch FROM clock_timestamp() - least(
      (SELECT min(at) FROM stale_features), (SELECT min(at) FROM stale_lists)
    )), 0)::float8
"""  # unscoped: how old the oldest mark is, shown to nobody
COUNT = """
    WITH differing AS MATERIALIZED (
      SELECT tags.id, coalesce(counted.people, 0) AS people
      FROM tags
      LEFT JOIN (SELECT tag_id, count(*) AS people FROM user_tags GROUP BY tag_id) AS counted
        ON counted.tag_id = tags.id
      WHERE tags.popularity <> coalesce(counted.people, 0)
    ), locked AS (
      SELECT id FROM tags WHERE id IN (SELECT id FROM differing)
      ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
    ), written AS (
      UPDATE tags SET popularity = differing.people
      FROM differing JOIN locked USING (id)
      WHERE tags.id = differing.id
      RETURNING tags.id
    )
    SELECT (SELECT count(*) FROM differing) - (SELECT count(*) FROM written) AS passed_over
"""
"""Sets ``tags.popularity``; passes over tags that are being renamed or deleted."""
# unscoped: writes when it was done
_DONE = text("""
    INSERT INTO housekeeping (job, done_at, seen) VALUES ('popularity', now(), :seen)
    ON CONFLICT (job) DO UPDATE SET done_at = excluded.done_at, seen = excluded.seen
""")


async def count_popularity(session: Transaction) -> bool:
    """Count how many people chose each tag, if that may have changed; whether it was counted."""
    # The lock comes first: who looked before another process was done would count once more.
    if not (await session.first(_ALONE, {"key": _LOCK}))[0]:
        return False
    look = await session.first(_LOOK)
    if not look.due:
        return False
    # unscoped: counts which tags people chose, which everyone may see
    left = await session.first(text(COUNT))
    await session.run(_DONE, {"seen": None if left.passed_over else look.number})
    return True


class Housekeeping:
    """The clock of one process: ``async with housekeeping.running():``."""

    def __init__(
        self,
        database: Database,
        every: float = EVERY,
        *,
        retention: float = 3600,
        matches: bool = True,
    ) -> None:
        """``retention`` is how many seconds changes are kept, ``matches`` whether somebody runs
        ``matching run``."""
        self._database, self._every = database, every
        self._retention, self._matches = retention, matches
        self._rights = Rights(database, _log)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look again and again until the end of the block."""
        async with in_background(self._run()):
            yield

    async def _run(self) -> None:
        while True:
            # Processes that start together do not look together.
            await asyncio.sleep(self._every * random.uniform(0.5, 1))
            await self._timed("popularity", self._count)
            await self._timed("changes", self._forget)
            if self._matches:
                await self._timed("waiting", self._look_for_marks)

    async def _timed(self, job: str, work: Callable[[], Awaitable[None]]) -> None:
        start, outcome = time.perf_counter(), "done"
        try:
            await work()
        except Unavailable:
            outcome = "unavailable"  # the next look does it
        except Exception as error:
            outcome = "failed"
            if not await self._rights.explains(error, f"Housekeeping cannot do {job}", NEEDS[job]):
                _log.error("Housekeeping failed: %s.", job, exc_info=error)
        metrics.JOB_SECONDS.labels(job, outcome).observe(time.perf_counter() - start)

    async def _count(self) -> None:
        await self._database.write(count_popularity, followed=False)

    async def _forget(self) -> None:
        async def some(session: Transaction) -> bool:
            return await forget_changes(session, self._retention)

        while await self._database.write(some, followed=False):
            pass

    async def _look_for_marks(self) -> None:
        (seconds,) = await self._database.pool.check(_WAITING)
        metrics.MATCHING_WAITING.set(seconds)
