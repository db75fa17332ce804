"""Following a subscription on a real server over either transport, by clients that may vanish."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from tests.support.listening import HOST, PROTOCOL, init

Payload = dict[str, Any]


class Cut(Exception):
    """The connection ended, or did not begin: come again."""


class Connection(Protocol):
    """One subscription on a connection of its own."""

    received: bytearray | None
    """All that came, if that is kept."""

    async def receive(self) -> Payload:
        """The next event. Raises Cut when the connection has ended."""

    def vanish(self) -> None:
        """End at once, without a word, whatever has arrived and is not read."""


@dataclass
class Follower:
    """One connection of somebody who follows, and what it was told."""

    where: str
    connection: Connection
    read: Callable[[Payload], Any]
    """What is kept of an event's data."""
    told: list[Any] = field(default_factory=list)
    ended: Exception | None = None
    """Why nothing more will come."""
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self) -> None:
        """Keep what comes, until nothing more does."""
        try:
            while True:
                payload = await self.connection.receive()
                assert "errors" not in payload, payload
                self.told.append(self.read(payload["data"]))
                self._more.set()
        except Exception as error:
            self.ended = error
        self._more.set()

    async def until(self, true: Callable[[], object]) -> None:
        """Wait until something is so, which may be that it has ended."""
        async with asyncio.timeout(30):
            while not true():
                assert self.ended is None, (self.where, self.ended, self.told)
                self._more.clear()
                await self._more.wait()


class Socket:
    """A WebSocket with the one subscription."""

    def __init__(self, socket: ClientConnection, keep: bool) -> None:
        self._socket = socket
        self.received = bytearray() if keep else None

    @classmethod
    async def open(
        cls,
        port: int,
        query: str,
        variables: Mapping[str, Any],
        *,
        token: str | None = None,
        last: str | None = None,
        keep: bool = False,
    ) -> Socket:
        """Connect and subscribe; ``last`` is the moment to resume after. Raises Cut."""
        variables = {**variables, **({} if last is None else {"after": last})}
        try:
            socket = await connect(
                f"ws://{HOST}:{port}/graphql",
                subprotocols=[PROTOCOL],
                compression=None,
                proxy=None,
                max_queue=None,
                open_timeout=60,
                ping_interval=None,
            )
            await socket.send(init(token))
            await socket.recv()  # the acknowledgement
            payload = {"query": query, "variables": variables}
            await socket.send(
                orjson.dumps({"id": "1", "type": "subscribe", "payload": payload}).decode()
            )
        except (OSError, ConnectionClosed, InvalidHandshake, InvalidMessage) as error:
            raise Cut(str(error)) from error
        return cls(socket, keep)

    async def receive(self) -> Payload:
        while True:
            try:
                message = await self._socket.recv(decode=False)
            except ConnectionClosed as error:
                raise Cut(str(error)) from error
            if self.received is not None:
                self.received += message
            answer = orjson.loads(message)
            if answer["type"] == "next":
                return dict(answer["payload"])
            if answer["type"] == "ping":
                await self._pong()
            elif answer["type"] != "connection_ack":
                self.vanish()
                raise Cut(str(answer))

    async def _pong(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            await self._socket.send('{"type":"pong"}')

    def vanish(self) -> None:
        self._socket.transport.abort()


class Stream:
    """An event stream, in distinct connections mode."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, keep: bool
    ) -> None:
        self._reader, self._writer = reader, writer
        self._text = bytearray()
        self.received = bytearray() if keep else None

    @classmethod
    async def open(
        cls,
        port: int,
        query: str,
        variables: Mapping[str, Any],
        *,
        token: str | None = None,
        last: str | None = None,
        keep: bool = False,
    ) -> Stream:
        """Connect and subscribe; ``last`` becomes the Last-Event-ID. Raises Cut."""
        body = orjson.dumps({"query": query, "variables": variables})
        head = [
            "POST /graphql HTTP/1.1",
            f"Host: {HOST}:{port}",
            "Accept: text/event-stream",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *([] if token is None else [f"Authorization: {token}"]),
            *([] if last is None else [f"Last-Event-ID: {last}"]),
        ]
        try:
            reader, writer = await asyncio.open_connection(HOST, port, limit=2**24)
            writer.write("\r\n".join([*head, "", ""]).encode() + body)
            answered = await reader.readuntil(b"\r\n\r\n")
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Cut(str(error)) from error
        if not answered.startswith(b"HTTP/1.1 200"):
            writer.transport.abort()
            raise Cut(answered.decode())
        return cls(reader, writer, keep)

    async def receive(self) -> Payload:
        while True:
            event, separator, rest = self._text.partition(b"\n\n")
            if separator:
                self._text = rest
                lines = event.split(b"\n")
                if b"event: next" in lines:
                    data = next(line for line in lines if line.startswith(b"data: "))
                    return dict(orjson.loads(data[6:]))
                continue
            try:
                size = int(await self._reader.readuntil(b"\r\n"), 16)
                chunk = (await self._reader.readexactly(size + 2))[:-2]
            except (OSError, ValueError, asyncio.IncompleteReadError) as error:
                raise Cut(str(error)) from error
            if not size:
                self.vanish()
                raise Cut("the stream has ended")
            self._text += chunk
            if self.received is not None:
                self.received += chunk

    def vanish(self) -> None:
        self._writer.transport.abort()


TRANSPORTS: Mapping[str, type[Socket] | type[Stream]] = {"websocket": Socket, "sse": Stream}
