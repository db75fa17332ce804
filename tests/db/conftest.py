"""Databases at chosen revisions, on the embedded PostgreSQL and on the system's 15.

The 15 is the oldest we can run here; where it is not installed its tests are skipped and say so.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from community_gql.db import migrate
from community_gql.dev import embedded
from community_gql.dev.embedded import places, process
from community_gql.settings.checks import plain_address

SYSTEM_15 = Path("/usr/lib/postgresql/15/bin")

COPIED = "STRATEGY FILE_COPY"
"""By copying files, which is cheaper than by way of the log, PostgreSQL's own choice."""

Make = Callable[..., Awaitable[str]]
Connect = Callable[[str], Awaitable[asyncpg.Connection]]


@pytest.fixture(scope="session", params=["embedded", "15"])
def server(request: pytest.FixtureRequest) -> Iterator[Callable[[str], str]]:
    """Return the address of a database of the server, by the database's name."""
    if request.param == "embedded":
        postgres: embedded.EmbeddedPostgres = request.getfixturevalue("postgres")
        yield postgres.url
        return
    if not (SYSTEM_15 / "postgres").is_file():
        pytest.skip("PostgreSQL 15 is not installed (apt-get install postgresql-15)")
    account = places.root_account() if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="community-gql-15-"))
    folder.chmod(0o755)
    where = places.Place(folder, folder / "run", account)
    places.own_folder(where.sockets, 0o700, account)
    places.own_folder(where.data, 0o700, account)
    words = ("-U", places.SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
    code, said = process.run(where, SYSTEM_15 / "initdb", "-D", where.data, *words)
    assert code == 0, said
    postmaster = process.launch(where, SYSTEM_15, throwaway=True)
    try:
        yield lambda name: f"postgresql+asyncpg{embedded.address(where.sockets, name)}"
    finally:
        embedded.end(where, SYSTEM_15, throwaway=True)
        postmaster.wait()
        shutil.rmtree(folder)


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Return a function that opens a connection, closed after the test."""
    opened: list[asyncpg.Connection] = []

    async def connect(url: str) -> asyncpg.Connection:
        opened.append(await asyncpg.connect(plain_address(url)))
        return opened[-1]

    yield connect
    for connection in opened:
        await connection.close(timeout=5)


@pytest.fixture(scope="session")
def templates() -> dict[tuple[str, str], str]:
    """Databases that were already brought to a revision: the server and the revision, the name."""
    return {}


@pytest.fixture
async def make(
    server: Callable[[str], str],
    worker_id: str,
    templates: dict[tuple[str, str], str],
) -> AsyncIterator[Make]:
    """Return a function that makes a database, empty or at a revision, and gives its address."""
    admin = await asyncpg.connect(plain_address(server("postgres")))
    made: list[str] = []

    async def make(revision: str | None = None) -> str:
        source = "template0"
        if revision:
            key = (server(""), revision)
            if key not in templates:
                templates[key] = name = f"at_{revision}_{worker_id}"
                await admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 {COPIED}")
                await asyncio.to_thread(migrate.upgrade, server(name), revision)
            source = templates[key]
        made.append(f"schema_{worker_id}_{len(made)}")
        await admin.execute(f"CREATE DATABASE {made[-1]} TEMPLATE {source} {COPIED}")
        return server(made[-1])

    yield make
    for name in made:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
async def url(make: Make) -> str:
    """The address of a database of its own at the newest revision."""
    return await make("head")
