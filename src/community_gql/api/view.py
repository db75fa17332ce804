"""How a GraphQL request is answered: one small view of our own over the schema.

Read the request, find the document, coerce the variables, read all arguments, execute, answer.
The batched executor is graphql-core's with the loaders; ``execute`` is the place where a second
one will plug in. Every error leaves with a known ``extensions.code``; what is not a PublicError is
a fault of ours, logged whole under an ``errorId`` and shown as nothing but that.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from graphql import ExecutionResult, GraphQLError, OperationType
from graphql.execution import Executor
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from strawberry.http.ides import get_graphql_ide_html

from community_gql.api.arguments import check_text, check_variables, read_arguments
from community_gql.api.context import Context
from community_gql.api.documents import Document, Documents, Refused
from community_gql.api.schema import core
from community_gql.database import Database
from community_gql.errors import BadRequest, PublicError, Unavailable
from community_gql.visibility import Viewer

JSON_TYPE = "application/json"
RESPONSE_TYPE = "application/graphql-response+json"
MAX_BODY_BYTES = 256 * 1024

_requests = logging.getLogger("community_gql.requests")
_faults = logging.getLogger("community_gql.faults")

_STATUS = {
    "UNAUTHENTICATED": 401,
    "EMAIL_REQUIRED": 403,
    "EMAIL_TAKEN": 403,
    "CSRF_HEADER_REQUIRED": 403,
    "GRAPHQL_PARSE_FAILED": 400,
    "UNAVAILABLE": 503,
    "INTERNAL": 500,
}
"""The HTTP status of a request that was refused; every other code is 422."""

Authenticate = Callable[[Request], Awaitable[Viewer]]


@dataclass(frozen=True, slots=True)
class Params:
    """The members of a GraphQL request."""

    query: str
    variables: dict[str, Any]
    operation_name: str | None


class HttpError(Exception):
    """A request that HTTP itself refuses: status, message and headers."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


@dataclass(slots=True)
class Line:
    """What the log says of a request."""

    operation: str | None = None
    document: str | None = None
    statements: int = 0
    codes: tuple[str, ...] = ()


class GraphQLView:
    """Answers GraphQL over HTTP. ``authenticate`` finds out who asks, or raises Unauthenticated."""

    def __init__(
        self, database: Database, authenticate: Authenticate, *, development: bool = False
    ) -> None:
        self._database, self._authenticate = database, authenticate
        self._documents = Documents(hide_suggestions=not development)

    async def __call__(self, request: Request) -> Response:
        """The answer to one HTTP request; never raises."""
        if request.method == "GET" and "query" not in request.query_params and _is_page(request):
            return HTMLResponse(get_graphql_ide_html())
        start, line = time.perf_counter(), Line()
        headers: dict[str, str] = {}
        try:
            params = await _read(request)
            viewer = await self._authenticate(request)
            result = await self._answer(params, viewer, request.method == "GET", line)
            status, body = _formatted(result)
        except HttpError as error:
            status, headers = error.status, error.headers
            body = {"errors": [_public(BadRequest(error.message))]}
        except Refused as refused:
            status, body = _formatted(ExecutionResult(None, refused.errors), executed=False)
        except PublicError as error:
            status, body = _STATUS.get(error.code, 422), {"errors": [_public(error)]}
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as error:
            status, body = 500, {"errors": [_fault(error)]}
        line.codes = tuple(error["extensions"]["code"] for error in body.get("errors", ()))
        _log(line, status, time.perf_counter() - start)
        return _response(request, status, body, headers)

    async def _answer(
        self, params: Params, viewer: Viewer, safe: bool, line: Line
    ) -> ExecutionResult:
        document = self._documents.get(params.query)
        line.document = document.hash
        operation = document.operation(params.operation_name)
        if operation is None:
            raise BadRequest(
                f"The document has no operation named {params.operation_name!r}."
                if params.operation_name is not None
                else "The document has several operations: say which with operationName."
            )
        line.operation = operation.name.value if operation.name else None
        if safe and operation.operation is not OperationType.QUERY:
            raise HttpError(405, "Only queries are answered over GET: use POST.", Allow="POST")
        context = Context(viewer, self._database)
        try:
            return await execute(document, params, context)
        finally:
            line.statements = context.statements
            await asyncio.shield(context.close())


async def execute(document: Document, params: Params, context: Context) -> ExecutionResult:
    """Run the operation. Raises Refused or BadRequest before anything ran."""
    executor = Executor.build(
        core,
        document.node,
        context_value=context,
        raw_variable_values=params.variables,
        operation_name=params.operation_name,
        hide_suggestions=True,
    )
    if isinstance(executor, list):
        raise Refused(
            [
                GraphQLError(e.message, nodes=e.nodes, original_error=BadRequest(e.message))
                for e in executor
            ]
        )
    context.plans = read_arguments(
        executor.operation, executor.fragment_definitions, executor.variable_values
    )
    result: Any = executor.execute_operation()
    done: ExecutionResult = await result if executor.is_awaitable(result) else result
    return done


async def _read(request: Request) -> Params:
    if request.method == "GET":
        return _params(_get_members(request.query_params))
    if request.method != "POST":
        raise HttpError(405, "Use GET for queries or POST.", Allow="GET, POST")
    media, _, options = request.headers.get("content-type", "").partition(";")
    if media.strip().lower() != JSON_TYPE:
        raise HttpError(415, f"Send the request as {JSON_TYPE}.")
    charset = options.lower().replace(" ", "").removeprefix("charset=").strip('"')
    if charset not in ("", "utf-8", "utf8"):
        raise HttpError(415, "Send the request in UTF-8.")
    return _params(_json(await _body(request)))


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HttpError(413, f"The request is larger than {MAX_BODY_BYTES} bytes.")
    return bytes(body)


def _json(text: bytes | str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise HttpError(400, "The request is not JSON in UTF-8.") from None


def _get_members(query: Mapping[str, str]) -> dict[str, Any]:
    members: dict[str, Any] = dict(query)
    for name in ("variables", "extensions"):
        if name in members:
            members[name] = _json(members[name].encode(errors="surrogatepass"))
    return members


def _params(members: Any) -> Params:
    if not isinstance(members, dict):
        raise BadRequest("The request must be a JSON object with the member 'query'.")
    query = members.get("query")
    if not isinstance(query, str) or not query:
        raise BadRequest("'query' must be a GraphQL document.")
    check_text(query)
    variables, name = members.get("variables"), members.get("operationName")
    if variables is not None and not isinstance(variables, dict):
        raise BadRequest("'variables' must be a JSON object.")
    if name is not None and not isinstance(name, str):
        raise BadRequest("'operationName' must be a string.")
    if not isinstance(members.get("extensions"), dict | None):
        raise BadRequest("'extensions' must be a JSON object.")
    check_variables(variables)
    return Params(query, variables or {}, name or None)


def _is_page(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _formatted(result: ExecutionResult, *, executed: bool = True) -> tuple[int, dict[str, Any]]:
    """The status for a client of the new media type, and the body."""
    errors = [_error(error) for error in result.errors or ()]
    codes = {error["extensions"]["code"] for error in errors}
    if "UNAVAILABLE" in codes:
        return 503, {"errors": [_public(Unavailable(errors[0]["message"]))]}
    if not executed:
        return max(_STATUS.get(code, 422) for code in codes), {"errors": errors}
    body = {"data": result.data} if not errors else {"errors": errors, "data": result.data}
    if result.data is None:
        return (500 if "INTERNAL" in codes else 422), body
    return (294 if errors else 200), body


def _error(error: GraphQLError) -> dict[str, Any]:
    original = error.original_error
    while isinstance(original, GraphQLError) and original.original_error is not None:
        original = original.original_error
    if isinstance(original, PublicError):
        shown = _public(original)
        shown["message"] = original.message
    elif original is None:
        # graphql-core's own: a value that cannot be coerced, found while executing.
        shown = _public(BadRequest(error.message))
    else:
        shown = _fault(original)
    if error.locations:
        shown["locations"] = [location.formatted for location in error.locations]
    if error.path is not None:
        shown["path"] = error.path
    return shown


def _public(error: PublicError) -> dict[str, Any]:
    return {"message": error.message, "extensions": {"code": error.code}}


def _fault(error: BaseException) -> dict[str, Any]:
    error_id = uuid.uuid4().hex
    _faults.error("fault %s", error_id, exc_info=error, extra={"errorId": error_id})
    return {
        "message": "Something went wrong on our side. Quote the errorId when you report it.",
        "extensions": {"code": "INTERNAL", "errorId": error_id},
    }


def _response(
    request: Request, status: int, body: dict[str, Any], headers: Mapping[str, str]
) -> Response:
    media = RESPONSE_TYPE
    accepted = request.headers.get("accept", "*/*")
    if RESPONSE_TYPE not in accepted and JSON_TYPE in accepted:
        media = JSON_TYPE
        status = 200 if status == 294 else status
    extra = dict(headers)
    if status == 401:
        extra["WWW-Authenticate"] = 'Bearer realm="community-gql", error="invalid_token"'
    if status == 503:
        extra["Retry-After"] = "1"
    return Response(
        orjson.dumps(body),
        status,
        {"Content-Type": f"{media}; charset=utf-8", "Vary": "Accept", **extra},
    )


def _log(line: Line, status: int, seconds: float) -> None:
    _requests.info(
        "%s %s",
        line.operation or "-",
        status,
        extra={
            "operation": line.operation,
            "document": line.document,
            "status": status,
            "statements": line.statements,
            "milliseconds": round(seconds * 1000, 1),
            "codes": line.codes,
        },
    )
