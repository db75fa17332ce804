"""The Starlette application, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from community_gql.api.view import GraphQLView
from community_gql.database import Database
from community_gql.identity.authentication import Authentication
from community_gql.identity.development import DevelopmentIssuer
from community_gql.settings import Settings


def create_app(settings: Settings, *, development: DevelopmentIssuer | None = None) -> Starlette:
    """The application over ``settings.database_url``; ``development`` signs and verifies tokens."""
    database = Database(
        settings.database_url,
        pool_size=settings.database_pool_size,
        pool_timeout=settings.database_pool_timeout,
        statement_timeout=settings.statement_timeout,
        pgbouncer=settings.database_pgbouncer,
    )
    view = GraphQLView(
        database,
        Authentication(development.verifier() if development else None),
        development=development is not None,
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await database.close()

    endpoint = _Endpoint(view)
    return Starlette(
        routes=[
            Route("/", endpoint),
            Route("/graphql", endpoint),
            Route("/healthz", _alive),
        ],
        lifespan=lifespan,
    )


class _Endpoint:
    """The view as an ASGI application, so that Starlette leaves its methods to it."""

    def __init__(self, view: GraphQLView) -> None:
        self._view = view

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._view(Request(scope, receive))
        await response(scope, receive, send)


async def _alive(_: Request) -> PlainTextResponse:
    return PlainTextResponse("ok\n")


def serve_app() -> Starlette:
    """The application of ``serve``, from the environment."""
    return create_app(Settings.load())
