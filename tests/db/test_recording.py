"""The record of changes on each server that we support: it is written, told, and can go."""

from __future__ import annotations

import asyncio

import asyncpg

from community_gql.db import migrate
from tests.db.conftest import Connect, Make
from tests.db.test_changes import ADA, BEN, SCENE, WRITES
from tests.support import factories as make_row
from tests.support.live import process, told

NEW = "SELECT entity, key, people FROM changes WHERE xid = pg_current_xact_id()::text::bigint"


async def recorded(db: asyncpg.Connection) -> None:
    """Whatever is written is in the record, for every statement that writes."""
    await db.execute(SCENE)
    for statement, expected in WRITES:
        transaction = db.transaction()
        await transaction.start()
        await db.execute(statement.format(ADA=ADA, BEN=BEN))
        found = {(row[0], row[1], tuple(sorted(row[2]))) for row in await db.fetch(NEW)}
        await transaction.rollback()
        assert found == {(entity, key, tuple(sorted(who))) for entity, key, who in expected}


async def test_the_record_is_written_and_goes_with_its_revision(
    make: Make, connect: Connect
) -> None:
    url = await make("head")
    db = await connect(url)
    await recorded(db)
    await asyncio.to_thread(migrate.downgrade, url, "0010")
    assert await db.fetchval("SELECT to_regclass('changes')") is None
    assert await db.fetchval("SELECT count(*) FROM pg_trigger WHERE tgname ~ '_recorded_'") == 0
    assert await db.fetchval("SELECT count(*) FROM pg_proc WHERE proname ~ '_recorded$'") == 0
    await db.execute("UPDATE stories SET title = 'unseen'")
    await db.execute("DELETE FROM users; DELETE FROM tags")
    await asyncio.to_thread(migrate.upgrade, url)
    await recorded(db)


async def test_what_is_written_is_told_and_resumed(make: Make, connect: Connect) -> None:
    url = await make("head")
    db = await connect(url)
    ada = await make_row.person(db)
    async with process(url) as here:
        follower = await here.begin()
        story = await make_row.story(db, ada, "one")
        await follower.count(1)
        then = follower.moments[-1]
        follower.close()
        await db.execute("UPDATE stories SET title = 'two' WHERE id = $1", story.key)
        resumed = await here.follow(after=then)
        await resumed.count(1)
    assert told(follower) == [("APPEARED", "one")]
    assert told(resumed) == [("CHANGED", "two")]
