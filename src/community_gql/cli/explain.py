"""``community-gql explain``: how a query is run, and why it is slow."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from community_gql.cli.console import fail, out
from community_gql.cli.databases import database

if TYPE_CHECKING:
    from community_gql.graph.visibility import Viewer
    from community_gql.operations.pipeline import Outcome

EVERYONE = 100_000

commands = typer.Typer()


@commands.command(
    epilog="Examples:\n\n"
    "  community-gql explain '{ stories(first: 3) { nodes { title } } }'\n\n"
    "  community-gql explain feed.graphql --person ada@example.com "
    '--variables \'{"search": "moss"}\''
)
def explain(
    query: Annotated[str, typer.Argument(help="A query, a file with one, or - for stdin.")],
    person: Annotated[
        str | None,
        typer.Option(help="The e-mail address of the person who asks. [dim]\\[signed out][/dim]"),
    ] = None,
    variables: Annotated[str, typer.Option(help="A JSON object.")] = "{}",
    operation: Annotated[
        str | None, typer.Option(help="The name of the operation, if there are several.")
    ] = None,
) -> None:
    """Run a query and print its SQL and PostgreSQL's plan (EXPLAIN ANALYZE).

    It uses DATABASE_URL if that is set, and otherwise the embedded PostgreSQL of this checkout.
    """
    text = read_query(query)
    try:
        values = json.loads(variables)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        fail("--variables is not a JSON object.")

    from community_gql.errors import PublicError

    with database() as url:
        try:
            outcome, cost, texts, plans = asyncio.run(run(url, text, values, operation, person))
        except PublicError as error:
            fail(error.message)
    show(outcome, cost, texts, plans)


def read_query(given: str) -> str:
    """Return the text of a query that is given as itself, as a file, or as - for stdin."""
    if given == "-":
        return sys.stdin.read()
    if "{" in given:
        return given
    try:
        return Path(given).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        fail(f"{given} is neither a query nor a file that can be read.")


async def run(
    url: str, text: str, variables: dict[str, Any], name: str | None, email: str | None
) -> tuple[Outcome, int, list[str], list[str]]:
    """Run the query; return what came of it, its cost, its statements and their plans."""
    from community_gql.db.database import opened
    from community_gql.operations.documents import Refused
    from community_gql.operations.pipeline import Operations
    from community_gql.operations.prepared import Params

    texts: list[str] = []
    plans: list[str] = []
    viewer = await find_viewer(url, email)
    async with opened(url, pool_size=2, statement_timeout=60) as opened_database:
        operations = Operations(opened_database, pushdown="always")
        try:
            prepared = operations.prepare(
                Params(text, variables=variables, operation_name=name), open_schema=True
            )
            if prepared.kind.value != "query":
                fail("only queries are explained: EXPLAIN ANALYZE would run a mutation.")
            outcome = await operations.execute(
                prepared, viewer, caller="explain", texts=texts, explained=plans
            )
        except Refused as refused:
            fail("\n".join(error.message for error in refused.errors))
        finally:
            operations.close()
    return outcome, prepared.cost, texts, plans


async def find_viewer(url: str, email: str | None) -> Viewer:
    """Return the person with this address; without one, the anonymous viewer."""
    from community_gql.dev.seeding import known_people
    from community_gql.graph.visibility import Viewer

    if email is None:
        return Viewer()
    for known in await known_people(url, EVERYONE):
        if known.email.lower() == email.lower():
            return Viewer(known.auth0_sub, frozenset(known.permissions))
    return fail(f"nobody has the address {email}.")


def show(outcome: Outcome, cost: int, texts: list[str], plans: list[str]) -> None:
    """Print the outline, then each statement and its plan."""
    for error in outcome.errors:
        out.print(f"[red]error:[/red] {escape(error.message)}", soft_wrap=True)
    how = "compiled" if outcome.fallback_reason is None else f"loaders ({outcome.fallback_reason})"
    count = f"{len(texts)} statement{'' if len(texts) == 1 else 's'}"
    milliseconds = outcome.database_seconds * 1000
    out.print(f"{count}, {how}, {milliseconds:.1f} ms in the database, cost {cost}")
    for number, (text, plan) in enumerate(zip(texts, plans, strict=True), 1):
        out.print(f"\n[bold]-- statement {number}[/bold]")
        print(text)  # noqa: T201
        out.print("\n[bold]-- its plan for these values[/bold]")
        print(plan)  # noqa: T201
