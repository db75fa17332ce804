"""RESULTS.md, written from what one run measured and from nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

READS = ("small", "nested", "graph", "list")
TOGETHER = {"small": 1.5} | dict.fromkeys(READS[1:], 1.25)
"""Of the compiled path's processor time, against the hand-written endpoint."""
SERVER = {"small": 1.35} | dict.fromkeys(READS[1:], 1.25)
"""The same without the database's."""
POSTGRAPHILE = {"small": 2.0, "nested": 2.0, "graph": 3.0, "list": 3.0}
MERCURIUS = {"small": 1.0} | dict.fromkeys(READS[1:], 1.5)
"""Of the throughput, against theirs."""
LOADERS = 0.4
"""Of the loaders' processor time, against idiomatic Strawberry's."""
WRITES = {"createStory": 2.0} | dict.fromkeys(
    ("updateStory", "addTags", "createGarden", "requestFriendship", "putMatches"), 2.5
)
"""The same of changes, against hand-written ones of the same promises."""


def written(run: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    parts = [head(run), overview(run), *(table(run, query) for query in run["queries"])]
    parts += [memory(run), scaling(run), targets(run), conditions(run)]
    return "\n\n".join(part for part in parts if part) + "\n"


def head(run: Mapping[str, Any]) -> str:
    """What this is."""
    missing = "".join(
        f"\n\n**{title(run, name)} is missing from this run:** {why}"
        for name, why in run["missing"].items()
    )
    partial = (
        ""
        if run["whole"]
        else "\n\n**A quick or partial run.** For figures to quote, run `make bench`."
    )
    return (
        "# Results of the benchmark\n\n"
        f"One run of `{run['command']}`, {run['date']}. Written by it; do not edit. "
        "[README.md](README.md) says what is measured, how each system is set up, and what is "
        "unfair about it.\n\n"
        f"Before anything was measured, the answers to {run['compared']} requests, signed in and "
        "signed out, were compared with those of the hand-written endpoint: all equal, on every "
        "system that has the query."
        f"{partial}{missing}"
    )


def overview(run: Mapping[str, Any]) -> str:
    """Ratios of processor time, all queries in one table."""
    shown = [query for query in run["queries"] if query["everywhere"]]
    rows = [["", *(query["name"] for query in shown)]]
    for system in present(run):
        rows.append(
            [system["title"], *(f"{query['systems'][system['name']]['cpu_ratio']:.2f}"
                                for query in shown)]
        )  # fmt: skip
    return (
        "## Processor time per request\n\n"
        "Server and database together, as a ratio to the hand-written endpoint. Less is better.\n\n"
        "![The same as a chart](chart.png)\n\n" + markdown(rows)
    )


def table(run: Mapping[str, Any], query: Mapping[str, Any]) -> str:
    """Everything that was measured of one query."""
    connections = run["connections"]
    rows = [
        [
            "",
            "CPU per request",
            "ratio (lowest to highest round)",
            "server + database",
            "median latency",
            f"requests/s at {connections}",
            "ratio",
            "statements",
        ]
    ]
    reference = query["systems"][run["reference"]]
    for system in present(run):
        found = query["systems"].get(system["name"])
        if found is None:
            continue
        rows.append(
            [
                system["title"],
                f"{found['cpu'] * 1e3:.2f} ms",
                f"**{found['cpu_ratio']:.2f}** "
                f"({min(found['cpu_ratios']):.2f} to {max(found['cpu_ratios']):.2f})",
                f"{found['server_cpu'] * 1e3:.2f} + {found['database_cpu'] * 1e3:.2f}",
                f"{found['latency'] * 1e3:.2f} ms",
                f"{found['per_second']:,.0f}",
                f"{found['per_second'] / reference['per_second']:.2f}",
                f"{found['statements']:.3g}",
            ]
        )
    about = query["about"][0].upper() + query["about"][1:]
    return f"### {query['name']}\n\n{about}.\n\n{markdown(rows)}"


def memory(run: Mapping[str, Any]) -> str:
    """The peak of each server process."""
    rows = [["", "peak memory"]]
    rows += [
        [system["title"], f"{run['memory'][system['name']] / 2**20:.0f} MB"]
        for system in present(run)
    ]
    return f"## Memory of the server process, at its peak in this run\n\n{markdown(rows)}"


def scaling(run: Mapping[str, Any]) -> str:
    """Pages far behind, more rows, new documents."""
    parts = []
    if (page := run["scaling"].get("page")) is not None:
        rows = [["", "median latency", "CPU per request"]]
        for name, what in (("first", "page 1"), ("far", f"page {page['page']:,}")):
            rows.append([what, ms(page[name]["latency"]), ms(page[name]["cpu"])])
        rows.append(["ratio", *(f"{page['far'][w] / page['first'][w]:.2f}" for w in WHAT)])
        parts.append(
            f"### A page far behind\n\n5 stories of the feed at one connection.\n\n{markdown(rows)}"
        )
    if (more := run["scaling"].get("rows")) is not None:
        sizes = run["scaling"]["people"]
        rows = [["", "", *(f"{size:,} people" for size in sizes), "ratio"]]
        for query, by_system in more.items():
            for name, found in by_system.items():
                small, large = found["small"], found["large"]
                rows.append(
                    [
                        query,
                        title(run, name),
                        *(f"{ms(size['cpu'])}" for size in (small, large)),
                        f"{large['cpu'] / small['cpu']:.2f}",
                    ]
                )
        parts.append(
            "### Ten times the rows\n\nCPU per request at one connection, the same pages. The "
            "people of the larger database have more friends and stories of others in between; "
            f"the hand-written endpoint shows what that alone makes of it.\n\n{markdown(rows)}"
        )
    if (sights := run["scaling"].get("sights")) is not None:
        rows = [["", "first sight", "later, loaders only", "later, compiled", "first - 1.2 later"]]
        for query, found in sights.items():
            over = found["first"] - 1.2 * found["loaders"]
            rows.append(
                [query, *(ms(found[name]) for name in ("first", "loaders", "later")), ms(over)]
            )
        parts.append(
            "### A document at first sight\n\nMedian latency at one connection: parsed, validated "
            f"and run by the loaders, beside the same document later.\n\n{markdown(rows)}"
        )
    if (delays := run["scaling"].get("delays")) is not None:
        rows = [["", "others' requests", "median", "99th percentile", "worst"]]
        names = {
            "alone": "alone",
            "known": "beside a client that repeats one document",
            "new": "beside a client that sends only new documents, each twice",
        }
        for name, found in delays.items():
            rows.append(
                [
                    names[name],
                    f"{found['others']:,}",
                    *(ms(found[what]) for what in ("median", "p99", "worst")),
                ]
            )
        parts.append(
            "### Delays of a client beside another\n\nOne client repeats the small query, another "
            f"sends the graph query without a pause.\n\n{markdown(rows)}"
        )
    if (documents := run["scaling"].get("documents")) is not None:
        rows = [["different documents", "memory of the server"]]
        shares = {"tenth": 10, "half": 2, "end": 1}
        rows += [
            [f"{documents['count'] // share:,}", f"{documents[name] / 2**20:.0f} MB"]
            for name, share in shares.items()
        ]
        parts.append(f"### Memory and ever new documents\n\nEach sent twice.\n\n{markdown(rows)}")
    return "\n\n".join(["## This project alone", *parts]) if parts else ""


WHAT = ("latency", "cpu")


def targets(run: Mapping[str, Any]) -> str:
    """What was aimed at, and what came of it in this run."""
    queries = {query["name"]: query["systems"] for query in run["queries"]}
    rows = [["target", "aim", "found", ""]]

    def add(what: str, aim: str, found: str, met: bool) -> None:
        rows.append([what, aim, found, "met" if met else "**missed**"])

    def at_most(what: str, aim: float, found: float) -> None:
        add(what, f"<= {aim:g}", f"{found:.2f}", found <= aim)

    def at_least(what: str, aim: float, found: float) -> None:
        add(what, f">= {aim:g}", f"{found:.2f}", found >= aim)

    def each(names: tuple[str, ...], do: Callable[[str, Mapping[str, Any]], None]) -> None:
        for query, systems in queries.items():
            if all(name in systems for name in names):
                do(query, systems)

    for query, aim in TOGETHER.items():
        if query in queries and "compiled" in queries[query]:
            found = queries[query]["compiled"]
            reference = queries[query][run["reference"]]
            at_most(f"CPU against the hand-written endpoint, {query}", aim, found["cpu_ratio"])
            ratio = found["server_cpu"] / reference["server_cpu"]
            at_most(f"the same of the server alone, {query}", SERVER[query], ratio)
    each(
        ("compiled", "postgraphile"),
        lambda query, s: at_least(
            f"throughput against PostGraphile, {query}",
            POSTGRAPHILE[query],
            s["compiled"]["per_second"] / s["postgraphile"]["per_second"],
        ),
    )
    each(
        ("compiled", "mercurius"),
        lambda query, s: at_least(
            f"throughput against Mercurius, {query}",
            MERCURIUS[query],
            s["compiled"]["per_second"] / s["mercurius"]["per_second"],
        ),
    )
    each(
        ("loaders", "strawberry"),
        lambda query, s: at_most(
            f"CPU of the loaders against idiomatic Strawberry, {query}",
            LOADERS,
            s["loaders"]["cpu"] / s["strawberry"]["cpu"],
        ),
    )
    for query, systems in queries.items():
        if "compiled" not in systems:
            continue
        if query in WRITES:
            at_most(f"CPU against the hand-written endpoint, {query}", WRITES[query],
                    systems["compiled"]["cpu_ratio"])  # fmt: skip
        else:
            at_most(f"statements, {query}", 1, systems["compiled"]["statements"])
        if query == "createStory":
            at_most(f"statements, {query}", 5, systems["compiled"]["statements"])
    found = run["scaling"]
    if "page" in found:
        page = found["page"]
        at_most(
            f"latency of page {page['page']:,} against page 1",
            1.2,
            page["far"]["latency"] / page["first"]["latency"],
        )
    for query, by_system in found.get("rows", {}).items():
        if "compiled" in by_system:
            sizes = by_system["compiled"]
            at_most(
                f"CPU at 10 times the rows, {query}",
                1.2,
                sizes["large"]["cpu"] / sizes["small"]["cpu"],
            )
    for query, sight in found.get("sights", {}).items():
        over = sight["first"] - 1.2 * sight["loaders"]
        add(
            f"first sight beyond 1.2 times a later one, {query}",
            "<= 3 ms",
            ms(over),
            over <= 0.003,
        )
    if "documents" in found:
        grown = found["documents"]["end"] / found["documents"]["half"]
        at_most("memory after all new documents against after half of them", 1.02, grown)
    if "delays" in found:
        worst = found["delays"]["new"]["worst"]
        add("worst delay beside new documents", "<= 20 ms", ms(worst), worst <= 0.02)
    return f"## Targets\n\n{markdown(rows)}" if len(rows) > 1 else ""


def conditions(run: Mapping[str, Any]) -> str:
    """Machine, versions, sizes."""
    lines = [f"- {name}: {value}" for name, value in run["conditions"].items()]
    return "## Conditions\n\n" + "\n".join(lines)


def present(run: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The systems that took part to the end."""
    return [system for system in run["systems"] if system["name"] not in run["missing"]]


def title(run: Mapping[str, Any], name: str) -> str:
    """The title of a system."""
    found: str = next(s["title"] for s in run["systems"] if s["name"] == name)
    return found


def ms(seconds: float) -> str:
    """A duration in milliseconds."""
    return f"{seconds * 1e3:.2f} ms"


def markdown(rows: list[list[str]]) -> str:
    """A table whose first column is text; the others are figures."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, "|---|" + "---:|" * (len(rows[0]) - 1))
    return "\n".join(lines)
