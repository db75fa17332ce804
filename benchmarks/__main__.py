"""The command line of the benchmark."""

from __future__ import annotations

import shutil
import statistics
import sys
import time
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks import database as databases
from benchmarks.cases import QUERIES
from benchmarks.issuing import issuing
from benchmarks.processes import Failed
from benchmarks.running import NO_WRK, Field
from benchmarks.systems import REFERENCE, SYSTEMS
from community_gql.settings import OperatorError, home

FOLDER = home() / ".data" / "benchmark"
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False)
started = time.monotonic()


def say(text: str) -> None:
    """A line of progress, with the seconds since the start."""
    err.print(f"[dim]{time.monotonic() - started:6.1f} s[/dim] {text}", soft_wrap=True, markup=True)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
NAMES = [system.name for system in SYSTEMS]


def chosen(text: str, known: list[str], what: str) -> list[str]:
    """The names in a text with commas; all of them when it is empty."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"there is no {what} {name!r}: choose from {', '.join(known)}")
    return names or known


@app.command(
    epilog="Examples:\n\n  python -m benchmarks --quick\n\n"
    "  python -m benchmarks --systems compiled --queries nested,list --rounds 3 --draft"
)
def main(
    systems: Annotated[
        str, typer.Option(help=f"Which of {', '.join(NAMES)}; the reference always runs.")
    ] = "",
    queries: Annotated[
        str, typer.Option(help=f"Which of {', '.join(query.name for query in QUERIES)}.")
    ] = "",
    people: Annotated[
        int | None, typer.Option(help="People in the database, about ten stories each. [20000]")
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds; medians are taken. [5]")] = None,
    seconds: Annotated[
        int | None, typer.Option(help="Seconds of each measurement at 16 connections. [4]")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="2,000 people, 3 rounds, 2 seconds: some minutes.")
    ] = False,
    connections: Annotated[int, typer.Option(help="Connections for throughput.")] = 16,
) -> None:
    """Compare this project with others on one database, and write benchmarks/RESULTS.md."""
    people = people or (2_000 if quick else 20_000)
    rounds = rounds or (3 if quick else 5)
    seconds = seconds or (2 if quick else 4)
    if shutil.which("wrk") is None:
        raise OperatorError(NO_WRK)
    wanted = {*chosen(systems, NAMES, "system"), REFERENCE}
    asked = chosen(queries, [query.name for query in QUERIES], "query")
    with databases.started(FOLDER / "postgres", say) as server, issuing() as issuer:
        database = databases.filled(server, people, say)
        with Field(database, issuer, FOLDER / "logs", say) as field:
            for system in SYSTEMS:
                if system.name in wanted:
                    field.start(system)
            measured = measure(
                field, [q for q in QUERIES if q.name in asked], rounds, seconds, connections
            )
    for query, by_system in measured.items():
        reference = by_system[REFERENCE]
        out.print(f"\n{query}")
        for name, found in by_system.items():
            cpu = found["server_cpu"] + found["database_cpu"]
            out.print(
                f"  {name:12} {found['per_second']:8.0f}/s  p50 {found['latency'] * 1e3:6.2f} ms  "
                f"cpu {cpu * 1e3:6.3f} ms = {found['server_cpu'] * 1e3:6.3f} + "
                f"{found['database_cpu'] * 1e3:6.3f}  "
                f"x{cpu / (reference['server_cpu'] + reference['database_cpu']):5.2f}  "
                f"statements {found['statements']:.2f}"
            )


def measure(
    field: Field, queries: Any, rounds: int, seconds: int, connections: int
) -> dict[str, Any]:
    """Everything that is measured of the queries, by query and system."""
    last = int(field.database.run("SELECT max(id) FROM stories"))
    counts: dict[tuple[str, str], float] = {}
    for query in queries:
        say(f"comparing the answers to {query.name}")
        compared = field.agree(query)
        say(f"  {compared} answers are equal on {len(field.asks(query))} systems")
    for query in queries:
        for one in field.asks(query):
            field.load(one, query, connections, 2)
            counts[query.name, one.system.name] = field.statements(one, query)
    found: dict[tuple[str, str], list[Any]] = {}
    for number in range(rounds):
        for query in queries:
            listed = field.asks(query)
            turn = number % len(listed)
            for one in listed[turn:] + listed[:turn]:
                say(f"round {number + 1} of {rounds}: {query.name}, {one.system.title}")
                alone = field.load(one, query, 1, max(1, seconds / 2))
                many = field.load(one, query, connections, seconds)
                found.setdefault((query.name, one.system.name), []).append((alone, many))
        field.clean(last)
    measured: dict[str, Any] = {}
    for (query, system), pairs in found.items():
        measured.setdefault(query, {})[system] = {
            "latency": statistics.median(alone.p50 for alone, _ in pairs),
            "per_second": statistics.median(many.per_second for _, many in pairs),
            "server_cpu": statistics.median(many.server_cpu for _, many in pairs),
            "database_cpu": statistics.median(many.database_cpu for _, many in pairs),
            "statements": counts[query, system],
        }
    return measured


if __name__ == "__main__":
    try:
        app(standalone_mode=True)
    except (OperatorError, Failed) as error:
        err.print(f"[bold red]error:[/bold red] {error}", soft_wrap=True)
        sys.exit(1)
