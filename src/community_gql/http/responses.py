"""Writing the answer of a GraphQL request to HTTP (September 2026, section 5).

Every error leaves with a known ``extensions.code``. What is not a PublicError is a fault of ours:
the client sees an ``errorId``, the log sees everything but the request's values.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from graphql import GraphQLError
from starlette.responses import Response

from community_gql.errors import BadRequest, PublicError
from community_gql.http.requests import JSON_TYPE, RESPONSE_TYPE
from community_gql.logs import describe

STATUS: dict[str, int] = {
    "GRAPHQL_PARSE_FAILED": 400,
    "UNAUTHENTICATED": 401,
    "CSRF_HEADER_REQUIRED": 403,
    "DOCUMENT_NOT_TRUSTED": 403,
    "EMAIL_REQUIRED": 403,
    "EMAIL_TAKEN": 403,
    "SCHEMA_CLOSED": 403,
    "BAD_REQUEST": 422,
    "GRAPHQL_VALIDATION_FAILED": 422,
    "COST_LIMIT_EXCEEDED": 422,
    "ANSWER_TOO_LARGE": 422,
    "DOCUMENT_NOT_FOUND": 422,
    "RATE_LIMITED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
}
"""Every code there is, with the status of a request that was refused with it. ``BAD_REQUEST`` is
also the code of what HTTP itself refuses; its status then is HTTP's."""

PARTIAL = 294
"""Data and errors, for clients of the new media type."""

_faults = logging.getLogger("community_gql.faults")

Json = dict[str, Any]


@dataclass(slots=True)
class Answer:
    """The answer to a request, before it is written for its client.

    ``data`` is a Python value, or the JSON text of one (bytes), which goes out as it is.
    """

    status: int
    data: Any = None
    executed: bool = False
    """Whether there is ``data``, be it None."""
    errors: Sequence[Json] = ()
    extensions: Json = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        """The JSON text."""
        members: Json = {}
        if self.errors:
            members["errors"] = self.errors
        if self.executed:
            data = self.data
            members["data"] = orjson.Fragment(data) if isinstance(data, bytes) else data
        if self.extensions:
            members["extensions"] = self.extensions
        return orjson.dumps(members)

    def response(self, media: str | None, *, head: bool = False) -> Response:
        """The HTTP answer for a client that accepts ``media``."""
        status = self.status
        if media != JSON_TYPE or status >= 400:
            media = RESPONSE_TYPE
        elif status == PARTIAL:
            status = 200
        body = self.body()
        headers = {
            "Content-Type": f"{media}; charset=utf-8",
            "Content-Length": str(len(body)),
            "Vary": "Accept, Authorization, Cookie",
            "Cache-Control": "no-store",
            **self.headers,
        }
        if status == 304:
            del headers["Content-Length"]
            head = True
        return Response(b"" if head else body, status, headers)


def etag(answer: Answer, media: str | None) -> str:
    """A validator of what a client that accepts ``media`` would get."""
    digest = hashlib.blake2b(answer.body(), digest_size=12, key=(media or "").encode())
    return f'"{digest.hexdigest()}"'


def refusal(error: PublicError) -> Answer:
    """The answer to a request that this error refuses."""
    return Answer(STATUS[error.code], errors=[_public(error)])


def http_refusal(status: int, message: str, headers: Mapping[str, str]) -> Answer:
    """The answer to a request that HTTP refuses."""
    return Answer(status, errors=[_public(BadRequest(message))], headers=dict(headers))


def refusals(errors: Sequence[GraphQLError], values: Any = None) -> Answer:
    """The answer to a request that these errors refuse before anything ran."""
    shown = written(errors, values)
    status = max(STATUS[error["extensions"]["code"]] for error in shown)
    return Answer(status, errors=shown)


def fault(error: BaseException, values: Any = None) -> Answer:
    """The answer to a request that failed by a fault of ours, which is logged."""
    return Answer(500, errors=[_fault(error, values)])


def written(errors: Sequence[GraphQLError], values: Any) -> list[Json]:
    """The errors as a client may see them; ``values`` are what no log may show."""
    return [_written(error, values) for error in errors]


def _written(error: GraphQLError, values: Any) -> Json:
    original = error.original_error
    while isinstance(original, GraphQLError) and original.original_error is not None:
        original = original.original_error
    if isinstance(original, PublicError):
        shown = _public(original)
    elif original is None or isinstance(original, GraphQLError):
        # graphql-core's own: a value that cannot be coerced, found while executing.
        shown = _public(BadRequest(error.message))
    else:
        shown = _fault(original, values, error.path)
    if error.locations:
        shown["locations"] = [location.formatted for location in error.locations]
    if error.path is not None:
        shown["path"] = error.path
    return shown


def _public(error: PublicError) -> Json:
    return {"message": error.message, "extensions": {"code": error.code}}


def _fault(error: BaseException, values: Any, path: Sequence[Any] | None = None) -> Json:
    error_id = uuid.uuid4().hex
    _faults.error(
        "fault %s at %s\n%s",
        error_id,
        ".".join(map(str, path or ())) or "the request",
        describe(error, values),
        extra={"errorId": error_id},
    )
    return {
        "message": "Something went wrong on our side. Quote the errorId when you report it.",
        "extensions": {"code": "INTERNAL", "errorId": error_id},
    }
