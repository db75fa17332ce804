"""Queries on a real standby: late, frozen, promoted, cancelled; and nobody misses what they wrote.

``PAIRS=10000`` runs as many pairs of a write and a read as one may wish.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from community_gql.db import migrate
from community_gql.db.database import Database
from community_gql.db.replicas import NOWHERE, Position, later
from community_gql.http.head import Head
from community_gql.http.read_after import ReadAfter, cookie
from community_gql.http.redis import RedisTokens
from community_gql.identity.development import DevelopmentIssuer
from community_gql.settings.checks import plain_address
from tests.support import client
from tests.support import factories as make
from tests.support.client import Client, serving
from tests.support.factories import Person
from tests.support.postgres import OwnServer, own_server

pytestmark = pytest.mark.system

PAIRS = int(os.environ.get("PAIRS", "400"))
CLIENTS = 16
WRITE = """mutation Rename($name: String!) {
  updateProfile(input: { displayName: $name }) { user { id } userErrors { message } } }"""
READ = "query Name { viewer { user { profile { displayName } } } }"


@dataclass
class Servers:
    primary: OwnServer
    standby: OwnServer

    @property
    def url(self) -> str:
        return self.primary.url("community")

    @property
    def read_url(self) -> str:
        return self.standby.url("community")


@pytest.fixture
def servers() -> Iterator[Servers]:
    with own_server() as primary:
        _run(primary.url("postgres"), "CREATE DATABASE community")
        migrate.upgrade(primary.url("community"))
        with primary.standby() as standby:
            yield Servers(primary, standby)


def _run(url: str, *statements: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(plain_address(url))
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(run())


@pytest.fixture
async def db(servers: Servers) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(plain_address(servers.url))
    yield connection
    await connection.close()


@pytest.fixture
async def standby(servers: Servers) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(plain_address(servers.read_url))
    yield connection
    await connection.close()


async def caught_up(db: asyncpg.Connection, standby: asyncpg.Connection) -> None:
    place = await db.fetchval("SELECT pg_current_wal_flush_lsn()")
    for _ in range(3000):
        if await standby.fetchval("SELECT pg_last_wal_replay_lsn() >= $1", place):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the standby does not catch up")


class Seen(client._Database):
    """Tells whose pools answered."""

    made: list[Database] = []

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        Seen.made.append(self)
        self.answered: Counter[str] = Counter()

    async def _value(self, pool: Any, *given: Any) -> Any:
        found = await super()._value(pool, *given)
        self.answered["primary" if pool is self.pool else "standby"] += 1
        return found


@pytest.fixture
async def api(
    servers: Servers, issuer: DevelopmentIssuer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Client]:
    monkeypatch.setattr(client, "_Database", Seen)
    Seen.made.clear()
    options = {"database_read_url": servers.read_url, "pushdown": "always"}
    async with serving(servers.url, issuer, **options) as made:
        await _awaited(lambda: not _replica().rests)
        yield made


def _replica() -> Any:
    (database,) = Seen.made
    assert database.replicas is not None
    return database.replicas.all[0]


def _answered() -> Counter[str]:
    (database,) = Seen.made
    assert isinstance(database, Seen)
    return database.answered


async def _awaited(holds: Any) -> None:
    deadline = asyncio.get_running_loop().time() + 60
    while not holds():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.05)


async def pairs(api: Client, people: list[Person], number: int) -> tuple[int, Counter[int]]:
    """Write and read that many times; how many reads were stale, and all statuses.

    A third of the clients sends the token, a third the cookie, a third neither.
    """
    stale, statuses = 0, Counter[int]()

    async def one(n: int, person: Person) -> None:
        nonlocal stale
        chance = random.Random(n)
        for turn in range(number // CLIENTS):
            name = f"{n} {turn}"
            headers = api.authorization(person.sub)
            body = {"query": WRITE, "variables": {"name": name}}
            written = await api.http.post("/graphql", json=body, headers=headers)
            statuses[written.status_code] += 1
            if written.status_code != 200:
                continue
            token = written.headers["x-read-after"]
            if n % 3 == 0:
                headers["X-Read-After"] = token
            elif n % 3 == 1:
                headers["Cookie"] = f"a=b; read_after={token}"
            await asyncio.sleep(chance.choice((0, 0, 0.005, 0.03)))
            read = await api.http.post("/graphql", json={"query": READ}, headers=headers)
            statuses[read.status_code] += 1
            if read.status_code == 200:
                user = read.json()["data"]["viewer"]["user"]
                stale += user["profile"]["displayName"] != name

    await asyncio.gather(*(one(n, person) for n, person in enumerate(people)))
    return stale, statuses


async def test_nobody_misses_their_own_writes(
    api: Client, db: asyncpg.Connection, standby: asyncpg.Connection
) -> None:
    people = [await make.person(db, f"P{n}") for n in range(CLIENTS)]
    for person in people:
        await api.meet(person)

    async def lag() -> None:
        while True:
            await standby.execute("SELECT pg_wal_replay_pause()")
            await asyncio.sleep(0.6)
            await standby.execute("SELECT pg_wal_replay_resume()")
            await asyncio.sleep(0.2)

    lagging = asyncio.create_task(lag())
    stale, statuses = await pairs(api, people, PAIRS)
    assert not lagging.done(), lagging.exception()
    lagging.cancel()
    await standby.execute("SELECT pg_wal_replay_resume()")

    assert stale == 0
    assert statuses == {200: 2 * (PAIRS // CLIENTS) * CLIENTS}
    assert _answered()["standby"] > 0
    assert _answered()["primary"] > 0


async def test_others_read_from_the_standby_and_see_it_as_it_is(
    api: Client, db: asyncpg.Connection, standby: asyncpg.Connection
) -> None:
    await make.person(db, "Seen")
    await caught_up(db, standby)
    await standby.execute("SELECT pg_wal_replay_pause()")
    await make.person(db, "Not yet")
    query = "query All { users(orderBy: NAME) { nodes { profile { displayName } } } }"
    before = _answered()["standby"]
    compiled = (await api(query)).data["users"]["nodes"]

    assert [node["profile"]["displayName"] for node in compiled] == ["Seen"]
    assert _answered()["standby"] == before + 1
    await standby.execute("SELECT pg_wal_replay_resume()")


async def test_a_standby_that_is_late_rests_and_comes_back(
    api: Client, db: asyncpg.Connection, standby: asyncpg.Connection, monkeypatch: Any
) -> None:
    monkeypatch.setattr("community_gql.db.replicas.MOST_LAG", 1.0)
    await standby.execute("SELECT pg_wal_replay_pause()")
    await make.person(db, "New")
    await _awaited(lambda: _replica().rests)
    answer = await api("{ users { totalCount } }")
    await standby.execute("SELECT pg_wal_replay_resume()")

    assert answer.data["users"]["totalCount"] == 1
    await _awaited(lambda: not _replica().rests)


async def test_promotion_and_a_crash_in_the_middle(
    api: Client, servers: Servers, db: asyncpg.Connection, standby: asyncpg.Connection
) -> None:
    people = [await make.person(db, f"P{n}") for n in range(CLIENTS)]
    for person in people:
        await api.meet(person)
    work = asyncio.create_task(pairs(api, people, PAIRS))
    await asyncio.sleep(0.3)
    await asyncio.to_thread(servers.standby.promote)
    stale, statuses = await work
    assert (stale, set(statuses)) == (0, {200})
    await _awaited(lambda: _replica().rests)

    work = asyncio.create_task(pairs(api, people, CLIENTS * 4))
    await asyncio.to_thread(servers.standby.stop)
    stale, statuses = await work
    assert (stale, set(statuses)) == (0, {200})


@pytest.mark.parametrize("pushdown", ["off", "always"])
async def test_what_recovery_cancels_runs_on_the_primary(
    servers: Servers,
    issuer: DevelopmentIssuer,
    db: asyncpg.Connection,
    standby: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    pushdown: str,
) -> None:
    """An exclusive lock of the primary is replayed, and ends what reads the table."""
    ada = await make.person(db, "Ada")
    await make.garden(db, ada)
    monkeypatch.setattr(client, "_Database", Seen)
    Seen.made.clear()
    options = {"database_read_url": servers.read_url, "pushdown": pushdown}
    query = "query All { users { nodes { profile { displayName } garden { name } } } }"
    async with serving(servers.url, issuer, **options) as api:
        await caught_up(db, standby)
        await _awaited(lambda: not _replica().rests)
        answers = []

        async def ask() -> None:
            for _ in range(60):
                answers.append(await api(query))

        async def lock() -> None:
            for _ in range(20):
                async with db.transaction():
                    await db.execute("LOCK TABLE gardens IN ACCESS EXCLUSIVE MODE")
                await asyncio.sleep(0.02)

        await asyncio.gather(ask(), ask(), lock())

    assert {answer.status for answer in answers} == {200}
    assert {str(answer.data) for answer in answers} == {
        "{'users': {'nodes': [{'profile': {'displayName': 'Ada'}, "
        "'garden': {'name': 'Moss corner'}}]}}"
    }


class _Replicas:
    """What ``ReadAfter`` asks of the standbys."""

    def __init__(self, found: Position | None = None) -> None:
        self.found = found

    def written(self, viewer: str | None) -> Position | None:
        return self.found


async def test_tokens_are_of_this_server_and_of_nobody_else() -> None:
    position = Position(3, 0x1234567890)
    ours = ReadAfter(_Replicas(position), "a secret")  # type: ignore[arg-type]
    token = await ours.wrote("ada")
    assert token is not None
    head = Head("POST", b"", False, None)
    fresh = ReadAfter(_Replicas(), "a secret")  # type: ignore[arg-type]
    stranger = ReadAfter(_Replicas(), "another")  # type: ignore[arg-type]

    head.read_after = token.encode()
    assert await fresh.of(head, None) == position
    assert await stranger.of(head, None) is None
    for wrong in (b"", b".", b"..", b"x" * 5000, token[:-1].encode(), b"9" + token.encode()):
        head.read_after = wrong
        assert await fresh.of(head, None) is None
    head.has_cookie, head.cookie = True, b"a=b; " + cookie(token, True).partition(";")[0].encode()
    assert await fresh.of(head, None) == position


async def test_without_redis_what_others_wrote_is_not_known() -> None:
    away = ReadAfter(_Replicas(), "a", RedisTokens("redis://127.0.0.1:9/0"))  # type: ignore[arg-type]

    assert await away.of(Head("POST", b"", False, None), "ada") == NOWHERE
    await away.close()


def test_the_later_of_two_positions() -> None:
    one, two, other = Position(1, 5), Position(1, 6), Position(2, 1)

    assert later(None, None) is None
    assert later(one, None) == later(None, one) == one
    assert later(one, two) == later(two, one) == two
    assert later(two, other) == other
    assert later(NOWHERE, one) == later(other, NOWHERE) == NOWHERE


async def test_a_moment_is_the_primary_s(
    api: Client, db: asyncpg.Connection, standby: asyncpg.Connection
) -> None:
    ada = await make.person(db)
    await caught_up(db, standby)
    assert (await api(READ, ada)).status == 200
    assert _answered()["standby"] == 1
    assert (await api("{ moment viewer { user { id } } }", ada)).data["moment"]
    assert _answered()["standby"] == 1
