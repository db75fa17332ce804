"""The product on a TCP port, served as ``serve`` does it, but in the event loop of the test."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from community_gql.app import create_app
from community_gql.http.config import BoundedConfig
from community_gql.http.limits import ConnectionLimits, LiveLimits
from community_gql.http.live_connections import LiveConnections
from community_gql.http.server import DrainingServer
from community_gql.http.sockets import SOCKETS, Sockets
from community_gql.identity.development import DevelopmentIssuer
from tests.support.configured import settings_of

HOST = "127.0.0.1"
PROTOCOL = Subprotocol("graphql-transport-ws")


class Lines(logging.Handler):
    """The lines of the log while the server runs."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def of(self, name: str) -> list[dict[str, Any]]:
        """What a logger said, beside the message."""
        return [vars(record) for record in self.records if record.name == f"community_gql.{name}"]


@dataclass
class Listening:
    """The running server, and who signs the tokens that it takes."""

    server: DrainingServer
    listener: socket.socket
    port: int
    issuer: DevelopmentIssuer
    log: Lines

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def sockets(self) -> Sockets:
        found: Sockets = self.server.lifespan.state[SOCKETS]
        return found

    @property
    def connections(self) -> LiveConnections:
        return self.sockets.connections

    def bearer(self, sub: str, seconds: float = 3600) -> str:
        return f"Bearer {self.issuer.token(sub, lifetime=timedelta(seconds=seconds))}"

    def connect(self, **options: Any) -> connect:
        """A client's WebSocket, which has not said who it is."""
        return connect(
            f"ws://{HOST}:{self.port}/graphql",
            **{
                "subprotocols": [PROTOCOL],
                "compression": None,
                "proxy": None,
                "max_queue": None,
            }
            | options,
        )

    async def drain(self) -> None:
        """What SIGTERM does."""
        self.server.should_exit = True
        await self.server.shutdown([self.listener])


@asynccontextmanager
async def listening(
    database_url: str,
    issuer: DevelopmentIssuer,
    *,
    live: Any = None,
    limits: LiveLimits | None = None,
    drain_seconds: float = 0,
    **settings: Any,
) -> AsyncIterator[Listening]:
    """A server with ``live`` in the place of the product's, if one is given."""
    given = settings_of(
        database_url=database_url, **{"cost_per_minute": 10**9, "hot_documents": 0} | settings
    )
    with patch("community_gql.app.Live", live) if live is not None else nullcontext():
        app = create_app(given, development=issuer, live_limits=limits)
    listener = socket.create_server((HOST, 0), backlog=4096)
    bounds = replace(ConnectionLimits.of(given), max_connections=20_000)
    config = BoundedConfig(
        app,
        limits=bounds,
        drain_seconds=drain_seconds,
        log_config=None,
        timeout_graceful_shutdown=5,
    )
    config.load()
    server = DrainingServer(config)
    server.lifespan = config.lifespan_class(config)
    log, logger = Lines(), logging.getLogger("community_gql")
    level = logger.level
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    try:
        await server.startup([listener])
        yield Listening(server, listener, listener.getsockname()[1], issuer, log)
    finally:
        logger.removeHandler(log)
        logger.setLevel(level)
        if not server.should_exit:
            server.end(patient=False)
            await asyncio.wait_for(server.shutdown([listener]), 30)


@asynccontextmanager
async def opened(server: Listening, token: str | None = None) -> AsyncIterator[ClientConnection]:
    """A client's WebSocket, acknowledged."""
    async with server.connect() as socket:
        await socket.send(init(token))
        assert await socket.recv() == '{"type":"connection_ack"}'
        yield socket


def init(token: str | None = None) -> str:
    payload = "{}" if token is None else f'{{"Authorization":"{token}"}}'
    return f'{{"type":"connection_init","payload":{payload}}}'
