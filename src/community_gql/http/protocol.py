"""The HTTP protocol of ``serve`` and ``dev``: uvicorn's, with bounds on what a client may hold.

Connections are counted, in all and by address. Heads must arrive in time, stay small and leave no
doubt where a request ends; bodies must arrive in time; a connection that is not used is closed; a
client that does not read its answer is cut off. (The length of bodies is the view's.) Refusals are
GraphQL errors, and quiet in the log.
"""

from __future__ import annotations

import asyncio
import math
from enum import Enum
from typing import TYPE_CHECKING, Any, cast

import httptools
from starlette.types import Scope
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from community_gql.http.connections import Connections
from community_gql.http.events import BECOMES_STREAM
from community_gql.http.framing import FRAMING, USUAL, expects, fault_of, skipped_head
from community_gql.http.head import GRAPHQL_PATHS
from community_gql.http.limits import ConnectionLimits, holder
from community_gql.http.listener import has_unread
from community_gql.http.quick import PATHS, QUICK, Quick
from community_gql.http.requests import HttpError
from community_gql.http.responses import raw_refusal
from community_gql.http.sockets import SOCKETS, Sockets
from community_gql.http.timer import LazyTimer
from community_gql.http.websocket import keep_little
from community_gql.http.whole import Whole

if TYPE_CHECKING:
    from community_gql.http.config import BoundedConfig

MAX_URL_BYTES = 16 * 1024
MAX_HEAD_BYTES = 32 * 1024
"""All header fields together; trailers count too."""
MAX_AHEAD = 50
"""Requests that a client may send ahead of their answers, beside the one that is answered."""
WRITE_SECONDS = 30.0
"""How long a client may leave an answer unread that is too long to be buffered."""
LINGER_SECONDS = 1.0
"""How long what still arrives after a refusal is thrown away: a connection that is closed with
bytes unread is reset, and its last answers are lost to the client."""
BODY_GRACE = 1.0
"""Seconds that a view has to refuse a late body in its own words before the connection does."""
FIRST_REQUEST_SECONDS = 1.0
"""How long a new connection may take to send its first request after the listener is closed."""


class _Enough(Exception):
    """What still comes is not read: raised by a callback, it stops the parser."""


class Reading(Enum):
    """Which part of a request a connection reads."""

    NOTHING = 0
    HEAD = 1
    BODY = 2


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Its parser calls ``on_...`` in the order of the bytes."""

    config: BoundedConfig
    server_state: Connections

    def __init__(
        self,
        config: BoundedConfig,
        server_state: Connections,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits: ConnectionLimits = config.limits
        self._holder: str | None = None  # whose share of the connections it takes
        self._reading = Reading.NOTHING
        self._begun = 0  # requests whose first byte has come
        self._head_bytes = 0
        self._field_bytes = 0
        self._framing: list[tuple[bytes, bytes]] = []
        self._is_usual = True  # it has one Host and one Content-Length
        self._expects = False  # to be told to go on
        self._skipped_head: bytes | None = None
        self._sockets: Sockets | None = app_state.get(SOCKETS)
        self._quick: Quick | None = app_state.get(QUICK)
        self._whole: Whole | None = None
        """What is read now, if the quick way may answer it once it is whole."""
        self._becomes_socket = False  # once the head is complete that asks for it
        self._refused = False
        self._refusal: bytes | None = None  # to be sent after the answers that are owed
        self._lingers = False  # all is said; what still comes is thrown away
        self._has_ended = False  # the client sends no more
        self._timer = LazyTimer(self.loop, self._time_has_come)
        self._write_timer: asyncio.TimerHandle | None = None

    # asyncio calls these

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A new connection; one too many is told so and closed."""
        super().connection_made(transport)
        address = self.client[0] if self.client else None
        if address is not None and not self._limits.trusts(address):
            self._holder = holder(address)
            self.server_state.take(self._holder)
        state, limits = self.server_state, self._limits
        # What is beyond the share of its address is open only to be refused: that must not use up
        # the connections of others.
        more = state.counted - limits.max_connections
        if state.held_by(self._holder) > limits.max_per_address:
            self._refuse(503, "Your address holds too many connections. Close some of them.")
        elif more > 0 and more > state.beyond(limits.max_per_address):
            self._refuse(503, "There are too many connections. Try again shortly.")
        else:
            self._timer.expect(self._limits.header_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._leave()
        if self.scope is not None:
            self.scope["state"].pop(BECOMES_STREAM, None)  # or each would keep the other
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """More bytes of one or more requests."""
        if self._refused:
            return
        before = (self._reading, self._begun)
        if self._reading is Reading.NOTHING:  # blank lines before a head count as a head
            self._reading, self._head_bytes = Reading.HEAD, 0
        if self._reading is Reading.HEAD:
            self._head_bytes += len(data)
        self._feed(data)
        if self._refused:
            return
        if self._whole is not None:
            self._begin()
        # What has arrived of a head that is not complete yet.
        if (
            self._reading is Reading.HEAD
            and self._head_bytes > MAX_URL_BYTES + MAX_HEAD_BYTES + len(data)
        ):
            self._refuse(431, "The header fields are too long.")
        elif self._reading is Reading.NOTHING and self._owes():
            self._timer.deadline = math.inf  # the time of an answer is the view's
        elif (self._reading, self._begun) != before:
            self._timer.expect(self._patience())

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more, but may still read: what it is owed is sent first."""
        self._has_ended = True
        if self in self.server_state.streams:
            return False  # nobody would read what is told some day
        if self._refused:
            return not self._lingers
        if self._reading is Reading.BODY:
            self._refuse(400, "The body is shorter than its Content-Length, or has no end.")
        elif self._reading is Reading.HEAD:
            self._refuse(400, "The head of the request has no end.")
        elif self._owes():
            self.cycle.keep_alive = False
        else:
            return False
        return True

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
        if self._refused:
            raise _Enough
        if self._skipped_head is not None:
            return
        self.url, self.headers = b"", []
        self._reading = Reading.HEAD
        self._begun += 1
        self._field_bytes = 0
        self._framing = []

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        if self._skipped_head is not None:
            return
        self.url += url
        if len(self.url) > MAX_URL_BYTES:
            self._refuse(414, "The URL is too long: use POST.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field, or one of the trailers of a body, which say nothing to us."""
        self._field_bytes += len(name) + len(value) + 4
        if self._field_bytes > MAX_HEAD_BYTES:
            self._refuse(431, "The header fields are too long.")
        if self._reading is not Reading.HEAD:
            return
        name = name.lower()
        if name in FRAMING:
            self._framing.append((name, value))
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is complete: the request begins, unless its head was refused."""
        self._head_bytes = 0
        if self._skipped_head is None and not self._refused and self._is_framed_well():
            if self.parser.should_upgrade() and self._asks_for_socket():
                self._becomes_socket = True
                return
            if len(self.pipeline) >= MAX_AHEAD:
                self._refuse(400, f"More than {MAX_AHEAD} requests wait for an answer.")
                return
            if self._quick is not None and self.url in PATHS and self._may_be_quick():
                keep_alive = self.parser.should_keep_alive() and not self.server_state.draining
                self._whole = Whole(self, keep_alive)
            else:
                self._begin()  # its target may be no URL
            self._reading = Reading.BODY

    def _may_be_quick(self) -> bool:
        """Whether it is a usual POST, and nothing is owed before it."""
        parser = self.parser
        is_post = self._is_usual and parser.get_method() == b"POST" and not self._owes()
        return is_post and parser.get_http_version() == "1.1" and not parser.should_upgrade()

    def _make_scope(self) -> None:
        """Make ASGI's scope of what was read of the head, which is all but its first line."""
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, self._expects
        scope: Any = self.scope
        scope["headers"] = headers
        scope["state"][BECOMES_STREAM] = self._become_stream

    def _begin(self) -> None:
        """Have uvicorn begin the request, with what is there of its body."""
        whole, self._whole = self._whole, None
        self._make_scope()
        super().on_headers_complete()
        if self.server_state.draining:
            self.cycle.keep_alive = False
        if whole is not None and whole.body:
            self.on_body(whole.body)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._whole is not None:
            self._whole.body += body
        elif not self._refused and not self.cycle.response_complete:
            self.cycle.body += body
            if len(self.cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
            self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        """The request is complete; the next one may follow."""
        if not self._refused and self._skipped_head is None and not self._becomes_socket:
            self._reading = Reading.NOTHING
            if self._whole is not None:
                assert self._quick is not None
                if self._quick.start(self._whole):
                    self.cycle, self._whole = self._whole, None  # type: ignore[assignment]
                    return
                self._begin()
            if not self.cycle.response_complete:
                self.cycle.more_body = False
                self.cycle.message_event.set()

    # uvicorn calls these

    def on_response_complete(self) -> None:
        """An answer is written: the next request of the pipeline is run, or awaited."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._close()
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            if not self.pipeline and self._reading is Reading.BODY:
                self._timer.expect(self._patience())  # we did not read before
        elif self._refused:
            if self._refusal is not None:
                self._write_last(self._refusal)
        elif self._reading is Reading.NOTHING:
            self._timer.expect(self._limits.idle_timeout)
        elif self._reading is Reading.BODY:
            self._timer.expect(max(self._timer.left - BODY_GRACE, 0.01))

    def shutdown(self) -> None:
        """The process ends: answer what was asked, and close."""
        if self._refused:
            return
        if self._owes() or self._reading is Reading.BODY:
            self.cycle.keep_alive = False
            if self.cycle.response_complete:
                self._close()
        elif self._reading is Reading.HEAD or self._begun == 0 or has_unread(self.transport):
            self._timer.expect(min(FIRST_REQUEST_SECONDS, self._limits.header_timeout))
        else:
            self._close()

    # timers

    def _patience(self) -> float:
        """How many seconds what the connection waits for now may take."""
        if self._reading is Reading.HEAD:
            return self._limits.header_timeout
        if self._reading is Reading.BODY:
            late = 0.0 if self.cycle.response_complete else BODY_GRACE
            return self._limits.body_timeout + late
        # The time of an answer is the view's.
        return math.inf if self._owes() else self._limits.idle_timeout

    def _time_has_come(self) -> None:
        if self._refused:
            if self.transport.is_closing() or not self.transport.get_write_buffer_size():
                self.transport.abort()
            else:
                self._close()
        elif self._reading is Reading.HEAD:
            self._refuse(408, "The head of the request did not arrive in time.")
        elif self._reading is Reading.NOTHING:
            self._close()  # a browser that connects ahead, or has asked all that it wanted
        elif self.flow.read_paused:
            self._timer.expect(self._limits.body_timeout)  # we are the ones who do not read
        else:
            seconds = self._limits.body_timeout
            self._refuse(408, f"The body did not arrive within {seconds:g} seconds.")

    # what stays

    def _asks_for_socket(self) -> bool:
        """Whether what wants to upgrade is the handshake of a WebSocket, where there are any."""
        if self._sockets is None or self._skipped_head:
            return False
        path = self.url.partition(b"?")[0].decode("ascii")
        if path not in GRAPHQL_PATHS or (self.parser.get_method(), self._get_upgrade()) != (
            b"GET",
            b"websocket",
        ):
            return False
        self._make_scope()
        self.scope |= {"method": "GET", "http_version": self.parser.get_http_version()}
        self.scope |= {"path": path, "raw_path": path.encode(), "query_string": b""}
        return True

    def _hand_over(self, data: bytes) -> None:
        """Go on as a WebSocket, whose first frames may be in ``data``."""
        assert self._sockets is not None
        try:
            if self._owes():
                raise HttpError(400, "A WebSocket begins when what was asked before is answered.")
            answer, socket = self._sockets.accept(cast(Scope, self.scope))
        except HttpError as error:
            self._refuse(error.status, error.message)
            return
        transport = self.transport
        self._leave()
        self.connections.discard(self)
        transport.set_protocol(socket)
        transport.write(answer)
        socket.connection_made(transport)
        if data:
            socket.data_received(data)
        # Of what goes with it nothing may keep the other: a socket lives long.
        self.parser = self.flow = self.transport = self.scope = None  # type: ignore[assignment]
        self.headers, self.cycle = [], None  # type: ignore[assignment]

    def _become_stream(self) -> None:
        """It stays for events: it is counted with the sockets, and not here any more."""
        if self in self.connections:
            self._give_up_share()
            self.server_state.streams.add(self)
            keep_little(self.transport)

    def _leave(self) -> None:
        """Nothing is read here any more, and no timer runs."""
        self._timer.cancel()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        self._give_up_share()
        self.server_state.streams.discard(self)
        self._refused = True

    def _give_up_share(self) -> None:
        if self._holder is not None:
            self.server_state.give_back(self._holder)
            self._holder = None

    # refusals

    def _owes(self) -> bool:
        """Whether a request that is complete has not been answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _feed(self, data: bytes) -> None:
        while not self._refused:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # The request is answered as if it had not asked; what follows is its body, or the
                # next one.
                data = data[upgrade.args[0] :]
                if self._becomes_socket:
                    self._hand_over(data)
                    return
                if self._skipped_head is not None:
                    self._read_body_after_upgrade(self._skipped_head)
                if data:
                    continue
            except httptools.HttpParserError:
                self._refuse(400, "This is not a request of HTTP/1.1.")
            return

    def _read_body_after_upgrade(self, head: bytes) -> None:
        """Have a new parser read the body, which httptools leaves out of a request to upgrade.

        Otherwise the body would be taken for the next request.
        """
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(head)  # nothing of which is heard while _skipped_head is there
        self._skipped_head = None

    def _is_framed_well(self) -> bool:
        """Whether nobody can doubt where the request ends; one that leaves a doubt is refused."""
        framing, self._expects = self._framing, False
        self._is_usual = len(framing) == 2 and {framing[0][0], framing[1][0]} == USUAL
        if self._is_usual:
            return True
        if fault := fault_of(framing, self.parser.get_http_version()):
            self._refuse(*fault)
            return False
        self._expects = expects(framing)
        if self.parser.should_upgrade():
            self._skipped_head = skipped_head(framing)
        return True

    def _refuse(self, status: int, message: str) -> None:
        """Answer what was asked before, then what is being read with an error, and close."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._timer.deadline = math.inf
        if self._whole is not None:
            self._write_last(raw_refusal(status, message))
        elif self._reading is Reading.BODY:
            if self.pipeline:
                self.pipeline.popleft()  # it has not begun
            elif self.cycle.response_complete:
                self._write_last(b"")
                return
            elif self.cycle.response_started:
                self.cycle.keep_alive = False
                return
            else:
                self.cycle.disconnected = True  # its view has nobody to answer any more
                self.cycle.message_event.set()
                self._write_last(raw_refusal(status, message))
                return
            self._refusal = raw_refusal(status, message)
        elif self._owes():
            self._refusal = raw_refusal(status, message)
        else:
            self._write_last(raw_refusal(status, message))

    def _write_last(self, data: bytes) -> None:
        """Send ``data``, and close once the client has, or after LINGER_SECONDS."""
        self._refused, self._refusal, self._lingers = True, None, True
        self.transport.write(data)
        most = self._limits.max_connections + self._limits.spare // 2
        if self._has_ended or self.server_state.counted > most:
            self._close()
            return
        self.transport.write_eof()
        self.flow.resume_reading()
        self._timer.expect(LINGER_SECONDS)

    def _close(self) -> None:
        """Close when all is written, which the client has WRITE_SECONDS to read."""
        self._refused = True
        self.transport.close()
        self._timer.expect(WRITE_SECONDS)
