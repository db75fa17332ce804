"""Where requests end, who they are from, and how long connections live: with raw bytes."""

# ruff: noqa: E501  (a request is read best in one line)
from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.http.server import HOST, Server, served

POST = b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
BODY = b'{"query":"{ __typename }"}'
LENGTH = b"Content-Length: %d\r\n\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
CHUNK = b"%x\r\n%s\r\n" % (len(BODY), BODY)
NEXT = b"GET /healthz HTTP/1.1\r\nHost: next\r\n\r\n"


@pytest.fixture(scope="module")
def server(
    worker_database: str, workbench: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with little patience, for which this machine is not a proxy."""
    url = workbench.server.url(worker_database)
    with served(
        url,
        tmp_path_factory.mktemp("serve"),
        header_timeout=1,
        body_timeout=1,
        idle_timeout=0.5,
        max_connections_per_address=50,
        trusted_proxies="127.0.0.9",
        cost_per_minute=100_000_000,
    ) as running:
        yield running


def connected(server: Server, source: str = HOST) -> socket.socket:
    return socket.create_connection((HOST, server.port), 20, source_address=(source, 0))


def everything(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    data = b""
    with connection, suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            data += chunk
    return data


def statuses(data: bytes) -> list[int]:
    """The statuses of all answers, which must end where their lengths say."""
    found = []
    while data:
        head, _, rest = data.partition(b"\r\n\r\n")
        line, *fields = head.split(b"\r\n")
        values = dict(field.lower().split(b": ", 1) for field in fields)
        found.append(int(line.split()[1]))
        data = rest[int(values.get(b"content-length", b"0")) :]
    return found


def asked(server: Server, *packets: bytes, source: str = HOST) -> list[int]:
    connection = connected(server, source)
    with suppress(BrokenPipeError, ConnectionResetError):
        for packet in packets:
            connection.sendall(packet)
            time.sleep(0.05)
    return statuses(everything(connection))


FRAMING = {
    "well": (POST + LENGTH + BODY + NEXT, [200, 200]),
    "chunked": (POST + CHUNKED + CHUNK + b"0\r\n\r\n" + NEXT, [200, 200]),
    "chunk extension": (POST + CHUNKED + CHUNK.replace(b"\r\n", b";a=b\r\n", 1) + b"0\r\n\r\n" + NEXT, [200, 200]),
    "no Host": (b"GET /healthz HTTP/1.1\r\n\r\n" + NEXT, [400]),
    "two Hosts": (GET + b"Host: y\r\n\r\n" + NEXT, [400]),
    "HTTP/1.0 without Host": (b"GET /healthz HTTP/1.0\r\n\r\n" + NEXT, [200]),
    "length and chunks": (POST + b"Content-Length: 5\r\n" + CHUNKED + b"0\r\n\r\n" + NEXT, [400]),
    "chunks and length": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + NEXT, [400]),
    "two lengths": (POST + b"Content-Length: 3\r\n" + LENGTH + BODY + NEXT, [400]),
    "equal lengths": (POST + LENGTH[:-2] + LENGTH + BODY + NEXT, [400]),
    "listed lengths": (POST + b"Content-Length: 26, 26\r\n\r\n" + BODY + NEXT, [400]),
    "signed length": (POST + b"Content-Length: +26\r\n\r\n" + BODY + NEXT, [400]),
    "negative length": (POST + b"Content-Length: -1\r\n\r\n" + BODY + NEXT, [400]),
    "hexadecimal length": (POST + b"Content-Length: 0x1a\r\n\r\n" + BODY + NEXT, [400]),
    "empty length": (POST + b"Content-Length: \r\n\r\n" + NEXT, [400]),
    "overflowing length": (POST + b"Content-Length: 18446744073709551642\r\n\r\n" + BODY + NEXT, [400]),
    "gzip, chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNK + b"0\r\n\r\n" + NEXT, [501]),
    "two codings": (POST + b"Transfer-Encoding: gzip\r\n" + CHUNKED + CHUNK + b"0\r\n\r\n" + NEXT, [501]),
    "chunked twice": (POST + b"Transfer-Encoding: chunked\r\n" + CHUNKED + CHUNK + b"0\r\n\r\n" + NEXT, [400]),
    "gzip": (POST + b"Transfer-Encoding: gzip\r\n\r\n" + CHUNK + b"0\r\n\r\n" + NEXT, [501]),
    "chunked, identity": (POST + b"Transfer-Encoding: chunked, identity\r\n\r\n" + CHUNK + b"0\r\n\r\n" + NEXT, [400]),
    "quoted coding": (POST + b'Transfer-Encoding: "chunked"\r\n\r\n' + CHUNK + b"0\r\n\r\n" + NEXT, [501]),
    "xchunked": (POST + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNK + b"0\r\n\r\n" + NEXT, [501]),
    "chunked in HTTP/1.0": (POST.replace(b"1.1", b"1.0") + CHUNKED + CHUNK + b"0\r\n\r\n" + NEXT, [400]),
    "space before the colon": (POST + b"Content-Length : 26\r\n\r\n" + BODY + NEXT, [400]),
    "tab before the colon": (POST + b"Transfer-Encoding\t: chunked\r\n\r\n" + CHUNK + b"0\r\n\r\n" + NEXT, [400]),
    "folded line": (POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + CHUNK + b"0\r\n\r\n" + NEXT, [400]),
    "folded field": (GET + b"A: b\r\n c\r\n\r\n" + NEXT, [400]),
    "folded first line": (b"GET /healthz HTTP/1.1\r\n Host: x\r\n\r\n" + NEXT, [400]),
    "bare LF": (POST.replace(b"\r\n", b"\n") + LENGTH.replace(b"\r\n", b"\n") + BODY + NEXT, [400]),
    "LF after a field": (GET + b"A: b\n\r\n" + NEXT, [400]),
    "LF at the end": (GET + b"A: b\r\n\n" + NEXT, [400]),
    "bare CR": (GET + b"A: b\rContent-Length: 26\r\n\r\n" + NEXT, [400]),
    "NUL in a value": (GET + b"A: b\x00c\r\n\r\n" + NEXT, [400]),
    "NUL in a name": (GET + b"A\x00: b\r\n\r\n" + NEXT, [400]),
    "a field without name": (GET + b": b\r\n\r\n" + NEXT, [400]),
    "a field without colon": (GET + b"nonsense\r\n\r\n" + NEXT, [400]),
    "a field of another script": (GET + b"H\xc3\xb6st: x\r\n\r\n" + NEXT, [400]),
    "an empty field first": (b"GET /healthz HTTP/1.1\r\nA:\r\nHost: x\r\n\r\n" + NEXT, [200, 200]),
    "an empty field last": (GET + b"Transfer-Encoding:\r\n\r\n" + NEXT, [400]),
    "LF after a chunk's size": (POST + CHUNKED + CHUNK.replace(b"\r\n", b"\n", 1) + b"0\r\n\r\n" + NEXT, [400]),
    "LF in an extension": (POST + CHUNKED + CHUNK.replace(b"\r\n", b";\n", 1) + b"0\r\n\r\n" + NEXT, [400]),
    "no line break after a chunk": (POST + CHUNKED + CHUNK[:-2] + b"0\r\n\r\n" + NEXT, [400]),
    "space after a chunk's size": (POST + CHUNKED + CHUNK.replace(b"\r\n", b" \r\n", 1) + b"0\r\n\r\n" + NEXT, [400]),
    "0x in a chunk's size": (POST + CHUNKED + b"0x" + CHUNK + b"0\r\n\r\n" + NEXT, [400]),
    "negative chunk": (POST + CHUNKED + b"-1\r\n" + BODY + b"\r\n0\r\n\r\n" + NEXT, [400]),
    "overflowing chunk": (POST + CHUNKED + b"1000000000000001a\r\n" + BODY + b"\r\n0\r\n\r\n" + NEXT, [400]),
    "long zero": (POST + CHUNKED + b"0" * 40 + CHUNK + b"0\r\n\r\n" + NEXT, [200, 200]),
    "an HTTP of another version": (GET.replace(b"1.1", b"1.2") + b"\r\n" + NEXT, [400]),
    "HTTP/0.9": (b"GET /healthz\r\n" + NEXT, [400]),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + NEXT, [400]),
    "a tunnel": (b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n" + NEXT, [400]),
    "two spaces": (b"GET  /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + NEXT, [200, 200]),
    "a tab for a space": (b"GET\t/healthz HTTP/1.1\r\nHost: x\r\n\r\n" + NEXT, [400]),
    "a target with a space": (b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n" + NEXT, [400]),
    "a lower-case method": (b"get /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + NEXT, [400]),
    "an upgrade": (GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + NEXT, [200, 200]),
    "an upgrade with a body": (POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + LENGTH + BODY + NEXT, [200, 200]),
    "an upgrade with chunks": (POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + CHUNKED + CHUNK + b"0\r\n\r\n" + NEXT, [200, 200]),
    "an upgrade with a request for a body": (GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n" % len(NEXT) + NEXT, [200]),
    "an upgrade with no body": (GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 00\r\n\r\n" + NEXT, [200, 200]),
    "a longer body": (POST + LENGTH + BODY + b"}}}\r\n\r\n", [200, 400]),
    "garbage after a request": (POST + LENGTH + BODY + b"\x00\x01\x02", [200, 400]),
    "much garbage": (POST + LENGTH + BODY + b"\x00" * 300_000, [200, 400]),
    "garbage after three": (NEXT * 3 + b"GARBAGE\r\n\r\n", [200, 200, 200, 400]),
    "the second of three": (POST + LENGTH + BODY + POST + b"Content-Length: x\r\n\r\n" + NEXT, [200, 400]),
    "the second body": (POST + LENGTH + BODY + POST + CHUNKED + b"nonsense\r\n" + NEXT, [200, 400]),
    "asked to close": (GET + b"Connection: close\r\n\r\n" + NEXT, [200]),
}  # fmt: skip


@pytest.mark.parametrize("shape", FRAMING)
@pytest.mark.parametrize("apart", [False, True], ids=["at once", "apart"])
def test_nobody_can_disagree_about_where_a_request_ends(
    server: Server, shape: str, apart: bool
) -> None:
    data, expected = FRAMING[shape]
    packets = [data[:70], data[70:]] if apart else [data]

    assert asked(server, *packets) == expected


def test_requests_that_are_sent_ahead_are_bounded(server: Server) -> None:
    """What was read of a client that asks without end would be kept until it is answered."""
    answers = asked(server, (GET + b"\r\n") * 5000)
    assert answers == [200] * (len(answers) - 1) + [400]
    assert 50 <= len(answers) <= 60


def test_a_request_whose_client_sends_no_more_is_answered(server: Server) -> None:
    """A client may end its side of the connection before it reads."""
    connection = connected(server)
    connection.sendall(NEXT + POST + LENGTH + BODY)
    connection.shutdown(socket.SHUT_WR)

    assert statuses(everything(connection)) == [200, 200]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (POST + LENGTH + BODY[:-1], [400]),
        (POST + CHUNKED + CHUNK, [400]),
        (POST + CHUNKED + CHUNK[:-9], [400]),
        (POST, [400]),
        (POST + LENGTH + BODY + POST, [200, 400]),
        (POST + LENGTH + BODY + POST + LENGTH + BODY[:-1], [200, 400]),
        (b"", []),
    ],
    ids=["body", "chunks", "chunk", "head", "second head", "second body", "nothing"],
)
def test_a_request_that_ends_too_early_is_told_so(
    server: Server, data: bytes, expected: list[int]
) -> None:
    start = time.monotonic()
    connection = connected(server)
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)

    assert statuses(everything(connection)) == expected
    assert time.monotonic() - start < 0.9, "without waiting for the rest"


# --- trailers ---


TRAILERS = (
    b"Authorization: Bearer nonsense\r\nX-Forwarded-For: 203.0.113.7\r\nExpect: 100-continue\r\n"
)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("apart", [False, True], ids=["at once", "apart"])
def test_trailers_are_no_header_fields(server: Server, count: int, apart: bool) -> None:
    """Taken for one, the bad token would get 401: in this request, or in the next."""
    trailers = b"".join(TRAILERS.splitlines(keepends=True)[:count])
    data = POST + CHUNKED + CHUNK + b"0\r\n" + trailers + b"\r\n"
    following = POST + LENGTH + BODY
    packets = [data[:-20], data[-20:], following] if apart else [data + following]

    assert asked(server, *packets) == [200, 200]


def test_trailers_are_bounded(server: Server) -> None:
    data = POST + CHUNKED + CHUNK + b"0\r\n" + b"A: bcdefghi\r\n" * 10_000 + b"\r\n"

    assert asked(server, data) in ([431], [200])
    assert httpx.get(f"{server.url}/healthz").status_code == 200


# --- time ---


UNFINISHED = {
    "GET": GET + b"Content-Length: 100\r\n\r\n{",
    "HEAD": b"HEAD /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
    "OPTIONS": b"OPTIONS /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
    "404": b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
    "405": b"PUT /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
    "406": POST + b"Accept: image/png\r\nContent-Length: 100\r\n\r\n{",
    "408": POST + b"Content-Length: 100\r\n\r\n{",
    "chunks": GET + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    "continue": GET + b"Expect: 100-continue\r\nContent-Length: 100\r\n\r\n",
    "pipelined": NEXT + GET + b"Content-Length: 100\r\n\r\n{",
    "after another": NEXT + NEXT,
    "blank lines": b"\r\n\r\n\r\n",
}


@pytest.mark.parametrize("sent", UNFINISHED.values(), ids=UNFINISHED)
@pytest.mark.parametrize("trickles", [False, True], ids=["silent", "trickling"])
def test_no_connection_is_without_a_timer(server: Server, sent: bytes, trickles: bool) -> None:
    """BODY_TIMEOUT and HEADER_TIMEOUT are a second here, IDLE_TIMEOUT half of one."""
    start = time.monotonic()
    connection = connected(server)
    connection.sendall(sent)
    connection.settimeout(0.1)
    ended = False
    while not ended and time.monotonic() - start < 10:
        try:
            if trickles:
                connection.sendall(b"\r\n" if b"chunked" not in sent else b"1\r\n \r\n")
                time.sleep(0.05)
            ended = not connection.recv(65536)
        except TimeoutError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            ended = True
    connection.close()

    assert ended
    assert time.monotonic() - start < 5


def test_a_connection_is_kept_between_requests(
    worker_database: str, workbench: Any, tmp_path: Path
) -> None:
    url = workbench.server.url(worker_database)
    with served(url, tmp_path, header_timeout=1, idle_timeout=2) as running:
        connection = connected(running)
        for _ in range(2):
            connection.sendall(NEXT)
            while not connection.recv(65536).endswith(b"ok\n"):
                pass
            time.sleep(1.3)  # longer than a head may take
        start = time.monotonic()
        assert everything(connection) == b""
        assert 0.1 < time.monotonic() - start < 5


# --- numbers ---


def test_an_address_holds_its_share_and_no_more(server: Server) -> None:
    """Fifty of one address here; others are served meanwhile."""
    greedy = [connected(server, "127.0.0.2") for _ in range(60)]
    for connection in greedy:
        connection.sendall(UNFINISHED["GET"])
    time.sleep(0.3)

    assert httpx.get(f"{server.url}/healthz").status_code == 200
    refused = [found for found in map(statuses, map(everything, greedy)) if found == [503]]
    assert len(refused) == 10
    assert asked(server, NEXT, source="127.0.0.2") == [200], "its share is free again"


def test_a_trusted_proxy_has_no_share(server: Server) -> None:
    many = [connected(server, "127.0.0.9") for _ in range(120)]
    for connection in many:
        connection.sendall(NEXT)

    assert [statuses(everything(connection)) for connection in many] == [[200]] * 120


@pytest.mark.system
def test_2000_sockets_lock_nobody_out(worker_database: str, workbench: Any, tmp_path: Path) -> None:
    """With the default bounds; another address than the attacker's is served at once."""
    url = workbench.server.url(worker_database)
    with served(url, tmp_path, body_timeout=2, trusted_proxies="127.0.0.9") as running:
        sockets = []
        for _ in range(2000):
            connection = connected(running, "127.0.0.2")
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(UNFINISHED["GET"])
            sockets.append(connection)
        try:
            for _ in range(5):
                assert httpx.get(f"{running.url}/healthz", timeout=5).status_code == 200
            time.sleep(4)
            assert asked(running, NEXT[:-2] + b"Connection: close\r\n\r\n", source="127.0.0.2") == [
                200
            ]
        finally:
            for connection in sockets:
                connection.close()


@pytest.mark.system
@pytest.mark.parametrize(
    ("files", "wanted", "proxies"),
    [(220, 2000, "*"), (220, 50, "127.0.0.1")],
    ids=["few", "enough"],
)
def test_few_open_files_are_said_and_refused_in_words(
    worker_database: str, workbench: Any, tmp_path: Path, files: int, wanted: int, proxies: str
) -> None:
    url = workbench.server.url(worker_database)
    given: dict[str, Any] = {"max_connections": wanted, "max_sockets": 20, "header_timeout": 30}
    with served(url, tmp_path, files=files, trusted_proxies=proxies, **given) as running:
        trust = [line for line in running.lines() if "TRUSTED_PROXIES=*" in line["message"]]
        assert [line["level"] for line in trust] == ["warning"] * (proxies == "*")
        said = [line["message"] for line in running.lines() if "ulimit -n" in line["message"]]
        assert bool(said) == (wanted > files)
        most = int(said[0].split(" keeps ")[1].split()[0]) if said else wanted
        assert 40 < most < files
        held = [connected(running) for _ in range(most)]
        try:
            found = [asked(running, NEXT) for _ in range(30)]
            assert found == [[503]] * 30
        finally:
            for connection in held:
                connection.close()
        deadline = time.monotonic() + 30
        while asked(running, NEXT[:-2] + b"Connection: close\r\n\r\n") != [200]:
            assert time.monotonic() < deadline, "they have gone, and nobody else is let in"
            time.sleep(0.1)
