"""The HTTP protocol of ``serve`` and ``dev``: uvicorn's, with bounds on what a client may hold.

Connections are counted; the head of a request must arrive in time and stay small; a client that
does not read its answer is cut off. (The time and length of bodies are the view's.) Refusals are
GraphQL errors, and quiet in the log.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
import orjson
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

MAX_URL_BYTES = 16 * 1024
MAX_HEAD_BYTES = 32 * 1024
"""All header fields together."""
WRITE_SECONDS = 30.0
"""How long a client may leave an answer unread that is too long to be buffered."""


class BoundedConfig(Config):
    """uvicorn's configuration with our bounds; it travels to the worker processes as it is."""

    def __init__(
        self, app: Any, *, header_timeout: float, max_connections: int, **options: Any
    ) -> None:
        super().__init__(
            app, http=BoundedProtocol, ws="none", server_header=False, access_log=False, **options
        )
        self.header_timeout, self.max_connections = header_timeout, max_connections
        """Seconds, and connections of each process."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Its parser calls ``on_...`` in the order of the bytes."""

    config: BoundedConfig

    def __init__(
        self,
        config: BoundedConfig,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_bytes = 0
        self._field_bytes = 0
        self._in_head = True  # a head is awaited, or has begun
        self._refused = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    # asyncio calls these

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A new connection; one too many is told so and closed."""
        super().connection_made(transport)
        if len(self.connections) > self.config.max_connections:
            self._refuse(503, "There are too many connections. Try again shortly.", b"1")
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._stop_awaiting_head()
        if self._write_timer is not None:
            self._write_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """More bytes of one or more requests."""
        if self._refused:
            return
        self._unset_keepalive_if_required()
        if self._in_head:
            if self._head_timer is None:
                self._await_head()
            self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # the request was answered as if it had not asked
        except httptools.HttpParserError:
            if not self._refused:
                self._refuse(400, "This is not a request of HTTP/1.1.")
        # What has arrived of a head that is not complete yet.
        if self._in_head and self._head_bytes > MAX_URL_BYTES + MAX_HEAD_BYTES + len(data):
            self._refuse(431, "The header fields are too long.")

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        super().resume_writing()

    # the parser calls these

    def on_message_begin(self) -> None:
        """The first byte of a head."""
        super().on_message_begin()
        self._field_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        super().on_url(url)
        if len(self.url) > MAX_URL_BYTES:
            self._refuse(414, "The URL is too long: use POST.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field."""
        super().on_header(name, value)
        self._field_bytes += len(name) + len(value) + 4
        if self._field_bytes > MAX_HEAD_BYTES:
            self._refuse(431, "The header fields are too long.")

    def on_headers_complete(self) -> None:
        """The head is complete: the request begins, unless its head was refused."""
        self._stop_awaiting_head()
        self._in_head, self._head_bytes = False, 0
        if not self._refused:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete; the next one may follow."""
        self._in_head = True
        if not self._refused:
            super().on_message_complete()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.config.header_timeout, self._too_late)

    def _stop_awaiting_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_late(self) -> None:
        if self._head_bytes == 0:
            self.transport.close()  # a browser that connects ahead: it has asked for nothing
            return
        self._refuse(408, "The head of the request did not arrive in time.")

    def _refuse(self, status: int, message: str, retry_after: bytes | None = None) -> None:
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._stop_awaiting_head()
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()  # an answer is under way, into which nothing may be written
            return
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
        if retry_after is not None:
            fields[b"retry-after"] = retry_after
        head = b"".join(b"%b: %b\r\n" % field for field in fields.items())
        self.transport.write(STATUS_LINE[status] + head + b"\r\n" + body)
        self.transport.close()
