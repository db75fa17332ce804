"""Passing states of the database: 503, and recovery by itself, on both executors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest

from community_gql.db import migrate, states
from community_gql.db.answers import ANSWERS
from community_gql.dev.embedded import EmbeddedPostgres
from community_gql.identity.development import DevelopmentIssuer
from community_gql.settings.checks import plain_address
from community_gql.telemetry import metrics
from tests.support import factories
from tests.support.client import Answer, Client, serving
from tests.support.factories import Person
from tests.support.waiting import until

WAYS = pytest.mark.parametrize("pushdown", ["always", "off"])
READ = "{ stories(first: 5) { totalCount nodes { title } } }"
WRITE = 'mutation { createHabit(input: {name: "water", frequency: DAILY}) { habit { name } } }'


class Scene:
    """An application over a database of its own, which a test may spoil."""

    def __init__(self, api: Client, admin: asyncpg.Connection, url: str, ada: Person) -> None:
        self.api, self.admin, self.url, self.ada = api, admin, url, ada
        self.name = url.rpartition("/")[2].partition("?")[0]

    async def end_backends(self) -> None:
        await self.admin.execute(
            "SELECT pg_terminate_backend(pid, 10_000) FROM pg_stat_activity "
            f"WHERE datname = '{self.name}' AND pid <> pg_backend_pid()"
        )
        await asyncio.sleep(0.1)  # for their clients to notice

    async def rename(self) -> None:
        """Put the database away; what works beside requests may connect anew at any moment."""
        for attempt in range(20):
            await self.end_backends()
            try:
                await self.admin.execute(f"ALTER DATABASE {self.name} RENAME TO away_{self.name}")
                return
            except asyncpg.ObjectInUseError:
                if attempt == 19:
                    raise

    async def ready(self) -> int:
        status = (await self.api.http.get("/readyz")).status_code
        (shown,) = next(iter(metrics.READY.collect())).samples
        assert shown.value == (status == 200)
        return status


def is_away(answer: Answer) -> bool:
    return (
        answer.status == 503
        and answer.codes == ["UNAVAILABLE"]
        and answer.response.headers["retry-after"] == "1"
    )


@pytest.fixture
def own_database(empty_database_url: Callable[..., str], migrated_template: str) -> str:
    return empty_database_url(migrated_template)


@pytest.fixture
async def scene(
    own_database: str,
    postgres: EmbeddedPostgres,
    issuer: DevelopmentIssuer,
    pushdown: str,
) -> AsyncIterator[Scene]:
    url = own_database
    inside = await asyncpg.connect(plain_address(url))
    ada = await factories.person(inside)
    await inside.close()
    admin = await asyncpg.connect(plain_address(postgres.url("postgres")))
    async with serving(url, issuer, pushdown=pushdown) as api:
        found = Scene(api, admin, url, ada)
        assert (await api(READ, ada)).status == 200
        assert (await api(WRITE, ada)).status == 200
        yield found
    await admin.close()


@WAYS
async def test_a_database_that_became_read_only(scene: Scene) -> None:
    await scene.admin.execute(f"ALTER DATABASE {scene.name} SET default_transaction_read_only = on")
    await scene.end_backends()
    await scene.api(READ)  # may meet a connection that was ended
    assert is_away(await scene.api(WRITE, scene.ada))
    assert is_away(await scene.api(WRITE, scene.ada))
    assert (await scene.api(READ)).status == 200
    await scene.ready()
    assert await scene.ready() == 503
    await scene.admin.execute(f"ALTER DATABASE {scene.name} RESET default_transaction_read_only")
    await scene.api(WRITE, scene.ada)
    assert (await scene.api(WRITE, scene.ada)).status == 200
    assert await scene.ready() == 200


@WAYS
async def test_a_database_that_is_gone(scene: Scene) -> None:
    await scene.rename()
    try:
        for _ in range(2):
            assert is_away(await scene.api(READ))
            assert is_away(await scene.api(WRITE, scene.ada))
        assert await scene.ready() == 503
    finally:
        await scene.admin.execute(f"ALTER DATABASE away_{scene.name} RENAME TO {scene.name}")
    assert (await scene.api(READ)).status == 200
    assert (await scene.api(WRITE, scene.ada)).status == 200


@WAYS
async def test_connecting_is_refused(scene: Scene, pushdown: str) -> None:
    role = f"plain_{scene.name}"
    await scene.admin.execute(
        f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1 IN ROLE pg_read_all_data, pg_write_all_data"
    )
    url = scene.url.replace("postgres@", f"{role}@")
    try:
        async with serving(url, scene.api.issuer, pushdown=pushdown) as refused:
            texts = [READ] * 20 + [WRITE] * 20
            answers = await asyncio.gather(*(refused(text, scene.ada) for text in texts))
            assert all(answer.status == 200 or is_away(answer) for answer in answers)
            assert any(map(is_away, answers))
        await scene.admin.execute(f"ALTER ROLE {role} NOLOGIN")  # 28000
        async with serving(url, scene.api.issuer, pushdown=pushdown) as refused:
            assert is_away(await refused(READ))
            assert is_away(await refused(WRITE, scene.ada))
    finally:
        await scene.admin.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
        )
        await scene.admin.execute(f"DROP ROLE {role}")


@WAYS
async def test_a_column_changes_its_type(scene: Scene) -> None:
    query = "{ viewer { user { garden { theme } } } }"
    made = await scene.api(
        'mutation { createGarden(input: {name: "plot", theme: "fern"}) { garden { id } } }',
        scene.ada,
    )
    garden = made.data["createGarden"]["garden"]["id"]
    write = (
        f'mutation {{ updateGarden(input: {{id: "{garden}", theme: "moss"}}) '
        "{ garden { theme } userErrors { message } } }"
    )
    for _ in range(3):
        await scene.api(query, scene.ada)
        await scene.api(write, scene.ada)
    inside = await asyncpg.connect(plain_address(scene.url))
    await inside.execute("ALTER TABLE gardens ALTER COLUMN theme TYPE varchar(60)")
    await inside.close()
    read = await scene.api(query, scene.ada)
    assert read.status == 200 or is_away(read)  # a later statement of a snapshot cannot repeat
    for text in (write, query):
        assert "errors" not in (await scene.api(text, scene.ada)).body


@WAYS
@pytest.mark.parametrize("code", ["53100", "53200"])
async def test_a_full_disk_is_said_once_a_minute(
    scene: Scene, code: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "_causes", states.Causes())
    monkeypatch.setattr(states, "LOG_SECONDS", 0.5)
    inside = await asyncpg.connect(plain_address(scene.url))
    await inside.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE 'full' USING ERRCODE = '{code}'; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON habits FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    await inside.close()
    for _ in range(4):
        assert is_away(await scene.api(WRITE, scene.ada))

    def lines() -> list[logging.LogRecord]:
        records = [record for record in caplog.records if record.name == "community_gql.db"]
        return [record for record in records if record.levelname == "WARNING"]

    await until(lambda: sum(line.__dict__["count"] for line in lines()) >= 4)
    assert next((line.__dict__["cause"], line.__dict__["count"]) for line in lines()) == (code, 1)
    assert sum(line.__dict__["count"] for line in lines()) == 4
    assert len(lines()) < 4


@WAYS
async def test_ready_beside_callers_who_hold_every_connection(scene: Scene) -> None:
    inside = await asyncpg.connect(plain_address(scene.url))
    async with inside.transaction():
        await inside.execute("LOCK TABLE stories")
        busy = [asyncio.create_task(scene.api(READ)) for _ in range(30)]
        await asyncio.sleep(0.3)
        assert [await scene.ready() for _ in range(5)] == [200] * 5
    await asyncio.gather(*busy)
    await inside.close()


async def test_writers_that_wait_for_a_row_leave_the_readers_their_part(scene: Scene) -> None:
    inside = await asyncpg.connect(plain_address(scene.url))
    change = 'mutation { updateProfile(input: {bio: "x"}) { user { id } } }'
    async with inside.transaction():
        await inside.execute("SELECT 1 FROM users FOR UPDATE")
        writers = [asyncio.create_task(scene.api(change, scene.ada)) for _ in range(10)]
        await asyncio.sleep(0.2)
        for _ in range(10):
            answer = await asyncio.wait_for(scene.api(READ), 2)
            assert answer.status == 200
        assert not any(writer.done() for writer in writers)
    await asyncio.gather(*writers)
    await inside.close()


SETTINGS = ANSWERS | {
    "bytea_output": "escape",
    "datestyle": "SQL, DMY",
    "default_text_search_config": "pg_catalog.german",
    "default_transaction_deferrable": "on",
    "default_transaction_isolation": "serializable",
    "extra_float_digits": "-15",
    "gin_fuzzy_search_limit": "1",
    "intervalstyle": "iso_8601",
    "lc_monetary": "C.UTF-8",
    "lc_numeric": "C.UTF-8",
    "lc_time": "C.UTF-8",
    "quote_all_identifiers": "on",
    "row_security": "off",
    "search_path": "pg_temp",
    "standard_conforming_strings": "off",
    "timezone": "Pacific/Auckland",
    "transform_null_equals": "on",
    "xmlbinary": "hex",
    "xmloption": "document",
}
MORE = {
    "array_nulls": "off",
    "backslash_quote": "on",
    "statement_timeout": "1ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "work_mem": "64kB",
    "lc_messages": "C.UTF-8",
    "plan_cache_mode": "force_custom_plan",
    "enable_hashjoin": "off",
    "jit": "on",
}
LISTS = ("datestyle", "search_path")
ANSWERED = """{ stories(first: 5) { nodes { id createdAt title content tags { name } } }
  viewer { user { id createdAt matches(first: 5) { nodes { score } } } } }"""


WHERE = pytest.mark.parametrize("place", ["DATABASE {}", "ROLE postgres IN DATABASE {}"])


async def spoil(admin: asyncpg.Connection, place: str) -> None:
    """Set everything that could change an answer, for a database or a role in it."""
    for name, value in (SETTINGS | MORE).items():
        written = value if name in LISTS else f"'{value}'"
        await admin.execute(f"ALTER {place} SET {name} = {written}")


def test_every_setting_that_is_fixed_is_tried_with_another_value() -> None:
    assert [name for name, value in ANSWERS.items() if SETTINGS[name] == value] == []


@WAYS
@WHERE
async def test_no_setting_of_database_or_role_changes_an_answer(scene: Scene, place: str) -> None:
    inside = await asyncpg.connect(plain_address(scene.url))
    await factories.story(inside, scene.ada)
    await factories.match_batch(inside, scene.ada, {await factories.person(inside): 1.0})
    await inside.execute("UPDATE match_results SET score = 0.1234567890123")
    await inside.close()
    before = (await scene.api(ANSWERED, scene.ada)).data
    await spoil(scene.admin, place.format(scene.name))
    await scene.end_backends()
    for pushdown in ("off", "always"):
        async with serving(scene.url, scene.api.issuer, pushdown=pushdown) as api:
            assert (await api(ANSWERED, scene.ada)).data == before
            assert (await api(WRITE, scene.ada)).status == 200


@pytest.fixture
def bare_database(empty_database_url: Callable[..., str]) -> str:
    return empty_database_url()


@WHERE
async def test_no_setting_of_database_or_role_changes_a_migration(
    bare_database: str, own_database: str, postgres: EmbeddedPostgres, place: str
) -> None:
    """Nor one that makes it read-only: whoever migrates wants to write."""
    admin = await asyncpg.connect(plain_address(postgres.url("postgres")))
    spoilt = place.format(bare_database.rpartition("/")[2].partition("?")[0])
    await spoil(admin, spoilt)
    await admin.execute(f"ALTER {spoilt} SET default_transaction_read_only = on")
    await asyncio.to_thread(migrate.upgrade, bare_database)
    await admin.execute(f"ALTER {spoilt} RESET ALL")
    await admin.close()
    made, right = [await shape(url) for url in (bare_database, own_database)]
    assert made == right


async def shape(url: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(plain_address(url))
    try:
        return [tuple(row) for row in await connection.fetch(SHAPE)]
    finally:
        await connection.close()


SHAPE = """
SELECT relname, relkind::text, attname, format_type(atttypid, atttypmod),
  pg_get_expr(adbin, adrelid)
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
LEFT JOIN pg_attrdef ON adrelid = pg_class.oid AND adnum = attnum
WHERE relnamespace = 'public'::regnamespace ORDER BY 1, 3
"""
