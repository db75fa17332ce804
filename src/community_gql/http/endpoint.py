"""How a GraphQL request is answered: one small view of our own over the schema.

Read the request, find the document, coerce the variables, read all arguments, weigh the cost,
execute, answer. A query runs as one SQL statement where pushdown/ can; ``execute`` is the other
way, graphql-core's executor with the loaders. HTTP itself is in ``requests.py`` and
``responses.py``.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from graphql import GraphQLError, OperationType
from graphql.execution import Executor, default_field_resolver, default_type_resolver
from graphql.execution.values import VariableValues
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from community_gql.db.database import COMMIT_SECONDS, Database
from community_gql.errors import AccountGone, BadRequest, PublicError, Unavailable
from community_gql.graph.visibility import Viewer
from community_gql.http.explorer import explorer
from community_gql.http.rate_limit import Budget, MemoryBudget, RateLimited, key_of
from community_gql.http.requests import (
    JSON_TYPE,
    METHODS,
    PAGE_TYPE,
    RESPONSE_TYPE,
    HttpError,
    Params,
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
from community_gql.operations.compiled import Pushdown
from community_gql.operations.documents import Documents, Refused, TrustedDocuments
from community_gql.operations.limits import LIMITS, check_cost
from community_gql.operations.prepared import Operation, Reading, Readings
from community_gql.schema.context import Context
from community_gql.schema.executable import core

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
    trusted: TrustedDocuments = field(default_factory=TrustedDocuments)
    introspection: Literal["everyone", "signed-in", "nobody"] = "signed-in"
    cost_limit: int = LIMITS.cost
    max_body_bytes: int = 256 * 1024
    body_timeout: float = 10
    request_timeout: float = 15
    document_cache_bytes: int = 32 * 2**20
    development: bool = False
    """Whether answers say how they were made."""

    def opens_schema_to(self, viewer: Viewer) -> bool:
        """Whether the viewer may introspect, and gets names suggested in errors."""
        return self.introspection == "everyone" or (
            self.introspection == "signed-in" and viewer.sub is not None
        )


@dataclass(frozen=True, slots=True)
class Executed:
    """What an executor gives back. ``data`` may be JSON text (bytes), which goes out as it is."""

    data: Any
    errors: list[GraphQLError]


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
        self,
        database: Database,
        authenticate: Authenticate,
        pushdown: Pushdown,
        edge: Edge | None = None,
    ) -> None:
        self._database, self._authenticate, self._pushdown = database, authenticate, pushdown
        self._edge = edge or Edge()
        self._documents = Documents(self._edge.document_cache_bytes)
        self._readings = Readings()

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
                return await self._run(request, params, viewer, line, limit)
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

    async def _run(
        self,
        request: Request,
        params: Params,
        viewer: Viewer,
        line: Line,
        limit: asyncio.Timeout,
    ) -> Answer:
        start = time.perf_counter()
        key = key_of(viewer.sub, request.client.host if request.client else None)
        text = self._edge.trusted.text(params.query, params.document_id)
        try:
            document = self._documents.get(text, open_schema=self._edge.opens_schema_to(viewer))
            line.document = document.hash
            operation = document.operation(params.operation_name)
            node = operation.node
            line.operation = node.name.value[:100] if node.name else None
            if request.method != "POST" and node.operation is not OperationType.QUERY:
                message = "Only queries are answered over GET: use POST."
                raise HttpError(405, message, {"Allow": "POST"})
            if node.operation is OperationType.SUBSCRIPTION:
                raise BadRequest("Subscriptions are not answered over HTTP requests.")
            variables, reading, plans = self._read(operation, params.variables)
        except Refused:
            await self._edge.budget.charge(key, REFUSED_COST)
            raise
        line.cost = cost = reading.cost(variables, plans)
        check_cost(cost, self._edge.cost_limit)
        balance = await self._edge.budget.charge(key, max(cost, 1))

        async def afford(points: int) -> bool:
            nonlocal balance
            try:
                balance = await self._edge.budget.charge(key, points)
            except RateLimited:
                return False
            return True

        asks_for_sql = self._edge.development and params.extensions.get("sql") is True
        context = Context(
            viewer,
            self._database,
            caller=key,
            deadline=_deadline(node.operation, limit),
            texts=[] if asks_for_sql else None,
        )
        try:
            ran = await self._pushdown.run(reading, variables, plans, context, afford)
            line.way, line.why = ran.way, ran.why
            if ran.data is not None:
                done = Executed(ran.data, [])
            else:
                context.plans = {**reading.fixed, **plans}
                done = await execute(operation, variables, context)
        finally:
            if context.is_open:
                await asyncio.shield(context.close())
            line.statements = context.statements
        if any(isinstance(_origin(error), AccountGone) for error in done.errors):
            request.state.account_gone = True  # for identity, which took it for there
        if _is_lost(done, node.operation):
            raise Unavailable("The database cannot answer at the moment. Try again shortly.")
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
            if context.texts is not None:
                extensions["execution"]["sql"] = context.texts
        return Answer(
            PARTIAL if done.errors else 200,
            done.data,
            executed=True,
            errors=written(done.errors, _values(params)),
            extensions=extensions,
            headers={} if balance is None else balance.headers(),
        )

    def _read(
        self, operation: Operation, raw: dict[str, Any]
    ) -> tuple[VariableValues, Reading, dict[int, Any]]:
        """The variables and all arguments. Raises Refused and BadRequest."""
        variables = operation.variables(raw)
        if isinstance(variables, list):
            raise Refused([_uncoerced(error) for error in variables[: LIMITS.errors]])
        try:
            reading = self._readings.of(operation, variables)
            return variables, reading, reading.plans(variables)
        except GraphQLError as error:  # null for a variable whose default made it fit
            raise Refused([_uncoerced(error)]) from None


async def execute(operation: Operation, variables: VariableValues, context: Context) -> Executed:
    """Run the operation with the loaders, on graphql-core's executor."""
    # Built by hand: Executor.build would coerce the variables again.
    executor: Executor[Context] = Executor(
        core,
        fragment_definitions=dict(operation.fragments),
        fragments=operation.fragment_details,
        root_value=None,
        context_value=context,
        operation=operation.node,
        variable_values=variables,
        field_resolver=default_field_resolver,
        type_resolver=default_type_resolver,
        subscribe_field_resolver=default_field_resolver,
        hide_suggestions=True,
    )
    result: Any = executor.execute_operation()
    done = await result if executor.is_awaitable(result) else result
    return Executed(done.data, list(done.errors or ()))


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


def _uncoerced(error: GraphQLError) -> GraphQLError:
    message = error.message if len(error.message) <= 500 else f"{error.message[:500]}…"
    return GraphQLError(message, nodes=error.nodes, original_error=BadRequest(message))


def _is_lost(done: Executed, kind: OperationType) -> bool:
    """Whether the database went away so that nothing of the answer is worth having.

    A mutation may have committed some of its fields: their results are not thrown away.
    """
    if not any(isinstance(_origin(error), Unavailable) for error in done.errors):
        return False
    if kind is OperationType.QUERY or not isinstance(done.data, dict):
        return True
    return all(value is None for value in done.data.values())


def _origin(error: GraphQLError) -> BaseException | None:
    original: BaseException | None = error
    while isinstance(original, GraphQLError):
        original = original.original_error
    return original


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
