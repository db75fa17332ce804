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
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import asyncpg
from graphql import DocumentNode, GraphQLError, OperationDefinitionNode, OperationType
from graphql.execution.values import VariableValues, get_variable_values

from community_gql.api.context import Context
from community_gql.api.schema import core
from community_gql.errors import BadRequest
from community_gql.pushdown.compiler import Statement
from community_gql.pushdown.plans import Kept
from community_gql.pushdown.readings import Operation, Reading, arguments_of
from community_gql.pushdown.selections import NotCompiled

Mode = Literal["on", "off", "always"]

STATEMENTS_BYTES = 32 * 2**20
READINGS_BYTES = 32 * 2**20
SIGHTS_BYTES = 2**20
WAITING = 32
"""So many compilations may wait; more are asked for again by a later request."""

_BYTES_PER_CHARACTER = 8
"""A reading holds the document's tree: 360 to 620 bytes for each token of some characters."""
_ENTRY_BYTES = 1000
_SIGHT_BYTES = 200

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
        self.operations: Kept[Operation] = Kept(READINGS_BYTES)
        self.readings: Kept[Reading] = Kept(READINGS_BYTES)
        self.statements: Kept[Statement | str] = Kept(STATEMENTS_BYTES)
        """Statements, or why there is none, by reading and form."""
        self.sights: Kept[bool] = Kept(SIGHTS_BYTES)
        self._compiling: dict[Any, asyncio.Future[Statement | str]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="compile")

    async def run(
        self,
        document: DocumentNode,
        node: OperationDefinitionNode,
        raw: Mapping[str, Any],
        context: Context,
        charge: Callable[[int], Awaitable[None]],
    ) -> Ran:
        """Run the operation, unless the loaders must. ``charge`` takes its cost before.

        Whatever is wrong with the request is left to them to report. Raises Unavailable, and what
        ``charge`` raises.
        """
        if self._mode == "off":
            return Ran(None, "switched off")
        if node.operation is not OperationType.QUERY:
            return Ran(None, "not a query")
        found = self._prepared(document, node, raw)
        if isinstance(found, str):
            return Ran(None, found)
        reading, variables, plans, size = found
        key = reading, reading.form(plans)
        statement = self.statements.get(key)
        if statement is None:
            statement = await self._compile(key, reading, variables, plans, size)
        if isinstance(statement, str):
            return Ran(None, statement)
        await charge(reading.cost(variables, plans))
        return await self._execute(statement, plans, context)

    def _prepared(
        self, document: DocumentNode, node: OperationDefinitionNode, raw: Mapping[str, Any]
    ) -> tuple[Reading, VariableValues, dict[int, Any], int] | str:
        """The reading, the variables and the varying plans; or why not."""
        if node.loc is None:
            return "a document without a text"
        text = node.loc.source.body
        name = node.name.value if node.name else None
        size = _BYTES_PER_CHARACTER * len(text)
        operation = self.operations.get((text, name))
        if operation is None:
            if not self._seen(text, name):
                return "first sight"
            operation = Operation.of(document, node)
            self.operations.put((text, name), operation, size + _ENTRY_BYTES)
        variables = get_variable_values(core, node.variable_definitions or (), dict(raw))
        if isinstance(variables, list):
            return "wrong variables"
        key = operation, operation.switched(variables)
        try:
            reading = self.readings.get(key)
            if reading is None:
                reading = Reading(operation, variables)
                self.readings.put(key, reading, size + _ENTRY_BYTES)
            return reading, variables, reading.plans(variables), size
        except (BadRequest, GraphQLError):
            return "wrong arguments"

    def _seen(self, text: str, name: str | None) -> bool:
        if self._mode == "always":
            return True
        key = hash((text, name))
        if self.sights.get(key):
            return True
        self.sights.put(key, True, _SIGHT_BYTES)
        return False

    async def _compile(
        self,
        key: Any,
        reading: Reading,
        variables: VariableValues,
        plans: dict[int, Any],
        size: int,
    ) -> Statement | str:
        if self._mode == "always":
            return self._keep(key, _compiled(reading, variables, plans), size)
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
                self._keep(key, future.result(), size)

        future.add_done_callback(done)
        return "being compiled"

    def _keep(self, key: Any, found: Statement | str, size: int) -> Statement | str:
        text = found if isinstance(found, str) else found.text
        # Its key holds the reading, which may be dropped from its own place before.
        self.statements.put(key, found, size + 2 * len(text) + _ENTRY_BYTES)
        return found

    async def _execute(self, statement: Statement, plans: dict[int, Any], context: Context) -> Ran:
        arguments = arguments_of(statement, plans, context.viewer.binds())
        context.snapshot.statements += 1
        if context.texts is not None:
            context.texts.append(statement.text)
        try:
            return Ran(await context.database.value(statement.text, arguments))
        except asyncpg.PostgresError as error:
            # Most likely a value that the schema does not allow: the loaders say which.
            _log.warning(
                "a compiled statement failed: %s", error.sqlstate
            )  # its text may hold values
            return Ran(None, f"the statement failed: {error.sqlstate}")

    def close(self) -> None:
        """Stop compiling."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _compiled(
    reading: Reading, variables: VariableValues, plans: dict[int, Any]
) -> Statement | str:
    try:
        return reading.compile(variables, plans)
    except NotCompiled as why:
        return str(why)
    except Exception as error:
        # A fault of the compiler must not take the answer away.
        _log.error("a query could not be compiled", exc_info=error)
        return "the compiler failed"
