"""``community-gql schema``: the GraphQL schema as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from community_gql.cli.console import fail, out, say
from community_gql.settings import home

commands = typer.Typer(help="The GraphQL schema as a file.", no_args_is_help=True)


@commands.command(
    epilog="Examples:\n\n  community-gql schema export\n\n"
    "  community-gql schema export --output schema.graphql"
)
def export(
    output: Annotated[
        Path | None, typer.Option(help="The file to write. [dim]\\[standard output][/dim]")
    ] = None,
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


@commands.command(
    "check",
    epilog="Examples:\n\n  community-gql schema check\n\n"
    "  community-gql schema check --against v1.0",
)
def schema_check(
    against: Annotated[
        str | None, typer.Option(help="A git revision to look for breaking changes since.")
    ] = None,
) -> None:
    """Compare the code with schema.graphql, and schema.graphql with the previous commit's.

    A breaking change fails unless CHANGELOG.md names it under Unreleased, Breaking.
    """
    from community_gql.dev import schema_diff

    for line in schema_diff.check(home(), schema_text(), against=against):
        out.print(escape(line), soft_wrap=True)


def schema_text() -> str:
    """Return the schema of the code, ending in a line break."""
    from community_gql.schema.executable import sdl

    return sdl()
