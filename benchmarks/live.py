"""Live updates: what a socket, a delivery and an idle process cost, and how late events come.

One server with its own command, its clients in one process, and in another a client that asks for
something else meanwhile. What clients are told is compared with what was written before it counts.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from benchmarks.cases import Person
from benchmarks.database import Database, Say
from benchmarks.issuing import Issuer
from benchmarks.listeners import fetch
from benchmarks.processes import ROOT, Failed, Process, free_port, nanoseconds_of
from benchmarks.system import Surroundings
from benchmarks.systems import Project
from community_gql.operations.rhythm import REST_AFTER

SOCKETS, FEWER = 10_000, 1_000
REST_SECONDS, IDLE_SECONDS = REST_AFTER + 2.0, 20.0
"""How long nothing happens before it counts, and then."""
EVENTS, PROBED = 4, 3
"""Stories that are told for the cost of a delivery, and for the delay of other requests."""
EVENT_SECONDS = 30.0
PROBE_SECONDS = 2.0
DRAIN_SECONDS = 30.0

SHARED = """subscription Shared($after: String) {
  stories(after: $after) { kind moment story { id title excerpt(length: 48) tagNames } }
}"""
VIEWERS = """subscription Viewers($after: String) {
  stories(after: $after) {
    kind moment story { id title author { id viewerFriendship { status } } }
  }
}"""
SMALL = '{ tag(name: "growth") { id name } }'
MOMENT = "{ moment }"
WRITE = """INSERT INTO stories (user_id, title, content, visibility) VALUES
($1, $2, 'A text that is a little longer than the excerpt that is asked for.', 'public')"""


@dataclass
class Told:
    """What some events cost, and how late they came; times are in seconds."""

    clients: int
    document: str
    server: list[float] = field(default_factory=list)
    """Processor time of the server for a delivery, of each event."""
    database: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    """From the end of the commit until a client had it, of each delivery."""
    waits: list[float] = field(default_factory=list)
    """How long other requests took meanwhile."""
    alone: list[float] = field(default_factory=list)
    """How long they take while nothing is told."""

    @property
    def delay(self) -> float:
        """How much longer another request took at worst."""
        return max(self.waits) - statistics.median(self.alone)


@dataclass
class Found:
    """Everything that was measured."""

    sockets: int
    idle: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Parts of a core that the server and the database take."""
    bytes: float = 0.0
    """Of a socket with a subscription."""
    left: list[float] = field(default_factory=list)
    """Of a socket, once all are gone: what the allocator keeps. After the first time, and again."""
    opened: float = 0.0
    """Seconds until all were there."""
    told: list[Told] = field(default_factory=list)
    resumed: float = 0.0
    """Seconds from when a new server serves until all had what they had missed."""
    away: float = 0.0
    """Seconds that the old one took to end, and the new one to start."""


class Clients:
    """A process with clients."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, command: str, **given: Any) -> Any:
        """What it answers. Raises Failed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([command, given]).encode() + b"\n")
        answer = json.loads(await self._process.stdout.readline() or b'{"error": "it has ended"}')
        if "error" in answer:
            raise Failed(f"the clients, {command}: {answer['error']}")
        return answer["result"]


@asynccontextmanager
async def clients(port: int) -> AsyncIterator[Clients]:
    """A process of clients of the server at this port."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.listeners", str(port)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        limit=2**26,
    )
    try:
        yield Clients(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


class Bench:
    """A server, its database, and those who ask it."""

    def __init__(
        self, database: Database, issuer: Issuer, logs: Path, say: Say, count: int
    ) -> None:
        self.database, self.issuer, self.logs, self.say = database, issuer, logs, say
        self.port = free_port()
        self.people = people(database, count)
        say(f"signing {count:,} tokens")
        self.tokens = [issuer.token(person) for person in self.people]
        self.process = self.serve()

    def serve(self) -> Process:
        """Start the server."""
        system = Project()
        given = Surroundings(self.database, self.issuer, self.port)
        more = {"MAX_CONNECTIONS_PER_ADDRESS": "2000"}
        environment = system.environment(given) | more
        process = Process(system.words(given), environment, self.port, self.logs / "live.log")
        # It listens before it serves, so that nobody is refused meanwhile.
        fetch(self.port, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        return process

    def spent(self) -> tuple[int, int]:
        """Nanoseconds that the server and the database have had a processor."""
        return nanoseconds_of(self.process.pid), nanoseconds_of(self.database.server.pid)

    async def idle(self, listening: Clients) -> tuple[float, float]:
        """What both take while nothing happens, as parts of a core."""
        await listening.ask("idle", seconds=REST_SECONDS)
        before = self.spent()
        await listening.ask("idle", seconds=IDLE_SECONDS)
        after = self.spent()
        server, database = (b - a for a, b in zip(before, after, strict=True))
        return server / IDLE_SECONDS / 1e9, database / IDLE_SECONDS / 1e9

    async def open(
        self, listening: Clients, count: int, document: str, after: str | None = None
    ) -> float:
        """Have so many clients follow; how many seconds until each has had an event."""
        payload = {"query": document, "variables": {"after": after}}
        seconds: float = await listening.ask(
            "open", tokens=self.tokens[:count], payload=payload, events=1
        )
        return seconds

    async def moment(self, asking: Clients) -> str:
        """The moment of now."""
        answer = orjson.loads(await asking.ask("fetch", request=self.request(MOMENT)))
        moment: str = answer["data"]["moment"]
        return moment

    def request(self, document: str) -> str:
        """A signed request as text of HTTP/1.1."""
        body = orjson.dumps({"query": document}).decode()
        return (
            f"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Accept: application/json\r\nAuthorization: Bearer {self.tokens[0]}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        )

    async def tell(
        self, listening: Clients, asking: Clients, count: int, document: str, probed: int = PROBED
    ) -> Told:
        """Write stories for so many clients that are there, and check what they are told."""
        found = Told(count, document)
        found.alone = await asking.ask("probe", request=self.request(SMALL), seconds=PROBE_SECONDS)
        await listening.ask("forget")
        writer = await asyncpg.connect(self.database.url)
        try:
            await self.story(listening, writer, Told(count, document))
            for _ in range(EVENTS):
                await self.story(listening, writer, found)
            other = Told(count, document)
            for _ in range(probed):
                probing = asyncio.create_task(
                    asking.ask("probe", request=self.request(SMALL), seconds=PROBE_SECONDS)
                )
                await asyncio.sleep(0.3)
                await self.story(listening, writer, other)
                found.waits += await probing
        finally:
            await writer.close()
        return found

    async def story(self, listening: Clients, writer: Any, found: Told) -> None:
        """Write a story, wait until all have it, and note what it took."""
        title = f"A story of {time.monotonic_ns()}"
        before = self.spent()
        await writer.execute(WRITE, self.people[0].sub, title)
        committed = time.monotonic()
        times = await listening.ask("expect", events=1, seconds=EVENT_SECONDS)
        await asyncio.sleep(0.2)
        after = self.spent()
        self.check(await listening.ask("told"), title, found)
        await listening.ask("forget")
        found.server.append((after[0] - before[0]) / 1e9 / found.clients)
        found.database.append((after[1] - before[1]) / 1e9 / found.clients)
        found.late += [then - committed for then in times]

    def check(self, told: Mapping[str, int], title: str, found: Told) -> None:
        """Compare what all were told with what was written. Raises Failed."""
        friends = 0
        for text, number in told.items():
            answers = json.loads(text)
            events = [answer["data"]["stories"] for answer in answers]
            if [(event["kind"], event["story"]["title"]) for event in events] != [
                ("APPEARED", title)
            ]:
                raise Failed(f"{number} clients were told {text}")
            if found.document == VIEWERS:
                friends += number * (events[0]["story"]["author"]["viewerFriendship"] is not None)
        if sum(told.values()) != found.clients:
            raise Failed(f"{sum(told.values())} instead of {found.clients} clients were told")
        if found.document == VIEWERS and friends != self.friends(found.clients):
            raise Failed(f"{friends} see a friendship, instead of {self.friends(found.clients)}")

    def friends(self, count: int) -> int:
        """How many of the first people have asked the author for friendship, or were asked."""
        subs = {person.sub for person in self.people[:count]}
        author = self.people[0].sub
        rows = self.database.rows(f"""
            SELECT requester_id AS a, addressee_id AS b FROM friendships
            WHERE '{author}' IN (requester_id, addressee_id)
        """)
        return len({row["a"] if row["b"] == author else row["b"] for row in rows} & subs)

    async def restart(self) -> None:
        """End the server as a deployment does, and start it anew."""
        await asyncio.to_thread(self.process.stop, DRAIN_SECONDS)
        self.process = await asyncio.to_thread(self.serve)


def people(database: Database, count: int) -> list[Person]:
    """The first people; the first of them writes."""
    rows = database.rows(
        "SELECT auth0_sub AS sub, email::text AS email, public_id AS key FROM users "
        f"ORDER BY auth0_sub <> 'auth0|ada', auth0_sub LIMIT {count}"
    )
    if len(rows) < count:
        raise Failed(f"the database has {len(rows)} people, which are too few for {count} sockets")
    return [Person(**row) for row in rows]


async def measured(
    database: Database, issuer: Issuer, logs: Path, say: Say, sockets: int = SOCKETS
) -> Found:
    """Everything, with so many sockets at most."""
    found = Found(sockets)
    bench = Bench(database, issuer, logs, say, sockets)
    try:
        async with clients(bench.port) as asking:
            await asking.ask("probe", request=bench.request(SMALL), seconds=1.0)
            await _idle(bench, found)
            await _all(bench, asking, found)
            await _fewer(bench, asking, found)
            await _again(bench, asking, found)
    finally:
        bench.process.stop(DRAIN_SECONDS)
        database.run("DELETE FROM stories WHERE title LIKE 'A story of %'")
    return found


async def _idle(bench: Bench, found: Found) -> None:
    """A process without subscribers, and with one."""
    async with clients(bench.port) as listening:
        bench.say("idle, without subscribers")
        found.idle["no subscriber"] = await bench.idle(listening)
        await bench.open(listening, 1, SHARED)
        bench.say("idle, with one")
        found.idle["1 subscriber"] = await bench.idle(listening)


async def _all(bench: Bench, asking: Clients, found: Found) -> None:
    """As many as there are: what they take, what an event to all does, what is left of them."""
    before = bench.process.memory()
    for document in (SHARED, VIEWERS):
        async with clients(bench.port) as listening:
            bench.say(f"opening {found.sockets:,} sockets")
            seconds = await bench.open(listening, found.sockets, document)
            if document == SHARED:
                found.opened = seconds
                found.bytes = (bench.process.memory() - before) / found.sockets
                bench.say("idle, with all of them")
                found.idle[f"{found.sockets:,} subscribers"] = await bench.idle(listening)
            bench.say("events to all")
            found.told.append(await bench.tell(listening, asking, found.sockets, document))
        await asyncio.sleep(3)
        found.left.append((bench.process.memory() - before) / found.sockets)


async def _fewer(bench: Bench, asking: Clients, found: Found) -> None:
    """A thousand."""
    fewer = min(FEWER, found.sockets)
    for document in (SHARED, VIEWERS):
        async with clients(bench.port) as listening:
            bench.say(f"events to {fewer:,}")
            await bench.open(listening, fewer, document)
            found.told.append(await bench.tell(listening, asking, fewer, document))


async def _again(bench: Bench, asking: Clients, found: Found) -> None:
    """A restart, after which all come back to what they have missed."""
    async with clients(bench.port) as listening:
        await bench.open(listening, found.sockets, SHARED)
        moment = await bench.moment(asking)
        bench.say("a restart")
        began = time.monotonic()
        bench.database.run(
            "INSERT INTO stories (user_id, title, content, visibility) VALUES "
            f"('{bench.people[0].sub}', 'A story of meanwhile', 'x', 'public')"
        )
        await bench.restart()
    async with clients(bench.port) as listening:
        found.away = time.monotonic() - began
        found.resumed = await bench.open(listening, found.sockets, SHARED, after=moment)
        told = await listening.ask("told")
        bench.check(told, "A story of meanwhile", Told(found.sockets, SHARED))


def table(found: Found, machine: str) -> str:
    """The figures as Markdown."""
    rows = [
        "# Live updates",
        "",
        f"By `make bench ARGS=--live`, {machine}. One process of the server; each client is a "
        "socket of another person with one subscription.",
        "",
        "| while nothing happens | server, % of a core | PostgreSQL, % of a core |",
        "|---|---:|---:|",
        *(
            f"| {what} | {server * 100:.2f} | {database * 100:.2f} |"
            for what, (server, database) in found.idle.items()
        ),
        "",
        "| a new public story | server, µs of CPU for each delivery | PostgreSQL | "
        "commit to client, p50 ms | p99 | longest delay of another request, ms |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for told in found.told:
        late = sorted(told.late)
        fields = "fields of the viewer" if told.document == VIEWERS else "the same for all"
        delay = f"{told.delay * 1e3:.0f}" if told.waits else ""
        rows.append(
            f"| {fields}, to {told.clients:,} | {statistics.median(told.server) * 1e6:.1f} "
            f"| {statistics.median(told.database) * 1e6:.1f} "
            f"| {statistics.median(late) * 1e3:.0f} | {late[int(len(late) * 0.99)] * 1e3:.0f} "
            f"| {delay} |"
        )
    rows += [
        "",
        f"- A socket with a subscription: {found.bytes / 1024:.1f} KiB. "
        "When all are gone the process keeps, of each, "
        f"{' KiB, and after a second time '.join(f'{b / 1024:.1f}' for b in found.left)} KiB.",
        f"- {found.sockets:,} sockets opened in {found.opened:.1f} s.",
        f"- After a restart all {found.sockets:,} are back, and have what they missed, "
        f"{found.resumed:.1f} s after the new process serves. The restart itself took "
        f"{found.away:.1f} s.",
    ]
    return "\n".join(rows) + "\n"
