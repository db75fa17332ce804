"""What metrics, request ids, spans and the longer line of the log cost a small request.

    python -m benchmarks.seeing --limit 160

A process holds the application and answers the same request again and again, on a connection
without a kernel, in turns of a few milliseconds. What answers it is there several times: with all
that was added to see more, with nothing of it, and with all but one part (``cutting``). So what the
turns of a round differ by is what is looked for, at one time and with the same memory beside it.
Where code lies in memory makes it faster or slower: it is loaded anew now and then, and there are
several processes, one after the other. How far they lie apart gives the error that is printed.

``off`` has all but does not count, as if METRICS were not set. What is done by the clock, for the
metrics, is measured by itself: handing over once a second, and being asked every five seconds. A
process that is busy all the time pays it out of the same seconds: that is the share of it.
Spans are measured beside that, with a collector that throws them away: they may cost what they do.

What counts is the processor time of the process, without the database's. ``--instructions`` counts
what the processor is told to do instead, with valgrind: slow, and not touched by what else the
machine does. It leaves the kernel out, and whether memory is in the caches.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import math
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson

from benchmarks import database as databases
from benchmarks.cases import PERSON, viewers
from benchmarks.cutting import PARTS, Cutting
from benchmarks.issuing import issuing
from benchmarks.processes import free_port
from benchmarks.system import Surroundings
from benchmarks.systems import Project

EVERYTHING = frozenset(PARTS)
COUNTED = "counted"
WAYS: Mapping[str, frozenset[str]] = {
    "without": frozenset(),
    "off": EVERYTHING,
    COUNTED: EVERYTHING,
    **{f"but {part}": EVERYTHING - {part} for part in PARTS},
}
"""The parts that a turn's code has."""
SCRAPE_SECONDS = 5.0
SCRAPES, SERIES = 20, 400
"""How often it is asked for the metrics, and how many lines there are at least."""
TURN, WARMING, LEARNING = 20, 5, 200
"""So many requests are measured, after so many that are not, and more after the code is moved."""
BLOCKS, TRACED = 5, 400
"""Turns with spans, and their requests: so many that the spans are sent meanwhile."""
MOVED = 100
"""Rounds after which the code is moved."""
FOLDER = Path(__file__).resolve().parents[1] / ".data" / "benchmark"


def answer(key: str, token: str) -> None:
    """As a process of its own: measure what each line says, and write what was found."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as `serve` has it
        runner.run(_answer(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]), key, token))


class Pipe(asyncio.Transport):
    """The connection of a client that reads at once: to the server it is a socket."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 8000)})
        self.wrote: asyncio.Future[bytes] | None = None

    def write(self, data: Any) -> None:
        """An answer, which goes out in one write."""
        assert self.wrote is not None
        self.wrote.set_result(data)

    def is_closing(self) -> bool:
        """Never."""
        return False


def request_text(key: str, token: str) -> bytes:
    """The request as it comes over a connection."""
    from community_gql.schema.ids import write_id

    body = orjson.dumps({"query": PERSON.document, "variables": {"id": write_id("User", key)}})
    fields = {
        "Host": "127.0.0.1",
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Authorization": f"Bearer {token}",
        "Content-Length": str(len(body)),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST /graphql HTTP/1.1\r\n{head}\r\n".encode() + body


class Turns:
    """The application in this process, and requests for it."""

    def __init__(self, ask: Callable[[int], Any], protocol: Any) -> None:
        self._ask, self._protocol, self._original = ask, protocol, protocol._quick
        self._afterwards = self._original.runner.afterwards
        self._requests = self._afterwards.requests
        self._cutting = Cutting()
        self._requests.count(of_all_kinds())
        self._quick: dict[str, Any] = {}

    @property
    def are_ready(self) -> bool:
        """Whether there is code for all ways."""
        return len(self._quick) > 0

    async def move(self) -> None:
        """Have the code of all ways lie elsewhere in memory."""
        ways = random.sample(list(WAYS), len(WAYS))
        self._quick = {way: self._cutting.quick(WAYS[way], self._original) for way in ways}
        for way in ways:
            async with asyncio.timeout(60):  # what is cut wrongly never answers
                await self.turn(way, LEARNING)

    async def turn(self, way: str, count: int) -> float:
        """Seconds of processor time for each request that is answered in this way."""
        self._protocol._quick = self._quick[way]
        self._afterwards.requests = self._requests if way == COUNTED else None
        await self._ask(WARMING)
        self._afterwards.catch_up()
        start = time.process_time()
        await self._ask(count)
        self._afterwards.catch_up()
        return (time.process_time() - start) / count

    async def rounds(self, seconds: float) -> dict[str, list[float]]:
        """What turns took, by their way and by the round."""
        took: dict[str, list[float]] = {way: [] for way in WAYS}
        order, end, number = list(WAYS), time.monotonic() + seconds, 0
        while time.monotonic() < end:
            if number % MOVED == 0:
                await self.move()
            random.shuffle(order)
            for way in order:
                took[way].append(await self.turn(way, TURN))
            number += 1
        return took

    async def traced(self, blocks: int) -> float:
        """Microseconds that spans which are sent to a collector add to a request."""
        from community_gql.telemetry import otel, tracing

        otel.install()
        installed = tracing._start, tracing._end
        self._protocol._quick, self._afterwards.requests = self._original, None
        took: dict[bool, list[float]] = {True: [], False: []}
        for number in range(2 * blocks):
            is_on = number % 2 == 0
            tracing.install(*(installed if is_on else (None, None)))
            await self._ask(WARMING)
            start = time.process_time()
            await self._ask(TRACED)
            took[is_on].append((time.process_time() - start) / TRACED * 1e6)
        return statistics.median(took[True]) - statistics.median(took[False])


class Collector(BaseHTTPRequestHandler):
    """Takes spans, and throws them away."""

    def do_POST(self) -> None:
        """Take some."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing: it is no part of what is measured."""


@contextlib.contextmanager
def collecting() -> Iterator[str]:
    """The address of a collector, until the block ends."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def of_all_kinds() -> list[Any]:
    """Requests of as many kinds as a server sees in the long run: each makes metrics longer."""
    from community_gql.http.request_log import RequestLog

    kinds = itertools.product(
        ("query", "mutation"), ("compiled", "loaders"), (200, 294, 422, 500, 503)
    )
    return [RequestLog(type=t, executor=e, status=s, codes=(f"C{s}",)) for t, e, s in kinds]


@contextlib.contextmanager
def handing_over() -> Iterator[list[float]]:
    """Milliseconds of processor time that each handing over to the metrics takes."""
    from community_gql.http.gauges import Gauges

    took: list[float] = []
    tell = Gauges.tell

    def timed(self: Gauges) -> None:
        self._afterwards.catch_up()  # which is no part of it
        start = time.thread_time()
        tell(self)
        took.append((time.thread_time() - start) * 1000)

    Gauges.tell = timed  # type: ignore[method-assign]
    yield took
    Gauges.tell = tell  # type: ignore[method-assign]


async def _answer(folder: Path, key: str, token: str) -> None:
    import gc
    import logging.config

    from community_gql.app import create_app
    from community_gql.cli.serve import log_config
    from community_gql.http.config import BoundedConfig
    from community_gql.http.connections import Connections
    from community_gql.http.limits import ConnectionLimits
    from community_gql.http.protocol import BoundedProtocol
    from community_gql.settings import Settings
    from community_gql.telemetry.exposition import exposed

    logging.config.dictConfig(log_config("info", json=True))
    settings = Settings.load_to_serve()
    app = create_app(settings)
    text, loop, pipe = request_text(key, token), asyncio.get_running_loop(), Pipe()
    config = BoundedConfig(app, limits=ConnectionLimits(), log_config=None)
    config.load()

    async def ask(count: int) -> bytes:
        for _ in range(count):
            pipe.wrote = loop.create_future()
            protocol.data_received(text)
            answered = await pipe.wrote
        return answered

    assert settings.metrics is not None
    with exposed(*settings.metrics, folder), handing_over() as handed:
        async with app.router.lifespan_context(app) as state:
            protocol = BoundedProtocol(config, Connections(), dict(state or {}), loop)
            protocol.connection_made(pipe)
            await ask(4)
            await asyncio.sleep(1)  # until it is compiled
            answered = await ask(500)
            assert answered.startswith(b"HTTP/1.1 200"), answered
            assert b'"user":{' in answered, answered
            turns = Turns(ask, protocol)
            gc.collect()
            gc.freeze()
            while line := await loop.run_in_executor(None, sys.stdin.readline):
                what, number = json.loads(line)
                told: Any = time.process_time()
                if what == "rounds":
                    told = await turns.rounds(number)
                elif what == "traced":
                    told = await turns.traced(number)
                elif what == "handed":
                    told = handed
                elif what in WAYS:
                    if not turns.are_ready:
                        await turns.move()
                    told = await turns.turn(what, number)
                print(json.dumps(told), flush=True)  # noqa: T201
            os._exit(0)


Whom = tuple[str, str, dict[str, str]]
"""The key of the person who is asked for, the token of who asks, and the environment."""


class Child:
    """One of the processes, started by ``under`` if that is not empty."""

    def __init__(self, whom: Whom, *under: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._address = f"127.0.0.1:{free_port()}"
        key, token, environment = whom
        # From the start: prometheus-client looks when it is imported.
        measures = {"METRICS": self._address, "PROMETHEUS_MULTIPROC_DIR": self._folder.name}
        environment = environment | measures
        words = [sys.executable, "-m", "benchmarks.seeing", "--answer", key, token]
        self.process = subprocess.Popen(
            [*under, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment | ({"PYTHONHASHSEED": "0"} if under else {}),
        )

    def take(self, what: str, number: float = 0) -> Any:
        """What it tells of that."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([what, number]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        """Have it end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)
        self._folder.cleanup()

    def scrape(self) -> float:
        """Milliseconds of its processor time for being asked for its metrics once."""
        start = self.take("now")
        for _ in range(SCRAPES):
            found = urllib.request.urlopen(f"http://{self._address}/metrics", timeout=20).read()
            assert found.count(b"\n") > SERIES, found
        return float(self.take("now") - start) / SCRAPES * 1000


def instructions(way: str, whom: Whom, count: int) -> float:
    """How many instructions a request takes, over so many requests."""
    with tempfile.NamedTemporaryFile() as said:
        under = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--log-file={said.name}"]
        child = Child(whom, *under, f"--callgrind-out-file={os.devnull}")
        child.take(way, 300)
        switch = ["callgrind_control", str(child.process.pid), "-i"]
        subprocess.run([*switch, "on"], check=True, capture_output=True)
        child.take(way, count - WARMING)
        subprocess.run([*switch, "off"], check=True, capture_output=True)
        child.end()
        found = re.search(r"Collected : (\d+)", said.read().decode())
        assert found is not None
        return int(found[1]) / count


Found = dict[str, list[float]]
"""By what it is of, a number for each process."""


def measured(whom: Whom, processes: int, seconds: float) -> Found:
    """Microseconds of a request without, of what each way takes more, and of the clock's work."""
    found: Found = {}
    for _ in range(processes):
        child = Child(whom)
        try:
            took = child.take("rounds", seconds)
            scraped, handed = child.scrape(), child.take("handed")
            traced = child.take("traced", BLOCKS)
        finally:
            child.end()
        base = middle(took["without"]) * 1e6
        clocks = (statistics.median(handed) + scraped / SCRAPE_SECONDS) / 1000
        told = {
            "rounds": float(len(took["off"])),
            "without": base,
            "off": between(took["off"], took["without"]),
            COUNTED: between(took[COUNTED], took["off"]),
            **{part: between(took["off"], took[f"but {part}"]) for part in PARTS},
            "handing over": statistics.median(handed),
            "a scrape": scraped,
            "by the clock": clocks * base,
            "traced": traced,
        }
        told["scraped"] = told["off"] + told[COUNTED] + told["by the clock"]
        for name, number in told.items():
            found.setdefault(name, []).append(number)
    return found


def middle(numbers: list[float]) -> float:
    """The mean of the middle half."""
    return statistics.fmean(sorted(numbers)[len(numbers) // 4 : -(len(numbers) // 4) or None])


def between(more: list[float], less: list[float]) -> float:
    """Microseconds that a round's turns differ by."""
    return middle([a - b for a, b in zip(more, less, strict=True)]) * 1e6


def report(found: Found) -> None:
    """Print what each part takes, and how far the processes lie apart."""
    base = statistics.fmean(found["without"])

    def told(name: str, says: str) -> None:
        mean, error = statistics.fmean(found[name]), deviation(found[name])
        print(  # noqa: T201
            f"{says:42} {mean:7.2f} µs, {mean / base * 100:5.2f} % "
            f"(standard error {error / base * 100:.2f} %)"
        )

    print(f"{len(found['off'])} processes, {sum(found['rounds']):.0f} rounds")  # noqa: T201
    print(f"{'a request without':42} {base:7.1f} µs")  # noqa: T201
    for part in PARTS:
        told(part, f"  {part}")
    told("off", "off: all of these together")
    told(COUNTED, "  counting for the metrics")
    for name in ("handing over", "a scrape"):
        print(f"  {name:40} {statistics.fmean(found[name]):7.2f} ms each")  # noqa: T201
    told("by the clock", "  handed over every second, scraped every 5")
    told("scraped", "scraped: all of these together")
    told("traced", "spans sent to a collector, on the long way")


def deviation(numbers: list[float]) -> float:
    """The standard error of their mean."""
    if len(numbers) < 2:
        return float("nan")
    return statistics.stdev(numbers) / math.sqrt(len(numbers))


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--people", type=int, default=300)
    parser.add_argument("--processes", type=int, default=6)
    parser.add_argument("--limit", type=float, default=160, help="seconds, of all together")
    parser.add_argument("--instructions", type=int, metavar="REQUESTS", help="count them instead")
    parser.add_argument("--answer", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.answer:
        answer(*given.answer)
        return
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr)  # noqa: E731, T201
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (
        databases.started(FOLDER / "postgres", say) as server,
        issuing() as issuer,
        collecting() as collector,
    ):
        database = databases.filled(server, given.people, say)
        (person, *_) = viewers(database, 1)
        surroundings = Surroundings(database, issuer, free_port())
        environment = Project().environment(surroundings)
        environment = environment | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector}
        whom = person.key, issuer.token(person), dict(environment)
        if given.instructions:
            counts = {way: instructions(way, whom, given.instructions) for way in WAYS}
            for way, number in counts.items():
                print(f"{way:24} {number:9,.0f}, {number / counts['without']:.4f} of without")  # noqa: T201
            return
        report(measured(whom, given.processes, given.limit / given.processes))


if __name__ == "__main__":
    main()
