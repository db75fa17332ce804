"""Up, down and up again: on empty databases, the seed's own, and ones that hold rows."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
from alembic import command
from sqlalchemy.ext.asyncio import create_async_engine

from community_gql.db import migrate, revisions
from community_gql.db.models import Base
from community_gql.settings.checks import plain_address
from tests.db.catalog import Catalog, catalog, differences

Make = Callable[..., Awaitable[str]]
Connect = Callable[[str], Awaitable[asyncpg.Connection]]

ROOT = Path(__file__).parents[2]
SEED = Path(__file__).with_name("seed.sql").read_text()
REVISIONS = sorted(file.name[:4] for file in (ROOT / "migrations/versions").glob("0*.py"))
NEXT = f"{len(REVISIONS) + 1:04}"


async def upgrade(url: str, revision: str = "head") -> None:
    await asyncio.to_thread(migrate.upgrade, url, revision)


async def downgrade(url: str, revision: str) -> None:
    await asyncio.to_thread(migrate.downgrade, url, revision)


async def alembic(*words: str, url: str | None, cwd: Path = ROOT) -> tuple[int, str]:
    """Run Alembic's own command as an operator would; return its exit code and what it said."""
    environment = {key: item for key, item in os.environ.items() if key != "DATABASE_URL"}
    if url is not None:
        environment["DATABASE_URL"] = url
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-m", "alembic", "-c", str(ROOT / "alembic.ini"), *words,
        cwd=cwd, env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


def test_revisions_are_one_line_of_numbers() -> None:
    files = sorted(path.name for path in (ROOT / "migrations" / "versions").glob("*.py"))
    assert [name[:4] for name in files] == [f"{n:04d}" for n in range(1, len(files) + 1)]
    for number, name in enumerate(files, 1):
        text = (ROOT / "migrations" / "versions" / name).read_text()
        before = f'"{number - 1:04d}"' if number > 1 else "None"
        lines = text.replace(": str | None", "")
        assert f'\nrevision = "{number:04d}"\ndown_revision = {before}\n' in lines


async def test_each_step_up_and_down_and_up_again(make: Make, connect: Connect) -> None:
    url = await make()
    connection = await connect(url)
    on_the_way: list[Catalog] = [await catalog(connection)]
    for revision in REVISIONS:
        await upgrade(url, revision)
        on_the_way.append(await catalog(connection))
        assert differences(*on_the_way[-2:]) != {}
    for revision, before in zip(
        reversed(["base", *REVISIONS[:-1]]), on_the_way[-2::-1], strict=True
    ):
        await downgrade(url, revision)
        assert differences(before, await catalog(connection)) == {}, revision
    await upgrade(url)
    assert differences(on_the_way[-1], await catalog(connection)) == {}


def without_places(found: Catalog) -> Catalog:
    """The catalog without the places of columns."""
    return {name: re.sub(r"^no\. \d+ ", "", text) for name, text in found.items()}


async def test_the_head_is_what_the_models_say(make: Make, connect: Connect) -> None:
    """Including what `alembic check` does not compare: checks and predicates.

    Not the order of columns: a new one comes last in the table, wherever it stands in the models.
    """
    url = await make()
    connection = await connect(url)
    head = await connect(await make("head"))
    await connection.execute("CREATE EXTENSION citext")
    # An index is of what it says, and no model has functions.
    marks = await head.fetchval("SELECT pg_get_functiondef('story_marks'::regproc)")
    await connection.execute(marks)
    engine = create_async_engine(url)
    async with engine.begin() as session:
        await session.run_sync(Base.metadata.create_all)
    await engine.dispose()
    models = without_places(await catalog(connection))
    migrated = without_places(await catalog(head))
    found = differences(models, migrated)
    assert {name.split()[0] for name in found} == {"function", "trigger"}, found


async def test_check_is_clean_at_the_head(make: Make) -> None:
    await asyncio.to_thread(migrate.check, await make("head"))


@pytest.mark.parametrize(
    "drift",
    [
        "ALTER TABLE gardens DROP COLUMN theme",
        "ALTER TABLE gardens ADD COLUMN soil text",
        "ALTER TABLE gardens ALTER COLUMN name DROP NOT NULL",
        "ALTER TABLE gardens ALTER COLUMN theme TYPE varchar(41)",
        "ALTER TABLE gardens ALTER COLUMN created_at DROP DEFAULT",
        "ALTER TABLE stories ALTER COLUMN visibility SET DEFAULT 'public'",
        "ALTER TABLE habits ALTER COLUMN meta SET DEFAULT '[]'",
        "ALTER TABLE users DROP CONSTRAINT users_public_id_key",
        "ALTER TABLE story_tags DROP CONSTRAINT story_tags_tag_id_fkey",
        "DROP INDEX idx_stories_created",
        "DROP INDEX uq_friendships_pair",
        "DROP TABLE deleted_accounts",
        "CREATE TABLE forgotten (id int)",
        "CREATE INDEX forgotten ON users (email)",
    ],
)
async def test_check_finds_drift(make: Make, connect: Connect, drift: str) -> None:
    url = await make("head")
    await (await connect(url)).execute(drift)
    with pytest.raises(migrate.MigrationError, match=r"models\.py and the migrations differ"):
        await asyncio.to_thread(migrate.check, url)


async def test_a_database_made_by_the_seeds_sql_can_be_stamped(
    make: Make, connect: Connect
) -> None:
    url = await make()
    connection = await connect(url)
    await connection.execute(SEED)
    code, said = await alembic("stamp", "0003", url=plain_address(url))
    assert code == 0, said
    await upgrade(url)
    head = await catalog(await connect(await make("head")))
    assert differences(head, await catalog(connection)) == {}


async def test_alembic_alone(make: Make, tmp_path: Path) -> None:
    url = plain_address(await make())
    code, said = await alembic("upgrade", "head", url=url, cwd=tmp_path)
    assert code == 0, said
    assert said.count("Running upgrade") == len(REVISIONS)
    code, said = await alembic("current", url=url)
    assert code == 0
    assert f"{REVISIONS[-1]} (head)" in said
    code, said = await alembic("check", url=url)
    assert code == 0, said
    code, said = await alembic("downgrade", "base", url=url)
    assert code == 0, said


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (None, "DATABASE_URL is not set"),
        (" ", "DATABASE_URL is not set"),
        ("mysql://me:secret@there/db", "DATABASE_URL is wrong"),
        ("postgresql://me:secret@there:port/db", "DATABASE_URL is wrong"),
    ],
)
async def test_an_unusable_address_is_said_plainly(url: str | None, sentence: str) -> None:
    code, said = await alembic("upgrade", "head", url=url)
    assert code != 0
    assert sentence in said
    assert "Traceback" not in said
    assert "secret" not in said


async def test_sql_scripts_are_refused() -> None:
    code, said = await alembic("upgrade", "head", "--sql", url="postgresql://me@there/db")
    assert code != 0
    assert "--sql is not supported" in said
    assert "Traceback" not in said


async def test_two_upgraders_at_once(make: Make, connect: Connect) -> None:
    """Both find the database locked, so that one surely works while the other waits."""
    url = await make()
    connection = await connect(url)
    await connection.execute("SELECT pg_advisory_lock($1)", 0x636F6D6D75)
    runs = [asyncio.create_task(alembic("upgrade", "head", url=plain_address(url))) for _ in "ab"]
    waiting = """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND state = 'idle' AND query = 'ROLLBACK;'
    """
    async with asyncio.timeout(60):
        while await connection.fetchval(waiting) < 2:  # noqa: ASYNC110 (others, not we, wait)
            await asyncio.sleep(0.05)
        assert await connection.fetchval("SELECT to_regclass('users')") is None
        await connection.execute("SELECT pg_advisory_unlock($1)", 0x636F6D6D75)
        done = await asyncio.gather(*runs)
    assert [code for code, _ in done] == [0, 0], done
    assert sum(said.count("Running upgrade") for _, said in done) == len(REVISIONS)
    assert sum(said.count("Waiting for another process") for _, said in done) == 2


async def test_an_open_connection_is_used_and_given_back_unlocked(make: Make) -> None:
    url = await make()
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        config = migrate.configure("")

        def work(sync_connection: object) -> None:
            config.attributes["connection"] = sync_connection
            command.upgrade(config, "head")

        await connection.run_sync(work)
        assert not connection.in_transaction()
        held = await connection.exec_driver_sql(
            "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database "
            "WHERE locktype = 'advisory' AND datname = current_database()"
        )
        assert held.scalar() == 0
    await engine.dispose()
    assert REVISIONS[-1] in await asyncio.to_thread(migrate.current, url)


async def test_no_superuser_is_needed(make: Make, connect: Connect, worker_id: str) -> None:
    url = await make()
    role = f"owner_{worker_id}"
    connection = await connect(url)
    await connection.execute(f"""
        DO $$
        BEGIN
          IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
            CREATE ROLE {role} LOGIN;
          END IF;
          EXECUTE format('ALTER DATABASE %I OWNER TO {role}', current_database());
        END
        $$
    """)
    theirs = url.replace("postgres@", f"{role}@")
    await upgrade(theirs)
    await downgrade(theirs, "base")
    assert "extension citext" not in await catalog(connection)


async def test_a_role_that_may_not_create_extensions_uses_the_one_that_is_there(
    make: Make, connect: Connect, worker_id: str
) -> None:
    url = await make()
    role = f"guest_{worker_id}"
    connection = await connect(url)
    await connection.execute(f"""
        DO $$
        BEGIN
          IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
            CREATE ROLE {role} LOGIN;
          END IF;
        END
        $$;
        GRANT CREATE ON SCHEMA public TO {role};
    """)
    theirs = url.replace("postgres@", f"{role}@")
    with pytest.raises(migrate.MigrationError, match="permission denied to create extension"):
        await upgrade(theirs)
    await connection.execute("CREATE EXTENSION citext")
    await upgrade(theirs)
    await downgrade(theirs, "base")
    assert "extension citext" in await catalog(connection)  # not theirs to drop


async def test_a_database_that_cannot_hold_every_letter_is_refused(
    make: Make, connect: Connect
) -> None:
    url = await make()
    connection = await connect(url)
    beside = await connection.fetchval("SELECT current_database()")
    name = f"{beside}_ascii"
    await connection.execute(
        f"CREATE DATABASE \"{name}\" ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0"
    )
    try:
        with pytest.raises(migrate.MigrationError, match=r"encoding is SQL_ASCII.*ENCODING 'UTF8'"):
            await upgrade(url.replace(f"/{beside}", f"/{name}"))
    finally:
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


async def test_citext_stays_while_others_use_it(make: Make, connect: Connect) -> None:
    url = await make("head")
    connection = await connect(url)
    await connection.execute("CREATE TABLE neighbours (name citext)")
    await downgrade(url, "base")
    assert "column neighbours.name" in await catalog(connection)


INTERRUPT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
      AND query LIKE 'CREATE INDEX CONCURRENTLY % idx_stories_created %'
"""


async def test_an_interrupted_build_of_indexes_is_finished_by_the_next_run(
    make: Make, connect: Connect
) -> None:
    url = await make("0004")
    connection, writer = await connect(url), await connect(url)
    transaction = writer.transaction()
    await transaction.start()
    await writer.execute("LOCK TABLE stories IN ROW EXCLUSIVE MODE")  # as any write does
    running = asyncio.create_task(upgrade(url))
    async with asyncio.timeout(60):
        # It waits for the writer by then.
        while not await connection.fetchval(INTERRUPT):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        with pytest.raises(migrate.MigrationError, match="the database refused"):
            await running
    await transaction.rollback()
    halfway = [name for name, text in (await catalog(connection)).items() if "(invalid)" in text]
    assert halfway == ["index stories.idx_stories_created"]
    assert "0004" in await asyncio.to_thread(migrate.current, url)
    await upgrade(url)
    head = await catalog(await connect(await make("head")))
    assert differences(head, await catalog(connection)) == {}


async def test_a_new_revision_gets_the_next_number(
    make: Make, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "migrations", tmp_path / "migrations")
    monkeypatch.setattr(revisions, "folder", lambda: tmp_path / "migrations")
    url = await make("head")
    await (await connect(url)).execute("ALTER TABLE gardens DROP COLUMN theme")
    path = await asyncio.to_thread(migrate.revision, url, "add the theme")
    assert path.name == f"{NEXT}_add_the_theme.py"
    text = path.read_text()
    assert f'revision = "{NEXT}"\ndown_revision = "{REVISIONS[-1]}"\n' in text.replace("'", '"')
    assert "op.add_column" in text
    await upgrade(url)
    await asyncio.to_thread(migrate.check, url)


# --- rows that were there before migration 4 ---

OLD_ROWS = """
    INSERT INTO users VALUES
      ('auth0|ada', 'Ada@Example.com', NULL), ('auth0|ben', 'ben@example.com', '2024-01-02');
    INSERT INTO user_profiles VALUES
      ('auth0|ada', '  Ada ÉLAN ', 'bio', 3, NULL), ('auth0|ben', NULL, NULL, NULL, '2024-01-02');
    INSERT INTO tags (id, name, created_at) VALUES
      (1, 'Growth', '2024-05-05'), (2, 'growth', '2024-03-03'), (3, '  GROWTH ', NULL),
      (4, E'deep \\t  Work', '2024-01-01'), (5, 'untouched', '2024-01-01'),
      (6, E'caf\u00e9\u00a0TIME', NULL);
    INSERT INTO user_tags VALUES
      ('auth0|ada', 1), ('auth0|ada', 2), ('auth0|ada', 3), ('auth0|ada', 5), ('auth0|ben', 3);
    INSERT INTO stories VALUES
      (1, 'auth0|ada', 'Nulls', 'c', NULL, NULL, NULL, NULL),
      (2, 'auth0|ada', 'Folds', 'c', 'public',
        ARRAY['GROWTH', 'growth ', 'Deep Work', 'untouched'], '2024-01-01', '2024-02-02'),
      (3, 'auth0|ben', 'New names', 'c', 'friends',
        ARRAY['New  One', 'new one', NULL, '  ', 'café time'], '2024-01-01', '2024-02-02'),
      (4, 'auth0|ben', 'Empty', repeat('word ', 30000), 'private', '{}', '2024-01-01', NULL);
    INSERT INTO habits VALUES
      (1, 'auth0|ada', 'Nulls', NULL, NULL, NULL),
      (2, 'auth0|ada', 'Full', 'daily', '{"minutes": 10}', '2024-01-01');
    INSERT INTO gardens VALUES (1, 'auth0|ada', 'Garden', NULL, NULL);
    INSERT INTO user_features VALUES
      ('auth0|ada', '[0.5]', NULL, NULL), ('auth0|ben', '[1]', 7, '2024-01-01');
    INSERT INTO match_results VALUES
      (1, 'auth0|ada', 'auth0|ben', 0.5, NULL), (2, 'auth0|ada', 'auth0|ben', 0, NULL),
      (3, 'auth0|ada', 'auth0|ben', 1, '2024-01-01'), (4, 'auth0|ben', 'auth0|ada', 1, NULL);
    SELECT setval(name || '_id_seq', 9)
    FROM unnest('{tags,stories,habits,gardens,match_results}'::text[]) AS name;
"""


async def test_rows_are_completed_and_kept(make: Make, connect: Connect) -> None:
    url = await make("0003")
    connection = await connect(url)
    await connection.execute(OLD_ROWS)
    await upgrade(url)

    async def rows(sql: str) -> list[tuple[object, ...]]:
        return [tuple(row) for row in await connection.fetch(sql)]

    assert await rows(
        "SELECT email, name_key, created_at > '2025-01-01' FROM users ORDER BY 1"
    ) == [
        ("Ada@Example.com", "ada elan", True),
        ("ben@example.com", "", False),
    ]
    assert await connection.fetchval("SELECT count(DISTINCT public_id) FROM users") == 2
    assert await rows(
        "SELECT bio, updated_at > '2025-01-01' FROM user_profiles ORDER BY user_id"
    ) == [
        ("bio", True),
        (None, False),
    ]
    assert await rows("SELECT id, name FROM tags ORDER BY id") == [
        (1, "growth"), (4, "deep work"), (5, "untouched"), (6, "café time"), (10, "new one"),
    ]  # fmt: skip
    since = await connection.fetchval("SELECT created_at::date::text FROM tags WHERE id = 1")
    assert since == "2024-03-03"  # of the oldest that were merged
    assert await rows("SELECT user_id, tag_id FROM user_tags ORDER BY 1, 2") == [
        ("auth0|ada", 1), ("auth0|ada", 5), ("auth0|ben", 1),
    ]  # fmt: skip
    assert await rows(
        "SELECT id, visibility, tags_cached, created_at > '2025-01-01', updated_at > '2025-01-01' "
        "FROM stories ORDER BY id"
    ) == [
        (1, "private", [], True, True),
        (2, "public", ["deep work", "growth", "untouched"], False, False),
        (3, "friends", ["café time", "new one"], False, False),
        (4, "private", [], False, True),
    ]
    assert await rows("SELECT * FROM story_tags ORDER BY 1, 2") == [
        (2, 1), (2, 4), (2, 5), (3, 6), (3, 10),
    ]  # fmt: skip
    assert await rows("SELECT id FROM stories WHERE search @@ to_tsquery('english', 'fold')") == [
        (2,)
    ]
    assert await rows(
        "SELECT name, frequency, meta, created_at > '2025-01-01' FROM habits ORDER BY id"
    ) == [("Nulls", "custom", "{}", True), ("Full", "daily", json.dumps({"minutes": 10}), False)]
    assert await rows("SELECT name, theme, created_at > '2025-01-01' FROM gardens") == [
        ("Garden", None, True)
    ]
    assert await rows(
        "SELECT vector, version, updated_at > '2025-01-01' FROM user_features ORDER BY user_id"
    ) == [("[0.5]", 1, True), ("[1]", 7, False)]
    # Two rows without a batch stay two, and do not displace the newest batch that is known.
    assert await rows(
        "SELECT id, score FROM match_results WHERE user_id = 'auth0|ada' ORDER BY created_at DESC"
    ) == [(3, 1), (1, 0.5), (2, 0)]
    assert await connection.fetchval("SELECT count(*) FROM match_results") == 4

    # Back at 0003 the rows are still there, and going up again changes nothing more.
    tables = "users user_profiles tags user_tags stories habits gardens user_features match_results"
    await downgrade(url, "0003")
    kept = {name: await rows(f"SELECT * FROM {name} ORDER BY 1, 2") for name in tables.split()}
    assert [len(kept[name]) for name in tables.split()] == [2, 2, 5, 3, 4, 2, 1, 2, 4]
    await upgrade(url)
    await downgrade(url, "0003")
    assert kept == {
        name: await rows(f"SELECT * FROM {name} ORDER BY 1, 2") for name in tables.split()
    }


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            "INSERT INTO stories (title, content) VALUES ('a', 'b'), ('c', 'd')",
            r"stories\.user_id is NULL in 2 rows.*DELETE FROM stories WHERE user_id IS NULL",
        ),
        (
            "INSERT INTO habits (name) VALUES ('a')",
            r"habits\.user_id is NULL in 1 rows.*DELETE FROM habits WHERE user_id IS NULL",
        ),
        (
            "INSERT INTO gardens (name) VALUES ('a')",
            r"gardens\.user_id is NULL in 1 rows.*DELETE FROM gardens WHERE user_id IS NULL",
        ),
        (
            "INSERT INTO match_results (user_id, score) VALUES ('auth0|ada', 1)",
            r"match_results\.target_user_id is NULL in 1 rows",
        ),
        (
            "INSERT INTO match_results (target_user_id, score) VALUES ('auth0|ada', 1)",
            r"match_results\.user_id is NULL in 1 rows",
        ),
        (
            "INSERT INTO match_results (user_id, target_user_id, score) VALUES "
            "('auth0|ada', 'auth0|ben', 1.5), ('auth0|ben', 'auth0|ada', 'NaN')",
            r"match_results\.score is not between 0 and 1 in 2 rows",
        ),
        (
            "UPDATE stories SET tags_cached = ARRAY[repeat('x', 65)] WHERE id = 1",
            r"tags_cached holds 1 names longer than the 64 characters",
        ),
    ],
)
async def test_what_cannot_be_mended_is_refused_and_nothing_is_half_done(
    make: Make, connect: Connect, row: str, sentence: str
) -> None:
    url = await make("0003")
    connection = await connect(url)
    await connection.execute(OLD_ROWS)
    await connection.execute(row)
    before = await catalog(connection)
    stories = await connection.fetch("SELECT * FROM stories ORDER BY id")
    with pytest.raises(migrate.MigrationError, match=re.compile(sentence, re.DOTALL)):
        await upgrade(url)
    assert differences(before, await catalog(connection)) == {}
    assert stories == await connection.fetch("SELECT * FROM stories ORDER BY id")
    assert await asyncio.to_thread(migrate.current, url) == "0003"
