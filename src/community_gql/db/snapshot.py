"""Reading: one read-only transaction for all that an operation asks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
from sqlalchemy import Executable
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from community_gql.db.labels import STATEMENT, describe
from community_gql.db.pool import CUSTOM, GENERIC, LABEL, Pool, awaited, detached
from community_gql.db.replicas import Behind, Position, Replica, reach
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
        self,
        pool: Pool,
        *,
        custom_plan: bool,
        caller: str | None,
        deadline: float | None,
        replica: Replica | None = None,
        after: Position | None = None,
    ) -> None:
        self._replica, self._after = replica, after
        self.replica_failed = False
        """Whether a standby failed in the middle: the operation is to be run on the primary."""
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
        """All rows of ``statement``, if it returns any."""
        try:
            async with asyncio.timeout_at(self._deadline), self._turn:
                if self._closed:
                    # An error elsewhere ended the operation early.
                    raise Unavailable("The operation has ended.")
                return await awaited(self._run(statement, values))
        except TimeoutError:
            raise Unavailable(TOO_LONG) from None

    async def value(
        self, text: str, arguments: Sequence[Any], *, custom_plan: bool = False
    ) -> Sequence[Any]:
        """All rows of a SELECT with ``$1``, ``$2``, ..., run on the driver itself.

        Something must have been read before. A statement that fails leaves the snapshot as it was,
        unless the database is away.
        """
        try:
            async with asyncio.timeout_at(self._deadline), self._turn:
                if self._closed:
                    raise Unavailable("The operation has ended.")
                return await awaited(self._value(text, arguments, custom_plan))
        except TimeoutError:
            raise Unavailable(TOO_LONG) from None

    async def _value(self, text: str, arguments: Sequence[Any], custom_plan: bool) -> Sequence[Any]:
        assert self._connection is not None, "a snapshot begins with a statement of SQLAlchemy's"
        raw = await self._connection.get_raw_connection()
        driver: Any = raw.driver_connection
        self.statements += 1
        try:
            with away_is_unavailable(), self.stopwatch.running():
                async with driver.transaction():  # a savepoint
                    if custom_plan:
                        # The session's setting, which the pool keeps track of, stays as it is.
                        await driver.execute(CUSTOM)  # unscoped: a setting
                    # unscoped: runs what was compiled from scoped selects
                    rows: Sequence[Any] = await driver.fetch(text, *arguments)
                    if custom_plan:
                        await driver.execute(GENERIC)  # unscoped: a setting
            return rows
        except asyncpg.PostgresError:
            raise
        except BaseException as error:
            self._closed = True
            detached(self._release(error))
            raise

    async def _run(self, statement: Executable, values: Mapping[str, Any]) -> Sequence[Any]:
        with away_is_unavailable():
            for attempt in range(1, READ_ATTEMPTS + 1):
                first = self._connection is None
                try:
                    return await self._execute(statement, values)
                except DBAPIError as error:
                    # What was read before showed the moment that is lost: only a first statement
                    # can be repeated.
                    replica = self._replica
                    await self._release(error)
                    if replica is not None and replica.failed(error):
                        self._replica = None
                        if first and attempt < READ_ATTEMPTS:
                            continue  # on the primary
                        self.replica_failed = True
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
                self._connection = await self._begin()
        self.statements += 1
        with tracing.span(STATEMENT, "client") as span, self.stopwatch.running():
            result = await self._connection.execute(
                statement, values, execution_options={LABEL: self.label}
            )
            if span is not None:
                describe(span, result.context.statement, self.label)
        if self.texts is not None:
            self.texts.append(result.context.statement)
        rows = result.all() if result.returns_rows else ()
        if self.explained is not None:
            text, given = result.context.statement, result.context.parameters[0]
            # unscoped: explains what has just run
            plan = await self._connection.exec_driver_sql(f"{EXPLAIN} {text}", given)
            self.explained.append("\n".join(plan.scalars()))
        return rows

    async def _begin(self) -> AsyncConnection:
        if self._replica is not None:
            try:
                return await self._begin_on(self._replica.pool, self._after)
            except Behind:
                pass
            except Exception as error:
                if not self._replica.failed(error):
                    raise
            self._replica = None
        return await self._begin_on(self._pool, None)

    async def _begin_on(self, pool: Pool, after: Position | None) -> AsyncConnection:
        connection = await pool.connect(self._caller)
        try:
            raw: Any = await connection.get_raw_connection()
            await pool.plan(raw, self._custom_plan)
            await reach(raw.driver_connection, after)  # before the transaction has its snapshot
            if self._custom_plan and pool.config.plans_by_transaction:
                await connection.exec_driver_sql(CUSTOM)  # unscoped: a setting
        except BaseException as error:
            lost = None if isinstance(error, Behind) else error
            detached(pool.release(connection, self._caller, error=lost))
            raise
        return connection

    async def _release(self, error: BaseException | None = None) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            pool = self._pool if self._replica is None else self._replica.pool
            await pool.release(connection, self._caller, error=error)

    async def close(self) -> None:
        """Give the connection back, once the statement that has its turn is through."""
        async with self._turn:
            self._closed = True
            await asyncio.shield(detached(self._release()))
