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

    async def graphql(scope: Scope, receive: Receive, send: Send) -> None:
        response = await view(Request(scope, receive))
        await response(scope, receive, send)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await database.close()

    return Starlette(
        routes=[
            Route("/", _Endpoint(graphql)),
            Route("/graphql", _Endpoint(graphql)),
            Route("/healthz", _alive),
        ],
        lifespan=lifespan,
    )


class _Endpoint:
    """An ASGI application as an endpoint: Starlette leaves its methods alone."""

    def __init__(self, run: object) -> None:
        self._run = run

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._run(scope, receive, send)  # type: ignore[operator]


async def _alive(_: Request) -> PlainTextResponse:
    return PlainTextResponse("ok\n")


def serve_app() -> Starlette:
    """The application of ``serve``, from the environment."""
    return create_app(Settings.load())
