"""``community-gql stats`` and ``who``: what the database has counted, and who a digest is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from community_gql.cli.console import fail, out, say
from community_gql.cli.databases import database

if TYPE_CHECKING:
    from community_gql.db.statistics import Rows

commands = typer.Typer()

AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for a program.")]


@commands.command(epilog="Example:\n\n  community-gql stats --limit 5")
def stats(
    limit: Annotated[int, typer.Option(min=1, help="Lines of each table.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Show the slowest operations, tables with dead rows, and indexes that nobody uses.

    It knows operations only if the database has the extension pg_stat_statements.
    """
    with database() as url:
        found, why_not, since = asyncio.run(_statistics(url, limit))
    if as_json:
        print(json.dumps(found | {"since": since}, default=str))  # noqa: T201
        return
    for title, rows in found.items():
        if why_not and title == "operations":
            say(f"operations: {why_not}")
            continue
        _show(title.replace("_", " "), rows)
    say(f"dead rows and indexes are counted since {since:%Y-%m-%d %H:%M %Z}")


async def _statistics(url: str, limit: int) -> tuple[dict[str, Rows], str | None, Any]:
    from community_gql.db import statistics
    from community_gql.db.connecting import connect

    connection = await connect(url)
    try:
        found: dict[str, Rows] = {}
        why_not = None
        try:
            found["operations"] = await statistics.operations(connection, limit)
        except statistics.NotThere as reason:
            found["operations"], why_not = [], str(reason)
        found["dead_rows"] = await statistics.dead_rows(connection, limit)
        found["unused_indexes"] = await statistics.unused_indexes(connection, limit)
        return found, why_not, await statistics.since(connection)
    finally:
        await connection.close()


def _show(title: str, rows: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table

    if not rows:
        out.print(f"{title}: none")
        return
    table = Table(title=title, title_justify="left")
    for name, value in rows[0].items():
        table.add_column(
            name.replace("_", " "), justify="right" if isinstance(value, int | float) else "left"
        )
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    out.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, int | float):
        return f"{value:,}"
    return f"{value:%Y-%m-%d %H:%M}" if hasattr(value, "strftime") else str(value)


@commands.command(epilog="Example:\n\n  community-gql who 9f86d081884c")
def who(
    digest: Annotated[str, typer.Argument(help="The `viewer` of a line in the log.")],
    as_json: AsJson = False,
) -> None:
    """Say which person a digest in the log stands for."""
    wanted = digest.strip().lower()
    if len(wanted) != 12 or not set(wanted) <= set("0123456789abcdef"):
        fail(f"{digest!r} is not a digest: the `viewer` in the log has 12 hexadecimal digits.")
    with database() as url:
        person = asyncio.run(_person(url, wanted))
    if person is None:
        fail(
            f"nobody has the digest {wanted}. It may be a program, which has no account, or "
            "somebody whose account was deleted."
        )
    if as_json:
        print(json.dumps(person, default=str))  # noqa: T201
        return
    for name, value in person.items():
        out.print(f"{name}: {_cell(value)}", markup=False, soft_wrap=True)


async def _person(url: str, digest: str) -> dict[str, Any] | None:
    from community_gql.db.connecting import connect
    from community_gql.http.request_log import digest as digest_of

    connection = await connect(url)
    try:
        async with connection.transaction(readonly=True):
            # unscoped: whoever runs the server looks for one person
            async for row in connection.cursor("SELECT auth0_sub FROM users", prefetch=10_000):
                if digest_of(row[0]) == digest:
                    # unscoped: as above
                    found = await connection.fetchrow(
                        "SELECT auth0_sub AS sub, email, display_name AS name, "
                        "users.created_at AS since FROM users "
                        "LEFT JOIN user_profiles ON user_id = auth0_sub WHERE auth0_sub = $1",
                        row[0],
                    )
                    return dict(found) if found else None
        return None
    finally:
        await connection.close()
