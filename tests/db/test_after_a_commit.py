"""What was committed is told: whatever happens to the database, the time or the answer after it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
import pytest

from community_gql.db.pool import Lent, Pool
from community_gql.identity.development import DevelopmentIssuer
from community_gql.settings.checks import plain_address
from tests.support import factories as make
from tests.support.client import Answer, Client, serving
from tests.support.statements import watched

CUT_OFF = """
SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'community-gql'
"""
"""Ends the application's connections, and returns when they are gone."""


@contextmanager
def cut_off_behind_the_commit(db: asyncpg.Connection, times: int) -> Iterator[list[str]]:
    """End the connection on which the first statement after a commit is about to run.

    So many ``times``: who tries again is cut off again. Yields what was cut off.
    """
    committed: list[bool] = []
    cut: list[str] = []

    def commit(text: str) -> None:
        if text.startswith(("INSERT", "COMMIT")):  # an INSERT that stands alone commits itself
            committed.append(True)

    async def cut_off(text: str) -> None:
        if committed and len(cut) < times and text.startswith("SELECT"):
            cut.append(text)
            await db.execute(CUT_OFF)

    fetch = Pool.fetch

    async def fetched(self: Pool, lent: Lent, text: str, *given: Any, **options: Any) -> Any:
        await cut_off(text)  # a compiled payload
        return await fetch(self, lent, text, *given, **options)

    Pool.fetch = fetched  # type: ignore[method-assign]
    try:
        with watched(before=cut_off, after=commit):
            yield cut
    finally:
        Pool.fetch = fetch  # type: ignore[method-assign]


@pytest.mark.parametrize("pushdown", ["always", "off"], indirect=True)
@pytest.mark.parametrize("again", [False, True], ids=["once", "whenever it is tried"])
@pytest.mark.parametrize(
    ("selection", "shown"),
    [
        ("habit { name }", {"habit": None}),
        # Nothing that may be null stands between it and the field of the mutation.
        ("query { habits: stories { totalCount } }", None),
    ],
)
async def test_a_connection_that_breaks_behind_the_commit_hides_nothing(
    api: Client, db: asyncpg.Connection, pushdown: str, again: bool, selection: str, shown: Any
) -> None:
    """Compiled, breadth first and in graphql-core's executor: each way is tried after the other."""
    ada = await make.person(db)
    await api.meet(ada)
    ways = 3 if pushdown == "always" else 2
    with cut_off_behind_the_commit(db, ways if again else 1) as cut:
        given = 'input: {name: "walk", frequency: DAILY}'
        answer = await api(f"mutation {{ createHabit({given}) {{ {selection} }} }}", ada)
    assert len(cut) == (ways if again else 1)
    if not again:
        assert answer.status == 200
        assert answer.data["createHabit"] is not None
    else:
        assert (answer.status, answer.codes) == (294, ["UNAVAILABLE"])
        assert answer.body["data"] == {"createHabit": shown}
        # An error below the field says that the mutation itself was carried out.
        (error,) = answer.errors
        assert error["path"][0] == "createHabit"
        assert len(error["path"]) > 1
    assert await db.fetchval("SELECT name FROM habits") == "walk"


async def test_nothing_committed_is_no_partial_answer(api: Client, db: asyncpg.Connection) -> None:
    """The other side: what was refused may be sent again."""
    ada = await make.person(db)
    await api.meet(ada)

    async def break_off(text: str) -> None:
        if "INTO habits" in text:
            await db.execute(CUT_OFF)

    with watched(break_off):
        answer = await api(
            'mutation { createHabit(input: {name: "walk", frequency: DAILY}) { habit { id } } }',
            ada,
        )
    assert (answer.status, answer.codes) == (503, ["UNAVAILABLE"])
    assert "data" not in answer.body
    assert await db.fetchval("SELECT count(*) FROM habits") == 0


async def test_a_timeout_hides_nothing_that_was_committed(
    database_url: str, issuer: DevelopmentIssuer, db: asyncpg.Connection
) -> None:
    """Two mutations are committed, the third waits for a row until the time is over."""
    ada = await make.person(db)
    garden, story = await make.garden(db, ada), await make.story(db, ada, "Moss")
    mutation = f"""mutation {{
      first: createHabit(input: {{name: "walk", frequency: DAILY}}) {{ habit {{ name }} }}
      second: updateGarden(input: {{id: "{garden.id}", name: "Plot"}}) {{ garden {{ name }} }}
      third: updateStory(input: {{id: "{story.id}", title: "Fern"}}) {{ story {{ title }} }}
    }}"""
    one = await asyncpg.connect(plain_address(database_url))
    two = await asyncpg.connect(plain_address(database_url))
    # The second waits as well: so the third has less time than its statement would have.
    settings = {"statement_timeout": 2.9, "request_timeout": 3}
    async with serving(database_url, issuer, **settings) as api:
        await api.meet(ada)
        await one.execute("BEGIN; SELECT FROM gardens FOR UPDATE")
        await two.execute("BEGIN; SELECT FROM stories FOR UPDATE")
        start = asyncio.get_running_loop().time()
        asked = asyncio.create_task(api(mutation, ada))
        await asyncio.sleep(1)
        await one.execute("COMMIT")
        answer: Answer = await asyncio.wait_for(asked, 20)
        took = asyncio.get_running_loop().time() - start
        await two.execute("ROLLBACK")
    await one.close()
    await two.close()

    assert (answer.status, answer.codes) == (294, ["UNAVAILABLE"])
    assert answer.errors[0]["path"] == ["third"]
    assert answer.body["data"] == {
        "first": {"habit": {"name": "walk"}},
        "second": {"garden": {"name": "Plot"}},
        "third": None,
    }
    assert 2.9 < took < 12
    assert await db.fetchval("SELECT title FROM stories") == "Moss"
