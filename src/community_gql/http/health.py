"""Is this process ready for requests: ``/readyz``. (``/healthz`` only says that it runs.)"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property

from alembic.script import ScriptDirectory
from sqlalchemy import text
from starlette.requests import Request
from starlette.responses import JSONResponse

from community_gql.db import migrate
from community_gql.db.database import Database

Check = Callable[[], Awaitable[bool]]
"""Whether one thing that requests need is there. What it raises counts as no."""

SECONDS = 2.0
"""How long a check may take."""

_FRESH = {"Cache-Control": "no-store"}

_log = logging.getLogger("community_gql.http.health")


class Readiness:
    """Asks every check at once; ready when all say yes. ``more`` are the other layers' own."""

    def __init__(self, database: Database, more: Mapping[str, Check] | None = None) -> None:
        self._database = database
        self._checks: dict[str, Check] = {
            "database": self._answers,
            "migrations": self._is_migrated,
            **(more or {}),
        }

    async def answer(self, request: Request) -> JSONResponse:
        """200 when ready, 503 when not, with the outcome of each check."""
        if getattr(request.state, "draining", False):  # set by http/server.py before it stops
            return JSONResponse({"ready": False, "draining": True}, 503, _FRESH)
        outcomes = await asyncio.gather(*map(self._outcome, self._checks.values()))
        ready = all(outcomes)
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

    async def _answers(self) -> bool:
        async with self._database.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))  # unscoped: reads no rows
        return True

    async def _is_migrated(self) -> bool:
        async with self._database.engine.connect() as connection:
            rows = await connection.execute(
                text("SELECT version_num FROM alembic_version")  # unscoped: Alembic's table
            )
            return {row[0] for row in rows} == self._heads

    @cached_property
    def _heads(self) -> set[str]:
        return set(ScriptDirectory(str(migrate.folder())).get_heads())
