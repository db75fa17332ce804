"""What metrics, request ids, spans and the longer line of the log cost a small request.

    python -m benchmarks.seeing --rounds 200

Processes hold the application and answer the same request again and again, on a connection without
a kernel, in turns of some milliseconds, so that whatever else the machine does hits all alike. Two
that run the same code differ by some per cent, by where their memory lies: so there are several of
each kind, and how far they lie apart is printed. The kinds differ in this alone:
``without`` has cut out of its code what was added to see more, ``off`` has it but METRICS is not
set, ``scraped`` has METRICS and is asked for its metrics every five seconds. What counts is the
processor time of the process, without the database's.

``--instructions`` counts what the processor is told to do instead, with valgrind: a process of each
kind, slow, and less touched by what else the machine does; runs still differ by some per cent. It
leaves the kernel out, and whether memory is in the caches; and nobody asks for the metrics
meanwhile.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import importlib.machinery
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from benchmarks import database as databases
from benchmarks.cases import PERSON, viewers
from benchmarks.issuing import issuing
from benchmarks.processes import free_port
from benchmarks.system import Surroundings
from benchmarks.systems import Project

WAYS = ("without", "off", "scraped")
SCRAPE_SECONDS = 5.0
FOLDER = Path(__file__).resolve().parents[1] / ".data" / "benchmark"
OLDER_FIELDS = (
    *("method", "path", "operation", "document", "viewer", "cost", "statements", "executor"),
    *("fallback_reason", "database_milliseconds", "status", "milliseconds", "codes"),
)
"""What the line of the log had before."""
CUT = {
    "self.request_id = request_id(": "self.request_id = ''",
    "fields += b'x-request-id": "pass",
    "current.set(": "pass",
    "log.client = ": "pass",
    "if head.traceparent:": "pass",
    "if tracing.on:": "pass",
    "asked.prepare_seconds = ": "pass",
    "log.prepare_milliseconds = ": "pass",
    "log.pool_milliseconds = ": "pass",
    "if self.requests is not None:": "pass",
}
"""How the statements begin that were added to see more, and what was there before."""
TRACE = "'trace_id'"
"""A field of the line that was added."""


class Cut(ast.NodeTransformer):
    """Takes what was added out of a module."""

    def __init__(self) -> None:
        self.missing = {*CUT, TRACE}
        """What was not found yet."""

    def visit(self, node: ast.AST) -> Any:
        """The node without it."""
        if isinstance(node, ast.stmt):
            text = ast.unparse(node)
            for start, before in CUT.items():
                if text.startswith(start):
                    self.missing.discard(start)
                    return ast.parse(before).body[0]
        self.generic_visit(node)
        if isinstance(node, ast.Dict) and TRACE in map(ast.unparse, filter(None, node.keys)):
            pairs = list(zip(node.keys, node.values, strict=True))
            kept_pairs = [(k, v) for k, v in pairs if ast.literal_eval(k or v) in OLDER_FIELDS]
            self.missing.discard(TRACE)
            node.keys, node.values = [k for k, _ in kept_pairs], [v for _, v in kept_pairs]
        return node


def cut_out() -> Cut:
    """Have the modules of the product imported without what was added."""
    found = Cut()
    load: Callable[..., Any] = importlib.machinery.SourceFileLoader.get_code

    def get_code(loader: importlib.machinery.SourceFileLoader, name: str) -> Any:
        if not name.startswith("community_gql."):
            return load(loader, name)
        path = loader.get_filename(name)
        tree = ast.fix_missing_locations(found.visit(ast.parse(Path(path).read_text())))
        return compile(tree, path, "exec")

    importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[method-assign, assignment]
    return found


def answer(way: str, key: str, token: str) -> None:
    """As a process of its own: answer so many requests for each line, and write what they took."""
    cut = cut_out() if way == "without" else None
    with tempfile.TemporaryDirectory() as folder:
        if way == "scraped":
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
            os.environ["METRICS"] = f"127.0.0.1:{free_port()}"
        asyncio.run(_answer(Path(folder), key, token, cut))


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


async def _answer(folder: Path, key: str, token: str, cut: Any) -> None:
    import gc
    import logging.config

    from community_gql.app import create_app
    from community_gql.cli.serve import log_config
    from community_gql.http.config import BoundedConfig
    from community_gql.http.connections import Connections
    from community_gql.http.limits import ConnectionLimits
    from community_gql.http.protocol import BoundedProtocol
    from community_gql.settings import Settings

    logging.config.dictConfig(log_config("info", json=True))
    settings = Settings.load_to_serve()
    app = create_app(settings)
    if cut is not None and cut.missing:
        raise SystemExit(f"{cut.missing} is nowhere in the code: CUT has to follow it")
    text, loop, pipe = request_text(key, token), asyncio.get_running_loop(), Pipe()
    config = BoundedConfig(app, limits=ConnectionLimits(), log_config=None)
    config.load()

    async def ask(count: int) -> bytes:
        for _ in range(count):
            pipe.wrote = loop.create_future()
            protocol.data_received(text)
            answered = await pipe.wrote
        return answered

    if settings.metrics is not None:
        from community_gql.telemetry.exposition import exposed

        shown = exposed(*settings.metrics, folder)
        shown.__enter__()
    async with app.router.lifespan_context(app) as state:
        protocol = BoundedProtocol(config, Connections(), dict(state or {}), loop)
        protocol.connection_made(pipe)
        await ask(4)
        await asyncio.sleep(1)  # until it is compiled
        answered = await ask(500)
        assert answered.startswith(b"HTTP/1.1 200"), answered
        assert b'"user":{' in answered, answered
        gc.collect()
        gc.freeze()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            start = time.process_time()
            await ask(int(line))
            took = time.process_time() - start
            sys.stdout.write(f"{took} {os.environ.get('METRICS', '-')}\n")
            sys.stdout.flush()
    os._exit(0)


Whom = tuple[str, str, dict[str, str]]
"""The key of the person who is asked for, the token of who asks, and the environment."""


class Child:
    """One of the processes, started by ``under`` if that is not empty."""

    def __init__(self, way: str, whom: Whom, *under: str) -> None:
        self.way, self.address = way, "-"
        key, token, environment = whom
        words = [sys.executable, "-m", "benchmarks.seeing", "--answer", way, key, token]
        self.process = subprocess.Popen(
            [*under, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment | ({"PYTHONHASHSEED": "0"} if under else {}),
        )

    def take(self, count: int) -> float:
        """Seconds of processor time for so many requests."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        took, self.address = self.process.stdout.readline().split()
        return float(took)


def instructions(way: str, whom: Whom, count: int) -> float:
    """How many instructions a request takes, over so many requests."""
    with tempfile.NamedTemporaryFile() as said:
        under = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--log-file={said.name}"]
        child = Child(way, whom, *under, f"--callgrind-out-file={os.devnull}")
        child.take(300)
        switch = ["callgrind_control", str(child.process.pid), "-i"]
        subprocess.run([*switch, "on"], check=True, capture_output=True)
        child.take(count)
        subprocess.run([*switch, "off"], check=True, capture_output=True)
        assert child.process.stdin is not None
        child.process.stdin.close()
        child.process.wait(60)
        found = re.search(r"Collected : (\d+)", said.read().decode())
        assert found is not None
        return int(found[1]) / count


def scrape(children: list[Child], stop: threading.Event) -> None:
    """Ask for the metrics as Prometheus does."""
    while not stop.wait(SCRAPE_SECONDS):
        for child in children:
            if child.address != "-":
                urllib.request.urlopen(f"http://{child.address}/metrics", timeout=20).read()


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--people", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--requests", type=int, default=100, help="in each turn")
    parser.add_argument("--processes", type=int, default=4, help="of each kind")
    parser.add_argument("--limit", type=float, default=200, help="seconds, then it is enough")
    parser.add_argument("--instructions", type=int, metavar="REQUESTS", help="count them instead")
    parser.add_argument("--answer", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.answer:
        answer(*given.answer)
        return
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr)  # noqa: E731, T201
    FOLDER.mkdir(parents=True, exist_ok=True)
    with databases.started(FOLDER / "postgres", say) as server, issuing() as issuer:
        database = databases.filled(server, given.people, say)
        (person, *_) = viewers(database, 1)
        surroundings = Surroundings(database, issuer, free_port())
        environment = Project().environment(surroundings)
        whom = person.key, issuer.token(person), dict(environment)
        if given.instructions:
            counts = {way: instructions(way, whom, given.instructions) for way in WAYS}
            for way, number in counts.items():
                print(f"{way:8} {number:9,.0f}, {number / counts['without']:.4f} of without")  # noqa: T201
            return
        children = [Child(way, whom) for _ in range(given.processes) for way in WAYS]
        stop = threading.Event()
        thread = threading.Thread(target=scrape, args=(children, stop))
        took: dict[Child, list[float]] = {child: [] for child in children}
        try:
            for child in children:
                child.take(given.requests)
            thread.start()
            end = time.monotonic() + given.limit
            for number in range(given.rounds):
                if time.monotonic() > end:
                    break
                first = number % len(children)
                for child in children[first:] + children[:first]:
                    took[child].append(child.take(given.requests) / given.requests)
        finally:
            stop.set()
            for child in children:
                child.process.kill()
    report(took)


def report(took: dict[Child, list[float]]) -> None:
    """Print what each kind took, and how far its processes lie apart."""
    medians = {
        way: [statistics.median(took[child]) * 1e6 for child in took if child.way == way]
        for way in WAYS
    }
    base = statistics.fmean(medians["without"])
    print(f"{len(next(iter(took.values())))} turns")  # noqa: T201
    for way, found in medians.items():
        mean = statistics.fmean(found)
        error = statistics.stdev(found) / len(found) ** 0.5 if len(found) > 1 else float("nan")
        print(  # noqa: T201
            f"{way:8} {mean:7.1f} µs a request, {mean / base:.4f} of without "
            f"(its processes {min(found):.1f} to {max(found):.1f}, standard error {error:.1f})"
        )


if __name__ == "__main__":
    main()
