"""The Starlette application, put together."""

from __future__ import annotations

import asyncio
import gc
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from community_gql.db import bouncer
from community_gql.db.database import Database
from community_gql.db.housekeeping import Housekeeping
from community_gql.graph.finding import NEAR_ROWS
from community_gql.http.account import AccountExport
from community_gql.http.endpoint import GraphQLEndpoint
from community_gql.http.events import Streams
from community_gql.http.exchange import EndpointConfig, Runner
from community_gql.http.explorer import not_found
from community_gql.http.explorer import routes as explorer_routes
from community_gql.http.gauges import Gauges
from community_gql.http.head import GRAPHQL_PATHS
from community_gql.http.health import Readiness
from community_gql.http.limits import LiveLimits
from community_gql.http.live_connections import LiveConnections
from community_gql.http.proxies import TrustedProxies
from community_gql.http.quick import QUICK, Quick
from community_gql.http.rate_limit import Budget, MemoryBudget
from community_gql.http.read_after import ReadAfter
from community_gql.http.sdl import SchemaFile
from community_gql.http.security import Cors, OriginFields, SecurityHeaders
from community_gql.http.sockets import SOCKETS, Sockets
from community_gql.identity.authentication import Authentication
from community_gql.identity.development import DevelopmentIssuer, People
from community_gql.identity.wiring import IdentityParts, development_identity, provider_identity
from community_gql.operations.documents import TrustedDocuments
from community_gql.operations.hot import HotDocuments
from community_gql.operations.live import Live
from community_gql.operations.pipeline import Operations
from community_gql.settings import Settings, SettingsError
from community_gql.telemetry import tracing
from community_gql.telemetry.metrics import Requests


def create_app(
    settings: Settings,
    *,
    development: DevelopmentIssuer | None = None,
    people: People | None = None,
    near_rows: int = NEAR_ROWS,
    live_limits: LiveLimits | None = None,
) -> Application:
    """The application over ``settings.database_url``.

    With ``development`` its tokens are the good ones, whatever the settings say of a provider, and
    with ``people`` (who is in the database) a browser may sign in as any of them. Raises
    SettingsError for development beside a provider: one of the two is a mistake. Tests give
    ``near_rows`` (see ``Operations``) and ``live_limits`` of their own.
    """
    if development is not None and settings.issuer is not None:
        raise SettingsError("AUTH0_DOMAIN or OIDC_ISSUER is set beside the development issuer.")
    database = _database(settings)
    identity = (
        provider_identity(database, settings)
        if development is None
        else development_identity(database, development, people)
    )
    operations = _operations(database, settings, near_rows, development is not None)
    config = endpoint_config(settings, development=development is not None)
    after = _read_after(database, settings)
    authentication = identity.authentication
    requests = Requests() if settings.metrics is not None else None
    runner = Runner(operations, config, after, requests)
    housekeeping = Housekeeping(
        database, retention=settings.live_retention, matches=settings.matching != "machine"
    )
    live = _live(operations, database, settings, config.budget)
    connections = LiveConnections(live_limits or LiveLimits.of(settings))
    proxies = TrustedProxies(settings.trusted_proxies)
    sockets = Sockets(
        runner, authentication, live, connections, proxies=proxies, origins=settings.cors_origins
    )

    state: dict[str, Any] = {SOCKETS: sockets}
    # What development or standbys add to an answer is added on the long way.
    if not config.development and after is None:
        state[QUICK] = Quick(runner, authentication, proxies, _origin_fields(settings.cors_origins))
    hot = HotDocuments(operations, database, settings.hot_documents)
    running: list[AbstractAsyncContextManager[None]] = [
        *(identity.running(), housekeeping.running(), live.running(), hot.running()),
        *_beside(database, settings),
    ]
    if requests is not None:
        running.append(Gauges(runner.afterwards, requests, operations, live, connections).running())
    ended = [config.budget.close, *([after.close] if after is not None else []), database.close]
    return Application(
        runner,
        authentication,
        Streams(live, connections),
        proxies,
        cors_origins=settings.cors_origins,
        routes=_routes(database, identity, config),
        lifespan=_lifespan(runner, state, running, ended),
    )


def _beside(database: Database, settings: Settings) -> Iterator[AbstractAsyncContextManager[None]]:
    """What runs where there are standbys, or PgBouncer."""
    if database.replicas is not None:
        yield database.replicas.running()
    if settings.database_pgbouncer:
        yield bouncer.checking(database)


def _routes(database: Database, identity: IdentityParts, config: EndpointConfig) -> list[BaseRoute]:
    """What is answered beside GraphQL."""
    authentication = identity.authentication
    export = AccountExport(database, authentication, config)
    return [
        Route("/schema.graphql", SchemaFile(authentication, config).answer, methods=["GET"]),
        Route("/account/export", export.answer, methods=["GET"]),
        Route("/healthz", _alive),
        Route("/readyz", Readiness(database, identity.checks).answer),
        *identity.routes,
        *explorer_routes(),
    ]


def _read_after(database: Database, settings: Settings) -> ReadAfter | None:
    if database.replicas is None:
        return None
    shared = None if settings.redis_url is None else _redis().RedisTokens(settings.redis_url)
    return ReadAfter(database.replicas, settings.database_url, shared)


def _redis() -> Any:
    """The module for Redis, by name: importing its library is a tenth of the time of a start."""
    return importlib.import_module("community_gql.http.redis")


def _lifespan(
    runner: Runner,
    state: dict[str, Any],
    running: Sequence[AbstractAsyncContextManager[None]],
    ended: Sequence[Callable[[], Awaitable[None]]],
) -> Callable[[Starlette], AbstractAsyncContextManager[dict[str, Any]]]:
    """What runs beside the requests, in order, and what is closed after the last of them."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            for part in running:
                await stack.enter_async_context(part)
            yield state
            runner.afterwards.end()
        runner.operations.close()
        for close in ended:
            await close()
        await asyncio.to_thread(tracing.close)

    return lifespan


def _database(settings: Settings) -> Database:
    return Database(
        settings.database_url,
        read_urls=settings.database_read_url,
        pool_size=settings.database_pool_size,
        pool_timeout=settings.database_pool_timeout,
        caller_share=settings.database_caller_share,
        write_share=settings.database_write_share,
        statement_timeout=settings.statement_timeout,
        lock_timeout=settings.lock_timeout,
        pgbouncer=settings.database_pgbouncer,
        pgbouncer_prepared=settings.database_pgbouncer_prepared,
    )


def _operations(
    database: Database, settings: Settings, near_rows: int, development: bool
) -> Operations:
    return Operations(
        database,
        trusted=TrustedDocuments.load(settings.trusted_documents, settings.trusted_documents_files),
        persisted_queries=settings.persisted_queries == "on",
        pushdown=settings.pushdown,
        cost_limit=settings.cost_limit,
        max_answer_bytes=settings.max_answer_bytes,
        document_cache_bytes=settings.document_cache_bytes,
        near_rows=near_rows,
        development=development,
    )


class Application:
    """The application: GraphQL by an endpoint of its own, and Starlette for the rest.

    A request for GraphQL passes nothing of Starlette: no router, no request and response objects,
    no middleware. They cost more than the operation (decision 64).
    """

    def __init__(
        self,
        runner: Runner,
        authentication: Authentication,
        streams: Streams,
        proxies: TrustedProxies,
        *,
        routes: Sequence[BaseRoute],
        lifespan: Callable[[Starlette], AbstractAsyncContextManager[dict[str, Any]]],
        cors_origins: Sequence[str] = (),
    ) -> None:
        self.starlette = Starlette(
            routes=routes,
            middleware=[Middleware(SecurityHeaders), *_cors(cors_origins)],
            exception_handlers={404: not_found},
            lifespan=lifespan,
        )
        self.authentication = authentication
        self._graphql: ASGIApp = GraphQLEndpoint(runner, authentication, streams, self.starlette)
        for cors in _cors(cors_origins):
            # It answers preflight requests itself, which need the security headers too.
            self._graphql = SecurityHeaders(cors.cls(self._graphql, *cors.args, **cors.kwargs))
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or run with the server."""
        if scope["type"] != "lifespan":
            self._proxies.apply(scope)
        if scope["type"] == "http" and scope["path"] in GRAPHQL_PATHS:
            await self._graphql(scope, receive, send)
        else:
            await self.starlette(scope, receive, send)

    @property
    def router(self) -> Router:
        """Starlette's router, whose ``lifespan_context`` starts and ends what the server needs."""
        return self.starlette.router


def endpoint_config(settings: Settings, *, development: bool = False) -> EndpointConfig:
    """How requests are treated."""
    points = settings.cost_per_minute
    budget: Budget = MemoryBudget(points)
    if settings.redis_url is not None:
        budget = _redis().RedisBudget(settings.redis_url, points)
    given = "introspection" in settings.model_fields_set
    return EndpointConfig(
        budget=budget,
        introspection="everyone" if development and not given else settings.introspection,
        max_body_bytes=settings.max_body_bytes,
        body_timeout=settings.body_timeout,
        request_timeout=settings.request_timeout,
        development=development,
    )


def _cors(origins: Sequence[str]) -> list[Middleware]:
    return [Middleware(Cors, **_cors_options(origins))] if origins else []


def _live(operations: Operations, database: Database, settings: Settings, budget: Budget) -> Live:
    reading = MemoryBudget(settings.cost_per_minute)
    return Live(
        operations,
        database,
        interval=settings.live_interval,
        charge=budget.spend,
        charge_reading=reading.spend,
    )


def _origin_fields(origins: Sequence[str]) -> OriginFields | None:
    return OriginFields(_cors_options(origins)) if origins else None


def _cors_options(origins: Sequence[str]) -> dict[str, Any]:
    return {
        "allow_origins": origins,
        "allow_methods": ("GET", "POST"),
        "allow_headers": (
            "Authorization",
            "Content-Type",
            "Last-Event-ID",
            "Traceparent",
            "X-Read-After",
            "X-Request-Id",
        ),
        "expose_headers": (
            "RateLimit-Limit",
            "RateLimit-Remaining",
            "RateLimit-Reset",
            "Retry-After",
            "X-Read-After",
            "X-Request-Id",
        ),
        "max_age": 600,
    }


async def _alive(_: Request) -> PlainTextResponse:
    return PlainTextResponse("ok\n")


def serve_app() -> Application:
    """The application of ``serve``, from the environment. Raises SettingsError."""
    settings = Settings.load_to_serve()
    if settings.tracing == "on":
        # By name: nothing of OpenTelemetry is loaded unless it is wanted.
        importlib.import_module("community_gql.telemetry.otel").install()
    app = create_app(settings)
    # What is there now stays: without it, the collector spends 50 ms on it now and then, in the
    # middle of some request.
    gc.collect()
    gc.freeze()
    return app
