"""What people are ordered and found by is always what ``users`` says, whoever writes."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from community_gql.db import migrate
from community_gql.db.names import NAME_WORDS

Make = Callable[..., Awaitable[str]]
Connect = Callable[[str], Awaitable[asyncpg.Connection]]

WRONG_COPIES = """
    SELECT t.user_id, t.tag_id FROM user_tags t JOIN users u ON u.auth0_sub = t.user_id
    WHERE (user_created_at, user_public_id, user_name_key) IS DISTINCT FROM
      (u.created_at, u.public_id, u.name_key)
"""
WRONG_WORDS = f"""
    WITH kept AS (
      SELECT tag_id, word, public_id, previous, created_at, name_key FROM name_words
    ), truth AS ({NAME_WORDS})
    (SELECT 'too many', * FROM (TABLE kept EXCEPT TABLE truth) AS a)
    UNION ALL
    (SELECT 'missing', * FROM (TABLE truth EXCEPT TABLE kept) AS b)
"""
PEOPLE = """
    INSERT INTO users (auth0_sub, email) VALUES
      ('ada', 'ada@example.com'), ('ben', 'ben@example.com'), ('cy', 'cy@example.com');
    INSERT INTO tags (id, name) VALUES (1, 'c'), (2, 'a'), (3, 'b');
    INSERT INTO user_profiles (user_id, display_name) VALUES
      ('ada', 'Ada ÉLAN'), ('ben', 'Ben O''Brien-Adams Adam');
    INSERT INTO user_tags (user_id, tag_id) VALUES ('ada', 1), ('ada', 2), ('ben', 1), ('cy', 1);
"""
NAMES = (
    "Ada", "Ada Ada", "ada lovelace", "Adam Ad", "", "  ", "J.R.R. Tolkien", "O'Brien", "a\\b", "é",
    "Maria-Anna", "x.co/path", "🌱", "مريم", "-5 ада", "A", "'", "a:b", "ß", "\uffff", "İı", "100%",
)  # fmt: skip


@pytest.fixture
async def database(url: str, connect: Connect) -> asyncpg.Connection:
    connection = await connect(url)
    await connection.execute(PEOPLE)
    return connection


async def is_kept(connection: asyncpg.Connection) -> None:
    assert await connection.fetch(WRONG_COPIES) == []
    assert await connection.fetch(WRONG_WORDS) == []


async def words(connection: asyncpg.Connection, tag: int) -> list[str]:
    rows = await connection.fetch("SELECT word FROM name_words WHERE tag_id = $1 ORDER BY 1", tag)
    return [row[0] for row in rows]


STATEMENTS = (
    "SELECT 1",
    "UPDATE user_profiles SET display_name = 'Zoë'",
    "UPDATE user_profiles SET display_name = NULL",
    "UPDATE user_profiles SET user_id = 'cy' WHERE user_id = 'ada'",
    "DELETE FROM user_profiles",
    "TRUNCATE user_profiles",
    "INSERT INTO user_profiles (user_id, display_name) VALUES ('cy', 'Cy'), ('ada', 'A') "
    "ON CONFLICT (user_id) DO UPDATE SET display_name = EXCLUDED.display_name",
    "INSERT INTO users (auth0_sub, email, name_key) VALUES ('d', 'd@example.com', 'named')",
    "UPDATE users SET created_at = created_at - interval '1 day'",
    "UPDATE users SET public_id = gen_random_uuid()",
    "UPDATE users SET email = 'x' || email",
    "DELETE FROM users WHERE auth0_sub = 'ada'",
    "DELETE FROM users",
    "TRUNCATE users CASCADE",
    "INSERT INTO user_tags VALUES ('cy', 2), ('ada', 3)",
    "INSERT INTO user_tags VALUES ('ada', 1), ('ben', 3) ON CONFLICT DO NOTHING",
    "INSERT INTO user_tags VALUES ('ben', 2, '2000-01-01', gen_random_uuid(), 'a lie')",
    "UPDATE user_tags SET user_name_key = 'a lie', user_created_at = '2000-01-01'",
    "UPDATE user_tags SET tag_id = 3 WHERE tag_id = 1",
    "UPDATE user_tags SET user_id = 'cy' WHERE tag_id = 2",
    "DELETE FROM user_tags WHERE tag_id = 1",
    "TRUNCATE user_tags",
    "DELETE FROM tags WHERE id = 1",
    "TRUNCATE tags CASCADE",
    "WITH gone AS (DELETE FROM user_tags WHERE user_id = 'ada') "
    "INSERT INTO user_tags VALUES ('ada', 3)",
)


async def test_after_each_way_to_write(database: asyncpg.Connection) -> None:
    for statement in STATEMENTS:
        transaction = database.transaction()
        await transaction.start()
        await database.execute(statement)
        for wrong in (WRONG_COPIES, WRONG_WORDS):
            assert await database.fetch(wrong) == [], statement
        await transaction.rollback()


async def test_no_word_outlives_a_rename(database: asyncpg.Connection) -> None:
    assert await words(database, 2) == ["ada", "elan"]
    await database.execute("UPDATE user_profiles SET display_name = 'Zoë' WHERE user_id = 'ada'")
    old = "SELECT * FROM name_words WHERE word IN ('ada', 'elan') OR name_key LIKE 'ada%'"
    assert await database.fetch(old) == []
    assert await words(database, 2) == ["zoe"]
    await database.execute("DELETE FROM users")
    assert await database.fetch("SELECT * FROM name_words") == []


async def test_what_triggers_write_marks_and_tells_nothing(database: asyncpg.Connection) -> None:
    await database.execute("DELETE FROM stale_features; DELETE FROM changes")
    await database.execute("UPDATE user_profiles SET display_name = 'Zoë' WHERE user_id = 'ada'")
    assert await database.fetch("SELECT * FROM stale_features") == []
    told = await database.fetch("SELECT entity FROM changes")
    assert [row[0] for row in told] == ["user_profiles"]


async def test_a_tag_of_nobody_is_refused_as_before(database: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.ForeignKeyViolationError, match="user_tags_user_id_fkey"):
        await database.execute("INSERT INTO user_tags VALUES ('nobody', 1)")


async def test_the_migration_fills_what_was_there(make: Make, connect: Connect) -> None:
    url = await make("0016")
    connection = await connect(url)
    await connection.execute(PEOPLE)
    await connection.execute("""
        INSERT INTO users (auth0_sub, email)
        SELECT 'p' || n, 'p' || n || '@example.com' FROM generate_series(1, 2100) AS n;
        INSERT INTO user_profiles (user_id, display_name)
        SELECT 'p' || n, 'Person ' || n FROM generate_series(1, 2100) AS n;
        INSERT INTO user_tags SELECT 'p' || n, 3 FROM generate_series(1, 2100) AS n;
        DELETE FROM stale_features; DELETE FROM changes;
    """)
    await connection.close()
    await asyncio.to_thread(migrate.upgrade, url)
    connection = await connect(url)
    await is_kept(connection)
    assert len(await words(connection, 3)) == 4200
    assert await connection.fetch("SELECT FROM stale_features") == []
    assert await connection.fetch("SELECT FROM changes") == []


CHANGES = (
    "INSERT INTO user_profiles (user_id, display_name) VALUES ({person}, {name}) "
    "ON CONFLICT (user_id) DO UPDATE SET display_name = EXCLUDED.display_name",
    "UPDATE user_profiles SET display_name = {name} WHERE user_id < {person}",
    "DELETE FROM user_profiles WHERE user_id = {person}",
    "INSERT INTO user_tags SELECT auth0_sub, {tag} FROM users WHERE auth0_sub > {person} "
    "ON CONFLICT DO NOTHING",
    "INSERT INTO user_tags SELECT {person}, {tag} ON CONFLICT DO NOTHING",
    "DELETE FROM user_tags WHERE user_id = {person}",
    "DELETE FROM user_tags WHERE tag_id = {tag}",
    "DELETE FROM user_tags WHERE tag_id = {tag} AND user_id < {person}",
    "UPDATE users SET created_at = now() - random() * interval '1 day' WHERE auth0_sub = {person}",
    "DELETE FROM tags WHERE id = {tag}; INSERT INTO tags (id, name) VALUES ({tag}, 't{tag}')",
    "DELETE FROM users WHERE auth0_sub = {person}; "
    "INSERT INTO users (auth0_sub, email) VALUES ({person}, {person})",
)


async def test_after_random_changes(database: asyncpg.Connection) -> None:
    chance, most = random.Random(7), 0
    await database.execute("INSERT INTO users (auth0_sub, email) SELECT n, n FROM "
                           "(SELECT 'p' || generate_series(1, 8)) AS n (n)")  # fmt: skip
    for n in range(150):
        change = chance.choice(CHANGES).format(
            person=f"'p{chance.randint(1, 8)}'",
            tag=chance.randint(1, 3),
            name="'" + chance.choice(NAMES).replace("'", "''") + "'",
        )
        await database.execute(change)
        if n % 5 == 0:
            await is_kept(database)
            most = max(most, len(await words(database, 1)))
    assert most > 5, "hardly anybody with a name has chosen the tag"


async def test_a_tag_chosen_while_the_person_is_renamed(
    database: asyncpg.Connection, url: str, connect: Connect
) -> None:
    """Whoever comes second waits, and sees the first: a snapshot of before would keep the name."""
    other = await connect(url)
    rename = "UPDATE user_profiles SET display_name = 'Later' WHERE user_id = 'ben'"
    choose = "INSERT INTO user_tags VALUES ('ben', {})"
    for first, second in ((rename, choose.format(2)), (choose.format(3), rename + " AND true")):
        transaction = database.transaction()
        await transaction.start()
        await database.execute(first)
        waiting = asyncio.create_task(other.execute(second))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        await transaction.commit()
        await waiting
        await is_kept(database)
        await database.execute("UPDATE user_profiles SET display_name = 'Sooner'")


SECONDS = 1.0
WORKERS = 6


class Crowd:
    """Workers that rename, tag, untag and delete the same few people, as the API does."""

    def __init__(self, *, leaving: bool) -> None:
        self.leaving = leaving
        """Whether accounts are deleted. Who writes to them meanwhile may find them gone, or
        deadlock, as docs/operations.md says."""
        self.deadlocks = 0
        self.counter = itertools.count()
        self.done: Counter[str] = Counter()
        self.end = time.monotonic() + SECONDS

    async def work(self, connection: asyncpg.Connection, seed: int) -> None:
        chance = random.Random(seed)
        jobs = [self.rename, self.choose, self.leave, self.merge]
        jobs += [self.delete] * self.leaving
        while time.monotonic() < self.end:
            job = chance.choice(jobs)
            person, tag = f"p{chance.randint(1, 4)}", chance.randint(1, 3)
            try:
                async with connection.transaction():
                    await job(connection, person, tag)
            except asyncpg.ForeignKeyViolationError:
                assert self.leaving
            except asyncpg.DeadlockDetectedError:
                self.deadlocks += 1
            self.done[job.__name__] += 1

    async def watch(self, connection: asyncpg.Connection) -> None:
        """No snapshot may ever show a wrong row."""
        while time.monotonic() < self.end:
            await is_kept(connection)
            self.done["watch"] += 1

    async def rename(self, connection: asyncpg.Connection, person: str, tag: int) -> None:
        await connection.execute(
            "UPDATE user_profiles SET display_name = $2 WHERE user_id = $1",
            person,
            f"{NAMES[tag]} {next(self.counter)}",
        )

    async def choose(self, connection: asyncpg.Connection, person: str, tag: int) -> None:
        await connection.execute("SELECT FROM tags WHERE id = $1 FOR KEY SHARE", tag)
        await connection.execute(
            "INSERT INTO user_tags SELECT auth0_sub, $2 FROM users WHERE auth0_sub = $1 "
            "ON CONFLICT DO NOTHING",
            person,
            tag,
        )

    async def leave(self, connection: asyncpg.Connection, person: str, tag: int) -> None:
        await connection.execute("SELECT FROM tags ORDER BY id FOR KEY SHARE")
        await connection.execute("SELECT FROM users WHERE auth0_sub = $1 FOR NO KEY UPDATE", person)
        await connection.execute("DELETE FROM user_tags WHERE user_id = $1", person)

    async def merge(self, connection: asyncpg.Connection, person: str, tag: int) -> None:
        """As moderation does: people in order, then the new links, then the old ones."""
        await connection.execute("SELECT FROM tags ORDER BY id FOR UPDATE")
        await connection.execute(
            "SELECT FROM users WHERE auth0_sub IN (SELECT user_id FROM user_tags WHERE tag_id = $1)"
            " ORDER BY auth0_sub FOR NO KEY UPDATE",
            tag,
        )
        await connection.execute(
            "INSERT INTO user_tags SELECT user_id, 4 FROM user_tags WHERE tag_id = $1 "
            "ON CONFLICT DO NOTHING",
            tag,
        )
        await connection.execute("DELETE FROM user_tags WHERE tag_id = $1", tag)

    async def delete(self, connection: asyncpg.Connection, person: str, tag: int) -> None:
        """Somebody leaves, and comes again under a name of before."""
        await connection.execute("SELECT FROM user_profiles WHERE user_id = $1 FOR UPDATE", person)
        gone = await connection.execute("DELETE FROM users WHERE auth0_sub = $1", person)
        if gone == "DELETE 1":
            await connection.execute(
                "INSERT INTO users (auth0_sub, email) VALUES ($1::text, $1::text)", person
            )
            await connection.execute(
                "INSERT INTO user_profiles (user_id, display_name) VALUES ($1, 'Back Again')",
                person,
            )


@pytest.mark.parametrize("leaving", [False, True], ids=["who stays", "who leaves"])
async def test_a_crowd_leaves_no_wrong_word(url: str, connect: Connect, leaving: bool) -> None:
    crowd = Crowd(leaving=leaving)
    connections = [await connect(url) for _ in range(WORKERS + 1)]
    for connection in connections:
        await connection.execute("SET deadlock_timeout = '20ms'")  # more of them, sooner
    await connections[0].execute("""
        INSERT INTO users (auth0_sub, email)
        SELECT 'p' || n, 'p' || n || '@example.com' FROM generate_series(1, 4) n;
        INSERT INTO user_profiles (user_id, display_name) SELECT auth0_sub, 'First' FROM users;
        INSERT INTO tags (id, name) SELECT n, 'tag ' || n FROM generate_series(1, 4) n;
    """)
    crowd.end = time.monotonic() + SECONDS
    await asyncio.gather(
        crowd.watch(connections[-1]),
        *(crowd.work(connection, seed) for seed, connection in enumerate(connections[:-1])),
    )
    await is_kept(connections[0])
    assert len(crowd.done) == 5 + leaving, crowd.done  # each kind of work was done
    if not leaving:
        assert crowd.deadlocks == 0
