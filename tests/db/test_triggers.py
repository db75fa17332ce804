"""The triggers hold under every path, by SQL alone, whoever writes and however many at once."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import asyncpg
import pytest

from community_gql.db.models import Base

Connect = Callable[[str], Awaitable[asyncpg.Connection]]

WRONG_NAME = """
    SELECT auth0_sub FROM users u LEFT JOIN user_profiles ON user_id = auth0_sub
    WHERE name_key IS DISTINCT FROM
      lower(without_accents(coalesce(trim(display_name), '')))
"""

WRONG = """
    SELECT s.id, s.tags_cached, names FROM stories s
    CROSS JOIN LATERAL (
      SELECT ARRAY(
        SELECT t.name FROM story_tags st JOIN tags t ON t.id = st.tag_id
        WHERE st.story_id = s.id ORDER BY t.name
      ) AS names
    ) AS truth
    WHERE s.tags_cached IS DISTINCT FROM names
"""

PEOPLE = """
    INSERT INTO users (auth0_sub, email) VALUES
      ('ada', 'ada@example.com'), ('ben', 'ben@example.com');
    INSERT INTO tags (id, name) VALUES (1, 'c'), (2, 'a'), (3, 'b'), (4, 'unused');
    INSERT INTO stories (id, user_id, title, content) VALUES
      (1, 'ada', 'one', 'c'), (2, 'ada', 'two', 'c'), (3, 'ben', 'three', 'c');
    INSERT INTO story_tags VALUES (1, 1), (1, 2), (2, 1);
    SELECT setval('stories_id_seq', 3);
"""


@pytest.fixture
async def database(url: str, connect: Connect) -> asyncpg.Connection:
    connection = await connect(url)
    await connection.execute(PEOPLE)
    return connection


async def cached(connection: asyncpg.Connection) -> dict[int, list[str]]:
    rows = await connection.fetch("SELECT id, tags_cached FROM stories ORDER BY id")
    return {row["id"]: row["tags_cached"] for row in rows}


@pytest.mark.parametrize(
    ("statement", "after"),
    [
        ("SELECT 1", {1: ["a", "c"], 2: ["c"], 3: []}),
        ("INSERT INTO story_tags VALUES (1, 3)", {1: ["a", "b", "c"], 2: ["c"], 3: []}),
        (
            "INSERT INTO story_tags VALUES (3, 3), (3, 2), (2, 2)",
            {1: ["a", "c"], 2: ["a", "c"], 3: ["a", "b"]},
        ),
        (
            "INSERT INTO story_tags VALUES (1, 1), (3, 1) ON CONFLICT DO NOTHING",
            {1: ["a", "c"], 2: ["c"], 3: ["c"]},
        ),
        (
            "WITH gone AS (DELETE FROM story_tags WHERE story_id = 1) "
            "INSERT INTO story_tags VALUES (1, 3), (3, 3)",
            {1: ["b"], 2: ["c"], 3: ["b"]},
        ),
        ("DELETE FROM story_tags WHERE tag_id = 1", {1: ["a"], 2: [], 3: []}),
        ("DELETE FROM story_tags", {1: [], 2: [], 3: []}),
        ("TRUNCATE story_tags", {1: [], 2: [], 3: []}),
        ("UPDATE story_tags SET tag_id = 3 WHERE tag_id = 1", {1: ["a", "b"], 2: ["b"], 3: []}),
        ("UPDATE story_tags SET story_id = 3 WHERE story_id = 1", {1: [], 2: ["c"], 3: ["a", "c"]}),
        ("UPDATE tags SET name = '0' WHERE id = 1", {1: ["0", "a"], 2: ["0"], 3: []}),
        ("UPDATE tags SET name = 'x' || name", {1: ["xa", "xc"], 2: ["xc"], 3: []}),
        ("UPDATE tags SET created_at = now()", {1: ["a", "c"], 2: ["c"], 3: []}),
        ("DELETE FROM tags WHERE id = 1", {1: ["a"], 2: [], 3: []}),
        ("DELETE FROM tags", {1: [], 2: [], 3: []}),
        ("TRUNCATE tags CASCADE", {1: [], 2: [], 3: []}),
        ("DELETE FROM stories WHERE id = 1", {2: ["c"], 3: []}),
        ("TRUNCATE stories CASCADE", {}),
        ("DELETE FROM users WHERE auth0_sub = 'ada'", {3: []}),
    ],
)
async def test_tags_cached_after(
    database: asyncpg.Connection, statement: str, after: dict[int, list[str]]
) -> None:
    await database.execute(statement)
    assert await cached(database) == after
    assert await database.fetch(WRONG) == []


async def test_tags_cached_after_copy(database: asyncpg.Connection) -> None:
    rows = [(3, 1), (3, 2), (2, 3)]
    await database.copy_records_to_table("story_tags", records=rows)
    assert await cached(database) == {1: ["a", "c"], 2: ["b", "c"], 3: ["a", "c"]}


async def test_a_merge_of_tags_in_one_transaction(database: asyncpg.Connection) -> None:
    async with database.transaction():
        await database.execute("SELECT FROM tags WHERE id IN (1, 3) ORDER BY id FOR UPDATE")
        await database.execute(
            "INSERT INTO story_tags SELECT story_id, 3 FROM story_tags WHERE tag_id = 1 "
            "ON CONFLICT DO NOTHING"
        )
        await database.execute("DELETE FROM tags WHERE id = 1")
    assert await cached(database) == {1: ["a", "b"], 2: ["b"], 3: []}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE tags SET created_at = now()",
        "UPDATE tags SET name = name",
        "UPDATE tags SET name = 'renamed' WHERE id = 4",
        "DELETE FROM tags WHERE id = 4",
        "UPDATE user_profiles SET bio = 'new'",
    ],
)
async def test_what_does_not_depend_on_a_write_is_neither_locked_nor_rewritten(
    database: asyncpg.Connection, statement: str
) -> None:
    await database.execute("INSERT INTO user_profiles VALUES ('ada', 'Ada')")
    seen = "SELECT ctid, xmax::text FROM {} ORDER BY 1"  # a lock leaves its transaction in xmax
    before = [await database.fetch(seen.format(table)) for table in ("stories", "users")]
    await database.execute(statement)
    after = [await database.fetch(seen.format(table)) for table in ("stories", "users")]
    assert after == before


async def test_stories_whose_tags_stay_are_not_rewritten(database: asyncpg.Connection) -> None:
    before = await database.fetch("SELECT ctid FROM stories ORDER BY 1")
    await database.execute("UPDATE story_tags SET tag_id = tag_id")
    assert await database.fetch("SELECT ctid FROM stories ORDER BY 1") == before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE stories SET tags_cached = '{lie}' WHERE id = 1",
        "UPDATE stories SET tags_cached = '{}' WHERE id = 1",
        "INSERT INTO stories (user_id, title, content, tags_cached) VALUES ('ada','t','c','{lie}')",
        "INSERT INTO stories (id, user_id, title, content) VALUES (1, 'ada', 't', 'c') "
        "ON CONFLICT (id) DO UPDATE SET tags_cached = '{lie}'",
    ],
)
async def test_tags_cached_is_not_written_by_hand(
    database: asyncpg.Connection, statement: str
) -> None:
    with pytest.raises(asyncpg.GeneratedAlwaysError, match="write story_tags instead"):
        await database.execute(statement)


async def test_saying_what_is_so_is_no_write_by_hand(database: asyncpg.Connection) -> None:
    await database.execute("UPDATE stories SET tags_cached = tags_cached, title = 'new'")
    await database.execute(
        "INSERT INTO stories (user_id, title, content, tags_cached) VALUES ('ada','t','c','{}')"
    )
    assert await database.fetch(WRONG) == []


async def test_no_function_trusts_the_search_path(database: asyncpg.Connection) -> None:
    await database.execute("""
        CREATE SCHEMA evil;
        CREATE TABLE evil.stories (id bigint, user_id varchar, tags_cached varchar[]);
        CREATE TABLE evil.tags (id bigint, name varchar);
        CREATE TABLE evil.users (auth0_sub varchar, name_key varchar);
        CREATE TEMP TABLE story_tags (story_id bigint, tag_id bigint);
        CREATE FUNCTION evil.lower(varchar) RETURNS text LANGUAGE sql AS 'SELECT ''evil''';
        CREATE FUNCTION evil.refresh_tags_cached(bigint[]) RETURNS void
          LANGUAGE sql AS 'SELECT 1 / 0';
        SET search_path = evil, pg_temp;
        INSERT INTO public.story_tags VALUES (1, 3);
        UPDATE public.tags SET name = 'd' WHERE id = 1;
        DELETE FROM public.tags WHERE id = 2;
        INSERT INTO public.user_profiles (user_id, display_name) VALUES ('ada', 'Ada');
        DELETE FROM public.users WHERE auth0_sub = 'ben';
        SET search_path = public;
        DROP TABLE pg_temp.story_tags;
    """)
    assert await cached(database) == {1: ["b", "d"], 2: ["d"]}
    assert await database.fetchval("SELECT name_key FROM users") == "ada"


# --- updated_at ---

MEANINGFUL = [
    ("stories", "title = 'new'"),
    ("stories", "content = 'new'"),
    ("stories", "visibility = 'public'"),
    ("stories", "user_id = 'ben'"),
    ("user_profiles", "display_name = 'new'"),
    ("user_profiles", "bio = 'new'"),
    ("user_profiles", "bio = NULL"),
    ("user_profiles", "journaling_frequency = 4"),
    ("user_features", "vector = '[1]'"),
    ("user_features", "version = 2"),
]

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
async def aged(database: asyncpg.Connection) -> asyncpg.Connection:
    await database.execute("""
        INSERT INTO user_profiles VALUES ('ada', 'Ada', 'bio', 3, '2020-01-01Z');
        INSERT INTO user_features VALUES ('ada', '[0.5]', 1, '2020-01-01Z');
        UPDATE stories SET updated_at = '2020-01-01Z';
    """)
    return database


async def updated(connection: asyncpg.Connection, table: str) -> datetime:
    owner = "id = 1" if table == "stories" else "user_id = 'ada'"
    found = await connection.fetchval(f"SELECT updated_at FROM {table} WHERE {owner}")
    assert isinstance(found, datetime)
    return found


@pytest.mark.parametrize(("table", "change"), MEANINGFUL)
async def test_a_change_sets_updated_at(aged: asyncpg.Connection, table: str, change: str) -> None:
    assert await updated(aged, table) == LONG_AGO
    async with aged.transaction():
        await aged.execute(f"UPDATE {table} SET {change}")
        first = await updated(aged, table)
        assert abs((first - datetime.now(UTC)).total_seconds()) < 60
        assert first > await aged.fetchval("SELECT now()")  # the moment, not the transaction's
        await aged.execute(f"UPDATE {table} SET {change}")  # the same again changes nothing
        assert await updated(aged, table) == first


NOT_MEANINGFUL = {
    "stories": {
        "id": "names the row",
        "tags_cached": "tagging says so itself: moderation is no change of a story",
        "created_at": "never changes",
        "updated_at": "is what is set",
        "search": "generated from title and content",
    },
    "user_profiles": {"updated_at": "is what is set"},
    "user_features": {"updated_at": "is what is set"},
    "match_choices": {"updated_at": "is what is set"},
}
"""The columns whose change does not move `updated_at`, and why."""


async def test_every_other_column_moves_updated_at(database: asyncpg.Connection) -> None:
    """A field that is added without the trigger would lose updates without a word."""
    models = {table.name for table in Base.metadata.tables.values() if "updated_at" in table.c}
    assert models == NOT_MEANINGFUL.keys()
    for table, left_out in NOT_MEANINGFUL.items():
        condition = await database.fetchval(
            "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = $1",
            f"{table}_set_updated_at",
        )
        compared = set(re.findall(r"old\.(\w+)", condition))
        assert compared == set(re.findall(r"new\.(\w+)", condition))
        assert compared == set(Base.metadata.tables[table].c.keys()) - left_out.keys(), (
            f"{table}_set_updated_at and the columns of the model differ. A migration makes the "
            "trigger anew with the new column, or NOT_MEANINGFUL says why it does not count."
        )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE stories SET title = title",
        "INSERT INTO story_tags VALUES (1, 3)",
        "DELETE FROM story_tags",
        "UPDATE tags SET name = 'x' || name",
        "DELETE FROM tags",
    ],
)
async def test_tagging_is_no_change_of_the_story(aged: asyncpg.Connection, statement: str) -> None:
    await aged.execute(statement)
    assert await updated(aged, "stories") == LONG_AGO


async def test_every_version_is_later_than_the_one_before(aged: asyncpg.Connection) -> None:
    """Also when the clock was ahead: clients send updated_at as the version they have read."""
    ahead = datetime(2100, 1, 1, tzinfo=UTC)
    await aged.execute("UPDATE stories SET updated_at = $1", ahead)
    await aged.execute("UPDATE stories SET title = 'newer'")
    assert await updated(aged, "stories") > ahead


async def test_a_recalculation_with_the_same_result_may_say_so(aged: asyncpg.Connection) -> None:
    now = datetime(2025, 1, 1, tzinfo=UTC)
    await aged.execute("UPDATE user_features SET vector = '[0.5]', updated_at = $1", now)
    assert await updated(aged, "user_features") == now


# --- users.name_key ---


@pytest.mark.parametrize(
    ("statement", "after"),
    [
        ("SELECT 1", {"ada": "ada elan", "ben": ""}),
        ("UPDATE user_profiles SET display_name = 'Zoë'", {"ada": "zoe", "ben": ""}),
        ("UPDATE user_profiles SET display_name = NULL", {"ada": "", "ben": ""}),
        ("UPDATE user_profiles SET display_name = '   '", {"ada": "", "ben": ""}),
        ("UPDATE user_profiles SET bio = 'new'", {"ada": "ada elan", "ben": ""}),
        ("UPDATE user_profiles SET user_id = 'ben'", {"ada": "", "ben": "ada elan"}),
        ("DELETE FROM user_profiles", {"ada": "", "ben": ""}),
        ("TRUNCATE user_profiles", {"ada": "", "ben": ""}),
        ("DELETE FROM users WHERE auth0_sub = 'ada'", {"ben": ""}),
        (
            "INSERT INTO user_profiles (user_id, display_name) VALUES ('ben', 'Ben'), ('ada', 'A') "
            "ON CONFLICT (user_id) DO UPDATE SET display_name = EXCLUDED.display_name",
            {"ada": "a", "ben": "ben"},
        ),
        ("INSERT INTO user_profiles (user_id) VALUES ('ben')", {"ada": "ada elan", "ben": ""}),
    ],
)
async def test_name_key_after(
    database: asyncpg.Connection, statement: str, after: dict[str, str]
) -> None:
    await database.execute(
        "INSERT INTO user_profiles (user_id, display_name) VALUES ('ada', '  Ada ÉLAN ')"
    )
    await database.execute(statement)
    rows = await database.fetch("SELECT auth0_sub, name_key FROM users")
    assert {row[0]: row[1] for row in rows} == after


# --- many at once ---

SECONDS = 4.0
WORKERS = 8


class Crowd:
    """Workers that tag, untag, rename and delete the same few rows until the time is over."""

    def __init__(self, *, ordered: bool) -> None:
        self.ordered = ordered
        """Whether they take locks in the order that docs/operations.md asks of writers."""
        self.counter = itertools.count(1)
        self.done: Counter[str] = Counter()
        self.deadlocks = 0
        self.end = time.monotonic() + SECONDS

    async def setup(self, connection: asyncpg.Connection) -> None:
        await connection.execute("""
            INSERT INTO users (auth0_sub, email)
            SELECT 'u' || n, 'u' || n || '@example.com' FROM generate_series(1, 3) n;
            INSERT INTO users (auth0_sub, email) VALUES ('x1', 'x1@example.com');
            INSERT INTO user_profiles (user_id) SELECT auth0_sub FROM users;
            INSERT INTO tags (name) SELECT 'tag ' || n FROM generate_series(1, 8) n;
            INSERT INTO stories (user_id, title, content)
            SELECT 'u' || 1 + n % 3, 't', 'c' FROM generate_series(1, 10) n;
        """)

    async def work(self, connection: asyncpg.Connection, seed: int) -> None:
        chance = random.Random(seed)
        jobs = [self.tag, self.tag, self.untag, self.retag, self.retag, self.rename, self.rename,
                self.delete_tag, self.delete_story, self.write_story, self.merge,
                self.save_profile, self.add_own_tags]  # fmt: skip
        while time.monotonic() < self.end:
            job = self.delete_account if chance.random() < 0.03 else chance.choice(jobs)
            try:
                async with connection.transaction():
                    await job(connection, chance)
                self.done[job.__name__] += 1
            except asyncpg.DeadlockDetectedError:
                self.deadlocks += 1
            except asyncpg.ForeignKeyViolationError as error:
                # Of all that is gone, only a missing owner shows no sooner than at the write.
                if self.ordered and not str(error.constraint_name).endswith("_user_id_fkey"):
                    raise

    async def watch(self, connection: asyncpg.Connection) -> None:
        """Look all the time: no snapshot may ever show a wrong row."""
        while time.monotonic() < self.end:
            assert await connection.fetch(WRONG) == []
            assert await connection.fetch(WRONG_NAME) == []
            self.done["watch"] += 1

    async def some(self, connection: asyncpg.Connection, table: str, upto: int) -> list[int]:
        rows = await connection.fetch(
            f"SELECT id FROM {table} ORDER BY random() LIMIT (SELECT 1 + floor(random() * $1))",
            upto,
        )
        return [row[0] for row in rows]

    async def lock(
        self, connection: asyncpg.Connection, table: str, ids: list[int], mode: str
    ) -> list[int]:
        """Lock rows by id; return those that are still there."""
        if not self.ordered:
            return ids
        rows = await connection.fetch(
            f"SELECT id FROM {table} WHERE id = ANY ($1) ORDER BY id FOR {mode}", ids
        )
        return [row[0] for row in rows]

    async def link(
        self, connection: asyncpg.Connection, stories: list[int], tags: list[int]
    ) -> None:
        await connection.execute(
            "INSERT INTO story_tags "
            "SELECT s, t FROM unnest($1::bigint[]) AS s, unnest($2::bigint[]) AS t "
            "ON CONFLICT DO NOTHING",
            stories,
            tags,
        )

    async def tag(self, connection: asyncpg.Connection, chance: random.Random) -> None:
        tags, stories = (
            await self.some(connection, "tags", 3),
            await self.some(connection, "stories", 3),
        )
        tags = await self.lock(connection, "tags", tags, "KEY SHARE")
        stories = await self.lock(connection, "stories", stories, "NO KEY UPDATE")
        await self.link(connection, stories, tags)

    async def untag(self, connection: asyncpg.Connection, chance: random.Random) -> None:
        tags, stories = (
            await self.some(connection, "tags", 3),
            await self.some(connection, "stories", 3),
        )
        stories = await self.lock(connection, "stories", stories, "NO KEY UPDATE")
        await connection.execute(
            "DELETE FROM story_tags WHERE story_id = ANY ($1) AND tag_id = ANY ($2)", stories, tags
        )

    async def retag(self, connection: asyncpg.Connection, chance: random.Random) -> None:
        """As updateStory does: new text and a new set of tags."""
        tags, stories = (
            await self.some(connection, "tags", 4),
            await self.some(connection, "stories", 1),
        )
        tags = await self.lock(connection, "tags", tags, "KEY SHARE")
        stories = await self.lock(connection, "stories", stories, "NO KEY UPDATE")
        title = f"title {next(self.counter)}"
        await connection.execute(
            "UPDATE stories SET title = $2 WHERE id = ANY ($1)", stories, title
        )
        await connection.execute("DELETE FROM story_tags WHERE story_id = ANY ($1)", stories)
        await self.link(connection, stories, tags)

    async def rename(self, connection: asyncpg.Connection, chance: random.Random) -> None:
        tags = await self.some(connection, "tags", 2)
        tags = await self.lock(connection, "tags", tags, "UPDATE")
        name = f"tag {next(self.counter) + 1000}"
        await connection.execute(
            "UPDATE tags SET name = $2 || ' ' || id WHERE id = ANY ($1)", tags, name
        )

    async def merge(self, connection: asyncpg.Connection, chance: random.Random) -> None:
        tags = await self.lock(connection, "tags", await self.some(connection, "tags", 2), "UPDATE")
        if len(tags) == 2:
            having = await connection.fetch(
                "SELECT story_id FROM story_tags WHERE tag_id = $1", tags[0]
            )
            stories = [row[0] for row in having]
            stories = await self.lock(connection, "stories", stories, "NO KEY UPDATE")
            await self.link(connection, stories, tags[1:])
            await connection.execute("DELETE FROM tags WHERE id = $1", tags[0])
            await self.new_tag(connection)

    async def delete_tag(self, connection: asyncpg.Connection, chance: random.Random) -> None:
        tags = await self.some(connection, "tags", 1)
        await connection.execute("DELETE FROM tags WHERE id = ANY ($1)", tags)
        await self.new_tag(connection)

    async def new_tag(self, connection: asyncpg.Connection) -> None:
        await connection.execute(
            "INSERT INTO tags (name) VALUES ($1)", f"tag {next(self.counter) + 1000}"
        )

    async def delete_story(self, connection: asyncpg.Connection, chance: random.Random) -> None:
        stories = await self.some(connection, "stories", 1)
        await connection.execute("DELETE FROM stories WHERE id = ANY ($1)", stories)

    async def write_story(self, connection: asyncpg.Connection, chance: random.Random) -> None:
        # Who writes while their account is deleted may deadlock: the one case the order leaves.
        stay = "'u%'" if self.ordered else "'%'"
        owner = await connection.fetchval(
            f"SELECT auth0_sub FROM users WHERE auth0_sub LIKE {stay} ORDER BY random() LIMIT 1"
        )
        if owner is None or await connection.fetchval("SELECT count(*) > 15 FROM stories"):
            return
        tags = await self.some(connection, "tags", 3)
        tags = await self.lock(connection, "tags", tags, "KEY SHARE")
        await self.write(connection, owner, tags)

    async def write(self, connection: asyncpg.Connection, owner: str, tags: list[int]) -> None:
        story = await connection.fetchval(
            "INSERT INTO stories (user_id, title, content) VALUES ($1, 't', 'c') RETURNING id",
            owner,
        )
        await self.link(connection, [story], tags)

    async def save_profile(self, connection: asyncpg.Connection, chance: random.Random) -> None:
        table = "user_profiles" if self.ordered else "users"
        key = "user_id" if self.ordered else "auth0_sub"
        person = await connection.fetchval(f"SELECT {key} FROM {table} ORDER BY random() LIMIT 1")
        name = f"Name {next(self.counter)}"
        if self.ordered:
            await connection.execute(
                "UPDATE user_profiles SET display_name = $2 WHERE user_id = $1", person, name
            )
        else:
            await connection.execute(
                "INSERT INTO user_profiles (user_id, display_name) VALUES ($1, $2) "
                "ON CONFLICT (user_id) DO UPDATE SET display_name = EXCLUDED.display_name",
                person,
                name,
            )

    async def add_own_tags(self, connection: asyncpg.Connection, chance: random.Random) -> None:
        tags = await self.some(connection, "tags", 3)
        tags = await self.lock(connection, "tags", tags, "KEY SHARE")
        await connection.execute(
            "INSERT INTO user_tags SELECT min(auth0_sub), t FROM users, unnest($1::bigint[]) AS t "
            "GROUP BY t ON CONFLICT DO NOTHING",
            tags,
        )

    async def delete_account(self, connection: asyncpg.Connection, chance: random.Random) -> None:
        """Somebody leaves; somebody else comes, with a profile and tagged stories."""
        number = next(self.counter) + 1000
        tags = await self.some(connection, "tags", 3)
        tags = await self.lock(connection, "tags", tags, "KEY SHARE")
        person = await connection.fetchval(
            "SELECT min(auth0_sub) FROM users WHERE auth0_sub LIKE 'x%'"
        )
        if self.ordered:
            await connection.execute(
                "SELECT FROM stories WHERE user_id = $1 ORDER BY id FOR UPDATE", person
            )
            for table in ("stories", "user_profiles", "user_tags"):
                await connection.execute(f"DELETE FROM {table} WHERE user_id = $1", person)
        await connection.execute("DELETE FROM users WHERE auth0_sub = $1", person)
        comes = f"x{number}"
        await connection.execute(
            "INSERT INTO users (auth0_sub, email) VALUES ($1::text, $1::text || '@example.com')",
            comes,
        )
        await connection.execute(
            "INSERT INTO user_profiles (user_id, display_name) VALUES ($1, 'Newcomer')", comes
        )
        for _ in range(2):
            await self.write(connection, comes, tags)


@pytest.mark.parametrize("ordered", [True, False], ids=["in lock order", "in any order"])
async def test_a_crowd_leaves_no_wrong_row(url: str, connect: Connect, ordered: bool) -> None:
    crowd = Crowd(ordered=ordered)
    connections = [await connect(url) for _ in range(WORKERS + 1)]
    for connection in connections:
        await connection.execute("SET deadlock_timeout = '20ms'")  # more of them, sooner
    await crowd.setup(connections[0])
    crowd.end = time.monotonic() + SECONDS
    await asyncio.gather(
        crowd.watch(connections[-1]),
        *(crowd.work(connection, seed) for seed, connection in enumerate(connections[:-1])),
    )
    assert await connections[0].fetch(WRONG) == []
    assert len(crowd.done) == 12, crowd.done  # each kind of work was done
    if ordered:
        assert crowd.deadlocks == 0
