"""``community-gql dev``: serve on this machine with everything included."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from community_gql.cli.console import out, say
from community_gql.cli.databases import (
    People,
    Seed,
    ended_by_signals,
    open_embedded,
    prepare,
    refuse_development_beside_auth0,
)
from community_gql.cli.dev_server import DEV_HOST, serve_development
from community_gql.cli.reload import serve_reloading
from community_gql.cli.serve import Port, listen
from community_gql.dev.embedded import EmbeddedPostgres
from community_gql.settings import Settings, database_url_is_set, home

if TYPE_CHECKING:
    from community_gql.dev.seeding import Person

PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = PACKAGE.parents[1]
SERVER = "import sys; from community_gql.cli.dev_server import main; sys.exit(main())"
NESTED_QUERY = (
    "{ viewer { user { profile { displayName } "
    "matches(first: 3) { nodes { score user { profile { displayName } "
    "stories(first: 2) { totalCount nodes { title tagNames } } } } } } } }"
)

commands = typer.Typer()


@commands.command(
    epilog="Examples:\n\n  community-gql dev\n\n  community-gql dev --port 8080 --people 2000"
)
def dev(
    port: Port = None,
    people: People = 200,
    seed: Seed = 1,
    reload: Annotated[
        bool | None,
        typer.Option(
            "--reload/--no-reload",
            envvar="RELOAD",
            show_envvar=False,
            help="Restart when the code changes. [dim]\\[RELOAD, in a checkout][/dim]",
        ),
    ] = None,
    pages: Annotated[
        bool,
        typer.Option("--pages", help="Build the explorer's pages meanwhile (with Node)."),
    ] = False,
) -> None:
    """Serve on this machine with everything included: PostgreSQL, migrations and people.

    Ctrl-C stops all of it; the data stays for the next time (`community-gql db reset` removes it).
    """
    refuse_development_beside_auth0()
    with ended_by_signals(), contextlib.ExitStack() as stack:
        # A placeholder that passes the check: the address is known when PostgreSQL runs.
        settings = Settings.load(database_url="postgresql://embedded/community", port=port)
        listener = stack.enter_context(listen(DEV_HOST, settings.port))
        if database_url_is_set():
            say("DATABASE_URL is set, but dev always uses the embedded PostgreSQL")
        server, url = open_embedded(stack, settings)
        prepare(url, people=people, seed=seed)
        settings = settings.model_copy(update={"database_url": url, "host": DEV_HOST})

        from community_gql.dev.seeding import known_people
        from community_gql.identity.development import DevelopmentIssuer

        issuer = DevelopmentIssuer(settings.data_dir / "issuer")
        introduce(settings, server, asyncio.run(known_people(url, 5)), issuer.token)
        in_checkout = home() == CHECKOUT
        if pages and in_checkout:
            stack.enter_context(building(CHECKOUT / "explorer" / "build.py"))
        with contextlib.suppress(KeyboardInterrupt):  # it is meant to end so: `make` says no error
            if in_checkout if reload is None else reload:
                command = [sys.executable, "-c", SERVER]
                watched = [PACKAGE, CHECKOUT / "migrations"]
                serve_reloading(listener, [*command, "{socket}", str(settings.port), url], watched)
            else:
                serve_development(listener, settings)
        say("stopping")


@contextlib.contextmanager
def building(script: Path) -> Iterator[None]:
    """Build the explorer beside the block, at a lower priority; what is unfinished then ends."""
    command = ["nice", sys.executable, str(script), "--if-node"]
    # A group of its own, so that npm and what it started end as well.
    made = subprocess.Popen(command, start_new_session=True)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(made.pid, signal.SIGTERM)
        made.wait()


def introduce(
    settings: Settings,
    server: EmbeddedPostgres,
    people: Sequence[Person],
    token: Callable[..., str],
) -> None:
    """Print the addresses, and a request that works when it is pasted."""
    address = f"http://{DEV_HOST}:{settings.port}"
    out.print()
    out.print(f"  Explorer and GraphQL  [bold cyan]{address}/graphql[/bold cyan]")
    out.print(f"  PostgreSQL            {server.folder} (make db-psql opens it)", soft_wrap=True)
    names = ", ".join(f"{called(person)} <{person.email}>" for person in people[:3])
    out.print(f"  People                {escape(names)}, ...", soft_wrap=True)
    program = os.path.relpath(sys.argv[0])
    out.print(f"  A person's token      {escape(program)} token EMAIL", soft_wrap=True)
    if people:
        out.print(f"\n  Ask as {escape(called(people[0]))}:\n")
        signed = token(people[0].auth0_sub, permissions=sorted(people[0].permissions))
        # Printed bare: a wrapped or coloured command could not be pasted.
        print(  # noqa: T201
            f"curl -s {address}/graphql -H 'Content-Type: application/json' "
            f"-H 'Authorization: Bearer {signed}' "
            f'-d \'{{"query":"{NESTED_QUERY}"}}\'\n'
        )
    out.print("  Ctrl-C stops everything.\n")
    sys.stdout.flush()


def called(person: Person) -> str:
    """Return a name for a person, who may have no display name."""
    return person.display_name or person.email
