"""How queries come to run as one statement, what stays with the loaders, and what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
from graphql import GraphQLField, get_named_type, is_composite_type, parse
from sqlalchemy import true

import factories as make
import graph
from client import Client, serving
from community_gql import loaders, visibility
from community_gql import models as m
from community_gql.api.context import Context
from community_gql.api.ids import write_id
from community_gql.database import Database, opened
from community_gql.errors import Unavailable
from community_gql.identity.development import DevelopmentIssuer
from community_gql.pushdown import execution
from community_gql.pushdown.execution import Pushdown, Way
from community_gql.pushdown.plans import Kept
from community_gql.visibility import ANONYMOUS

# --- What is compiled ---


def example(field: GraphQLField) -> str:
    """Arguments for what a field must be given."""
    needed = {"id": '"VGFnOjE"', "ids": '["VGFnOjE", "U3Rvcnk6MQ"]', "name": '"moss"'}
    given = [f"{name}: {needed[name]}" for name in field.args if name in needed]
    return f"({', '.join(given)})" if given else ""


def selected(type_: Any, depth: int) -> str:
    """All fields of a type, as deep as said."""
    parts = []
    for name, field in type_.fields.items():
        inner = get_named_type(field.type)
        if not is_composite_type(inner):
            parts.append(name)
        elif depth:
            parts.append(f"{name}{example(field)} {selected(inner, depth - 1)}")
    return "{ __typename " + " ".join(parts) + " }"


def everything() -> dict[str, str]:
    """A query for every field of Query, and for every type that ``node`` finds."""
    types = graph.readable_types()
    query: Any = types["Query"]
    asked = {
        f"Query.{name}": f"{{ {name}{example(field)} {selected(get_named_type(field.type), 2)} }}"
        for name, field in query.fields.items()
    }
    for name in ("User", "Story", "Habit", "Garden", "Tag", "Match", "Friendship"):
        spread = f"... on {name} {selected(types[name], 2)}"
        asked[name] = f'{{ node(id: "{write_id(name, 1)}") {{ {spread} }} }}'
    return asked


@pytest.mark.parametrize("start", everything())
async def test_every_type_and_edge_is_compiled(api: Client, start: str) -> None:
    answer = await api(everything()[start])

    assert "errors" not in answer.body
    assert answer.way == "compiled"
    assert len(answer.statements) == 1


LEFT = {
    "{ __schema { queryType { name } } }": "loaders __schema is not a field of ours",
    'mutation { createTag(input: {name: "moss"}) { __typename } }': "loaders not a query",
    "{ users(first: 101) { totalCount } }": "loaders wrong arguments",
    "query($n: Int!) { users(first: $n) { totalCount } }": "loaders wrong variables",
}
"""All that is left to the loaders, and why."""


@pytest.mark.parametrize("query", LEFT)
async def test_what_is_left_to_the_loaders_says_why(api: Client, query: str) -> None:
    answer = await api(query, None)

    assert f"{answer.line.way} {answer.line.why}" == LEFT[query]  # type: ignore[attr-defined]


@pytest.mark.parametrize("query", ["{ users { totalCount } }"])
async def test_the_log_and_the_extensions_say_which_way(api: Client, query: str) -> None:
    answer = await api(query)

    said = answer.response.json()["extensions"]
    assert said["execution"].pop("milliseconds") > 0
    assert said["execution"] == {"way": "compiled", "why": None, "statements": 1}
    assert said["cost"] == {"requested": answer.line.cost}  # type: ignore[attr-defined]
    assert (answer.line.way, answer.line.statements) == ("compiled", 1)  # type: ignore[attr-defined]


# --- A rule, an error ---

FEED = "{ stories { totalCount nodes { title } } }"


async def test_both_ways_follow_the_rule_of_visibility(
    database_url: str,
    db: asyncpg.Connection,
    issuer: DevelopmentIssuer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ada = await make.person(db)
    await make.story(db, ada, "seen", visibility="public")
    await make.story(db, ada, "hidden", visibility="private")

    async def found(way: str) -> set[str]:
        # The loaders keep statements for the whole process.
        loaders._pages.cache_clear()
        loaders._counts.cache_clear()
        async with serving(database_url, issuer, pushdown=way) as api:
            data = (await api(FEED)).data["stories"]
        assert data["totalCount"] == len(data["nodes"])
        return {node["title"] for node in data["nodes"]}

    assert await found("always") == await found("off") == {"seen"}
    rules: dict[Any, Any] = visibility._rules
    monkeypatch.setitem(rules, m.Story, lambda _: true())
    assert await found("always") == await found("off") == {"seen", "hidden"}
    monkeypatch.setitem(rules, m.Story, lambda story: story.title == "hidden")
    assert await found("always") == await found("off") == {"hidden"}
    monkeypatch.undo()
    assert await found("always") == {"seen"}
    await found("off")


async def test_null_where_the_schema_has_none_is_an_error_either_way(
    database_url: str, db: asyncpg.Connection, issuer: DevelopmentIssuer
) -> None:
    ada = await make.person(db)
    await make.features(db, ada, [0.5])
    await db.execute("UPDATE user_features SET vector = '[0.5, \"x\"]'")
    query = "{ viewer { email features { version vector } } }"
    bodies = []
    for way in ("always", "off"):
        async with serving(database_url, issuer, pushdown=way) as api:
            answer = await api(query, ada)
            bodies.append((answer.status, answer.body["data"], answer.codes))
            ran = answer.line.way, answer.line.why  # type: ignore[attr-defined]
            if way == "always":
                assert ran == ("loaders", "the statement failed: 22P02")

    assert bodies[0] == bodies[1]


# --- The second sight ---


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened(database_url, pool_size=2) as database:
        yield database


async def free(_: int) -> None:
    """Charges nothing."""


async def way(pushdown: Pushdown, database: Database, text: str, **variables: Any) -> str:
    """How a query is run, and why."""
    document = parse(text)
    context = Context(ANONYMOUS, database)
    try:
        ran = await pushdown.run(document, document.definitions[0], variables, context, free)  # type: ignore[arg-type]
        return ran.why or ran.way
    finally:
        await context.close()


async def compiled(pushdown: Pushdown) -> None:
    """Wait until nothing is being compiled."""
    while pushdown._compiling:
        await asyncio.wait(list(pushdown._compiling.values()))
        await asyncio.sleep(0)


async def test_a_query_is_compiled_at_its_second_sight(database: Database) -> None:
    pushdown = Pushdown()
    query = "query($n: Int, $after: String) { tags(first: $n, after: $after) { totalCount } }"

    assert await way(pushdown, database, query) == "first sight"
    assert await way(pushdown, database, query) == "being compiled"
    await compiled(pushdown)
    assert await way(pushdown, database, query) == Way.COMPILED
    assert await way(pushdown, database, query, n=7) == Way.COMPILED
    assert await way(pushdown, database, query, n=101) == "wrong arguments"
    assert await way(pushdown, database, query, after="bm9uc2Vuc2U") == "wrong arguments"
    assert len(pushdown.statements) == 1
    pushdown.close()


async def test_forms_of_arguments_and_switches_have_statements_of_their_own(
    database: Database,
) -> None:
    pushdown = Pushdown("always")
    query = """query($id: ID!, $yes: Boolean = true, $o: StoryOrder, $f: StoryFilter) {
      node(id: $id) { id } stories(orderBy: $o, filter: $f) @include(if: $yes) { totalCount }
    }"""
    tag, other, story = (write_id(t, n) for t, n in (("Tag", 1), ("Tag", 2), ("Story", 1)))

    for variables, statements in (
        ({"id": tag}, 1),
        ({"id": other}, 1),
        ({"id": story}, 2),
        ({"id": "nonsense"}, 3),
        ({"id": tag, "yes": False}, 4),
        ({"id": tag, "o": "NEWEST", "f": {}}, 4),  # what is there without
        ({"id": tag, "o": "OLDEST"}, 5),
        ({"id": tag, "f": {"search": "moss"}}, 6),
        ({"id": tag, "f": {"search": "rain"}}, 6),
    ):
        assert await way(pushdown, database, query, **variables) == Way.COMPILED
        assert len(pushdown.statements) == statements, variables


async def test_switched_off_it_leaves_all_to_the_loaders(database: Database) -> None:
    assert await way(Pushdown("off"), database, FEED) == "switched off"


async def test_what_cannot_be_compiled_is_tried_once(database: Database) -> None:
    pushdown = Pushdown("always")
    fragments = [
        f"fragment F{n} on User {{ id a: garden {{ owner {{ ...F{n + 1} }} }} "
        f"b: garden {{ owner {{ ...F{n + 1} }} }} }}"
        for n in range(14)
    ]
    query = "{ users { nodes { ...F0 } } } " + " ".join(fragments) + "fragment F14 on User { id }"

    assert await way(pushdown, database, query) == "too many fields"
    assert await way(pushdown, database, query) == "too many fields"
    assert len(pushdown.statements) == 1


# --- Bounds ---


def test_what_is_kept_has_a_bound() -> None:
    kept: Kept[int] = Kept(100)
    for n in range(50):
        kept.put(n, n, 10)
        kept.get(40)
    assert len(kept) == 10
    assert kept.bytes == 100
    assert [n for n in range(50) if kept.get(n) is not None] == [*range(40, 50)]
    kept.put(49, 0, 30)
    assert (len(kept), kept.bytes) == (8, 100)
    kept.put("too large", 1, 101)
    assert kept.get("too large") is None
    assert kept.bytes == 100


@pytest.mark.parametrize("new", [lambda n: n, lambda n: n // 3])
async def test_ever_new_documents_do_not_grow_what_is_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch, new: Callable[[int], int]
) -> None:
    for name in ("STATEMENTS_BYTES", "READINGS_BYTES", "SIGHTS_BYTES"):
        monkeypatch.setattr(execution, name, 20_000)
    pushdown = Pushdown()

    for n in range(300):
        await way(pushdown, database, f"{{ a{new(n)}: tags(first: 1) {{ totalCount }} }}")
        assert len(pushdown._compiling) <= execution.WAITING
        for kept in (pushdown.operations, pushdown.readings, pushdown.statements, pushdown.sights):
            assert kept.bytes <= 20_000
            assert len(kept) <= 100
    await compiled(pushdown)
    pushdown.close()


async def test_a_connection_keeps_a_bounded_number_of_prepared_statements(
    database_url: str,
) -> None:
    async with opened(database_url, pool_size=1) as database:
        for n in range(130):
            assert await database.value(f"SELECT {n}::text", []) == str(n)
        count = await database.value("SELECT count(*) FROM pg_prepared_statements", [])
    async with opened(database_url, pgbouncer=True) as database:
        query = "SELECT count(*) FROM pg_prepared_statements"
        assert await database.value(query, []) == 0

    assert 50 < count <= 110


# --- The database away ---


async def test_a_broken_connection_is_unavailable_once(
    database_url: str, db: asyncpg.Connection, issuer: DevelopmentIssuer
) -> None:
    async with serving(database_url, issuer, pushdown="always") as api:
        for answer in await asyncio.gather(*(api(FEED) for _ in range(5))):
            assert answer.data["stories"]["totalCount"] == 0
        await db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'community-gql'"
        )
        await asyncio.sleep(0.05)
        broken = await api(FEED)
        if "errors" in broken.body:  # unless the pool saw in time that it was closed
            assert (broken.status, broken.codes) == (503, ["UNAVAILABLE"])
        for _ in range(3):  # the other connections of before are not lent any more
            assert (await api(FEED)).data["stories"]["totalCount"] == 0


async def test_a_fault_shows_nothing_of_the_inside(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> Any:
        raise RuntimeError("SELECT secret")

    monkeypatch.setattr(Database, "value", fail)
    answer = await api(FEED)

    assert (answer.status, answer.codes) == (500, ["INTERNAL"])
    assert "secret" not in answer.response.text


async def test_a_cancelled_request_gives_its_connection_back(database_url: str) -> None:
    async with opened(database_url, pool_size=1, pool_timeout=2) as database:
        task = asyncio.create_task(database.value("SELECT pg_sleep(5)::text", []))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await database.value("SELECT 'on'", []) == "on"


async def test_a_statement_that_takes_too_long_is_not_tried_again(database_url: str) -> None:
    async with opened(database_url, statement_timeout=0.2) as database:
        with pytest.raises(Unavailable, match="too long"):
            await database.value("SELECT pg_sleep(10)::text", ())
