"""The Starlette application, put together."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from community_gql.db.database import Database
from community_gql.http.endpoint import Edge, GraphQLView
from community_gql.http.explorer import routes as explorer_routes
from community_gql.http.health import Readiness
from community_gql.http.rate_limit import Budget, MemoryBudget, RedisBudget
from community_gql.http.sdl import SchemaFile
from community_gql.identity.authentication import Authentication
from community_gql.identity.development import DevelopmentIssuer, People
from community_gql.identity.wiring import development_identity, provider_identity
from community_gql.operations.compiled import Pushdown
from community_gql.operations.documents import TrustedDocuments
from community_gql.settings import Settings, SettingsError


def create_app(
    settings: Settings,
    *,
    development: DevelopmentIssuer | None = None,
    people: People | None = None,
) -> Application:
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
        caller_share=settings.database_caller_share,
        write_share=settings.database_write_share,
        statement_timeout=settings.statement_timeout,
        lock_timeout=settings.lock_timeout,
        pgbouncer=settings.database_pgbouncer,
    )
    if development is not None:
        identity = development_identity(database, development, people)
    else:
        identity = provider_identity(database, settings)
    pushdown = Pushdown(settings.pushdown)
    edge = edge_of(settings, development=development is not None)
    view = GraphQLView(database, identity.authentication, pushdown, edge)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with identity.running():
            yield
        pushdown.close()
        await edge.budget.close()
        await database.close()

    authentication = identity.authentication
    return Application(
        Endpoint(view, authentication),
        routes=[
            Route(
                "/schema.graphql",
                Endpoint(SchemaFile(authentication, edge), authentication),
                methods=["GET"],
            ),
            Route("/healthz", _alive),
            Route("/readyz", Readiness(database, identity.checks).answer),
            *identity.routes,
            *explorer_routes(),
        ],
        middleware=[
            Middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.trusted_proxies)),
            Middleware(SecurityHeaders),
            *_cors(settings),
        ],
        lifespan=lifespan,
    )


class Application(Starlette):
    """The application: GraphQL at two paths, and Starlette for the rest.

    What asks for GraphQL does not pass Starlette's router and its two layers that catch
    exceptions: the view answers every method and never raises, and they cost some 40 µs of each
    request (decision 43).
    """

    PATHS = frozenset({"/", "/graphql"})

    def __init__(self, endpoint: Endpoint, **options: Any) -> None:
        super().__init__(**options)
        self.endpoint = endpoint
        self._graphql: ASGIApp = endpoint
        for middleware in reversed(self.user_middleware):
            self._graphql = middleware.cls(self._graphql, *middleware.args, **middleware.kwargs)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"] in self.PATHS:
            await self._graphql(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def edge_of(settings: Settings, *, development: bool = False) -> Edge:
    """How requests are treated. Raises SettingsError for manifests that cannot be used."""
    points = settings.cost_per_minute
    budget: Budget = MemoryBudget(points)
    if settings.redis_url is not None:
        budget = RedisBudget(settings.redis_url, points)
    given = "introspection" in settings.model_fields_set
    return Edge(
        budget=budget,
        trusted=TrustedDocuments.load(settings.trusted_documents, settings.trusted_documents_files),
        introspection="everyone" if development and not given else settings.introspection,
        cost_limit=settings.cost_limit,
        max_body_bytes=settings.max_body_bytes,
        body_timeout=settings.body_timeout,
        request_timeout=settings.request_timeout,
        document_cache_bytes=settings.document_cache_bytes,
        development=development,
    )


def _cors(settings: Settings) -> list[Middleware]:
    if not settings.cors_origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("Authorization", "Content-Type"),
            expose_headers=(
                "RateLimit-Limit",
                "RateLimit-Remaining",
                "RateLimit-Reset",
                "Retry-After",
            ),
            max_age=600,
        )
    ]


class SecurityHeaders:
    """Adds to every answer what tells a browser to trust it no further than needed."""

    HEADERS = {
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
    }
    OVER_TLS = {"Strict-Transport-Security": "max-age=31536000"}

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._plain = [(name.lower().encode(), v.encode()) for name, v in self.HEADERS.items()]
        self._tls = [(name.lower().encode(), v.encode()) for name, v in self.OVER_TLS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and complete the head of its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        added = self._plain + self._tls if scope.get("scheme") == "https" else self._plain

        async def complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(header for header in added if header[0] not in given),
                ]
            await send(message)

        await self._app(scope, receive, complete)


class Endpoint:
    """A view as an ASGI application, so that Starlette leaves its methods to it."""

    def __init__(
        self, view: Callable[[Request], Awaitable[Response]], authentication: Authentication
    ) -> None:
        self._view, self.authentication = view, authentication

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await self._view(request)
        self.authentication.answered(request, response)
        await response(scope, receive, send)


async def _alive(_: Request) -> PlainTextResponse:
    return PlainTextResponse("ok\n")


def serve_app() -> Starlette:
    """The application of ``serve``, from the environment. Raises SettingsError."""
    app = create_app(Settings.load_to_serve())
    # What is there now stays: without it, the collector spends 50 ms on it now and then, in the
    # middle of some request.
    gc.collect()
    gc.freeze()
    return app
