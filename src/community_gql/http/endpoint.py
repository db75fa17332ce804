"""How a GraphQL request is answered over HTTP.

Read the request, authenticate, prepare the operation, charge its cost, execute it, answer. HTTP
itself is in ``requests.py`` and ``responses.py``, the operation in ``operations/pipeline.py``.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from graphql import OperationType
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from community_gql.errors import PublicError, Unavailable
from community_gql.graph.visibility import Viewer
from community_gql.http.explorer import explorer
from community_gql.http.rate_limit import Budget, MemoryBudget, RateLimited, key_of
from community_gql.http.requests import (
    JSON_TYPE,
    METHODS,
    PAGE_TYPE,
    RESPONSE_TYPE,
    HttpError,
    accepted_type,
    has_document,
    read,
    too_late,
)
from community_gql.http.responses import (
    PARTIAL,
    Answer,
    etag,
    fault,
    http_refusal,
    refusal,
    refusals,
    written,
)
from community_gql.operations.documents import Refused
from community_gql.operations.pipeline import Operations
from community_gql.operations.prepared import Params, Prepared

REFUSED_COST = 1000
"""What a document or variables that cannot be run are charged: reading them takes time too."""
PUBLIC_SECONDS = 5
"""How long anyone's copy of a public answer may be used."""

_log = logging.getLogger("community_gql.requests")

Authenticate = Callable[[Request], Awaitable[Viewer]]
"""Finds out who asks. Raises Unauthenticated for credentials that cannot be trusted."""


@dataclass(frozen=True, slots=True)
class Edge:
    """How the view treats those who ask: settings, resolved."""

    budget: Budget = field(default_factory=lambda: MemoryBudget(600_000))
    introspection: Literal["everyone", "signed-in", "nobody"] = "signed-in"
    max_body_bytes: int = 256 * 1024
    body_timeout: float = 10
    request_timeout: float = 15
    development: bool = False
    """Whether answers say how they were made."""

    def opens_schema_to(self, viewer: Viewer) -> bool:
        """Whether the viewer may introspect, and gets names suggested in errors."""
        return self.introspection == "everyone" or (
            self.introspection == "signed-in" and viewer.sub is not None
        )


@dataclass(slots=True)
class Line:
    """What the log says of a request."""

    operation: str | None = None
    document: str | None = None
    viewer: str | None = None
    """Tells people apart without naming them: a digest of their ``sub``."""
    cost: int | None = None
    statements: int = 0
    way: str | None = None
    """``compiled`` or ``loaders``, once the operation ran."""
    why: str | None = None
    """Why it was the loaders."""
    status: int = 0
    milliseconds: float = 0
    codes: tuple[str, ...] = ()

    def write(self) -> None:
        """Write it."""
        if _log.isEnabledFor(logging.INFO):
            # `_log.info` would look for the place in the code that calls it.
            texts = "%s %s", (self.operation or "-", self.status)
            values = {name: getattr(self, name) for name in self.__slots__}
            record = _log.makeRecord(
                _log.name, logging.INFO, __file__, 0, *texts, None, None, values
            )
            _log.handle(record)


class GraphQLView:
    """Answers GraphQL over HTTP."""

    def __init__(
        self, operations: Operations, authenticate: Authenticate, edge: Edge | None = None
    ) -> None:
        self.operations, self._authenticate = operations, authenticate
        self._edge = edge or Edge()

    async def __call__(self, request: Request) -> Response:
        """The answer to one HTTP request; never raises."""
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": METHODS})
        accept, safe = request.headers.get("accept"), request.method in ("GET", "HEAD")
        media = accepted_type(accept, RESPONSE_TYPE, JSON_TYPE)
        offered = (RESPONSE_TYPE, JSON_TYPE, PAGE_TYPE)
        if safe and not has_document(request) and accepted_type(accept, *offered) == PAGE_TYPE:
            return explorer(request)
        start, line = time.perf_counter(), Line()
        try:
            answer = await self._answer(request, media, line)
        except ClientDisconnect:
            return Response(status_code=499)  # to nobody
        if safe and answer.status == 200 and _is_public(request):
            tag = etag(answer, media)
            answer.headers |= {"ETag": tag, "Cache-Control": f"public, max-age={PUBLIC_SECONDS}"}
            if tag in request.headers.get("if-none-match", ""):
                answer.status = 304
        response = answer.response(media, head=request.method == "HEAD")
        line.status, line.milliseconds = (
            response.status_code,
            round((time.perf_counter() - start) * 1000, 1),
        )
        line.codes = tuple(error["extensions"]["code"] for error in answer.errors)
        line.write()
        return response

    async def _answer(self, request: Request, media: str | None, line: Line) -> Answer:
        params = None
        try:
            if media is None:
                raise HttpError(406, f"Answers are {RESPONSE_TYPE} or {JSON_TYPE}.")
            async with asyncio.timeout(self._edge.body_timeout) as limit:
                params = await read(request, self._edge.max_body_bytes)
                limit.reschedule(asyncio.get_running_loop().time() + self._edge.request_timeout)
                viewer = await self._authenticate(request)
                line.viewer = _digest(viewer.sub)
                return await self._run(request, params, viewer, line)
        except HttpError as error:
            return http_refusal(error.status, error.message, error.headers)
        except Refused as error:
            return refusals(error.errors, _values(params))
        except PublicError as error:
            return refused(error)
        except TimeoutError:
            if params is None:
                late = too_late(self._edge.body_timeout)
                return http_refusal(late.status, late.message, late.headers)
            return refused(Unavailable("The request took too long. Ask for less at once."))
        except ClientDisconnect:
            raise
        except Exception as error:
            return fault(error, _values(params))

    async def _run(self, request: Request, params: Params, viewer: Viewer, line: Line) -> Answer:
        start = time.perf_counter()
        key = key_of(viewer.sub, request.client.host if request.client else None)
        prepared = await self._prepare(request, params, viewer, key, line)
        balance = await self._edge.budget.charge(key, max(prepared.cost, 1))

        async def afford(points: int) -> bool:
            nonlocal balance
            try:
                balance = await self._edge.budget.charge(key, points)
            except RateLimited:
                return False
            return True

        asks_for_sql = self._edge.development and params.extensions.get("sql") is True
        texts: list[str] | None = [] if asks_for_sql else None
        outcome = await self.operations.execute(prepared, viewer, afford=afford, texts=texts)
        line.way, line.why = outcome.executor, outcome.fallback_reason
        line.statements = outcome.statements
        if outcome.account_gone:
            request.state.account_gone = True  # for identity, which took it for there
        extensions: dict[str, Any] = {"cost": {"requested": line.cost}}
        if self._edge.development:
            extensions["execution"] = {
                "way": line.way,
                "why": line.why,
                "statements": line.statements,
            }
            if request.method == "POST":  # the others may be kept: they must not differ by it
                milliseconds = (time.perf_counter() - start) * 1000
                extensions["execution"]["milliseconds"] = round(milliseconds, 1)
            if texts is not None:
                extensions["execution"]["sql"] = texts
        return Answer(
            PARTIAL if outcome.errors else 200,
            outcome.data,
            executed=True,
            errors=written(outcome.errors, params.variables),
            extensions=extensions,
            headers={} if balance is None else balance.headers(),
        )

    async def _prepare(
        self, request: Request, params: Params, viewer: Viewer, key: str, line: Line
    ) -> Prepared:
        try:
            prepared = self.operations.prepare(
                params, open_schema=self._edge.opens_schema_to(viewer)
            )
        except Refused as error:
            line.document, line.operation = error.document_hash, error.operation_name
            await self._edge.budget.charge(key, REFUSED_COST)
            raise
        line.document, line.cost = prepared.document_hash, prepared.cost
        line.operation = prepared.operation_name and prepared.operation_name[:100]
        if request.method != "POST" and prepared.kind is not OperationType.QUERY:
            await self._edge.budget.charge(key, REFUSED_COST)
            message = "Only queries are answered over GET: use POST."
            raise HttpError(405, message, {"Allow": "POST"})
        return prepared


def refused(error: PublicError) -> Answer:
    """The answer to a request that this error refuses, with the headers that go with it."""
    answer = refusal(error)
    if isinstance(error, RateLimited):
        answer.headers = {**error.balance.headers(), "Retry-After": str(error.wait)}
    elif answer.status == 503:
        answer.headers = {"Retry-After": "1"}
    elif answer.status == 401:
        answer.headers = {"WWW-Authenticate": 'Bearer realm="community-gql", error="invalid_token"'}
    return answer


def _values(params: Params | None) -> Any:
    return None if params is None else params.variables


def _is_public(request: Request) -> bool:
    return not {"authorization", "cookie"} & set(request.headers)


def _digest(sub: str | None) -> str | None:
    return None if sub is None else hashlib.blake2b(sub.encode(), digest_size=6).hexdigest()
