"""The only ways to the database: a value or a snapshot to read, a transaction to write."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from community_gql.db.hints import Hints
from community_gql.db.pool import Pool, PoolConfig, detached
from community_gql.db.replicas import NOWHERE, Behind, Position, Replica, Replicas, flushed, reach
from community_gql.db.snapshot import EXPLAIN, Snapshot
from community_gql.db.states import (
    REPEATED,
    TOO_LONG,
    away_is_unavailable,
    refuse_away,
    sqlstate,
)
from community_gql.db.stopwatch import Stopwatch
from community_gql.db.transaction import Transaction
from community_gql.errors import Unavailable

__all__ = ["Database", "Snapshot", "Transaction", "away_is_unavailable", "constraint", "opened"]
__all__ += ["sqlstate"]

WRITE_ATTEMPTS = 6
COMMIT_SECONDS = 2.0
"""How long a commit that was under way at the deadline is waited for."""

WRITABLE = "SELECT current_setting('transaction_read_only') = 'off'"  # unscoped: a setting
REVISIONS = "SELECT array_agg(version_num) FROM alembic_version"  # unscoped: Alembic's table

T = TypeVar("T")


class Database:
    """One process's connections to PostgreSQL.

    ``url`` is a ``postgresql+asyncpg`` address; for the options see ``PoolConfig``. Wherever a
    ``caller`` is given (a person, or the address of someone signed out), connections are shared
    fairly among callers; None is the server itself.
    """

    def __init__(self, url: str, *, read_urls: Sequence[str] = (), **options: Any) -> None:
        """``read_urls`` are the addresses of standbys."""
        config = PoolConfig(**options)
        self.pool = Pool(url, config)
        self.replicas = Replicas(self.pool, read_urls, config) if read_urls else None
        self.hints = Hints(self.pool)
        self.after_commit: Callable[[], None] = _nothing
        """Called after each commit of this process that somebody may follow."""

    @property
    def engine(self) -> AsyncEngine:
        """SQLAlchemy's engine, for its events."""
        return self.pool.engine

    def snapshot(
        self,
        *,
        custom_plan: bool = False,
        caller: str | None = None,
        deadline: float | None = None,
        on_replica: bool = False,
        after: Position | None = None,
    ) -> Snapshot:
        """What one operation reads through; close it when the operation ends.

        For ``custom_plan``, ``on_replica`` and ``after`` see ``value``.
        """
        return Snapshot(
            self.pool,
            custom_plan=custom_plan,
            caller=caller,
            deadline=deadline,
            replica=self._replica(on_replica, after),
            after=after,
        )

    def _replica(self, on_replica: bool, after: Position | None) -> Replica | None:
        return self.replicas.pick(after) if on_replica and self.replicas is not None else None

    def value(
        self,
        text: str,
        arguments: Sequence[Any],
        *,
        custom_plan: bool = False,
        caller: str | None = None,
        stopwatch: Stopwatch | None = None,
        on_replica: bool = False,
        after: Position | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """The single value of one SELECT with ``$1``, ``$2``, ..., run on the driver itself.

        It stays prepared and has one plan for all values; with ``custom_plan`` it is planned for
        these. A statement is a snapshot of its own and needs no transaction. With ``on_replica``
        a standby may be asked, if it has what was written up to ``after``. Raises Unavailable
        when the database is away.
        """
        stopwatch = stopwatch or Stopwatch()
        replica = self._replica(on_replica, after) if on_replica else None
        if replica is not None:
            return self._nearby(replica, text, arguments, custom_plan, caller, stopwatch, after)
        return self._value(self.pool, text, arguments, custom_plan, caller, stopwatch, None)

    async def _nearby(
        self,
        replica: Replica,
        text: str,
        arguments: Sequence[Any],
        custom_plan: bool,
        caller: str | None,
        stopwatch: Stopwatch,
        after: Position | None,
    ) -> Any:
        """The value from a standby; from the primary if it is behind or fails."""
        try:
            return await self._value(
                replica.pool, text, arguments, custom_plan, caller, stopwatch, after
            )
        except Behind:
            pass
        except Exception as error:
            if not replica.failed(error):
                raise
        return await self._value(self.pool, text, arguments, custom_plan, caller, stopwatch, None)

    async def _value(
        self,
        pool: Pool,
        text: str,
        arguments: Sequence[Any],
        custom_plan: bool,
        caller: str | None,
        stopwatch: Stopwatch,
        after: Position | None,
    ) -> Any:
        try:
            start = time.perf_counter()
            lent = pool.lend_now(caller)
            if lent is None:
                try:
                    lent = await pool.lend(caller)
                finally:
                    asked, start = start, time.perf_counter()
                    stopwatch.pool_seconds += start - asked
            try:
                if after is not None:
                    await reach(lent.driver, after)
                try:
                    # unscoped: runs what was compiled from scoped selects
                    found = await pool.fetch(lent, text, arguments, custom_plan=custom_plan)
                except (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError):
                    # A migration changed the type of a column since the statement was prepared.
                    lent.prepared.drop(text)
                    await lent.driver.reload_schema_state()
                    # unscoped: runs what was compiled from scoped selects
                    found = await pool.fetch(lent, text, arguments, custom_plan=custom_plan)
            except BaseException as error:
                pool.take_back(lent, error)
                raise
            finally:
                stopwatch.seconds += time.perf_counter() - start
        except Exception as error:
            refuse_away(error)
            raise
        pool.keep(lent)
        return found

    async def explain(
        self, text: str, arguments: Sequence[Any], *, caller: str | None = None
    ) -> str:
        """PostgreSQL's plan of a SELECT for these values, after running it; rolled back.

        A statement that stays prepared may have another plan, made for all values (see ``value``).
        Raises Unavailable when the database is away.
        """
        with away_is_unavailable():
            lent = await self.pool.lend(caller)
            try:
                async with lent.driver.transaction(readonly=True):
                    # unscoped: explains what was compiled from scoped selects
                    rows = await lent.driver.fetch(f"{EXPLAIN} {text}", *arguments)
            except BaseException as error:
                self.pool.take_back(lent, error)
                raise
            self.pool.keep(lent)
        return "\n".join(row[0] for row in rows)

    async def write(
        self,
        action: Callable[[Transaction], Awaitable[T]],
        *,
        caller: str | None = None,
        deadline: float | None = None,
        stopwatch: Stopwatch | None = None,
        viewer: str | None = None,
        followed: bool = True,
    ) -> T:
        """Run ``action`` in one READ COMMITTED transaction, and commit it.

        A deadlock or a serialisation failure runs it again from the start, a few times; any
        exception leaves nothing behind. Raises Unavailable when the database is away, and when
        ``deadline`` (of the event loop's clock) has passed before the commit. ``stopwatch``
        counts how long it waits for connections. Where there are standbys, it is remembered for
        ``viewer`` up to where they have to be. What cannot be ``followed`` by subscriptions is told
        to nobody.
        """
        stopwatch = stopwatch or Stopwatch()
        replicas = self.replicas if viewer is not None else None
        for attempt in range(1, WRITE_ATTEMPTS + 1):
            try:
                made = _Attempt(self.pool, action, caller, stopwatch, located=replicas is not None)
                try:
                    result: T = await made.result(deadline)
                finally:
                    if replicas is not None and viewer is not None and made.commits:
                        replicas.note(viewer, made.position)
                if followed:
                    self.after_commit()
                    self.hints.tell()
                return result
            except asyncpg.PostgresError as error:
                if sqlstate(error) not in REPEATED or attempt == WRITE_ATTEMPTS:
                    raise
                await asyncio.sleep(random.uniform(0, 0.02 * 2**attempt))
        raise AssertionError("unreachable")

    async def is_writable(self) -> bool:
        """Whether new connections can write, asked on a connection beside the pool."""
        with away_is_unavailable():
            (writable,) = await self.pool.check(WRITABLE)
        if not writable:
            self.pool.renew_check()
        return bool(writable)

    async def revisions(self) -> set[str]:
        """What Alembic says of the database, asked on a connection beside the pool."""
        with away_is_unavailable():
            (found,) = await self.pool.check(REVISIONS)
        return set(found or ())

    async def close(self) -> None:
        """Close every connection."""
        if self.replicas is not None:
            await self.replicas.close()
        await self.pool.close()


def _nothing() -> None:
    """Nobody waits for commits."""


class _Attempt:
    """One transaction, run in a task of its own: a deadline or a cancellation ends it behind."""

    def __init__(
        self,
        pool: Pool,
        action: Callable[[Transaction], Awaitable[T]],
        caller: str | None,
        stopwatch: Stopwatch,
        *,
        located: bool,
    ) -> None:
        self._pool, self._action, self._caller = pool, action, caller
        self._stopwatch, self._located = stopwatch, located
        self.position = NOWHERE
        """Where the WAL was after the commit, if that was asked for."""
        self._deadline: float | None = None
        self._transaction: Transaction | None = None

    @property
    def commits(self) -> bool:
        """Whether something is being committed, or was."""
        return self._transaction is not None and self._transaction.committing

    async def result(self, deadline: float | None) -> Any:
        """What the action returned, once it is committed."""
        self._deadline = deadline
        task = detached(self._run())
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.shield(task)
        except TimeoutError:
            if deadline is None or task.done():
                raise
            if self.commits:
                # What was written must not be hidden by an error that says it was not.
                await asyncio.wait({task}, timeout=COMMIT_SECONDS)
                if task.done():
                    return task.result()
            task.cancel()
            raise Unavailable(TOO_LONG) from None
        except asyncio.CancelledError:
            if not self.commits:
                task.cancel()
            raise

    def _may_commit(self) -> bool:
        """Whether a statement may commit by itself: only if its outcome is known in time.

        Until the deadline a transaction can be given up, and was not committed then. Of a statement
        that commits by itself nobody knows; so PostgreSQL has to end it before.
        """
        config = self._pool.config
        if config.pgbouncer:  # it was not told the timeout
            return False
        if self._deadline is None:
            return True
        left = self._deadline - asyncio.get_running_loop().time()
        return 0 < config.statement_timeout <= left

    async def _run(self) -> Any:
        with away_is_unavailable():
            with self._stopwatch.waiting():
                lent = await self._pool.lend(self._caller, write=True)
            transaction = self._transaction = Transaction(self._pool, lent, self._may_commit)
            try:
                result = await self._action(transaction)
                if transaction.begun:
                    transaction.committing = True
                    await self._pool.command(lent, "COMMIT")
                if self._located:
                    self.position = await flushed(lent.driver)
            except BaseException as error:
                # Nobody who gives up waits for the connection to be cleaned.
                ending = self._pool.rolled_back(lent, error, begun=transaction.begun)
                cleaning = detached(ending)
                if isinstance(error, Exception):
                    await asyncio.shield(cleaning)
                raise
            self._pool.keep(lent)
            return result


def constraint(error: asyncpg.PostgresError) -> str:
    """The name of the constraint that the error violates; empty when it violates none."""
    return error.constraint_name or ""


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[Database]:
    """A Database that is closed at the end of the block, with the options of ``PoolConfig``."""
    database = Database(url, **options)
    try:
        yield database
    finally:
        await database.close()
