"""The record of changes: every writer, moments that are exact, and what is not known any more."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from community_gql.db import changes, models
from community_gql.db.changes import Change, Moment, Now, Seen
from community_gql.db.database import Database, opened
from community_gql.operations.feeds import MOST_STORIES
from community_gql.settings.checks import plain_address
from tests.support import factories as make
from tests.support.writing import settled

Connect = Callable[[str], Awaitable[asyncpg.Connection]]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened(database_url) as database:
        yield database


async def moment(database: Database) -> Now:
    snapshot = database.snapshot()
    try:
        return await changes.now(snapshot)
    finally:
        await snapshot.close()


async def since(database: Database, then: Moment) -> list[Change]:
    snapshot = database.snapshot()
    try:
        assert (await changes.now(snapshot)).remembers(then)
        found = await changes.changes_since(snapshot, then.seen)
    finally:
        await snapshot.close()
    assert found is not None
    return found


# --- Every writer ---

ADA, BEN = "auth0|ada", "auth0|ben"
SCENE = f"""
    INSERT INTO users (auth0_sub, email, public_id) VALUES
      ('{ADA}', 'ada@example.org', '00000000-0000-0000-0000-00000000000a'),
      ('{BEN}', 'ben@example.org', '00000000-0000-0000-0000-00000000000b');
    INSERT INTO user_profiles (user_id, display_name) VALUES ('{ADA}', 'Ada');
    INSERT INTO tags (id, name) VALUES (1, 'moss'), (2, 'fern');
    SELECT setval('tags_id_seq', 100), setval('stories_id_seq', 100);
    INSERT INTO user_tags VALUES ('{ADA}', 1);
    INSERT INTO stories (id, user_id, title, content, visibility) VALUES
      (1, '{ADA}', 'one', 'c', 'friends'), (2, '{ADA}', 'two', 'c', 'public');
    INSERT INTO story_tags VALUES (1, 1), (2, 1);
    INSERT INTO gardens (id, user_id, name) VALUES (1, '{ADA}', 'corner');
    INSERT INTO habits (id, user_id, name, frequency) VALUES (1, '{ADA}', 'walk', 'daily');
    INSERT INTO friendships (id, requester_id, addressee_id) VALUES (1, '{ADA}', '{BEN}');
    INSERT INTO user_features (user_id, vector) VALUES ('{ADA}', '[1]');
    INSERT INTO match_results (user_id, target_user_id, score) VALUES ('{ADA}', '{BEN}', 1);
"""

WRITES: list[tuple[str, list[tuple[str, str, list[str]]]]] = [
    ("INSERT INTO stories (id, user_id, title, content) VALUES (9, '{BEN}', 'n', 'c')",
     [("stories", "9", [BEN])]),
    ("UPDATE stories SET title = 'x' WHERE id = 1", [("stories", "1", [ADA])]),
    ("UPDATE stories SET user_id = '{BEN}' WHERE id = 1", [("stories", "1", [ADA, BEN])]),
    ("UPDATE stories SET title = 'x'", [("stories", "1", [ADA]), ("stories", "2", [ADA])]),
    ("DELETE FROM stories WHERE id = 2", [("stories", "2", [ADA])]),
    ("INSERT INTO story_tags VALUES (2, 2)", [("stories", "2", [ADA])]),
    ("DELETE FROM story_tags WHERE story_id = 1", [("stories", "1", [ADA])]),
    ("UPDATE tags SET name = 'lichen' WHERE id = 2", [("tags", "2", [])]),
    ("UPDATE tags SET popularity = 5", []),
    ("DELETE FROM tags WHERE id = 2", [("tags", "2", [])]),
    ("INSERT INTO tags (name) VALUES ('new')", []),
    ("INSERT INTO user_profiles (user_id) VALUES ('{BEN}')", [("user_profiles", BEN, [BEN])]),
    ("UPDATE user_profiles SET bio = 'b'", [("user_profiles", ADA, [ADA])]),
    ("UPDATE user_profiles SET display_name = 'b'", [("user_profiles", ADA, [ADA])]),
    ("DELETE FROM user_profiles", [("user_profiles", ADA, [ADA])]),
    ("INSERT INTO user_tags VALUES ('{BEN}', 1), ('{BEN}', 2)", [("user_tags", BEN, [BEN])]),
    ("DELETE FROM user_tags", [("user_tags", ADA, [ADA])]),
    ("INSERT INTO gardens (id, user_id, name) VALUES (9, '{BEN}', 'g')",
     [("gardens", "9", [BEN])]),
    ("UPDATE gardens SET theme = 'zen'", [("gardens", "1", [ADA])]),
    ("DELETE FROM gardens", [("gardens", "1", [ADA])]),
    ("INSERT INTO habits (id, user_id, name, frequency) VALUES (9, '{BEN}', 'h', 'daily')",
     [("habits", "9", [BEN])]),
    ("UPDATE habits SET name = 'h'", [("habits", "1", [ADA])]),
    ("UPDATE habits SET user_id = '{BEN}'", [("habits", "1", [ADA]), ("habits", "1", [BEN])]),
    ("DELETE FROM habits", [("habits", "1", [ADA])]),
    ("UPDATE friendships SET status = 'accepted', accepted_at = now()",
     [("friendships", "1", [ADA, BEN])]),
    ("DELETE FROM friendships", [("friendships", "1", [ADA, BEN])]),
    ("UPDATE user_features SET version = 2", [("user_features", ADA, [ADA])]),
    ("DELETE FROM user_features", [("user_features", ADA, [ADA])]),
    ("INSERT INTO match_results (user_id, target_user_id, score, created_at) VALUES "
     "('{ADA}', '{BEN}', 1, '2020-01-01'), ('{ADA}', '{BEN}', 1, '2021-01-01')",
     [("match_results", ADA, [ADA])]),
    ("DELETE FROM match_results", [("match_results", ADA, [ADA])]),
    ("INSERT INTO match_choices (user_id) VALUES ('{BEN}')", [("match_choices", BEN, [BEN])]),
    ("INSERT INTO match_dismissals VALUES ('{BEN}', '{ADA}')",
     [("match_dismissals", BEN, [BEN])]),
    ("UPDATE users SET email = 'other@example.org' WHERE auth0_sub = '{ADA}'",
     [("users", "00000000-0000-0000-0000-00000000000a", [ADA])]),
    ("UPDATE users SET created_at = now()", []),
    ("DELETE FROM users WHERE auth0_sub = '{BEN}'",
     [("friendships", "1", [ADA, BEN]), ("match_results", ADA, [ADA]),
      ("users", "00000000-0000-0000-0000-00000000000b", [BEN])]),
    ("INSERT INTO gardens (user_id, name) VALUES ('{ADA}', 'again') "
     "ON CONFLICT (user_id) DO UPDATE SET name = excluded.name", [("gardens", "1", [ADA])]),
    ("TRUNCATE gardens", [("gardens", "*", [])]),
    ("TRUNCATE stories CASCADE", [("stories", "*", [])]),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "expected"), WRITES, ids=[w[0][:60] for w in WRITES])
async def test_whoever_writes_is_recorded(
    database: Database,
    db: asyncpg.Connection,
    statement: str,
    expected: list[tuple[str, str, list[str]]],
) -> None:
    await db.execute(SCENE)
    before = await moment(database)
    await db.execute(statement.format(ADA=ADA, BEN=BEN))
    found = await since(database, before.moment)
    assert sorted({(c.entity, c.key, tuple(sorted(c.people))) for c in found}) == sorted(
        {(entity, key, tuple(sorted(people))) for entity, key, people in expected}
    )


async def test_many_stories_that_change_at_once_are_one_line(
    database: Database, db: asyncpg.Connection
) -> None:
    """Whoever follows stories reads them again for more than MOST_STORIES, however told."""
    await db.execute(SCENE)
    await db.execute(
        "INSERT INTO stories (user_id, title, content) "
        "SELECT $1, 'many', 'x' FROM generate_series(1, $2)",
        ADA, MOST_STORIES + 1,
    )  # fmt: skip
    for most, keys in ((MOST_STORIES, MOST_STORIES), (MOST_STORIES + 1, 1)):
        before = await moment(database)
        await db.execute(
            "UPDATE stories SET title = title || '!' WHERE id IN "
            "(SELECT id FROM stories WHERE title LIKE 'many%' ORDER BY id LIMIT $1)",
            most,
        )
        found = await since(database, before.moment)
        assert len(found) == keys
    assert [(change.entity, change.key, change.people) for change in found] == [
        ("stories", "*", [])
    ]


async def test_every_table_is_recorded_or_named_here(db: asyncpg.Connection) -> None:
    rows = await db.fetch(
        "SELECT DISTINCT tgrelid::regclass::text AS name FROM pg_trigger WHERE tgname LIKE "
        "'%_recorded_%'"
    )
    recorded = {row["name"] for row in rows}
    elsewhere = {
        "story_tags": "a story's names of tags change with it",
        "story_requests": "nobody sees them",
        "tag_renames": "nobody sees them",
        "deleted_accounts": "nobody sees them",
        "housekeeping": "nobody sees it",
        "hot_documents": "nobody sees them",
        "changes": "it is the record",
        "name_words": "nobody sees them, and a name is told with its profile",
        "match_recipes": "nobody sees them",
        "stale_features": "nobody sees them",
        "stale_lists": "nobody sees them",
    }
    missing = models.Base.metadata.tables.keys() - recorded - elsewhere.keys()
    assert missing == set(), (
        "whoever follows live is not told of these: call record_changes in the migration (make "
        "migration does it for tables with user_id), or say here why nobody needs to be told"
    )
    assert recorded | elsewhere.keys() <= models.Base.metadata.tables.keys()


async def test_what_a_story_was_is_kept_and_its_text_is_not(
    database: Database, db: asyncpg.Connection
) -> None:
    await db.execute(SCENE)
    columns = set(models.changes.c.keys())
    kept = await db.fetch(
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod) = "
        "format_type(b.atttypid, b.atttypmod) AS same FROM pg_attribute a "
        "JOIN pg_attribute b USING (attname) WHERE a.attrelid = 'changes'::regclass "
        "AND b.attrelid = 'stories'::regclass AND a.attnum > 0 AND attname <> 'id'"
    )
    assert {row["attname"] for row in kept} == {
        "user_id", "visibility", "tags_cached", "created_at"
    }  # fmt: skip
    assert all(row["same"] for row in kept)
    assert columns & {"title", "content", "search"} == set()
    before = await db.fetchval("SELECT max(id) FROM changes")
    was = await db.fetchrow("SELECT user_id, visibility, tags_cached, created_at FROM stories "
                            "WHERE id = 1")  # fmt: skip
    for statement, text_changed in (
        ("UPDATE stories SET visibility = 'private' WHERE id = 1", False),
        ("UPDATE stories SET content = 'other' WHERE id = 1", True),
        ("DELETE FROM stories WHERE id = 1", True),
    ):
        await db.execute(statement)
        row = await db.fetchrow(
            "SELECT * FROM changes WHERE id > $1 AND key = '1' ORDER BY id LIMIT 1", before
        )
        assert row is not None
        assert was is not None
        assert row["text_changed"] is text_changed
        assert (row["user_id"], row["visibility"], row["tags_cached"], row["created_at"]) == (
            tuple(was.values())
        )
        before = await db.fetchval("SELECT max(id) FROM changes")
        was = await db.fetchrow("SELECT user_id, visibility, tags_cached, created_at FROM stories "
                                "WHERE id = 1")  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "changed"),
    [
        ("UPDATE friendships SET status = 'accepted', accepted_at = now()", True),
        ("UPDATE friendships SET created_at = now()", False),
        ("DELETE FROM friendships", False),
    ],
)
async def test_it_is_noted_when_two_people_become_friends_or_cease_to_be(
    database: Database, db: asyncpg.Connection, statement: str, changed: bool
) -> None:
    await db.execute(SCENE)
    before = await moment(database)
    await db.execute(statement)
    (found,) = await since(database, before.moment)
    assert found.friends_changed is changed
    if changed:
        before = await moment(database)
        await db.execute("DELETE FROM friendships")
        (found,) = await since(database, before.moment)
        assert found.friends_changed is True


# --- Moments ---


async def test_moments_miss_and_repeat_nothing_beside_concurrent_writers(
    database: Database, database_url: str, db: asyncpg.Connection
) -> None:
    """What is committed is found exactly once, whenever the transactions begin and end."""
    await db.execute(SCENE)
    start = (await moment(database)).moment
    await db.execute("DELETE FROM changes")
    committed: set[int] = set()
    stop = asyncio.Event()

    async def write(number: int) -> None:
        connection = await asyncpg.connect(plain_address(database_url))
        insert = "INSERT INTO stories (user_id, title, content) VALUES ($1, 't', 'c') RETURNING id"
        dice = random.Random(number)
        while not stop.is_set():
            keys = []
            transaction = connection.transaction()
            await transaction.start()
            for _ in range(dice.randint(1, 3)):
                keys.append(await connection.fetchval(insert, ADA))
                await asyncio.sleep(dice.random() * 0.02)
            inner = connection.transaction()
            await inner.start()
            key = await connection.fetchval(insert, ADA)
            if dice.random() < 0.5:
                await inner.commit()
                keys.append(key)
            else:
                await inner.rollback()
            if dice.random() < 0.3:
                await transaction.rollback()
            else:
                await transaction.commit()
                committed.update(keys)
        await connection.close()

    held = await asyncpg.connect(plain_address(database_url))
    holding = held.transaction()
    await holding.start()
    key = await held.fetchval(
        "INSERT INTO stories (user_id, title, content) VALUES ($1, 't', 'c') RETURNING id", ADA
    )
    found: list[int] = []
    here = start

    async def read() -> None:
        nonlocal here
        snapshot = database.snapshot()
        now = await changes.now(snapshot)
        new = await changes.changes_since(snapshot, here.seen)
        await snapshot.close()
        found.extend(int(change.key) for change in new or ())
        here = Moment.read(str(now.moment))

    writers = [asyncio.create_task(write(number)) for number in range(6)]
    for turn in range(60):
        await read()
        if turn == 45:
            assert len(found) > 20, "everyone waits for the one that is held"
            await holding.commit()
            committed.add(key)
        await asyncio.sleep(0.03)
    stop.set()
    await asyncio.gather(*writers)
    await held.close()
    await read()
    assert len(found) == len(set(found))
    assert set(found) == committed


def seen(text: str) -> Seen:
    return Seen.read(text)


def test_a_moment_is_written_and_read() -> None:
    for text in (
        "7-00000001-5-1f-10:20:12,15", "7-00000001-5-10:10:", "7-0000000A-5-1f-9:9:~7~8:8:"
    ):  # fmt: skip
        assert str(Moment.read(text)) == text
    for wrong in (
        "", "x", "7-00000001-5-10:20", "7-00000001-5-10:20:12,", "7-00000001-5-10:20:15,12",
        "7-00000001-5-010:20:", "7-00000001-5-10:20:~5", "7-00000001-5-9:9:~7~8:8:~6~8:8:",
        "7-00000001-5-10:20:\n", "7-00000001-5-1:9999999999999999999:", "7-1-5-1:1:",
        "7-00000001-5-٣:٣:",
    ):  # fmt: skip
        with pytest.raises(ValueError, match="not"):
            Moment.read(wrong)


def test_who_was_told_in_part_is_at_two_moments() -> None:
    old = Moment("p", seen("5:5:"))
    new, newer = Moment("p", seen("9:9:")), Moment("p", seen("12:12:"))
    part = old.upto(30, new)
    assert [part.knows(key, 7) for key in (29, 30, 31)] == [True, True, False]
    again = part.upto(20, newer)
    assert [again.knows(key, 10) for key in (20, 21, 31)] == [True, False, False]
    assert [again.knows(key, 7) for key in (20, 30, 31)] == [True, True, False]
    assert part.upto(40, newer) == old.upto(40, newer)


@pytest.mark.parametrize(
    ("then", "remembered"),
    [
        ("p 20:30:25", True),
        ("p 30:30:", True),
        ("p 31:31:", False),  # of the future
        ("q 20:30:25", False),  # of another place
        ("p 9:30:9", False),  # transaction 9 may have left something that is gone
        ("p 10:30:10", True),
    ],
)
def test_what_a_moment_can_be_answered_with(then: str, remembered: bool) -> None:
    place, text = then.split()
    now = Now(Moment("p", seen("30:30:")), gone=10)
    assert now.remembers(Moment(place, seen(text))) is remembered
    assert not now.remembers(changes.FORGOTTEN)


@pytest.fixture
def another_url(empty_database_url: Callable[..., str], migrated_template: str) -> str:
    return empty_database_url(migrated_template)


async def test_another_database_has_other_moments(database: Database, another_url: str) -> None:
    async with opened(another_url) as other:
        there, here = await moment(other), await moment(database)
    assert not here.remembers(there.moment)


async def test_too_many_changes_are_not_read(
    database: Database, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await db.execute(SCENE)
    before = (await moment(database)).moment
    await db.execute(
        "INSERT INTO changes (entity, key, people) SELECT 'stories', n, '{}' "
        f"FROM generate_series(1, {changes.MOST_CHANGES}) AS n"
    )
    assert len(await since(database, before)) == changes.MOST_CHANGES
    await make.person(db, "One more")
    snapshot = database.snapshot()
    await changes.now(snapshot)
    assert await changes.changes_since(snapshot, before.seen) is None
    await snapshot.close()


async def test_looking_finds_nothing_or_says_that_there_is_something(
    database: Database, db: asyncpg.Connection
) -> None:
    first = (await moment(database)).moment
    await db.execute("SELECT pg_current_xact_id()")
    second = await changes.still(database, first)
    assert second is not None
    assert second.seen.xmax > first.seen.xmax
    assert await changes.still(database, second, same_place=True) is not None
    elsewhere = Moment("1-00000001-1-1", second.seen)
    assert await changes.still(database, elsewhere) is not None
    assert await changes.still(database, elsewhere, same_place=True) is None
    await make.person(db, "Ada")
    for same_place in (False, True):
        assert await changes.still(database, second, same_place=same_place) is None


# --- Forgetting ---


async def test_old_changes_are_forgotten_and_moments_of_before_with_them(
    database: Database, database_url: str, db: asyncpg.Connection
) -> None:
    ada = await make.person(db)
    start = (await moment(database)).moment
    await make.story(db, ada)
    assert not await database.write(lambda session: changes.forget_changes(session, 3600))
    assert (await moment(database)).remembers(start)
    assert await since(database, start)

    await settled(db)  # what other tests have open would be older than what is forgotten
    between = (await moment(database)).moment
    await db.execute("UPDATE changes SET at = at - interval '2 hours'")
    await make.story(db, ada, "recent")
    await settled(db)
    assert not await database.write(lambda session: changes.forget_changes(session, 3600))
    now = await moment(database)
    assert not now.remembers(start)
    assert now.remembers(between)
    assert [change.entity for change in await since(database, between)] == ["stories"]


async def test_nothing_is_forgotten_that_a_transaction_runs_beside(
    database: Database, database_url: str, db: asyncpg.Connection
) -> None:
    ada = await make.person(db)
    held = await asyncpg.connect(plain_address(database_url))
    async with held.transaction():
        await held.execute("SELECT pg_current_xact_id()")
        beside = (await moment(database)).moment
        await make.story(db, ada)
        await db.execute("UPDATE changes SET at = at - interval '2 hours'")
        await database.write(lambda session: changes.forget_changes(session, 3600))
        assert (await moment(database)).remembers(beside)
        assert await since(database, beside)
    await held.close()
    await settled(db)
    await database.write(lambda session: changes.forget_changes(session, 3600))
    assert await db.fetchval("SELECT count(*) FROM changes") == 0


async def test_changes_are_forgotten_in_steps(
    database: Database, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        await db.execute(
            "INSERT INTO changes (entity, key, people, at) SELECT 'stories', n, '{}', "
            f"now() - interval '1 day' FROM generate_series(1, {changes.STEP // 2}) AS n"
        )
    await settled(db)
    assert await database.write(lambda session: changes.forget_changes(session, 3600))
    assert await db.fetchval("SELECT count(*) FROM changes") == changes.STEP // 2
    assert not await database.write(lambda session: changes.forget_changes(session, 3600))
    assert await db.fetchval("SELECT count(*) FROM changes") == 0


async def test_what_a_restored_dump_brings_from_another_server_is_forgotten(
    database: Database, db: asyncpg.Connection
) -> None:
    await db.execute(
        "INSERT INTO changes (xid, entity, key, people) "
        "VALUES (1::bigint << 60, 'stories', 1, '{}')"
    )
    before = await moment(database)
    assert await since(database, before.moment) == []
    await database.write(lambda session: changes.forget_changes(session, 3600))
    assert await db.fetchval("SELECT count(*) FROM changes") == 0
    assert (await moment(database)).remembers(before.moment)
