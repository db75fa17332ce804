"""Reading: one read-only transaction for all that an operation asks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
from sqlalchemy import Executable

from community_gql.db.labels import STATEMENT, describe
from community_gql.db.pool import CUSTOM, GENERIC, Lent, Pool, detached
from community_gql.db.replicas import Behind, Position, Replica, reach
from community_gql.db.states import REPEATED, TOO_LONG, away_is_unavailable, sqlstate, unavailable
from community_gql.db.stopwatch import Stopwatch
from community_gql.db.texts import Fixed
from community_gql.errors import Unavailable
from community_gql.telemetry import tracing

READ_ATTEMPTS = 3
BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS)"
"""It runs the statement: for SELECTs only."""


class Snapshot:
    """One read-only REPEATABLE READ transaction, opened at the first statement.

    All batches of an operation take turns on its single connection: the whole answer shows one
    moment, and a small pool cannot deadlock. Its statements run on the driver itself, as those of a
    Transaction do. Raises Unavailable when the database is away, and after ``deadline`` (of the
    event loop's clock). A statement that was cancelled ends it: its connection is thrown away, and
    nobody waits for that.
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
        self._primary, self._custom_plan = pool, custom_plan
        self._caller, self._deadline = caller, deadline
        self._lent: Lent | None = None
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

    async def run(self, statement: Executable | Fixed, values: Mapping[str, Any]) -> Sequence[Any]:
        """All rows of ``statement``, if it returns any, as the driver gives them.

        What runs often is ``Fixed``.
        """
        fixed = statement if isinstance(statement, Fixed) else Fixed(statement)
        try:
            async with asyncio.timeout_at(self._deadline), self._turn:
                if self._closed:
                    # An error elsewhere ended the operation early.
                    raise Unavailable("The operation has ended.")
                return await self._run(fixed, values)
        except TimeoutError:
            raise Unavailable(TOO_LONG) from None

    async def value(
        self, text: str, arguments: Sequence[Any], *, custom_plan: bool = False
    ) -> Sequence[Any]:
        """All rows of a SELECT with ``$1``, ``$2``, ...

        Something must have been read before. A statement that fails leaves the snapshot as it was,
        unless the database is away.
        """
        try:
            async with asyncio.timeout_at(self._deadline), self._turn:
                if self._closed:
                    raise Unavailable("The operation has ended.")
                return await self._value(text, arguments, custom_plan)
        except TimeoutError:
            raise Unavailable(TOO_LONG) from None

    async def _value(self, text: str, arguments: Sequence[Any], custom_plan: bool) -> Sequence[Any]:
        lent = self._lent
        assert lent is not None, "a snapshot begins with ``run``"
        self.statements += 1
        # The session's setting, which the pool keeps track of, stays as it is.
        before, after = (f"; {CUSTOM}", f"; {GENERIC}") if custom_plan else ("", "")
        try:
            with away_is_unavailable(), self.stopwatch.running():
                await self._pool.command(lent, f"SAVEPOINT value{before}")
                try:
                    # unscoped: runs what was compiled from scoped selects
                    rows: Sequence[Any] = await lent.driver.fetch(text, *arguments)
                except asyncpg.PostgresError:
                    await self._pool.command(lent, "ROLLBACK TO value; RELEASE value")
                    raise
                await self._pool.command(lent, f"RELEASE value{after}")
            return rows
        except asyncpg.PostgresError:
            raise
        except BaseException as error:
            self._give_back_broken(error)
            raise

    async def _run(self, statement: Fixed, values: Mapping[str, Any]) -> Sequence[Any]:
        with away_is_unavailable():
            for attempt in range(1, READ_ATTEMPTS + 1):
                first = self._lent is None
                try:
                    return await self._execute(statement, values)
                except Exception as error:
                    # What was read before showed the moment that is lost: only a first statement
                    # can be repeated.
                    replica = self._replica
                    await self._give_back(error)
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
                    self._give_back_broken(error)
                    raise
        raise AssertionError("unreachable")

    async def _execute(self, statement: Fixed, values: Mapping[str, Any]) -> Sequence[Any]:
        if self._lent is None:
            self._lent = await self._begin()
        lent = self._lent
        text, arguments = statement.text(self.label), statement.arguments(values)
        self.statements += 1
        with tracing.span(STATEMENT, "client") as span, self.stopwatch.running():
            if span is not None:
                describe(span, statement.text(None), self.label)
            rows = await self._pool.rows(lent, text, arguments)
        if self.texts is not None:
            self.texts.append(statement.text(None))
        if self.explained is not None:
            # unscoped: explains what has just run
            plan = await lent.driver.fetch(f"{EXPLAIN} {text}", *arguments)
            self.explained.append("\n".join(row[0] for row in plan))
        return rows

    @property
    def _pool(self) -> Pool:
        """Of the server that is read from."""
        return self._primary if self._replica is None else self._replica.pool

    async def _begin(self) -> Lent:
        if self._replica is not None:
            try:
                return await self._begin_on(self._replica.pool, self._after)
            except Behind:
                pass
            except Exception as error:
                if not self._replica.failed(error):
                    raise
            self._replica = None
        return await self._begin_on(self._primary, None)

    async def _begin_on(self, pool: Pool, after: Position | None) -> Lent:
        with self.stopwatch.waiting():
            lent = await pool.lend(self._caller)
        try:
            await reach(lent.driver, after)  # before the transaction has its snapshot
            with self.stopwatch.running():
                await pool.command(lent, BEGIN, custom_plan=self._custom_plan)
        except Behind:
            pool.keep(lent)
            raise
        except BaseException as error:
            pool.take_back(lent, error)
            raise
        return lent

    async def _give_back(self, error: Exception) -> None:
        lent, self._lent = self._lent, None
        if lent is not None:
            with contextlib.suppress(Exception):  # the first error says what was wrong
                await self._pool.rolled_back(lent, error, begun=True)

    def _give_back_broken(self, error: BaseException) -> None:
        """Of a statement that was cancelled: nobody waits for the connection to be thrown away."""
        lent, self._lent = self._lent, None
        self._closed = True
        if lent is not None:
            self._pool.take_back(lent, error)

    async def close(self) -> None:
        """Give the connection back, once the statement that has its turn is through."""
        async with self._turn:
            self._closed = True
            if self._lent is not None:
                await asyncio.shield(detached(self._end()))

    async def _end(self) -> None:
        lent, self._lent = self._lent, None
        assert lent is not None
        try:
            await self._pool.command(lent, "COMMIT")
        except BaseException as error:
            self._pool.take_back(lent, error)
            raise
        self._pool.keep(lent)
