"""GraphQL over WebSocket: the protocol ``graphql-transport-ws``, at the paths of the endpoint.

``Sockets`` answers the handshake, ``Socket`` speaks the protocol, and an ``Operation`` is one
subscription, query or mutation on it. The close codes are those that the library ``graphql-ws``
acts upon: it gives up after 4400, 4401, 4409 and 4429, and comes back after all others, after 4403
with a new token.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from functools import lru_cache
from typing import Any

import orjson
from graphql import OperationType
from starlette.requests import Request
from starlette.types import Scope
from websockets import http11
from websockets.datastructures import Headers

from community_gql.errors import BadRequest, PublicError, Unauthenticated, Unavailable
from community_gql.graph.visibility import ANONYMOUS, Viewer
from community_gql.http import exact_json
from community_gql.http.exchange import Admission, Authenticate, Exchange, Runner
from community_gql.http.live_connections import LiveConnections, TooManyConnections
from community_gql.http.proxies import TrustedProxies
from community_gql.http.rate_limit import key_of
from community_gql.http.request_log import (
    RequestLog,
    SubscriptionLog,
    client_class,
    digest,
)
from community_gql.http.requests import HttpError, params_of
from community_gql.http.responses import Answer
from community_gql.http.websocket import WebSocket, frame_of, sans_io
from community_gql.operations.live import EndReason, Live, Subscription
from community_gql.operations.prepared import Prepared
from community_gql.operations.subscriptions import MAX_WRITTEN, Delivery
from community_gql.telemetry.correlation import current, new_id

SOCKETS = "sockets"
"""Where the state of the server's lifespan has them."""
PROTOCOL = "graphql-transport-ws"
MAX_ID_CHARACTERS = 128
MAX_MESSAGES, MESSAGES_SECONDS = 100, 10.0
"""So many messages in so many seconds: a client that comes back subscribes to all at once."""

BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, INIT_TIMEOUT = 4400, 4401, 4403, 4408
ID_IN_USE, TOO_MANY = 4409, 4429
RESTARTING, TRY_LATER = 1012, 1013


class Sockets:
    """What the sockets of one process have in common, and their handshake."""

    def __init__(
        self,
        runner: Runner,
        authenticate: Authenticate,
        live: Live,
        connections: LiveConnections,
        *,
        proxies: TrustedProxies,
        origins: Sequence[str] = (),
    ) -> None:
        """``origins`` are those whose pages may connect, beside our own."""
        self.runner, self.authenticate, self.live = runner, authenticate, live
        self.connections = connections
        self._proxies, self._origins = proxies, frozenset(origins)

    def accept(self, scope: Scope) -> tuple[bytes, Socket]:
        """The answer to a handshake with this ASGI scope, and the protocol that follows it.

        Raises HttpError for one that is refused.
        """
        if self.connections.draining:
            raise HttpError(503, "This process is about to end. Try again shortly.")
        self._proxies.apply(scope)
        client = scope["client"][0] if scope["client"] else None
        if not self.connections.has_room_for(client):
            raise HttpError(
                503, "Your address has too many sockets that do not say whose they are."
            )
        headers = Headers(
            [(name.decode("latin1"), value.decode("latin1")) for name, value in scope["headers"]]
        )
        is_ours = self._check_origin(scope, headers)
        offered = ",".join(headers.get_all("sec-websocket-protocol"))
        if PROTOCOL not in (name.strip() for name in offered.split(",")):
            raise HttpError(400, f"Offer the subprotocol {PROTOCOL} (Sec-WebSocket-Protocol).")
        protocol = sans_io()
        version = f"HTTP/{scope['http_version']}"
        request = http11.Request(scope["path"], headers, scope["method"], version)
        response = protocol.accept(request)
        if response.status_code != 101:
            # The connection stays HTTP's, which closes it.
            raise HttpError(response.status_code, response.body.decode().strip())
        authorizations = headers.get_all("authorization")
        credentials = Credentials(
            ", ".join(authorizations) or None, Request(scope) if is_ours else None
        )
        return response.serialize(), Socket(self, protocol, client, credentials)

    def _check_origin(self, scope: Scope, headers: Headers) -> bool:
        """Whether a page of ours connects. Raises HttpError for a page of somebody else.

        Browsers always name the origin, and other programs do not have to.
        """
        given = headers.get_all("origin")
        if not given:
            return False
        if given == [f"{scope['scheme']}://{host}" for host in headers.get_all("host")]:
            return True
        if len(given) > 1 or given[0] not in self._origins:
            raise HttpError(
                403, "Pages of this origin may not connect. CORS_ORIGINS names those that may."
            )
        return False


class Credentials:
    """What came with a handshake, until the client has said who it is."""

    __slots__ = ("authorization", "session")

    def __init__(self, authorization: str | None, session: Request | None) -> None:
        self.authorization, self.session = authorization, session

    def token(self, payload: dict[str, Any]) -> str | None:
        """The ``Authorization`` that counts: that of the payload before that of the handshake.

        The payload has it under that name in any case, or below ``headers``. Raises
        Unauthenticated if it is no text.
        """
        below = next((item for name, item in payload.items() if name.lower() == "headers"), None)
        for members in (payload, below):
            if not isinstance(members, dict):
                continue
            for name, value in members.items():
                if name.lower() == "authorization" and value not in (None, ""):
                    if not isinstance(value, str):
                        raise Unauthenticated("Authorization must be: Bearer <access token>.")
                    return value
        return self.authorization


class Socket(WebSocket):
    """One client that speaks ``graphql-transport-ws``."""

    __slots__ = (
        "_admission",
        "_began",
        "_credentials",
        "_messages",
        "_messages_since",
        "client",
        "is_acknowledged",
        "operations",
        "sockets",
        "tasks",
    )

    def __init__(
        self, sockets: Sockets, protocol: Any, client: str | None, credentials: Credentials
    ) -> None:
        super().__init__(protocol, sockets.connections.limits, sockets.connections.wheel)
        self.sockets, self.client = sockets, client
        self.operations: dict[str, Operation] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.is_acknowledged = False
        self._admission: Admission | None = None
        self._credentials: Credentials | None = credentials
        self._began = False
        self._messages, self._messages_since = 0, 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake was answered."""
        super().connection_made(transport)
        full = self.sockets.connections.is_full
        self.sockets.connections.add(self, self.client)
        if full:
            message = "There are too many connections. Try again shortly."
            self.close(TRY_LATER, message, "too many connections")
        else:
            self.expect(self._loop.time() + self.limits.init_timeout)

    def leave(self) -> None:
        """The process ends."""
        self.close(RESTARTING, "The server restarts. Connect again.", "draining")

    async def who(self) -> Viewer:
        """The viewer, asked for anew. Raises Unauthenticated once their account is gone."""
        return ANONYMOUS if self._admission is None else await self._admission()

    def is_not_let_in(self, error: PublicError) -> None:
        """Close because of credentials that are not or no longer good."""
        self.close(FORBIDDEN, error.message, "account gone")

    # WebSocket calls these

    def on_time(self) -> None:
        """The client has not said who it is, or its token has ended."""
        if self.is_acknowledged:
            self.close(FORBIDDEN, "The token has expired.", "token ended")
        else:
            self.close(INIT_TIMEOUT, "Connection initialisation timeout", "no connection_init")

    def on_closing(self, reason: str) -> None:
        """Nothing can be sent any more."""
        self._credentials = None
        self.sockets.connections.release(self)
        for operation in list(self.operations.values()):
            operation.stop(reason)

    def on_gone(self) -> None:
        """The connection is gone."""
        self.sockets.connections.forget(self)

    def on_text(self, text: str) -> None:
        """A message of the client."""
        now = self._loop.time()
        if now - self._messages_since > MESSAGES_SECONDS:
            self._messages, self._messages_since = 0, now
        self._messages += 1
        if self._messages > MAX_MESSAGES:
            self.close(TOO_MANY, "Too many messages: send less often.", "flood")
            return
        try:
            message = exact_json.loads(text)
        except (orjson.JSONDecodeError, BadRequest):
            message = None
        match message:
            case {"type": "connection_init"} if _has_payload(message):
                self._initialise(message.get("payload") or {})
            case {"type": "subscribe", "id": str(id_), "payload": dict(members)} if (
                0 < len(id_) <= MAX_ID_CHARACTERS
            ):
                self._subscribe(id_, members)
            case {"type": "complete", "id": str(id_)}:
                if (operation := self.operations.get(id_)) is not None:
                    operation.stop("unsubscribed")
            case {"type": "ping"} if _has_payload(message):
                self.send(_pong(message))
            case {"type": "pong"} if _has_payload(message):
                pass
            case _:
                self.close(BAD_REQUEST, "Invalid message received", "protocol error")

    def _initialise(self, payload: dict[str, Any]) -> None:
        if self._began or self._credentials is None:
            self.close(TOO_MANY, "Too many initialisation requests", "protocol error")
            return
        self._began = True
        self.run(self._let_in(self._credentials, payload))
        self._credentials = None

    async def _let_in(self, credentials: Credentials, payload: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(self.sockets.runner.config.request_timeout):
                self._admission = await self.sockets.authenticate.admission(
                    credentials.token(payload), credentials.session
                )
                viewer = await self.who()
            if not self.is_open:
                return
            self.sockets.connections.assign(self, key_of(viewer.sub, self.client))
        except TooManyConnections as error:
            self.close(TOO_MANY, error.message, "too many connections")
        except (Unavailable, TimeoutError):
            self.close(TRY_LATER, "The server cannot answer now. Try again.", "unavailable")
        except PublicError as error:
            self.close(FORBIDDEN, error.message, "bad token")
        except Exception as error:
            self.sockets.runner.refused(Exchange(self.client), error)  # which logs it
            self.close(TRY_LATER, "Something went wrong on our side.", "fault")
        else:
            self.is_acknowledged = True
            self.expect(_loop_time(viewer, self._loop))
            self.send(b'{"type":"connection_ack"}')

    def _subscribe(self, id_: str, members: dict[str, Any]) -> None:
        if not self.is_acknowledged:
            self.close(UNAUTHORIZED, "Unauthorized", "protocol error")
        elif id_ in self.operations:
            self.close(ID_IN_USE, f"Subscriber for {id_} already exists", "protocol error")
        elif len(self.operations) >= self.limits.max_subscriptions:
            refused = BadRequest(
                f"A socket carries at most {self.limits.max_subscriptions} operations at once. "
                "Complete one of them first, or open another socket."
            )
            answer = self.sockets.runner.refused(Exchange(self.client), refused)
            self.send(_message(orjson.dumps(id_), b"error", orjson.dumps(answer.errors)))
        else:
            operation = self.operations[id_] = Operation(self, id_)
            operation.task = self.run(operation.run(members))

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do it in a task, which lasts as long as it takes, also when the client has gone."""
        task: asyncio.Task[None] = self._loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


class Operation:
    """An operation on a socket, from ``subscribe`` to ``complete``; receives what Live tells."""

    __slots__ = (
        "_id", "_log", "_next", "_socket", "_subscription", "has_room", "is_stopped", "task"
    )  # fmt: skip

    def __init__(self, socket: Socket, id_: str) -> None:
        self._socket, self._id = socket, id_
        self.has_room = socket.has_room
        self._next = _beginning(id_)
        """What each event begins with."""
        self._subscription: Subscription | None = None
        self._log: SubscriptionLog | None = None
        self.is_stopped = False
        self.task: asyncio.Task[None] | None = None
        """What runs it, as far as that may be cancelled."""

    async def run(self, members: dict[str, Any]) -> None:
        """Run it; a subscription is begun."""
        socket, runner = self._socket, self._socket.sockets.runner
        id_ = new_id()
        current.set(id_)
        log = RequestLog("WEBSOCKET", request_id=id_.decode(), client=client_class(socket.client))
        exchange = Exchange(socket.client, log=log)
        try:
            exchange.params = params_of(members)
            async with asyncio.timeout(runner.config.request_timeout) as limit:
                try:
                    exchange.viewer = await socket.who()
                except Unauthenticated as error:
                    socket.is_not_let_in(error)
                    return
                if exchange.viewer.sub is not None:
                    exchange.log.viewer = digest(exchange.viewer.sub)
                prepared = await runner.prepare(exchange)
                if prepared.kind is OperationType.SUBSCRIPTION:
                    await self._subscribe(exchange, prepared)
                    return
                if prepared.kind is OperationType.MUTATION:
                    self.task = None  # its first fields may have been committed
                answer = await runner.run(exchange, prepared, limit)
        except Exception as error:
            answer = runner.refused(exchange, error)
        log = exchange.fill_log(answer.status, answer)
        runner.afterwards.note(log, is_counted=False)
        self._answer(answer)
        if exchange.account_gone and exchange.viewer is not None and exchange.viewer.sub:
            socket.sockets.authenticate.forget(exchange.viewer.sub)
            socket.close(FORBIDDEN, "Your account does not exist any more.", "account gone")

    async def _subscribe(self, exchange: Exchange, prepared: Prepared) -> None:
        assert exchange.viewer is not None
        self._log = SubscriptionLog("websocket", exchange.log)
        self.task = None  # it is not cancelled half-way: it could not be closed
        subscription = await self._socket.sockets.live.subscribe(
            prepared, exchange.viewer, self, key=exchange.key
        )
        if self.is_stopped:
            subscription.close()
        else:
            self._subscription = subscription

    def _answer(self, answer: Answer) -> None:
        """Tell the answer of a query or mutation, or why nothing ran; then it is over."""
        if self.is_stopped:
            return
        self._forget()
        id_ = orjson.dumps(self._id)
        if answer.executed:
            self._socket.send(self._next, answer.body(), b"}")
            self._socket.send(_message(id_, b"complete"))
        else:
            self._socket.send(_message(id_, b"error", orjson.dumps(answer.errors)))

    def stop(self, reason: str) -> None:
        """It is not wanted any more, or cannot be told any more: free everything at once."""
        if self.is_stopped:
            return
        self._forget()
        if self._log is not None:
            self._log.write(self._subscription, reason)
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None
        if self.task is not None:
            self.task.cancel()
            self.task = None

    def _forget(self) -> None:
        self.is_stopped = True
        self._socket.operations.pop(self._id, None)

    # Live calls these

    def next(self, delivery: Delivery) -> bool:
        """An event; whether there was room for it."""
        room = self._socket.room
        if room is None:
            return False
        if not self.is_stopped:
            frame = delivery.written.get(self._next)
            if frame is None:
                frame = delivery.keep(self._next, frame_of(self._next, delivery.text, b"}"))
            room.write(frame)
        return True

    def complete(self) -> None:
        """Nothing more will come."""
        if not self.is_stopped:
            self._socket.send(_message(orjson.dumps(self._id), b"complete"))
            self.stop("complete")

    def end(self, reason: EndReason) -> None:
        """The server ends it, and with it the socket."""
        self._socket.close(FORBIDDEN, "Your account does not exist any more.", reason.value)


@lru_cache(maxsize=MAX_WRITTEN)
def _beginning(id_: str) -> bytes:
    """What an event of the operation begins with; mostly the same object for the same id."""
    return b'{"id":%b,"type":"next","payload":' % orjson.dumps(id_)


def _message(id_: bytes, kind: bytes, payload: bytes | None = None) -> bytes:
    """A message about an operation; ``id_`` and ``payload`` are JSON."""
    if payload is None:
        return b'{"id":%b,"type":"%b"}' % (id_, kind)
    return b'{"id":%b,"type":"%b","payload":%b}' % (id_, kind, payload)


def _pong(message: dict[str, Any]) -> bytes:
    """The answer to a ping, with its payload where that can be written as it was read.

    Whole numbers beyond 64 bits and what is nested deeper than 250 levels cannot; nobody needs it.
    """
    pong = {"type": "pong"}
    payload = {"payload": message["payload"]} if "payload" in message else {}
    try:
        return orjson.dumps(pong | payload)
    except orjson.JSONEncodeError:
        return orjson.dumps(pong)


def _has_payload(message: dict[str, Any]) -> bool:
    """Whether the payload, which may be left out, is an object."""
    return isinstance(message.get("payload"), dict | None)


def _loop_time(viewer: Viewer, loop: asyncio.AbstractEventLoop) -> float:
    """When the viewer's token ends, by the event loop's clock."""
    if viewer.expires_at is None:
        return float("inf")
    return loop.time() + viewer.expires_at.timestamp() - time.time()
