"""Writing the answer of a GraphQL request to HTTP (September 2026, section 5).

Every error leaves with a known ``extensions.code``, see ``operations/shown.py``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from graphql import GraphQLError
from starlette.responses import Response
from starlette.types import Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from community_gql.errors import BadRequest, PublicError
from community_gql.http import whole
from community_gql.http.rate_limit import Balance, RateLimited
from community_gql.http.requests import JSON_TYPE, RESPONSE_TYPE
from community_gql.http.security import OVER_TLS, PLAIN, RawHeaders
from community_gql.operations.shown import public, unexpected
from community_gql.operations.shown import written as written

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
    "PERSISTED_QUERY_NOT_FOUND": 422,
    "PERSISTED_QUERY_NOT_SUPPORTED": 422,
    "RATE_LIMITED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
}
"""Every code there is, with the status of a request that was refused with it. ``BAD_REQUEST`` is
also the code of what HTTP itself refuses; its status then is HTTP's."""

PARTIAL = 294
"""Data and errors, for clients of the new media type."""

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

    def media(self, accepted: str | None) -> str:
        """The media type for a client that accepts ``accepted``."""
        return JSON_TYPE if accepted == JSON_TYPE and self.status < 400 else RESPONSE_TYPE

    def http_status(self, accepted: str | None) -> int:
        """The status for that client: clients of JSON alone do not know 294."""
        partial = self.status == PARTIAL and self.media(accepted) == JSON_TYPE
        return 200 if partial else self.status

    async def send(
        self, send: Send, accepted: str | None, *, head: bool = False, is_tls: bool = False
    ) -> None:
        """Answer a client that accepts ``accepted``; with ``head`` without the body."""
        cycle = whole.cycle_of(send)
        if cycle is not None and "Connection" not in self.headers:
            status, fields, body = self.written(accepted, is_tls)
            await whole.answer(cycle, status, fields, b"" if head else body)
            return
        status = self.http_status(accepted)
        body = self.body() if status != 304 else b""
        own = self._own_fields(status, body)
        headers = [*_CONSTANT[self.media(accepted), is_tls], *own]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head else body})

    def written(self, accepted: str | None, is_tls: bool) -> tuple[int, bytes, bytes]:
        """Status, fields and body for that client, as ``whole.answer`` takes them."""
        status = self.http_status(accepted)
        body = self.body() if status != 304 else b""
        own = whole.written(self._own_fields(status, body))
        return status, WRITTEN[self.media(accepted), is_tls] + own, body

    def _own_fields(self, status: int, body: bytes) -> RawHeaders:
        own = self.raw_headers()
        if status != 304:
            own.append((b"content-length", b"%d" % len(body)))
        return own

    def raw_headers(self) -> RawHeaders:
        """Its own fields, and that nobody may keep it unless they say otherwise."""
        own = []
        for name, value in self.headers.items():
            own.append((name.lower().encode(), value.encode()))
        if "Cache-Control" not in self.headers:
            own.append((b"cache-control", b"no-store"))
        return own

    def response(self, *, head: bool = False) -> Response:
        """The same as Starlette's object, for its routes."""
        headers = {**self.headers, "Vary": VARY}
        headers.setdefault("Cache-Control", "no-store")
        headers["Content-Type"] = f"{RESPONSE_TYPE}; charset=utf-8"
        body = self.body()
        headers["Content-Length"] = str(len(body))
        return Response(b"" if head else body, self.status, headers)


_LONGEST_TAGGED = 2**20
"""Bytes of data: making a validator of more holds the event loop for longer than sending it."""
VARY = "Accept, Authorization, Cookie"
_CONSTANT: dict[tuple[str, bool], RawHeaders] = {
    (media, is_tls): [
        (b"content-type", f"{media}; charset=utf-8".encode()),
        (b"vary", VARY.encode()),
        *(OVER_TLS if is_tls else PLAIN),
    ]
    for media in (RESPONSE_TYPE, JSON_TYPE)
    for is_tls in (False, True)
}
"""The fields that every answer has, by its media type and whether it goes over TLS."""
WRITTEN = {key: whole.written(fields) for key, fields in _CONSTANT.items()}
"""The same as they go out."""


def quick_fields(
    media: str, is_tls: bool, balance: Balance, request_id: bytes, length: int
) -> bytes:
    """The fields of the most usual answer: 200, with what is left of the budget."""
    own = _QUICK % (*balance, length, request_id)
    return WRITTEN[media, is_tls] + own


_QUICK = (
    b"ratelimit-limit: %d\r\nratelimit-remaining: %d\r\nratelimit-reset: %d\r\n"
    b"cache-control: no-store\r\ncontent-length: %d\r\nx-request-id: %b\r\n"
)


def quick_body(data: bytes, cost: int) -> bytes:
    """The body of that answer, with the JSON text of its data."""
    end = b',"extensions":{"cost":{"requested":%d}}}' % cost
    return b"".join((b'{"data":', data, end))  # `%` copies a long text several times


def may_be_tagged(answer: Answer) -> bool:
    """Whether making its validator takes less than a few milliseconds."""
    return not isinstance(answer.data, bytes) or len(answer.data) <= _LONGEST_TAGGED


def etag(answer: Answer, media: str) -> str:
    """A strong validator of what the answer says in this media type.

    It does not depend on how the answer was made: JSON text of the database is written anew, and
    ``extensions`` do not count.
    """
    data = orjson.loads(answer.data) if isinstance(answer.data, bytes) else answer.data
    text = Answer(answer.status, data, answer.executed, answer.errors).body()
    return f'"{hashlib.blake2b(text, digest_size=12, key=media.encode()).hexdigest()}"'


def is_known(if_none_match: str, tag: str) -> bool:
    """Whether the client has it already; a proxy that compressed it has made the tag weak.

    Without a tag only ``*`` says so.
    """
    given = {each.strip().removeprefix("W/") for each in if_none_match.split(",")}
    return not given.isdisjoint({tag or "*", "*"})


def refusal(error: PublicError) -> Answer:
    """The answer to a request that this error refuses, with the fields that go with it."""
    answer = Answer(STATUS[error.code], errors=[public(error)])
    if isinstance(error, RateLimited):
        answer.headers = {**error.balance.headers(), "Retry-After": str(error.wait)}
    elif answer.status == 503:
        answer.headers = {"Retry-After": "1"}
    elif answer.status == 401:
        answer.headers = {"WWW-Authenticate": 'Bearer realm="community-gql", error="invalid_token"'}
    return answer


def http_refusal(status: int, message: str, headers: Mapping[str, str]) -> Answer:
    """The answer to a request that HTTP refuses."""
    return Answer(status, errors=[public(BadRequest(message))], headers=dict(headers))


def raw_refusal(status: int, message: str) -> bytes:
    """The bytes of an answer to who is refused before there is a request; the connection ends."""
    code = "UNAVAILABLE" if status == 503 else "BAD_REQUEST"
    error = {"message": message, "extensions": {"code": code}}
    body = orjson.dumps({"errors": [error]})
    fields = {
        b"content-type": b"application/graphql-response+json; charset=utf-8",
        b"content-length": str(len(body)).encode(),
        b"cache-control": b"no-store",
        b"x-content-type-options": b"nosniff",
        b"connection": b"close",
    }
    if status == 503:
        fields[b"retry-after"] = b"1"
    head = b"".join(b"%b: %b\r\n" % field for field in fields.items())
    return STATUS_LINE[status] + head + b"\r\n" + body


def refusals(errors: Sequence[GraphQLError], values: Any = None) -> Answer:
    """The answer to a request that these errors refuse before anything ran."""
    shown = written(errors, values)
    status = max(STATUS[error["extensions"]["code"]] for error in shown)
    return Answer(status, errors=shown)


def fault(error: BaseException, values: Any = None) -> Answer:
    """The answer to a request that failed by a fault of ours, which is logged."""
    return Answer(500, errors=[unexpected(error, values)])
