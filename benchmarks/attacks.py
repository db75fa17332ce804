"""What one attacker does to others at a million stories.

    python -m benchmarks.attacks

A server with its default limits. A few others ask ordinary things, each from an address of their
own: first alone and then beside each attack, so that the machine is the same for both. Attackers
are processes of their own. Everything ends by itself, within six minutes for all attacks.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import multiprocessing
import os
import random
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from benchmarks import database as databases
from benchmarks.cases import Person
from benchmarks.database import Database, Say
from benchmarks.issuing import AUDIENCE, Issuer, issuing
from benchmarks.processes import Process, free_port
from community_gql.cli.databases import ended_by_signals
from community_gql.settings import Settings, home

FOLDER = home() / ".data" / "benchmark"
MOST = 2.0
"""So many times as long may the slowest hundredth of others' requests take beside an attack."""
WARMING = 3.0
OTHERS = 3
PAUSE = 0.02
"""Seconds that one of the others waits between two requests."""
CONNECTIONS = 10
SOCKETS = 2000
LONG_STORIES, LONG = 90, 100_000
ATTACKER = "203.0.113.66"
OTHER_ADDRESS = "127.0.0.2"
"""Of loopback: no trusted proxy, unlike 127.0.0.1, which may name whom it asks for."""

ORDINARY = (
    "{ stories(first: 20, orderBy: OLDEST) { nodes { id title author { profile { displayName } } "
    "} } }",
    '{ stories(first: 10, orderBy: OLDEST, filter: {search: "morning"}) { nodes { id title '
    "tagNames } } }",
    '{ tag(name: "growth") { users(first: 5) { nodes { profile { displayName } } } } }',
    "{ users(first: 10, orderBy: NAME) { nodes { garden { name } stories(first: 2) "
    "{ nodes { title } } } } }",
)
TAGS = ("growth", "family", "work", "joy", "learning", "courage", "focus", "gratitude")
WRITE = 'mutation { updateProfile(input: {bio: "Hi"}) { userErrors { code } } }'


def _times(count: int, selection: str) -> str:
    return "{ " + " ".join(f"a{n}: {selection}" for n in range(count)) + " }"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


REFUSED_SEARCH = (
    '{ stories(first: 20, filter: {search: "-garden", createdBefore: "2000-01-01T00:00:00Z"}) '
    "{ nodes { id } } }"
)
SEARCHES = (
    '{ tag(name: "growth") { stories(first: 20, orderBy: RELEVANCE, filter: {search: "morning"}) '
    "{ nodes { id } } } }",
    '{ stories(first: 20, orderBy: RELEVANCE, filter: {search: "grow"}) { nodes { id } } }',
    _times(20, 'stories(filter: {search: "morning -evening"}) { totalCount }'),
)
BYTES = (
    _times(20, "stories(first: 100) { nodes { content } }"),
    "{ stories(first: 100) { nodes { author { stories(first: 100) { nodes { content } } } } } }",
    "{ stories(first: 20) { nodes { " + " ".join(f"a{n}: content" for n in range(50)) + " } } }",
)
LARGEST = (
    "{ stories(first: 78) { nodes { content } } }",
    _times(9, "stories(first: 100) { nodes { content } }"),
)
"""Nearly MAX_ANSWER_BYTES, which is answered, and what COST_LIMIT allows at most."""
TAG_LISTS = (
    _times(
        20,
        f"stories(first: 100, orderBy: OLDEST, filter: {{tagsAll: [{_listed(TAGS[:2])}]}}) "
        "{ totalCount nodes { id } }",
    ),
    _times(
        20,
        f"stories(first: 100, filter: {{tagsAny: [{_listed([*TAGS, *map(str, range(12))])}]}}) "
        "{ totalCount nodes { id } }",
    ),
)
MANY_NAMES = (
    f"{{ stories(filter: {{tagsAny: [{_listed(list(map(str, range(240))))}]}}) {{ totalCount }} }}",
)


_PERSON = (
    "id createdAt profile { displayName bio journalingFrequency updatedAt } "
    "garden { id name theme createdAt } tags { id name createdAt } "
    "habits(first: 1, orderBy: NEWEST) { nodes { id name frequency meta createdAt } "
    "pageInfo { endCursor } } "
    'stories(first: 1, orderBy: NEWEST, filter: {createdAfter: "2015-01-01T00:00:00Z", '
    'createdBefore: "2100-01-01T00:00:00Z"}) { nodes { id title excerpt(length: 99) '
    "tagNames visibility createdAt "
    "updatedAt tags { id name } author { id profile { displayName } } } }"
)


def document_of(number: int) -> str:
    """A valid document of 21 KB that nobody has sent before."""
    word = f"n{number}_{os.getpid()}_{time.time_ns()}"
    unit = f"users(first: 1) {{ nodes {{ {_PERSON} viewerFriendship {{ id addressee {{ {_PERSON} }}"
    return f"query {word} {_times(20, unit + ' } } }')}"


@dataclass
class Seen:
    """What the others met."""

    times: list[float] = field(default_factory=list)
    """Seconds."""
    statuses: Counter[int] = field(default_factory=Counter)
    ready: Counter[int] = field(default_factory=Counter)
    """Of ``/readyz``, polled meanwhile."""

    def at(self, part: float) -> float:
        """Milliseconds that so many of the requests took at most."""
        return 1000 * statistics.quantiles(self.times, n=1000)[round(1000 * part) - 1]


@dataclass
class Attack:
    """What was measured of one."""

    name: str
    alone: Seen
    beside: Seen
    got: Counter[str]
    """How many of each status the attackers got; "0" is a connection that was refused or cut."""
    sessions: int
    """The most bytes of their own that PostgreSQL's sessions held together meanwhile."""
    process: int
    """The most bytes that the server's process held."""

    @property
    def ratio(self) -> float:
        """How many times as long others waited beside it, in the slowest hundredth."""
        return self.beside.at(0.99) / self.alone.at(0.99)

    @property
    def failed(self) -> int:
        """How many requests of others had no answer."""
        return self.beside.statuses.total() - self.beside.statuses[200]

    @property
    def holds(self) -> bool:
        """Whether nobody else was hurt."""
        return not self.failed and set(self.beside.ready) == {200} and self.ratio <= MOST


def ask(connection: http.client.HTTPConnection, query: str, headers: dict[str, str]) -> int:
    """Send a document and read the answer; its status, 0 when there is none."""
    try:
        body = orjson.dumps({"query": query})
        connection.request("POST", "/graphql", body, {"Content-Type": "application/json"} | headers)
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return 0
    return response.status


def others(port: int, seconds: float) -> Seen:
    """Ask ordinary things for so long."""
    seen = Seen()
    end = time.monotonic() + seconds

    def one(number: int) -> None:
        chance = random.Random(number)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"X-Forwarded-For": f"198.51.100.{number + 1}"}
        while time.monotonic() < end:
            query = chance.choice(ORDINARY)
            start = time.perf_counter()
            seen.statuses[ask(connection, query, headers)] += 1
            seen.times.append(time.perf_counter() - start)
            time.sleep(chance.uniform(0.5, 1.5) * PAUSE)
        connection.close()

    def ready() -> None:
        while time.monotonic() < end:
            seen.ready[ready_status(port)] += 1
            time.sleep(0.5)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(OTHERS)]
    threads.append(threading.Thread(target=ready))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


def ready_status(port: int) -> int:
    """What ``/readyz`` answers on a connection of its own; 0 when it does not."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/readyz", headers={"X-Forwarded-For": "198.51.100.250"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


# --- the attackers, each in a process of its own ---

Statuses = Any
"""A queue of what they got."""


def flood(port: int, seconds: float, got: Statuses, queries: Sequence[str], token: str) -> None:
    """Send these documents on CONNECTIONS connections of one caller, as fast as they are answered.

    Whoever is told to come back later does so after a moment, like the worst of clients.
    """
    end = time.monotonic() + seconds
    headers = {"X-Forwarded-For": ATTACKER}
    if token:
        headers["Authorization"] = f"Bearer {token}"

    def one() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for query in itertools.cycle(queries):
            if time.monotonic() > end:
                break
            status = ask(connection, query, headers)
            got.put((str(status), 1))
            if status in (0, 429):
                time.sleep(0.05)

    threads = [threading.Thread(target=one, daemon=True) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end + 1 - time.monotonic()))
    if waiting := sum(thread.is_alive() for thread in threads):
        got.put(("waiting", waiting))


def documents(port: int, seconds: float, got: Statuses) -> None:
    """Ten new valid documents of 21 KB a second."""
    end = time.monotonic() + seconds
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for number in itertools.count():
        start = time.monotonic()
        if start > end:
            break
        status = ask(connection, document_of(number), {"X-Forwarded-For": ATTACKER})
        got.put((str(status), 1))
        time.sleep(max(0.0, 0.1 - (time.monotonic() - start)))


def sockets(port: int, seconds: float, got: Statuses) -> None:
    """Hold connections whose request announces a body that never comes, from one address."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, SOCKETS + 200), hard))
    held: list[socket.socket] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if len(held) >= SOCKETS:
            time.sleep(0.1)
            continue
        try:
            one = socket.create_connection(("127.0.0.1", port), 5, (OTHER_ADDRESS, 0))
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx")
            held.append(one)
        except OSError:
            got.put(("refused", 1))
            time.sleep(0.01)
    got.put(("opened", len(held)))


@contextlib.contextmanager
def locked(database: Database, person: Person) -> Iterator[None]:
    """Hold the rows of a person, as a transaction that does not end would."""
    words = [*database.server.psql_command(database.name), "-X", "-q"]
    holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert holder.stdin is not None
    holder.stdin.write(
        f"BEGIN; SELECT FROM users WHERE auth0_sub = '{person.sub}' FOR UPDATE;\n"
        f"SELECT FROM user_profiles WHERE user_id = '{person.sub}' FOR UPDATE;\n".encode()
    )
    holder.stdin.flush()
    time.sleep(0.5)
    try:
        yield
    finally:
        holder.stdin.close()
        holder.wait(10)


@contextlib.contextmanager
def long_stories(database: Database, person: Person) -> Iterator[None]:
    """The newest stories are as long as they may be, and cannot be compressed; gone afterwards."""
    database.run(f"""
        INSERT INTO stories (user_id, title, content, visibility, created_at)
        SELECT '{person.sub}', 'long', (
            SELECT left(string_agg(md5(random()::text || word || n), ' '), {LONG})
            FROM generate_series(1, {LONG} / 33 + 1) AS word
          ), 'public', now()
        FROM generate_series(1, {LONG_STORIES}) AS n
    """)
    try:
        yield
    finally:
        database.run(f"DELETE FROM stories WHERE user_id = '{person.sub}' AND title = 'long'")


# --- all of it ---


@dataclass(frozen=True)
class Plan:
    """An attack."""

    name: str
    attack: Callable[..., None]
    given: tuple[Any, ...] = ()
    locks: bool = False
    """Whether somebody holds the attacker's row meanwhile."""


def plans(token: str) -> list[Plan]:
    """All of them."""
    return [
        Plan("a search that says only what to leave out", flood, ((REFUSED_SEARCH,), "")),
        Plan("the dearest searches", flood, (SEARCHES, "")),
        Plan("updates that wait for one locked row", flood, ((WRITE,), token), locks=True),
        Plan("long texts, many times", flood, (BYTES, token)),
        Plan("the longest allowed answers", flood, (LARGEST, token)),
        Plan("twenty lists of tags", flood, (TAG_LISTS, "")),
        Plan("240 names in a list of tags", flood, (MANY_NAMES, "")),
        Plan(f"{SOCKETS:,} silent sockets of one address", sockets),
        Plan("ten new documents of 21 KB a second", documents),
    ]


def measure(
    database: Database, issuer: Issuer, folder: Path, say: Say, seconds: float, chosen: str = ""
) -> list[Attack]:
    """Each attack whose name holds ``chosen``, beside others and against the time before it."""
    (row,) = database.rows(
        "SELECT auth0_sub, email::text AS email, public_id FROM users "
        "ORDER BY created_at DESC LIMIT 1"
    )
    person = Person(row["auth0_sub"], row["email"], row["public_id"])
    found = []
    with long_stories(database, person):
        for plan in plans(issuer.token(person)):
            if chosen in plan.name:
                say(plan.name)
                found.append(one_of(plan, database, issuer, person, folder, seconds))
                say(line(found[-1]))
    return found


def one_of(
    plan: Plan, database: Database, issuer: Issuer, person: Person, folder: Path, seconds: float
) -> Attack:
    """Measure one, over a server of its own."""
    with serving(database, issuer, folder) as process:
        others(process.port, WARMING)
        time.sleep(1)  # until what they ask is compiled
        alone = others(process.port, seconds)
        with contextlib.ExitStack() as held:
            if plan.locks:
                held.enter_context(locked(database, person))
            sessions = held.enter_context(Sessions(database))
            beside, got = _beside(process.port, plan, seconds)
        return Attack(plan.name, alone, beside, got, sessions.most, process.peak_memory())


class Sessions:
    """Watches what PostgreSQL's sessions hold of their own, without the shared buffers."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.most = 0

    def __enter__(self) -> Sessions:
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        pids: list[str] = []
        for number in itertools.count():
            if number % 10 == 0:
                pids = self._database.run(
                    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
                    "AND application_name = 'community-gql'"
                ).split()
            self.most = max(self.most, sum(map(_own_bytes, pids)))
            if self._stop.wait(0.1):
                return


def _own_bytes(pid: str) -> int:
    with contextlib.suppress(OSError):
        for text in Path(f"/proc/{pid}/status").read_text().splitlines():
            if text.startswith("RssAnon:"):
                return int(text.split()[1]) * 1024
    return 0


def _beside(port: int, plan: Plan, seconds: float) -> tuple[Seen, Counter[str]]:
    context = multiprocessing.get_context("spawn")
    got, goes = context.Queue(), context.Event()
    words = (goes, plan.attack, port, seconds + 1, got, *plan.given)
    attacker = context.Process(target=_begin, args=words, daemon=True)
    attacker.start()
    goes.wait(60)
    time.sleep(0.5)
    beside = others(port, seconds)
    counted: Counter[str] = Counter()
    deadline = time.monotonic() + 3
    while attacker.is_alive() and time.monotonic() < deadline:
        _count(got, counted)
        time.sleep(0.1)
    _count(got, counted)
    if attacker.is_alive():
        attacker.terminate()
    attacker.join()
    return beside, counted


def _begin(goes: Any, attack: Callable[..., None], *given: Any) -> None:
    goes.set()  # a process takes seconds to start
    attack(*given)


def _count(got: Statuses, counted: Counter[str]) -> None:
    while not got.empty():
        status, count = got.get()
        counted[status] += count


@contextlib.contextmanager
def serving(database: Database, issuer: Issuer, folder: Path) -> Iterator[Process]:
    """The server with its default limits."""
    ours = {name.upper() for name in Settings.model_fields}
    kept = {key: item for key, item in os.environ.items() if key.upper() not in ours}
    port = free_port()
    process = Process(
        [str(Path(sys.executable).parent / "community-gql"), "serve"],
        kept
        | {
            "DATABASE_URL": database.url,
            "OIDC_ISSUER": issuer.address,
            "AUTH0_AUDIENCE": AUDIENCE,
            "PORT": str(port),
            "DRAIN_SECONDS": "0",
        },
        port,
        folder / "attacks.log",
    )
    try:
        yield process
    finally:
        process.stop()


def line(attack: Attack) -> str:
    """A row of the table."""
    got = ", ".join(f"{count:,} of {status}" for status, count in sorted(attack.got.items()))
    ready = ", ".join(
        f"{count} of {status}" for status, count in sorted(attack.beside.ready.items())
    )
    return (
        f"| {attack.name} | {attack.alone.at(0.5):.1f} / {attack.alone.at(0.99):.1f} "
        f"| {attack.beside.at(0.5):.1f} / {attack.beside.at(0.99):.1f} "
        f"| {attack.ratio:.1f}{'' if attack.holds else ' **!**'} "
        f"| {attack.failed} of {attack.beside.statuses.total():,} | {ready} "
        f"| {attack.sessions / 2**20:.0f} | {attack.process / 2**20:.0f} | {got} |"
    )


def table(found: Sequence[Attack], sizes: dict[str, int]) -> str:
    """The figures as Markdown."""
    return "\n".join(
        [
            "# Attacks",
            "",
            f"What {OTHERS} others wait while one attacks with {CONNECTIONS} connections, in ms:",
            "median / slowest hundredth. One server with its default limits, "
            + ", ".join(f"{count:,} {what}" for what, count in sizes.items())
            + ".",
            "MB: the most that PostgreSQL's sessions (without shared buffers) and the server's",
            "process held. Made by `python -m benchmarks.attacks`.",
            "",
            "| attack | others alone | beside it | times | others failed | /readyz "
            "| sessions MB | process MB | the attacker got |",
            "|---|---:|---:|---:|---:|---|---:|---:|---|",
            *map(line, found),
            "",
        ]
    )


def main() -> None:
    """Measure, print the table and write it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--people", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--only", default="", help="attacks whose name holds this")
    parser.add_argument("--output", type=Path, help="a file for the table")
    given = parser.parse_args()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s {text}", file=sys.stderr, flush=True)  # noqa: T201

    with (
        ended_by_signals(),
        databases.started(FOLDER / "postgres", say) as server,
        issuing() as issuer,
    ):
        database = databases.filled(server, given.people, say)
        found = measure(database, issuer, FOLDER / "logs", say, given.seconds, given.only)
        text = table(found, database.sizes())
    print(text)  # noqa: T201
    if given.output is not None:
        given.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
