"""Lists that are written at once hold nobody whom the foreign keys would have refused."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from community_gql.matching import batches, stored, unchecked
from community_gql.matching.running import connected
from community_gql.matching.stored import Change
from tests.matching.conftest import community, lists, made_anew, matched
from tests.support import factories as make
from tests.support.factories import Person

pytestmark = pytest.mark.usefixtures("small_steps")
RIGHTS = """
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {0};
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {0}
"""
RECORDED = "SELECT key, people FROM changes WHERE entity = 'match_results' ORDER BY 1"


async def test_lists_and_records_are_those_of_a_role_without_the_right(
    db: asyncpg.Connection, database_url: str, guest: str, guest_url: str
) -> None:
    await db.execute(RIGHTS.format(guest))
    await community(db, 40, random.Random(1))
    async with connected(database_url) as one, connected(guest_url) as other:
        assert await unchecked.allowed(one)
        assert not await unchecked.allowed(other)
    await matched(database_url)
    found, recorded = await lists(db), await db.fetch(RECORDED)
    assert len(found) > 10
    assert [tuple(row) for row in recorded] == [(sub, [sub]) for sub in sorted(found)]
    await db.execute("DELETE FROM match_results; DELETE FROM changes")
    assert await made_anew(db, guest_url) == found
    assert await db.fetch(RECORDED) == recorded


async def test_who_may_write_so(db: asyncpg.Connection, guest: str, guest_url: str) -> None:
    await db.execute(RIGHTS.format(guest))
    await db.execute(f"GRANT SET ON PARAMETER session_replication_role TO {guest}")
    try:
        async with connected(guest_url) as one:
            assert await unchecked.allowed(one)
            await db.execute(f"REVOKE UPDATE ON users FROM {guest}")
            assert not await unchecked.allowed(one)
            await db.execute(f"GRANT UPDATE (email) ON users TO {guest}")
            assert await unchecked.allowed(one)
            await db.execute(f"REVOKE INSERT ON changes FROM {guest}")
            assert not await unchecked.allowed(one)
    finally:
        await db.execute(f"REVOKE ALL ON PARAMETER session_replication_role FROM {guest}")


@pytest.mark.parametrize(
    ("change", "back"),
    [
        (
            "CREATE TRIGGER theirs AFTER INSERT ON match_results "
            "FOR EACH STATEMENT EXECUTE FUNCTION people_recorded()",
            "DROP TRIGGER theirs ON match_results",
        ),
        (
            "ALTER TABLE match_results DISABLE TRIGGER match_results_recorded_insert",
            "ALTER TABLE match_results ENABLE TRIGGER match_results_recorded_insert",
        ),
    ],
)
async def test_triggers_that_are_not_known(db: asyncpg.Connection, change: str, back: str) -> None:
    assert await unchecked.allowed(db)
    await db.execute(change)
    try:
        assert not await unchecked.allowed(db)
    finally:
        await db.execute(back)


async def writing(url: str, then: Callable[[], Awaitable[None]], owner: Person, *of: Person) -> int:
    """Write a list of these people in a transaction, which commits after ``then``."""
    change = {owner.sub: Change([], [(one.sub, 500_000) for one in of], None)}

    async with connected(url) as connection:

        async def work() -> int:
            count = await stored.write(connection, change, (), locks=True)
            await then()
            return count

        count: int = await batches.transaction(connection, work)
        return count


async def test_whoever_is_deleted_afterwards_is_taken_out(
    db: asyncpg.Connection, database_url: str
) -> None:
    ada, bea, cid = await make.people(db, 3)
    deleting: list[asyncio.Task[str]] = []

    async def delete() -> None:
        deleting.append(
            asyncio.create_task(db.execute("DELETE FROM users WHERE auth0_sub = $1", bea.sub))
        )
        done, _ = await asyncio.wait(deleting, timeout=0.3)
        assert not done  # it waits, and so it sees the rows

    assert await writing(database_url, delete, ada, bea, cid) == 2
    await asyncio.gather(*deleting)
    assert await lists(db) == {ada.sub: [(cid.sub, 0.5)]}


@pytest.mark.parametrize("who", ["owner", "other"])
async def test_nobody_is_listed_who_was_deleted_before(
    db: asyncpg.Connection, database_url: str, who: str
) -> None:
    ada, bea, cid = await make.people(db, 3)
    gone = ada if who == "owner" else bea

    async def nothing() -> None:
        pass

    async with db.transaction():
        await db.execute("DELETE FROM users WHERE auth0_sub = $1", gone.sub)
        run = asyncio.create_task(writing(database_url, nothing, ada, bea, cid))
        done, _ = await asyncio.wait([run], timeout=0.3)
        assert not done  # it waits for the deletion
    with pytest.raises(unchecked.PersonDeleted):  # each time that it was tried
        await run
    assert await lists(db) == {}
