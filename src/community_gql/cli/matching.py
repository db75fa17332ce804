"""``community-gql matching``: who suits whom, kept up to date."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Annotated

import typer

from community_gql.cli.console import fail, say, shown_progress
from community_gql.cli.databases import database, embedded_settings, ended_by_signals
from community_gql.settings import OperatorError

if TYPE_CHECKING:
    from community_gql.matching.running import Mode, Report

commands = typer.Typer(
    help="Matches: who suits whom, kept up to date.\n\n"
    "Runs beside the server, on DATABASE_URL where it is set. A stopped run goes on with the same "
    "command.",
    no_args_is_help=True,
)

UNITS = {"s": 1, "m": 60, "h": 3600}


@commands.command(
    epilog="Examples:\n\n  community-gql matching run\n\n  community-gql matching run --every 1m"
)
def run(
    every: Annotated[
        str | None, typer.Option(help="Go on, with this pause between runs: 10s, 1m, 2h.")
    ] = None,
    renew: Annotated[bool, typer.Option("--renew", help="Compute everything anew.")] = False,
    top: Annotated[
        int | None, typer.Option(min=1, max=100, help="Matches in a list. [dim]\\[20][/dim]")
    ] = None,
) -> None:
    """Compute the vectors and lists of those for whom something changed."""
    require_numpy()
    pause = seconds(every) if every is not None else None
    mode = embedded_settings().matching
    with ended_by_signals(), database() as url:
        try:
            while True:
                try:
                    run_once(url, mode, top=top, renew=renew)
                    renew = False
                except OperatorError as error:
                    if pause is None or mode == "machine":
                        raise
                    say(str(error))
                if pause is None:
                    return
                asyncio.run(asyncio.sleep(pause))
        except (KeyboardInterrupt, SystemExit):
            say("stopped: the same command goes on")
            raise


def run_once(url: str, mode: Mode, *, top: int | None = None, renew: bool = False) -> Report:
    """Run once and show the progress."""
    from community_gql.matching import running

    with shown_progress("matching") as progress:
        report = asyncio.run(running.run(url, mode, progress, top=top, renew=renew))
    if report.looked_at:
        say(
            f"{report.vectors:,} vectors changed, {report.looked_at:,} lists looked at, "
            f"{report.lists:,} changed"
        )
    return report


def seconds(text: str) -> float:
    """A pause, such as 10s, 1m or 2h. Raises OperatorError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if found is None or not float(found[1]):
        fail(f"--every is {text!r}, but it must be a number and a unit, such as 10s, 1m or 2h.")
    return float(found[1]) * UNITS[found[2]]


def require_numpy() -> None:
    """Refuse where the extra is not installed."""
    try:
        import numpy  # noqa: F401
    except ImportError:
        fail("numpy is missing. Install the extra: pip install 'community-gql[matching]'")
