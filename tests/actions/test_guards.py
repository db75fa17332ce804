"""Guards that only two writers at the same moment show: orders of locks, a lock, a clock.

Where a lock order is tested, the row that comes first in it is taken by somebody else and lies
behind the other one in the table, where a statement without its ORDER BY finds it last. Who waits
for the first must not hold the second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from community_gql.actions import matching, permissions, stories, tags
from community_gql.db.database import Transaction
from community_gql.errors import AccountGone, Code, Rejected
from community_gql.graph.visibility import Viewer
from community_gql.settings.checks import plain_address
from tests.support import factories as make
from tests.support.factories import Person, Row
from tests.support.writing import waiting

from .conftest import Writer

Action = Callable[..., Awaitable[Any]]


async def waits_for_the_first(
    db: asyncpg.Connection,
    database_url: str,
    table: str,
    key: str,
    rows: tuple[Any, Any],
    work: Callable[[], Awaitable[Any]],
) -> Any:
    """The result of ``work``, which must wait for the first row and not hold the second."""
    first, second = rows
    # Nothing is free before the end, where a changed row is written anew; and so small a table
    # is read from its beginning.
    await db.execute(f"VACUUM FULL {table}")
    await db.execute(f"UPDATE {table} SET {key} = {key} WHERE {key} = $1", first)
    await db.execute(f"ANALYZE {table}")
    order = await db.fetch(f"SELECT {key} FROM {table} WHERE {key} IN ($1, $2)", first, second)
    assert [row[0] for row in order] == [second, first]
    other = await asyncpg.connect(plain_address(database_url))
    await other.execute("BEGIN")
    await other.execute(f"SELECT FROM {table} WHERE {key} = $1 FOR UPDATE", first)
    task = asyncio.ensure_future(work())
    try:
        async with asyncio.timeout(60):
            await waiting(db)
        await db.execute(f"SELECT FROM {table} WHERE {key} = $1 FOR UPDATE NOWAIT", second)
        await other.execute("COMMIT")
        return await task
    finally:
        await other.close()
        await asyncio.wait({task})


@pytest.fixture
async def two_tags(db: asyncpg.Connection) -> tuple[Row, Row]:
    """The order of their names is not that of their ids."""
    return await make.tag(db, "zinnia"), await make.tag(db, "aloe")


@pytest.mark.parametrize(
    ("action", "given"),
    [
        (tags.add, {"names": ["zinnia", "aloe"]}),
        (tags.remove, {"names": ["aloe", "zinnia"]}),
        (stories.create, {"title": "a", "content": "b", "tags": ["aloe", "zinnia"]}),
    ],
)
async def test_tags_are_locked_by_id_for_tagging(
    action: Action,
    given: dict[str, Any],
    act: Writer,
    db: asyncpg.Connection,
    database_url: str,
    two_tags: tuple[Row, Row],
) -> None:
    ada = await make.person(db)
    keys = (two_tags[0].key, two_tags[1].key)
    await waits_for_the_first(
        db, database_url, "tags", "id", keys, lambda: act(action, ada, **given)
    )


async def test_the_vocabulary_is_locked_by_id(
    act: Writer, db: asyncpg.Connection, database_url: str, two_tags: tuple[Row, Row]
) -> None:
    moderator = await make.person(db, permissions=[permissions.MANAGE_TAGS])
    keys = (two_tags[0].key, two_tags[1].key)
    await waits_for_the_first(
        db, database_url, "tags", "id", keys,
        lambda: act(tags.merge, moderator, from_id=keys[1], into_id=keys[0]),
    )  # fmt: skip
    assert await db.fetchval("SELECT array_agg(name) FROM tags") == ["zinnia"]


async def two_people(db: asyncpg.Connection) -> tuple[Person, Person]:
    """The order of their keys is not that of their public ids."""
    people = [await make.person(db) for _ in range(12)]
    by_sub = sorted(people, key=lambda each: each.sub)
    for n, one in enumerate(by_sub):
        for two in by_sub[n + 1 :]:
            if one.public_id > two.public_id:
                await db.execute("DELETE FROM users WHERE auth0_sub <> ALL($1)", [one.sub, two.sub])
                return one, two
    raise AssertionError("twelve random ids in order: once in 479,001,600 times")


def features(one: Person, two: Person) -> dict[str, Any]:
    return {"features": [matching.Features(each.public_id, [1.0]) for each in (one, two)]}


def matches(one: Person, two: Person) -> dict[str, Any]:
    return {"matches": [matching.Match(one.public_id, two.public_id, 0.5)]}


@pytest.mark.parametrize(
    ("action", "given"), [(matching.put_features, features), (matching.put_matches, matches)]
)
async def test_people_are_locked_by_key(
    action: Action,
    given: Callable[[Person, Person], dict[str, Any]],
    act: Writer,
    db: asyncpg.Connection,
    database_url: str,
) -> None:
    machine = make.machine(permissions.WRITE_FEATURES, permissions.WRITE_MATCHES)
    one, two = await two_people(db)
    await waits_for_the_first(
        db, database_url, "users", "auth0_sub", (one.sub, two.sub),
        lambda: act(action, machine, **given(one, two)),
    )  # fmt: skip


async def test_vectors_of_one_version_have_one_length_at_once_too(
    act: Writer, db: asyncpg.Connection
) -> None:
    """Whoever comes second waits until the first has committed, and sees its length."""
    machine = make.machine(permissions.WRITE_FEATURES)
    ada, bea = await make.person(db), await make.person(db)
    written, gate = asyncio.Event(), asyncio.Event()

    async def held(session: Transaction, viewer: Viewer) -> None:
        await matching.put_features(
            session, viewer, features=[matching.Features(ada.public_id, [1.0], 7)]
        )
        written.set()
        await gate.wait()

    first = asyncio.create_task(act(held, machine))
    await written.wait()
    longer = [matching.Features(bea.public_id, [1.0, 2.0], 7)]
    second = asyncio.create_task(act(matching.put_features, machine, features=longer))
    _, unfinished = await asyncio.wait({second}, timeout=0.3)
    gate.set()
    await first
    with pytest.raises(Rejected) as refused:
        await second
    assert [(error.code, error.path[-1]) for error in refused.value.errors] == [
        (Code.INVALID, "vector")
    ]
    assert unfinished
    assert await db.fetchval("SELECT count(*) FROM user_features") == 1


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("stories", "title = title || '!'"),
        ("user_profiles", "bio = 'x'"),
        ("user_features", "version = version + 1"),
    ],
)
async def test_a_clock_that_was_set_back_does_not_set_updated_at_back(
    db: asyncpg.Connection, table: str, change: str
) -> None:
    """Whoever has seen a moment, and sends it as ``expectedUpdatedAt``, never meets it again."""
    ada = await make.person(db, "Ada")
    await make.story(db, ada)
    await db.execute(
        "INSERT INTO user_features (user_id, vector, version) VALUES ($1, '[1]', 1)", ada.sub
    )
    # The clock is an hour behind what it was at the last write.
    ahead: datetime = await db.fetchval("SELECT clock_timestamp() + interval '1 hour'")
    await db.execute(f"UPDATE {table} SET updated_at = $1", ahead)
    assert await db.fetchval(f"SELECT updated_at FROM {table}") == ahead
    for number in (1, 2):
        await db.execute(f"UPDATE {table} SET {change}")
        step = await db.fetchval(f"SELECT updated_at FROM {table}") - ahead
        if table != "user_profiles" or number == 1:  # the same text again is no change
            assert step == timedelta(microseconds=number)


async def test_a_moderator_whose_account_is_gone_changes_nothing(
    act: Writer, db: asyncpg.Connection, two_tags: tuple[Row, Row]
) -> None:
    """The token goes on being good until the watch has noticed; the account does not."""
    moderator = await make.person(db, permissions=[permissions.MANAGE_TAGS])
    await db.execute("DELETE FROM users WHERE auth0_sub = $1", moderator.sub)
    one, two = (tag.key for tag in two_tags)
    work: tuple[tuple[Action, dict[str, Any]], ...] = (
        (tags.create, {"name": "moss"}),
        (tags.rename, {"id": one, "name": "moss"}),
        (tags.merge, {"from_id": one, "into_id": two}),
        (tags.delete, {"id": one}),
    )
    for action, given in work:
        with pytest.raises(AccountGone):
            await act(action, moderator, **given)
    assert await db.fetchval("SELECT array_agg(name ORDER BY id) FROM tags") == ["zinnia", "aloe"]
