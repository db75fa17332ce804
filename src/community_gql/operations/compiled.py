"""Running queries as one statement where that is possible, and saying why where it is not.

A query is compiled at its second sight, on a thread, while the loaders answer; from then on its
statement runs. The key of a statement is the operation, the values of the variables in ``@skip``
and ``@include``, and the form of the arguments (which of them are given, the order, the type that
an id names); values, cursors and the viewer are bind parameters.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import asyncpg
from graphql import OperationType

from community_gql.lru import Kept
from community_gql.operations.compiler import Statement, arguments_of, compile_operation, form_of
from community_gql.operations.cost import AnswerTooLarge
from community_gql.operations.prepared import Prepared, SwitchedOperation
from community_gql.operations.selections import NotCompiled
from community_gql.operations.throttle import paced
from community_gql.schema.context import Context

Mode = Literal["on", "off", "always"]

MAX_ANSWER_BYTES = 16 * 2**20
STATEMENTS_BYTES = 32 * 2**20
WAITING = 32
"""So many compilations may wait; more are asked for again by a later request."""
COMPILED_FIELD = 50
"""What compiling is charged for each field: it takes half a millisecond or more."""

_BIND_BYTES = 200

_log = logging.getLogger("community_gql.pushdown")


class Pushdown:
    """What one process has compiled. ``always`` compiles at first sight, and waits for it."""

    def __init__(self, mode: Mode = "on", max_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._mode, self._max_bytes = mode, max_bytes
        self.statements: Kept[Statement | str] = Kept(STATEMENTS_BYTES)
        """Statements, or why there is none, by operation and form."""
        self._compiling: set[Any] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="compile")

    async def run(
        self,
        prepared: Prepared,
        context: Context,
        afford: Callable[[int], Awaitable[bool]],
    ) -> tuple[bytes | None, str | None]:
        """The JSON text of ``data``, or None and why the loaders must run the operation.

        ``afford`` takes the price of a compilation, and says whether it could. Raises
        Unavailable, and AnswerTooLarge for data that the database has then not sent.
        """
        found = self._statement(prepared)
        if found is None:
            found = await self._compile(prepared, afford)
        if isinstance(found, str):
            return None, found
        arguments = arguments_of(found, prepared.plans, context.viewer.binds())
        try:
            data = await context.value(found.text, arguments, anew=found.anew)
        except asyncpg.PostgresError as error:
            # Most likely a value that the schema does not allow: the loaders say which.
            _log.warning(
                "a compiled statement failed: %s", error.sqlstate
            )  # its text may hold values
            return None, f"the statement failed: {error.sqlstate}"
        if data is None:
            raise AnswerTooLarge(self._max_bytes)
        return data, None

    def _statement(self, prepared: Prepared) -> Statement | str | None:
        """The operation's statement, or why the loaders must run it; None if nobody knows yet."""
        if self._mode == "off":
            return "switched off"
        operation = prepared.operation
        if operation.node.operation is not OperationType.QUERY:
            return "not a query"
        if not operation.seen and self._mode == "on":
            operation.seen = True
            return "first sight"
        key = _key(prepared)
        found = self.statements.get(key)
        if found is None and self._mode == "always":
            return self._keep(key, _compiled(prepared, self._max_bytes))
        return found

    async def _compile(self, prepared: Prepared, afford: Callable[[int], Awaitable[bool]]) -> str:
        """Have the statement made, for later requests; says why there is none for this one."""
        key = _key(prepared)
        if key in self._compiling:
            return "being compiled"
        if len(self._compiling) >= WAITING:
            return "too much to compile"
        self._compiling.add(key)  # before anything is awaited
        work: asyncio.Future[Statement | str] | None = None
        try:
            if not await afford(COMPILED_FIELD * prepared.switched.fields):
                return "too dear to compile"
            loop = asyncio.get_running_loop()
            work = loop.run_in_executor(self._thread, _paced, prepared, self._max_bytes)
        finally:
            if work is None:
                self._compiling.remove(key)

        def done(work: asyncio.Future[Statement | str]) -> None:
            self._compiling.remove(key)
            if not work.cancelled():
                self._keep(key, work.result())

        work.add_done_callback(done)
        return "being compiled"

    def _keep(self, key: tuple[SwitchedOperation, Any], found: Statement | str) -> Statement | str:
        # Its key holds the operation, which may be dropped from its own place before.
        size = key[0].size
        if isinstance(found, Statement):
            size += len(found.text) + _BIND_BYTES * len(found.arguments)
        self.statements.put(key, found, size)
        return found

    def close(self) -> None:
        """Stop compiling."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def form(plans: dict[int, Any]) -> tuple[Any, ...]:
    """What of a request's plans decides the text of the statement."""
    return tuple(map(form_of, plans.values()))


def _key(prepared: Prepared) -> tuple[SwitchedOperation, tuple[Any, ...]]:
    return prepared.switched, form(prepared.plans)


def _paced(prepared: Prepared, max_bytes: int) -> Statement | str:
    with paced():
        return _compiled(prepared, max_bytes)


def _compiled(prepared: Prepared, max_bytes: int) -> Statement | str:
    operation = prepared.operation
    try:
        return compile_operation(
            operation.node,
            operation.fragments,
            prepared.variables,
            prepared.all_plans,
            set(prepared.plans),
            max_bytes,
        )
    except NotCompiled as why:
        return str(why)
    except Exception as error:
        # A fault of the compiler must not take the answer away.
        _log.error("a query could not be compiled", exc_info=error)
        return "the compiler failed"
