"""All commands, put together."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer
from rich.markup import escape

from community_gql.cli import (
    accounts,
    db,
    dev,
    explain,
    matching,
    schema,
    seeing,
    serve,
    tags,
    token,
)
from community_gql.cli.console import err
from community_gql.settings import OperatorError
from community_gql.settings.docstrings import documentation

app = typer.Typer(
    help="A GraphQL API for a community app on PostgreSQL.",
    epilog="Start with: [bold]community-gql dev[/bold]",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
TOP = (dev.commands, serve.commands, token.commands, explain.commands, seeing.commands)
for commands in TOP:
    app.add_typer(commands)
app.add_typer(accounts.commands, name="accounts")
app.add_typer(db.commands, name="db")
app.add_typer(tags.commands, name="tags")
app.add_typer(matching.commands, name="matching")
app.add_typer(schema.commands, name="schema")
for group in (app, *(each.typer_instance for each in app.registered_groups)):
    for command in group.registered_commands if group else ():
        if command.help is None and command.callback is not None:
            command.help = documentation(command.callback)


def run() -> None:
    """Run the command line, see ``main``."""
    try:
        app()
    except OperatorError as error:
        err.print(f"[bold red]error:[/bold red] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)


def show_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        print(f"community-gql {version('community-gql')}")  # noqa: T201
        raise typer.Exit


@app.callback()
def common(
    shown: Annotated[
        bool,
        typer.Option(
            "--version", callback=show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """A GraphQL API for a community app on PostgreSQL."""
