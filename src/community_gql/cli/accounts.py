"""``community-gql accounts``: what people may ask of whoever runs the server."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from community_gql.cli.console import fail, say
from community_gql.cli.databases import database, ended_by_signals

commands = typer.Typer(
    help="Accounts: export everything that is stored about a person.", no_args_is_help=True
)


@commands.callback()
def common() -> None:
    """Make ``export`` a command of its own, though it is the only one."""


@commands.command(
    epilog="Example:\n\n  community-gql accounts export ada@example.com --output ada.json"
)
def export(
    email: Annotated[str, typer.Argument(help="The person's e-mail address.")],
    output: Annotated[
        Path | None, typer.Option(help="The file to write. [dim]\\[standard output][/dim]")
    ] = None,
) -> None:
    """Write everything that is stored about a person, as JSON."""
    from community_gql.errors import Unavailable

    with ended_by_signals(), database() as url:
        try:
            if output is None:
                length = asyncio.run(_export(url, email, sys.stdout.buffer))
            else:
                with output.open("wb") as file:
                    length = asyncio.run(_export(url, email, file))
        except Unavailable:
            fail("the database is out of reach. What was written is not complete.")
        except OSError as error:
            fail(f"can't write {output or 'standard output'}: {error.strerror}.")
    if length is None:
        if output is not None:
            output.unlink()
        fail(f"nobody has the address {email}.")
    say(f"{length:,} bytes of {email}")


async def _export(url: str, email: str, file: BinaryIO) -> int | None:
    from community_gql.db import export as exports
    from community_gql.db.database import opened

    async with opened(url, pool_size=1, statement_timeout=600) as found:
        sub = await exports.find(found, email)
        if sub is None:
            return None
        length = 0
        async for piece in exports.written(found, sub):
            length += file.write(piece)
        return length
