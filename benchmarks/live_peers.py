"""Live updates beside other systems: a thousand clients that are told of new stories.

Each system is asked in its own words and must tell all clients the same; what a client may not see
is compared with a story for friends. The others learn of a story by a trigger with NOTIFY, which is
in the database only while they run.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.database import Database, Say
from benchmarks.issuing import Issuer
from benchmarks.live import Clients, clients, people
from benchmarks.processes import Failed, Process, free_port, nanoseconds_of
from benchmarks.system import GraphQL, Surroundings
from benchmarks.systems import OnNode, PostGraphile, Project

CLIENTS = 1_000
EVENTS = 5
QUIET = 0.05
"""Part of a core below which a server has no more to do. Some take ten seconds and more, on a busy
machine a minute, until a thousand clients are there or were all asked for."""
SETTLE_SECONDS = 120.0
TRIGGER = """
CREATE OR REPLACE FUNCTION benchmark_notify() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN PERFORM pg_notify('benchmark_stories', NEW.id::text); RETURN NULL; END $$;
CREATE OR REPLACE TRIGGER benchmark_notify AFTER INSERT ON stories
  FOR EACH ROW EXECUTE FUNCTION benchmark_notify();
"""
NO_TRIGGER = "DROP FUNCTION IF EXISTS benchmark_notify() CASCADE"
WRITE = """INSERT INTO stories (user_id, title, content, visibility)
VALUES ($1, $2, 'A text.', $3)"""


class Ours(Project):
    """This project."""

    name = "project"
    title = "this project"
    following = "subscription { stories { kind story { title tagNames } } }"


class StrawberryLive(GraphQL):
    """Strawberry's own handler."""

    name = "strawberry"
    title = "Strawberry's own handler"
    following = "subscription { stories { title tagNames } }"

    def words(self, given: Surroundings) -> list[str]:
        return [sys.executable, "-m", "benchmarks.peers.strawberry_live"]


class Yoga(OnNode):
    """GraphQL Yoga."""

    name = "yoga"
    title = "GraphQL Yoga with graphql-ws"
    script = "yoga.mjs"
    following = "subscription { stories { title tagNames } }"


class PostGraphileLive(PostGraphile):
    """PostGraphile 5."""

    name = "postgraphile"
    title = "PostGraphile 5 with row-level security"
    script = "postgraphile-live.mjs"
    following = "subscription { stories { story { title tagNames: tagsCached } } }"


SYSTEMS: list[Any] = [Ours(), StrawberryLive(), Yoga(), PostGraphileLive()]


@dataclass
class Told:
    """What a system's deliveries cost; times are in seconds."""

    title: str
    server: list[float] = field(default_factory=list)
    """Processor time for a delivery, of each event."""
    database: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    bytes: float = 0.0
    """Of a client that is there."""
    empty: int = 0
    """Events without a story that a client was told of one it may not see."""


def stories_of(text: str) -> list[tuple[str, tuple[str, ...]]]:
    """The stories in what one client was told, in no system's own words."""
    found = []
    for answer in json.loads(text):
        told = answer["data"]["stories"]
        if told.get("kind") != "RELOAD":
            story = told.get("story", told)
            found.append(("", ()) if story is None else (story["title"], tuple(story["tagNames"])))
    return found


async def measured(
    database: Database, issuer: Issuer, logs: Path, say: Say, count: int = CLIENTS
) -> tuple[list[Told], dict[str, str]]:
    """What each system takes, and why one is missing."""
    found: list[Told] = []
    missing: dict[str, str] = {}
    asking = people(database, count)
    tokens = [issuer.token(person) for person in asking]
    database.run(TRIGGER)
    try:
        for system in SYSTEMS:
            say(f"telling {count:,} clients: {system.title}")
            try:
                found.append(await _one(system, database, issuer, logs, tokens, asking[0].sub))
            except (Failed, OSError, KeyError, TypeError) as error:
                missing[system.title] = f"{type(error).__name__}: {error}"
                say(f"!!! {system.title} IS LEFT OUT: {error}")
    finally:
        database.run(NO_TRIGGER)
        database.run("DELETE FROM stories WHERE title LIKE 'A story of %'")
    return found, missing


async def _one(
    system: Any, database: Database, issuer: Issuer, logs: Path, tokens: list[str], author: str
) -> Told:
    system.prepare(database)
    port = free_port()
    given = Surroundings(database, issuer, port)
    environment = system.environment(given) | {"MAX_CONNECTIONS_PER_ADDRESS": "5000"}
    process = await asyncio.to_thread(
        Process, system.words(given), environment, port, logs / f"live-{system.name}.log"
    )
    told = Told(system.title)
    writer = await asyncpg.connect(database.url)
    try:
        async with clients(port) as listening:
            payload = {"query": system.following}
            # Ours begins with RELOAD; of the others it cannot be seen when they have begun.
            begins = int(isinstance(system, Ours))
            await listening.ask("open", tokens=tokens[:1], payload=payload, events=begins)
            await _settled(process, listening)
            before = process.memory()
            await listening.ask("open", tokens=tokens[1:], payload=payload, events=begins)
            await _settled(process, listening)
            told.bytes = (process.memory() - before) / (len(tokens) - 1)
            await _friends(process, listening, database, writer, author, told, len(tokens))
            for number in range(EVENTS + 1):
                await _event(process, listening, database, writer, author, told, bool(number))
    finally:
        await writer.close()
        process.stop()
    return told


async def _settled(process: Process, listening: Clients) -> None:
    """Wait until the server has done what there was to do. Raises Failed."""
    until = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < until:
        before = nanoseconds_of(process.pid)
        await listening.ask("idle", seconds=2.0)
        if nanoseconds_of(process.pid) - before < 2.0e9 * QUIET:
            return
    raise Failed(f"after {SETTLE_SECONDS:g} s the server is still busy")


async def _friends(
    process: Process,
    listening: Clients,
    database: Database,
    writer: Any,
    author: str,
    told: Told,
    count: int,
) -> None:
    """A story for friends is told to them alone. Raises Failed."""
    await listening.ask("forget")
    title = f"A story of {time.monotonic_ns()}"
    await writer.execute(WRITE, author, title, "friends")
    await _settled(process, listening)
    who: Counter[tuple[str, ...]] = Counter()
    for text, number in (await listening.ask("told")).items():
        who[tuple(title for title, _ in stories_of(text))] += number
    friends = await writer.fetchval(
        """SELECT count(DISTINCT id) FROM (
          SELECT requester_id AS id FROM friendships
          WHERE addressee_id = $1 AND status = 'accepted'
          UNION ALL SELECT addressee_id FROM friendships
          WHERE requester_id = $1 AND status = 'accepted'
          UNION ALL SELECT $1) AS friends
        WHERE id = ANY ($2)""",
        author,
        [person.sub for person in people(database, count)],
    )
    if who[(title,)] != friends:
        raise Failed(f"{who[(title,)]} clients were told of a story for {friends} friends")
    told.empty = who[("",)]


async def _event(
    process: Process,
    listening: Clients,
    database: Database,
    writer: Any,
    author: str,
    told: Told,
    measured: bool,
) -> None:
    await listening.ask("forget")
    title = f"A story of {time.monotonic_ns()}"
    before = nanoseconds_of(process.pid), nanoseconds_of(database.server.pid)
    await writer.execute(WRITE, author, title, "public")
    committed = time.monotonic()
    times = await listening.ask("expect", events=1, seconds=30)
    await asyncio.sleep(0.3)
    after = nanoseconds_of(process.pid), nanoseconds_of(database.server.pid)
    for text in await listening.ask("told"):
        if stories_of(text) != [(title, ())]:
            raise Failed(f"a client was told {text} of {title}")
    if measured:
        told.server.append((after[0] - before[0]) / 1e9 / len(times))
        told.database.append((after[1] - before[1]) / 1e9 / len(times))
        told.late += [then - committed for then in times]


def table(found: list[Told], missing: dict[str, str], count: int = CLIENTS) -> str:
    """The figures as Markdown."""
    rows = [
        f"| a new public story, to {count:,} | server, µs of CPU for each delivery | PostgreSQL "
        "| commit to client, p50 ms | p99 | KiB for a client |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for told in found:
        late = sorted(told.late)
        rows.append(
            f"| {told.title} | {statistics.median(told.server) * 1e6:.0f} "
            f"| {statistics.median(told.database) * 1e6:.0f} "
            f"| {statistics.median(late) * 1e3:.0f} | {late[int(len(late) * 0.99)] * 1e3:.0f} "
            f"| {told.bytes / 1024:.0f} |"
        )
    rows.append("")
    rows += [f"- {title} is missing: {why}" for title, why in missing.items()]
    rows += [
        f"- {told.title} tells {told.empty:,} clients that there is something they may not see."
        for told in found
        if told.empty
    ]
    return "\n".join(rows) + "\n"
