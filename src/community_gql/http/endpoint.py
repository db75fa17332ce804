"""The GraphQL endpoint: an ASGI callable that answers one request, from bytes to bytes.

Read the request, authenticate, prepare the operation, charge its cost, execute it, charge what it
took, answer. HTTP itself is in ``requests.py`` and ``responses.py``, the operation in
``operations/pipeline.py``. Nothing of Starlette's stack stands around it (decision 64).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from graphql import OperationType
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from community_gql.db.database import COMMIT_SECONDS
from community_gql.db.stopwatch import Stopwatch
from community_gql.errors import PublicError, Unavailable
from community_gql.graph.visibility import Viewer
from community_gql.http.head import Head, wants_signpost
from community_gql.http.rate_limit import Budget, MemoryBudget, RateLimited, key_of
from community_gql.http.request_log import RequestLog, client_class, digest
from community_gql.http.requests import (
    JSON_TYPE,
    METHODS,
    PAGE_TYPE,
    RESPONSE_TYPE,
    HttpError,
    negotiate,
    read,
    too_late,
)
from community_gql.http.responses import (
    PARTIAL,
    Answer,
    etag,
    fault,
    http_refusal,
    is_known,
    refusal,
    refusals,
    written,
)
from community_gql.http.security import OVER_TLS, PLAIN
from community_gql.operations.documents import Refused
from community_gql.operations.pipeline import Operations, Outcome
from community_gql.operations.prepared import Params, Prepared
from community_gql.telemetry import tracing
from community_gql.telemetry.correlation import current, request_id, trace_id
from community_gql.telemetry.metrics import Requests

REFUSED_COST = 1000
"""What a document or variables that cannot be run are charged: reading them takes time too."""
POINTS_PER_TOKEN = 2
"""What reading a document that is not known yet is charged for each of its tokens."""
POINTS_PER_MILLISECOND = 100
"""What each millisecond of an operation's statements is charged, once they are through."""
FREE_MILLISECONDS = 5
"""The first so many are part of the cost: an ordinary operation takes no more."""
PUBLIC_SECONDS = 5
"""How long anyone's copy of a public answer may be used."""


class Authenticate(Protocol):
    """Finds out who asks. Raises Unauthenticated for credentials that cannot be trusted."""

    async def bearer(self, authorization: str) -> Viewer:
        """The viewer that an ``Authorization`` field names."""

    async def __call__(self, request: Request) -> Viewer:
        """The viewer of a request with whatever credentials."""

    def answered(
        self, request: Request, response: Response, *, sub: str | None, account_gone: bool
    ) -> None:
        """Draw the consequences of a 401, or of a write that found the account gone."""


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


@dataclass(slots=True)
class _Exchange:
    """One request while it is answered."""

    scope: Scope
    head: Head
    log: RequestLog = field(default_factory=RequestLog)
    params: Params | None = None
    viewer: Viewer | None = None
    account_gone: bool = False
    balance: dict[str, str] = field(default_factory=dict)
    """The ``RateLimit-*`` fields, once something was charged."""

    @property
    def values(self) -> Any:
        """What no log may show."""
        return None if self.params is None else self.params.variables


class GraphQLEndpoint:
    """Answers GraphQL over HTTP. ``page`` is the application that shows browsers the explorer;
    ``requests`` counts what was asked, where somebody wants to know."""

    def __init__(
        self,
        operations: Operations,
        authenticate: Authenticate,
        config: EndpointConfig | None = None,
        page: ASGIApp | None = None,
        requests: Requests | None = None,
    ) -> None:
        self.operations, self._authenticate = operations, authenticate
        self._config, self._page = config or EndpointConfig(), page
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; never raises."""
        start = time.perf_counter()
        head = Head.of(scope)
        if head.method == "OPTIONS":
            await _allow(send, head)
            return
        accepted = negotiate(head.accept, RESPONSE_TYPE, JSON_TYPE)
        if self._page is not None and _wants_page(head, scope["path"]):
            await self._page(scope, receive, send)
            return
        exchange = _Exchange(scope, head, RequestLog(method=head.method, path=scope["path"]))
        log = exchange.log
        log.request_id, log.client = request_id(head.request_id), client_class(head.client)
        current.set(log.request_id)
        with tracing.span("request", "server", head.traceparent) as span:
            if span is not None:
                log.trace_id = span.trace_id
            elif head.traceparent:
                log.trace_id = trace_id(head.traceparent)
            try:
                answer = await self._answer(exchange, receive, accepted)
            except ClientDisconnect:
                return  # there is nobody to answer
            self._complete(exchange, answer, accepted)
            log.milliseconds = round((time.perf_counter() - start) * 1000, 1)
            log.write()
            if self._requests is not None:
                self._requests.count(
                    log.type,
                    log.executor,
                    log.status,
                    log.milliseconds,
                    log.database_milliseconds,
                    log.codes,
                )
            if span is not None:
                _describe(span, log)
            await answer.send(send, accepted, head=head.method == "HEAD", is_tls=head.is_tls)

    def _complete(self, exchange: _Exchange, answer: Answer, accepted: str | None) -> None:
        """Give the answer the fields that go with it, and the log its outcome."""
        head, log = exchange.head, exchange.log
        if exchange.balance:
            answer.headers = {**exchange.balance, **answer.headers}
        if head.is_safe and answer.status == 200 and head.is_public:
            tag = etag(answer, answer.media(accepted))
            answer.headers |= {"ETag": tag, "Cache-Control": f"public, max-age={PUBLIC_SECONDS}"}
            if is_known(head.if_none_match.decode("latin1"), tag):
                answer.status = 304
        if answer.status == 401 or exchange.account_gone:
            self._draw_consequences(exchange, answer)
        answer.headers["X-Request-Id"] = log.request_id
        log.status = answer.http_status(accepted)
        if answer.errors:
            log.codes = tuple(error["extensions"]["code"] for error in answer.errors)

    async def _answer(self, exchange: _Exchange, receive: Receive, accepted: str | None) -> Answer:
        config = self._config
        try:
            if accepted is None:
                raise HttpError(406, f"Answers are {RESPONSE_TYPE} or {JSON_TYPE}.")
            async with asyncio.timeout(config.body_timeout) as limit:
                exchange.params = await read(exchange.head, receive, config.max_body_bytes)
                limit.reschedule(asyncio.get_running_loop().time() + config.request_timeout)
                exchange.viewer = await self._who(exchange)
                return await self._run(exchange, exchange.params, exchange.viewer, limit)
        except HttpError as error:
            return http_refusal(error.status, error.message, error.headers)
        except Refused as error:
            return refusals(error.errors, exchange.values)
        except PublicError as error:
            if isinstance(error, Unavailable):
                exchange.log.cause = error.cause
            return refusal(error)
        except TimeoutError:
            if exchange.params is None:
                late = too_late(config.body_timeout)
                return http_refusal(late.status, late.message, late.headers)
            return refusal(Unavailable("The request took too long. Ask for less at once."))
        except ClientDisconnect:
            raise
        except Exception as error:
            return fault(error, exchange.values)

    async def _who(self, exchange: _Exchange) -> Viewer:
        head = exchange.head
        if head.authorizations == 1 and head.authorization is not None:
            viewer = await self._authenticate.bearer(head.authorization.decode("latin1"))
        elif head.is_public:
            return Viewer()
        else:
            viewer = await self._authenticate(Request(exchange.scope))
        if viewer.sub is not None:
            exchange.log.viewer = digest(viewer.sub)
        return viewer

    async def _run(
        self, exchange: _Exchange, params: Params, viewer: Viewer, limit: asyncio.Timeout
    ) -> Answer:
        start = time.perf_counter()
        log = exchange.log
        key = key_of(viewer.sub, exchange.head.client)
        with tracing.span("prepare"):
            prepared = await self._prepare(exchange, params, viewer, key)
        log.prepare_milliseconds = round((time.perf_counter() - start) * 1000, 2)
        await self._charge(exchange, key, max(prepared.cost, 1))

        async def afford(points: int) -> bool:
            try:
                await self._charge(exchange, key, points)
            except RateLimited:
                return False
            return True

        wishes = params.extensions if self._config.development else {}
        explains = wishes.get("explain") is True and prepared.kind is OperationType.QUERY
        texts: list[str] | None = [] if wishes.get("sql") is True or explains else None
        explained: list[str] | None = [] if explains else None
        stopwatch = Stopwatch()
        try:
            outcome = await self.operations.execute(
                prepared,
                viewer,
                caller=key,
                deadline=_deadline(prepared.kind, limit),
                afford=afford,
                stopwatch=stopwatch,
                texts=texts,
                explained=explained,
            )
        finally:
            milliseconds = stopwatch.seconds * 1000
            log.database_milliseconds = round(milliseconds, 2)
            log.pool_milliseconds = round(stopwatch.pool_seconds * 1000, 2)
            log.compile_milliseconds = round(stopwatch.compile_seconds * 1000, 2)
            if (beyond := int(milliseconds) - FREE_MILLISECONDS) > 0:
                await self._debit(exchange, key, beyond * POINTS_PER_MILLISECOND)
        log.executor, log.fallback_reason = outcome.executor, outcome.fallback_reason
        log.statements = outcome.statements
        exchange.account_gone = outcome.account_gone
        extensions: dict[str, Any] = {"cost": {"requested": prepared.cost}}
        if self._config.development:
            took = None if exchange.head.is_safe else time.perf_counter() - start
            extensions["execution"] = _execution(outcome, took, texts, explained)
        return Answer(
            PARTIAL if outcome.errors else 200,
            outcome.data,
            executed=True,
            errors=written(outcome.errors, params.variables) if outcome.errors else (),
            extensions=extensions,
        )

    async def _prepare(
        self, exchange: _Exchange, params: Params, viewer: Viewer, key: str
    ) -> Prepared:
        """Prepare the operation. Every refusal of a text that was read is charged here.

        Reading a text that is not known yet is charged by its tokens, whatever comes of it, and
        not begun for someone whose budget is spent.
        """
        log = exchange.log
        if not self.operations.knows(params):
            await self._charge(exchange, key, 1)
        read_tokens = 0
        try:
            prepared = self.operations.prepare(
                params,
                open_schema=self._config.opens_schema_to(viewer),
                hint=self._config.closed_schema_hint,
            )
            log.document, log.cost = prepared.document_hash, prepared.cost
            log.type = prepared.kind.value
            log.operation = prepared.operation_name and prepared.operation_name[:100]
            read_tokens = prepared.read_tokens
            if prepared.kind is not OperationType.QUERY and exchange.head.is_safe:
                message = "Only queries are answered over GET: use POST."
                raise HttpError(405, message, {"Allow": "POST"})
        except (Refused, HttpError) as error:
            if isinstance(error, Refused):
                log.document = error.document_hash
                log.operation = error.operation_name and error.operation_name[:100]
                read_tokens = error.read_tokens
            await self._charge(exchange, key, REFUSED_COST)
            raise
        finally:
            if read_tokens:
                await self._debit(exchange, key, read_tokens * POINTS_PER_TOKEN)
        return prepared

    async def _charge(self, exchange: _Exchange, key: str, points: int) -> None:
        """Take points from the caller's budget. Raises RateLimited when it holds less."""
        exchange.balance = (await self._config.budget.charge(key, points)).headers()

    async def _debit(self, exchange: _Exchange, key: str, points: int) -> None:
        """Take points for what was done already, be there enough of them or not."""
        exchange.balance = (await self._config.budget.debit(key, points)).headers()

    def _draw_consequences(self, exchange: _Exchange, answer: Answer) -> None:
        response = Response(status_code=answer.status)
        sub = exchange.viewer.sub if exchange.viewer else None
        self._authenticate.answered(
            Request(exchange.scope), response, sub=sub, account_gone=exchange.account_gone
        )
        for name, value in response.raw_headers:
            if name == b"set-cookie":
                answer.headers["Set-Cookie"] = value.decode("latin1")


def _describe(span: tracing.Span, log: RequestLog) -> None:
    """What the conventions of OpenTelemetry want to know of a GraphQL request."""
    span.rename(log.type or "request")
    span.set(
        {
            "http.request.id": log.request_id,
            "http.response.status_code": log.status,
            "graphql.operation.name": log.operation,
            "graphql.operation.type": log.type,
            "community_gql.document": log.document,
            "community_gql.executor": log.executor,
            "community_gql.cost": log.cost,
            "community_gql.viewer": log.viewer,
        }
    )
    if log.status >= 500:
        span.failed(log.codes[0] if log.codes else str(log.status))


def _wants_page(head: Head, path: str) -> bool:
    if not head.is_safe or head.has_document:
        return False
    offered = (RESPONSE_TYPE, JSON_TYPE, PAGE_TYPE)
    return wants_signpost(path, head.accept) or negotiate(head.accept, *offered) == PAGE_TYPE


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


async def _allow(send: Send, head: Head) -> None:
    headers = [(b"allow", METHODS.encode()), *(OVER_TLS if head.is_tls else PLAIN)]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
