"""What a batch of matches does to others, and to the size of its table.

    .venv/bin/python -m benchmarks.matching_beside URL --batches 4 --share 0.02

``URL`` is of a seeded database that nobody else uses, and that may be changed: in each round how
often everybody means to write becomes another number, so that all vectors and lists are made anew
by ``matching run``, a process of its own. During the first round, and before and after it, clients
send queries at a steady pace over connections of their own, whatever the answers take.

The first round is of ``matching run --every``, which runs before it and after it as well, with
nothing to do. ``--share`` is what it takes of a processor; the others take all they get. Where it
is stopped after ``--most`` seconds of lists, what was measured while lists were written stands for
the rest of them as well: so the figure of the whole batch is one as if it had gone on.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import orjson

from benchmarks.cases import Person
from benchmarks.issuing import AUDIENCE, Issuer, issuing
from benchmarks.processes import Process, free_port
from community_gql.matching.pacing import SHARE
from community_gql.settings import Settings

QUERIES = (
    '{ tag(name: "growth") { id name } }',
    """{ stories(first: 10) { nodes {
      id title tagNames author { id viewerFriendship { status } } } } }""",
    """{ viewer { user { matches(first: 5) { nodes {
      score user { id } reasons { tags { name } } } } } } }""",
)
CLIENTS = 8
COMMAND = str(Path(sys.executable).parent / "community-gql")
CHANGE = """
    UPDATE user_profiles SET journaling_frequency = (coalesce(journaling_frequency, 0) + 1) % 8
"""
LEFT = """
    SELECT (SELECT count(*) FROM stale_features)
         + (SELECT count(*) FROM stale_lists WHERE vector_changed),
      (SELECT count(*) FROM stale_lists)
"""
LOOK = 4.0
"""Seconds between two looks at what is left, which cost something too."""
SIZES = """
    SELECT pg_table_size(oid) / 1e6, pg_indexes_size(oid) / 1e6 FROM pg_class
    WHERE relname = 'match_results'
"""


def say(text: str) -> None:
    """A line of the report."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@dataclass
class Load:
    """Clients that send queries at a steady pace."""

    port: int
    requests: Sequence[bytes]
    rate: float
    """Requests a second, of all together."""

    async def send(
        self, seconds: float | None, until: asyncio.Event | None = None
    ) -> list[tuple[float, float]]:
        """When each request was due, and how long its answer took from then, in seconds."""
        start, turn = time.monotonic(), iter(range(10**9))
        found: list[tuple[float, float]] = []

        async def client() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            for number in turn:
                due = start + number / self.rate
                if until is not None and until.is_set():
                    break
                if seconds is not None and due > start + seconds:
                    break
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                writer.write(self.requests[number % len(self.requests)])
                head = await reader.readuntil(b"\r\n\r\n")
                if not head.startswith(b"HTTP/1.1 200"):
                    raise ConnectionError(head.decode())
                sizes = [
                    int(line.partition(b":")[2])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length:")
                ]
                await reader.readexactly(sizes[0])
                found.append((due, time.monotonic() - due))
            writer.close()

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        return found


def told(name: str, times: Sequence[tuple[float, float]]) -> float:
    """Say the median and the 99th part of a hundred in ms, and return the latter."""
    if len(times) < 100:
        say(f"{name}: {len(times)} requests, too few")
        return math.nan
    cuts = statistics.quantiles([took for _, took in times], n=100)
    say(
        f"{name}: {len(times):,} requests, p50 {cuts[49] * 1e3:.2f} ms, p99 {cuts[98] * 1e3:.2f} ms"
    )
    return cuts[98]


def whole(parts: Sequence[tuple[Sequence[tuple[float, float]], float]]) -> float:
    """The 99th part of a hundred where the requests of each part count so many times."""
    counted = sorted((took, weight) for times, weight in parts for _, took in times)
    left = sum(weight for _, weight in counted) / 100
    for took, weight in reversed(counted):
        left -= weight
        if left <= 0:
            return took
    return math.nan


def request(issuer: Issuer, person: Person, query: str) -> bytes:
    """A signed request."""
    body = orjson.dumps({"query": query})
    return (
        "POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Accept: application/json\r\nAuthorization: Bearer {issuer.token(person)}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def environment(url: str, issuer: Issuer, port: int) -> dict[str, str]:
    """What the server is started with; limits are off."""
    ours = {name.upper() for name in Settings.model_fields}
    kept = {key: item for key, item in os.environ.items() if key.upper() not in ours}
    return kept | {
        "DATABASE_URL": url,
        "OIDC_ISSUER": issuer.address,
        "AUTH0_AUDIENCE": AUDIENCE,
        "PORT": str(port),
        "COST_PER_MINUTE": str(10**12),
    }


async def batch(connection: asyncpg.Connection, url: str, number: int) -> None:
    """All vectors and lists anew, by the command; what it took, and the sizes after it."""
    started, before = time.monotonic(), children()
    process = await asyncio.create_subprocess_exec(
        COMMAND, "matching", "run", env={**os.environ, "DATABASE_URL": url},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    _, said = await process.communicate()
    took, spent = time.monotonic() - started, children() - before
    table, indexes = tuple(await connection.fetchrow(SIZES) or (0, 0))
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    say(
        f"batch {number}: {took:.1f} s, {spent:.1f} s of the process's processor, at most "
        f"{memory:,.0f} MB; table {table:,.0f} MB, indexes {indexes:,.0f} MB; "
        f"{said.decode().strip().splitlines()[-1]}"
    )


@dataclass
class Stages:
    """When a batch came to its lists, when that was over, and how many are left."""

    began: float
    lists: float = math.inf
    ended: float = math.inf
    total: int = 0
    left: int = 0

    @property
    def missing(self) -> float:
        """How many times as long all lists would have taken."""
        return self.total / max(1, self.total - self.left)


async def watched(connection: asyncpg.Connection, most: float) -> Stages:
    """Wait for the end of the batch that others make, or for ``most`` seconds of its lists."""
    found = Stages(time.monotonic())
    while True:
        await asyncio.sleep(LOOK)
        vectors, lists = tuple(await connection.fetchrow(LEFT) or (0, 0))
        if vectors or not (lists or found.total):
            continue
        if not found.total:
            found.lists, found.total = time.monotonic(), lists
        found.left = lists
        if not lists or time.monotonic() > found.lists + most:
            found.ended = time.monotonic()
            return found


def children() -> float:
    """Seconds of processor that processes took which have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


Times = list[tuple[float, float]]


def compared(before: Times, times: Times, after: Times, stages: Stages) -> None:
    """Say what the parts of a batch did to requests, and all of it."""
    alone = statistics.mean((told("before", before), told("after", after)))
    vectors = [one for one in times if one[0] < stages.lists]
    lists = [one for one in times if one[0] >= stages.lists]
    of_vectors, of_lists = stages.lists - stages.began, stages.ended - stages.lists
    say(
        f"the batch: {of_vectors:.0f} s until its lists; {stages.total - stages.left:,} of "
        f"{stages.total:,} lists in {of_lists:.0f} s, so all in {of_lists * stages.missing:.0f} s"
    )
    for name, part in (("until its lists", vectors), ("while lists are written", lists)):
        say(f"  {told(name, part) / alone:.2f} times")
    cut = whole([(vectors, 1.0), (lists, stages.missing)])
    say(f"p99 beside the whole batch: {cut * 1e3:.2f} ms, {cut / alone:.2f} times")


async def measure(
    url: str, batches: int, seconds: float, rate: float, share: float, most: float
) -> None:
    """Everything."""
    connection = await asyncpg.connect(url)
    people = [
        Person(*row)
        for row in await connection.fetch(
            "SELECT auth0_sub, email::text, public_id::text FROM users "
            "ORDER BY md5(auth0_sub) LIMIT 50"
        )
    ]
    port = free_port()
    with issuing() as issuer:
        log = Path(".data/benchmark/logs/beside.log")
        server = Process([COMMAND, "serve"], environment(url, issuer, port), port, log)
        run = await asyncio.create_subprocess_exec(
            COMMAND, "matching", "run", "--every", "2s", "--share", str(share),
            env={**os.environ, "DATABASE_URL": url},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            requests = [request(issuer, who, query) for who in people for query in QUERIES]
            load = Load(port, requests, rate)
            await load.send(15)  # every document is compiled after this, and all plans are made
            before = await load.send(seconds)
            await connection.execute(CHANGE)
            done = asyncio.Event()
            beside = asyncio.create_task(load.send(None, done))
            stages = await watched(connection, most)
            done.set()
            times = await beside
        finally:
            run.terminate()
            await run.wait()
        try:
            after = await load.send(seconds)
            compared(before, times, after, stages)
        finally:
            server.stop()
    for number in range(2, batches + 1):
        await connection.execute(CHANGE)
        await batch(connection, url, number)
    await connection.close()


def main() -> None:
    """Measure, and say it."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    asked.add_argument("url")
    asked.add_argument("--batches", type=int, default=4)
    asked.add_argument("--seconds", type=float, default=30, help="of load before and after")
    asked.add_argument("--rate", type=float, default=100, help="requests a second")
    asked.add_argument("--share", type=float, default=SHARE, help="of a processor, the first batch")
    asked.add_argument("--most", type=float, default=1e9, help="seconds of lists, first batch")
    given = asked.parse_args()
    asyncio.run(
        measure(given.url, given.batches, given.seconds, given.rate, given.share, given.most)
    )


if __name__ == "__main__":
    main()
