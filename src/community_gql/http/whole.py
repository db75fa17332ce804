"""A request that has arrived whole, and an answer that goes out whole, without ASGI's messages.

uvicorn's ``send`` looks at each field of a head anew, in two patterns, and writes head and body
apart; its ``receive`` waits for what is there. Both are bound to the cycle of one request, and so
are known here. Whoever stands between (CORS, tests) gets the messages of ASGI.
"""

from __future__ import annotations

from starlette.types import Receive, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

Cycle = RequestResponseCycle
TOGETHER = 64 * 1024
"""A body of up to so many bytes is copied behind its head, for one write."""

_default_fields: tuple[list[tuple[bytes, bytes]], bytes] = ([], b"")
"""The list of fields that uvicorn adds to each answer, and how they are written. It makes another
list every second."""


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
    end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
    head = STATUS_LINE[status] + _written(cycle.default_headers) + fields + end
    if len(body) <= TOGETHER:
        cycle.transport.write(head + body)
    else:
        cycle.transport.write(head)
        cycle.transport.write(body)
    cycle.response_complete = True
    cycle.message_event.set()
    if not cycle.keep_alive:
        cycle.transport.close()
    cycle.on_response()


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
