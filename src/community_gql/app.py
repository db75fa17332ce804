"""The Starlette application, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from community_gql.api.view import GraphQLView
from community_gql.database import Database
from community_gql.identity.assembly import development_identity, provider_identity
from community_gql.identity.authentication import Authentication
from community_gql.identity.development import DevelopmentIssuer, People
from community_gql.settings import Settings, SettingsError


def create_app(
    settings: Settings,
    *,
    development: DevelopmentIssuer | None = None,
    people: People | None = None,
) -> Starlette:
    """The application over ``settings.database_url``.

    With ``development`` its tokens are the good ones, whatever the settings say of a provider, and
    with ``people`` (who is in the database) a browser may sign in as any of them. Raises
    SettingsError for development beside a provider: one of the two is a mistake.
    """
    if development is not None and settings.issuer is not None:
        raise SettingsError("AUTH0_DOMAIN or OIDC_ISSUER is set beside the development issuer.")
    database = Database(
        settings.database_url,
        pool_size=settings.database_pool_size,
        pool_timeout=settings.database_pool_timeout,
        statement_timeout=settings.statement_timeout,
        pgbouncer=settings.database_pgbouncer,
    )
    if development is not None:
        identity = development_identity(database, development, people)
    else:
        identity = provider_identity(database, settings)
    view = GraphQLView(database, identity.authentication, development=development is not None)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with identity.running():
            yield
        await database.close()

    endpoint = _Endpoint(view, identity.authentication)
    app = Starlette(
        routes=[
            Route("/", endpoint),
            Route("/graphql", endpoint),
            Route("/healthz", _alive),
            *identity.routes,
        ],
        lifespan=lifespan,
    )
    if settings.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.trusted_proxies))
    return app


class _Endpoint:
    """The view as an ASGI application, so that Starlette leaves its methods to it."""

    def __init__(self, view: GraphQLView, authentication: Authentication) -> None:
        self._view, self._authentication = view, authentication

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await self._view(request)
        self._authentication.answered(request, response)
        await response(scope, receive, send)


async def _alive(_: Request) -> PlainTextResponse:
    return PlainTextResponse("ok\n")


def serve_app() -> Starlette:
    """The application of ``serve``, from the environment. Raises SettingsError."""
    return create_app(Settings.load_to_serve())
