"""Behind PgBouncer in transaction mode, where each transaction may run on another connection.

``BOUNCER`` names another program than the ``pgbouncer`` of this machine: prepared statements need
1.21 or newer.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import asyncpg
import pytest
from sqlalchemy import make_url, text

from community_gql.db import bouncer, pool
from community_gql.db.database import Database, opened
from community_gql.dev.embedded import EmbeddedPostgres
from community_gql.graph.visibility import ANONYMOUS
from community_gql.identity.development import DevelopmentIssuer
from community_gql.settings.checks import plain_address
from tests.http.server import HOST, free_port
from tests.operations.community import community
from tests.operations.operations import Generator
from tests.operations.test_equality import viewer_of
from tests.operations.ways import both_ways
from tests.support import factories as make
from tests.support.client import serving

pytestmark = pytest.mark.system

CONFIGURATION = """
[databases]
* = host={sockets} port={port} user={user}
[pgbouncer]
listen_addr = {host}
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
max_client_conn = {most}
{more}
"""
KEEPS = (1, 21)
"""The first version that keeps prepared statements in transaction mode."""


@pytest.fixture
def most() -> int:
    """How many clients the PgBouncer accepts."""
    return 100


@pytest.fixture
def pgbouncer(postgres: EmbeddedPostgres, database_url: str, most: int) -> Iterator[str]:
    """The address of the test's database by way of a PgBouncer, Debian's ``pgbouncer``."""
    program = _program()
    direct, port = make_url(database_url), free_port()
    file = postgres.folder / f"pgbouncer-{port}.ini"
    sockets = direct.query["host"]
    file.write_text(
        CONFIGURATION.format(
            sockets=sockets,
            port=direct.query["port"],
            user=direct.username,
            host=HOST,
            listen=port,
            most=most,
            more="max_prepared_statements = 500" if version(program) >= KEEPS else "",
        )
    )
    # It refuses to run as root, and only PostgreSQL's own account may use its socket.
    owner = os.stat(str(sockets)).st_uid if os.geteuid() == 0 else None
    process = subprocess.Popen([program, "-q", str(file)], user=owner, stderr=subprocess.DEVNULL)
    try:
        _wait(port)
        yield f"postgresql+asyncpg://{direct.username}@{HOST}:{port}/{direct.database}"
    finally:
        # From 1.23 on SIGTERM waits for clients, and shells may start it with SIGQUIT ignored.
        process.kill()
        process.wait(10)
        file.unlink()


def _program() -> str:
    name = os.environ.get("BOUNCER", "pgbouncer")
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if program is None:
        pytest.skip("PgBouncer is not installed: apt install pgbouncer")
    return program


def version(program: str) -> tuple[int, ...]:
    """The version of a PgBouncer."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    found = re.match(r"PgBouncer (\d+)\.(\d+)", said.stdout)
    assert found is not None, said.stdout
    return tuple(map(int, found.groups()))


@pytest.fixture(params=[False, True], ids=["plain", "prepared"])
def options(request: pytest.FixtureRequest) -> dict[str, bool]:
    """What the application is told: DATABASE_PGBOUNCER, and with _PREPARED too."""
    if request.param and version(_program()) < KEEPS:
        pytest.skip("this PgBouncer is older than 1.21: BOUNCER=/path/to/a/newer/one")
    return {"pgbouncer": True, "pgbouncer_prepared": request.param}


def _wait(port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection((HOST, port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("PgBouncer does not start")


async def test_many_at_once_get_their_own_answers(
    pgbouncer: str,
    database_url: str,
    db: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, bool],
) -> None:
    # Each request connects anew, forty at once, and the machine may be busy.
    monkeypatch.setattr(pool, "CONNECT_SECONDS", 30)
    chance = random.Random(1)
    people, words = await community(db, chance)
    viewers = [ANONYMOUS, *map(viewer_of, people)]
    generator = Generator(chance, words)
    operations = [generator.operation() for _ in range(60)]

    async with both_ways(pgbouncer, **options) as both:
        for n in range(0, len(operations), 20):
            some = operations[n : n + 20]
            await asyncio.gather(*(both.compare(o, chance.choice(viewers)) for o in some * 2))


@pytest.mark.parametrize("most", [2])
@pytest.mark.parametrize("pushdown", ["always", "off"])
async def test_a_full_one_is_a_passing_state(
    pgbouncer: str, db: asyncpg.Connection, issuer: DevelopmentIssuer, pushdown: str
) -> None:
    """It refuses a client too many with 08P01; others have both places from the start."""
    ada = await make.person(db)
    read, write = "{ stories { totalCount } }", 'mutation { updateProfile(input: {bio: "x"}) { '
    write += "user { id } } }"
    settings = {"database_pgbouncer": True, "database_pool_size": 1, "pushdown": pushdown}
    plain = plain_address(pgbouncer)
    others = [await asyncpg.connect(plain, statement_cache_size=0) for _ in range(2)]
    async with serving(pgbouncer, issuer, **settings) as api:
        try:
            for text in (read, write):
                answer = await api(text, ada)
                assert (answer.status, answer.codes) == (503, ["UNAVAILABLE"])
                assert answer.response.headers["retry-after"] == "1"
        finally:
            for other in others:
                await other.close()
        for text in (read, write):
            assert (await api(text, ada)).status == 200


async def test_connections_to_it_are_kept_between_requests(
    pgbouncer: str, options: dict[str, bool]
) -> None:
    async with opened(pgbouncer, pool_size=2, **options) as database:
        ports = {await database.value("SELECT inet_server_port() IS NULL", []) for _ in range(3)}
        (kept,) = database.pool._ready
        for _ in range(5):
            await database.value("SELECT 1", [])
        assert database.pool._ready == [kept]
        # Whether something stays prepared: here, and on PostgreSQL's side under PgBouncer's names.
        there = await database.value(
            "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'PGBOUNCER_%'", []
        )
        assert (kept.prepared.bytes > 0) is options["pgbouncer_prepared"]
        assert (there > 0) is options["pgbouncer_prepared"]
    assert ports == {True}


@pytest.mark.parametrize("pushdown", ["always", "off"])
async def test_mutations_and_their_payloads(
    pgbouncer: str,
    db: asyncpg.Connection,
    issuer: DevelopmentIssuer,
    options: dict[str, bool],
    pushdown: str,
) -> None:
    ada = await make.person(db)
    settings = {f"database_{name}": value for name, value in options.items()}
    text = """mutation Rename($name: String!) { updateProfile(input: { displayName: $name }) {
      user { id profile { displayName } } userErrors { message } } }"""
    async with serving(pgbouncer, issuer, **settings, pushdown=pushdown) as api:
        for n in range(4):
            answer = await api(text, ada, name=f"Ada {n}")
            found = answer.data["updateProfile"]
            assert answer.status == 200
            assert found["userErrors"] == []
            assert found["user"]["profile"]["displayName"] == f"Ada {n}"


PLANS = "SELECT current_setting('plan_cache_mode')"


END_OTHERS = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'community-gql'"""
Give = Callable[[dict[str, str]], Awaitable[None]]


@pytest.fixture
async def give(db: asyncpg.Connection) -> AsyncIterator[Give]:
    """Gives the role these settings and no others, in the test's database only."""
    name = await db.fetchval("SELECT quote_ident(current_database())")
    role = f"ALTER ROLE postgres IN DATABASE {name}"

    async def give(settings: dict[str, str]) -> None:
        await db.execute(f"{role} RESET ALL")
        for setting, value in settings.items():
            await db.execute(f"{role} SET {setting} = '{value}'")
        await db.execute(END_OTHERS)

    yield give
    await db.execute(f"{role} RESET ALL")


async def test_a_plan_for_the_values_is_of_one_statement_only(
    pgbouncer: str, give: Give, options: dict[str, bool]
) -> None:
    usual = bouncer.wanted(pool.PoolConfig(**options))["plan_cache_mode"]
    await give({"plan_cache_mode": usual})
    async with opened(pgbouncer, pool_size=1, **options) as database:

        async def value(custom_plan: bool, select: str = PLANS) -> object:
            return await database.value(select, [], custom_plan=custom_plan)

        asked = "force_custom_plan" if options["pgbouncer_prepared"] else usual
        assert [await value(n % 2 > 0) for n in range(6)] == [usual, asked] * 3
        with pytest.raises(asyncpg.DivisionByZeroError):
            await value(True, "SELECT 1 / 0")
        assert not database.pool._ready  # it was given back, with its transaction ended
        assert [await value(n % 2 > 0) for n in range(4)] == [usual, asked] * 2
        assert await snapshot_value(database, custom_plan=True) == asked
        assert await snapshot_value(database, custom_plan=False) == usual


async def snapshot_value(database: Database, *, custom_plan: bool) -> object:
    snapshot = database.snapshot(custom_plan=custom_plan)
    try:
        return (await snapshot.run(text(PLANS), {}))[0][0]
    finally:
        await snapshot.close()


async def test_settings_that_the_role_lacks_are_named_once(
    pgbouncer: str,
    give: Give,
    options: dict[str, bool],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bouncer, "AGAIN", 0.1)
    config = pool.PoolConfig(**options)
    await give({"bytea_output": "escape", "plan_cache_mode": "force_custom_plan"})
    async with opened(pgbouncer, **options) as database:
        said = await checked(database, caplog)
        for name in ("bytea_output", "lock_timeout", "plan_cache_mode"):
            assert f"ALTER ROLE postgres SET {name} = '{bouncer.wanted(config)[name]}';" in said
        assert "search_path" not in said
    await give(bouncer.wanted(config))
    async with opened(pgbouncer, **options) as database:
        assert await checked(database, caplog) == ""


async def checked(database: Database, caplog: pytest.LogCaptureFixture) -> str:
    """What is said at the start of a server."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "community_gql.db"):
        await bouncer.check(database)
    lines = [record.getMessage() for record in caplog.records if hasattr(record, "settings")]
    return " ".join(lines)
