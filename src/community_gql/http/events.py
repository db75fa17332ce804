"""Subscriptions as event streams: GraphQL over SSE, in its distinct connections mode.

One request is one subscription. Its events are ``next``, whose ``id`` is the moment that a client
resumes from with ``Last-Event-ID``, and ``complete``. A stream that the server ends for another
reason than that nothing more will come has no ``complete``, so that clients come back.
"""

from __future__ import annotations

import asyncio
import time

from starlette.types import Receive, Scope, Send

from community_gql.errors import Unavailable
from community_gql.http.exchange import Exchange
from community_gql.http.limits import LiveLimits
from community_gql.http.live_connections import LiveConnections
from community_gql.http.request_log import SubscriptionLog
from community_gql.http.requests import EVENTS_TYPE
from community_gql.http.responses import VARY, Answer
from community_gql.http.security import OVER_TLS, PLAIN
from community_gql.http.websocket import ROOM_BYTES
from community_gql.operations.live import EndReason, Live, Subscription
from community_gql.operations.prepared import Prepared
from community_gql.operations.subscriptions import Delivery

BECOMES_STREAM = "becomes_stream"
"""Where the state of a request has what tells its connection that it stays."""
END_SECONDS = 0.05
"""Between the last event and the end of a stream that is cut."""
_COMPLETE = b"event: complete\ndata:\n\n"
_COMMENT = b":\n\n"
_EVENT = b"event"
"""Where a delivery keeps what is written of it, for all streams."""


class Streams:
    """The event streams of one process."""

    def __init__(self, live: Live, connections: LiveConnections) -> None:
        self.live, self.connections = live, connections

    async def open(
        self, exchange: Exchange, prepared: Prepared, last_event_id: str | None
    ) -> EventStream:
        """The stream of a subscription, which has begun.

        Raises PublicError or Refused for what refuses it, TooManyConnections for a caller who
        holds too many, and Unavailable if there is no room.
        """
        assert exchange.viewer is not None
        if self.connections.draining:
            raise Unavailable("This process is about to end. Try again shortly.")
        if self.connections.is_full:
            raise Unavailable("There are too many connections. Try again shortly.")
        stream = EventStream(self.connections, exchange)
        self.connections.assign(stream, exchange.key)
        self.connections.add(stream)
        try:
            stream.subscription = await self.live.subscribe(
                prepared, exchange.viewer, stream, key=exchange.key, after=last_event_id
            )
        except BaseException:
            self.connections.forget(stream)
            raise
        return stream

    def of_mistake(self, exchange: Exchange, answer: Answer) -> EventStream:
        """The stream that says what is wrong with a document, and no more."""
        stream = EventStream(self.connections, exchange)
        stream.next(Delivery(answer.body(), None, None, shared=False))
        stream.complete()
        return stream


class EventStream:
    """One stream. Receives what ``Live`` tells, and sends it as fast as the client reads."""

    def __init__(self, connections: LiveConnections, exchange: Exchange) -> None:
        self.subscription: Subscription | None = None
        self._connections, self._exchange = connections, exchange
        self._log = SubscriptionLog("sse", exchange.log)
        self._loop = asyncio.get_running_loop()
        self._unsent = bytearray()
        self._reason: str | None = None
        """Why it ends, once it does."""
        self._wake: asyncio.Future[None] = self._loop.create_future()

    async def run(self, scope: Scope, receive: Receive, send: Send, *, is_tls: bool) -> None:
        """Answer the request: send events until it ends, or the client goes."""
        if (stays := scope.get("state", {}).get(BECOMES_STREAM)) is not None:
            stays()
        watching = self._loop.create_task(self._watch(receive))
        ending = self._loop.call_later(self._seconds_left(), self._stop, "token ended")
        try:
            await send(
                {"type": "http.response.start", "status": 200, "headers": self._head(is_tls)}
            )
            await send({"type": "http.response.body", "body": b"", "more_body": True})
            await self._send_all(send)
            if self._reason != "complete":
                # graphql-sse misses an end that comes together with an event, and waits for ever.
                await asyncio.sleep(END_SECONDS)
            await send({"type": "http.response.body", "body": b""})
        finally:
            ending.cancel()
            watching.cancel()
            self._close()

    async def _send_all(self, send: Send) -> None:
        interval = self._limits.comment_interval
        while self._reason is None or self._unsent:
            if not self._unsent:
                _, waiting = await asyncio.wait((self._wake,), timeout=interval)
                if waiting:
                    self._unsent += _COMMENT
            self._wake = self._loop.create_future()
            sent, self._unsent = bytes(self._unsent), bytearray()
            if sent:
                await send({"type": "http.response.body", "body": sent, "more_body": True})

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._unsent.clear()
        self._stop("client gone")

    @property
    def _limits(self) -> LiveLimits:
        return self._connections.limits

    def _seconds_left(self) -> float:
        viewer = self._exchange.viewer
        if viewer is None or viewer.expires_at is None:
            return 366 * 86400
        return max(viewer.expires_at.timestamp() - time.time(), 0)

    def _head(self, is_tls: bool) -> list[tuple[bytes, bytes]]:
        balance = self._exchange.balance
        return [
            (b"content-type", f"{EVENTS_TYPE}; charset=utf-8".encode()),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),  # nginx would keep events until there are many
            (b"vary", VARY.encode()),
            (b"x-request-id", self._exchange.log.request_id.encode()),
            *(OVER_TLS if is_tls else PLAIN),
            *(
                (name.lower().encode(), value.encode())
                for name, value in (balance.headers() if balance is not None else {}).items()
            ),
        ]

    def _write(self, data: bytes) -> None:
        if self._reason is None:
            self._unsent += data
            if not self._wake.done():
                self._wake.set_result(None)

    def _stop(self, reason: str) -> None:
        if self._reason is None:
            self._reason = reason
            if not self._wake.done():
                self._wake.set_result(None)

    def _close(self) -> None:
        if self.subscription is not None:
            self._log.write(self.subscription, self._reason or "client gone")
            self.subscription.close()
            self.subscription = None
        self._connections.forget(self)

    # LiveConnections calls this

    def leave(self) -> None:
        """The process ends."""
        self._stop("draining")

    # Live calls these

    def has_room(self) -> bool:
        """Whether the client has read enough."""
        return len(self._unsent) < ROOM_BYTES

    def next(self, delivery: Delivery) -> bool:
        """An event; whether there was room for it."""
        if not self.has_room():
            return False
        made = delivery.written.get(_EVENT)
        self._write(made or delivery.keep(_EVENT, _event(delivery)))
        return True

    def complete(self) -> None:
        """Nothing more will come."""
        self._write(_COMPLETE)
        self._stop("complete")

    def end(self, reason: EndReason) -> None:
        """The server ends it: without ``complete``, and the next request is told why."""
        self._stop(reason.value)


def _event(delivery: Delivery) -> bytes:
    moment = delivery.moment_text
    line = b"" if moment is None else b"id: %b\n" % moment.encode()
    data = delivery.text.replace(b"\n", b"")  # between its members: in texts they are escaped
    return b"event: next\n%bdata: %b\n\n" % (line, data)
