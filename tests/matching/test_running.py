"""Runs over a real database: steps, marks, and what others do meanwhile."""

from __future__ import annotations

import asyncpg

from community_gql.matching import running
from tests.support import factories as make


def quiet(what: str, done: int, total: int) -> None:
    pass


async def test_a_run(db: asyncpg.Connection, database_url: str) -> None:
    tags = [await make.tag(db) for _ in range(5)]
    ada = await make.person(db, "Ada", tags=tags[:3])
    bea = await make.person(db, "Bea", tags=tags[1:4])
    await make.person(db, "Cid", tags=tags[4:])
    await make.story(db, ada, tags=[tags[0]])
    await make.people(db, 20)
    report = await running.run(database_url, "built-in", quiet)
    assert report.vectors == 3
    rows = await db.fetch("SELECT user_id, target_user_id, score FROM match_results")
    assert {(row[0], row[1]) for row in rows} == {(ada.sub, bea.sub), (bea.sub, ada.sub)}
    print(rows, await db.fetch("SELECT * FROM user_features"))
    report = await running.run(database_url, "built-in", quiet)
    assert report == running.Report()
