"""Tags on more stories than one request may change: in batches, that go on after a stop."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from community_gql.actions import bulk_tags, stories
from community_gql.actions.bulk_tags import BATCH, ModerationError
from community_gql.actions.validation import POPULAR
from community_gql.db.database import Database, Transaction, opened
from community_gql.dev.seeding import permissions_of
from community_gql.errors import Rejected
from community_gql.graph.visibility import Viewer
from community_gql.settings import Settings
from community_gql.settings.checks import plain_address
from tests.support import factories as make
from tests.support.factories import Person, Row
from tests.support.writing import waiting

COMMAND = shutil.which("community-gql", path=str(Path(sys.executable).parent)) or "community-gql"


@dataclass(frozen=True)
class Size:
    """How many stories and people have the tag, and how many a batch takes."""

    stories: int
    people: int
    batch: int

    @property
    def whole(self) -> int:
        return self.stories + self.people


SMALL = Size(57, 12, 10)
"""For what runs in this process, where less passes for popular."""
REAL = Size(max(POPULAR, 3 * BATCH) + 1, 1_000, BATCH)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened(database_url) as database:
        yield database


@pytest.fixture
async def ada(db: asyncpg.Connection) -> Person:
    return await make.person(db, "Ada")


async def spread(db: asyncpg.Connection, ada: Person, size: Size) -> Row:
    """A tag on many stories, some of which have another one too, and many people."""
    moss = await make.tag(db, "moss", created_at=make.day(0))
    fern = await make.tag(db, "fern")
    await db.execute(
        "INSERT INTO stories (user_id, title, content) "
        "SELECT $1, n::text, 'x' FROM generate_series(1, $2::int) AS n",
        ada.sub,
        size.stories,
    )
    await db.execute("INSERT INTO story_tags SELECT id, $1 FROM stories", moss.key)
    await db.execute("INSERT INTO story_tags SELECT id, $1 FROM stories WHERE id % 7 = 0", fern.key)
    await db.execute(
        "INSERT INTO users (auth0_sub, email) "
        "SELECT 'n' || n, n || '@example.org' FROM generate_series(1, $1) AS n",
        size.people,
    )
    await db.execute(
        "INSERT INTO user_tags SELECT auth0_sub, $1 FROM users WHERE auth0_sub LIKE 'n%'", moss.key
    )
    return moss


@pytest.fixture
async def popular(db: asyncpg.Connection, ada: Person, monkeypatch: pytest.MonkeyPatch) -> Row:
    monkeypatch.setattr("community_gql.actions.tags.POPULAR", SMALL.stories - 1)
    monkeypatch.setattr("community_gql.actions.bulk_tags.BATCH", SMALL.batch)
    return await spread(db, ada, SMALL)


@pytest.fixture
async def really_popular(db: asyncpg.Connection, ada: Person) -> Row:
    return await spread(db, ada, REAL)


async def seen(db: asyncpg.Connection) -> dict[str, int]:
    """How many stories show each tag; what they show is what they have."""
    wrong = await db.fetchval("""
        SELECT count(*) FROM stories s WHERE tags_cached <> ARRAY(
          SELECT t.name FROM story_tags JOIN tags t ON t.id = tag_id WHERE story_id = s.id
          ORDER BY t.name
        )
    """)
    assert wrong == 0
    found = await db.fetch("SELECT unnest(tags_cached) AS name, count(*) FROM stories GROUP BY 1")
    return {row["name"]: row["count"] for row in found}


async def worn(db: asyncpg.Connection, name: str) -> int:
    """How many people have chosen the tag."""
    count: int = await db.fetchval(
        "SELECT count(*) FROM user_tags JOIN tags ON id = tag_id WHERE name = $1", name
    )
    return count


class Stopped(Exception):
    pass


def stop_after(count: int) -> bulk_tags.Progress:
    """A progress that ends the work after that many batches."""
    calls = iter(range(count + 1))

    def progress(done: int, total: int) -> None:
        assert total == SMALL.whole
        if next(calls) == count:
            raise Stopped

    return progress


def quietly(done: int, total: int) -> None:
    assert 0 <= done <= total


# --- In batches ---


async def test_renaming_a_popular_tag(
    database: Database, db: asyncpg.Connection, popular: Row
) -> None:
    told: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        told.append((done, total))

    both = (await seen(db))["fern"]
    await bulk_tags.rename(database, " MOSS", "Wet  Moss", progress)

    assert await seen(db) == {"wet moss": SMALL.stories, "fern": both}
    assert await worn(db, "wet moss") == SMALL.people
    named = await db.fetch("SELECT id, name, created_at FROM tags ORDER BY name")
    assert [row["name"] for row in named] == ["fern", "wet moss"]
    assert named[1]["created_at"] == popular.created_at
    assert named[1]["id"] != popular.key
    assert await db.fetch("SELECT * FROM tag_renames") == []
    whole = SMALL.whole
    assert told[0] == (0, whole)
    assert told[-1] == (whole, whole)
    steps = [after[0] - before[0] for before, after in itertools.pairwise(told)]
    assert max(steps) == SMALL.batch
    assert len(told) > whole / SMALL.batch


async def test_a_stopped_rename_goes_on(
    database: Database, db: asyncpg.Connection, popular: Row
) -> None:
    with pytest.raises(Stopped):
        await bulk_tags.rename(database, "moss", "lichen", stop_after(3))
    half = await seen(db)
    assert (half["lichen"], half["moss"]) == (3 * SMALL.batch, SMALL.stories - 3 * SMALL.batch)

    with pytest.raises(ModerationError, match='tags rename "moss" "lichen"'):
        await bulk_tags.rename(database, "moss", "other", quietly)
    assert await seen(db) == half

    told: list[tuple[int, int]] = []
    await bulk_tags.rename(database, "Moss", "LICHEN", lambda *step: told.append(step))
    assert told[0] == (0, SMALL.whole - 3 * SMALL.batch)
    assert (await seen(db))["lichen"] == SMALL.stories
    assert "moss" not in await seen(db)
    assert await worn(db, "lichen") == SMALL.people
    with pytest.raises(ModerationError, match='no tag "moss"'):
        await bulk_tags.rename(database, "moss", "lichen", quietly)


async def test_a_stopped_merge_goes_on(
    database: Database, db: asyncpg.Connection, popular: Row
) -> None:
    await db.execute("INSERT INTO user_tags SELECT 'n1', id FROM tags WHERE name = 'fern'")
    with pytest.raises(Stopped):
        await bulk_tags.merge(database, "moss", "fern", stop_after(6))
    assert (await seen(db)).get("moss") is None, "people come after stories"
    assert await worn(db, "moss") == SMALL.people

    await bulk_tags.merge(database, "moss", "fern", quietly)
    assert await seen(db) == {"fern": SMALL.stories}
    assert await worn(db, "fern") == SMALL.people
    assert await db.fetchval("SELECT count(*) FROM tags") == 1


async def test_deleting_a_popular_tag(
    database: Database, db: asyncpg.Connection, popular: Row
) -> None:
    both = (await seen(db))["fern"]
    with pytest.raises(Stopped):
        await bulk_tags.delete(database, "moss", stop_after(2))
    await bulk_tags.delete(database, "moss", quietly)
    assert await seen(db) == {"fern": both}
    assert await db.fetchval("SELECT count(*) FROM user_tags") == 0


async def test_stories_go_on_being_tagged_meanwhile(
    database: Database, db: asyncpg.Connection, popular: Row, ada: Person
) -> None:
    """Also with the tag that goes, until it is gone."""
    viewer, ended, made = Viewer(ada.sub), asyncio.Event(), 0

    async def write() -> None:
        nonlocal made
        while not ended.is_set():
            there = {row["name"] for row in await db.fetch("SELECT name FROM tags")}
            tags = sorted(there & {"moss", "fern"})

            async def create(session: Transaction, tags: list[str] = tags) -> int:
                return await stories.create(session, viewer, title="a", content="b", tags=tags)

            with contextlib.suppress(Rejected):  # the tag went between the two
                await database.write(create)
                made += 1

    async def rename() -> None:
        await bulk_tags.rename(database, "moss", "lichen", lambda *_: None)
        ended.set()

    await asyncio.gather(write(), rename())

    assert made > 0
    assert "moss" not in await seen(db)
    assert (await seen(db))["lichen"] > SMALL.stories


async def test_what_is_tagged_after_the_last_batch_is_moved_too(
    database: Database,
    db: asyncpg.Connection,
    popular: Row,
    ada: Person,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finish = bulk_tags._finish

    async def late(session: Transaction, source: int, target: int | None) -> None:
        await make.story(db, ada, tags=[popular])
        await make.person(db, tags=[popular])
        await finish(session, source, target)

    monkeypatch.setattr("community_gql.actions.bulk_tags._finish", late)
    await bulk_tags.rename(database, "moss", "lichen", quietly)

    assert (await seen(db))["lichen"] == SMALL.stories + 1
    assert await worn(db, "lichen") == SMALL.people + 1


# --- At once, and not at all ---


async def test_what_is_not_popular_is_done_at_once(
    database: Database, db: asyncpg.Connection, ada: Person
) -> None:
    moss, fern = await make.tag(db, "moss"), await make.tag(db, "fern")
    await make.story(db, ada, tags=[moss])

    await bulk_tags.rename(database, "moss", "lichen", quietly)
    assert await db.fetchval("SELECT id FROM tags WHERE name = 'lichen'") == moss.key
    await bulk_tags.merge(database, "lichen", "fern", quietly)
    assert await seen(db) == {"fern": 1}
    await bulk_tags.delete(database, "fern", quietly)
    assert await seen(db) == {}
    assert fern


Change = Callable[..., Awaitable[None]]


@pytest.mark.parametrize(
    ("change", "names", "sentence"),
    [
        (bulk_tags.rename, ("none", "x"), 'no tag "none"'),
        (bulk_tags.rename, ("moss", "FERN"), 'community-gql tags merge "moss" "FERN"'),
        (bulk_tags.rename, ("moss", " "), "must not be empty"),
        (bulk_tags.rename, ("moss", "x" * 65), "at most 64 characters"),
        (bulk_tags.merge, ("moss", "none"), 'no tag "none"'),
        (bulk_tags.merge, ("none", "moss"), 'no tag "none"'),
        (bulk_tags.merge, ("moss", "Moss"), "into itself"),
        (bulk_tags.delete, ("none",), 'no tag "none"'),
    ],
)
@pytest.mark.parametrize("large", [False, True])
async def test_what_cannot_be_is_one_sentence(
    change: Change,
    names: tuple[str, ...],
    sentence: str,
    large: bool,
    database: Database,
    db: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    ada: Person,
) -> None:
    moss = await make.tag(db, "moss")
    await make.tag(db, "fern")
    await make.story(db, ada, tags=[moss])
    await make.story(db, ada, tags=[moss])
    if large:
        monkeypatch.setattr("community_gql.actions.tags.POPULAR", 1)
    with pytest.raises(ModerationError, match=sentence):
        await change(database, *names, quietly)
    assert await seen(db) == {"moss": 2}
    assert await db.fetchval("SELECT count(*) FROM tags") == 2


# --- From a shell ---


@pytest.fixture
def environment(database_url: str) -> dict[str, str]:
    unwanted = {name.upper() for name in Settings.model_fields} | {"AUTH0_DOMAIN", "FORCE_COLOR"}
    kept = {key: item for key, item in os.environ.items() if key not in unwanted}
    return {**kept, "DATABASE_URL": plain_address(database_url), "COLUMNS": "100"}


async def run(environment: dict[str, str], *words: str) -> tuple[int, str]:
    """The exit code of the command, and all it said."""
    process = await asyncio.create_subprocess_exec(
        COMMAND, "tags", *words, env=environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert b"Traceback" not in said
    assert process.returncode is not None
    return process.returncode, said.decode()


@pytest.mark.system
async def test_the_commands(
    environment: dict[str, str], db: asyncpg.Connection, really_popular: Row
) -> None:
    lichen = await make.tag(db, "lichen")
    await make.tag(db, "few")
    code, said = await run(environment, "rename", "Moss", "wet moss")
    assert code == 0, said
    assert f"renaming stories and people: 0 of {REAL.whole:,}" in said
    assert said.endswith("done\n")
    assert (await seen(db))["wet moss"] == REAL.stories

    assert await run(environment, "merge", "few", "lichen") == (0, "done\n")
    code, said = await run(environment, "delete", "lichen")
    assert code == 1
    assert "--yes" in said
    assert await run(environment, "delete", "lichen", "--yes") == (0, "done\n")
    assert await db.fetchval("SELECT count(*) FROM tags WHERE id >= $1", lichen.key) == 1
    assert await run(environment, "merge", "a", "b") == (1, 'error: there is no tag "a".\n')


@pytest.mark.system
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_a_stopped_command_goes_on(
    number: signal.Signals,
    environment: dict[str, str],
    db: asyncpg.Connection,
    database_url: str,
    really_popular: Row,
) -> None:
    """Stopped in the middle of its third batch, where somebody else's lock holds it."""
    other = await asyncpg.connect(plain_address(database_url))
    await other.execute("BEGIN")
    third = "SELECT id FROM stories ORDER BY id OFFSET 2500 LIMIT 1"
    await other.execute(f"SELECT FROM stories WHERE id = ({third}) FOR UPDATE")
    words = (COMMAND, "tags", "rename", "moss", "lichen")
    process = await asyncio.create_subprocess_exec(
        *words, env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    await waiting(db)
    process.send_signal(number)
    said = (await process.communicate())[0].decode()
    await other.execute("ROLLBACK")
    await other.close()

    assert process.returncode != 0
    assert "Traceback" not in said
    if number != signal.SIGKILL:
        assert f"stopped after 2,000 of {REAL.whole:,}: run the same command again to go on" in said
    code, said = await run(environment, "rename", "moss", "lichen")
    assert code == 0, said
    assert (await seen(db))["lichen"] == REAL.stories
    assert await worn(db, "lichen") == REAL.people


def test_programs_of_the_development_issuer_may_write_features_and_matches() -> None:
    assert permissions_of("matcher@clients") == {"write:features", "write:matches"}
    assert permissions_of("auth0|grace") == {"manage:tags"}
    assert permissions_of("auth0|ada") == set()
