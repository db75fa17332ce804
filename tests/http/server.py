"""``community-gql serve`` as a process of its own, for tests of what only a socket shows."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import orjson

from community_gql.http.afterwards import SECONDS
from tests.support.provider import provided

HOST = "127.0.0.1"


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged; every line must be JSON.

        Lines of requests are late by ``afterwards.SECONDS``: it is waited until none comes for ten
        times as long.
        """
        size = -1
        while size != (size := self.log.stat().st_size):
            time.sleep(10 * SECONDS)
        return [orjson.loads(line) for line in self.log.read_bytes().splitlines()]

    def connect(self, timeout: float = 20) -> Raw:
        return Raw(socket.create_connection((HOST, self.port), timeout=timeout))

    def cpu(self) -> float:
        """The seconds of CPU that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Raw:
    """A connection for bytes as they are."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    def send(self, data: bytes) -> Self:
        self.socket.sendall(data)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def receive(self) -> Received:
        """Everything up to the end of the connection, which is then closed."""
        data = b""
        try:
            while chunk := self.socket.recv(65536):
                data += chunk
        except ConnectionResetError:
            pass
        finally:
            self.close()
        head, _, body = data.partition(b"\r\n\r\n")
        status_line, *fields = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (field.partition(":") for field in fields)
        }
        status = int(status_line.split()[1]) if status_line else 0
        return Received(status, headers, body)

    def close(self) -> None:
        self.socket.close()


@dataclass
class Received:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def codes(self) -> list[str]:
        return [error["extensions"]["code"] for error in orjson.loads(self.body)["errors"]]


@contextmanager
def served(
    database_url: str, folder: Path, *, files: int | None = None, **environment: object
) -> Iterator[Server]:
    """The server on a free port, until the block ends; it may open ``files`` files."""
    port = free_port()
    log = folder / f"serve-{port}.log"
    environment = {"drain_seconds": 0, **environment}
    given = {name.upper(): str(value) for name, value in environment.items()}
    limited = [] if files is None else ["prlimit", f"--nofile={files}:{files}"]
    with provided() as identity:
        with log.open("wb") as stderr:
            program = str(Path(sys.executable).with_name("community-gql"))
            process = subprocess.Popen(
                [*limited, program, "serve", "--port", str(port)],
                env=os.environ | {"DATABASE_URL": database_url} | identity | given,
                stdout=stderr,
                stderr=stderr,
            )
        server = Server(process, port, log)
        try:
            _await(server)
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _await(server: Server) -> None:
    for _ in range(200):
        if server.process.poll() is not None:
            raise AssertionError(server.log.read_text())
        try:
            httpx.get(f"{server.url}/healthz", timeout=60)
        except httpx.ConnectError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the server does not answer")
