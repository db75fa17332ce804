"""What a client may hold, and what happens when the database is gone: over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from community_gql.db import migrate
from community_gql.dev.embedded import EmbeddedPostgres, discard
from community_gql.settings.checks import plain_address
from tests.http.server import HOST, Server, served
from tests.operations.test_shape_and_cost import ATTACKS

pytestmark = pytest.mark.system

HEAD = b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
JSON = {"Content-Type": "application/json"}
BODY = b'{"query":"{ users { totalCount } }"}'


def post(server: Server, query: str = "{ users { totalCount } }") -> httpx.Response:
    return httpx.post(f"{server.url}/graphql", json={"query": query}, timeout=20)


def test_a_head_that_does_not_arrive_in_time(server: Server) -> None:
    start = time.monotonic()
    answer = server.connect().send(HEAD).receive()

    assert (answer.status, answer.codes) == (408, ["BAD_REQUEST"])
    assert answer.headers["connection"] == "close"
    assert 0.9 < time.monotonic() - start < 10


def test_a_head_that_trickles(server: Server) -> None:
    sent = 0
    with server.connect() as connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while sent < 60:
            connection.send(b"G")
            sent += 1
            time.sleep(0.1)
    assert sent < 60


def test_the_second_head_of_a_connection_must_arrive_too(server: Server) -> None:
    length = str(len(BODY)).encode()
    first = HEAD + b"Content-Length: " + length + b"\r\n\r\n" + BODY
    connection = server.connect().send(first)
    received = connection.socket.recv(65536)
    assert received.startswith(b"HTTP/1.1 200 ")
    answer = connection.send(HEAD).receive()

    assert answer.status == 408


def test_a_connection_that_asks_nothing_is_closed_without_a_word(server: Server) -> None:
    assert server.connect().receive().status == 0


def test_a_body_that_does_not_arrive_in_time(server: Server) -> None:
    answer = server.connect().send(HEAD + b"Content-Length: 100\r\n\r\n{").receive()

    assert (answer.status, answer.codes) == (408, ["BAD_REQUEST"])


def test_a_long_body_is_cut_off_early(server: Server) -> None:
    announced = server.connect().send(HEAD + b"Content-Length: 999999999999\r\n\r\n").receive()
    assert (announced.status, announced.codes) == (413, ["BAD_REQUEST"])

    sent = 0
    with server.connect() as connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        while sent < 50_000_000:
            connection.send(b"10000\r\n" + b" " * 65536 + b"\r\n")
            sent += 65536
    assert sent < 20_000_000, "what the buffers of both sides hold, and no more"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /graphql?query=%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 20_000), 414),
        (b"GET /graphql?query=" + b"a" * 100_000, 414),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: %s\r\n\r\n" % (b"a" * 40_000), 431),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 9_000 + b"\r\n", 431),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 300_000, 431),
        (b"NONSENSE\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"Content-Length: x\r\n\r\n", 400),
    ],
    ids=["URL", "endless URL", "header", "headers", "endless header", "nonsense", "TLS",
         "smuggling", "length"],
)  # fmt: skip
def test_a_head_that_cannot_be_used(server: Server, request_: bytes, status: int) -> None:
    connection = server.connect()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.send(request_)
    answer = connection.receive()

    # A client that goes on sending may lose the answer with the connection.
    assert answer.status in ((status, 0) if len(request_) > 200_000 else (status,))
    if answer.status:
        assert answer.codes == ["BAD_REQUEST"]
        assert answer.headers["content-type"].startswith("application/graphql-response+json")
        assert "server" not in answer.headers


def test_an_upgrade_is_ignored(server: Server) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
    for protocol in (b"websocket", b"h2c"):
        upgrade = b"Connection: Upgrade, close\r\nUpgrade: " + protocol + b"\r\n\r\n"
        assert server.connect().send(head + upgrade).receive().status in (200, 0)
    assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_300_slow_connections_delay_nobody(server: Server) -> None:
    def slowest(count: int) -> float:
        times = []
        for _ in range(count):
            start = time.monotonic()
            assert post(server).status_code == 200
            times.append(time.monotonic() - start)
        return sorted(times)[-2]

    post(server)
    alone = slowest(20)
    slow = [socket.create_connection((HOST, server.port)) for _ in range(300)]
    try:
        for number, connection in enumerate(slow):
            connection.sendall(HEAD if number % 2 else HEAD + b"Content-Length: 100\r\n\r\n{")
        beside = slowest(20)
    finally:
        for connection in slow:
            connection.close()

    assert beside < max(0.5, 5 * alone), (alone, beside)


def test_one_connection_too_many_is_told_so(server: Server) -> None:
    many = [server.connect() for _ in range(400)]
    try:
        answer = server.connect().send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").receive()
        assert (answer.status, answer.codes) == (503, ["UNAVAILABLE"])
        assert answer.headers["retry-after"] == "1"
    finally:
        for connection in many:
            connection.close()
    deadline = time.monotonic() + 30
    while post(server).status_code != 200:  # until the server knows that they have gone
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_attack_makes_nobody_wait(server: Server) -> None:
    """While one client sends the slowest document that we know, another's answers are prompt."""
    documents = [document for _, document, status, _ in ATTACKS if status != 413]
    stop = threading.Event()

    def attack() -> None:
        with httpx.Client(base_url=server.url, timeout=20) as client:
            while not stop.is_set():
                for document in documents:
                    client.post("/graphql", json={"query": document})

    thread = threading.Thread(target=attack)
    thread.start()
    try:
        times = []
        for _ in range(30):
            start = time.monotonic()
            assert post(server, "{ __typename }").status_code == 200
            times.append(time.monotonic() - start)
    finally:
        stop.set()
        thread.join()

    assert sorted(times)[15] < 1, times


def test_the_log_is_json_and_quiet(server: Server) -> None:
    before = len(server.lines())
    post(server, "{ nope }")
    server.connect().send(b"NONSENSE\r\n\r\n").receive()
    lines = server.lines()[before:]

    assert [line["codes"] for line in lines] == [["GRAPHQL_VALIDATION_FAILED"]]
    assert {line["level"] for line in server.lines()} == {"info"}


# --- the database ---


@pytest.fixture
def own_database(
    tmp_path: Path, empty_database_url: Callable[..., str], migrated_template: str
) -> str:
    return empty_database_url(migrated_template)


def test_ready_means_database_and_migrations(
    own_database: str, workbench: Any, tmp_path: Path
) -> None:
    name = own_database.rpartition("/")[2].partition("?")[0]
    with served(own_database, tmp_path) as running:
        ready = httpx.get(f"{running.url}/readyz")
        assert (ready.status_code, ready.json()) == (
            200, {"ready": True, "database": True, "migrations": True, "identity": True},
        )  # fmt: skip

        workbench.execute(name, "UPDATE alembic_version SET version_num = '0005'")
        workbench.disconnect(name)
        behind = httpx.get(f"{running.url}/readyz")
        assert (behind.status_code, behind.json()) == (
            503, {"ready": False, "database": True, "migrations": False, "identity": True},
        )  # fmt: skip
        assert httpx.get(f"{running.url}/healthz").text == "ok\n"

        # A newer release has migrated it: this process goes on until it is replaced.
        workbench.execute(name, "UPDATE alembic_version SET version_num = '9999'")
        workbench.disconnect(name)
        assert httpx.get(f"{running.url}/readyz").status_code == 200


def test_without_the_database_everything_is_503_and_comes_back_by_itself(tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    try:
        postgres = EmbeddedPostgres.start(folder)
        postgres.create_database("community")
        url = postgres.url("community")
        migrate.upgrade(url)
        with served(url, tmp_path) as running:
            assert post(running).status_code == 200
            postgres.stop()
            for _ in range(3):
                start = time.monotonic()
                gone = post(running)
                assert time.monotonic() - start < 3
                assert gone.status_code == 503
                assert gone.json()["errors"][0]["extensions"] == {"code": "UNAVAILABLE"}
                assert "data" not in gone.json()
                assert gone.headers["retry-after"] == "1"
            assert httpx.get(f"{running.url}/readyz").status_code == 503
            assert httpx.get(f"{running.url}/healthz").status_code == 200
            with EmbeddedPostgres.start(folder):
                assert post(running).status_code == 200
                assert httpx.get(f"{running.url}/readyz").status_code == 200
            louder = [line for line in running.lines() if line["level"] != "info"]
            assert {line["logger"] for line in louder} == {"community_gql.db"}
            assert {line["level"] for line in louder} == {"warning"}
    finally:
        discard(folder)


def test_a_statement_that_takes_too_long_is_503(own_database: str, tmp_path: Path) -> None:
    """A lock that nobody gives back holds the statement until STATEMENT_TIMEOUT."""

    async def locked() -> httpx.Response:
        connection = await asyncpg.connect(plain_address(own_database))
        try:
            await connection.execute("BEGIN; LOCK TABLE users")
            return await asyncio.to_thread(post, running)
        finally:
            await connection.close()

    with served(own_database, tmp_path, statement_timeout=1, request_timeout=5) as running:
        answer = asyncio.run(locked())
        assert post(running).status_code == 200

    assert answer.status_code == 503
    assert answer.json()["errors"][0]["extensions"] == {"code": "UNAVAILABLE"}


def test_a_request_waits_for_a_connection_no_longer_than_told(
    own_database: str, tmp_path: Path
) -> None:
    async def crowd() -> list[httpx.Response]:
        connection = await asyncpg.connect(plain_address(own_database))
        try:
            await connection.execute("BEGIN; LOCK TABLE users")
            async with httpx.AsyncClient(timeout=20) as client:
                asked = [
                    client.post(f"{running.url}/graphql", content=BODY, headers=JSON)
                    for _ in range(6)
                ]
                return await asyncio.gather(*asked)
        finally:
            await connection.close()

    options = {"database_pool_size": 2, "database_pool_timeout": 1, "statement_timeout": 3}
    with served(own_database, tmp_path, **options) as running:
        answers = asyncio.run(crowd())

    assert [answer.status_code for answer in answers] == [503] * 6
    waited = sorted(answer.elapsed.total_seconds() for answer in answers)
    assert waited[3] < 2.5, "four of six had no connection, and were told so after a second"
