"""The engine, and the only two ways to the database: a snapshot to read, a session to write."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any, TypeVar

import asyncpg
import orjson
from sqlalchemy import Executable, event
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool, PoolProxiedConnection, QueuePool
from sqlalchemy.util import greenlet_spawn

from community_gql.errors import Unavailable

# SQLSTATE classes and codes that say "not now" rather than "not like this".
_AWAY = ("08", "53", "57P", "55P03")
_BROKEN = ("08", "57P")  # of those, what leaves the connection of no more use
_REPEATED = ("40001", "40P01")  # serialisation failure, deadlock
_CANCELLED = "57014"  # by statement_timeout
_TOO_LONG = "The request took too long. Ask for less at once."
WRITE_ATTEMPTS = 6
_CACHED_STATEMENT_BYTES = 16 * 1024
"""The longest text that stays prepared on a connection; asyncpg keeps 100 of them at most."""
_PLANS = "plan_cache_mode"
CONNECT_SECONDS = 2.0
"""How long a database that does not even answer is waited for."""

T = TypeVar("T")


class Stopwatch:
    """How long statements took, in seconds, without waiting for a connection."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what the block takes."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start


class Database:
    """One process's connections to PostgreSQL.

    ``url`` is a ``postgresql+asyncpg`` address; times are in seconds. ``pgbouncer`` switches off
    what transaction pooling breaks: named prepared statements and server settings at connect.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        pool_timeout: float = 5,
        statement_timeout: float = 14,
        pgbouncer: bool = False,
    ) -> None:
        arguments: dict[str, Any] = {
            "timeout": min(pool_timeout, CONNECT_SECONDS),
            "max_cacheable_statement_size": _CACHED_STATEMENT_BYTES,
        }
        pool: dict[str, Any] = {
            "pool_size": pool_size,
            "max_overflow": 0,
            "pool_timeout": pool_timeout,
        }
        if pgbouncer:
            arguments |= {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
            pool = {"poolclass": NullPool}
        else:
            arguments["server_settings"] = {
                "application_name": "community-gql",
                "statement_timeout": str(int(statement_timeout * 1000)),
                "idle_in_transaction_session_timeout": str(int(statement_timeout * 1000)),
                "jit": "off",  # planning these short queries for the JIT costs more than they take
            }
        self.engine: AsyncEngine = create_async_engine(
            url,
            connect_args=arguments,
            hide_parameters=True,  # errors are logged, and no log may have what people write
            enable_from_linting=False,  # takes a LATERAL that joins two tables for a product
            json_deserializer=orjson.loads,
            json_serializer=lambda value: orjson.dumps(value).decode(),
            **pool,
        )
        event.listen(self.engine.sync_engine, "checkout", _refuse_closed)
        self._readers = self.engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        self._kept: list[PoolProxiedConnection] = []
        """Connections that ``value`` keeps ready between two statements, the warmest last."""
        self._keeps = not pgbouncer  # behind it a kept connection would be one of its clients
        self._wanted = 0
        """How many wait for a connection of the pool: they come before what is kept."""

    def snapshot(self, *, anew: bool = False) -> Snapshot:
        """What one operation reads through; close it when the operation ends.

        For ``anew`` see ``value``.
        """
        return Snapshot(self, anew)

    async def value(
        self,
        text: str,
        arguments: Sequence[Any],
        *,
        anew: bool = False,
        stopwatch: Stopwatch | None = None,
    ) -> Any:
        """The single value of one SELECT with ``$1``, ``$2``, ..., run on the driver itself.

        It stays prepared and has one plan for all values; with ``anew`` it is planned for these.

        A statement is a snapshot of its own and needs no transaction; SQLAlchemy only lends the
        connection, which is kept for the next statement unless someone else waits for one: lending
        and giving back costs as much as the driver takes. Raises Unavailable when the database is
        away.
        """
        with away_is_unavailable():
            lent = self._kept.pop() if self._kept else None
            if lent is None or lent.driver_connection.is_closed():  # type: ignore[union-attr]
                lent = await self._lend(lent)
            driver: Any = lent.driver_connection
            try:
                await self._plan(lent, anew)
                start = time.perf_counter()
                try:
                    # unscoped: runs what was compiled from scoped selects
                    found = await driver.fetchval(text, *arguments)
                finally:
                    if stopwatch is not None:
                        stopwatch.seconds += time.perf_counter() - start
            except BaseException as error:
                await greenlet_spawn(self._take_back, lent, error)
                raise
            if self._keeps and not self._wanted:
                self._kept.append(lent)
            else:
                await greenlet_spawn(lent.close)
            return found

    async def _plan(self, lent: PoolProxiedConnection, anew: bool) -> None:
        """Have the connection plan its statements for their values, or for all values.

        Left to itself PostgreSQL compares guesses, and plans many a page anew each time.
        """
        mode = "force_custom_plan" if anew else "force_generic_plan"
        # Behind PgBouncer nothing is prepared, and a setting would be left to other clients.
        if self._keeps and lent.info.get(_PLANS) != mode:
            driver: Any = lent.driver_connection
            await driver.execute(f"SET {_PLANS} = {mode}")  # unscoped: a setting
            lent.info[_PLANS] = mode

    async def _lend(self, closed: PoolProxiedConnection | None) -> PoolProxiedConnection:
        """A connection of the pool; ``closed`` is one that the server has closed meanwhile."""
        if closed is not None:
            closed.invalidate()
        with self._wanting():
            return await greenlet_spawn(self.engine.sync_engine.raw_connection)

    def _take_back(self, lent: PoolProxiedConnection, error: BaseException) -> None:
        """Give a connection back on which a statement failed."""
        # Nobody else tells the pool that a connection is useless: it would lend it again.
        state = getattr(error, "sqlstate", None)
        if not isinstance(error, Exception):
            lent.invalidate(error)  # cancelled: its statement may still be on the way
        elif state is None or state.startswith(_BROKEN):
            # As SQLAlchemy does: with one connection broken, all of before are suspect.
            self.engine.sync_engine.pool._invalidate(lent, error)
        lent.close()

    @contextmanager
    def _wanting(self) -> Iterator[None]:
        self._wanted += 1
        try:
            yield
        finally:
            self._wanted -= 1

    async def _make_room(self) -> None:
        """Let the pool have one of the kept connections, if it has no other to lend."""
        pool = self.engine.sync_engine.pool
        if self._kept and isinstance(pool, QueuePool) and pool.checkedin() == 0:
            await greenlet_spawn(self._kept.pop().close)

    async def reader(self, *, anew: bool) -> AsyncConnection:
        """A connection for a read-only REPEATABLE READ transaction; close it. ``anew``: see value.

        Its transaction begins with its first statement.
        """
        with self._wanting():
            await self._make_room()
            connection = await self._readers.connect()
        try:
            await self._plan(await connection.get_raw_connection(), anew)
        except BaseException:
            await connection.close()
            raise
        return connection

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        with ExitStack() as waiting:
            waiting.enter_context(self._wanting())
            await self._make_room()
            async with self.engine.begin() as connection:
                waiting.close()
                yield connection

    async def write(self, action: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run ``action`` in one READ COMMITTED transaction, and commit it.

        A deadlock or a serialisation failure runs it again from the start, a few times; any
        exception leaves nothing behind. Raises Unavailable when the database is away.
        """
        for attempt in range(1, WRITE_ATTEMPTS + 1):
            try:
                with away_is_unavailable():
                    async with self._transaction() as connection:
                        return await action(Transaction(connection))
            except DBAPIError as error:
                if sqlstate(error) not in _REPEATED or attempt == WRITE_ATTEMPTS:
                    raise
                await asyncio.sleep(random.uniform(0, 0.02 * 2**attempt))
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Close every connection."""
        while self._kept:
            await greenlet_spawn(self._kept.pop().close)
        await self.engine.dispose()


class Snapshot:
    """One read-only REPEATABLE READ transaction, opened at the first statement.

    All batches of an operation take turns on its single connection: the whole answer shows one
    moment, and a small pool cannot deadlock. Raises Unavailable when the database is away.
    """

    def __init__(self, database: Database, anew: bool) -> None:
        self._database, self._anew = database, anew
        self._connection: AsyncConnection | None = None
        self._turn = asyncio.Lock()
        self._closed = False
        self.statements = 0
        """How many statements have run, for the log and the tests."""
        self.stopwatch = Stopwatch()
        self.texts: list[str] | None = None
        """Where their texts are noted, without values; nowhere, unless somebody asked."""

    async def run(self, statement: Executable, values: Mapping[str, Any]) -> Sequence[Any]:
        """All rows of ``statement``."""
        async with self._turn:
            if self._closed:
                raise Unavailable("The operation has ended.")  # an error elsewhere ended it early
            with away_is_unavailable():
                if self._connection is None:
                    self._connection = await self._database.reader(anew=self._anew)
                self.statements += 1
                with self.stopwatch.running():
                    result = await self._connection.execute(statement, values)
                if self.texts is not None:
                    self.texts.append(result.context.statement)
                return result.all()

    async def close(self) -> None:
        """Give the connection back, once the statement that has its turn is through."""
        async with self._turn:
            self._closed = True
            connection, self._connection = self._connection, None
            if connection is not None:
                await connection.close()


class Transaction:
    """What an action writes through: one transaction, committed by whoever opened it."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.statements = 0
        self.stopwatch = Stopwatch()
        self.texts: list[str] | None = None  # as of a Snapshot

    async def run(self, statement: Executable, values: Any = None) -> Sequence[Any]:
        """Run ``statement`` (once per set of values in a list); its rows, if it returns any."""
        self.statements += 1
        with self.stopwatch.running():
            result = await self._connection.execute(statement, values)
        if self.texts is not None:
            self.texts.append(result.context.statement)
        return result.all() if result.returns_rows else ()

    async def first(self, statement: Executable, values: Any = None) -> Any:
        """The first row of ``statement``, or None."""
        rows = await self.run(statement, values)
        return rows[0] if rows else None


@contextmanager
def away_is_unavailable() -> Iterator[None]:
    """Turn every sign that the database cannot serve now into Unavailable."""
    try:
        yield
    except (PoolTimeout, OSError, InterfaceError, asyncpg.InterfaceError) as error:
        raise _unavailable() from error
    except DBAPIError as error:
        if error.connection_invalidated or sqlstate(error).startswith(_AWAY):
            raise _unavailable() from error
        if sqlstate(error) == _CANCELLED:
            raise _unavailable(_TOO_LONG) from error
        raise
    except asyncpg.PostgresError as error:
        if str(error.sqlstate).startswith(_AWAY):
            raise _unavailable() from error
        if error.sqlstate == _CANCELLED:
            raise _unavailable(_TOO_LONG) from error
        raise


def _refuse_closed(connection: Any, record: Any, proxy: Any) -> None:
    """Replace a pooled connection that the server has closed, before a statement fails on it."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError


def sqlstate(error: DBAPIError) -> str:
    """PostgreSQL's code for the error, such as ``23505``; empty when it has none."""
    return getattr(error.orig, "sqlstate", None) or ""


def constraint(error: DBAPIError) -> str:
    """The name of the constraint that the error violates; empty when it violates none."""
    return getattr(getattr(error.orig, "__cause__", None), "constraint_name", None) or ""


def _unavailable(
    message: str = "The database cannot answer at the moment. Try again shortly.",
) -> BaseException:
    # A task that is being cancelled breaks its own connection: that is no sign of the database's.
    task = asyncio.current_task()
    return asyncio.CancelledError() if task and task.cancelling() else Unavailable(message)


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[Database]:
    """A Database that is closed at the end of the block, for commands and tests."""
    database = Database(url, **options)
    try:
        yield database
    finally:
        await database.close()
