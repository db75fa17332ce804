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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import asyncpg
from graphql import OperationType
from graphql.execution.values import VariableValues

from community_gql.api.context import Context
from community_gql.api.readings import ENTRY_BYTES, Reading
from community_gql.kept import Kept
from community_gql.pushdown.compiler import Statement, arguments_of, compile_operation, form_of
from community_gql.pushdown.selections import NotCompiled

Mode = Literal["on", "off", "always"]

STATEMENTS_BYTES = 32 * 2**20
WAITING = 32
"""So many compilations may wait; more are asked for again by a later request."""

_log = logging.getLogger("community_gql.pushdown")


class Way(enum.StrEnum):
    """How an operation was run."""

    COMPILED = "compiled"
    LOADERS = "loaders"


@dataclass(frozen=True, slots=True)
class Ran:
    """The outcome of a try: the JSON text of ``data``, or why the loaders must run it."""

    data: bytes | None
    why: str | None = None

    @property
    def way(self) -> Way:
        """How the operation was run."""
        return Way.LOADERS if self.data is None else Way.COMPILED


class Pushdown:
    """What one process has compiled. ``always`` compiles at first sight, and waits for it."""

    def __init__(self, mode: Mode = "on") -> None:
        self._mode = mode
        self.statements: Kept[Statement | str] = Kept(STATEMENTS_BYTES)
        """Statements, or why there is none, by reading and form."""
        self._compiling: dict[Any, asyncio.Future[Statement | str]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="compile")

    async def run(
        self,
        reading: Reading,
        variables: VariableValues,
        plans: dict[int, Any],
        context: Context,
    ) -> Ran:
        """Run the operation, unless the loaders must. ``plans`` are those of ``Reading.plans``.

        Raises Unavailable.
        """
        found = self._statement(reading, variables, plans)
        if isinstance(found, str):
            return Ran(None, found)
        arguments = arguments_of(found, plans, context.viewer.binds())
        try:
            return Ran(await context.value(found.text, arguments))
        except asyncpg.PostgresError as error:
            # Most likely a value that the schema does not allow: the loaders say which.
            _log.warning(
                "a compiled statement failed: %s", error.sqlstate
            )  # its text may hold values
            return Ran(None, f"the statement failed: {error.sqlstate}")

    def _statement(
        self, reading: Reading, variables: VariableValues, plans: dict[int, Any]
    ) -> Statement | str:
        """The operation's statement; or why the loaders must run it."""
        if self._mode == "off":
            return "switched off"
        operation = reading.operation
        if operation.node.operation is not OperationType.QUERY:
            return "not a query"
        if not operation.seen and self._mode == "on":
            operation.seen = True
            return "first sight"
        key = reading, form(plans)
        return self.statements.get(key) or self._compile(key, reading, variables, plans)

    def _compile(
        self, key: Any, reading: Reading, variables: VariableValues, plans: dict[int, Any]
    ) -> Statement | str:
        if self._mode == "always":
            return self._keep(key, _compiled(reading, variables, plans))
        if key in self._compiling:
            return "being compiled"
        if len(self._compiling) >= WAITING:
            return "too much to compile"
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._thread, _compiled, reading, variables, plans)
        self._compiling[key] = future

        def done(future: asyncio.Future[Statement | str]) -> None:
            del self._compiling[key]
            if not future.cancelled():
                self._keep(key, future.result())

        future.add_done_callback(done)
        return "being compiled"

    def _keep(self, key: tuple[Reading, Any], found: Statement | str) -> Statement | str:
        text = found if isinstance(found, str) else found.text
        # Its key holds the reading, which may be dropped from its own place before.
        size = key[0].operation.size + 2 * len(text) + ENTRY_BYTES
        self.statements.put(key, found, size)
        return found

    def close(self) -> None:
        """Stop compiling."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def form(plans: dict[int, Any]) -> tuple[Any, ...]:
    """What of a request's plans decides the text of the statement."""
    return tuple(map(form_of, plans.values()))


def _compiled(
    reading: Reading, variables: VariableValues, plans: dict[int, Any]
) -> Statement | str:
    operation, every = reading.operation, {**reading.fixed, **plans}
    try:
        return compile_operation(operation.node, operation.fragments, variables, every, set(plans))
    except NotCompiled as why:
        return str(why)
    except Exception as error:
        # A fault of the compiler must not take the answer away.
        _log.error("a query could not be compiled", exc_info=error)
        return "the compiler failed"
