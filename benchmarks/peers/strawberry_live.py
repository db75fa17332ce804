"""Strawberry's own subscriptions over WebSocket, as its documentation teaches them.

A trigger notifies of new stories, one connection listens, and each subscription asks the database
whether its viewer may see what was written.

    python -m benchmarks.peers.strawberry_live    (DATABASE_URL, OIDC_ISSUER, ... in the env)
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import strawberry
import uvicorn
from sqlalchemy import select
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL

from benchmarks.peers.strawberry_orm import (
    App,
    Info,
    Query,
    Story,
    StoryRow,
    engine,
    entities,
    visible,
)
from community_gql.identity.keys import ProviderKeys
from community_gql.identity.provider import Provider
from community_gql.identity.tokens import TokenVerifier

_queues: set[asyncio.Queue[int]] = set()


@strawberry.type
class Subscription:
    """What can be followed."""

    @strawberry.subscription
    async def stories(self, info: Info) -> AsyncGenerator[Story, None]:
        """New stories that the viewer may see."""
        queue: asyncio.Queue[int] = asyncio.Queue()
        _queues.add(queue)
        try:
            while True:
                key = await queue.get()
                mine = select(StoryRow).where(
                    StoryRow.id == key, visible(StoryRow, info.context.viewer)
                )
                for row in await entities(mine):
                    yield Story.of(row)
        finally:
            _queues.discard(queue)


def _notified(*given: Any) -> None:
    for queue in _queues:
        queue.put_nowait(int(given[-1]))


def create_app() -> Starlette:
    """The application."""
    issuer = os.environ["OIDC_ISSUER"]
    provider = Provider(issuer)
    keys = ProviderKeys(provider)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await keys.start()
        listener = await asyncpg.connect(os.environ["DATABASE_URL"])
        await listener.add_listener("benchmark_stories", _notified)
        yield
        await listener.close()
        await keys.close()
        await provider.close()
        await engine.dispose()

    view = App(TokenVerifier(keys, issuer, os.environ["AUTH0_AUDIENCE"]))
    view.schema = strawberry.Schema(Query, subscription=Subscription)
    view.protocols = [GRAPHQL_TRANSPORT_WS_PROTOCOL]
    return Starlette(routes=[WebSocketRoute("/graphql", view)], lifespan=lifespan)


if __name__ == "__main__":
    uvicorn.run(
        create_app(),
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        access_log=False,
        log_level="warning",
    )
