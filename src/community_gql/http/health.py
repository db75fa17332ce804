"""Is this process ready for requests: ``/readyz``. (``/healthz`` only says that it runs.)"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property

from starlette.requests import Request
from starlette.responses import JSONResponse

from community_gql.db import revisions
from community_gql.db.database import Database
from community_gql.telemetry import metrics

Check = Callable[[], Awaitable[bool]]
"""Whether one thing that requests need is there. What it raises counts as no."""

SECONDS = 2.0
"""How long a check may take. The checks of the database have a connection of their own."""

_FRESH = {"Cache-Control": "no-store"}

_log = logging.getLogger("community_gql.http.health")


class Readiness:
    """Asks every check at once; ready when all say yes. ``more`` are the other layers' own."""

    def __init__(self, database: Database, more: Mapping[str, Check] | None = None) -> None:
        self._database = database
        self._checks: dict[str, Check] = {
            "database": database.is_writable,
            "migrations": self._is_migrated,
            **(more or {}),
        }

    async def answer(self, request: Request) -> JSONResponse:
        """200 when ready, 503 when not, with the outcome of each check."""
        if getattr(request.state, "draining", False):  # set by http/server.py before it stops
            metrics.READY.set(0)
            return JSONResponse({"ready": False, "draining": True}, 503, _FRESH)
        outcomes = await asyncio.gather(*map(self._outcome, self._checks.values()))
        ready = all(outcomes)
        metrics.READY.set(ready)
        return JSONResponse(
            {"ready": ready, **dict(zip(self._checks, outcomes, strict=True))},
            200 if ready else 503,
            _FRESH,
        )

    async def _outcome(self, check: Check) -> bool:
        try:
            async with asyncio.timeout(SECONDS):
                return await check()
        except Exception as error:
            _log.info("not ready: %s", type(error).__qualname__)
            return False

    async def _is_migrated(self) -> bool:
        # A database that is ahead of this process is fine: migrations keep the code before them
        # working, and this process is about to be replaced.
        return await self._database.revisions() not in self._behind

    @cached_property
    def _behind(self) -> list[set[str]]:
        """Every state of a database that lacks a migration of ours."""
        *older, _ = revisions.in_order()
        return [set(), *({revision} for revision in older)]
