"""What is prepared once runs many times; no request of HTTP is needed for either."""

from __future__ import annotations

from typing import Any

import asyncpg
import orjson
import pytest

from community_gql.db.database import opened
from community_gql.db.stopwatch import Stopwatch
from community_gql.errors import BadRequest, PublicError
from community_gql.graph.finding import NEAR_ROWS
from community_gql.graph.visibility import ANONYMOUS, Viewer
from community_gql.operations.compiled import Mode
from community_gql.operations.documents import Refused, TrustedDocuments
from community_gql.operations.hot import HotDocuments
from community_gql.operations.pipeline import Executor, Operations
from community_gql.operations.prepared import Params
from tests.support import factories as make

VIEWER = "query Mine($n: Int) { viewer { email } stories(first: $n) { nodes { title } } }"


def read(data: bytes | dict[str, Any] | None) -> Any:
    return orjson.loads(data) if isinstance(data, bytes) else data


@pytest.mark.parametrize("mode", ["always", "off"])
async def test_an_operation_is_prepared_once_and_executed_for_many_viewers(
    database_url: str, db: asyncpg.Connection, mode: Mode
) -> None:
    ada, ben = await make.person(db), await make.person(db)
    await make.story(db, ada, title="for her alone", visibility="private")

    async with opened(database_url) as database:
        operations = Operations(database, pushdown=mode)
        prepared = operations.prepare(Params(VIEWER, variables={"n": 5}), open_schema=True)
        told = [
            await operations.execute(prepared, viewer)
            for viewer in (Viewer(ada.sub), ANONYMOUS, Viewer(ben.sub), Viewer(ada.sub))
        ]
        await make.story(db, ben, title="new", visibility="public")
        later = await operations.execute(prepared, ANONYMOUS)
        operations.close()

    mine = {"viewer": {"email": ada.email}, "stories": {"nodes": [{"title": "for her alone"}]}}
    nobody: Any = {"viewer": None, "stories": {"nodes": []}}
    bens = {"viewer": {"email": ben.email}, "stories": {"nodes": []}}
    assert [read(outcome.data) for outcome in told] == [mine, nobody, bens, mine]
    assert read(later.data) == {"viewer": None, "stories": {"nodes": [{"title": "new"}]}}
    executor = Executor.COMPILED if mode == "always" else Executor.LOADERS
    assert {outcome.executor for outcome in told} == {executor}
    assert all(outcome.statements and outcome.database_seconds > 0 for outcome in told)


async def test_time_in_the_database_is_counted_when_the_operation_fails(database_url: str) -> None:
    async with opened(database_url, statement_timeout=0.05) as database:
        stopwatch = Stopwatch()
        with pytest.raises(PublicError):
            await database.value("SELECT pg_sleep(60)::text", [], stopwatch=stopwatch)

    assert 0.04 < stopwatch.seconds < 20


async def test_an_operation_is_judged_by_itself_and_its_fragments(database_url: str) -> None:
    """Another operation of the document may use a variable of the same name as it likes."""
    both = (
        "query A($x: Boolean!) { viewer { email @skip(if: $x) } } "
        "query B($x: [String!]) { stories(filter: {tagsAny: $x}, first: 1) { nodes { id } } }"
    )
    shared = (
        "query A($x: Boolean!) { ...F } query B($x: Boolean!) { ...F } "
        "fragment F on Query { ...G } fragment G on Query { viewer @include(if: $x) { email } }"
    )

    async with opened(database_url) as database:
        operations = Operations(database, pushdown="always")

        async def ask(text: str, name: str, x: Any) -> Any:
            params = Params(text, variables={"x": x}, operation_name=name)
            prepared = operations.prepare(params, open_schema=True)
            return read((await operations.execute(prepared, ANONYMOUS)).data)

        assert await ask(both, "B", ["a"]) == {"stories": {"nodes": []}}
        assert await ask(both, "A", True) == {"viewer": None}
        assert await ask(shared, "B", False) == {}
        assert await ask(shared, "B", True) == {"viewer": None}
        operations.close()


REFUSALS: list[tuple[str, dict[str, Any], str | None, str | None]] = [
    ("query A { stories(first: 500) { nodes { id } } }", {}, None, "A"),
    ('query A { stories(after: "x") { nodes { id } } }', {}, None, "A"),
    ("query A { __typename }", {}, "B", None),
    ("query A { __typename } query B { __typename }", {}, None, None),
    ("query A($n: Int!) { stories(first: $n) { nodes { id } } }", {"n": "x"}, None, "A"),
    ("query A { users(first: 100) { nodes { stories(first: 100) { nodes { author {"
     " stories(first: 99) { nodes { id } } } } } } } }", {}, None, "A"),
]  # fmt: skip
"""A text that can be read, variables, the name that is asked for, and the operation's own."""


@pytest.mark.parametrize(("text", "variables", "asked", "name"), REFUSALS)
async def test_what_is_refused_says_which_operation_it_was(
    database_url: str, text: str, variables: dict[str, Any], asked: str | None, name: str | None
) -> None:
    async with opened(database_url) as database:
        operations = Operations(database)
        known = operations.prepare(Params("query A { __typename }"), open_schema=True)
        with pytest.raises(Refused) as refused:
            operations.prepare(Params(text, None, variables, asked), open_schema=True)
        operations.close()

    error = refused.value
    assert error.document_hash is not None
    assert (error.document_hash == known.document_hash) == (text == "query A { __typename }")
    assert error.operation_name == name
    assert all(isinstance(each.original_error, PublicError) for each in error.errors)


async def test_reading_is_counted_for_whoever_brings_a_new_document(database_url: str) -> None:
    async with opened(database_url) as database:
        operations = Operations(database)
        first, second = (
            operations.prepare(Params("{ __typename }"), open_schema=True) for _ in range(2)
        )
        with pytest.raises(BadRequest):
            operations.prepare(Params(None), open_schema=True)
        operations.close()

    assert (first.read_tokens, second.read_tokens) == (3, 0)


@pytest.mark.parametrize("mode", ["always", "off"])
async def test_filtered_pages_are_the_same_however_many_rows_are_near(
    database_url: str, db: asyncpg.Connection, mode: Mode
) -> None:
    """The shipped number looks through all of these; five rows leave most to the index."""
    ada = await make.person(db)
    for n in range(12):
        await make.story(db, ada, title="zebra" if n % 4 == 0 else "rain", visibility="public")
    query = """query($after: String) { stories(first: 2, after: $after, filter: {search: "zebra"}) {
      nodes { id } pageInfo { hasNextPage endCursor } } }"""

    async def pages(near_rows: int) -> tuple[list[str], str]:
        found, after, texts, more = [], None, list[str](), True
        operations = Operations(database, pushdown=mode, near_rows=near_rows)
        while more:
            params = Params(query, variables={"after": after})
            prepared = operations.prepare(params, open_schema=True)
            outcome = await operations.execute(prepared, ANONYMOUS, texts=texts)
            page = read(outcome.data)["stories"]
            found += [node["id"] for node in page["nodes"]]
            more, after = page["pageInfo"]["hasNextPage"], page["pageInfo"]["endCursor"]
        operations.close()
        return found, "".join(texts)

    async with opened(database_url) as database:
        few, shipped = await pages(5), await pages(NEAR_ROWS)

    assert few[0] == shipped[0]
    assert len(few[0]) == 3
    assert "OFFSET 1)" in few[1]  # a fifth of them, of stories
    assert f"OFFSET {NEAR_ROWS // 5})" in shipped[1]


async def test_the_loaders_name_a_query_from_its_second_time_on(database_url: str) -> None:
    """What they run the first time is prepared already, for any other query."""
    async with opened(database_url, pool_size=1) as database:
        operations = Operations(database, pushdown="off")
        prepared = [0]
        for name in ("One", "Two", "Two"):
            text = f"query {name} {{ tags {{ nodes {{ name }} }} }}"
            given = operations.prepare(Params(text), open_schema=True)
            await operations.execute(given, ANONYMOUS)
            read = "SELECT string_agg(statement, E'\\n') FROM pg_prepared_statements"
            found = str(await database.value(read, []))
            prepared.append(found.count("FROM tags"))
        operations.close()
    assert prepared == [0, 1, 1, 2]
    assert "op=Two" in found
    assert "op=One" not in found


async def test_trusted_documents_are_compiled_before_anyone_asks(database_url: str) -> None:
    texts = {
        "plain": "query Plain { stories(first: 3) { nodes { title } } }",
        "default": "query Default($n: Int = 3) { stories(first: $n) { nodes { title } } }",
        "needs": "query Needs($tag: String!) { tag(name: $tag) { name } }",
        "broken": "query Broken { nobody }",
    }
    async with opened(database_url) as database:
        operations = Operations(database, trusted=TrustedDocuments("allow", texts))
        await HotDocuments(operations, database, 0).warm()

        async def executor(name: str, **variables: Any) -> str:
            params = Params(None, name, variables)
            prepared = operations.prepare(params, open_schema=True)
            outcome = await operations.execute(prepared, ANONYMOUS)
            return outcome.fallback_reason or outcome.executor

        found = [await executor("plain"), await executor("default")]
        waiting = await executor("needs", tag="x")
        operations.close()

    assert found == ["compiled", "compiled"]
    assert waiting == "too dear to compile", "this caller pays for nothing, but it is not new"
