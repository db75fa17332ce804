"""Reading a GraphQL request from HTTP (GraphQL over HTTP, September 2026, section 4).

Whatever bytes arrive, the outcome is a ``Params`` or a public error: HttpError where HTTP or JSON
is broken, BadRequest where the request is not well formed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from community_gql.errors import BadRequest
from community_gql.http import exact_json
from community_gql.http.head import Head
from community_gql.operations.plans import check_text, check_variables
from community_gql.operations.prepared import Params

JSON_TYPE = "application/json"
RESPONSE_TYPE = "application/graphql-response+json"
PAGE_TYPE = "text/html"
EVENTS_TYPE = "text/event-stream"
METHODS = "GET, HEAD, POST, OPTIONS"
_JSON_MEMBERS = ("variables", "extensions")
_KINDS: dict[str, tuple[type, str]] = {
    "query": (str, "a GraphQL document, as text"),
    "documentId": (str, "a text"),
    "operationName": (str, "a text"),
    "variables": (dict, "a JSON object"),
    "extensions": (dict, "a JSON object"),
}
"""What the members of a request are."""
_MEMBERS = tuple(_KINDS)
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""NUL in JSON. After two backslashes, which are one of the text, it is no escape."""
_MAX_PARAMETERS = 50
_MAX_RANGES = 50
"""Media types of an ``Accept`` that are read; what clients send has ten at most."""
_LONGEST_REMEMBERED = 500
"""Bytes of an ``Accept`` that is remembered."""


class HttpError(Exception):
    """A request that HTTP itself refuses: status, message, and headers of the answer."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})


_CLOSE = {"Connection": "close"}  # what is left of the body is not waited for


def accepted_type(accept: str | None, *offered: str) -> str | None:
    """The offered media type that the ``Accept`` header likes best; None when it likes none.

    Of equals the one offered first. The most specific range decides (RFC 9110, 12.5.1), of the
    first ``_MAX_RANGES``.
    """
    if accept is None or not accept.strip():
        return offered[0]
    parts = accept.split(",", _MAX_RANGES)[:_MAX_RANGES]
    ranges = [_media_range(part) for part in parts if part.strip()]
    liked = max(offered, key=lambda media: _quality(media, ranges))
    return liked if _quality(liked, ranges) > 0 else None


def _media_range(text: str) -> tuple[str, float]:
    media, *parameters = (part.strip().lower() for part in text.split(";", _MAX_RANGES))
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = min(max(float(value), 0.0), 1.0)
            except ValueError:
                quality = 0.0
            break  # what follows belongs to Accept itself
        if name.strip() == "charset" and value.strip().strip('"') not in ("utf-8", "utf8"):
            quality = 0.0
            break
    return media, quality if quality == quality else 0.0


def _quality(offered: str, ranges: list[tuple[str, float]]) -> float:
    kind = f"{offered.partition('/')[0]}/*"
    best = (-1, 0.0)
    for media, quality in ranges:
        specific = (media == "*/*", media == kind, media == offered)
        if any(specific):
            best = max(best, (specific.index(True), quality))
    return best[1]


def negotiate(accept: bytes, *offered: str) -> str | None:
    """``accepted_type`` of a header as it came, remembered by its bytes."""
    read = _remembered if len(accept) <= _LONGEST_REMEMBERED else _negotiated
    return read(accept, *offered)


def _negotiated(accept: bytes, *offered: str) -> str | None:
    return accepted_type(accept.decode("latin1") or None, *offered)


_remembered = lru_cache(maxsize=1000)(_negotiated)


async def read(head: Head, receive: Receive, max_bytes: int, body: bytes | None = None) -> Params:
    """The request's members; ``body`` if it is there already.

    Raises HttpError, BadRequest and ClientDisconnect.
    """
    if head.is_safe:
        return params_of(_url_members(head.query_string))
    if head.method != "POST":
        raise HttpError(405, "Send queries by GET or POST.", {"Allow": METHODS})
    if head.content_type != b"application/json":
        _check_type(head.content_type)
    if head.content_encoding.strip().lower() not in (b"", b"identity"):
        raise HttpError(
            415, "Send the body without encoding.", {**_CLOSE, "Accept-Encoding": "identity"}
        )
    if body is None:
        body = await _body(head, receive, max_bytes)
    elif len(body) > max_bytes:
        raise HttpError(413, _too_long(max_bytes), _CLOSE)
    # JSON writes NUL in no other way, and what orjson has read holds no lone surrogates.
    is_clean = b"\\u0000" not in body or _NUL.search(body) is None
    return params_of(_json(body), is_clean=is_clean, size=len(body))


def _check_type(content_type: bytes) -> None:
    media, *parameters = (part.strip() for part in content_type.decode("latin1").split(";"))
    if media.lower() != JSON_TYPE:
        raise HttpError(415, f"Send the request as {JSON_TYPE}.", _CLOSE)
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in (
            "utf-8",
            "utf8",
        ):
            raise HttpError(415, "Send the request in UTF-8.", _CLOSE)


async def _body(head: Head, receive: Receive, max_bytes: int) -> bytes:
    length = head.content_length
    if length.isdigit() and (len(length) > 18 or int(length) > max_bytes):
        raise HttpError(413, _too_long(max_bytes), _CLOSE)
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        body = body + chunk if body else chunk
        if len(body) > max_bytes:
            raise HttpError(413, _too_long(max_bytes), _CLOSE)
        more = message.get("more_body", False)
    return body


def _too_long(max_bytes: int) -> str:
    return f"The body is longer than {max_bytes:,} bytes."


def too_late(seconds: float) -> HttpError:
    """The refusal of a request whose body did not arrive in that time."""
    return HttpError(408, f"The body did not arrive within {seconds:g} seconds.", _CLOSE)


def _json(text: bytes | str) -> Any:
    try:
        return exact_json.loads(text)
    except orjson.JSONDecodeError:
        raise HttpError(400, "The request is not JSON in UTF-8.") from None


def _url_members(query: bytes) -> dict[str, Any]:
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MAX_PARAMETERS,
        )
    except ValueError:  # of which UnicodeError is one
        raise HttpError(400, "The URL's parameters are not UTF-8 or too many.") from None
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in _MEMBERS and members.setdefault(name, value) is not value:
            raise BadRequest(f"'{name}' is given twice.")
    for name in ("documentId", "operationName", *_JSON_MEMBERS):
        if not members.get(name, " "):
            del members[name]  # empty means absent
    for name in _JSON_MEMBERS:
        if name in members:
            members[name] = _json(members[name])
    return members


def params_of(members: Any, *, is_clean: bool = False, size: int = 0) -> Params:
    """The parameters of a request, of its JSON text read. Raises BadRequest.

    ``is_clean``: its texts are known to hold nothing that PostgreSQL cannot hold. ``size`` is the
    length of the JSON text in bytes, if it may be long.
    """
    if not isinstance(members, dict):
        raise BadRequest("The request must be a JSON object.")
    for name, value in members.items():
        if value is not None and name in _KINDS and not isinstance(value, _KINDS[name][0]):
            raise BadRequest(f"'{name}' must be {_KINDS[name][1]}.")
    query, variables = members.get("query"), members.get("variables")
    if not is_clean:
        if query is not None:
            check_text(query)
        check_variables(variables)
    return Params(
        query,
        members.get("documentId"),
        variables or {},
        members.get("operationName") or None,
        members.get("extensions") or {},
        size,
    )
