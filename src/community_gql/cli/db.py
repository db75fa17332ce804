"""``community-gql db``: migrations, people, and a way into the database."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from community_gql.cli.console import fail, out, say
from community_gql.cli.databases import (
    DATABASE,
    People,
    Seed,
    database,
    embedded_settings,
    ended_by_signals,
    fill,
    open_embedded,
)
from community_gql.dev.embedded import EmbeddedPostgres, discard, known_address
from community_gql.settings import database_url_is_set, home

commands = typer.Typer(
    help="The database: migrate it, fill it with people, open it.\n\n"
    "It uses DATABASE_URL if that is set, and otherwise the embedded PostgreSQL of "
    "this checkout.",
    no_args_is_help=True,
)


@commands.command(epilog="Examples:\n\n  community-gql db upgrade\n\n  community-gql db upgrade +1")
def upgrade(
    revision: Annotated[str, typer.Argument(help="Where to: head, +1, or a revision.")] = "head",
) -> None:
    """Run the migrations that the database lacks."""
    from community_gql.db import migrate

    with database() as url:
        migrate.upgrade(url, revision, say=say)
        out.print(f"at {migrate.current(url) or 'no revision'}")


@commands.command(
    context_settings={"ignore_unknown_options": True},  # -1 is a revision
    epilog="Examples:\n\n  community-gql db downgrade\n\n  community-gql db downgrade base --yes",
)
def downgrade(
    revision: Annotated[
        str, typer.Argument(help="Where to: -1 (one back), base (nothing), or a revision.")
    ] = "-1",
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Undo migrations; the rows of removed tables and columns are lost."""
    from community_gql.db import migrate

    with database() as url:
        if database_url_is_set() and not yes:
            where = url.rpartition("@")[2]
            if not sys.stdin.isatty():
                fail(f"this removes data from {where}. Add --yes to do it.")
            typer.confirm(f"This removes data from {where}. Go on?", abort=True)
        migrate.downgrade(url, revision, say=say)
        out.print(f"at {migrate.current(url) or 'no revision'}")


@commands.command(epilog="Example:\n\n  community-gql db current")
def current() -> None:
    """Print the revision that the database is at."""
    from community_gql.db import migrate

    with database() as url:
        out.print(migrate.current(url) or "no revision: run community-gql db upgrade")


@commands.command(
    epilog="Examples:\n\n  community-gql db seed\n\n"
    "  community-gql db seed --people 100000 --seed 7"
)
def seed(people: People = 200, seed: Seed = 1) -> None:
    """Fill an empty database with believable people."""
    from community_gql.db import migrate
    from community_gql.dev import seeding

    with database() as url:
        if not database_url_is_set():
            migrate.upgrade(url, say=say)
        elif "(head)" not in migrate.current(url):
            fail("the database lacks migrations. Run: community-gql db upgrade")
        if not asyncio.run(seeding.is_empty(url)):
            fail(
                "the database holds people already, and seeding only fills an empty one. "
                + ("Choose another database." if database_url_is_set() else "First: make db-reset")
            )
        fill(url, people=people, seed=seed)


@commands.command(epilog='Example:\n\n  pg_dump "$(community-gql db url)" > community.sql')
def url() -> None:
    """Print the address of the embedded database for psql and its like.

    The address works while `community-gql dev` or `community-gql db psql` runs.
    """
    address, running = known_address(embedded_settings().data_dir / "postgres", DATABASE)
    print(address)  # noqa: T201
    if not running:
        say("it is not running now: community-gql dev starts it")


@commands.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    epilog="Examples:\n\n  community-gql db psql\n\n"
    '  community-gql db psql -c "select count(*) from users"',
)
def psql(context: typer.Context) -> None:
    """Open psql on the embedded database, and start that if needed. Options go to psql."""
    with contextlib.ExitStack() as stack:
        server, _ = open_embedded(stack, embedded_settings())
        # Not exec: the server must be released afterwards. Only psql handles Ctrl-C.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        stack.callback(signal.signal, signal.SIGINT, before)
        done = subprocess.run(
            [*server.psql_command(DATABASE), *context.args],
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    raise typer.Exit(done.returncode)


@commands.command(epilog="Example:\n\n  community-gql db reset")
def reset() -> None:
    """Remove the embedded PostgreSQL with all its data."""
    discard(embedded_settings().data_dir / "postgres")
    out.print("removed: the next start makes a new one")


@commands.command(hidden=True)
def check() -> None:
    """Compare models.py with the migrations, in a throw-away PostgreSQL."""
    from community_gql.db import migrate

    with ended_by_signals(), EmbeddedPostgres.start_throwaway() as server:
        server.create_database(DATABASE)
        migrate.upgrade(server.url(DATABASE))
        migrate.check(server.url(DATABASE))
    out.print("the migrations make what models.py says")


@commands.command(hidden=True)
def revision(message: str) -> None:
    """Write a migration for what changed in models.py since the last one, and draw the picture."""
    from community_gql.db import migrate
    from community_gql.dev import erd

    with ended_by_signals(), EmbeddedPostgres.start_throwaway() as server:
        server.create_database(DATABASE)
        migrate.upgrade(server.url(DATABASE))
        made = migrate.revision(server.url(DATABASE), message)
    tidy(made)
    out.print(f"wrote {erd.write(home())}", soft_wrap=True)
    out.print(f"wrote {made}: read it before you run it", soft_wrap=True)


def tidy(file: Path) -> None:
    """Format a file that Alembic wrote as `make check` wants it, and remove unused imports."""
    text = file.read_text(encoding="utf-8")
    file.write_text(re.sub(r"\n *# ### .* ###", "", text), encoding="utf-8")  # Alembic's remarks
    for words in (["check", "--quiet", "--fix-only", "--select", "F401,I"], ["format", "--quiet"]):
        subprocess.run([sys.executable, "-m", "ruff", *words, str(file)], check=True)


@commands.command(hidden=True)
def erd(
    check: Annotated[bool, typer.Option("--check", help="Only compare, write nothing.")] = False,
) -> None:
    """Draw docs/erd.svg from models.py."""
    from community_gql.dev import erd

    out.print(erd.check(home()) if check else f"wrote {erd.write(home())}", soft_wrap=True)
