"""Queries run breadth first: what is known, what is asked, and what is left to graphql-core."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from community_gql.db.database import Database, opened
from community_gql.db.snapshot import Snapshot
from community_gql.errors import Unavailable
from community_gql.graph.visibility import Viewer
from community_gql.operations import batched, breadth
from community_gql.operations.pipeline import Operations, Outcome
from community_gql.operations.prepared import Params
from community_gql.schema.ids import write_id
from community_gql.schema.kinds import EdgeField, declared
from community_gql.schema.query import NodesField
from tests.operations.test_execution import everything
from tests.support import factories as make
from tests.support import graph
from tests.support.factories import Person


class Asked:
    """Both ways of the loaders, and what ran in graphql-core's executor."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ways = {
            breadth_first: Operations(
                database, pushdown="off", cost_limit=10**12, breadth_first=breadth_first
            )
            for breadth_first in (True, False)
        }
        self.depth_first = 0
        """How often graphql-core's executor ran."""
        run = batched._depth_first

        async def noted(*given: Any) -> Any:
            self.depth_first += 1
            return await run(*given)

        monkeypatch.setattr(batched, "_depth_first", noted)

    async def __call__(
        self, text: str, viewer: Person | None = None, *, breadth_first: bool = True
    ) -> Outcome:
        """The outcome of a query."""
        way = self._ways[breadth_first]
        prepared = way.prepare(Params(text), open_schema=True)
        return await way.execute(prepared, Viewer(viewer.sub if viewer else None))


@pytest.fixture
async def asked(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Asked]:
    async with opened(database_url, pool_size=2) as database:
        yield Asked(database, monkeypatch)


def test_every_field_that_can_be_read_is_known() -> None:
    for coordinate, definition in graph.readable_fields():
        type_name, name = coordinate.split(".")
        field = declared(definition)
        if isinstance(field, EdgeField):
            kind = type(field)
            assert kind.resolve is EdgeField.resolve or kind is NodesField, coordinate
            assert kind.batch is not EdgeField.batch or kind is NodesField, coordinate
        elif "totalCount" not in name:
            assert callable(breadth._reader(type_name, name)), coordinate


@pytest.mark.parametrize("start", everything())
async def test_everything_is_read_breadth_first(asked: Asked, start: str) -> None:
    outcome = await asked(everything()[start])
    assert not outcome.errors
    assert asked.depth_first == 0


NESTED = """{
  viewer { user { ...U } friends { nodes { ...U } } }
  users { totalCount totalCountIsExact nodes { ...U } edges { cursor node { tags { id } } } }
  nodes(ids: ["%s", "%s", "nothing", "%s"]) { id ... on Story { title author { id } } }
}
fragment U on User {
  id profile { displayName user { id } }
  a: stories(first: 2) { totalCount nodes { ...S } } b: stories(first: 2) { nodes { excerpt } }
}
fragment S on Story { title excerpt(length: 3) tags { name stories { totalCount } } }
"""


async def test_no_more_statements_than_in_graphql_cores_executor(
    asked: Asked, db: asyncpg.Connection
) -> None:
    ada, ben = await make.person(db, "Ada"), await make.person(db, "Ben")
    await make.friendship(db, ada, ben)
    moss = await make.tag(db, "moss")
    stories = [await make.story(db, who, tags=[moss]) for who in (ada, ben, ben)]
    query = NESTED % (stories[2].id, stories[0].id, ada.id)

    here = await asked(query, ada)
    there = await asked(query, ada, breadth_first=False)

    assert asked.depth_first == 1
    assert here.data == there.data
    assert str(here.data) == str(there.data), "the members are in the same order"
    # Where both ways wait for the same at different times, this one asks for it at once.
    assert 0 < here.statements <= there.statements


async def test_what_two_fields_of_a_level_ask_for_is_one_statement(
    asked: Asked, db: asyncpg.Connection
) -> None:
    await make.person(db, "Ada", tags=[await make.tag(db, "moss")])
    outcome = await asked("{ users { nodes { a: tags { id } b: tags { name } } } }")
    assert outcome.statements == 2


async def test_a_statement_that_the_database_cannot_run_now_is_not_run_again(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = 0

    async def away(*_: Any) -> Any:
        nonlocal runs
        runs += 1
        raise Unavailable("away")

    monkeypatch.setattr(Snapshot, "run", away)
    with pytest.raises(Unavailable):
        await asked(
            '{ user(id: "%s") { id } }' % write_id("User", "0" * 8 + "-0000" * 3 + "-" + "0" * 12)
        )
    assert (runs, asked.depth_first) == (1, 0)


async def test_what_does_not_fit_the_schema_is_told_by_graphql_core(
    asked: Asked, db: asyncpg.Connection
) -> None:
    ada = await make.person(db, "Ada")
    await make.habit(db, ada)
    await db.execute("UPDATE habits SET meta = 'null'")
    outcome = await asked("{ viewer { user { habits { nodes { id meta } } } } }", ada)
    (error,) = outcome.errors
    assert error.path == ["viewer", "user", "habits", "nodes", 0, "meta"]
    assert outcome.data == {"viewer": None}
    assert asked.depth_first == 1


async def test_a_mistake_of_this_way_takes_no_answer_away(
    asked: Asked, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(breadth, "run", broken)
    outcome = await asked("{ tags { totalCount } }")
    assert outcome.data == {"tags": {"totalCount": 0}}
    assert asked.depth_first == 1
    assert "failed breadth first alone" in caplog.text


async def test_introspection_is_graphql_cores(asked: Asked) -> None:
    outcome = await asked("{ tags { totalCount } __schema { queryType { name } } }")
    assert outcome.data == {
        "tags": {"totalCount": 0},
        "__schema": {"queryType": {"name": "Query"}},
    }
    assert (asked.depth_first, outcome.statements) == (1, 2), "nothing was read in vain"
