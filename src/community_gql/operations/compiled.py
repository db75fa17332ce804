"""Running queries as one statement where that is possible, and saying why where it is not.

A query is compiled on a thread once the loaders have answered its first request, if nothing else is
being compiled then, and at the second request otherwise. That one waits a little for its statement.
The key of a statement is the operation, the values of the variables in ``@skip``
and ``@include``, and the form of the arguments (which of them are given, the order, the type that
an id names); values, cursors and the viewer are bind parameters.

A query that may read more text than an answer may hold is compiled before it runs: its statement
counts the bytes of its long texts, and reads no more of them once there are too many.

Of a mutation the payloads are compiled, each as a statement of its own that runs after the commit.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import logging
import time
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import asyncpg
from graphql import OperationType

from community_gql.db.labels import labelled
from community_gql.errors import AnswerTooLarge, Unavailable
from community_gql.logs import write_event
from community_gql.lru import LruCache
from community_gql.operations.compiler import compile_operation
from community_gql.operations.payloads import NOTHING_TO_READ
from community_gql.operations.prepared import Prepared, SwitchedOperation
from community_gql.operations.samples import sample_of
from community_gql.operations.selections import MAX_FIELDS, TOO_MANY_FIELDS, NotCompiled
from community_gql.operations.shape import MAX_ANSWER_BYTES
from community_gql.operations.statement import Statement, arguments_of
from community_gql.operations.throttle import throttled
from community_gql.schema.context import Context
from community_gql.schema.lengths import CHARACTERS
from community_gql.schema.payloads import Outcome
from community_gql.telemetry import metrics

Mode = Literal["on", "off", "always"]
Afford = Callable[[int], Awaitable[bool]]
"""Takes points from the caller's budget, and says whether it held them."""

STATEMENTS_BYTES = 32 * 2**20
WAITING = 32
"""So many compilations may wait; more are asked for again by a later request."""
COMPILED_FIELD = 50
"""What compiling is charged for each field: it takes half a millisecond or more."""
PATIENCE = 0.15
"""Seconds that a request waits for its statement, before the loaders answer it."""
FIRST_SIGHT = "first sight"

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


@dataclass(slots=True)
class Compilation:
    """A statement, or why there is none."""

    state: State
    statement: Statement | None = None
    reason: str | None = None
    uses: int = 0
    """How often the statement was run since it was last remembered."""
    sample: str | None = None
    """Variables for which it would be made again; see ``sample_of``."""

    @classmethod
    def ready(cls, statement: Statement) -> Compilation:
        """With a statement to run."""
        return cls(State.READY, statement)

    def use(self) -> Statement | None:
        """The statement, if there is one, to run once more."""
        self.uses += 1
        return self.statement

    @classmethod
    def pending(cls, reason: str) -> Compilation:
        """Without one for this request."""
        return cls(State.PENDING, reason=reason)

    @classmethod
    def impossible(cls, reason: str) -> Compilation:
        """Without one for good."""
        return cls(State.IMPOSSIBLE, reason=reason)


BEING_COMPILED = "being compiled"
_MISSING = Compilation(State.MISSING)
_OFF = Compilation.impossible("switched off")
_WRITES = Compilation.impossible(NOTHING_TO_READ)
_NEW = Compilation.pending(FIRST_SIGHT)
_BUSY = Compilation.pending(BEING_COMPILED)
_CROWDED = Compilation.pending("too much to compile")
_DEAR = Compilation.pending("too dear to compile")

Key = tuple[SwitchedOperation, tuple[Hashable, ...], bool, str | None]
"""An operation with its switches, the form of its arguments, whether its texts are counted, and
the response key of the payload, of a mutation."""


class Pushdown:
    """What one process has compiled. ``always`` compiles at first sight, and waits for it."""

    def __init__(self, mode: Mode = "on", max_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._mode, self._max_bytes = mode, max_bytes
        self.patience = PATIENCE
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
        found = await self._found(prepared, context, afford)
        statement = found.use()
        if statement is None:
            return None, found.reason
        try:
            data = await self._value(statement, prepared, context)
        except asyncpg.PostgresError as error:
            return None, f"the statement failed: {error.sqlstate}"
        if data is None:
            raise AnswerTooLarge(self._max_bytes)
        return data, None

    async def payload(
        self, prepared: Prepared, context: Context, afford: Afford, key: str, outcome: Any
    ) -> tuple[bytes | None, str | None]:
        """The JSON text of a mutation's payload after its commit; see ``run``.

        None as well when it cannot be read now: the loaders then say what is wrong.
        """
        found = await self._found(prepared, context, afford, key)
        statement = found.use()
        if statement is None:
            return None, found.reason
        try:
            async with asyncio.timeout_at(context.deadline):
                data = await self._value(statement, prepared, context, outcome)
        except asyncpg.PostgresError as error:
            return None, f"the statement failed: {error.sqlstate}"
        except (TimeoutError, Unavailable):
            return None, "the database cannot answer"
        if data is None:
            raise AnswerTooLarge(self._max_bytes).after_a_commit()
        return data, None

    async def _found(
        self, prepared: Prepared, context: Context, afford: Afford, part: str | None = None
    ) -> Compilation:
        """The statement, or why it is not there for this request."""
        start, near_rows = time.perf_counter(), context.near_rows
        if not prepared.operation.seen and self.may_be_long(prepared):
            prepared.operation.seen = True
        found = self.find(prepared, near_rows, part)
        if self._mode == "always":
            context.stopwatch.compile_seconds += time.perf_counter() - start
        if found.state is State.MISSING:
            found = await self._start(prepared, near_rows, afford, part)
        if found is _BUSY:
            patience = None if self.may_be_long(prepared) else self.patience
            found = await self.made(prepared, part, patience)
            context.stopwatch.compile_seconds += time.perf_counter() - start
        return found

    async def _value(
        self, statement: Statement, prepared: Prepared, context: Context, outcome: Any = None
    ) -> bytes | None:
        arguments = arguments_of(statement, prepared.plans, context.viewer.binds(), outcome)
        try:
            data: bytes | None = await context.value(
                statement.text, arguments, custom_plan=statement.custom_plan
            )
        except asyncpg.PostgresError as error:
            # Most likely a value that the schema does not allow: the loaders say which. The
            # error's text may hold values, so it is not logged.
            _log.warning("a compiled statement failed: %s", error.sqlstate)
            raise
        return data

    def find(self, prepared: Prepared, near_rows: int, part: str | None = None) -> Compilation:
        """The statement of a query, or of a ``part`` of a mutation, or what is known of it."""
        operation = prepared.operation
        if part is None and operation.kind is OperationType.MUTATION:
            return _OFF if self._mode == "off" else _WRITES
        was_seen, operation.seen = operation.seen, True
        if self._mode == "off":
            return _OFF
        if not was_seen and self._mode == "on":
            return _NEW
        key = self._key(prepared, part)
        found = self.statements.get(key)
        if found is None and self._mode == "always":
            found = self._keep(key, self._job(prepared, near_rows, part)(), prepared)
        return found or _MISSING

    def ready(self, prepared: Prepared) -> Statement | None:
        """The statement of a query, to run once more; None if it is to be found by ``run``."""
        found = self.statements.get(self._key(prepared, None))
        if found is None or self._mode == "off":
            return None
        if found.statement is not None:
            found.uses += 1
        return found.statement

    def may_be_long(self, prepared: Prepared) -> bool:
        """Whether its texts could be longer together than half an answer, in characters."""
        return prepared.cost * CHARACTERS > self._max_bytes // 2

    def _key(self, prepared: Prepared, part: str | None) -> Key:
        return prepared.switched, prepared.plans.form, self.may_be_long(prepared), part

    def _job(
        self, prepared: Prepared, near_rows: int, part: str | None
    ) -> Callable[[], Compilation]:
        operation = prepared.operation
        # What a thread must not look up itself is looked up here.
        statement = partial(
            compile_operation,
            operation.node,
            operation.fragments,
            prepared.variables,
            prepared.plans,
            near_rows,
            self._max_bytes,
            payload=part,
            counts_texts=self.may_be_long(prepared),
        )
        return partial(_compiled, prepared, statement)

    def is_making(self, prepared: Prepared) -> bool:
        """Whether its statement is being made."""
        return self._key(prepared, None) in self._compiling

    async def made(
        self, prepared: Prepared, part: str | None = None, patience: float | None = None
    ) -> Compilation:
        """What comes of the statement that is being made, within so many seconds."""
        key = self._key(prepared, part)
        if work := self._compiling.get(key):
            await asyncio.wait({work}, timeout=patience)
        return self.statements.get(key) or _BUSY

    async def begin(self, prepared: Prepared, near_rows: int, afford: Afford) -> None:
        """Have the statement of a query made that may come again, unless another is being made."""
        if not self._compiling and self.find(prepared, near_rows).state is State.MISSING:
            await self._start(prepared, near_rows, afford)

    async def compile(
        self,
        prepared: Prepared,
        near_rows: int,
        part: str | None = None,
        afford: Afford | None = None,
    ) -> None:
        """Have the statement made, and wait for it; without ``afford`` at nobody's expense."""
        if self.find(prepared, near_rows, part).state is State.MISSING:
            await self._start(prepared, near_rows, afford or _free, part)
            await self.made(prepared, part)

    def used(self, times: int) -> list[tuple[Key, Compilation]]:
        """The statements with a sample that were run so often since they were last remembered."""
        found: Any = self.statements.items()
        return [(key, one) for key, one in found if one.uses >= times and one.sample is not None]

    async def _start(
        self, prepared: Prepared, near_rows: int, afford: Afford, part: str | None = None
    ) -> Compilation:
        """Have the statement made, for later requests; says why there is none for this one."""
        key = self._key(prepared, part)
        if key in self._compiling:
            return _BUSY
        if prepared.switched.fields > MAX_FIELDS:
            return self._keep(key, Compilation.impossible(TOO_MANY_FIELDS), prepared)
        if len(self._compiling) >= WAITING:
            return _CROWDED
        self._compiling[key] = None  # before anything is awaited
        work: asyncio.Future[Compilation] | None = None
        try:
            if not await afford(COMPILED_FIELD * prepared.switched.fields):
                return _DEAR
            loop = asyncio.get_running_loop()
            job = self._job(prepared, near_rows, part)
            work = loop.run_in_executor(self._thread, _aside, job)
            self._compiling[key] = work
        finally:
            if work is None:
                del self._compiling[key]

        def done(work: asyncio.Future[Compilation]) -> None:
            del self._compiling[key]
            if not work.cancelled():
                self._keep(key, work.result(), prepared)

        work.add_done_callback(done)
        return _BUSY

    def _keep(self, key: Key, found: Compilation, prepared: Prepared) -> Compilation:
        # Its key holds the operation, which may be dropped from its own place before.
        size = key[0].size
        if found.statement is not None:
            statement, found.sample = found.statement, sample_of(prepared)
            size += len(statement.text) + _BIND_BYTES * len(statement.arguments)
            size += len(found.sample or "")
        self.statements.put(key, found, size)
        return found

    def close(self) -> None:
        """Stop compiling."""
        self._thread.shutdown(wait=False, cancel_futures=True)


async def _free(points: int) -> bool:
    return True


def _aside(job: Callable[[], Compilation]) -> Compilation:
    with throttled():
        return job()


def _compiled(prepared: Prepared, make: Callable[[], Statement]) -> Compilation:
    start = time.perf_counter()
    compilation = _tried(prepared, make)
    seconds = time.perf_counter() - start
    outcome = compilation.state.name.lower()
    metrics.COMPILE_SECONDS.labels(outcome).observe(seconds)
    if _log.isEnabledFor(logging.INFO):
        told = {
            "operation": prepared.operation_name,
            "document": prepared.document_hash,
            "outcome": outcome,
            "reason": compilation.reason,
            "milliseconds": round(seconds * 1000, 1),
        }
        write_event(_log, f"compiled {prepared.operation_name or 'an unnamed operation'}", told)
    return compilation


def _tried(prepared: Prepared, make: Callable[[], Statement]) -> Compilation:
    try:
        statement = make()
        named = labelled(statement.text, prepared.operation.label)
        return Compilation.ready(dataclasses.replace(statement, text=named))
    except NotCompiled as reason:
        return Compilation.impossible(str(reason))
    except Exception as error:
        # A fault of the compiler must not take the answer away.
        _log.error("an operation could not be compiled", exc_info=error)
        return Compilation.impossible("the compiler failed")


class Payloads:
    """Reads the payloads of one mutation."""

    def __init__(
        self, pushdown: Pushdown, prepared: Prepared, context: Context, afford: Afford
    ) -> None:
        self._read = partial(pushdown.payload, prepared, context, afford)
        self.reason: str | None = NOTHING_TO_READ
        """Why the loaders read one of them; None when all that were read were compiled."""
        self._fell_back = False
        self._known: dict[str, bytes | None] = {}
        self._too_large: dict[str, AnswerTooLarge] = {}

    async def text(self, key: str, outcome: Outcome) -> bytes | None:
        """The JSON text of the payload with this response key; None: the loaders read it.

        It is read once. Raises AnswerTooLarge.
        """
        if outcome.errors:
            return None
        if key in self._known:
            return self._known[key]
        if key in self._too_large:
            raise self._too_large[key]
        try:
            text, reason = await self._read(key, outcome)
        except AnswerTooLarge as error:
            self._too_large[key] = error
            raise
        if text is None and reason != NOTHING_TO_READ:
            self._fell_back, self.reason = True, reason
        elif text is not None and not self._fell_back:
            self.reason = None
        self._known[key] = text
        return text
