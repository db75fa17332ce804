"""``community-gql matching``: who suits whom, kept up to date."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from community_gql.cli.console import fail, out, say, shown_progress
from community_gql.cli.databases import database, embedded_settings, ended_by_signals
from community_gql.settings import OperatorError

if TYPE_CHECKING:
    from community_gql.matching.batches import Report
    from community_gql.matching.running import Mode

commands = typer.Typer(
    help="Matches: compute them, keep them up to date, and judge them.\n\n"
    "It runs beside the server, on DATABASE_URL if that is set. If it was stopped, run it again.",
    no_args_is_help=True,
)

BEHIND_OTHERS = 10
"""How much lower the priority of a run is than that of the server beside it."""
UNITS = {"s": 1, "m": 60, "h": 3600}


@commands.command(
    epilog="Examples:\n\n  community-gql matching run\n\n  community-gql matching run --every 30s"
)
def run(
    every: Annotated[
        str | None, typer.Option(help="Repeat, with this pause between runs: 10s, 1m, 2h.")
    ] = None,
    renew: Annotated[bool, typer.Option("--renew", help="Compute everything anew.")] = False,
    top: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="How many matches a list has at most. [dim]\\[20][/dim]"),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=1,
            help="Of one processor, for a run that makes most lists anew; 1 takes them all. "
            "[dim]\\[1; with --every 0.02][/dim]",
        ),
    ] = None,
) -> None:
    """Compute the vectors and lists of the people for whom something has changed."""
    require_numpy()
    from community_gql.matching.pacing import SHARE

    share = share or (1.0 if every is None else SHARE)
    pause = seconds(every) if every is not None else None
    os.nice(BEHIND_OTHERS)  # it has time, whoever asks the server has not
    mode = embedded_settings().matching
    with ended_by_signals(), database() as url:
        try:
            while True:
                try:
                    run_once(url, mode, top=top, renew=renew, share=share)
                    renew = False
                except OperatorError as error:
                    if pause is None or mode == "machine":
                        raise
                    say(str(error))
                if pause is None:
                    return
                asyncio.run(asyncio.sleep(pause))
        except (KeyboardInterrupt, SystemExit):
            say("stopped: run the same command again to go on")
            raise


def run_once(
    url: str, mode: Mode, *, top: int | None = None, renew: bool = False, share: float = 1.0
) -> Report:
    """Run once and show the progress."""
    from community_gql.matching import running

    with shown_progress("matching") as progress:
        report = asyncio.run(running.run(url, mode, progress, top=top, renew=renew, share=share))
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
        import community_gql.matching.lists  # noqa: F401
    except ImportError:
        fail("numpy is missing. Install the extra: pip install 'community-gql[matching]'")


@commands.command(
    epilog="Examples:\n\n  community-gql matching status\n\n"
    "  community-gql matching status --stale --json"
)
def status(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    stale: Annotated[
        bool, typer.Option("--stale", help="List the people who wait for a run.")
    ] = False,
) -> None:
    """Say what is up to date, and how evenly people are shown."""
    require_numpy()
    from community_gql.matching import running
    from community_gql.matching import status as reading

    async def read(url: str) -> tuple[reading.Status, list[tuple[str, str, str, datetime]]]:
        async with running.connected(url) as connection:
            found = await reading.status(connection)
            return found, await reading.stale(connection) if stale else []

    with database() as url:
        found, waiting = asyncio.run(read(url))
    if as_json:
        told: dict[str, object] = dataclasses.asdict(found)
        if stale:
            names = ("id", "email", "stale", "since")
            told["stale"] = [dict(zip(names, one, strict=True)) for one in waiting]
        print(json.dumps(told, default=str))  # noqa: T201
        return
    for name, value in dataclasses.asdict(found).items():
        shown = "none" if value is None else value
        if isinstance(value, int) and name != "version":
            shown = f"{value:,}"
        elif isinstance(value, datetime):
            shown = f"{value:%Y-%m-%d %H:%M:%S} UTC"
        out.print(f"{name.replace('_', ' '):14} {shown}")
    for _, email, what, since in waiting:
        out.print(f"{email}  {what}, since {since:%Y-%m-%d %H:%M:%S} UTC", markup=False)


@commands.command(epilog="Example:\n\n  community-gql matching evaluate --people 2000")
def evaluate(
    people: Annotated[int, typer.Option(min=1, help="People to look at, at most.")] = 5000,
) -> None:
    """Measure how well the lists find the friendships that you have. It writes nothing.

    A fifth of the friendships is set aside and looked for among the first ten.
    """
    require_numpy()
    from community_gql.matching import evaluating, running

    async def measure(url: str) -> evaluating.Evaluation:
        async with running.connected(url) as connection:
            return await evaluating.evaluate(connection, people=people)

    with database() as url:
        found = asyncio.run(measure(url))
    out.print(f"{found.people:,} people with friends that were set aside\n")
    out.print(f"{'':12} {'HR@10':>7} {'NDCG@10':>8}")
    for name in ("matching", "popularity", "random"):
        quality = getattr(found, name)
        out.print(f"{name:12} {quality.hit_rate:7.4f} {quality.ndcg:8.4f}")
    out.print(f"\nmost shown: in {found.most_shown:,} of their lists")
    out.print(f"never shown: {found.never_shown:.1%} of all people")


@commands.command(
    epilog="Examples:\n\n  community-gql matching index\n\n  community-gql matching index --drop"
)
def index(
    drop: Annotated[bool, typer.Option("--drop", help="Remove it again.")] = False,
) -> None:
    """Build a pgvector index over the vectors, for your own SQL."""
    require_numpy()
    from community_gql.matching import neighbours, running

    async def work(url: str) -> int | str:
        async with running.connected(url) as connection:
            return await (neighbours.drop if drop else neighbours.build)(connection)

    with ended_by_signals(), database() as url:
        done = asyncio.run(work(url))
    if isinstance(done, int):
        out.print(f"dropped: {done}")
        return
    say("built. A statement that uses it:")
    print(done)  # noqa: T201
