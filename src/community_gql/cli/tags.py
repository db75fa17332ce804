"""``community-gql tags``: changes of the vocabulary in batches."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from community_gql.cli.console import fail, out, say, shown_progress
from community_gql.cli.databases import database, ended_by_signals

commands = typer.Typer(
    help="Rename, merge or delete tags that are on too many stories for one request.\n\n"
    "It works in batches while the server serves. If it was stopped, run the same command again.",
    no_args_is_help=True,
)

TagName = Annotated[str, typer.Argument(help="A tag, in any case.")]


@commands.command(epilog="Example:\n\n  community-gql tags rename journalling journaling")
def rename(old: TagName, new: Annotated[str, typer.Argument(help="The name to give it.")]) -> None:
    """Give a tag another name, on everything that has it.

    A popular tag gets another id with its name.
    """
    from community_gql.actions import bulk_tags

    change_tags("renaming", bulk_tags.rename, old, new)


@commands.command(epilog="Example:\n\n  community-gql tags merge walks walking")
def merge(
    old: Annotated[str, typer.Argument(help="The tag that goes.")],
    into: Annotated[str, typer.Argument(help="The tag that stays.")],
) -> None:
    """Replace a tag by another, on everything that has it."""
    from community_gql.actions import bulk_tags

    change_tags("merging", bulk_tags.merge, old, into)


@commands.command(epilog="Example:\n\n  community-gql tags delete misc --yes")
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
    """Run a change of the vocabulary and show the progress."""
    from community_gql.db.database import opened
    from community_gql.errors import Unavailable

    async def run(url: str, progress: Callable[[int, int], None]) -> None:
        async with opened(
            url, pool_size=1, statement_timeout=60, lock_timeout=60
        ) as opened_database:
            try:
                await change(opened_database, *names, progress)
            except Unavailable:
                # Ctrl-C has the statement cancelled, and what comes of that may arrive first.
                if (task := asyncio.current_task()) and task.cancelling():
                    raise asyncio.CancelledError from None
                raise

    moved = (0, 0)

    def note(done: int, total: int) -> None:
        nonlocal moved
        moved = (done, total)
        progress("stories and people", done, total)

    with ended_by_signals(), database() as url, shown_progress(doing) as progress:
        try:
            asyncio.run(run(url, note))
        except Unavailable:
            fail("the database is out of reach. Once it is back, run the same command again.")
        except (KeyboardInterrupt, SystemExit):
            say("stopped after {:,} of {:,}: run the same command again to go on".format(*moved))
            raise
    out.print("done")
