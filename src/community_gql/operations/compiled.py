"""Running queries as one statement where that is possible, and saying why where it is not.

A query is compiled at its second sight, on a thread, while the loaders answer; from then on its
statement runs. The key of a statement is the operation, the values of the variables in ``@skip``
and ``@include``, and the form of the arguments (which of them are given, the order, the type that
an id names); values, cursors and the viewer are bind parameters.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import asyncpg
from graphql import OperationType

from community_gql.lru import LruCache
from community_gql.operations.compiler import compile_operation
from community_gql.operations.cost import AnswerTooLarge
from community_gql.operations.prepared import Prepared, SwitchedOperation
from community_gql.operations.selections import NotCompiled
from community_gql.operations.shape import MAX_ANSWER_BYTES
from community_gql.operations.statement import Statement, arguments_of
from community_gql.operations.throttle import throttled
from community_gql.schema.context import Context

Mode = Literal["on", "off", "always"]
Afford = Callable[[int], Awaitable[bool]]
"""Takes points from the caller's budget, and says whether it held them."""

STATEMENTS_BYTES = 32 * 2**20
WAITING = 32
"""So many compilations may wait; more are asked for again by a later request."""
COMPILED_FIELD = 50
"""What compiling is charged for each field: it takes half a millisecond or more."""

_BIND_BYTES = 200

_log = logging.getLogger("community_gql.pushdown")


class State(enum.Enum):
    """What is known of an operation's statement."""

    READY = enum.auto()
    MISSING = enum.auto()
    """Nobody has tried to make it."""
    PENDING = enum.auto()
    """It may be there for a later request."""
    IMPOSSIBLE = enum.auto()
    """The loaders must run the operation, now and later."""


@dataclass(frozen=True, slots=True)
class Compilation:
    """A statement, or why there is none."""

    state: State
    statement: Statement | None = None
    reason: str | None = None

    @classmethod
    def ready(cls, statement: Statement) -> Compilation:
        """With a statement to run."""
        return cls(State.READY, statement)

    @classmethod
    def pending(cls, reason: str) -> Compilation:
        """Without one for this request."""
        return cls(State.PENDING, reason=reason)

    @classmethod
    def impossible(cls, reason: str) -> Compilation:
        """Without one for good."""
        return cls(State.IMPOSSIBLE, reason=reason)


_MISSING = Compilation(State.MISSING)
_OFF = Compilation.impossible("switched off")
_WRITES = Compilation.impossible("not a query")
_NEW = Compilation.pending("first sight")
_BUSY = Compilation.pending("being compiled")
_CROWDED = Compilation.pending("too much to compile")
_DEAR = Compilation.pending("too dear to compile")

Key = tuple[SwitchedOperation, tuple[Hashable, ...]]
"""An operation with its switches, and the form of its arguments."""


class Pushdown:
    """What one process has compiled. ``always`` compiles at first sight, and waits for it."""

    def __init__(self, mode: Mode = "on", max_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._mode, self._max_bytes = mode, max_bytes
        self.statements: LruCache[Compilation] = LruCache(STATEMENTS_BYTES)
        """Statements, or why there is none, by operation and form."""
        self._compiling: dict[Key, asyncio.Future[Compilation] | None] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="compile")

    async def run(
        self, prepared: Prepared, context: Context, afford: Afford
    ) -> tuple[bytes | None, str | None]:
        """The JSON text of ``data``, or None and why the loaders must run the operation.

        ``afford`` takes the price of a compilation, and says whether it could. Raises
        Unavailable, and AnswerTooLarge for data that the database has then not sent.
        """
        found = self.find(prepared, context.near_rows)
        if found.state is State.MISSING:
            found = await self._start(prepared, context.near_rows, afford)
        statement = found.statement
        if statement is None:
            return None, found.reason
        arguments = arguments_of(statement, prepared.plans, context.viewer.binds())
        try:
            data: bytes | None = await context.value(
                statement.text, arguments, custom_plan=statement.custom_plan
            )
        except asyncpg.PostgresError as error:
            # Most likely a value that the schema does not allow: the loaders say which. The
            # error's text may hold values, so it is not logged.
            _log.warning("a compiled statement failed: %s", error.sqlstate)
            return None, f"the statement failed: {error.sqlstate}"
        if data is None:
            raise AnswerTooLarge(self._max_bytes)
        return data, None

    def find(self, prepared: Prepared, near_rows: int) -> Compilation:
        """The operation's statement, if there is one, or what is known of it."""
        if self._mode == "off":
            return _OFF
        operation = prepared.operation
        if operation.node.operation is OperationType.MUTATION:
            return _WRITES
        if not operation.seen and self._mode == "on":
            operation.seen = True
            return _NEW
        key = prepared.switched, prepared.plans.form
        found = self.statements.get(key)
        if found is None and self._mode == "always":
            found = self._keep(key, _compiled(prepared, near_rows, self._max_bytes))
        return found or _MISSING

    async def compile(self, prepared: Prepared, near_rows: int) -> None:
        """Have the statement made, and wait for it; at nobody's expense."""
        if self.find(prepared, near_rows).state is State.MISSING:
            await self._start(prepared, near_rows, _free)
            if work := self._compiling.get((prepared.switched, prepared.plans.form)):
                await asyncio.wait({work})

    async def _start(self, prepared: Prepared, near_rows: int, afford: Afford) -> Compilation:
        """Have the statement made, for later requests; says why there is none for this one."""
        key = prepared.switched, prepared.plans.form
        if key in self._compiling:
            return _BUSY
        if len(self._compiling) >= WAITING:
            return _CROWDED
        self._compiling[key] = None  # before anything is awaited
        work: asyncio.Future[Compilation] | None = None
        try:
            if not await afford(COMPILED_FIELD * prepared.switched.fields):
                return _DEAR
            loop = asyncio.get_running_loop()
            given = prepared, near_rows, self._max_bytes
            work = loop.run_in_executor(self._thread, _compiled_aside, *given)
            self._compiling[key] = work
        finally:
            if work is None:
                del self._compiling[key]

        def done(work: asyncio.Future[Compilation]) -> None:
            del self._compiling[key]
            if not work.cancelled():
                self._keep(key, work.result())

        work.add_done_callback(done)
        return _BUSY

    def _keep(self, key: Key, found: Compilation) -> Compilation:
        # Its key holds the operation, which may be dropped from its own place before.
        size = key[0].size
        if found.statement is not None:
            statement = found.statement
            size += len(statement.text) + _BIND_BYTES * len(statement.arguments)
        self.statements.put(key, found, size)
        return found

    def close(self) -> None:
        """Stop compiling."""
        self._thread.shutdown(wait=False, cancel_futures=True)


async def _free(points: int) -> bool:
    return True


def _compiled_aside(prepared: Prepared, near_rows: int, max_bytes: int) -> Compilation:
    with throttled():
        return _compiled(prepared, near_rows, max_bytes)


def _compiled(prepared: Prepared, near_rows: int, max_bytes: int) -> Compilation:
    operation = prepared.operation
    try:
        return Compilation.ready(
            compile_operation(
                operation.node,
                operation.fragments,
                prepared.variables,
                prepared.plans,
                near_rows,
                max_bytes,
            )
        )
    except NotCompiled as reason:
        return Compilation.impossible(str(reason))
    except Exception as error:
        # A fault of the compiler must not take the answer away.
        _log.error("a query could not be compiled", exc_info=error)
        return Compilation.impossible("the compiler failed")
