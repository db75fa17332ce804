"""Answers that go out whole, beside the same ones as ASGI's messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import orjson
import pytest
from graphql import get_introspection_query

from community_gql.http import whole
from tests.http.server import Received, Server, served

ASKED = {
    "short": "{ __typename }",
    "long": get_introspection_query(),
    "wrong": "{ nothing }",
}
VARYING = {"date", "x-request-id", "ratelimit-remaining", "ratelimit-reset"}


@pytest.fixture(scope="module")
def servers(
    worker_database: str, workbench: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Server]]:
    """One that answers whole, and one where CORS stands between, which takes messages."""
    url = workbench.server.url(worker_database)
    with ExitStack() as stack:

        def start(**more: Any) -> Server:
            folder = tmp_path_factory.mktemp("serve")
            return stack.enter_context(served(url, folder, introspection="everyone", **more))

        yield start(), start(cors_origins="https://app.example")


def asked(server: Server, head: bytes, body: bytes = b"", *, apart: bool = False) -> Received:
    """The answer to a request, whose body may come after its head."""
    text = b"%b\r\nHost: x\r\nConnection: close\r\n" % head
    if body:
        text += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
    connection = server.connect()
    if apart:
        connection.send(text + b"\r\n" + body[:5]).send(body[5:])
    else:
        connection.send(text + b"\r\n" + body)
    return connection.receive()


def fields(answer: Received) -> dict[str, str]:
    """What must be the same; CORS itself adds ``Origin`` to ``Vary``."""
    found = {name: value for name, value in answer.headers.items() if name not in VARYING}
    return found | {"vary": found["vary"].removesuffix(", Origin")}


@pytest.mark.parametrize("name", ASKED)
def test_an_answer_is_the_same_in_one_piece(servers: tuple[Server, Server], name: str) -> None:
    body = orjson.dumps({"query": ASKED[name]})
    direct, between = (asked(one, b"POST /graphql HTTP/1.1", body) for one in servers)

    assert (direct.status, direct.body) == (between.status, between.body)
    assert fields(direct) == fields(between)
    assert set(direct.headers) == set(between.headers)
    if name == "long":
        assert len(direct.body) > whole.TOGETHER


def test_an_answer_without_a_body_is_the_same(servers: tuple[Server, Server]) -> None:
    path = b"/graphql?query=%7B__typename%7D"
    direct, between = (asked(one, b"HEAD %b HTTP/1.1" % path) for one in servers)

    assert (direct.status, direct.body) == (between.status, between.body) == (200, b"")
    assert fields(direct) == fields(between)
    assert int(direct.headers["content-length"]) > 0


def test_a_body_may_come_later(servers: tuple[Server, Server]) -> None:
    body = orjson.dumps({"query": "{ __typename }"})
    together, apart = (
        asked(servers[0], b"POST /graphql HTTP/1.1", body, apart=apart) for apart in (False, True)
    )
    assert (together.status, together.body) == (apart.status, apart.body)


def test_a_body_that_is_there_is_not_too_long_either(servers: tuple[Server, Server]) -> None:
    head = b"POST /graphql HTTP/1.1\r\nTransfer-Encoding: chunked"
    long = b"x" * (256 * 1024 + 1)
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(long), long)
    text = b"%b\r\nHost: x\r\nContent-Type: application/json\r\n\r\n%b" % (head, chunked)

    assert servers[0].connect().send(text).receive().status == 413


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb"])
def test_no_field_holds_the_end_of_a_line(value: bytes) -> None:
    assert whole.written([(b"a", b"b")]) == b"a: b\r\n"
    with pytest.raises(RuntimeError):
        whole.written([(b"x-request-id", value)])
