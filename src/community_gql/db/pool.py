"""The connections of one process to PostgreSQL, and who gets one when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, TypeVar

import orjson
from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import PoolProxiedConnection, QueuePool
from sqlalchemy.util import greenlet_spawn

from community_gql.db import connecting
from community_gql.db.answers import ANSWERS, TRACKED
from community_gql.db.labels import STATEMENT, describe, label_of
from community_gql.db.states import POOL_WAIT, STALE, is_useless, sqlstate, unavailable
from community_gql.db.texts import Row
from community_gql.db.turns import Turns
from community_gql.lru import LruCache
from community_gql.telemetry import metrics, tracing

CONNECT_SECONDS = 2.0
"""How long a database that does not even answer is waited for."""
CLEANING_SECONDS = 5.0
"""How long closing waits for connections that are still being given back."""
PREPARED_BYTES = 256 * 1024
"""How much SQL text stays prepared on a connection, in characters."""
LONGEST_PREPARED = 16 * 1024
"""The longest text that stays prepared, in characters."""
PREPARED_OVERHEAD = 2048
"""What a short statement weighs beside its text."""
PLANS = "plan_cache_mode"
CUSTOM = f"SET LOCAL {PLANS} = force_custom_plan"
GENERIC = f"SET LOCAL {PLANS} = force_generic_plan"

T = TypeVar("T")

_background: set[asyncio.Task[Any]] = set()


def detached(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run ``work`` in a task that goes on when its caller is cancelled."""
    task = asyncio.ensure_future(work)
    _background.add(task)
    task.add_done_callback(_ended)
    return task


def _ended(task: asyncio.Task[Any]) -> None:
    _background.discard(task)
    if not task.cancelled():
        task.exception()  # has been seen: whoever waited for it may be gone


async def awaited(
    work: Coroutine[Any, Any, T], lost: Callable[[asyncio.Task[T]], None] | None = None
) -> T:
    """The result of ``work``. If the caller is cancelled, ``work`` is too, and not waited for.

    What a cancelled statement still waits for, such as a server that hangs, delays nobody then.
    ``lost`` gets the task of a cancelled caller when it ends, for a result to give back.
    """
    task = detached(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        if lost is not None:
            task.add_done_callback(lost)
        raise


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """How many connections, for whom and for how long; times are in seconds."""

    pool_size: int = 10
    pool_timeout: float = 5
    """How long a request waits for a connection."""
    caller_share: float = 0.3
    """The part of the connections that one caller may hold at once."""
    write_share: float = 0.5
    """The part that may be used for writing at once."""
    statement_timeout: float = 14
    lock_timeout: float = 5
    pgbouncer: bool = False
    """Switches off what transaction pooling breaks: prepared statements and most settings."""
    pgbouncer_prepared: bool = False
    """Whether that PgBouncer keeps prepared statements (``max_prepared_statements``)."""

    @property
    def prepares(self) -> bool:
        """Whether statements stay prepared."""
        return not self.pgbouncer or self.pgbouncer_prepared

    @property
    def plans_by_transaction(self) -> bool:
        """Whether only a transaction can have its statements planned for their values.

        Behind PgBouncer what is set for longer is left to other clients.
        """
        return self.pgbouncer and self.pgbouncer_prepared

    @property
    def caller_part(self) -> int:
        """How many connections one caller may hold."""
        return max(1, min(self.pool_size, ceil(self.pool_size * self.caller_share)))

    @property
    def write_part(self) -> int:
        """How many connections may write; one is left for readers, if there are two."""
        return max(1, min(self.pool_size - 1, ceil(self.pool_size * self.write_share)))


@dataclass(slots=True, eq=False)
class Lent:
    """A connection that ``Pool.lend`` lends for statements on the driver itself."""

    connection: PoolProxiedConnection
    caller: str | None
    write: bool = False
    prepared: LruCache[Any] = field(default_factory=lambda: LruCache(PREPARED_BYTES))
    """What is prepared on it, by the text; what is dropped is closed in PostgreSQL as well."""
    driver: Any = None
    """The driver's connection."""
    custom_plan: bool | None = None
    """How it plans its statements, see ``Pool.plan``; None before the first of them."""

    def __post_init__(self) -> None:
        self.driver = self.connection.driver_connection


class Pool:
    """Lends connections in turns by caller. Everything that it raises is a sign of the database.

    Connections for the driver's statements stay lent by SQLAlchemy between two uses: lending and
    giving back costs as much as the driver takes. Never more than ``pool_size`` are in use or
    ready, so nobody waits in SQLAlchemy's own pool.
    """

    def __init__(self, url: str, config: PoolConfig) -> None:
        self.config = config
        self.turns = Turns(
            config.pool_size, caller_part=config.caller_part, write_part=config.write_part
        )
        self.engine = _engine(url, config, config.pool_size)
        self._own: AsyncEngine = _engine(url, config, 1)
        self._ready: list[Lent] = []
        """Connections that are lent by SQLAlchemy and used by nobody, the warmest last."""
        self._in_use = 0

    async def lend(self, caller: str | None, *, write: bool = False) -> Lent:
        """A connection for the driver's statements: ``keep`` it afterwards, or ``take_back``."""
        if not self.turns.try_take(caller, write=write):
            await self._turn(caller, write=write)
        self._in_use += 1
        while self._ready:
            lent = self._ready.pop()
            if not lent.driver.is_closed():
                lent.caller, lent.write = caller, write
                return lent
            lent.connection.invalidate()
        try:
            return Lent(await awaited(self._checkout(), _close_lost), caller, write)
        except BaseException as error:
            self._leave(caller, write)
            self.note(error)
            raise

    def lend_now(self, caller: str | None) -> Lent | None:
        """The same to read with, if there is one that nobody has to wait for."""
        ready = self._ready
        if not ready or ready[-1].driver.is_closed() or not self.turns.try_take(caller):
            return None
        self._in_use += 1
        lent = ready.pop()
        lent.caller, lent.write = caller, False
        return lent

    def fetch(
        self, lent: Lent, text: str, arguments: Sequence[Any], *, custom_plan: bool
    ) -> Coroutine[Any, Any, Any]:
        """The single value of a statement, which stays prepared."""
        if tracing.on:
            return self._traced(lent, text, arguments, custom_plan)
        return self._fetch(lent, text, arguments, custom_plan)

    async def _traced(
        self, lent: Lent, text: str, arguments: Sequence[Any], custom_plan: bool
    ) -> Any:
        with tracing.span(STATEMENT, "client") as span:
            if span is not None:
                describe(span, text, label_of(text))
            return await self._fetch(lent, text, arguments, custom_plan)

    async def _fetch(
        self, lent: Lent, text: str, arguments: Sequence[Any], custom_plan: bool
    ) -> Any:
        if lent.custom_plan is not custom_plan:
            if custom_plan and self.config.plans_by_transaction:
                return await self._planned_anew(lent, text, arguments)
            await self.plan(lent, custom_plan)
        statement = lent.prepared.get(text)
        if statement is None:
            return await self._value(lent, text, arguments)
        # What `statement.fetchval` comes down to, through ten functions that all requests run.
        rows, _, _ = await lent.driver._protocol.bind_execute(
            statement._state, arguments, "", 1, True, None
        )
        return rows[0][0] if rows else None

    async def _value(self, lent: Lent, text: str, arguments: Sequence[Any]) -> Any:
        statement = await self._prepared(lent, text)
        if statement is None:
            return await lent.driver.fetchval(text, *arguments)  # unscoped: the caller's
        return await statement.fetchval(*arguments)  # unscoped: the caller's

    async def _planned_anew(self, lent: Lent, text: str, arguments: Sequence[Any]) -> Any:
        await lent.driver.execute(f"BEGIN READ ONLY; {CUSTOM}")  # unscoped: a setting
        try:
            found = await self._value(lent, text, arguments)
        except Exception:
            await self.command(lent, "ROLLBACK")
            raise
        await self.command(lent, "COMMIT")
        return found

    async def rows(self, lent: Lent, text: str, arguments: Sequence[Any]) -> list[Row]:
        """The rows of a statement of a transaction, which stays prepared."""
        statement = await self._prepared(lent, text)
        if statement is None:
            # unscoped: the caller's
            rows: list[Row] = await lent.driver.fetch(text, *arguments, record_class=Row)
        else:
            rows = await statement.fetch(*arguments)  # unscoped: the caller's
        return rows

    async def command(self, lent: Lent, text: str, *, custom_plan: bool = False) -> None:
        """Begin or end a transaction, or a part of one.

        One that begins has a plan for all values, or with ``custom_plan`` for those of the time.
        """
        if text.startswith("BEGIN"):
            if custom_plan and self.config.plans_by_transaction:
                text = f"{text}; {CUSTOM}"
            else:
                await self.plan(lent, custom_plan=custom_plan)
        await lent.driver.execute(text)  # unscoped: a transaction's begin or end

    async def _prepared(self, lent: Lent, text: str) -> Any:
        """The statement with this text; None where it does not stay prepared."""
        if not self.config.prepares or len(text) > LONGEST_PREPARED:
            return None
        statement = lent.prepared.get(text)
        if statement is None:
            statement = await lent.driver.prepare(text, record_class=Row)  # unscoped: the caller's
            lent.prepared.put(text, statement, len(text) + PREPARED_OVERHEAD)
        return statement

    async def plan(self, lent: Lent, custom_plan: bool) -> None:
        """Have the connection plan its statements for their values, or for all values.

        Left to itself PostgreSQL compares guesses, and plans many a page anew each time.
        """
        if lent.custom_plan is not custom_plan:
            # Behind PgBouncer a setting would be left to other clients: there the role has it.
            if not self.config.pgbouncer:
                mode = "force_custom_plan" if custom_plan else "force_generic_plan"
                await lent.driver.execute(f"SET {PLANS} = {mode}")  # unscoped: a setting
            lent.custom_plan = custom_plan

    def keep(self, lent: Lent) -> None:
        """Take a connection that works back, for the next statement."""
        self._ready.append(lent)
        self._leave(lent.caller, lent.write)

    def take_back(self, lent: Lent, error: BaseException | None) -> None:
        """Take a connection back on which a statement failed, in the background."""
        detached(self._take_back(lent, error))

    async def rolled_back(self, lent: Lent, error: BaseException, *, begun: bool) -> None:
        """End a transaction that failed (if one had ``begun``), and take its connection back."""
        if isinstance(error, Exception) and not is_useless(error):
            try:
                if begun:
                    await self.command(lent, "ROLLBACK")
                if sqlstate(error) == STALE:
                    lent.prepared = LruCache(PREPARED_BYTES)
                    await lent.driver.reload_schema_state()
            except BaseException as second:
                await self._take_back(lent, second)
                raise
            self.keep(lent)
        else:
            await self._take_back(lent, error)

    def note(self, error: BaseException) -> None:
        """Have all connections replaced if the error shows that they are of no more use."""
        if isinstance(error, Exception) and is_useless(error):
            self.renew()

    def renew(self) -> None:
        """Have every connection that is open now replaced before it is lent again."""
        _replace(self.engine)
        ready, self._ready = self._ready, []
        for lent in ready:
            detached(greenlet_spawn(lent.connection.invalidate))

    async def check(self, statement: str) -> Sequence[Any]:
        """The first row of a statement, run on a connection beside the pool."""
        return await awaited(self._check(statement))

    async def _check(self, statement: str) -> Sequence[Any]:
        async with self._own.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            row: Sequence[Any] = await driver.fetchrow(statement)  # unscoped: the caller's
            return row

    async def listen(self, channel: str, heard: Callable[..., None]) -> Any:
        """Have ``heard`` called for what is notified; the driver's connection on which it is.

        That is the one of ``check``, which listens as long as it is open.
        """
        return await awaited(self._listen(channel, heard))

    async def _listen(self, channel: str, heard: Callable[..., None]) -> Any:
        async with self._own.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            await driver.add_listener(channel, heard)
            return driver

    def renew_check(self) -> None:
        """Have ``check`` connect again, which shows what new connections would see."""
        _replace(self._own)

    async def close(self) -> None:
        """Close every connection, once those that are being given back are."""
        loop = asyncio.get_running_loop()
        if cleaning := [task for task in _background if task.get_loop() is loop]:
            await asyncio.wait(cleaning, timeout=CLEANING_SECONDS)
        while self._ready:
            await greenlet_spawn(self._ready.pop().connection.close)
        await self.engine.dispose()
        await self._own.dispose()

    async def _turn(self, caller: str | None, *, write: bool) -> None:
        try:
            with metrics.POOL_WAIT_SECONDS.time():
                await self.turns.take(caller, write=write, seconds=self.config.pool_timeout)
        except TimeoutError as error:
            raise unavailable(POOL_WAIT) from error

    @property
    def in_use(self) -> int:
        """How many connections are in use."""
        return self._in_use

    def _leave(self, caller: str | None, write: bool) -> None:
        self._in_use -= 1
        self.turns.give(caller, write=write)

    async def _checkout(self) -> PoolProxiedConnection:
        return await greenlet_spawn(self.engine.sync_engine.raw_connection)

    async def _take_back(self, lent: Lent, error: BaseException | None) -> None:
        try:
            if error is not None and (not isinstance(error, Exception) or is_useless(error)):
                # If it was cancelled, its statement may still be on the way.
                await greenlet_spawn(lent.connection.invalidate)
                self.note(error)
            await greenlet_spawn(lent.connection.close)
        finally:
            self._leave(lent.caller, lent.write)


def _close_lost(task: asyncio.Task[PoolProxiedConnection]) -> None:
    if not task.cancelled() and task.exception() is None:
        detached(greenlet_spawn(task.result().close))


def session(config: PoolConfig) -> dict[str, str]:
    """The settings that a connection starts with."""
    name = {"application_name": "community-gql"}
    if config.pgbouncer:  # it refuses connections that ask for more
        return name | {setting: ANSWERS[setting] for setting in TRACKED}
    statement = str(int(config.statement_timeout * 1000))
    return name | ANSWERS | {
        "statement_timeout": statement,
        "idle_in_transaction_session_timeout": statement,
        "lock_timeout": str(int(config.lock_timeout * 1000)),
        "jit": "off",  # planning these short queries for the JIT costs more than they take
    }  # fmt: skip


def _engine(url: str, config: PoolConfig, size: int) -> AsyncEngine:
    arguments: dict[str, Any] = {"max_cacheable_statement_size": LONGEST_PREPARED}
    pool: dict[str, Any] = {
        "pool_size": size,
        "max_overflow": 0,
        "pool_timeout": config.pool_timeout,
    }
    if not config.prepares:
        # The driver gives its statements no names then, and parses them anew in each transaction.
        arguments |= {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
    engine = connecting.engine(
        url,
        seconds=min(config.pool_timeout, CONNECT_SECONDS),
        server_settings=session(config),
        connect_args=arguments,
        hide_parameters=True,  # errors are logged, and no log may have what people write
        enable_from_linting=False,  # takes a LATERAL that joins two tables for a product
        json_deserializer=orjson.loads,
        json_serializer=lambda value: orjson.dumps(value).decode(),
        **pool,
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


def _replace(engine: AsyncEngine) -> None:
    """Have every connection that is open now replaced before it is lent again."""
    # The same mark that SQLAlchemy sets when it sees a broken connection itself.
    pool = engine.sync_engine.pool
    if isinstance(pool, QueuePool):
        pool._invalidate_time = time.time()


def _refuse_closed(connection: Any, record: Any, proxy: Any) -> None:
    """Replace a pooled connection that the server has closed, before a statement fails on it."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError
