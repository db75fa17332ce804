"""How ``serve`` starts and ends, with one process and with several."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.http.server import HOST, Server, free_port, served
from tests.http.stopping import Clients
from tests.support.provider import provided

pytestmark = pytest.mark.system

STOPS = int(os.environ.get("STOPS", "2"))
"""How often it is ended; ``python -m tests.http.stopping 100`` does it more often."""
COMMAND = str(Path(sys.executable).with_name("community-gql"))


@pytest.fixture
def url(worker_database: str, workbench: Any) -> str:
    address: str = workbench.server.url(worker_database)
    return address


def until(true: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def exists(pid: int) -> bool:
    """Whether the process lives; one that nobody has buried yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def workers(server: Server) -> list[int]:
    """The processes that serve, below the one that was started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            command = (path.parent / "cmdline").read_bytes()
            if parent == server.process.pid and b"spawn_main" in command:
                found.append(int(path.parent.name))
    return found


def all_serve(server: Server, count: int = 2) -> bool:
    """Whether so many processes have started to serve, since the server began."""
    lines = [line["message"] for line in server.lines()]
    return lines.count("Application startup complete.") >= count


def are_new(server: Server, before: set[int]) -> bool:
    found = workers(server)
    return len(found) == 2 and not before & set(found)


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
        return True
    return False


# --- the end ---


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("time_", range(STOPS))
def test_sigterm_loses_no_request(url: str, tmp_path: Path, count: int, time_: int) -> None:
    with served(url, tmp_path, workers=count, drain_seconds=0.3) as server:
        with Clients(server.port) as clients:
            time.sleep(0.2)
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(60)
        assert clients.answered > 20
        assert clients.lost == []
        assert not listens(server.port)
        assert {line["level"] for line in server.lines()} == {"info"}


def test_a_signal_to_all_processes_loses_no_request(url: str, tmp_path: Path) -> None:
    """As systemd and a terminal send it: a worker may get it before its parent."""
    with served(url, tmp_path, workers=2, drain_seconds=1.5) as server:
        until(lambda: all_serve(server), 120)
        with Clients(server.port) as clients:
            time.sleep(0.2)
            for pid in workers(server):
                os.kill(pid, signal.SIGTERM)
            time.sleep(0.1)
            server.process.send_signal(signal.SIGTERM)
            start = time.monotonic()
            server.process.wait(60)
        assert time.monotonic() - start > 1.4
        assert clients.answered > 20
        assert clients.lost == []
        assert {line["level"] for line in server.lines()} == {"info"}


@pytest.mark.parametrize("count", [1, 2])
def test_sigterm_is_said_before_it_is_done(url: str, tmp_path: Path, count: int) -> None:
    """Not ready at once, everything else as before, and each answer the last of its connection."""
    with served(url, tmp_path, workers=count, drain_seconds=3) as server:
        assert httpx.get(f"{server.url}/readyz").status_code == 200
        server.process.send_signal(signal.SIGTERM)
        start = time.monotonic()
        until(lambda: httpx.get(f"{server.url}/readyz").status_code == 503, 2)
        answer = httpx.post(f"{server.url}/graphql", json={"query": "{ __typename }"})
        assert answer.status_code == 200
        assert answer.headers["connection"] == "close"
        assert httpx.get(f"{server.url}/readyz").json() == {"ready": False, "draining": True}
        server.process.wait(60)
        assert time.monotonic() - start > 2.9


@pytest.mark.parametrize("count", [1, 2])
def test_what_runs_at_the_end_is_answered(url: str, tmp_path: Path, count: int) -> None:
    """A body that is half there when the signal comes, and there when nobody new is accepted."""
    body = b'{"query":"{ __typename }"}'
    head = b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with served(url, tmp_path, workers=count, drain_seconds=0) as server:
        connection = server.connect()
        connection.send(head + b"Content-Length: %d\r\n\r\n" % len(body) + body[:5])
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: not listens(server.port))
        answer = connection.send(body[5:]).receive()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        server.process.wait(60)


def test_ctrl_c_does_not_wait(url: str, tmp_path: Path) -> None:
    for count in (1, 2):
        with served(url, tmp_path, workers=count, drain_seconds=300) as server:
            server.process.send_signal(signal.SIGINT)
            server.process.wait(60)
            assert not listens(server.port)


# --- SIGHUP ---


def test_sighup_leaves_one_process_alone(url: str, tmp_path: Path) -> None:
    with served(url, tmp_path) as server, Clients(server.port) as clients:
        for _ in range(10):
            server.process.send_signal(signal.SIGHUP)
            time.sleep(0.05)
        assert server.process.poll() is None
        answered = clients.answered
        until(lambda: clients.answered > answered + 10)
        assert clients.lost == []


def test_sighup_replaces_workers_without_losing_a_request(url: str, tmp_path: Path) -> None:
    with served(url, tmp_path, workers=2, drain_seconds=0.3) as server:
        until(lambda: len(workers(server)) == 2)
        with Clients(server.port) as clients:
            for _ in range(2):  # also those that replaced others
                before = set(workers(server))
                server.process.send_signal(signal.SIGHUP)
                until(functools.partial(are_new, server, before), 240)
        assert clients.answered > 100
        assert clients.lost == []
        assert {line["level"] for line in server.lines()} == {"info"}


def test_a_replacement_that_cannot_start_leaves_the_old(url: str, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"a" * 64: "{ __typename }"}))
    given: dict[str, Any] = {"trusted_documents": "allow", "trusted_documents_files": manifest}
    with served(url, tmp_path, workers=2, **given) as server:
        until(lambda: all_serve(server), 120)
        before = sorted(workers(server))
        manifest.unlink()
        server.process.send_signal(signal.SIGHUP)
        until(lambda: any(line["level"] == "error" for line in server.lines()), 120)
        said = [line["message"] for line in server.lines() if line["level"] == "error"]
        assert len(said) == 1
        assert str(manifest) in said[0]
        until(lambda: sorted(workers(server)) == before)
        assert httpx.get(f"{server.url}/healthz").status_code == 200


# --- who dies ---


def test_workers_end_when_their_parent_is_killed(url: str, tmp_path: Path) -> None:
    with served(url, tmp_path, workers=2, drain_seconds=60) as server:
        until(lambda: len(workers(server)) == 2)
        orphans = workers(server)
        server.process.kill()
        server.process.wait(60)
        until(lambda: not any(map(exists, orphans)), 60)  # one may still be starting
        assert not listens(server.port)


def test_a_worker_that_dies_is_replaced_and_spoken_of(url: str, tmp_path: Path) -> None:
    with served(url, tmp_path, workers=2) as server:
        until(lambda: len(workers(server)) == 2)
        victim, other = workers(server)
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(found := workers(server)) == 2 and victim not in found)
        assert other in workers(server)
        warnings = [line["message"] for line in server.lines() if line["level"] == "warning"]
        assert len(warnings) == 1
        assert str(victim) in warnings[0]
        assert "SIGKILL" in warnings[0]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_to_end_is_replaced(url: str, tmp_path: Path, sent: int) -> None:
    """The others serve on, and whoever is new is let in all the time."""
    with served(url, tmp_path, workers=2, drain_seconds=0.3) as server:
        until(lambda: all_serve(server), 120)
        victim, other = workers(server)
        with Clients(server.port) as clients:
            os.kill(victim, sent)
            until(lambda: not exists(victim), 120)
        assert clients.lost == []
        until(lambda: len(workers(server)) == 2)
        assert other in workers(server)
        with Clients(server.port) as clients:
            until(lambda: clients.answered > 20)
        assert {line["level"] for line in server.lines()} == {"info"}


# --- the start ---


@contextlib.contextmanager
def begun(url: str, **environment: object) -> Iterator[subprocess.Popen[str]]:
    given = {name.upper(): str(value) for name, value in environment.items()}
    with provided() as identity:
        process = subprocess.Popen(
            [COMMAND, "serve", "--port", str(free_port())],
            env=os.environ | {"DATABASE_URL": url} | identity | given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait(10)


def test_a_start_that_cannot_succeed_ends_alike_with_any_number_of_workers(
    url: str, tmp_path: Path
) -> None:
    missing = tmp_path / "missing.json"
    given = {"trusted_documents": "enforce", "trusted_documents_files": missing}
    ends = []
    for count in (1, 4):
        with begun(url, workers=count, **given) as process:
            said, _ = process.communicate(timeout=120)
            assert "Traceback" not in said
            (sentence,) = [line for line in said.splitlines() if line.startswith("error: ")]
            ends.append((process.returncode, sentence))

    assert ends == [(1, ends[0][1])] * 2
    assert str(missing) in ends[0][1]
