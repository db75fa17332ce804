"""What this process tells the metrics once a second: how full things are, what it counted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from community_gql.db.background import in_background
from community_gql.db.housekeeping import NEEDS
from community_gql.db.states import CANCELLED, NO_CONNECTION, POOL_WAIT
from community_gql.http.afterwards import Afterwards
from community_gql.http.connections import open_connections
from community_gql.http.live_connections import LiveConnections
from community_gql.lru import LruCache
from community_gql.operations.live import Live
from community_gql.operations.pipeline import Operations
from community_gql.telemetry import metrics

EVERY = 1.0
"""Seconds."""


class Gauges:
    """The clock of one process: ``async with gauges.running():``."""

    def __init__(
        self,
        afterwards: Afterwards,
        requests: metrics.Requests,
        operations: Operations,
        live: Live,
        connections: LiveConnections,
    ) -> None:
        self._afterwards, self._requests, self._pool = (
            afterwards,
            requests,
            operations.database.pool,
        )
        self._live, self._live_connections = live, connections
        self._caches: dict[str, LruCache[Any]] = {
            "documents": operations.documents.kept,
            "operations": operations.cache.kept,
            "statements": operations.pushdown.statements,
        }

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Tell them again and again, and at the end of the block."""
        metrics.mark_running()
        _begin()
        try:
            async with in_background(self._run()):
                yield
        finally:
            self.tell()

    async def _run(self) -> None:
        while True:
            self.tell()
            await asyncio.sleep(EVERY)

    def tell(self) -> None:
        """Tell them now."""
        self._afterwards.catch_up()
        self._requests.hand_over()
        self._live.deliveries.hand_over()
        pool = self._pool
        metrics.POOL_SIZE.set(pool.config.pool_size)
        metrics.POOL_IN_USE.set(pool.in_use)
        metrics.POOL_WAITING.set(pool.turns.waiting)
        metrics.CONNECTIONS.set(open_connections())
        metrics.LIVE_CONNECTIONS.set(len(self._live_connections))
        metrics.SUBSCRIPTIONS.set(len(self._live))
        metrics.SUBSCRIPTIONS_BEHIND.set(self._live.behind)
        for name, cache in self._caches.items():
            metrics.CACHE_BYTES.labels(name).set(cache.bytes)
            metrics.CACHE_ENTRIES.labels(name).set(len(cache))


def _begin() -> None:
    """Show as 0 what alerts wait for: Prometheus sees no increase where a series begins at 1.

    Where nobody asks for ``/readyz``, nobody is told that it would say no.
    """
    metrics.READY.set(1)
    metrics.ERRORS.labels("INTERNAL")
    for job in NEEDS:
        metrics.JOB_SECONDS.labels(job, "failed")
    for cause in (POOL_WAIT, NO_CONNECTION, CANCELLED):
        metrics.DATABASE_AWAY.labels(cause)
