"""What is promised of this project alone: pages far behind, more rows, documents never seen."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.asking import Client, Request, end_cursor
from benchmarks.cases import DEEP, GRAPH, LIST, NESTED, PERSON, Query
from benchmarks.database import Say
from benchmarks.running import Field, Load, Running

PAGE = 5
"""Items on a page of DEEP."""
FAR = 10_000
"""The page that is compared with the first."""
NEW_DOCUMENTS = 40
"""So many of each query, for the median of a first sight."""


def median(loads: Sequence[Load]) -> dict[str, float]:
    """The medians of some measurements at one connection, in seconds."""
    return {
        "latency": statistics.median(load.p50 for load in loads),
        "cpu": statistics.median(load.server_cpu + load.database_cpu for load in loads),
    }


def far_page(field: Field, one: Running, rounds: int, seconds: float, say: Say) -> dict[str, Any]:
    """The first page of the feed and the one FAR behind, or as far as there are any."""
    say(f"walking to page {FAR:,} of the feed")
    viewer = field.people[0]
    client = Client(one.process.port)
    after: str | None = None
    pages = 0
    document = "query Walk($after: String) { stories(first: 100, after: $after) "
    document += "{ pageInfo { hasNextPage endCursor } } }"
    while pages * 100 < (FAR - 1) * PAGE:
        request = Request.graphql(document, {"after": after}).signed(field.token(viewer))
        found = client.json(request)
        if not found["data"]["stories"]["pageInfo"]["hasNextPage"]:
            break
        after = end_cursor(found)
        pages += 1
    client.close()
    place = pages * 100 // PAGE + 1
    loads: dict[str, list[Load]] = {"first": [], "far": []}
    for _ in range(rounds):
        for name, cursor in (("first", None), ("far", after)):
            request = one.system.request(DEEP, {}, cursor).signed(field.token(viewer))
            loads[name].append(field.ask(one, [request], seconds))
    return {"page": place, "first": median(loads["first"]), "far": median(loads["far"])}


def more_rows(
    small: Field, large: Field, names: Sequence[str], queries: Sequence[Query], rounds: int,
    seconds: float, say: Say,
) -> dict[str, Any]:  # fmt: skip
    """The same queries on the small database and on the large one, by query and system."""
    found: dict[str, Any] = {}
    for query in queries:
        for field in (small, large):
            if query.name not in field.running[names[0]].requests:
                field.agree(query)
        loads: dict[tuple[str, str], list[Load]] = {}
        for number in range(rounds):
            say(f"ten times the rows, round {number + 1} of {rounds}: {query.name}")
            for name in names:
                for size, field in (("small", small), ("large", large)):
                    one = field.running[name]
                    # The first request of each is the list's first page.
                    loads.setdefault((name, size), []).append(field.load(one, query, 1, seconds))
        found[query.name] = {
            name: {size: median(loads[name, size]) for size in ("small", "large")} for name in names
        }
    return found


def first_sights(compiled: Running, loaders: Running, say: Say) -> dict[str, Any]:
    """How long a document takes at first sight and later, by query; medians in seconds.

    ``first`` is parsed, validated and run by the loaders; ``loaders`` is the same later without
    the compiler, ``later`` the same later with it.
    """
    found: dict[str, Any] = {}
    for query in (PERSON, NESTED, GRAPH, LIST):
        say(f"first sights: {query.name}")
        request = compiled.requests[query.name][0]
        times: dict[str, list[float]] = {"first": [], "loaders": [], "later": []}
        new, old = Client(compiled.process.port), Client(loaders.process.port)
        for renamed in renamings(request, NEW_DOCUMENTS, "Sight"):
            times["first"].append(timed(new, renamed))
            times["loaders"].append(timed(old, loaders.requests[query.name][0]))
            times["later"].append(timed(new, request))
        new.close()
        old.close()
        found[query.name] = {name: statistics.median(listed) for name, listed in times.items()}
    return found


def delays(one: Running, seconds: float, say: Say) -> dict[str, Any]:
    """How long a client waits for a small query while another one sends others; in seconds."""
    found: dict[str, Any] = {}
    small = one.requests[PERSON.name][0]
    graph = one.requests[GRAPH.name][0]
    for name, others in (("alone", None), ("known", False), ("new", True)):
        say(f"delays of a client: {name}")
        with sending(one.process.port, graph, others) as count:
            client = Client(one.process.port)
            end, times = time.monotonic() + seconds, []
            while time.monotonic() < end:
                times.append(timed(client, small))
            client.close()
        times.sort()
        found[name] = {
            "requests": len(times),
            "others": count.value,
            "median": statistics.median(times),
            "p99": times[int(len(times) * 0.99)],
            "worst": times[-1],
        }
    return found


def documents(one: Running, count: int, say: Say) -> dict[str, Any]:
    """What the server holds while so many different documents arrive, each twice; in bytes.

    By then every cache is full by far, so what it holds grows no more from ``half`` to ``end``.
    """
    marks = {count // 10: "tenth", count // 2: "half", count: "end"}
    found: dict[str, Any] = {"count": count}
    client = Client(one.process.port)
    listed = renamings(one.requests[PERSON.name][0], count, "Other")
    for number, request in enumerate(listed, 1):
        client.bytes(request)
        client.bytes(request)
        if number % max(count // 10, 1) == 0:
            say(f"{number:,} of {count:,} documents: {one.process.memory() >> 20} MB")
        if number in marks:
            found[marks[number]] = one.process.memory()
    client.close()
    return found


@contextmanager
def sending(port: int, request: Request, new: bool | None) -> Iterator[Any]:
    """A process that sends a request over and over, each with a new document if ``new``.

    A new document is sent twice, so that it is compiled. Yields the number of requests.
    """
    count = multiprocessing.Value("i", 0)
    if new is None:
        yield count
        return
    sender = multiprocessing.Process(target=_send, args=(port, request, new, count), daemon=True)
    sender.start()
    try:
        yield count
    finally:
        sender.terminate()
        sender.join()


def _send(port: int, request: Request, new: bool, count: Any) -> None:
    client = Client(port)
    listed = renamings(request, 1_000_000, "New") if new else iter(lambda: request, None)
    for one in listed:
        for _ in range(2):
            client.bytes(one)
            count.value += 1


def renamings(request: Request, count: int, word: str) -> Iterator[Request]:
    """The request with ever other names of its operation, which makes them other documents."""
    assert request.body is not None
    stamp = time.monotonic_ns()
    for number in range(count):
        body = request.body.replace(b"query ", f"query {word}{stamp}_{number}_".encode(), 1)
        yield Request(request.method, request.path, body, request.headers)


def timed(client: Client, request: Request) -> float:
    """Seconds until the answer is there."""
    start = time.perf_counter()
    client.bytes(request)
    return time.perf_counter() - start
