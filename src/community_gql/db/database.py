"""The only ways to the database: a value or a snapshot to read, a transaction to write."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from community_gql.db.pool import Pool, PoolConfig, detached
from community_gql.db.snapshot import Snapshot
from community_gql.db.states import REPEATED, TOO_LONG, away_is_unavailable, sqlstate
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

    def __init__(self, url: str, **options: Any) -> None:
        self.pool = Pool(url, PoolConfig(**options))
        self.after_commit: Callable[[], None] = _nothing
        """Called after each commit of this process."""

    @property
    def engine(self) -> AsyncEngine:
        """SQLAlchemy's engine, for its events."""
        return self.pool.engine

    def snapshot(
        self, *, custom_plan: bool = False, caller: str | None = None, deadline: float | None = None
    ) -> Snapshot:
        """What one operation reads through; close it when the operation ends.

        For ``custom_plan`` see ``value``.
        """
        return Snapshot(self.pool, custom_plan=custom_plan, caller=caller, deadline=deadline)

    async def value(
        self,
        text: str,
        arguments: Sequence[Any],
        *,
        custom_plan: bool = False,
        caller: str | None = None,
        stopwatch: Stopwatch | None = None,
    ) -> Any:
        """The single value of one SELECT with ``$1``, ``$2``, ..., run on the driver itself.

        It stays prepared and has one plan for all values; with ``custom_plan`` it is planned for
        these. A statement is a snapshot of its own and needs no transaction. Raises Unavailable
        when the database is away.
        """
        with away_is_unavailable():
            lent = await self.pool.lend(caller)
            start = time.perf_counter()
            try:
                try:
                    # unscoped: runs what was compiled from scoped selects
                    found = await self.pool.fetch(lent, text, arguments, custom_plan=custom_plan)
                except (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError):
                    # A migration changed the type of a column since the statement was prepared.
                    lent.prepared.drop(text)
                    await lent.driver.reload_schema_state()
                    # unscoped: runs what was compiled from scoped selects
                    found = await self.pool.fetch(lent, text, arguments, custom_plan=custom_plan)
            except BaseException as error:
                self.pool.take_back(lent, error)
                raise
            finally:
                if stopwatch is not None:
                    stopwatch.seconds += time.perf_counter() - start
            self.pool.keep(lent)
            return found

    async def write(
        self,
        action: Callable[[Transaction], Awaitable[T]],
        *,
        caller: str | None = None,
        deadline: float | None = None,
    ) -> T:
        """Run ``action`` in one READ COMMITTED transaction, and commit it.

        A deadlock or a serialisation failure runs it again from the start, a few times; any
        exception leaves nothing behind. Raises Unavailable when the database is away, and when
        ``deadline`` (of the event loop's clock) has passed before the commit.
        """
        for attempt in range(1, WRITE_ATTEMPTS + 1):
            try:
                result: T = await _Attempt(self.pool, action, caller).result(deadline)
                self.after_commit()
                return result
            except DBAPIError as error:
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
        await self.pool.close()


def _nothing() -> None:
    """Nobody waits for commits."""


class _Attempt:
    """One transaction, run in a task of its own: a deadline or a cancellation ends it behind."""

    def __init__(
        self, pool: Pool, action: Callable[[Transaction], Awaitable[T]], caller: str | None
    ) -> None:
        self._pool, self._action, self._caller = pool, action, caller
        self._commits = False

    async def result(self, deadline: float | None) -> Any:
        """What the action returned, once it is committed."""
        task = detached(self._run())
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.shield(task)
        except TimeoutError:
            if deadline is None or task.done():
                raise
            if self._commits:
                # What was written must not be hidden by an error that says it was not.
                await asyncio.wait({task}, timeout=COMMIT_SECONDS)
                if task.done():
                    return task.result()
            task.cancel()
            raise Unavailable(TOO_LONG) from None
        except asyncio.CancelledError:
            if not self._commits:
                task.cancel()
            raise

    async def _run(self) -> Any:
        with away_is_unavailable():
            connection = await self._pool.connect(self._caller, write=True)
            try:
                result = await self._action(Transaction(connection))
                self._commits = True
                await connection.commit()
            except BaseException as error:
                # Nobody who gives up waits for the connection to be cleaned.
                release = self._pool.release(connection, self._caller, write=True, error=error)
                cleaning = detached(release)
                if isinstance(error, Exception):
                    await asyncio.shield(cleaning)
                raise
            await self._pool.release(connection, self._caller, write=True)
            return result


def constraint(error: DBAPIError) -> str:
    """The name of the constraint that the error violates; empty when it violates none."""
    return getattr(getattr(error.orig, "__cause__", None), "constraint_name", None) or ""


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[Database]:
    """A Database that is closed at the end of the block, with the options of ``PoolConfig``."""
    database = Database(url, **options)
    try:
        yield database
    finally:
        await database.close()
