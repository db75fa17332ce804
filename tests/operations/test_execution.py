"""How queries come to run as one statement, and what stays with the loaders."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest
from graphql import GraphQLField, get_named_type, is_composite_type, is_leaf_type
from sqlalchemy import text, true

from community_gql.db import models as m
from community_gql.db.database import Database, Transaction, opened
from community_gql.db.pool import Lent, Pool
from community_gql.errors import Unavailable
from community_gql.graph import statements as graph_statements
from community_gql.graph import visibility
from community_gql.graph.visibility import ANONYMOUS
from community_gql.http import exchange, rate_limit
from community_gql.identity.development import DevelopmentIssuer
from community_gql.operations import compiled
from community_gql.operations.compiled import COMPILED_FIELD, Pushdown
from community_gql.operations.pipeline import Executor, Operations
from community_gql.operations.prepared import Params
from community_gql.schema.ids import write_id
from tests.operations.asking import Asking, idle
from tests.support import factories as make
from tests.support import graph
from tests.support.client import Client, serving

# --- What is compiled ---


def example(field: GraphQLField) -> str:
    """Arguments for what a field must be given."""
    needed = {"id": '"Tag_1"', "ids": '["Tag_1", "Story_1"]', "name": '"moss"'}
    given = [f"{name}: {needed[name]}" for name in field.args if name in needed]
    return f"({', '.join(given)})" if given else ""


def selected(type_: Any, depth: int) -> str:
    """All fields of a type, as deep as said; nothing of a scalar."""
    if is_leaf_type(type_):
        return ""
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
    for name in graph.nodes():
        spread = f"... on {name} {selected(types[name], 2)}"
        asked[name] = f'{{ node(id: "{write_id(name, 1)}") {{ {spread} }} }}'
    return asked


@pytest.mark.parametrize("start", everything())
async def test_every_type_and_edge_is_compiled(api: Client, start: str) -> None:
    answer = await api(everything()[start])

    assert "errors" not in answer.body
    assert answer.way == "compiled"
    assert len(answer.statements) == 1


@pytest.mark.parametrize("query", ["{ users { totalCount } }"])
async def test_the_log_and_the_extensions_say_which_way(api: Client, query: str) -> None:
    answer = await api(query)

    said = answer.response.json()["extensions"]
    assert said["execution"].pop("milliseconds") > 0
    assert said["execution"] == {"executor": "compiled", "fallbackReason": None, "statements": 1}
    assert said["cost"] == {"requested": answer.line.cost}  # type: ignore[attr-defined]
    assert (answer.line.executor, answer.line.statements) == ("compiled", 1)  # type: ignore[attr-defined]


async def test_a_row_of_which_only_its_key_is_needed_is_not_read(api: Client) -> None:
    query = "{ stories { nodes { author { %s } } } }"
    for asked, read in (
        ("__typename profile { bio } stories { totalCount } tags { name }", False),
        ("createdAt", True),
        ("id", True),
        ("profile { bio } createdAt", True),
    ):
        answer = await api(query % asked)
        assert answer.way == "compiled"
        assert ("FROM users" in answer.statements[0]) == read, asked


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
        graph_statements.pages.cache_clear()
        graph_statements.counts.cache_clear()
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


async def test_what_hangs_on_a_searched_list_is_compiled(api: Client) -> None:
    query = """{ stories(filter: {search: "moss"}) { nodes {
      author { stories { nodes { title } } matches { nodes { score } } friends: tags { name } }
      tags { users { totalCount } } } } }"""

    assert (await api(query)).way == "compiled"


async def test_a_row_that_not_everyone_may_see_is_read(
    database_url: str,
    db: asyncpg.Connection,
    issuer: DevelopmentIssuer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await make.garden(db, await make.person(db))
    query = "{ users { nodes { garden { owner { tags { name } } } } } }"
    rules: dict[Any, Any] = visibility._rules
    monkeypatch.setitem(rules, m.User, lambda user: user.email != "x")
    async with serving(database_url, issuer, pushdown="always") as api:
        answer = await api(query)

    assert answer.way == "compiled"
    assert answer.statements[0].count("FROM users") == 2


@pytest.mark.parametrize(
    ("wrong", "query"),
    [
        ("user_features SET vector = '[0.5, null]'", "{ viewer { email features { vector } } }"),
        ("user_features SET vector = '[0.5, \"x\"]'", "{ viewer { email features { vector } } }"),
        ("user_features SET vector = '{}'", "{ viewer { email features { vector } } }"),
        ("habits SET meta = 'null'", "{ viewer { user { habits { nodes { meta } } } } }"),
    ],
)
async def test_null_where_the_schema_has_none_is_an_error_either_way(
    database_url: str, db: asyncpg.Connection, issuer: DevelopmentIssuer, wrong: str, query: str
) -> None:
    ada = await make.person(db)
    await make.features(db, ada, [0.5])
    await make.habit(db, ada)
    await db.execute(f"UPDATE {wrong}")
    bodies = []
    for way in ("always", "off"):
        async with serving(database_url, issuer, pushdown=way) as api:
            answer = await api(query, ada)
            bodies.append((answer.status, answer.body["data"], answer.codes))
            ran = answer.line.executor, answer.line.fallback_reason  # type: ignore[attr-defined]
            if way == "always":
                assert ran == ("loaders", "the statement failed: 22P02")

    assert bodies[0] == bodies[1]


# --- The second sight ---


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened(database_url, pool_size=2) as database:
        yield database


@pytest.mark.parametrize("patience", [0, 60])
async def test_a_query_is_compiled_at_its_second_sight(database: Database, patience: int) -> None:
    pushdown = Pushdown()
    pushdown.patience = patience
    way = Asking(pushdown, database)
    query = "query($n: Int, $after: String) { tags(first: $n, after: $after) { totalCount } }"
    waited = Executor.COMPILED if patience else "being compiled"

    assert await way(query) == "first sight"
    assert await way(query) == waited
    await idle(pushdown)
    assert await way(query) == Executor.COMPILED
    assert await way(query, n=20) == Executor.COMPILED, "20 is what it is without"
    assert await way(query, n=7) == waited, "the size guides the planner"
    await idle(pushdown)
    assert await way(query, n=7) == Executor.COMPILED
    assert len(pushdown.statements) == 2
    pushdown.close()


async def test_it_is_begun_after_the_first_answer_unless_another_is_being_made(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    made = compiled._compiled
    monkeypatch.setattr(compiled, "_compiled", lambda *given: go_on.wait() and made(*given))
    operations = Operations(database)
    operations.pushdown.patience = 0
    prepared = [
        operations.prepare(Params(f"{{ a{n}: tags {{ totalCount }} }}"), open_schema=True)
        for n in range(2)
    ]
    charged: list[int] = []

    async def afford(points: int) -> bool:
        charged.append(points)
        return True

    async def reasons() -> list[str | None]:
        outcomes = [await operations.execute(one, ANONYMOUS, afford=afford) for one in prepared]
        return [outcome.fallback_reason for outcome in outcomes]

    try:
        assert await reasons() == ["first sight"] * 2
        assert charged == [2 * COMPILED_FIELD]
        assert await reasons() == ["being compiled"] * 2
        assert charged == [2 * COMPILED_FIELD] * 2
    finally:
        go_on.set()
    await idle(operations.pushdown)
    assert await reasons() == [None, None]
    operations.close()


async def test_forms_of_arguments_and_switches_have_statements_of_their_own(
    database: Database,
) -> None:
    pushdown = Pushdown("always")
    way = Asking(pushdown, database)
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
        assert await way(query, **variables) == Executor.COMPILED
        assert len(pushdown.statements) == statements, variables


# --- What compiling is charged ---


async def test_a_compilation_is_charged_once_and_beside_the_cost(
    database_url: str, issuer: DevelopmentIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = "{ tags { nodes { ...T } } users { nodes { tags { ...T } } } } fragment T on Tag { id }"
    monkeypatch.setattr(rate_limit, "MINUTE", 10**12)  # nothing is refilled meanwhile
    monkeypatch.setattr(exchange, "POINTS_PER_MILLISECOND", 0)  # nor charged for time
    async with serving(database_url, issuer, pushdown="on") as api:
        answers = [await api(query)]
        while answers[-1].way != "compiled" or len(answers) < 5:
            answers.append(await api(query))
    (cost,) = {answer.body["extensions"]["cost"]["requested"] for answer in answers}
    held = [int(answer.response.headers["ratelimit-remaining"]) for answer in answers]
    spent = [before - after for before, after in itertools.pairwise(held)]

    assert answers[0].way == "loaders first sight"
    full = int(answers[0].response.headers["ratelimit-limit"])
    read = full - held[0] - cost - 7 * COMPILED_FIELD
    assert 0 < read < 200  # for each token of the new document
    assert spent == [cost] * len(spent)


# --- On the connection ---


async def test_a_connection_keeps_a_bounded_number_of_prepared_statements(
    database_url: str,
) -> None:
    async with opened(database_url, pool_size=1) as database:
        for n in range(200):
            assert await database.value(f"SELECT {n}::text", []) == str(n)
        count = await database.value("SELECT count(*) FROM pg_prepared_statements", [])
    async with opened(database_url, pgbouncer=True) as database:
        query = "SELECT count(*) FROM pg_prepared_statements"
        assert await database.value(query, []) == 0

    assert 50 < count <= 133


PLANNED = {
    "{ stories { nodes { title } } }": False,
    "{ stories(filter: {}) { nodes { title } } }": False,
    '{ stories(filter: {search: "moss"}) { nodes { title } } }': False,
    '{ stories(filter: {search: "moss"}, orderBy: RELEVANCE) { nodes { title } } }': False,
    '{ users { nodes { stories(filter: {tagsAny: ["moss"]}) { nodes { title } } } } }': False,
    '{stories(filter: {search: "a", createdBefore: "2026-01-01T00:00:00Z"}) {nodes {id}}}': False,
    '{stories(filter: {search: "a", createdAfter: "2026-01-01T00:00:00Z"}) {nodes {id}}}': False,
    '{ users(filter: {search: "m"}) { nodes { id } } }': False,
    '{ tags(filter: {prefix: "m"}) { nodes { id } } }': True,
    '{ users(filter: {tag: "moss"}) { nodes { id } } }': False,
}
"""Queries, and whether PostgreSQL plans them for their values."""


@pytest.mark.parametrize("pushdown", ["always", "off"])
async def test_what_filters_select_is_planned_for_its_values(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, fetch = Pool.plan, Pool.fetch
    asked = []

    async def noted(self: Pool, lent: Lent, custom_plan: bool) -> None:
        asked.append(custom_plan)
        await plan(self, lent, custom_plan)

    def fetched(self: Pool, lent: Lent, text: str, values: Any, *, custom_plan: bool) -> Any:
        asked.append(custom_plan)
        lent.custom_plan = custom_plan  # so that it is not noted twice
        return fetch(self, lent, text, values, custom_plan=custom_plan)

    monkeypatch.setattr(Pool, "plan", noted)
    monkeypatch.setattr(Pool, "fetch", fetched)
    for query in PLANNED:
        assert (await api(query)).status == 200

    assert asked == list(PLANNED.values())


@pytest.mark.parametrize("anew", [False, True])
async def test_a_statement_is_planned_for_its_values_or_for_all(
    database_url: str, anew: bool
) -> None:
    plans = (
        "SELECT json_build_array(custom_plans, generic_plans)::text FROM pg_prepared_statements "
        "WHERE statement LIKE '%length%' AND statement NOT LIKE '%pg_prepared%'"
    )
    async with opened(database_url, pool_size=1) as database:
        for n in range(8):
            values = ["a" * n]
            assert await database.value("SELECT length($1::text)", values, custom_plan=anew) == n
        assert await database.value(plans, [], custom_plan=anew) == ("[8, 0]" if anew else "[0, 8]")
        snapshot = database.snapshot(custom_plan=not anew)
        (row,) = await snapshot.run(text("SELECT current_setting('plan_cache_mode')"), {})
        await snapshot.close()
        assert row[0] == ("force_generic_plan" if anew else "force_custom_plan")


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
    async with opened(database_url, pool_size=1, pool_timeout=20) as database:
        task = asyncio.create_task(database.value("SELECT pg_sleep(60)::text", []))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await database.value("SELECT 'on'", []) == "on"


async def test_a_statement_that_takes_too_long_is_not_tried_again(database_url: str) -> None:
    async with opened(database_url, statement_timeout=0.2) as database:
        with pytest.raises(Unavailable, match="too long"):
            await database.value("SELECT pg_sleep(10)::text", ())


async def test_a_kept_connection_is_nobodys_wait(database_url: str) -> None:
    """Statements keep their connection at hand, but writers and snapshots come first."""

    async def write(transaction: Transaction) -> Sequence[Any]:
        return await transaction.run(text("SELECT 1"))

    async with opened(database_url, pool_size=1, pool_timeout=2) as database:
        backend = "SELECT pg_backend_pid()"
        first = await database.value(backend, [])
        assert await database.value(backend, []) == first
        # One at a time: it is given back for them.
        await database.write(write)
        snapshot = database.snapshot()
        await snapshot.run(text("SELECT 1"), {})
        await snapshot.close()
        # All at once, with a single connection: none of them starves.
        statements = [database.value("SELECT 1 FROM pg_sleep(0.005)", []) for _ in range(40)]
        await asyncio.gather(*statements, *(database.write(write) for _ in range(10)))
        assert await database.value(backend, []) == first
        assert database.pool.turns.waiting == 0


async def test_kept_connections_are_closed_with_the_database(
    database_url: str, db: asyncpg.Connection
) -> None:
    async with opened(database_url, pool_size=3) as database:
        await asyncio.gather(*(database.value("SELECT 1 FROM pg_sleep(0.05)", []) for _ in "abc"))
        assert len(database.pool._ready) == 3
    left = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE application_name = 'community-gql' AND datname = current_database()"
    )
    async with asyncio.timeout(60):
        while await db.fetchval(left):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
