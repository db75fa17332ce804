"""What every answer tells a browser, so that it trusts the answer no further than needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from community_gql.http.whole import written

RawHeaders = list[tuple[bytes, bytes]]

PLAIN: RawHeaders = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
]
OVER_TLS: RawHeaders = [*PLAIN, (b"strict-transport-security", b"max-age=31536000")]


class SecurityHeaders:
    """Adds these fields to the answers of an application that do not have them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and complete the head of its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        added = OVER_TLS if scope.get("scheme") == "https" else PLAIN

        async def complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(header for header in added if header[0] not in given),
                ]
            await send(message)

        await self._app(scope, receive, complete)


class Cors(CORSMiddleware):
    """Starlette's, whose answers tell caches that they differ by origin.

    Also those to requests without an ``Origin``: a copy of one would be given to a page of another
    site for as long as it is kept, and its browser would refuse it.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and complete the head of its answer."""

        async def complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if "origin" not in headers.get("vary", "").lower():
                    headers.add_vary_header("Origin")
            await send(message)

        await super().__call__(scope, receive, complete)


class OriginFields:
    """What ``Cors`` adds to the answer to a POST, for answers that are written without ASGI."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """``options`` are those of ``Cors``."""
        cors = Cors(Response(), **options)
        self._to_others = _as_written(cors.simple_headers)
        mirrored = () if cors.allow_all_origins else cors.allow_origins
        self._to = {
            origin.encode(): self._to_others + _as_written({"Access-Control-Allow-Origin": origin})
            for origin in mirrored
        }

    def of(self, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The fields for a request with these, whose names are in lower case; mostly none."""
        for name, value in fields:
            if name == b"origin":  # the first counts, as in `Cors`
                return self._to.get(value, self._to_others)
        return b""

    def complete(self, fields: bytes, added: bytes) -> bytes:
        """The fields of an answer with what ``of`` has found, and that it differs by origin."""
        before, vary, after = fields.partition(b"\r\nvary: ")
        assert vary, "every answer says by what it differs"
        value, end, after = after.partition(b"\r\n")
        return b"%b%b%b, Origin%b%b%b" % (before, vary, value, end, after, added)


def _as_written(fields: Mapping[str, str]) -> bytes:
    return written([(name.lower().encode(), value.encode()) for name, value in fields.items()])
