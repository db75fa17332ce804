"""A WebSocket of the server: frames, pings, and a client that does not read or does not answer.

The protocol itself is ``websockets``' ``ServerProtocol``, which does no input or output. It is fed
and emptied here, in asyncio's own callbacks, so that an idle socket has no task and no queue.
Nothing is compressed: it would take forty KiB for each socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import socket
from functools import lru_cache
from typing import cast

from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from community_gql.http.limits import LiveLimits
from community_gql.http.wheel import Wheel

MAX_MESSAGE_BYTES = 64 * 1024
ROOM_BYTES = 64 * 1024
"""With so much unsent a connection has no room for events."""
KERNEL_BYTES = 16 * 1024
"""What the kernel may hold of it that is not sent yet."""
MAX_FRAMES = 500
"""Frames that a client may send in FRAMES_SECONDS, pings and parts of messages included."""
FRAMES_SECONDS = 10.0
_PIECE = 4096
"""So many bytes are read at once, so that a flood ends before all of it was read."""
CLOSING_SECONDS = 5.0
"""How long a client may take to answer that we close."""
LINGER_SECONDS = 1.0
"""How long what still arrives is thrown away once both have closed, see ``protocol.py``."""
MAX_REASON_BYTES = 123  # RFC 6455, section 5.5

# `websockets` tells each connection at info.
_quiet = logging.getLogger("community_gql.http.websocket.frames")
_quiet.setLevel(logging.ERROR)


def sans_io() -> ServerProtocol:
    """The state of one connection, for ``accept`` and then for a ``WebSocket``."""
    # OPEN, since its own reading of the request is left out: that has been read.
    return ServerProtocol(
        subprotocols=["graphql-transport-ws"],  # type: ignore[list-item]
        state=State.OPEN,
        max_size=MAX_MESSAGE_BYTES,
        logger=_quiet,
    )


def keep_little(transport: asyncio.Transport) -> None:
    """Have the kernel hold little that is not sent yet: it would be megabytes of old events.

    We also see sooner whether a client reads.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
        with contextlib.suppress(OSError):  # a Unix socket
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, KERNEL_BYTES)


_PING = b"\x89\x00"
_PONG, _PONG_SIZE = b"\x8a\x80", 6
"""How the answer to it begins, and how long it is with its mask."""


def are_whole_frames(data: bytes) -> bool:
    """Whether a client's bytes, which begin with a frame, end with one too (RFC 6455, 5.2).

    False also where there is a frame of 64 KiB or more.
    """
    at, end = 0, len(data)
    while at + 2 <= end:
        size = data[at + 1] & 0x7F
        at += 6  # with the mask
        if size == 126:
            size = int.from_bytes(data[at - 4 : at - 2], "big")
            at += 2
        elif size == 127:
            return False
        at += size
    return at == end


@lru_cache(maxsize=1024)
def _head(size: int) -> bytes:
    """What a frame with a whole text of so many bytes begins with, from us (RFC 6455, 5.2)."""
    if size < 126:
        return bytes((0x81, size))
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big")
    return b"\x81\x7f" + size.to_bytes(8, "big")


def frame_of(*parts: bytes) -> bytes:
    """The frame of a text in UTF-8, in parts.

    It is written here: there is no simpler one, and the library takes longer for it than everything
    else that an event costs us.
    """
    return b"".join((_head(sum(map(len, parts))), *parts))


class WebSocket(asyncio.Protocol):
    """One connection, after its handshake. Its class says what texts mean.

    It waits on the wheel for one time, which is set anew only where another one comes before it.
    """

    __slots__ = (
        "_closing",
        "_deadline",
        "_frames",
        "_frames_since",
        "_is_between",
        "_loop",
        "_parts",
        "_ping_at",
        "_pong_by",
        "_protocol",
        "_read_by",
        "_slot",
        "_transport",
        "_unread",
        "_wheel",
        "limits",
        "room",
    )

    def __init__(self, protocol: ServerProtocol, limits: LiveLimits, wheel: Wheel) -> None:
        self._protocol, self.limits, self._wheel = protocol, limits, wheel
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.room: asyncio.Transport | None = None
        """Where events are written; None while there is no room for them, or it closes."""
        self._closing = False
        self._parts: bytearray | None = None  # of a message that is not complete
        # Whether what comes next is known to begin a frame; if not, the library alone knows.
        self._is_between = True
        self._frames, self._frames_since = 0, 0.0
        self._slot = math.inf  # when it is called next
        self._ping_at = self._pong_by = self._read_by = math.inf
        self._unread = 0
        # When its class wants to be called, while it is open; when it is given up, while it closes.
        self._deadline = math.inf

    # for its class

    def on_text(self, text: str) -> None:
        """A message."""
        raise NotImplementedError

    def on_time(self) -> None:
        """The time of ``expect`` has come."""
        raise NotImplementedError

    def on_closing(self, reason: str) -> None:
        """It closes, or has broken off: nothing can be sent any more. Called once."""
        raise NotImplementedError

    def on_gone(self) -> None:
        """The connection is gone. ``on_closing`` was called before."""
        raise NotImplementedError

    @property
    def is_open(self) -> bool:
        """Whether something can be sent."""
        return self._transport is not None and not self._closing

    def has_room(self) -> bool:
        """Whether the client has read enough of what was sent to it."""
        return self.room is not None

    def send(self, *parts: bytes) -> None:
        """Send a text in UTF-8, in parts; nothing if it is closing."""
        if self._transport is not None and not self._closing:
            self._transport.write(frame_of(*parts))

    def expect(self, when: float) -> None:
        """Have ``on_time`` called then, by the event loop's clock, and not before."""
        self._deadline = when
        self._set_timer()

    def close(self, code: int, message: str, reason: str) -> None:
        """Close it with a message for the client; ``reason`` is for the log."""
        if not self.is_open:
            return
        shortened = message.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
        self._protocol.send_close(code, shortened)
        self._ends(reason)
        self._flush()

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake was answered."""
        made = cast(asyncio.Transport, transport)  # uvloop's has another class
        self._transport = self.room = made
        made.set_write_buffer_limits(high=ROOM_BYTES)
        keep_little(made)
        # Those who come together are not all asked together for ever.
        first = random.uniform(0.5, 1) * self.limits.ping_interval
        self._ping_at = self._loop.time() + first
        self._set_timer()

    def data_received(self, data: bytes) -> None:
        """Bytes of frames."""
        if self._protocol.eof_sent:
            return
        self._pong_by = math.inf  # whatever it is: the client lives
        if self._is_between:
            if len(data) == _PONG_SIZE and data.startswith(_PONG):
                # Nearly all that idle clients send; the library would do nothing with it.
                if self.is_open:
                    self._count_frame()
                return
            self._is_between = are_whole_frames(data)
        for at in range(0, len(data), _PIECE):
            self._protocol.receive_data(data[at : at + _PIECE])
            for frame in self._protocol.events_received():
                if isinstance(frame, Frame):
                    self._read(frame)
            if self._protocol.eof_sent:
                break
        self._flush()

    def eof_received(self) -> bool:
        """The client sends no more: nothing can be agreed upon with it."""
        return False

    def pause_writing(self) -> None:
        """The client reads more slowly than we write."""
        if self._transport is None or self._closing:
            return
        self.room = None
        self._transport.pause_reading()  # nor do we read what it asks for
        self._unread = self._transport.get_write_buffer_size()
        self._pong_by = math.inf  # it cannot have read our ping
        self._read_by = self._loop.time() + self.limits.read_timeout
        self._ping_at = math.inf
        self._set_timer()

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._transport is None or self._closing:
            return
        self.room, self._read_by = self._transport, math.inf
        self._ping_at = self._loop.time() + self.limits.ping_interval
        self._transport.resume_reading()
        self._set_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._wheel.remove(self, self._slot)
        self._transport = self.room = None
        self._ends("client gone")
        self.on_gone()

    # frames

    def _read(self, frame: Frame) -> None:
        if not self._count_frame():
            return
        if frame.opcode is Opcode.BINARY:
            self.close(4400, "Messages are texts of JSON.", "protocol error")
        elif frame.opcode is Opcode.TEXT or frame.opcode is Opcode.CONT:
            parts = frame.data if self._parts is None else self._parts + frame.data
            if not frame.fin:
                self._parts = bytearray(parts)
                return
            self._parts = None
            try:
                text = bytes(parts).decode()
            except UnicodeDecodeError:
                self.close(CloseCode.INVALID_DATA, "Messages are UTF-8.", "protocol error")
                return
            self.on_text(text)

    def _count_frame(self) -> bool:
        """Count a frame of the client; False, and nothing more is read, for one too many."""
        now = self._loop.time()
        if now - self._frames_since > FRAMES_SECONDS:
            self._frames, self._frames_since = 0, now
        self._frames += 1
        if self._frames > MAX_FRAMES and not self._protocol.eof_sent:
            self._protocol.fail(4429, "Too many frames: send less often.")
            self._ends("flood")
            self._flush()
        return self.is_open

    def _flush(self) -> None:
        """Send what the protocol has to send, and notice when it closes."""
        transport = self._transport
        if transport is None:
            return
        for data in self._protocol.data_to_send():
            if data:
                transport.write(data)
                continue
            # Both have closed, or the client has broken the protocol.
            self._ends("client closed" if self._protocol.close_rcvd else "protocol error")
            if transport.can_write_eof():
                transport.write_eof()
                self._deadline = self._loop.time() + LINGER_SECONDS
                self._set_timer()
            else:
                transport.close()

    def _ends(self, reason: str) -> None:
        """Free everything: nothing is sent any more but that it closes."""
        if self._closing:
            return
        self._closing, self._parts, self.room = True, None, None
        if self._transport is not None:
            if self._read_by < math.inf:
                self._transport.resume_reading()  # it may answer that we close
            self._ping_at = self._pong_by = self._read_by = math.inf
            self._deadline = self._loop.time() + CLOSING_SECONDS
            self._set_timer()
        self.on_closing(reason)

    # the wheel calls this

    def time_has_come(self) -> None:
        """Do what is due."""
        self._slot = math.inf
        if self._transport is None:
            return
        now = self._loop.time() + 0.001
        if now >= self._read_by:
            self._see_whether_it_reads(self._transport, now)
        elif now >= self._pong_by:
            self._ends("does not answer")
            self._transport.abort()
            return
        elif now >= self._ping_at:
            self._ping_at = now + self.limits.ping_interval
            self._pong_by = now + self.limits.pong_timeout
            self._transport.write(_PING)
        if now >= self._deadline:
            self._deadline = math.inf
            if self._closing:
                self._transport.abort()
                return
            self.on_time()
        self._set_timer()

    def _set_timer(self) -> None:
        due = min(self._deadline, self._ping_at, self._pong_by, self._read_by)
        if due < self._slot:
            self._wheel.remove(self, self._slot)
            self._slot = self._wheel.add(self, due)

    def _see_whether_it_reads(self, transport: asyncio.Transport, now: float) -> None:
        left = transport.get_write_buffer_size()
        if left < self._unread:
            self._unread, self._read_by = left, now + self.limits.read_timeout
            return
        self._ends("does not read")
        self._deadline = now  # at once: it would not read that we close
