"""One operation of a client, from its parameters to its answer, whichever way it came.

HTTP, WebSocket and event streams share this: prepare the operation, charge its cost, execute it,
charge what it took. What differs is how parameters arrive and how an answer is written.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

from graphql import OperationType
from starlette.requests import Request
from starlette.responses import Response

from community_gql.db.database import COMMIT_SECONDS
from community_gql.db.stopwatch import Stopwatch
from community_gql.errors import PublicError, Unavailable
from community_gql.graph.visibility import Viewer
from community_gql.http.afterwards import Afterwards
from community_gql.http.head import Head
from community_gql.http.rate_limit import Balance, Budget, MemoryBudget, RateLimited, key_of
from community_gql.http.read_after import ReadAfter
from community_gql.http.request_log import RequestLog
from community_gql.http.requests import HttpError
from community_gql.http.responses import (
    PARTIAL,
    Answer,
    fault,
    http_refusal,
    refusal,
    refusals,
    written,
)
from community_gql.http.turns import Turns
from community_gql.operations.documents import Refused
from community_gql.operations.pipeline import TOKEN_CHARACTERS, Operations, Outcome
from community_gql.operations.prepared import Params, Prepared
from community_gql.operations.throttle import in_pieces
from community_gql.telemetry import tracing
from community_gql.telemetry.metrics import Requests

REFUSED_COST = 1000
"""What a document or variables that cannot be run are charged: reading them takes time too."""
POINTS_PER_TOKEN = 2
"""What reading a document that is not known yet is charged for each of its tokens."""
POINTS_PER_MILLISECOND = 100
"""What each millisecond of an operation's statements is charged, once they are through."""
FREE_MILLISECONDS = 5
"""The first so many are part of the cost: an ordinary operation takes no more."""


DEAR_SECONDS = 0.02
"""A query whose statements take longer competes for PostgreSQL's processors with all others."""
DEAR_COST = 10_000
"""One that costs more is taken to be such a one until it has run."""

T = TypeVar("T")
Admission = Callable[[], Awaitable[Viewer]]
"""Asks again whether somebody is let in, and as whom. Raises Unauthenticated when not any more."""


class Authenticate(Protocol):
    """Finds out who asks. Raises Unauthenticated for credentials that cannot be trusted."""

    async def bearer(self, authorization: str) -> Viewer:
        """The viewer that an ``Authorization`` field names."""

    def remembered(self, authorization: bytes) -> Viewer | None:
        """The viewer whom ``bearer`` found; None if that must be asked again."""

    async def __call__(self, request: Request) -> Viewer:
        """The viewer of a request with whatever credentials."""

    async def admission(
        self, authorization: str | None, session: Request | None
    ) -> Admission | None:
        """Who comes to stay: by a token, or by the session of a request from a page of ours.

        None for the anonymous viewer.
        """

    def answered(
        self, request: Request, response: Response, *, sub: str | None, account_gone: bool
    ) -> None:
        """Draw the consequences of a 401, or of a write that found the account gone."""

    def forget(self, sub: str) -> None:
        """Ask anew at the next request of ``sub`` whether they have an account."""


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """How the endpoint treats those who ask: settings, resolved."""

    budget: Budget = field(default_factory=lambda: MemoryBudget(600_000))
    introspection: Literal["everyone", "signed-in", "nobody"] = "signed-in"
    max_body_bytes: int = 256 * 1024
    body_timeout: float = 10
    request_timeout: float = 15
    development: bool = False
    """Whether answers say how they were made."""

    def opens_schema_to(self, viewer: Viewer) -> bool:
        """Whether the viewer may introspect, and is told names of the schema in errors."""
        return self.introspection == "everyone" or (
            self.introspection == "signed-in" and viewer.sub is not None
        )

    @property
    def closed_schema_hint(self) -> str:
        """How someone to whom the schema is not open comes to see it."""
        return "Sign in to be told more." if self.introspection == "signed-in" else ""


class Exchange:
    """One operation while it is answered."""

    params: Params | None = None
    viewer: Viewer | None = None
    account_gone: bool = False
    token: str | None = None
    """What a read must be after to see what was written."""
    balance: Balance | None = None
    """What the budget holds, once something was charged."""

    def __init__(
        self,
        client: str | None,
        is_safe: bool = False,
        log: RequestLog | None = None,
        head: Head | None = None,
    ) -> None:
        """``client`` is the network address, ``is_safe`` whether it came by a method that only
        reads, ``head`` that of its request, if it came in one of its own."""
        self.client, self.is_safe, self.head = client, is_safe, head
        self.log = log or RequestLog()
        self.started = time.perf_counter()

    @property
    def key(self) -> str:
        """Whose budget it is, see ``key_of``."""
        return key_of(self.viewer.sub if self.viewer else None, self.client)

    @property
    def values(self) -> Any:
        """What no log may show."""
        return None if self.params is None else self.params.variables

    def fill_log(self, status: int, answer: Answer) -> RequestLog:
        """The line of the log, for an answer that goes out with that status."""
        log = self.log
        log.status = status
        log.milliseconds = int((time.perf_counter() - self.started) * 10_000) / 10
        if answer.errors:
            log.codes = tuple(error["extensions"]["code"] for error in answer.errors)
        return log


class Runner:
    """Prepares, charges and executes what an exchange asks for."""

    def __init__(
        self,
        operations: Operations,
        config: EndpointConfig,
        after: ReadAfter | None = None,
        requests: Requests | None = None,
    ) -> None:
        """``after`` is there where standbys answer queries, ``requests`` where metrics are."""
        self.operations, self.config, self._read_after = operations, config, after
        self.afterwards = Afterwards(requests)
        self._preparing, self._dear = Turns(), Turns()

    async def prepare(self, exchange: Exchange) -> Prepared:
        """Prepare the operation and charge its cost.

        Every refusal of a text that was read is charged here. Reading a text that is not known yet
        is charged by its tokens, whatever comes of it, and not begun for someone whose budget is
        spent. Raises Refused, HttpError for a mutation by a method that only reads, and
        PublicError.
        """
        assert exchange.params is not None
        start = time.perf_counter()
        is_long = self.operations.is_long(exchange.params)
        is_new = not self.operations.knows(exchange.params)
        async with self._preparing.of(exchange.key, alone=is_long and is_new):
            if is_new:
                await self._charge(exchange, 1)
            prepared = await self._prepared(exchange, is_long)
        exchange.log.prepare_milliseconds = int((time.perf_counter() - start) * 100_000) / 100
        await self._charge(exchange, max(prepared.cost, 1))
        return prepared

    async def _prepared(self, exchange: Exchange, is_long: bool) -> Prepared:
        """The prepared operation; its reading is charged, and so is that it is refused."""
        log, params, viewer = exchange.log, exchange.params, exchange.viewer
        assert params is not None
        assert viewer is not None
        read_tokens = 0
        try:
            opens = self.config.opens_schema_to(viewer)
            hint = "" if opens else self.config.closed_schema_hint
            prepare = self.operations.prepare
            if tracing.on:
                prepare = tracing.spanned("prepare", prepare)
            work = partial(prepare, params, open_schema=opens, hint=hint)
            prepared = await in_pieces(work) if is_long else work()
            operation = prepared.operation
            log.document, log.cost = prepared.document_hash, prepared.cost
            log.type = operation.type_name
            log.operation = operation.name and operation.name[:100]
            read_tokens = prepared.read_tokens
            if prepared.kind is OperationType.MUTATION and exchange.is_safe:
                message = "Only queries are answered over GET: use POST."
                raise HttpError(405, message, {"Allow": "POST"})
        except (Refused, HttpError) as error:
            if isinstance(error, Refused):
                log.document = error.document_hash
                log.operation = error.operation_name and error.operation_name[:100]
                read_tokens = error.read_tokens
            await self._charge(exchange, REFUSED_COST)
            raise
        except asyncio.CancelledError:
            read_tokens = len(params.query or "") // TOKEN_CHARACTERS
            raise
        finally:
            if read_tokens:
                await self._debit(exchange, read_tokens * POINTS_PER_TOKEN)
        return prepared

    async def run(self, exchange: Exchange, prepared: Prepared, limit: asyncio.Timeout) -> Answer:
        """Execute a query or a mutation, and charge the time that its statements took.

        ``limit`` is the timeout around it. Raises what ``Operations.execute`` raises.
        """
        assert exchange.params is not None
        assert exchange.viewer is not None

        async def afford(points: int) -> bool:
            try:
                await self._charge(exchange, points)
            except RateLimited:
                return False
            return True

        log = exchange.log
        wishes = exchange.params.extensions if self.config.development else {}
        explains = wishes.get("explain") is True and prepared.kind is OperationType.QUERY
        texts: list[str] | None = [] if wishes.get("sql") is True or explains else None
        explained: list[str] | None = [] if explains else None
        stopwatch = Stopwatch()
        after = None
        if self._read_after is not None and prepared.kind is OperationType.QUERY:
            after = await self._read_after.of(exchange.head, exchange.viewer.sub)
        try:
            execute = partial(
                self.operations.execute,
                prepared,
                exchange.viewer,
                caller=exchange.key,
                deadline=_deadline(prepared.kind, limit),
                afford=afford,
                stopwatch=stopwatch,
                after=after,
                texts=texts,
                explained=explained,
            )
            outcome = await self.in_turn(exchange.key, prepared, stopwatch, execute)
        finally:
            await self.charge_time(exchange, stopwatch)
        if self._read_after is not None and prepared.kind is OperationType.MUTATION:
            exchange.token = await self._read_after.wrote(exchange.viewer.sub)
        log.executor, log.fallback_reason = outcome.executor, outcome.fallback_reason
        log.statements = outcome.statements
        exchange.account_gone = outcome.account_gone
        extensions: dict[str, Any] = {"cost": {"requested": prepared.cost}}
        if self.config.development:
            took = None if exchange.is_safe else time.perf_counter() - exchange.started
            extensions["execution"] = _execution(outcome, took, texts, explained)
        return Answer(
            PARTIAL if outcome.errors else 200,
            outcome.data,
            executed=True,
            errors=written(outcome.errors, exchange.values) if outcome.errors else (),
            extensions=extensions,
        )

    async def in_turn(
        self, key: str, prepared: Prepared, stopwatch: Stopwatch, run: Callable[[], Awaitable[T]]
    ) -> T:
        """What ``run`` returns: a dear query of a caller is run when their one before is through.

        ``stopwatch`` counts the time of its statements.
        """
        async with self._dear.of(key) if is_dear(prepared) else nullcontext():
            found = await run()
        prepared.switched.seconds = stopwatch.seconds
        return found

    async def charge_time(self, exchange: Exchange, stopwatch: Stopwatch) -> None:
        """Charge what the statements took, and note it."""
        log = exchange.log
        # `round` takes ten times as long.
        log.database_milliseconds = int(stopwatch.seconds * 100_000) / 100
        log.pool_milliseconds = int(stopwatch.pool_seconds * 100_000) / 100
        log.compile_milliseconds = int(stopwatch.compile_seconds * 100_000) / 100
        if (points := self.beyond(stopwatch)) > 0:
            await self._debit(exchange, points)

    @staticmethod
    def beyond(stopwatch: Stopwatch) -> int:
        """What the statements are charged, in points, where that is above 0."""
        return (int(stopwatch.seconds * 1000) - FREE_MILLISECONDS) * POINTS_PER_MILLISECOND

    def refused(self, exchange: Exchange, error: Exception) -> Answer:
        """The answer to what this error refused or broke; a fault of ours is logged."""
        if isinstance(error, HttpError):
            return http_refusal(error.status, error.message, error.headers)
        if isinstance(error, Refused):
            return refusals(error.errors, exchange.values)
        if isinstance(error, TimeoutError):
            error = Unavailable("The request took too long. Ask for less at once.")
        if isinstance(error, PublicError):
            if isinstance(error, Unavailable):
                exchange.log.cause = error.cause
            return refusal(error)
        return fault(error, exchange.values)

    async def _charge(self, exchange: Exchange, points: int) -> None:
        """Take points from the caller's budget. Raises RateLimited when it holds less."""
        exchange.balance = await self.config.budget.charge(exchange.key, points)

    async def _debit(self, exchange: Exchange, points: int) -> None:
        """Take points for what was done already, be there enough of them or not."""
        exchange.balance = await self.config.budget.debit(exchange.key, points)


def is_dear(prepared: Prepared) -> bool:
    """Whether it takes PostgreSQL long: as the last time, or by its cost if it has not run yet."""
    if prepared.kind is not OperationType.QUERY:
        return False
    seconds = prepared.switched.seconds
    return seconds > DEAR_SECONDS if seconds else prepared.cost > DEAR_COST


def _execution(
    outcome: Outcome,
    seconds: float | None,
    texts: list[str] | None,
    explained: list[str] | None,
) -> dict[str, Any]:
    """How an answer was made, for development. A GET tells no time: its answer may be kept."""
    told: dict[str, Any] = {
        "executor": outcome.executor,
        "fallbackReason": outcome.fallback_reason,
        "statements": outcome.statements,
    }
    if seconds is not None:
        told["milliseconds"] = round(seconds * 1000, 1)
    if texts is not None:
        told["sql"] = texts
    if explained is not None:
        told["plans"] = explained
    return told


def _deadline(kind: OperationType, limit: asyncio.Timeout) -> float | None:
    """When a mutation's reading and writing gives up: at the timeout, which then comes later.

    A cancelled mutation has no answer, and would hide what its first fields have committed. A
    query is cancelled: nothing of it is worth having.
    """
    when = limit.when()
    if kind is not OperationType.MUTATION or when is None:
        return None
    limit.reschedule(when + COMMIT_SECONDS + 1)
    return when
