"""Reading: one read-only transaction for all that an operation asks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from community_gql.db.labels import STATEMENT, describe
from community_gql.db.pool import LABEL, Pool, awaited, detached
from community_gql.db.states import REPEATED, TOO_LONG, away_is_unavailable, sqlstate, unavailable
from community_gql.db.stopwatch import Stopwatch
from community_gql.errors import Unavailable
from community_gql.telemetry import tracing

READ_ATTEMPTS = 3
EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS)"
"""It runs the statement: for SELECTs only."""


class Snapshot:
    """One read-only REPEATABLE READ transaction, opened at the first statement.

    All batches of an operation take turns on its single connection: the whole answer shows one
    moment, and a small pool cannot deadlock. Raises Unavailable when the database is away, and
    after ``deadline`` (of the event loop's clock). A statement that was cancelled ends it: its
    connection is thrown away, and nobody waits for that.
    """

    def __init__(
        self, pool: Pool, *, custom_plan: bool, caller: str | None, deadline: float | None
    ) -> None:
        self._pool, self._custom_plan, self._caller, self._deadline = (
            pool,
            custom_plan,
            caller,
            deadline,
        )
        self._connection: AsyncConnection | None = None
        self._turn = asyncio.Lock()
        self._closed = False
        self.label: str | None = None
        """What its statements are marked with, see ``db/labels.py``."""
        self.stopwatch = Stopwatch()
        self.statements = 0
        """How many statements have run, for the log and the tests."""
        self.texts: list[str] | None = None
        """Where their texts are noted, without values; nowhere, unless somebody asked."""

        self.explained: list[str] | None = None
        """Where PostgreSQL's plans of them are noted; nowhere, unless somebody asked."""

    async def run(self, statement: Executable, values: Mapping[str, Any]) -> Sequence[Any]:
        """All rows of ``statement``."""
        try:
            async with asyncio.timeout_at(self._deadline), self._turn:
                if self._closed:
                    # An error elsewhere ended the operation early.
                    raise Unavailable("The operation has ended.")
                return await awaited(self._run(statement, values))
        except TimeoutError:
            raise Unavailable(TOO_LONG) from None

    async def _run(self, statement: Executable, values: Mapping[str, Any]) -> Sequence[Any]:
        with away_is_unavailable():
            for attempt in range(1, READ_ATTEMPTS + 1):
                first = self._connection is None
                try:
                    return await self._execute(statement, values)
                except DBAPIError as error:
                    # What was read before showed the moment that is lost: only a first statement
                    # can be repeated.
                    await self._release(error)
                    if not first or attempt == READ_ATTEMPTS or sqlstate(error) not in REPEATED:
                        self._closed = True
                        if sqlstate(error) in REPEATED:
                            raise unavailable(sqlstate(error)) from error
                        raise
                except BaseException as error:
                    self._closed = True
                    detached(self._release(error))
                    raise
        raise AssertionError("unreachable")

    async def _execute(self, statement: Executable, values: Mapping[str, Any]) -> Sequence[Any]:
        if self._connection is None:
            with self.stopwatch.waiting():
                self._connection = await self._pool.connect(self._caller, write=False)
            await self._pool.plan(await self._connection.get_raw_connection(), self._custom_plan)
        self.statements += 1
        with tracing.span(STATEMENT, "client") as span, self.stopwatch.running():
            result = await self._connection.execute(
                statement, values, execution_options={LABEL: self.label}
            )
            if span is not None:
                describe(span, result.context.statement, self.label)
        if self.texts is not None:
            self.texts.append(result.context.statement)
        rows = result.all()
        if self.explained is not None:
            text, given = result.context.statement, result.context.parameters[0]
            # unscoped: explains what has just run
            plan = await self._connection.exec_driver_sql(f"{EXPLAIN} {text}", given)
            self.explained.append("\n".join(plan.scalars()))
        return rows

    async def _release(self, error: BaseException | None = None) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._pool.release(connection, self._caller, write=False, error=error)

    async def close(self) -> None:
        """Give the connection back, once the statement that has its turn is through."""
        async with self._turn:
            self._closed = True
            await asyncio.shield(detached(self._release()))
