"""The database of the tests.

One throw-away PostgreSQL serves the whole run: pytest-xdist's controller starts it and tells its
workers the folder; without xdist the first test that asks for it does. The migrations run once,
into a template; each worker clones it. Tests commit, and a test that asked for ``database_url``
finds every table empty: what the test before it wrote is deleted, not rolled back.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest
from sqlalchemy import make_url

from community_gql.db import migrate
from community_gql.dev.embedded import EmbeddedPostgres
from community_gql.identity.development import DevelopmentIssuer
from community_gql.settings.checks import plain_address
from tests.support.client import Client, serving

T = TypeVar("T")

SERVER = pytest.StashKey[EmbeddedPostgres]()
FOLDER = "community_gql_postgres"
TEMPLATE = "migrated"

FAST = (
    "schema/test_errors.py", "schema/test_mutation_effects.py", "schema/test_mutation_inputs.py",
    "schema/test_mutations.py", "schema/test_query.py", "schema/test_schema.py",
    "graph/test_loaders.py", "graph/test_visibility.py",
    "operations/test_documents.py", "operations/test_execution.py",
    "operations/test_pipeline.py", "operations/test_reasons.py",
    "operations/test_shape_and_cost.py", "actions/test_actions.py", "dev/test_schema_diff.py",
    "db/test_triggers.py", "http/test_requests.py", "http/test_endpoint.py",
    "test_docs.py", "test_layout.py", "test_settings.py",
)  # fmt: skip
"""What `make test-fast` runs: what a change of the schema or of a rule breaks first."""

# Foreign keys and triggers rest while a session is a "replica", so the order does not matter.
EMPTY_ALL_TABLES = """
DO $$
DECLARE name regclass;
BEGIN
  SET LOCAL session_replication_role = replica;
  SET LOCAL lock_timeout = '5s';
  FOR name IN
    SELECT oid FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version'
  LOOP
    EXECUTE 'DELETE FROM ' || name;
  END LOOP;
END $$
"""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """For ``-n auto``: two for each core. Tests wait for servers as much as they work."""
    return 2 * (os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Called by xdist in its controller for each worker it starts."""
    if SERVER not in node.config.stash:
        node.config.stash[SERVER] = EmbeddedPostgres.start_throwaway()
    node.workerinput[FOLDER] = str(node.config.stash[SERVER].folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    if server := config.stash.get(SERVER, None):
        server.stop()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="only what `make test-fast` runs")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With ``--fast``: the modules of FAST, and of what is asked both ways the compiled one."""
    if not config.getoption("fast"):
        return
    modules = {str(Path(__file__).parent / name) for name in FAST}
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        callspec = getattr(item, "callspec", None)
        loaders = item.get_closest_marker("both_ways") and (
            callspec is not None and callspec.params.get("pushdown") == "off"
        )
        (kept if str(item.path) in modules and not loaders else left_out).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


def pytest_collection_finish() -> None:
    """What is imported and collected stays until the end: no collector looks through it again."""
    gc.collect()
    gc.freeze()


class Workbench:
    """Runs SQL from synchronous fixtures, on an event loop of its own that outlives each test's."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.server = server
        self.loop = asyncio.new_event_loop()
        self.connections: dict[str, asyncpg.Connection] = {}

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def execute(self, database: str, sql: str) -> None:
        if database not in self.connections:
            address = plain_address(self.server.url(database))
            self.connections[database] = self.run(asyncpg.connect(address))
        self.run(self.connections[database].execute(sql))

    def create(self, database: str, template: str = "template0") -> None:
        """Make a database that is like the template: copying its files is the cheapest."""
        self.execute(
            "postgres", f"CREATE DATABASE {database} TEMPLATE {template} STRATEGY FILE_COPY"
        )

    def disconnect(self, database: str) -> None:
        if connection := self.connections.pop(database, None):
            self.run(connection.close())

    def close(self) -> None:
        for database in list(self.connections):
            self.disconnect(database)
        self.loop.close()


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[EmbeddedPostgres]:
    """The throw-away server of this test run."""
    folder = getattr(request.config, "workerinput", {}).get(FOLDER)
    with EmbeddedPostgres.start_throwaway(Path(folder) if folder else None) as server:
        yield server


@pytest.fixture(scope="session")
def workbench(postgres: EmbeddedPostgres) -> Iterator[Workbench]:
    bench = Workbench(postgres)
    yield bench
    bench.close()


@pytest.fixture(scope="session")
def migrated_template(workbench: Workbench) -> str:
    """The name of a database at Alembic's head that nobody is connected to: clone it."""
    server = workbench.server
    with open(server.folder / "template.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = server.psql(f"SELECT 1 FROM pg_database WHERE datname = '{TEMPLATE}'")
        if not found:
            making = f"{TEMPLATE}_making"  # a failed attempt must not pass for a template
            workbench.execute("postgres", f"DROP DATABASE IF EXISTS {making}")
            workbench.create(making)
            migrate.upgrade(server.url(making))
            workbench.execute("postgres", f"ALTER DATABASE {making} RENAME TO {TEMPLATE}")
    return TEMPLATE


@pytest.fixture(scope="session")
def worker_database(workbench: Workbench, migrated_template: str, worker_id: str) -> str:
    """The name of the database that this worker's tests share, one after another."""
    name = f"test_{worker_id}"
    workbench.create(name, migrated_template)
    return name


@pytest.fixture
def database_url(workbench: Workbench, worker_database: str) -> Iterator[str]:
    """The address of a migrated database with no rows. What the test commits is deleted after."""
    yield workbench.server.url(worker_database)
    try:
        workbench.execute(worker_database, EMPTY_ALL_TABLES)
    except asyncpg.LockNotAvailableError:
        # The next test would hang in the same place, so the culprit is cut off before it is named.
        workbench.execute(
            "postgres",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE datname = '{worker_database}' AND xact_start IS NOT NULL",
        )
        workbench.disconnect(worker_database)
        workbench.execute(worker_database, EMPTY_ALL_TABLES)
        pytest.fail("the test left a transaction open: it held locks after its end")


@pytest.fixture
def guest(workbench: Workbench, worker_database: str, database_url: str) -> Iterator[str]:
    """A role without any rights."""
    name = f"guest_{worker_database}"
    workbench.execute(worker_database, f"CREATE ROLE {name} LOGIN")
    yield name
    workbench.execute(worker_database, f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.fixture
def guest_url(guest: str, database_url: str) -> str:
    """The address of the database for ``guest``."""
    return make_url(database_url).set(username=guest).render_as_string(hide_password=False)


@pytest.fixture
def empty_database_url(workbench: Workbench, worker_id: str) -> Iterator[Callable[..., str]]:
    """A function that makes one more database (empty, or a clone of ``template``)."""
    made: list[str] = []

    def make(template: str = "template0") -> str:
        name = f"extra_{worker_id}_{len(made)}"
        workbench.create(name, template)
        made.append(name)
        return workbench.server.url(name)

    yield make
    for name in made:
        workbench.execute("postgres", f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection for the factories and for looking into the tables; each statement commits."""
    connection = await asyncpg.connect(plain_address(database_url))
    yield connection
    await connection.close()


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentIssuer:
    """The development issuer that signs the tests' tokens."""
    return DevelopmentIssuer(tmp_path_factory.mktemp("issuer"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "pushdown" in metafunc.fixturenames and metafunc.definition.get_closest_marker("both_ways"):
        metafunc.parametrize("pushdown", ["always", "off"], indirect=True)


@pytest.fixture
def pushdown(request: pytest.FixtureRequest) -> str:
    """The setting PUSHDOWN of the tests: ``always``, unless a module or the environment differs.

    Modules with the mark ``both_ways`` run each test that asks the API twice.
    """
    return str(getattr(request, "param", os.environ.get("PUSHDOWN", "always")))


@pytest.fixture
async def api(database_url: str, issuer: DevelopmentIssuer, pushdown: str) -> AsyncIterator[Client]:
    """A client of the app over the test's database: ``await api(query, viewer, name=value)``."""
    async with serving(database_url, issuer, pushdown=pushdown) as client:
        yield client
