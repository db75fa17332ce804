"""The payload of a mutation is read by a compiled statement, and shows what the loaders show."""

from __future__ import annotations

from typing import Any

import asyncpg
import orjson
import pytest
from graphql.execution import Executor as CoreExecutor

from community_gql.identity.development import DevelopmentIssuer
from community_gql.operations import batched, compiled, mutations
from community_gql.operations.payloads import NOTHING_TO_READ
from tests.support import factories as make
from tests.support import writing
from tests.support.client import Answer, serving
from tests.support.writing import EXAMPLES, MUTATIONS, everything_in, send

ELSE = """
  query {
    __typename
    viewer { email user { id stories(first: 2) { totalCount nodes { title tags { name } } } } }
    stories(first: 3) { edges { cursor node { id author { profile { displayName } } } } }
    tag(name: "moss") { id users { nodes { id } } }
  }
"""
CREATE = """
mutation($title: String!) {
  createStory(input: {title: $title, content: "After the rain.", tags: ["moss", "fern"]}) {
    story { id title author { id } tags { name } }
  }
}
"""


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The response keys whose compiled payload was compared with what the loaders read, twice."""
    keys: list[str] = []

    async def both(self: Any, payloads: Any, key: str, outcome: Any, given: tuple[Any, ...]) -> Any:
        text = await payloads.text(key, outcome)
        completed: Any = CoreExecutor.complete_object_value(self, *given)
        loaded = await completed if self.is_awaitable(completed) else completed
        breadth_first = await self._breadth_first(outcome, *given)
        assert orjson.dumps(breadth_first) == orjson.dumps(loaded)
        if text is not None:
            assert orjson.loads(text) == orjson.loads(orjson.dumps(loaded))
            assert list(orjson.loads(text)) == list(loaded)
            keys.append(key)
        return loaded

    async def by_the_executor(*_: Any) -> None:
        """Leave all of it to the executor, which can read all ways."""

    monkeypatch.setattr(mutations, "run", by_the_executor)
    monkeypatch.setattr(batched._Executor, "_payload", both)
    return keys


@pytest.mark.parametrize("name", MUTATIONS)
async def test_all_ways_read_the_same_payload(
    name: str,
    database_url: str,
    issuer: DevelopmentIssuer,
    db: asyncpg.Connection,
    compared: list[str],
) -> None:
    scene = await writing.scene(db)
    if name == "createGarden":
        await db.execute("DELETE FROM gardens")
    async with serving(database_url, issuer, pushdown="always") as api:
        selection = f"__typename {everything_in(name)} {ELSE}"
        answer = await send(api, scene.actor(name), name, selection, **EXAMPLES[name](scene))
    assert answer.data[name]["userErrors"] == []
    assert compared == [name]


async def test_a_payload_is_compiled_at_its_second_request(
    database_url: str,
    issuer: DevelopmentIssuer,
    db: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiled, "PATIENCE", 60)
    ada = await make.person(db)
    for name in ("moss", "fern"):
        await make.tag(db, name)
    async with serving(database_url, issuer, pushdown="on") as api:
        first, second = [await api(CREATE, ada, title=title) for title in ("1", "2")]
    assert _how(first) == ("loaders", "first sight")
    assert _how(second) == ("compiled", None)
    assert len(second.statements) == 2  # the story with its tags; the payload
    for answer, title in ((first, "1"), (second, "2")):
        story = answer.data["createStory"]["story"]
        assert (story["title"], story["author"]) == (title, {"id": ada.id})
        assert story["tags"] == [{"name": "fern"}, {"name": "moss"}]


async def test_each_of_several_mutations_shows_what_it_committed(
    database_url: str, issuer: DevelopmentIssuer, db: asyncpg.Connection
) -> None:
    ada = await make.person(db)
    query = """mutation {
      a: createHabit(input: {name: "walk", frequency: DAILY}) { habit { name } query { ...count } }
      b: createHabit(input: {name: "walk", frequency: DAILY}) { habit { name } userErrors { code } }
      c: createHabit(input: {name: "read", frequency: DAILY}) { habit { name } query { ...count } }
    }
    fragment count on Query { viewer { user { habits { totalCount } } } }"""
    async with serving(database_url, issuer, pushdown="always") as api:
        answer = await api(query, ada)
    assert answer.data == {
        "a": {"habit": {"name": "walk"}, "query": _count(1)},
        "b": {"habit": None, "userErrors": [{"code": "HABIT_ALREADY_EXISTS"}]},
        "c": {"habit": {"name": "read"}, "query": _count(2)},
    }
    assert _how(answer) == ("compiled", None)


async def test_a_statement_that_fails_is_left_to_the_loaders(
    database_url: str, issuer: DevelopmentIssuer, db: asyncpg.Connection
) -> None:
    scene = await writing.scene(db)
    async with serving(database_url, issuer, pushdown="always") as api:
        await db.execute("UPDATE habits SET meta = 'null'")
        answer = await send(
            api,
            scene.ada,
            "updateProfile",
            "query { viewer { user { habits { nodes { meta } } } } }",
            bio="Hi",
        )
    assert (answer.status, answer.codes) == (294, ["INTERNAL"])
    assert answer.line.fallback_reason.startswith("the statement failed")  # type: ignore[attr-defined]
    assert await db.fetchval("SELECT bio FROM user_profiles WHERE user_id = $1", scene.ada.sub)


async def test_a_payload_without_rows_reads_nothing(
    database_url: str, issuer: DevelopmentIssuer, db: asyncpg.Connection
) -> None:
    scene = await writing.scene(db)
    async with serving(database_url, issuer, pushdown="always") as api:
        answer = await send(api, scene.ada, "deleteHabit", "deletedId", id=scene.habit.id)
    assert answer.data["deleteHabit"]["deletedId"] == scene.habit.id
    assert _how(answer) == ("loaders", NOTHING_TO_READ)


def _how(answer: Answer) -> tuple[str, str | None]:
    return answer.line.executor, answer.line.fallback_reason  # type: ignore[attr-defined]


def _count(number: int) -> dict[str, Any]:
    return {"viewer": {"user": {"habits": {"totalCount": number}}}}
