"""A server that hangs, a standby, a failover: 503, and recovery by itself, on both executors."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager

import asyncpg
import pytest

from community_gql.db import migrate
from community_gql.db.snapshot import BEGIN
from community_gql.identity.development import DevelopmentIssuer
from community_gql.settings.checks import plain_address
from tests.db.test_states import READ, WRITE, is_away
from tests.support import factories
from tests.support.client import Answer, Client, serving
from tests.support.factories import Person
from tests.support.postgres import OwnServer, own_server
from tests.support.statements import watched

pytestmark = pytest.mark.system

UNSEEN = "{ stories(last: 7) { totalCount nodes { title } } }"


@pytest.fixture(scope="module")
def primary() -> Iterator[OwnServer]:
    with own_server() as server:
        migrate.upgrade(server.url("postgres"))
        yield server


@pytest.fixture
async def ada(primary: OwnServer) -> Person:
    connection = await asyncpg.connect(plain_address(primary.url("postgres")))
    person = await factories.person(connection)
    await connection.close()
    return person


@asynccontextmanager
async def both(url: str, issuer: DevelopmentIssuer, **settings: object) -> AsyncIterator[Both]:
    """An application for each executor."""
    async with AsyncExitStack() as stack:
        yield Both(
            [
                await stack.enter_async_context(serving(url, issuer, pushdown=way, **settings))
                for way in ("always", "off")
            ]
        )


class Both:
    """Asks both applications."""

    def __init__(self, apis: list[Client]) -> None:
        self.apis = apis

    async def __call__(self, text: str, viewer: Person | None = None) -> list[Answer]:
        return await asyncio.gather(*(api(text, viewer) for api in self.apis))

    async def ready(self) -> set[int]:
        return {(await api.http.get("/readyz")).status_code for api in self.apis}


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await true():  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0.1)


def statuses(answers: list[Answer]) -> set[int]:
    return {answer.status for answer in answers}


async def test_a_server_that_hangs_is_answered_in_time(
    primary: OwnServer, ada: Person, issuer: DevelopmentIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"statement_timeout": 1.9, "request_timeout": 2}
    async with both(primary.url("postgres"), issuer, **settings) as api:
        assert statuses(await api(READ, ada)) == {200}
        assert statuses(await api(WRITE, ada)) == {200}
        loop = asyncio.get_running_loop()
        with primary.frozen():
            start = loop.time()
            answers = await asyncio.wait_for(
                asyncio.gather(api(READ, ada), api(UNSEEN), api(WRITE, ada)), 60
            )
            took = loop.time() - start
            assert await api.ready() == {503}
        assert all(is_away(answer) for pair in answers for answer in pair)
        assert took < 20  # REQUEST_TIMEOUT, and what the machine needs
        await until(lambda: serves(api, ada))
    gc.collect()  # a task whose exception nobody has seen says so when it is collected
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_server_that_hangs_between_two_mutations_hides_nothing(
    primary: OwnServer, ada: Person, issuer: DevelopmentIssuer
) -> None:
    """It stops when the first is committed and read, and its reading is about to be ended."""
    mutation = """mutation {
      first: createHabit(input: {name: "walk", frequency: DAILY}) { habit { name } }
      second: createHabit(input: {name: "read", frequency: DAILY}) { habit { name } }
    }"""
    settings = {"statement_timeout": 1.9, "request_timeout": 2}
    with ExitStack() as stack:
        reading: list[str] = []

        def stop(text: str) -> None:
            if text == BEGIN:
                reading.append(text)
            elif text == "COMMIT" and reading:
                reading.clear()
                stack.enter_context(primary.frozen())

        async with serving(primary.url("postgres"), issuer, pushdown="off", **settings) as api:
            await api.meet(ada)
            try:
                with watched(stop):
                    answer = await asyncio.wait_for(api(mutation, ada), 60)
            finally:
                stack.close()
    assert (answer.status, answer.codes) == (294, ["UNAVAILABLE"])
    assert answer.errors[0]["path"] == ["second"]
    assert answer.body["data"] == {"first": {"habit": {"name": "walk"}}, "second": None}


async def serves(api: Both, viewer: Person) -> bool:
    """Whether it reads and writes again, and says so."""
    answers = await api(READ) + await api(WRITE, viewer)
    return statuses(answers) == {200} and await api.ready() == {200}


async def test_a_password_that_is_refused(
    primary: OwnServer, ada: Person, issuer: DevelopmentIssuer
) -> None:
    admin = await asyncpg.connect(plain_address(primary.url("postgres")))
    await admin.execute("CREATE ROLE guarded LOGIN PASSWORD 'old' IN ROLE pg_read_all_data")
    await admin.execute("GRANT pg_write_all_data TO guarded")
    rules = primary.where.data / "pg_hba.conf"
    rules.write_text(f"local all guarded scram-sha-256\n{rules.read_text()}")
    await admin.execute("SELECT pg_reload_conf()")
    url = primary.url("postgres").replace("postgres@", "guarded:new@")
    async with both(url, issuer) as api:
        await until(lambda: refuses(api))
        for text in (READ, WRITE):
            assert all(map(is_away, await api(text, ada)))
        assert await api.ready() == {503}
        await admin.execute("ALTER ROLE guarded PASSWORD 'new'")
        await until(lambda: serves(api, ada))
    await admin.close()


async def refuses(api: Both) -> bool:
    return all(map(is_away, await api(READ)))


async def test_a_standby_is_read_and_a_failover_is_followed(
    primary: OwnServer, ada: Person, issuer: DevelopmentIssuer
) -> None:
    with primary.standby() as standby:
        two = f"postgresql://postgres@/postgres?host={primary.sockets},{standby.sockets}&port=5432"
        writable = f"{two}&target_session_attrs=read-write"
        async with (
            both(standby.url("postgres"), issuer) as alone,
            both(two, issuer) as any_,
            both(writable, issuer) as right,
        ):
            await until(lambda: has(standby, ada))
            # The standby by itself reads, and says no to writing.
            assert statuses(await alone(READ)) == {200}
            for _ in range(2):
                assert all(map(is_away, await alone(WRITE, ada)))
            assert await alone.ready() == {503}
            for api in (any_, right):
                assert await serves(api, ada)

            # It shuts down as soon as the last session has ended, and lets no new one in.
            session = await asyncpg.connect(plain_address(primary.url("postgres")))
            primary.stop("smart", "--no-wait")
            async with both(primary.url("postgres"), issuer) as late:
                for text in (READ, WRITE):
                    assert all(map(is_away, await late(text, ada)))
                assert await late.ready() == {503}
            await asyncio.to_thread(primary.stop)
            session.terminate()
            for api in (any_, right):
                assert statuses(await api(WRITE, ada)) == {503}
            await until(lambda: reads(any_))  # from the standby
            assert await right.ready() == {503}
            await asyncio.to_thread(standby.promote)
            for api in (alone, any_, right):
                await until(lambda api=api: serves(api, ada))  # type: ignore[misc]


async def has(server: OwnServer, person: Person) -> bool:
    connection = await asyncpg.connect(plain_address(server.url("postgres")))
    found = await connection.fetchval("SELECT 1 FROM users WHERE auth0_sub = $1", person.sub)
    await connection.close()
    return found is not None


async def reads(api: Both) -> bool:
    return statuses(await api(READ)) == {200}
