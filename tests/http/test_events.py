"""Subscriptions as event streams, with clients over TCP. ``Script`` stands for what tells them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import pytest

from community_gql.errors import BadRequest, Unavailable
from community_gql.http.limits import LiveLimits
from community_gql.identity.development import DevelopmentIssuer
from community_gql.operations.live import EndReason
from tests.http.script import FOLLOW, Script, script
from tests.support import factories as make
from tests.support.listening import Listening, listening, opened
from tests.support.waiting import until

EVENTS = {"Accept": "text/event-stream"}


@pytest.fixture
async def server(database_url: str, issuer: DevelopmentIssuer) -> AsyncIterator[Listening]:
    limits = LiveLimits(comment_interval=0.2, max_per_person=2)
    async with listening(database_url, issuer, live=Script, limits=limits) as running:
        yield running


class Stream:
    """A stream as a client sees it."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def event(self) -> dict[str, str]:
        """The fields of the next event, comments left out; empty at the end of the stream."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(20):
            async for line in self._lines:
                if not line and fields:
                    return fields
                name, colon, value = line.partition(":")
                if colon and name:
                    fields[name] = value.removeprefix(" ")
        return fields


@asynccontextmanager
async def streaming(
    server: Listening, query: str = FOLLOW, method: str = "POST", **headers: str
) -> AsyncIterator[Stream]:
    options: dict[str, Any] = {"params": {"query": query}}
    if method == "POST":
        options = {"json": {"query": query}}
    async with (
        httpx.AsyncClient(timeout=20) as http,
        http.stream(
            method, f"{server.url}/graphql", headers=EVENTS | headers, **options
        ) as response,
    ):
        yield Stream(response)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_events_until_the_server_completes(server: Listening, method: str) -> None:
    async with streaming(server, method=method, **{"Last-Event-ID": "before"}) as stream:
        headers = stream.response.headers
        assert stream.response.status_code == 200
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store", "no")
        assert headers["x-content-type-options"] == "nosniff"
        assert int(headers["ratelimit-remaining"]) > 0
        assert headers["x-request-id"]
        subscription = await script(server).next()
        assert subscription.after == "before"
        subscription.tell(b'{"data":\n{"a": "\xc3\xa9"}}', "here")
        assert await stream.event() == {
            "event": "next", "id": "here", "data": '{"data":{"a": "\u00e9"}}',
        }  # fmt: skip
        subscription.tell(b'{"data":null}')
        assert await stream.event() == {"event": "next", "data": '{"data":null}'}
        subscription.subscriber.complete()
        assert await stream.event() == {"event": "complete", "data": ""}
        assert await stream.event() == {}
        assert subscription.closed
    (line,) = server.log.of("subscriptions")
    assert (line["transport"], line["reason"], line["events"]) == ("sse", "complete", 2)
    assert not len(server.connections)


async def test_comments_keep_it_alive(server: Listening) -> None:
    async with streaming(server) as stream:
        lines = stream.response.aiter_raw()
        assert [await anext(lines) for _ in range(3)] == [b":\n\n"] * 3


ACCEPT = [
    (FOLLOW, "application/json", 406),
    (FOLLOW, "*/*", 406),
    (FOLLOW, "application/json, text/event-stream", 406),
    (FOLLOW, "application/json;q=0.5, text/event-stream", 200),
    ("{ __typename }", "application/json;q=0.5, text/event-stream", 200),
    ("{ __typename }", "text/event-stream", 406),
    ("mutation { endFriendship { userErrors { code } } }", "text/event-stream", 200),
]


async def test_what_streams_and_what_does_not(server: Listening) -> None:
    for query, accept, status in ACCEPT:
        async with streaming(server, query, Accept=accept) as stream:
            response = stream.response
            assert response.status_code == status, (query, accept)
            if status == 406:
                (error,) = json.loads(await response.aread())["errors"]
                assert "text/event-stream" in error["message"]
            streams = response.headers["content-type"].startswith("text/event-stream")
            assert streams == (status == 200 and query != "{ __typename }")
    async with httpx.AsyncClient() as http:
        params = {"query": FOLLOW}
        head = await http.head(f"{server.url}/graphql", params=params, headers=EVENTS)
        assert (head.status_code, head.headers["allow"]) == (405, "GET, POST")


async def test_mistakes_are_the_only_event(server: Listening) -> None:
    for query, code in (
        ("subscription {", "GRAPHQL_PARSE_FAILED"),
        ("subscription { nothing }", "GRAPHQL_VALIDATION_FAILED"),
        (FOLLOW, "BAD_REQUEST"),
    ):
        if query == FOLLOW:
            script(server).refuses = BadRequest("Not this.")
        async with streaming(server, query) as stream:
            assert stream.response.status_code == 200
            event = await stream.event()
            assert event["event"] == "next"
            (error,) = json.loads(event["data"])["errors"]
            assert error["extensions"]["code"] == code
            assert await stream.event() == {"event": "complete", "data": ""}
            assert await stream.event() == {}
    lines = server.log.of("requests")
    assert [line["codes"] for line in lines] == [
        ("GRAPHQL_PARSE_FAILED",), ("GRAPHQL_VALIDATION_FAILED",), ("BAD_REQUEST",),
    ]  # fmt: skip
    assert not len(server.connections)


async def test_what_is_no_mistake_of_the_document_is_a_status(
    server: Listening, db: asyncpg.Connection
) -> None:
    async with streaming(server, Authorization="Bearer nonsense") as stream:
        assert stream.response.status_code == 401
    script(server).refuses = Unavailable("Not now.")
    async with streaming(server) as stream:
        assert stream.response.status_code == 503
        assert stream.response.headers["retry-after"]
    script(server).refuses = None
    ada = await make.person(db, "Ada")
    token = server.bearer(ada.sub)
    async with opened(server, token), streaming(server, Authorization=token):
        async with streaming(server, Authorization=token) as stream:
            assert stream.response.status_code == 429  # sockets and streams are counted together
        async with streaming(server) as stream:
            assert stream.response.status_code == 200
    async with httpx.AsyncClient() as http:
        bad = await http.post(f"{server.url}/graphql", content=b"{", headers=EVENTS)
        assert bad.status_code == 415


async def test_a_client_that_goes_is_noticed(server: Listening) -> None:
    async with streaming(server):
        subscription = await script(server).next()
        assert len(server.connections) == 1
    await until(lambda: subscription.closed)
    await until(lambda: not len(server.connections))
    await until(lambda: not server.server.server_state.connections)
    assert server.server.server_state.counted == 0
    (line,) = server.log.of("subscriptions")
    assert line["reason"] == "client gone"


async def test_a_token_that_ends_cuts_the_stream(server: Listening, db: asyncpg.Connection) -> None:
    ada = await make.person(db, "Ada")
    token = server.bearer(ada.sub, seconds=2)
    async with streaming(server, Authorization=token) as stream:
        subscription = await script(server).next()
        subscription.tell(b"{}")
        assert (await stream.event())["event"] == "next"
        assert await stream.event() == {}
        assert subscription.closed
    async with streaming(server, Authorization=server.bearer(ada.sub)) as stream:
        (await script(server).next(1)).subscriber.end(EndReason.ACCOUNT_GONE)
        assert await stream.event() == {}
    reasons = [line["reason"] for line in server.log.of("subscriptions")]
    assert reasons == ["token ended", "account gone"]


async def test_a_restart_cuts_streams(database_url: str, issuer: DevelopmentIssuer) -> None:
    async with listening(database_url, issuer, live=Script, drain_seconds=0.5) as server:
        async with streaming(server) as stream:
            await script(server).next()
            draining = asyncio.create_task(server.drain())
            await asyncio.sleep(0.05)
            async with streaming(server) as late:
                assert late.response.status_code == 503
            assert await stream.event() == {}
        await draining


async def test_who_does_not_read_has_no_room(server: Listening) -> None:
    async with streaming(server):
        subscription = await script(server).next()
        told = 0
        while subscription.subscriber.has_room():
            subscription.tell(b'{"data":"%b"}' % (b"x" * 5000))
            told += 1
        assert 10 < told < 20
        await until(subscription.subscriber.has_room)  # the kernel took it


async def test_a_stream_does_not_count_as_one_for_requests(
    database_url: str, issuer: DevelopmentIssuer
) -> None:
    async with listening(
        database_url, issuer, live=Script, max_connections_per_address=2, trusted_proxies="10.0.0.1"
    ) as server:
        async with (
            streaming(server),
            streaming(server),
            streaming(server),
            httpx.AsyncClient() as http,
        ):
            assert (await http.get(f"{server.url}/healthz")).status_code == 200
        await until(lambda: not server.server.server_state.connections)
        assert server.server.server_state.counted == 0
