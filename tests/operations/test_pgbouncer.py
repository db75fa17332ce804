"""Behind PgBouncer in transaction mode, where each transaction may run on another connection."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

import asyncpg
import pytest
from sqlalchemy import make_url

from community_gql.db import pool
from community_gql.db.database import opened
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
"""


@pytest.fixture
def most() -> int:
    """How many clients the PgBouncer accepts."""
    return 100


@pytest.fixture
def pgbouncer(postgres: EmbeddedPostgres, database_url: str, most: int) -> Iterator[str]:
    """The address of the test's database by way of a PgBouncer, Debian's ``pgbouncer``."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("PgBouncer is not installed: apt install pgbouncer")
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
        )
    )
    # It refuses to run as root, and only PostgreSQL's own account may use its socket.
    owner = os.stat(str(sockets)).st_uid if os.geteuid() == 0 else None
    process = subprocess.Popen([program, "-q", str(file)], user=owner, stderr=subprocess.DEVNULL)
    try:
        _wait(port)
        yield f"postgresql+asyncpg://{direct.username}@{HOST}:{port}/{direct.database}"
    finally:
        process.terminate()
        process.wait(10)
        file.unlink()


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
) -> None:
    # Each request connects anew, forty at once, and the machine may be busy.
    monkeypatch.setattr(pool, "CONNECT_SECONDS", 30)
    chance = random.Random(1)
    people, words = await community(db, chance)
    viewers = [ANONYMOUS, *map(viewer_of, people)]
    generator = Generator(chance, words)
    operations = [generator.operation() for _ in range(60)]

    async with both_ways(pgbouncer, pgbouncer=True) as both:
        for n in range(0, len(operations), 20):
            some = operations[n : n + 20]
            await asyncio.gather(*(both.compare(o, chance.choice(viewers)) for o in some * 2))


@pytest.mark.parametrize("most", [2])
@pytest.mark.parametrize("pushdown", ["always", "off"])
async def test_a_full_one_is_a_passing_state(
    pgbouncer: str, db: asyncpg.Connection, issuer: DevelopmentIssuer, pushdown: str
) -> None:
    """It refuses a client too many with 08P01; the application has one of the two places."""
    ada = await make.person(db)
    read, write = "{ stories { totalCount } }", 'mutation { updateProfile(input: {bio: "x"}) { '
    write += "user { id } } }"
    settings = {"database_pgbouncer": True, "pushdown": pushdown}
    plain = plain_address(pgbouncer)
    async with serving(pgbouncer, issuer, **settings) as api:
        others = [await asyncpg.connect(plain, statement_cache_size=0) for _ in range(2)]
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


async def test_connections_to_it_are_kept_between_requests(pgbouncer: str) -> None:
    async with opened(pgbouncer, pgbouncer=True, pool_size=2) as database:
        ports = {await database.value("SELECT inet_server_port() IS NULL", []) for _ in range(3)}
        (kept,) = database.pool._ready
        for _ in range(5):
            await database.value("SELECT 1", [])
        assert database.pool._ready == [kept]
        assert kept.prepared.bytes == 0  # and nothing stays prepared
    assert ports == {True}
