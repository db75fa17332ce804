"""The database a command works on: the one of DATABASE_URL, or the embedded one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from socket import gaierror
from types import FrameType
from typing import Annotated

import typer

from community_gql.cli.console import fail, say, shown_progress
from community_gql.dev.embedded import EmbeddedPostgres
from community_gql.settings import OperatorError, Settings, database_url_is_set

DATABASE = "community"

People = Annotated[int, typer.Option(min=1, help="How many people to make.")]
Seed = Annotated[int, typer.Option(help="The same number makes the same people.")]


@contextlib.contextmanager
def database() -> Iterator[str]:
    """Yield the address the ``db`` commands work on: DATABASE_URL, or the embedded one's."""
    if database_url_is_set():
        with refusals_are_sentences():
            yield Settings.load().database_url
        return
    with ended_by_signals(), contextlib.ExitStack() as stack:
        yield open_embedded(stack, embedded_settings())[1]


@contextlib.contextmanager
def refusals_are_sentences() -> Iterator[None]:
    """End the command with a sentence when the database is away, or refuses something."""
    try:
        yield
    except Exception as error:
        if (text := _sentence(error)) is None:
            raise
        raise OperatorError(text) from error


def _sentence(error: Exception) -> str | None:
    """What to say of an error of the database; None of others."""
    from sqlalchemy.exc import DBAPIError

    from community_gql.db.states import PASSING, sqlstate
    from community_gql.errors import Unavailable

    driver: BaseException | None = error
    if isinstance(error, DBAPIError) and error.orig is not None:
        driver = error.orig.__cause__ or error.orig
    state = sqlstate(error)
    if state == "42501":
        return f"the database refused: {driver}. Name a role in DATABASE_URL that may, or GRANT it."
    if state == "42P01":
        return f"the database is not migrated: {driver}. Run: community-gql db upgrade"
    if isinstance(driver, Unavailable):
        return f"the database is out of reach ({driver.cause or 'no answer'})."
    if state.startswith(PASSING) or isinstance(driver, (ConnectionError, TimeoutError, gaierror)):
        return f"the database is out of reach: {driver or 'no answer'}"
    return None


def open_embedded(stack: contextlib.ExitStack, settings: Settings) -> tuple[EmbeddedPostgres, str]:
    """Start or join the embedded PostgreSQL until ``stack`` ends; return it and our database."""
    server = stack.enter_context(EmbeddedPostgres.start(settings.data_dir / "postgres", say=say))
    server.create_database(DATABASE)
    return server, server.url(DATABASE)


def embedded_settings() -> Settings:
    """Return settings for commands that need no DATABASE_URL."""
    return Settings.load(database_url="postgresql://embedded/community")


def prepare(url: str, *, people: int, seed: int) -> None:
    """Migrate, and seed the database if it has no people."""
    from community_gql.db import migrate
    from community_gql.dev import seeding

    migrate.upgrade(url, say=say)
    if asyncio.run(seeding.is_empty(url)):
        fill(url, people=people, seed=seed)


def fill(url: str, *, people: int, seed: int) -> None:
    """Seed the database, compute who matches whom, and show the progress."""
    from community_gql.dev import filling

    with shown_progress("seeding") as progress:
        report = asyncio.run(filling.fill(url, people=people, seed=seed, progress=progress))
    rows = ", ".join(f"{count:,} {table}" for table, count in report.rows.items())
    say(f"seeded in {report.seconds:.1f} s: {rows}")


def refuse_development_beside_auth0() -> None:
    """Refuse the development issuer if the settings name a real one."""
    for name in ("AUTH0_DOMAIN", "OIDC_ISSUER"):
        if os.environ.get(name, "").strip():
            fail(f"{name} is set, and this command signs tokens for anyone. Unset it first.")


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Make SIGTERM and a closed terminal end the command like Ctrl-C, with clean-up."""

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
