"""``community-gql serve``: the server process, its port and its log."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from community_gql.cli.console import fail
from community_gql.settings import Settings

if TYPE_CHECKING:
    from community_gql.app import Application

commands = typer.Typer()

Port = Annotated[int | None, typer.Option(help="TCP port. [dim]\\[PORT, 8000][/dim]")]


@commands.command(
    epilog="Examples:\n\n"
    "  DATABASE_URL=postgresql://user:password@db/community community-gql serve\n\n"
    "  community-gql serve --host 0.0.0.0 --port 80 --workers 4"
)
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address. [dim]\\[HOST, 127.0.0.1][/dim]")
    ] = None,
    port: Port = None,
    workers: Annotated[
        int | None, typer.Option(help="Worker processes. [dim]\\[WORKERS, 1][/dim]")
    ] = None,
) -> None:
    """Serve in production, with your own database and your own sign-in.

    DATABASE_URL, AUTH0_DOMAIN (or OIDC_ISSUER) and AUTH0_AUDIENCE are required.
    """
    settings = Settings.load_to_serve(host=host, port=port, workers=workers)
    # Worker processes read the settings for themselves.
    os.environ |= {
        "HOST": settings.host,
        "PORT": str(settings.port),
        "WORKERS": str(settings.workers),
    }
    if settings.tracing == "on" and find_spec("opentelemetry") is None:
        fail("TRACING is on, but OpenTelemetry is not installed: pip install community-gql[otel]")
    with listen(settings.host, settings.port) as listener, measured(settings.metrics):
        serve_on(listener, "community_gql.app:serve_app", settings)


@contextlib.contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """Bind the port before anything else starts; a port in use is an error of one sentence."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        fail(f"HOST is wrong: {host!r} is not an address of this machine ({error.strerror}).")
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            # Now no other process can bind the port; uvicorn listens again with a larger backlog.
            listener.listen(128)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                fail(
                    f"port {port} is taken: another program listens on {host}:{port}. "
                    f"End it, or choose another port: PORT={port + 1 if port < 65535 else 8000}"
                )
            if error.errno == errno.EACCES:
                fail(f"port {port} needs special rights. Choose one from 1024 up: PORT=8000")
            fail(f"can't listen on {host}:{port}: {error.strerror}. HOST and PORT choose another.")
        yield listener


@contextlib.contextmanager
def measured(address: tuple[str, int] | None) -> Iterator[None]:
    """Show what all processes count at this address, until the block ends."""
    if address is None:
        yield
        return
    host, port = address
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(tempfile.TemporaryDirectory(prefix="community-gql-metrics-"))
        # Whoever imports prometheus_client from now on counts in files, the workers too.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = made

        from community_gql.telemetry.exposition import exposed

        try:
            stack.enter_context(exposed(host, port, Path(made)))
        except OSError as error:
            fail(f"can't show metrics on {host}:{port}: {error.strerror}. METRICS chooses another.")
        yield


def serve_on(
    listener: socket.socket,
    application: Application | str,
    settings: Settings,
    *,
    handed_on: bool = False,
) -> None:
    """Serve until a signal ends it. ``application`` is a factory's name or the thing itself."""
    import logging.config

    from community_gql.http.config import BoundedConfig
    from community_gql.http.limits import ConnectionLimits
    from community_gql.http.server import bounded, serve_alone, warn_of_open_trust
    from community_gql.http.workers import Workers

    production = isinstance(application, str)
    logging_config = log_config(settings.log_level, json=production)
    logging.config.dictConfig(logging_config)
    warn_of_open_trust(settings.trusted_proxies)
    limits = bounded(ConnectionLimits.of(settings), settings.database_pool_size)
    config = BoundedConfig(
        application,
        limits=limits,
        drain_seconds=settings.drain_seconds if production else 0,
        factory=production,
        workers=settings.workers if production else 1,
        loop="uvloop",
        backlog=limits.spare,
        log_config=logging_config,
        log_level=settings.log_level,
        timeout_graceful_shutdown=int(settings.request_timeout) + 1,
    )
    if config.workers > 1:
        Workers(config, listener).run()
    else:
        serve_alone(config, listener, handed_on=handed_on)


def log_config(level: str, *, json: bool) -> dict[str, Any]:
    """Return the logging of all loggers on stderr: lines of JSON, or lines for people."""
    people = {"()": "community_gql.logs.PlainLines.on_stderr"}
    handler = (
        {"class": "community_gql.logs.JsonLinesHandler"}
        if json
        else {"class": "logging.StreamHandler", "formatter": "people"}
    )
    own = {"handlers": ["stderr"], "level": level.upper(), "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"people": people},
        "handlers": {"stderr": handler},
        "loggers": {"community_gql": own, "uvicorn": own},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
    }
