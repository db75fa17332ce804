"""The commands: ``community-gql dev``, ``serve``, ``db``, ``tags``, ``schema`` and ``token``.

Imports inside functions are an exception of this file: SQLAlchemy, Alembic and Strawberry cost
more than half a second, which ``--help`` and a mistyped option should not.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Never

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from community_gql.dev.embedded import EmbeddedPostgres, discard, known_address
from community_gql.settings import (
    OperatorError,
    Settings,
    database_url_is_set,
    home,
)

if TYPE_CHECKING:
    from community_gql.app import Application
    from community_gql.dev.seeding import Person

DATABASE = "community"
DEV_HOST = "127.0.0.1"  # the development issuer signs for anyone: never reachable from outside
NESTED_QUERY = (
    "{ viewer { user { profile { displayName } "
    "matches(first: 3) { nodes { score user { profile { displayName } "
    "stories(first: 2) { totalCount nodes { title tagNames } } } } } } } }"
)

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

app = typer.Typer(
    help="A GraphQL API for a community app on PostgreSQL.",
    epilog="Start with: [bold]community-gql dev[/bold]",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
db = typer.Typer(
    help="The database: migrations, people, and a way in.\n\n"
    "Uses DATABASE_URL where it is set, and this checkout's embedded PostgreSQL otherwise.",
    no_args_is_help=True,
)
tags = typer.Typer(
    help="The vocabulary: changes of tags that are on too many stories for one request.\n\n"
    "They run in batches while the server serves. A stopped one goes on with the same command.",
    no_args_is_help=True,
)
schema = typer.Typer(help="The GraphQL schema as a file.", no_args_is_help=True)
app.add_typer(db, name="db")
app.add_typer(tags, name="tags")
app.add_typer(schema, name="schema")

Port = Annotated[int | None, typer.Option(help="TCP port. [dim]\\[PORT, 8000][/dim]")]
People = Annotated[int, typer.Option(min=1, help="How many people to make.")]
Seed = Annotated[int, typer.Option(help="The same number makes the same people.")]


def main() -> None:
    """Run the command line; a mistake of the person who typed is a sentence, not a traceback."""
    try:
        app()
    except OperatorError as error:
        err.print(f"[bold red]error:[/bold red] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)


def fail(text: str) -> Never:
    """End the command with ``text`` as its error."""
    raise OperatorError(text)


def say(text: str) -> None:
    """Tell on stderr what happens now; stdout is for results."""
    err.print(f"[dim]·[/dim] {escape(text)}", soft_wrap=True)


def show_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        print(f"community-gql {version('community-gql')}")  # noqa: T201
        raise typer.Exit


@app.callback()
def common(
    shown: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """A GraphQL API for a community app on PostgreSQL."""


# --- dev and serve --------------------------------------------------------------------------


@app.command(
    epilog="Examples:\n\n  community-gql dev\n\n  community-gql dev --port 8080 --people 2000"
)
def dev(port: Port = None, people: People = 200, seed: Seed = 1) -> None:
    """Serve on this machine with everything included: PostgreSQL, migrations and people.

    Ctrl-C stops all of it; the data stays for the next time (`community-gql db reset` removes it).
    """
    refuse_development_beside_auth0()
    with ended_by_signals(), contextlib.ExitStack() as stack:
        # Only a value that satisfies the check: the address is known once PostgreSQL runs.
        settings = Settings.load(database_url="postgresql://embedded/community", port=port)
        listener = stack.enter_context(listen(DEV_HOST, settings.port))
        if database_url_is_set():
            say("DATABASE_URL is set, but dev always uses the embedded PostgreSQL")
        server, url = open_embedded(stack, settings)
        prepare(url, people=people, seed=seed)
        settings = settings.model_copy(update={"database_url": url, "host": DEV_HOST})

        from community_gql.app import create_app
        from community_gql.dev.seeding import known_people
        from community_gql.identity.development import DevelopmentIssuer

        issuer = DevelopmentIssuer(settings.data_dir / "issuer")
        known = asyncio.run(known_people(url, 5))
        application = create_app(
            settings, development=issuer, people=functools.partial(known_people, url)
        )
        introduce(settings, server, known, issuer.token)
        serve_on(listener, application, settings)
        say("stopping")


@app.command(
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
    """Serve in production: nothing is embedded, migrated or signed.

    DATABASE_URL, AUTH0_DOMAIN (or OIDC_ISSUER) and AUTH0_AUDIENCE are required.
    """
    settings = Settings.load_to_serve(host=host, port=port, workers=workers)
    # Worker processes read the settings for themselves.
    os.environ |= {
        "HOST": settings.host,
        "PORT": str(settings.port),
        "WORKERS": str(settings.workers),
    }
    with listen(settings.host, settings.port) as listener:
        serve_on(listener, "community_gql.app:serve_app", settings)


@contextlib.contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """Take the port before anything else is started; a taken one is an error of one sentence."""
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
            # Refuses those who bind the same port after us; uvicorn listens again, larger.
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


def serve_on(listener: socket.socket, application: Application | str, settings: Settings) -> None:
    """Serve until a signal ends it. ``application`` is a factory's name or the thing itself."""
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    from community_gql.http.protocol import BoundedConfig

    production = isinstance(application, str)
    config = BoundedConfig(
        application,
        header_timeout=settings.header_timeout,
        max_connections=settings.max_connections,
        factory=production,
        workers=settings.workers if production else 1,
        loop="uvloop",
        log_config=log_config(settings.log_level, json=production),
        log_level=settings.log_level,
        proxy_headers=False,  # the application itself believes TRUSTED_PROXIES and nobody else
        timeout_graceful_shutdown=int(settings.request_timeout) + 1,
    )
    if config.workers > 1:
        listener.set_inheritable(True)
        Multiprocess(config, sockets=[listener]).run()
        return
    server = uvicorn.Server(config)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listener])
    if not server.started:
        fail("the server could not start; the lines above say why.")


def log_config(level: str, *, json: bool) -> dict[str, Any]:
    """Return the logging of all loggers on stderr: lines of JSON, or uvicorn's for people."""
    people = {"()": "uvicorn.logging.DefaultFormatter", "fmt": "%(levelprefix)s %(message)s"}
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


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end the command as Ctrl-C does: with its clean-up."""

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


def refuse_development_beside_auth0() -> None:
    """Keep the development issuer out of anything configured for a real one."""
    for name in ("AUTH0_DOMAIN", "OIDC_ISSUER"):
        if os.environ.get(name, "").strip():
            fail(f"{name} is set, and this command signs tokens for anyone. Unset it first.")


def open_embedded(stack: contextlib.ExitStack, settings: Settings) -> tuple[EmbeddedPostgres, str]:
    """Start or join the embedded PostgreSQL until ``stack`` ends; return it and our database."""
    server = stack.enter_context(EmbeddedPostgres.start(settings.data_dir / "postgres", say=say))
    server.create_database(DATABASE)
    return server, server.url(DATABASE)


def prepare(url: str, *, people: int, seed: int) -> None:
    """Migrate, and fill a database that holds nobody."""
    from community_gql.db import migrate
    from community_gql.dev import seeding

    migrate.upgrade(url, say=say)
    if asyncio.run(seeding.is_empty(url)):
        fill(url, people=people, seed=seed)


def fill(url: str, *, people: int, seed: int) -> None:
    """Seed the database, showing how far it is."""
    from community_gql.dev import seeding

    with shown_progress("seeding") as progress:
        report = asyncio.run(seeding.seed(url, people=people, seed=seed, progress=progress))
    rows = ", ".join(f"{count:,} {table}" for table, count in report.rows.items())
    say(f"seeded in {report.seconds:.1f} s: {rows}")


@contextlib.contextmanager
def shown_progress(doing: str) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function of (what, done, total): a bar per kind of row, or lines without a tty."""
    if not err.is_terminal:
        shown: set[tuple[str, int]] = set()

        def line(what: str, done: int, total: int) -> None:
            quarter = (what, 4 * done // max(total, 1))
            if quarter not in shown:
                shown.add(quarter)
                say(f"{doing} {what}: {done:,} of {total:,}")

        yield line
        return
    columns = (
        TextColumn("[dim]·[/dim] {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err) as bars:
        tasks = {}

        def bar(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(f"{doing} {what}", total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield bar


def introduce(
    settings: Settings,
    server: EmbeddedPostgres,
    people: Sequence[Person],
    token: Callable[..., str],
) -> None:
    """Say where everything is, and give a request that works as it stands."""
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
    """Return what to call a person, who may not have given a name."""
    return person.display_name or person.email


# --- db -------------------------------------------------------------------------------------


@contextlib.contextmanager
def database() -> Iterator[str]:
    """Yield the address the ``db`` commands work on: DATABASE_URL, or the embedded one's."""
    if database_url_is_set():
        yield Settings.load().database_url
        return
    with ended_by_signals(), contextlib.ExitStack() as stack:
        yield open_embedded(stack, embedded_settings())[1]


def embedded_settings() -> Settings:
    """Return settings for commands that need no DATABASE_URL."""
    return Settings.load(database_url="postgresql://embedded/community")


@db.command(epilog="Examples:\n\n  community-gql db upgrade\n\n  community-gql db upgrade +1")
def upgrade(
    revision: Annotated[str, typer.Argument(help="Where to: head, +1, or a revision.")] = "head",
) -> None:
    """Run the migrations that the database lacks."""
    from community_gql.db import migrate

    with database() as url:
        migrate.upgrade(url, revision, say=say)
        out.print(f"at {migrate.current(url) or 'no revision'}")


@db.command(
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


@db.command(epilog="Example:\n\n  community-gql db current")
def current() -> None:
    """Print the revision the database is at."""
    from community_gql.db import migrate

    with database() as url:
        out.print(migrate.current(url) or "no revision: run community-gql db upgrade")


@db.command(
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


@db.command(epilog='Example:\n\n  pg_dump "$(community-gql db url)" > community.sql')
def url() -> None:
    """Print the address of the embedded database for psql and its like.

    It answers while `community-gql dev` or `community-gql db psql` runs.
    """
    address, running = known_address(embedded_settings().data_dir / "postgres", DATABASE)
    print(address)  # noqa: T201
    if not running:
        say("it is not running now: community-gql dev starts it")


@db.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    epilog="Examples:\n\n  community-gql db psql\n\n"
    '  community-gql db psql -c "select count(*) from users"',
)
def psql(context: typer.Context) -> None:
    """Open psql on the embedded database, starting it if need be; options go to psql."""
    with contextlib.ExitStack() as stack:
        server, _ = open_embedded(stack, embedded_settings())
        # Not exec: the server has to be given back afterwards. Ctrl-C is for psql alone.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        stack.callback(signal.signal, signal.SIGINT, before)
        done = subprocess.run(
            [*server.psql_command(DATABASE), *context.args],
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    raise typer.Exit(done.returncode)


@db.command(epilog="Example:\n\n  community-gql db reset")
def reset() -> None:
    """Remove the embedded PostgreSQL with all its data."""
    discard(embedded_settings().data_dir / "postgres")
    out.print("removed: the next start makes a new one")


@db.command(hidden=True)
def check() -> None:
    """Compare models.py with the migrations, in a throw-away PostgreSQL."""
    from community_gql.db import migrate

    with ended_by_signals(), EmbeddedPostgres.start_throwaway() as server:
        server.create_database(DATABASE)
        migrate.upgrade(server.url(DATABASE))
        migrate.check(server.url(DATABASE))
    out.print("the migrations make what models.py says")


@db.command(hidden=True)
def revision(message: str) -> None:
    """Write a migration for what changed in models.py since the last one."""
    from community_gql.db import migrate

    with ended_by_signals(), EmbeddedPostgres.start_throwaway() as server:
        server.create_database(DATABASE)
        migrate.upgrade(server.url(DATABASE))
        made = migrate.revision(server.url(DATABASE), message)
    out.print(f"wrote {made}: read it, and write its downgrade", soft_wrap=True)


@db.command(hidden=True)
def erd(
    check: Annotated[bool, typer.Option("--check", help="Only compare, write nothing.")] = False,
) -> None:
    """Draw docs/erd.svg from models.py."""
    from community_gql.dev import erd

    out.print(erd.check(home()) if check else f"wrote {erd.write(home())}", soft_wrap=True)


# --- tags -----------------------------------------------------------------------------------

TagName = Annotated[str, typer.Argument(help="A tag, in any case.")]


@tags.command(epilog="Example:\n\n  community-gql tags rename journalling journaling")
def rename(old: TagName, new: Annotated[str, typer.Argument(help="The name to give it.")]) -> None:
    """Give a tag another name, on everything that has it.

    A popular tag gets another id with its name.
    """
    from community_gql.actions import bulk_tags

    change_tags("renaming", bulk_tags.rename, old, new)


@tags.command(epilog="Example:\n\n  community-gql tags merge walks walking")
def merge(
    old: Annotated[str, typer.Argument(help="The tag that goes.")],
    into: Annotated[str, typer.Argument(help="The tag that stays.")],
) -> None:
    """Replace a tag by another, on everything that has it."""
    from community_gql.actions import bulk_tags

    change_tags("merging", bulk_tags.merge, old, into)


@tags.command(epilog="Example:\n\n  community-gql tags delete misc --yes")
def delete(
    name: TagName, yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False
) -> None:
    """Remove a tag from the vocabulary, and from everything that has it."""
    from community_gql.actions import bulk_tags

    if not yes:
        if not sys.stdin.isatty():
            fail(f'this takes "{name}" from all stories and people. Add --yes to do it.')
        typer.confirm(f'This takes "{name}" from all stories and people. Go on?', abort=True)
    change_tags("deleting", bulk_tags.delete, name)


def change_tags(doing: str, change: Callable[..., Awaitable[None]], *names: str) -> None:
    """Run a change of the vocabulary, showing how far it is."""
    from community_gql.db.database import opened
    from community_gql.errors import Unavailable

    async def run(url: str, progress: Callable[[int, int], None]) -> None:
        async with opened(url, pool_size=1, statement_timeout=60) as opened_database:
            await change(opened_database, *names, progress)

    moved = (0, 0)

    def note(done: int, total: int) -> None:
        nonlocal moved
        moved = (done, total)
        progress("stories and people", done, total)

    with ended_by_signals(), database() as url, shown_progress(doing) as progress:
        try:
            asyncio.run(run(url, note))
        except Unavailable:
            fail("the database is out of reach. Once it is back, the same command goes on.")
        except (KeyboardInterrupt, SystemExit):
            say("stopped after {:,} of {:,}: the same command goes on".format(*moved))
            raise
    out.print("done")


# --- schema and token -----------------------------------------------------------------------


@schema.command(
    epilog="Examples:\n\n  community-gql schema export\n\n"
    "  community-gql schema export --output schema.graphql"
)
def export(
    output: Annotated[Path | None, typer.Option(help="A file instead of stdout.")] = None,
) -> None:
    """Write the schema in GraphQL's definition language."""
    text = schema_text()
    if output is None:
        print(text, end="")  # noqa: T201
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"can't write {output}: {error.strerror}.")
    say(f"wrote {output}")


@schema.command(
    "check",
    epilog="Examples:\n\n  community-gql schema check\n\n"
    "  community-gql schema check --against v1.0",
)
def schema_check(
    against: Annotated[
        str | None, typer.Option(help="A git revision to look for breaking changes since.")
    ] = None,
) -> None:
    """Compare the code with schema.graphql, and that with the previous commit's.

    A breaking change fails unless CHANGELOG.md names it under Unreleased, Breaking.
    """
    from community_gql.dev import schema_diff

    for line in schema_diff.check(home(), schema_text(), against=against):
        out.print(escape(line), soft_wrap=True)


def schema_text() -> str:
    """Return the schema of the code, ending in a line break."""
    from community_gql.schema.executable import sdl

    return sdl()


@app.command(
    epilog="Examples:\n\n  community-gql token ada@example.com\n\n"
    "  community-gql token 'auth0|new' --email new@example.com\n\n"
    "  community-gql token --machine matcher --permission write:matches\n\n"
    '  curl -H "Authorization: Bearer $(community-gql token ada@example.com)" ...'
)
def token(
    person: Annotated[
        str | None, typer.Argument(help="An e-mail address, or a `sub` (auth0|...).")
    ] = None,
    machine: Annotated[
        str | None, typer.Option(help="A program's name instead of a person.", metavar="NAME")
    ] = None,
    permission: Annotated[
        list[str] | None, typer.Option(help="One more permission, such as manage:tags.")
    ] = None,
    email: Annotated[
        str | None, typer.Option(help="The address of a person who is new; goes with a `sub`.")
    ] = None,
) -> None:
    """Print a token of the development issuer, for a person or a program. Development only."""
    refuse_development_beside_auth0()
    if (person is None) == (machine is None):
        fail("say whom the token is for: a person, or --machine NAME.")
    settings = embedded_settings()

    from community_gql.dev.seeding import permissions_of
    from community_gql.identity.development import DevelopmentIssuer

    if person is None:
        subject = f"{machine}@clients"  # as Auth0 names a program that signs in for itself
    else:
        subject = person if "|" in person else find_subject(settings, person)
    permissions = {*permissions_of(subject), *(permission or ())}
    issuer = DevelopmentIssuer(settings.data_dir / "issuer")
    print(issuer.token(subject, permissions=sorted(permissions), email=email))  # noqa: T201


def find_subject(settings: Settings, email: str) -> str:
    """Return the ``sub`` of a person of the embedded database."""
    from community_gql.dev.seeding import known_people

    with contextlib.ExitStack() as stack:
        _, url = open_embedded(stack, settings)
        people = asyncio.run(known_people(url, 1000))
    for person in people:
        if person.email.lower() == email.lower():
            return person.auth0_sub
    some = ", ".join(person.email for person in people[:5])
    if not some:
        fail("the embedded database holds nobody yet. Run: community-gql dev")
    fail(f"nobody has the address {email}. Some who are there: {some}")
