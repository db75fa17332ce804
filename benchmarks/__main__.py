"""The command line of the benchmark."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.markup import escape

from benchmarks import database as databases
from benchmarks import growth, live, live_peers, report, scaling, writing
from benchmarks import matching as matchings
from benchmarks.cases import FEED, GRAPH, LIST, NESTED, PERSON, QUERIES, Query
from benchmarks.conditions import conditions
from benchmarks.issuing import Issuer, issuing
from benchmarks.processes import Failed
from benchmarks.running import NO_WRK, Field, Load, Running
from benchmarks.system import System
from benchmarks.systems import REFERENCE, SYSTEMS
from community_gql.cli.databases import ended_by_signals
from community_gql.settings import OperatorError, home

HERE = Path(__file__).parent
FOLDER = home() / ".data" / "benchmark"
DRAFT = FOLDER / "draft"
WHOLE_PEOPLE, WHOLE_ROUNDS = 20_000, 5
"""A run with less does not replace the results of one that had as much."""
BY_NAME: dict[str, System] = {system.name: system for system in SYSTEMS}
QUERY_NAMES = [query.name for query in QUERIES] + [write.name for write in writing.WRITES]

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)
started = time.monotonic()


def say(text: str) -> None:
    """A line of progress, with the seconds since the start."""
    loud = "bold red" if text.startswith("!!!") else "default"
    err.print(f"[dim]{time.monotonic() - started:6.1f} s[/dim] [{loud}]{escape(text)}[/{loud}]")


app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


def listed(text: str, known: Sequence[str], what: str) -> list[str]:
    """The names in a text with commas, in their own order; all of them when it is empty."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise OperatorError(f"there is no {what} {name!r}: choose from {', '.join(known)}")
    return [name for name in known if name in names or not names]


@app.command(
    epilog="Examples:\n\n  make bench\n\n  make bench QUICK=1\n\n"
    '  make bench ARGS="--systems compiled,mercurius --queries nested --rounds 3"\n\n'
    "Databases are kept under .data/benchmark and used again by later runs; "
    "so are the servers' logs and each run's raw figures (run.json)."
)
def main(
    systems: Annotated[
        str,
        typer.Option(
            help=f"Which of {', '.join(BY_NAME)}. {REFERENCE}, the reference, always runs."
        ),
    ] = "",
    queries: Annotated[str, typer.Option(help=f"Which of {', '.join(QUERY_NAMES)}.")] = "",
    people: Annotated[
        int | None,
        typer.Option(min=100, help="People in the database, about ten stories each. [20000]"),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds; medians of them are reported. [5]")
    ] = None,
    seconds: Annotated[
        int | None,
        typer.Option(min=1, help="Seconds of each throughput; latency takes half of it. [4]"),
    ] = None,
    connections: Annotated[int, typer.Option(min=1, help="Connections for the throughput.")] = 16,
    quick: Annotated[
        bool, typer.Option("--quick", help="2,000 people, 2 rounds, 1 second: four minutes.")
    ] = False,
    scaled: Annotated[
        bool,
        typer.Option(
            "--scaling/--no-scaling",
            help="Whether to measure far pages, ten times the rows and new documents as well.",
        ),
    ] = True,
    documents: Annotated[
        int,
        typer.Option(
            min=0,
            help="Send so many different documents at the end and watch the memory: 100000 take "
            "some 20 minutes.",
        ),
    ] = 0,
    growing: Annotated[
        bool,
        typer.Option(
            "--growth",
            help="Only measure what requests cost the database with 2,000 people and with fifty "
            "times as many: ten minutes, after the databases are made. An interrupted run is "
            "continued by the next.",
        ),
    ] = False,
    matching: Annotated[
        bool,
        typer.Option(
            "--matching",
            help="Only measure matching: how good it is in a planted community, and how fast with "
            "100,000 people: some minutes, after the database is made.",
        ),
    ] = False,
    following: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Only measure live updates, with 10,000 sockets (or --people), and beside other "
            "systems: six minutes, after the database is made.",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            help="The folder for RESULTS.md and chart.png. Without it, benchmarks for a whole run "
            "and .data/benchmark/draft for a quick or partial one."
        ),
    ] = None,
    chart_python: Annotated[
        str, typer.Option(help="A Python with matplotlib, for the chart; make bench gives it.")
    ] = sys.executable,
) -> None:
    """Compare this project with others on one database.

    All systems must first give equal answers to everything that is then measured.
    """
    if growing:
        grow(people or growth.LARGE, output)
        return
    if matching:
        match(people or growth.LARGE, output)
        return
    if following:
        follow(people or live.SOCKETS, output)
        return
    wanted = {*listed(systems, list(BY_NAME), "system"), REFERENCE}
    names = listed(queries, QUERY_NAMES, "query")
    asked = [query for query in QUERIES if query.name in names]
    writes = [write for write in writing.WRITES if write.name in names]
    if shutil.which("wrk") is None:
        raise OperatorError(NO_WRK)
    plan = Plan(
        rounds=rounds or (2 if quick else WHOLE_ROUNDS),
        seconds=seconds or (1 if quick else 4),
        connections=connections,
    )
    people = people or (2_000 if quick else WHOLE_PEOPLE)
    everything = len(wanted) == len(SYSTEMS) and len(names) == len(QUERY_NAMES) and scaled
    whole = everything and people >= WHOLE_PEOPLE and plan.rounds >= WHOLE_ROUNDS
    folder = output or (HERE if whole else DRAFT)
    run: dict[str, Any] = {
        "command": "make bench" + (" QUICK=1" if quick else ""),
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "whole": whole,
        "reference": REFERENCE,
        "connections": connections,
        "scaling": {},
    }
    load_average = os.getloadavg()[1]
    with (
        ended_by_signals(),
        by_ourselves(),
        databases.started(FOLDER / "postgres", say) as server,
        issuing() as issuer,
    ):
        database = databases.filled(server, people, say)
        smaller = databases.filled(server, people // 10, say) if scaled else None
        with Field(database, issuer, FOLDER / "logs", say) as field:
            for system in SYSTEMS:
                if system.name in wanted:
                    field.start(system)
            run |= compared(field, asked)
            run |= measured(field, asked, plan)
            run["queries"] += writing.measured(field, writes, plan.rounds)
            run["memory"] = {name: one.process.peak_memory() for name, one in field.running.items()}
            if smaller is not None and "compiled" in field.running:
                run["scaling"] = alone(field, smaller, issuer, plan, documents)
            run["missing"] = field.missing
            run["systems"] = [
                {"name": system.name, "title": system.title}
                for system in SYSTEMS
                if system.name in wanted
            ]
        as_measured = (
            f"{plan.rounds}, medians; {plan.seconds} s at {plan.connections} connections "
            f"and {plan.alone} s at one, each"
        )
        run["conditions"] = conditions(database, as_measured, load_average)
    for query in run["queries"]:  # those that were left out in the middle of it
        query["systems"] = {
            name: found for name, found in query["systems"].items() if name not in run["missing"]
        }
    write(run, folder, chart_python)


def grow(people: int, output: Path | None) -> None:
    """Measure growth up to so many people, and write the table."""
    whole = people >= growth.LARGE
    folder = output or (HERE if whole else DRAFT)
    with ended_by_signals(), by_ourselves(), databases.started(FOLDER / "postgres", say) as server:
        sizes = {"small": growth.SMALL, "between": growth.BETWEEN, "large": people}
        filled = {name: databases.filled(server, size, say) for name, size in sizes.items()}
        kept, cases = growth.Kept(FOLDER / "growth.json", *filled.values()), list(growth.cases())
        with growth.progress(err) as step:
            found = asyncio.run(growth.measured(filled, cases, step, kept))
        text = growth.table(found, {name: at.sizes() for name, at in filled.items()})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "GROWTH.md").write_text(text, encoding="utf-8")
    kept.forget()
    out.print(text)
    say(f"wrote {folder / 'GROWTH.md'}")


def match(people: int, output: Path | None) -> None:
    """Measure matching with so many people, and write the table."""
    whole = people >= growth.LARGE
    folder = output or (HERE if whole else DRAFT)
    with ended_by_signals(), by_ourselves(), databases.started(FOLDER / "postgres", say) as server:
        text = matchings.table(matchings.measure(databases.filled(server, people, say), say))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "MATCHING.md").write_text(text, encoding="utf-8")
    out.print(text)
    say(f"wrote {folder / 'MATCHING.md'}")


def follow(sockets: int, output: Path | None) -> None:
    """Measure live updates with so many sockets, and write the table."""
    folder = output or (HERE if sockets >= live.SOCKETS else DRAFT)
    logs = FOLDER / "logs"
    with (
        ended_by_signals(),
        by_ourselves(),
        databases.started(FOLDER / "postgres", say) as server,
        issuing() as issuer,
    ):
        database = databases.filled(server, max(sockets, live.SOCKETS), say)
        found = asyncio.run(live.measured(database, issuer, logs, say, sockets))
        text = live.table(found, f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores")
        beside = asyncio.run(live_peers.measured(database, issuer, logs, say))
        text += "\n" + live_peers.table(*beside)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "LIVE.md").write_text(text, encoding="utf-8")
    out.print(text)
    say(f"wrote {folder / 'LIVE.md'}")


@contextlib.contextmanager
def by_ourselves() -> Iterator[None]:
    """Keep a second run away: each would be charged for the other. Raises OperatorError."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OperatorError("the benchmark runs already. Wait for it, or end it.") from None
        yield


class Plan:
    """How long is measured."""

    def __init__(self, rounds: int, seconds: int, connections: int) -> None:
        self.rounds, self.seconds, self.connections = rounds, seconds, connections
        self.alone = max(1, seconds // 2)
        """Seconds at one connection."""
        self.repeats = rounds if rounds > 2 else 1
        """Rounds of what is measured of this project alone."""


def compared(field: Field, queries: Sequence[Query]) -> dict[str, Any]:
    """Compare all answers; how many there were of each system."""
    count = 0
    for query in queries:
        say(f"comparing the answers to {query.name}")
        count += field.agree(query)
        say(f"  equal: {', '.join(one.system.name for one in field.asks(query))}")
    return {"compared": count}


def measured(field: Field, queries: Sequence[Query], plan: Plan) -> dict[str, Any]:
    """What is measured of the queries on all systems."""
    last = int(field.database.run("SELECT max(id) FROM stories"))
    say("warming up")
    for query in queries:
        for one in field.asks(query):
            with left_out(field, one, query):
                field.load(one, query, plan.connections, plan.alone)
    say("counting statements")
    counts: dict[tuple[str, str], float] = {}
    with databases.Recording(field.database) as recording:
        for query in queries:
            for one in field.asks(query):
                with left_out(field, one, query):
                    counts[query.name, one.system.name] = field.statements(recording, one, query)
    field.clean(last)
    loads: dict[tuple[str, str], list[tuple[Load, Load]]] = {}
    for number in range(plan.rounds):
        for query in queries:
            asks = field.asks(query)
            turn = number % len(asks)
            say(f"round {number + 1} of {plan.rounds}: {query.name}")
            for one in asks[turn:] + asks[:turn]:
                with left_out(field, one, query):
                    both = (
                        field.load(one, query, 1, plan.alone),
                        field.load(one, query, plan.connections, plan.seconds),
                    )
                    loads.setdefault((query.name, one.system.name), []).append(both)
            if query.writes:
                field.clean(last)
    return {"queries": [summary(query, field, loads, counts) for query in queries]}


@contextlib.contextmanager
def left_out(field: Field, one: Running, query: Query) -> Iterator[None]:
    """Go on without a system that fails in the block, unless it is the reference."""
    try:
        yield
    except Failed as error:
        if one.system.name == REFERENCE:
            raise
        field.leave_out(one.system, f"{query.name}: {error}")


def summary(
    query: Query,
    field: Field,
    loads: dict[tuple[str, str], list[tuple[Load, Load]]],
    counts: dict[tuple[str, str], float],
) -> dict[str, Any]:
    """The medians of a query, by system, with the ratios of processor time."""
    costs = {
        system: [many.server_cpu + many.database_cpu for _, many in found]
        for (name, system), found in loads.items()
        if name == query.name and system not in field.missing
    }
    systems = {}
    for system, cost in costs.items():
        found = loads[query.name, system]
        ratios = [a / b for a, b in zip(cost, costs[REFERENCE], strict=True)]
        systems[system] = {
            "latency": statistics.median(one.p50 for one, _ in found),
            "per_second": statistics.median(many.per_second for _, many in found),
            "server_cpu": statistics.median(many.server_cpu for _, many in found),
            "database_cpu": statistics.median(many.database_cpu for _, many in found),
            "cpu": statistics.median(cost),
            "cpu_ratio": statistics.median(ratios),
            "cpu_ratios": ratios,
            "statements": counts[query.name, system],
        }
    return {
        "name": query.name,
        "about": query.about,
        "everywhere": query.everywhere,
        "systems": systems,
    }


def alone(
    field: Field, smaller: databases.Database, issuer: Issuer, plan: Plan, documents: int
) -> dict[str, Any]:
    """What is promised of this project alone."""
    found: dict[str, Any] = {"people": [smaller.people, field.database.people]}
    one = field.running["compiled"]
    for query in (PERSON, NESTED, GRAPH, LIST):
        if query.name not in one.requests:
            field.agree(query)
    found["page"] = scaling.far_page(field, one, plan.repeats, plan.alone, say)
    if "loaders" in field.running:
        found["sights"] = scaling.first_sights(one, field.running["loaders"], say)
    found["delays"] = scaling.delays(one, 2 * plan.seconds, say)
    with Field(smaller, issuer, FOLDER / "logs" / "small", say) as small:
        for name in ("compiled", REFERENCE):
            small.start(BY_NAME[name])
        names = [name for name in ("compiled", REFERENCE) if name in small.running]
        found["rows"] = scaling.more_rows(
            small, field, names, (PERSON, NESTED, GRAPH, LIST, FEED), plan.repeats, plan.alone, say
        )
    if documents:
        found["documents"] = scaling.documents(one, documents, say)
    return found


# --- what comes of it ---


def write(run: dict[str, Any], folder: Path, chart_python: str) -> None:
    """Write the report, the raw figures and the chart, and print the short form."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = FOLDER / "run.json"
    figures.write_bytes(orjson.dumps(run, option=orjson.OPT_INDENT_2))
    (folder / "RESULTS.md").write_text(report.written(run), encoding="utf-8")
    chart = [chart_python, str(HERE / "chart.py"), str(figures), str(folder / "chart.png")]
    drawn = subprocess.run(chart, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    for query in run["queries"]:
        out.print(f"\n{query['name']}: {query['about']}")
        for name, found in query["systems"].items():
            low, high = min(found["cpu_ratios"]), max(found["cpu_ratios"])
            out.print(
                f"  {name:12} CPU {found['cpu_ratio']:5.2f} ({low:.2f} to {high:.2f})"
                f" = {found['server_cpu'] * 1e3:6.2f} + {found['database_cpu'] * 1e3:5.2f} ms"
                f"   {found['per_second']:6.0f}/s   {found['latency'] * 1e3:6.2f} ms"
                f"   {found['statements']:5.3g} statements"
            )
    for name, why in run["missing"].items():
        say(f"!!! MISSING: {BY_NAME[name].title}: {why}")
    if drawn.returncode:
        say(f"!!! NO CHART: {drawn.stderr.strip().splitlines()[-1]}")
    say(f"wrote {folder / 'RESULTS.md'}")


if __name__ == "__main__":
    try:
        app()
    except (OperatorError, Failed) as error:
        err.print(f"[bold red]error:[/bold red] {escape(str(error))}")
        sys.exit(1)
