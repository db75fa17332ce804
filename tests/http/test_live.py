"""Live updates end to end: PostgreSQL, worker processes, and clients of both transports."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from community_gql.identity.development import DevelopmentIssuer
from tests.http.server import HOST, Server, served
from tests.http.test_serving import workers
from tests.support import factories as make
from tests.support.listening import PROTOCOL, init, listening
from tests.support.waiting import until

pytestmark = pytest.mark.system

FOLLOW = "subscription ($after: String) { stories(after: $after) { kind story { title } moment } }"
READ = "{ moment stories(first: 1) { totalCount } }"
VIEWER = "subscription { viewer { user { garden { name } } } }"

Event = dict[str, Any]
Events = Callable[[str, dict[str, Any], str | None], AsyncGenerator[Event]]


async def by_socket(url: str, request: dict[str, Any], token: str | None) -> AsyncGenerator[Event]:
    """The events of a subscription until its socket closes."""
    address = url.replace("http", "ws") + "/graphql"
    async with connect(address, subprotocols=[PROTOCOL], proxy=None) as socket:
        await socket.send(init(token))
        assert json.loads(await socket.recv())["type"] == "connection_ack"
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": request}))
        with suppress(ConnectionClosed):
            async for message in socket:
                answer = json.loads(message)
                assert answer["type"] == "next", answer
                yield answer["payload"]
        assert socket.close_code == 1012


async def by_stream(url: str, request: dict[str, Any], token: str | None) -> AsyncGenerator[Event]:
    """The events of a subscription until its stream is cut."""
    headers = {"Accept": "text/event-stream"} | ({"Authorization": token} if token else {})
    if after := request.get("variables", {}).pop("after", None):
        headers["Last-Event-ID"] = after
    async with (
        httpx.AsyncClient(timeout=60) as http,
        http.stream("POST", f"{url}/graphql", json=request, headers=headers) as response,
    ):
        if response.status_code == 503:
            return
        assert response.status_code == 200, await response.aread()
        async for line in response.aiter_lines():
            assert line != "event: complete"
            if line.startswith("data: "):
                yield json.loads(line[6:])


TRANSPORTS = pytest.mark.parametrize("events", [by_socket, by_stream])


async def ask(url: str, query: str, token: str | None = None) -> Any:
    async with httpx.AsyncClient() as http:
        headers = {"Authorization": token} if token else {}
        answer = await http.post(f"{url}/graphql", json={"query": query}, headers=headers)
        return answer.json()["data"]


@TRANSPORTS
async def test_read_then_follow(
    database_url: str, issuer: DevelopmentIssuer, db: asyncpg.Connection, events: Events
) -> None:
    ada = await make.person(db, "Ada")
    async with listening(database_url, issuer) as server:
        moment = (await ask(server.url, READ))["moment"]
        await make.story(db, ada, "Between")
        async with aclosing(
            events(server.url, {"query": FOLLOW, "variables": {"after": moment}}, None)
        ) as told:
            assert (await anext(told))["data"]["stories"]["story"]["title"] == "Between"
            await make.story(db, ada, "Secret", visibility="private")
            await make.story(db, ada, "Then")
            event = (await anext(told))["data"]["stories"]
            assert (event["kind"], event["story"]["title"]) == ("APPEARED", "Then")
        request = {"query": FOLLOW, "variables": {"after": event["moment"]}}
        await make.story(db, ada, "Later")
        async with aclosing(events(server.url, request, None)) as told:
            assert (await anext(told))["data"]["stories"]["story"]["title"] == "Later"
        await until(lambda: not len(server.sockets.live))


@TRANSPORTS
async def test_whoever_follows_what_is_theirs_is_told_of_their_own(
    database_url: str, issuer: DevelopmentIssuer, db: asyncpg.Connection, events: Events
) -> None:
    ada = await make.person(db, "Ada")
    async with listening(database_url, issuer) as server:
        token = server.bearer(ada.sub)
        async with aclosing(events(server.url, {"query": VIEWER}, token)) as told:
            assert (await anext(told))["data"]["viewer"]["user"]["garden"] is None
            write = 'mutation { createGarden(input: {name: "Here"}) { garden { name } } }'
            await ask(server.url, write, token)
            assert (await anext(told))["data"]["viewer"]["user"]["garden"] == {"name": "Here"}


@TRANSPORTS
@pytest.mark.parametrize(
    ("pushdown", "executor", "reason"),
    [("always", "compiled", None), ("off", "loaders", "switched off")],
)
async def test_development_and_the_log_say_what_made_an_event(
    database_url: str,
    issuer: DevelopmentIssuer,
    db: asyncpg.Connection,
    events: Events,
    pushdown: str,
    executor: str,
    reason: str | None,
) -> None:
    ada = await make.person(db, "Ada")
    async with listening(database_url, issuer, pushdown=pushdown) as server:
        token = server.bearer(ada.sub)
        for query in (FOLLOW, VIEWER):
            async with aclosing(events(server.url, {"query": query}, token)) as told:
                event = await anext(told)
                assert event["extensions"] == {
                    "execution": {"executor": executor, "fallbackReason": reason}
                }
                assert event["data"]
        await until(lambda: len(server.log.of("subscriptions")) == 2)
        for line in server.log.of("subscriptions"):
            assert (line["executor"], line["fallback_reason"]) == (executor, reason)


async def test_clients_of_two_workers_miss_nothing_when_one_ends(
    worker_database: str, workbench: Any, database_url: str, db: asyncpg.Connection, tmp_path: Path
) -> None:
    """Its sockets are closed and its streams are cut; their clients go on with the other."""
    ada = await make.person(db, "Ada")
    url = workbench.server.url(worker_database)
    serving = served(url, tmp_path, workers=2, drain_seconds=1, trusted_proxies=HOST)
    server = await asyncio.to_thread(serving.__enter__)
    try:
        await until(partial(serve, server, 2), 100)
        readers = [Reader(server, by_socket) for _ in range(6)]
        readers += [Reader(server, by_stream) for _ in range(4)]
        moment = (await ask(server.url, READ))["moment"]
        following = [asyncio.create_task(reader.follow(moment)) for reader in readers]
        written: list[str] = []

        async def write(count: int) -> None:
            for _ in range(count):
                written.append(f"Story {len(written)}")
                await make.story(db, ada, written[-1])
                await asyncio.sleep(0.01)
            for reader, task in zip(readers, following, strict=True):
                await until(partial(reader.has_or_ended, len(written), task), 60)
                assert not task.done(), task.exception()

        await write(10)
        os.kill(max(workers(server), key=open_files_of), signal.SIGTERM)
        await write(100)
        await until(lambda: any(reader.came > 1 for reader in readers))
        await until(lambda: len(workers(server)) == 2)
        await write(10)
        assert all(reader.titles == written for reader in readers)
        for reader in readers:
            reader.is_done = True
        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            await asyncio.gather(*following)
    finally:
        await asyncio.to_thread(serving.__exit__, None, None, None)
    ends = [line for line in server.lines() if line["logger"] == "community_gql.subscriptions"]
    assert {line["reason"] for line in ends} == {"draining"}
    assert {line["transport"] for line in ends} == {"websocket", "sse"}


def serve(server: Server, count: int) -> bool:
    """Whether so many workers have started."""
    said = [line["message"] for line in server.lines()]
    return said.count("Application startup complete.") == count


def open_files_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


class Reader:
    """A client that comes back after the last moment that it was told."""

    def __init__(self, server: Server, events: Events) -> None:
        self._server, self._events = server, events
        self.titles: list[str] = []
        self.came = 0
        self.is_done = False

    def has_or_ended(self, count: int, following: asyncio.Task[None]) -> bool:
        return len(self.titles) >= count or following.done()

    async def follow(self, moment: str) -> None:
        while not self.is_done:
            self.came += 1
            request = {"query": FOLLOW, "variables": {"after": moment}}
            with suppress(InvalidHandshake, OSError, httpx.TransportError):
                async for event in self._events(self._server.url, request, None):
                    change = event["data"]["stories"]
                    moment = change["moment"]
                    self.titles.append(change["story"]["title"])
            await asyncio.sleep(0.05)
