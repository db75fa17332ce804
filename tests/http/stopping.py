"""Clients that ask all the time while a server ends, and many ends of a small server, by hand:

python -m tests.http.stopping 100    prints what was answered and what was lost
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.http.server import HOST, free_port

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSING = GET[:-2] + b"Connection: close\r\n\r\n"
ROOT = Path(__file__).resolve().parents[2]


class Clients:
    """Some that ask all the time: over connections that they keep, and over new ones.

    Each rests for so many seconds between two requests.
    """

    def __init__(self, port: int, each: int = 2, rest: float = 0.01) -> None:
        self.port, self.answered, self._rest = port, 0, rest
        self.lost: list[str] = []
        self._stop = threading.Event()
        kinds = [self._keep, self._renew] * each
        self._threads = [threading.Thread(target=kind) for kind in kinds]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _renew(self) -> None:
        while not self._stop.is_set():
            try:
                connection = socket.create_connection((HOST, self.port), 10)
            except OSError:
                time.sleep(0.01)  # nobody listens: it was not accepted
                continue
            with connection:
                self._ask(connection, CLOSING, "a new connection")
            time.sleep(self._rest)

    def _keep(self) -> None:
        while not self._stop.is_set():
            try:
                connection = socket.create_connection((HOST, self.port), 10)
            except OSError:
                time.sleep(0.01)
                continue
            with connection:
                # A client looks whether a connection was closed before it uses it once more.
                while not self._stop.is_set() and not select.select([connection], [], [], 0)[0]:
                    head = self._ask(connection, GET, "a kept connection")
                    if b"connection: close" in head:
                        break
                    time.sleep(self._rest)

    def _ask(self, connection: socket.socket, data: bytes, what: str) -> bytes:
        connection.settimeout(10)
        received = b""
        try:
            connection.sendall(data)
            while not received.endswith(b"ok\n"):
                chunk = connection.recv(65536)
                if not chunk:
                    raise ConnectionError("closed")
                received += chunk
        except OSError as error:
            self.lost.append(f"{what}: {error!r} after {len(received)} bytes")
            return b"connection: close"
        self.answered += 1
        return received


# --- many ends, by hand ---


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers ``ok`` after a few milliseconds."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    await asyncio.sleep(random.uniform(0, 0.01))
    await send({
        "type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")],
    })  # fmt: skip
    await send({"type": "http.response.body", "body": b"ok\n"})


def serve(port: int, workers: int, drain_seconds: float) -> None:
    """Serve ``app`` as ``community-gql serve`` serves its own."""
    from community_gql.cli.serve import listen
    from community_gql.http.config import BoundedConfig
    from community_gql.http.limits import ConnectionLimits
    from community_gql.http.server import serve_alone
    from community_gql.http.workers import Workers
    from community_gql.settings import Settings

    config = BoundedConfig(
        "tests.http.stopping:app",
        limits=ConnectionLimits.of(Settings.load(database_url="postgresql://nobody@nowhere/none")),
        drain_seconds=drain_seconds,
        workers=workers,
        loop="uvloop",
        backlog=100,
        log_level="warning",
        timeout_graceful_shutdown=16,
    )
    with listen(HOST, port) as listener:
        if workers > 1:
            Workers(config, listener).run()
        else:
            serve_alone(config, listener)


def one_end(workers: int, drain_seconds: float, each: int) -> Clients:
    """Start a server, press it, replace its workers where it has some, and end it."""
    port = free_port()
    words = ["-m", "tests.http.stopping", "serve", str(port), str(workers), str(drain_seconds)]
    process = subprocess.Popen([sys.executable, *words], cwd=ROOT)
    try:
        while process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((HOST, port), 60) as probe:
                probe.sendall(CLOSING)
                if probe.recv(100):
                    break
            time.sleep(0.02)
        with Clients(port, each, rest=0.001) as clients:
            time.sleep(random.uniform(0.2, 1.5))
            if workers > 1:
                process.send_signal(signal.SIGHUP)
                time.sleep(random.uniform(0, 4))
            process.send_signal(signal.SIGTERM)
            if process.wait(60) not in (0, -signal.SIGTERM):
                clients.lost.append(f"it ended with {process.returncode}")
    finally:
        process.kill()
        process.wait()
    return clients


def say(line: str) -> None:
    """One line, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """As a script: ``serve`` is what it starts itself."""
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
        return
    answered, lost = 0, 0
    for number in range(int(sys.argv[1])):
        workers = (1, 4)[number % 2]
        clients = one_end(workers, random.choice([0, 0.3]), each=8)
        answered, lost = answered + clients.answered, lost + len(clients.lost)
        for line in clients.lost:
            say(f"end {number}, {workers} workers: {line}")
    say(f"{sys.argv[1]} ends: {answered} answered, {lost} lost")


if __name__ == "__main__":
    main()
