"""PostgreSQL crashes, fails over or is restored: followers are told to reload, and never nothing.

Each time the numbers of transactions go back, so that what is written next has numbers that a
moment of before shows as done.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote

import asyncpg
import orjson
import pytest

from community_gql.db import migrate
from community_gql.dev.embedded import places
from community_gql.graph.visibility import ANONYMOUS
from community_gql.operations.prepared import Params
from community_gql.settings.checks import plain_address
from tests.support import factories as make
from tests.support.factories import Person
from tests.support.live import Follower, Process, process, told
from tests.support.postgres import OwnServer, own_server

pytestmark = pytest.mark.system

RELOAD = ("RELOAD", None)


@pytest.fixture(scope="module")
def template() -> Iterator[OwnServer]:
    """A server that has stopped: each test starts it."""
    with own_server() as server:
        migrate.upgrade(server.url("postgres"))
        with (server.where.data / "postgresql.conf").open("a") as settings:
            settings.write("wal_writer_delay = 10s\n")  # what is not committed is written late
        server.stop("fast")
        yield server


async def connected(server: OwnServer, database: str = "postgres") -> asyncpg.Connection:
    for _ in range(600):
        try:
            return await asyncpg.connect(plain_address(server.url(database)))
        except (OSError, asyncpg.PostgresError):
            await asyncio.sleep(0.05)
    raise AssertionError("the server does not come back")


async def crash(server: OwnServer, db: asyncpg.Connection) -> asyncpg.Connection:
    """Kill a backend, which ends all others; a connection from after the recovery."""
    when = "SELECT pg_stat_get_bgwriter_stat_reset_time()"
    before = await db.fetchval(when)
    os.kill(await db.fetchval("SELECT pg_backend_pid()"), signal.SIGKILL)
    for _ in range(600):
        found = await connected(server)
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            if await found.fetchval(when) != before:
                return found
        found.terminate()
        await asyncio.sleep(0.05)
    raise AssertionError("the server does not crash")


async def numbers(db: asyncpg.Connection) -> int:
    """The first number that no transaction has."""
    return int(await db.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"))


async def burn(db: asyncpg.Connection, upto: int) -> None:
    """Give numbers to transactions that write nothing, until this one is given."""
    while await numbers(db) <= upto:
        await db.execute("SELECT pg_current_xact_id()")


async def moment(here: Process) -> str:
    """What ``Query.moment`` says."""
    prepared = here.operations.prepare(Params("{ moment }"), open_schema=True)
    data: Any = (await here.operations.execute(prepared, ANONYMOUS)).data
    answer = orjson.loads(data) if isinstance(data, bytes) else data
    return str(answer["moment"])


async def awaited(follower: Follower, db: asyncpg.Connection, ada: Person) -> None:
    """Wait until the follower is told of a story that is written now."""
    title = (await make.story(db, ada)).name
    await follower.until(lambda: told(follower)[-1:] == [("APPEARED", title)], 20)


async def test_numbers_that_a_crash_gives_again(template: OwnServer) -> None:
    async with AsyncExitStack() as stack:
        server = stack.enter_context(template.again())
        db = await connected(server)
        ada = await make.person(db)
        here = await stack.enter_async_context(process(server.url("postgres")))
        follower = await here.begin()
        await awaited(follower, db, ada)
        for _ in range(5):
            transaction = db.transaction()
            await transaction.start()
            await make.story(db, ada, "never")
            await transaction.rollback()
        then, before = await moment(here), await numbers(db)
        db = await crash(server, db)
        assert await numbers(db) < before, "no number is given again: this shows nothing"
        story = await make.story(db, ada, "with a number that was given before")
        await burn(db, before)
        resumed = await here.follow(after=then)
        await resumed.count(1)
        assert told(resumed)[0] == RELOAD
        await follower.until(lambda: RELOAD in told(follower), 20)
        assert "never" not in str(told(follower))
        await awaited(resumed, db, ada)
        await awaited(follower, db, ada)
        assert story.name not in str(told(follower)[: told(follower).index(RELOAD)])
        await db.close()


async def test_a_copy_of_the_disk_that_is_started_as_it_is(template: OwnServer) -> None:
    with template.again() as server:
        server.stop("fast")  # a start without recovery
    copy = template.where.folder / "copy"
    run = shutil.copytree(template.where.data, copy)
    async with AsyncExitStack() as stack:
        with template.again() as server:
            db = await connected(server)
            ada = await make.person(db)
            here = await stack.enter_async_context(process(server.url("postgres")))
            follower = await here.begin()
            await awaited(follower, db, ada)
            then, before = await moment(here), await numbers(db)
            await db.close()
            server.stop("fast")
        shutil.rmtree(template.where.data)
        run.rename(template.where.data)
        places.own_folder(template.where.data, 0o700, template.where.account)
        for path in [template.where.data, *template.where.data.rglob("*")]:
            if template.where.account is not None:
                os.chown(path, template.where.account.uid, template.where.account.gid)
        with template.again() as server:
            db = await connected(server)
            assert await numbers(db) < before
            ada = await make.person(db, "Ada again")
            await burn(db, before)
            resumed = await here.follow(after=then)
            await resumed.count(1)
            assert told(resumed)[0] == RELOAD
            await follower.until(lambda: RELOAD in told(follower), 20)
            await awaited(follower, db, ada)
            await db.close()
            await stack.aclose()


async def test_a_standby_tells_nothing_and_reload_when_it_is_promoted(
    template: OwnServer,
) -> None:
    async with AsyncExitStack() as stack:
        server = stack.enter_context(template.again())
        db = await connected(server)
        ada = await make.person(db)
        standby = stack.enter_context(server.standby())
        both = f"{server.sockets},{standby.sockets}"
        address = server.url("postgres").replace(quote(server.sockets, safe=""), quote(both, ""))
        here = await stack.enter_async_context(process(address))
        only = await stack.enter_async_context(process(standby.url("postgres")))
        follower, waiting = await here.begin(), await only.follow()
        await awaited(follower, db, ada)
        then, there = await moment(here), await moment(only)
        await asyncio.sleep(0.5)
        assert waiting.raw == []
        await db.close()
        server.stop()
        standby.promote()
        db = await connected(standby)
        resumed = [await here.follow(after=then), await only.follow(after=there)]
        for told_of in (follower, waiting, *resumed):
            await told_of.until(lambda one=told_of: RELOAD in told(one), 20)  # type: ignore[misc]
        ada = await make.person(db, "Ada again")
        for told_of in (follower, waiting, *resumed):
            await awaited(told_of, db, ada)
        assert told(resumed[0])[0] == told(resumed[1])[0] == RELOAD
        await db.close()
        await stack.aclose()


async def test_an_older_dump_that_is_restored_in_place(template: OwnServer) -> None:
    async with AsyncExitStack() as stack:
        server = stack.enter_context(template.again())
        db = await connected(server)
        await db.execute("CREATE DATABASE dumped TEMPLATE postgres")
        await db.close()
        db = await connected(server, "dumped")
        ada = await make.person(db)
        old = await make.story(db, ada, "kept")
        kept = await db.fetchval("SELECT count(*) FROM stories")
        words = ("-h", server.sockets, "-U", places.SUPERUSER, "-d", "dumped")
        dump = server.where.folder / "run" / "dump"
        server.run("pg_dump", *words, "-Fc", "-f", dump)
        here = await stack.enter_async_context(process(server.url("dumped")))
        follower = await here.begin()
        await awaited(follower, db, ada)
        await db.execute("DELETE FROM stories WHERE id = $1", old.key)
        then = await moment(here)
        server.run("pg_restore", *words, "--clean", "--if-exists", "-1", dump)
        resumed = await here.follow(after=then)
        await resumed.count(1)
        assert told(resumed)[0] == RELOAD
        await follower.until(lambda: RELOAD in told(follower), 20)
        assert await db.fetchval("SELECT count(*) FROM stories") == kept
        await awaited(follower, db, ada)
        await db.close()
        await stack.aclose()
