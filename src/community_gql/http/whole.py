"""A request that has arrived whole, and an answer that goes out whole, without ASGI's messages.

uvicorn's ``send`` looks at each field of a head anew, in two patterns, and writes head and body
apart; its ``receive`` waits for what is there. Both are bound to the cycle of one request, and so
are known here. Whoever stands between (CORS, tests) gets the messages of ASGI.
"""

from __future__ import annotations

from asyncio import WriteTransport
from typing import TYPE_CHECKING, Any

from starlette.types import Receive, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

if TYPE_CHECKING:
    from community_gql.http.protocol import BoundedProtocol

Cycle = RequestResponseCycle
TOGETHER = 64 * 1024
"""A body of up to so many bytes is copied behind its head, for one write."""

_default_fields: tuple[list[tuple[bytes, bytes]], bytes] = ([], b"")
"""The list of fields that uvicorn adds to each answer, and how they are written. It makes another
list every second."""


class _Nobody:
    """Waits for no message."""

    def set(self) -> None:
        """Nobody is woken."""


_NOBODY = _Nobody()


class Whole:
    """A POST that has arrived whole, and its answer, for whoever needs no messages of ASGI.

    To its connection it is what uvicorn's cycle is for other requests.
    """

    __slots__ = ("body", "disconnected", "keep_alive", "protocol", "response_complete", "task")

    message_event = _NOBODY
    more_body = False
    response_started = False
    """It goes out in one piece."""

    def __init__(self, protocol: BoundedProtocol, keep_alive: bool) -> None:
        self.protocol, self.keep_alive = protocol, keep_alive
        self.body = b""
        self.disconnected = self.response_complete = False
        self.task: Any = None
        """What answers it."""

    async def drain(self) -> None:
        """Wait until the client has read enough of what was written before."""
        if self.protocol.flow.write_paused and not self.disconnected:
            await self.protocol.flow.drain()

    def answer(self, status: int, fields: bytes, body: bytes) -> None:
        """Write the answer; see ``answer`` below for ``fields``."""
        protocol = self.protocol
        if self.disconnected:
            return
        self.response_complete = True
        start = STATUS_LINE[status] + _written(protocol.server_state.default_headers)
        _write(protocol.transport, start + fields, body, self.keep_alive)
        protocol.on_response_complete()


def cycle_of(call: Receive | Send) -> Cycle | None:
    """The request and answer whose ``receive`` or ``send`` this is; None if there is more to it."""
    found = getattr(call, "__self__", None)
    return found if type(found) is Cycle else None


def whole_body(receive: Receive) -> bytes | None:
    """The body, if all of it is there; None where it must be awaited."""
    cycle = cycle_of(receive)
    if cycle is None or cycle.more_body or cycle.disconnected or cycle.waiting_for_100_continue:
        return None
    cycle.flow.resume_reading()
    cycle.message_event.clear()  # what is received next is that the client has gone
    body, cycle.body = bytes(cycle.body), bytearray()
    return body


async def answer(cycle: Cycle, status: int, fields: bytes, body: bytes) -> None:
    """Write a whole answer; ``fields`` are its header fields, each with the end of its line.

    There must be a Content-Length, if the status has one, and no Connection.
    """
    if cycle.flow.write_paused and not cycle.disconnected:
        await cycle.flow.drain()
    if cycle.disconnected:
        return
    cycle.response_started = True
    cycle.waiting_for_100_continue = False
    cycle.response_complete = True
    start = STATUS_LINE[status] + _written(cycle.default_headers)
    _write(cycle.transport, start + fields, body, cycle.keep_alive)
    cycle.message_event.set()
    cycle.on_response()


def _write(transport: WriteTransport, head: bytes, body: bytes, keep_alive: bool) -> None:
    """Write an answer with the end of its head, and close what is not kept alive."""
    head += b"\r\n" if keep_alive else b"connection: close\r\n\r\n"
    if len(body) <= TOGETHER:
        transport.write(head + body)
    else:
        transport.write(head)
        transport.write(body)
    if not keep_alive:
        transport.close()


def written(fields: list[tuple[bytes, bytes]]) -> bytes:
    """Header fields as they go out. Raises RuntimeError for a value with the end of a line."""
    text = b""
    for field in fields:
        text += b"%b: %b\r\n" % field
    if text.count(b"\n") != len(fields) or text.count(b"\r") != len(fields):
        raise RuntimeError("a header field holds the end of a line")
    return text


def _written(defaults: list[tuple[bytes, bytes]]) -> bytes:
    global _default_fields
    known, text = _default_fields
    if known is not defaults:
        text = written(defaults)
        _default_fields = defaults, text
    return text
