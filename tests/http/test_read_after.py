"""Several processes with a standby tell each other through Redis who must see which write."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from joserfc import jwt
from redis.asyncio import Redis

from community_gql.db import migrate
from community_gql.db.replicas import NOWHERE, Position
from community_gql.http.head import Head
from community_gql.http.read_after import ReadAfter
from community_gql.http.redis import RedisTokens
from community_gql.settings.checks import plain_address
from tests.http.server import HOST, Server, free_port, served
from tests.support.postgres import own_server
from tests.support.provider import key, provided
from tests.support.redis import redis_server

pytestmark = pytest.mark.system

CLIENTS, TURNS = 6, 12
WRITE = """mutation Rename($name: String!) {
  updateProfile(input: { displayName: $name }) { user { id } userErrors { message } } }"""
READ = "query Name { viewer { user { profile { displayName } } } }"
GUEST = Head("POST", b"", False, None)


@dataclass
class Nodes:
    servers: list[Server]
    issuer: str
    standby: str

    def bearer(self, name: str) -> dict[str, str]:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": "https://api.example.com",
            "sub": f"test|{name}",
            "iat": now,
            "exp": now + 3600,
            "https://community-gql/email": f"{name}@example.com",
        }
        header = {"alg": "RS256", "kid": key().kid, "typ": "at+jwt"}
        return {"Authorization": f"Bearer {jwt.encode(header, claims, key())}"}


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    with redis_server(port, tmp_path):
        yield f"redis://{HOST}:{port}/0"


@pytest.fixture
def nodes(redis: str, tmp_path: Path) -> Iterator[Nodes]:
    """Two processes over a primary, a standby and a Redis."""
    with own_server() as primary, ExitStack() as stack:
        url = primary.url("postgres")
        migrate.upgrade(url)
        standby = plain_address(stack.enter_context(primary.standby()).url("postgres"))
        issuer = stack.enter_context(provided())
        options: dict[str, Any] = {"database_read_url": standby, "redis_url": redis, **issuer}
        servers = [
            stack.enter_context(served(plain_address(url), tmp_path, **options)) for _ in range(2)
        ]
        yield Nodes(servers, issuer["OIDC_ISSUER"], standby)


async def test_nobody_misses_what_they_wrote_by_way_of_another_process(nodes: Nodes) -> None:
    """Clients that keep nothing, write through one process and read through any."""
    db = await asyncpg.connect(nodes.standby)
    stale, statuses = 0, Counter[int]()

    async def one(http: httpx.AsyncClient, n: int) -> None:
        nonlocal stale
        chance, headers = random.Random(n), nodes.bearer(f"p{n}")

        async def ask(server: Server, query: str, **variables: str) -> Any:
            body = {"query": query, "variables": variables}
            answer = await http.post(f"{server.url}/graphql", json=body, headers=headers)
            statuses[answer.status_code] += 1
            return answer.json()["data"]

        for turn in range(TURNS):
            await ask(chance.choice(nodes.servers), WRITE, name=f"{n} {turn}")
            for server in nodes.servers:
                read = await ask(server, READ)
                stale += read["viewer"]["user"]["profile"]["displayName"] != f"{n} {turn}"
            await asyncio.sleep(chance.choice((0, 0.02)))

    async def lag() -> None:
        while True:
            await db.execute("SELECT pg_wal_replay_pause()")
            await asyncio.sleep(0.3)
            await db.execute("SELECT pg_wal_replay_resume()")
            await asyncio.sleep(0.3)

    reads = "SELECT xact_commit FROM pg_stat_database WHERE datname = 'postgres'"
    before = await db.fetchval(reads)
    lagging = asyncio.create_task(lag())
    async with httpx.AsyncClient(timeout=60) as http:
        await asyncio.gather(*(one(http, n) for n in range(CLIENTS)))
    assert not lagging.done()
    lagging.cancel()
    await db.execute("SELECT pg_wal_replay_resume()")
    await db.close()
    db = await asyncpg.connect(nodes.standby)
    answered = await db.fetchval(reads) - before
    await db.close()

    assert stale == 0
    assert statuses == {200: CLIENTS * TURNS * 3}
    assert answered > 0


class _Replicas:
    """What a process remembers of a viewer."""

    def __init__(self, found: Position | None = None) -> None:
        self.found = found

    def written(self, viewer: str | None) -> Position | None:
        return self.found


async def test_what_another_process_wrote_later_counts(redis: str) -> None:
    old, new = Position(3, 0xFF), Position(3, 0x1000)
    here, there, third = (
        ReadAfter(_Replicas(found), "a", RedisTokens(redis))  # type: ignore[arg-type]
        for found in (old, new, None)
    )
    try:
        await there.wrote("ada")
        assert await here.of(GUEST, "ada") == new
        # The older of two writes at once may be told last.
        await here.wrote("ada")
        assert await there.of(GUEST, "ada") == new
        assert await third.of(GUEST, "ada") == new
        assert await here.of(GUEST, "grace") == old
    finally:
        for one in (here, there, third):
            await one.close()


async def test_a_redis_that_is_away_delays_one_read_a_second(redis: str) -> None:
    known = Position(3, 5)
    here = ReadAfter(_Replicas(known), "a", RedisTokens(redis))  # type: ignore[arg-type]
    assert await here.of(GUEST, "ada") == known
    async with Redis.from_url(redis) as admin:
        await admin.client_pause(3000, all=True)
    start = time.monotonic()
    assert [await here.of(GUEST, "ada") for _ in range(20)] == [NOWHERE] * 20
    assert time.monotonic() - start < 1.5  # 20 times 0.2 s, if each had waited
    await here.close()
