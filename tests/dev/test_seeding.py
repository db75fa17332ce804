from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from community_gql.db import migrate
from community_gql.db.models import Base
from community_gql.db.names import NAME_WORDS
from community_gql.dev import seeding
from community_gql.dev.seeding import UNTIL, SeedError, community
from community_gql.dev.seeding.community import COLUMNS
from community_gql.dev.seeding.founders import FOUNDERS
from community_gql.dev.seeding.names import NAMES, mailbox
from community_gql.dev.seeding.themes import TAGS, THEMES
from community_gql.dev.seeding.vocabulary import HABITS
from community_gql.settings.checks import plain_address

TABLES = ("tags", *COLUMNS)
BATCH = 100


def quiet(what: str, done: int, total: int) -> None:
    pass


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(plain_address(url))
    try:
        yield connection
    finally:
        await connection.close()


async def ask(url: str, sql: str, *arguments: Any) -> Any:
    async with connected(url) as connection:
        return await connection.fetchval(sql, *arguments)


async def contents(url: str) -> dict[str, str]:
    """Every table's rows as one hash, their order in the table left out."""
    async with connected(url) as connection:
        return {
            table: await connection.fetchval(
                f"SELECT md5(coalesce(string_agg(t::text, chr(10) ORDER BY t::text), '')) "
                f"FROM {table} t"
            )
            for table in TABLES
        }


async def counts(url: str) -> dict[str, int]:
    async with connected(url) as connection:
        return {t: await connection.fetchval(f"SELECT count(*) FROM {t}") for t in TABLES}


async def catalog(url: str) -> list[Any]:
    """Everything about the tables that a seeding takes down and puts up again."""
    async with connected(url) as connection:
        return [
            *await connection.fetch("SELECT tablename, indexdef FROM pg_indexes ORDER BY 1, 2"),
            *await connection.fetch(
                "SELECT tgrelid::regclass::text, tgname::text, tgenabled FROM pg_trigger "
                "WHERE NOT tgisinternal ORDER BY 1, 2"
            ),
            *await connection.fetch(
                "SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid) "
                "FROM pg_constraint ORDER BY 1, 2"
            ),
        ]


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches and a pool so small that a few hundred people fill several and overflow it."""
    monkeypatch.setattr(community, "BATCH", BATCH)
    monkeypatch.setattr(community, "POOL", 130)


@pytest.fixture
def clones(empty_database_url: Callable[..., str], migrated_template: str) -> tuple[str, str]:
    """Two more migrated databases, whose sequences and catalogs nobody has used."""
    return empty_database_url(migrated_template), empty_database_url(migrated_template)


@pytest.fixture
def blank_url(empty_database_url: Callable[..., str]) -> str:
    """A database without migrations."""
    return empty_database_url()


@pytest.fixture
async def seeded(database_url: str) -> str:
    await seeding.seed(database_url, people=300, progress=quiet)
    return database_url


# --- the same rows --------------------------------------------------------------------------


async def test_the_same_seed_gives_the_same_rows(clones: tuple[str, str]) -> None:
    first, second = clones
    await seeding.seed(first, people=3 * BATCH + 20, seed=7, progress=quiet)
    await seeding.seed(second, people=3 * BATCH + 20, seed=7, progress=quiet)
    assert await contents(first) == await contents(second)


async def test_another_seed_gives_other_rows(clones: tuple[str, str]) -> None:
    first, second = clones
    await seeding.seed(first, people=20, seed=7, progress=quiet)
    await seeding.seed(second, people=20, seed=8, progress=quiet)
    one, other = await contents(first), await contents(second)
    # Of the tags, too: how many people chose them.
    assert [table for table in TABLES if one[table] == other[table]] == []


async def test_triggers_would_write_the_same(seeded: str) -> None:
    before = await contents(seeded)
    async with connected(seeded) as connection:
        for table in ("story_tags", "user_profiles"):
            await connection.execute(f"CREATE TEMP TABLE kept AS TABLE {table}")
            await connection.execute(f"DELETE FROM {table}")
            emptied = await contents(seeded)
            changed = {"story_tags": "stories", "user_profiles": "users"}[table]
            assert emptied[changed] != before[changed], "the trigger did not run"
            await connection.execute(f"INSERT INTO {table} TABLE kept")
            await connection.execute("DROP TABLE kept")
    assert await contents(seeded) == before


async def test_people_are_ordered_and_found_as_the_triggers_would_have_it(seeded: str) -> None:
    words = "SELECT tag_id, word, public_id, previous, created_at, name_key FROM name_words"
    async with connected(seeded) as connection:
        for all_, all_but in ((words, NAME_WORDS), (NAME_WORDS, words)):
            assert await connection.fetch(f"({all_}) EXCEPT ({all_but})") == []
        assert await connection.fetchval("SELECT count(*) FROM name_words") > 300
        chosen = await connection.fetch("TABLE user_tags")
        await connection.execute("CREATE TEMP TABLE kept AS SELECT user_id, tag_id FROM user_tags")
        await connection.execute("DELETE FROM user_tags; INSERT INTO user_tags TABLE kept")
        again = await connection.fetch("TABLE user_tags")
        assert sorted(map(tuple, again)) == sorted(map(tuple, chosen))


async def test_tags_cached_are_the_names_of_the_tags_sorted(seeded: str) -> None:
    wrong = await ask(
        seeded,
        """
        SELECT count(*) FROM stories s WHERE tags_cached IS DISTINCT FROM ARRAY(
          SELECT t.name FROM story_tags JOIN tags t ON t.id = tag_id
          WHERE story_id = s.id ORDER BY t.name)
        """,
    )
    assert wrong == 0


async def test_the_schema_is_as_before(database_url: str) -> None:
    before = await catalog(database_url)
    await seeding.seed(database_url, people=20, progress=quiet)
    assert await catalog(database_url) == before


async def test_ids_go_on_after_the_seeded_ones(seeded: str) -> None:
    new = {
        "stories": "(user_id, title, content) VALUES ('auth0|ada', 'New', 'Text')",
        "habits": "(user_id, name, frequency) VALUES ('auth0|ada', 'New', 'daily')",
        "gardens": "(user_id, name) VALUES ('auth0|srinivasa', 'New')",
        "tags": "(name) VALUES ('something new')",
    }
    for table, values in new.items():
        last = await ask(seeded, f"SELECT max(id) FROM {table}")
        assert await ask(seeded, f"INSERT INTO {table} {values} RETURNING id") == last + 1


# --- what the rows look like ----------------------------------------------------------------


async def test_report_counts_the_rows(database_url: str) -> None:
    report = await seeding.seed(database_url, people=50, progress=quiet)
    assert report.rows == await counts(database_url)
    assert all(report.rows.values())


async def test_every_kind_of_row_is_there(seeded: str) -> None:
    async with connected(seeded) as connection:

        async def groups(sql: str) -> set[Any]:
            return {row[0] for row in await connection.fetch(sql)}

        assert await groups("SELECT visibility FROM stories") == {"public", "friends", "private"}
        assert await groups("SELECT status FROM friendships") == {"pending", "accepted"}
        assert await groups("SELECT frequency FROM habits") == {
            *("daily", "weekly", "monthly", "custom")
        }
        assert await groups("SELECT cardinality(tags_cached) FROM stories") == {0, 1, 2, 3, 4}
        assert await groups("SELECT journaling_frequency FROM user_profiles") == set(range(8))
        per_person = (
            "SELECT (SELECT count(*)::int FROM {} WHERE user_id = auth0_sub) FROM users WHERE "
            "auth0_sub IN (SELECT user_id FROM {})"
        )
        assert await groups(per_person.format("habits", "users u(user_id)")) == set(range(6))
        assert max(await groups(per_person.format("user_tags", "users u(user_id)"))) == 8


@pytest.mark.parametrize(
    ("what", "sql"),
    [
        ("stories by someone who had not joined", "stories JOIN users ON auth0_sub = user_id "
         "WHERE stories.created_at < users.created_at"),
        ("edited before written", "stories WHERE updated_at < created_at"),
        ("friends before both had joined", "friendships f JOIN users u ON u.auth0_sub IN "
         "(requester_id, addressee_id) WHERE f.created_at < u.created_at"),
        ("accepted before asked", "friendships WHERE accepted_at < created_at"),
        ("blank titles", "stories WHERE trim(title) <> title OR title = ''"),
        ("blank texts", "stories WHERE trim(content) <> content OR length(content) < 40"),
        ("slots left open", "stories WHERE title || content ~ '[{}]'"),
        ("unfolded tags", "tags WHERE name <> lower(trim(name)) OR name ~ '  '"),
        ("tags without a story", "tags WHERE id NOT IN (SELECT tag_id FROM story_tags)"),
        ("other subs", "users WHERE auth0_sub !~ '^auth0\\|([0-9a-f]{24}|[a-z-]+)$'"),
        ("other addresses", "users WHERE email !~ '^[a-z0-9.]+@example\\.com$' AND "
         "email <> 'chien-shiung@example.com'"),
    ],
)  # fmt: skip
async def test_nothing_is_impossible(seeded: str, what: str, sql: str) -> None:
    assert await ask(seeded, f"SELECT count(*) FROM {sql}") == 0, what


async def test_nothing_is_younger_than_the_end(seeded: str) -> None:
    async with connected(seeded) as connection:
        for table in Base.metadata.sorted_tables:
            for column in table.columns:
                if column.name.endswith("_at"):
                    newest = await connection.fetchval(
                        f"SELECT max({column.name}) FROM {table.name}"
                    )
                    assert newest is None or newest <= UNTIL, f"{table.name}.{column.name}"


async def test_the_numbers_are_believable(seeded: str) -> None:
    found = await counts(seeded)
    assert 7 * 300 < found["stories"] < 14 * 300
    assert 0.6 * 300 < found["gardens"] < 0.8 * 300
    assert 0.8 * 300 < found["user_profiles"] < 300
    most = await ask(seeded, "SELECT count(*) FROM stories GROUP BY user_id ORDER BY 1 DESC")
    assert most > 40, "nobody writes a lot"
    names = await ask(
        seeded, r"SELECT count(*) FROM user_profiles WHERE display_name ~ '[^\x01-\x7f]'"
    )
    assert names > 60, "everybody's name is ASCII"


async def test_friendships_follow_what_people_care_for(seeded: str) -> None:
    """Twice as often as by chance, two friends used the same rare tag in public."""
    common = """
        SELECT avg((EXISTS (
          SELECT FROM user_tags a JOIN user_tags b ON b.tag_id = a.tag_id
          WHERE a.user_id = one.auth0_sub AND b.user_id = other.auth0_sub
        ))::int)::float8
        FROM users one JOIN users other ON one.auth0_sub < other.auth0_sub
    """
    friends = (
        " WHERE EXISTS (SELECT FROM friendships f WHERE (f.requester_id, f.addressee_id) IN "
        "((one.auth0_sub, other.auth0_sub), (other.auth0_sub, one.auth0_sub)))"
    )
    by_chance, of_friends = await ask(seeded, common), await ask(seeded, common + friends)
    assert of_friends > 1.2 * by_chance


# --- the people who are always there --------------------------------------------------------


async def test_the_founders_show_who_sees_what(seeded: str) -> None:
    async with connected(seeded) as connection:
        rows = await connection.fetch(
            "SELECT requester_id, addressee_id, status FROM friendships "
            "WHERE requester_id = ANY($1) AND addressee_id = ANY($1)",
            [founder.auth0_sub for founder in FOUNDERS],
        )
        assert {
            ("auth0|ada", "auth0|grace", "accepted"),
            ("auth0|alan", "auth0|ada", "pending"),
        } <= set(map(tuple, rows))
        for sub in ("auth0|ada", "auth0|grace", "auth0|alan"):
            seen = await connection.fetch(
                "SELECT DISTINCT visibility FROM stories WHERE user_id = $1", sub
            )
            assert len(seen) == 3
        for sub in (founder.auth0_sub for founder in FOUNDERS):
            for table in ("user_profiles", "habits", "user_tags"):
                sql = f"SELECT EXISTS (SELECT FROM {table} WHERE user_id = $1)"
                assert await connection.fetchval(sql, sub), f"{sub} lacks {table}"
            garden = "SELECT EXISTS (SELECT FROM gardens WHERE user_id = $1)"
            assert await connection.fetchval(garden, sub) == (sub != "auth0|srinivasa")


async def test_known_people_begin_with_the_founders(seeded: str) -> None:
    await ask(
        seeded,
        "INSERT INTO users (auth0_sub, email, created_at) VALUES ('x|y', 'z@example.com', $1)",
        UNTIL.replace(year=2001),
    )
    people = await seeding.known_people(seeded, 9)
    assert [person.auth0_sub for person in people[:8]] == [f.auth0_sub for f in FOUNDERS]
    assert people[0].email == "ada@example.com"
    assert people[0].display_name == "Ada Lovelace"
    assert people[8].display_name == "z@example.com"
    assert [p.display_name for p in people if "manage:tags" in p.permissions] == ["Grace Hopper"]
    assert len(await seeding.known_people(seeded)) == 10
    assert seeding.permissions_of("auth0|grace") == {"manage:tags"}
    assert seeding.permissions_of("auth0|nobody") == frozenset()


# --- small, refused, interrupted ------------------------------------------------------------


@pytest.mark.parametrize("people", [1, 2, 8, 9])
async def test_small_communities(database_url: str, people: int) -> None:
    report = await seeding.seed(database_url, people=people, progress=quiet)
    assert report.rows == await counts(database_url)
    assert report.rows["users"] == people
    assert [p.email for p in await seeding.known_people(database_url, 1)] == ["ada@example.com"]


@pytest.mark.parametrize("people", [0, -5])
async def test_nobody_is_refused(database_url: str, people: int) -> None:
    with pytest.raises(SeedError, match="at least one person"):
        await seeding.seed(database_url, people=people, progress=quiet)


async def test_people_who_are_there_are_left_alone(database_url: str) -> None:
    assert await seeding.is_empty(database_url)
    await seeding.seed(database_url, people=3, progress=quiet)
    assert not await seeding.is_empty(database_url)
    before = await contents(database_url)
    with pytest.raises(SeedError, match="has people already"):
        await seeding.seed(database_url, people=3, seed=2, progress=quiet)
    assert await contents(database_url) == before


async def test_tags_that_are_there_are_used(database_url: str) -> None:
    await ask(database_url, "INSERT INTO tags (name) VALUES ('own'), ('growth')")
    growth = await ask(database_url, "SELECT id FROM tags WHERE name = 'growth'")
    await seeding.seed(database_url, people=100, progress=quiet)
    assert (await counts(database_url))["tags"] == len(TAGS) + 1
    assert await ask(database_url, "SELECT count(*) FROM story_tags WHERE tag_id = $1", growth)
    await test_tags_cached_are_the_names_of_the_tags_sorted(database_url)


@pytest.mark.parametrize(
    "use", [lambda url: seeding.seed(url, progress=quiet), seeding.is_empty, seeding.known_people]
)
async def test_missing_migrations_are_named(
    blank_url: str, use: Callable[[str], Awaitable[Any]]
) -> None:
    with pytest.raises(SeedError, match=r"lacks .* more columns.* community-gql db upgrade"):
        await use(blank_url)


async def test_a_database_out_of_reach_is_named(database_url: str) -> None:
    with pytest.raises(SeedError, match="can't connect"):
        await seeding.is_empty(database_url.replace("port=5432", "port=5433"))


async def test_of_two_seedings_at_once_one_is_refused(database_url: str) -> None:
    results = await asyncio.gather(
        seeding.seed(database_url, people=20, progress=quiet),
        seeding.seed(database_url, people=20, progress=quiet),
        return_exceptions=True,
    )
    refused = [result for result in results if isinstance(result, BaseException)]
    assert len(refused) == 1
    assert isinstance(refused[0], SeedError)
    assert "has people already" in str(refused[0])


async def test_an_ordinary_owner_may_seed_and_others_may_not(
    blank_url: str, worker_id: str
) -> None:
    url = blank_url
    name = await ask(url, "SELECT current_database()")
    owner, other = f"seeding_owner_{worker_id}", f"seeding_other_{worker_id}"
    for role in (owner, other):
        await ask(url, f"CREATE ROLE {role} LOGIN")
    try:
        await ask(url, f"ALTER DATABASE {name} OWNER TO {owner}")
        owned = url.replace("postgres@", f"{owner}@")
        await asyncio.to_thread(migrate.upgrade, owned)
        await ask(url, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {other}")
        with pytest.raises(SeedError, match="Seed as the role that owns the tables"):
            await seeding.seed(url.replace("postgres@", f"{other}@"), progress=quiet)
        report = await seeding.seed(owned, people=20, progress=quiet)
        assert report.rows == await counts(url)
    finally:
        await ask(url, f"REASSIGN OWNED BY {owner} TO postgres")
        for role in (owner, other):
            await ask(url, f"DROP OWNED BY {role}")
            await ask(url, f"DROP ROLE {role}")


@pytest.mark.parametrize(("phase", "after"), [("people", BATCH), ("indexes", 3)])
async def test_an_interruption_leaves_nothing(
    clones: tuple[str, str], phase: str, after: int
) -> None:
    url, fresh = clones
    before = await catalog(url)

    def interrupt(what: str, done: int, total: int) -> None:
        if (what, done) == (phase, after):
            seeding_.cancel()

    seeding_ = asyncio.create_task(seeding.seed(url, people=3 * BATCH, progress=interrupt))
    with pytest.raises(asyncio.CancelledError):
        await seeding_
    assert set((await counts(url)).values()) == {0}
    assert await catalog(url) == before
    # And the next one is not different for it, ids included. (The tags' sequence did advance.)
    await ask(url, "ALTER SEQUENCE tags_id_seq RESTART")
    await seeding.seed(url, people=30, progress=quiet)
    await seeding.seed(fresh, people=30, progress=quiet)
    assert await contents(url) == await contents(fresh)


async def test_a_lost_connection_leaves_nothing(clones: tuple[str, str]) -> None:
    url = clones[0]
    ending: list[asyncio.Task[Any]] = []

    def cut(what: str, done: int, total: int) -> None:
        if (what, done) == ("people", BATCH):
            sql = (
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            ending.append(asyncio.create_task(ask(url, sql)))

    with pytest.raises(SeedError, match="leaves nothing behind"):
        await seeding.seed(url, people=100 * BATCH, progress=cut)
    await asyncio.gather(*ending)
    assert set((await counts(url)).values()) == {0}


async def test_progress_goes_up_and_reaches_the_total(database_url: str) -> None:
    calls: list[tuple[str, int, int]] = []
    await seeding.seed(database_url, people=BATCH + 1, progress=lambda *call: calls.append(call))
    assert list(dict.fromkeys(what for what, _, _ in calls)) == ["people", "indexes", "statistics"]
    assert [call for call in calls if call[0] == "people"] == [
        ("people", done, BATCH + 1) for done in (0, BATCH, BATCH + 1)
    ]
    for what in ("indexes", "statistics"):
        steps = [call for call in calls if call[0] == what]
        assert steps == [(what, done, len(steps) - 1) for done in range(len(steps))]


async def test_statistics_are_there(seeded: str) -> None:
    rows = "SELECT count(*) FROM pg_class WHERE relname = ANY($1) AND reltuples > 0"
    assert await ask(seeded, rows, list(TABLES)) == len(TABLES)


# --- the words ------------------------------------------------------------------------------


def test_the_vocabulary_holds_together() -> None:
    assert len(TAGS) == len(set(TAGS)) == 4 * len(THEMES) == 64
    assert all(len(theme.sentences) == 7 for theme in THEMES), "prose.text counts on seven"
    assert len({name for name, _, _ in HABITS}) == len(HABITS)
    known = set(TAGS)
    for founder in FOUNDERS:
        assert set(founder.tags) <= known
        assert all(set(story.tags) <= known for story in founder.stories)
        assert all(len(story.title) <= 140 for story in founder.stories)


def test_mailboxes_are_ascii() -> None:
    assert mailbox("Søren Ødegård") == "soren.odegard"
    assert mailbox("Алексей Волков") == "member"
    for given, family in NAMES:
        for name in (*given, *family):
            assert mailbox(name).isascii()
