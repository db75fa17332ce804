"""The documents that are asked for most are compiled again when a process starts."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import orjson
import pytest

from community_gql.db.database import Database, opened
from community_gql.db.hot_documents import HotDocument, hottest_documents, remember_documents
from community_gql.graph.visibility import ANONYMOUS, Viewer
from community_gql.operations import samples
from community_gql.operations.documents import TrustedDocuments
from community_gql.operations.hot import HotDocuments
from community_gql.operations.pipeline import Executor, Operations, Outcome
from community_gql.operations.prepared import Params
from community_gql.operations.samples import LONGEST_TEXT, sample_of
from community_gql.schema.executable import core
from tests.http.server import Server, served
from tests.http.test_serving import until
from tests.support import factories as make
from tests.support.waiting import until as waiting

NESTED = """
    query Feed($first: Int!, $filter: StoryFilter, $with: Boolean!, $id: ID!) {
      stories(first: $first, filter: $filter) {
        nodes { id title author @include(if: $with) { id } }
      }
      node(id: $id) { id }
    }
"""
VALUES: dict[str, Any] = {
    "first": 7,
    "filter": {"search": "ada's secret", "tagsAny": ["moss", "fern"]},
    "with": True,
    "id": "Story:20417",
}
WRITE = """
    mutation Write($input: CreateStoryInput!) {
      done: createStory(input: $input) { story { title author { id } } }
    }
"""


async def ask(
    operations: Operations, text: str, viewer: Viewer = ANONYMOUS, **variables: Any
) -> Outcome:
    prepared = operations.prepare(Params(text, variables=variables), open_schema=True)
    return await operations.execute(prepared, viewer, afford=free)


async def free(points: int) -> bool:
    return True


def sample(text: str, **variables: Any) -> Any:
    operations = Operations(None)  # type: ignore[arg-type]  # nothing is executed
    prepared = operations.prepare(Params(text, variables=variables), open_schema=True)
    operations.close()
    found = sample_of(prepared)
    return None if found is None else orjson.loads(found)


def test_a_sample_has_the_form_of_the_variables_and_none_of_their_values() -> None:
    assert sample(NESTED, **VALUES) == {
        "first": 7,
        "filter": {"search": "a", "tagsAny": ["a", "a"]},
        "with": True,
        "id": "Story:1",
    }
    assert sample(NESTED, **VALUES | {"filter": None})["filter"] is None
    person = "User:3f0a9c52-1d2e-4b6f-8a7c-0e1f2d3c4b5a"
    assert sample(NESTED, **VALUES | {"id": person})["id"] == (
        "User:00000000-0000-0000-0000-000000000000"
    )


@pytest.mark.parametrize(
    "text",
    [
        '{ stories(filter: {search: "ada\'s secret"}) { nodes { title } } }',
        "{ stories(first: 3) { nodes { title } } } # for Ada",
        '{ stories(filter: {search: """ada"""}) { nodes { title } } }',
        "{ stories(first: 3) { nodes { title" + " " * LONGEST_TEXT + "} } }",
    ],
)
def test_a_document_that_holds_values_has_no_sample(text: str) -> None:
    assert sample(text) is None


async def test_a_page_after_the_first_has_no_sample(
    database_url: str, db: asyncpg.Connection
) -> None:
    ada = await make.person(db)
    await make.story(db, ada, visibility="public")
    text = "query ($after: String) { stories(after: $after) { pageInfo { endCursor } } }"
    async with opened(database_url) as database:
        operations = Operations(database, pushdown="off")
        outcome = await ask(operations, text)
        operations.close()
    assert isinstance(outcome.data, dict)
    cursor = outcome.data["stories"]["pageInfo"]["endCursor"]
    assert sample(text) == {}
    assert sample(text, after=cursor) is None


def test_every_scalar_that_variables_may_have_is_blanked() -> None:
    """A new scalar needs its own value here."""
    scalars = {
        name
        for name, type_ in core.type_map.items()
        if type_.__class__.__name__ == "GraphQLScalarType" and not name.startswith("_")
    }
    assert scalars <= samples._BLANKS.keys()


async def used(database: Database, viewer: Viewer, times: int = 8) -> Operations:
    """A process that has run both documents so often, and has said so."""
    operations = Operations(database)
    for number in range(times):
        await ask(operations, NESTED, viewer, **VALUES)
        given = {"title": f"Ada's secret {number}", "content": "x", "visibility": "PRIVATE"}
        outcome = await ask(operations, WRITE, viewer, input=given)
        assert not outcome.errors
    await HotDocuments(operations, database, 50).remember()
    operations.close()
    return operations


async def test_what_was_used_is_compiled_in_the_next_process(
    database_url: str, db: asyncpg.Connection
) -> None:
    ada = Viewer((await make.person(db, "Ada")).sub)
    async with opened(database_url) as database:
        await used(database, ada)
        later = Operations(database)
        await HotDocuments(later, database, 50).warm()
        texts = "".join(str(dict(row)) for row in await db.fetch("SELECT * FROM hot_documents"))
        values = VALUES | {"first": 7, "filter": {"search": "else", "tagsAny": ["x", "y"]}}
        query = await ask(later, NESTED, ada, **values)
        given = {"title": "More", "content": "x", "visibility": "PUBLIC"}
        mutation = await ask(later, WRITE, ada, input=given)
        prepared = later.prepare(Params(NESTED, variables=VALUES), open_schema=True)
        later.close()

    assert query.executor is mutation.executor is Executor.COMPILED
    assert prepared.read_tokens == 0, "it was read before"
    assert "secret" not in texts
    assert "20417" not in texts


async def test_processes_that_write_at_once_count_together(
    database_url: str, db: asyncpg.Connection
) -> None:
    documents = [HotDocument(f"{{ a{n}: __typename }}", None, None, "{}", 5) for n in range(40)]
    async with opened(database_url) as database:
        loop = asyncio.get_running_loop()
        await asyncio.gather(
            *(
                remember_documents(database, given, 40, deadline=loop.time() + 20)
                for given in (documents, documents[::-1], documents[:20], documents[:20])
            )
        )
        await remember_documents(database, [], 30, deadline=loop.time() + 20)
        found = await hottest_documents(database, 100)
    assert {one.text for one in found[:20]} == {one.text for one in documents[:20]}
    assert len(found) == 30
    assert [round(one.uses) for one in found[:20]] == [20] * 20


async def test_a_use_of_yesterday_counts_half(database_url: str, db: asyncpg.Connection) -> None:
    old, new = (HotDocument(f"{{ {name}: __typename }}", None, None, "{}", 10) for name in "ab")
    async with opened(database_url) as database:
        deadline = asyncio.get_running_loop().time() + 20
        await remember_documents(database, [old], 5, deadline=deadline)
        await db.execute("UPDATE hot_documents SET used_at = now() - interval '1 day'")
        await remember_documents(database, [new], 5, deadline=deadline)
        order = [one.text for one in await hottest_documents(database, 5)]
        await remember_documents(database, [old], 5, deadline=deadline)
        uses = {one.text: one.uses for one in await hottest_documents(database, 5)}
        await db.execute("UPDATE hot_documents SET used_at = now() - interval '31 days'")
        await remember_documents(database, [new], 5, deadline=deadline)
        left = await hottest_documents(database, 5)
    assert order == [new.text, old.text]
    assert uses[old.text] == pytest.approx(15, abs=0.1)
    assert [one.text for one in left] == [new.text]


async def test_what_does_not_fit_any_more_or_is_not_trusted_is_passed_over(
    database_url: str, db: asyncpg.Connection
) -> None:
    good = "query Good($n: Int!) { stories(first: $n) { nodes { title } } }"
    kept = [
        HotDocument("{ gone }", None, None, "{}", 9),
        HotDocument(good, "Good", None, '{"n": "wrong"}', 8),
        HotDocument(good, "Bad", None, '{"n": 3}', 7),
        HotDocument(good, "Good", None, '{"n": 3}', 6),
    ]
    async with opened(database_url) as database:
        deadline = asyncio.get_running_loop().time() + 20
        await remember_documents(database, kept, 9, deadline=deadline)
        found = []
        for trusted in (None, TrustedDocuments("enforce", {"other": "{ __typename }"})):
            operations = Operations(database, trusted=trusted)
            await HotDocuments(operations, database, 9).warm()
            kept_now: Any = operations.pushdown.statements.items()
            found.append([key[0].operation.text for key, _ in kept_now].count(good))
            operations.close()
    assert found == [1, 0]


async def test_a_database_that_cannot_be_written_ends_nothing(
    database_url: str, db: asyncpg.Connection
) -> None:
    ada = Viewer((await make.person(db, "Ada")).sub)
    async with opened(database_url) as database:
        operations = await used(database, ada)
        await db.execute("ALTER TABLE hot_documents RENAME TO elsewhere")
        try:
            (_, compilation), *_ = operations.pushdown.used(0)
            compilation.uses = 100
            await HotDocuments(operations, database, 50).remember()
        finally:
            await db.execute("ALTER TABLE elsewhere RENAME TO hot_documents")
    assert compilation.uses == 0


async def test_a_database_without_the_table_ends_nothing_and_is_asked_again(
    database_url: str, db: asyncpg.Connection
) -> None:
    """As before a migration: what could not be read at first is read later."""
    kept = HotDocument("{ tags { nodes { name } } }", None, None, "{}", 9)
    async with opened(database_url) as database:
        deadline = asyncio.get_running_loop().time() + 20
        await remember_documents(database, [kept], 9, deadline=deadline)
        operations = Operations(database)
        await db.execute("ALTER TABLE hot_documents RENAME TO elsewhere")
        async with HotDocuments(operations, database, 9, every=0.05).running():
            await asyncio.sleep(0.3)
            await db.execute("ALTER TABLE elsewhere RENAME TO hot_documents")
            await waiting(lambda: len(operations.pushdown.statements) == 1)
        operations.close()


async def test_a_role_without_rights_is_told_once_which(
    guest: str, guest_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(guest_url) as database:
        operations = Operations(database)
        async with HotDocuments(operations, database, 9, every=0.05).running():
            await waiting(lambda: len(caplog.records) > 0)
            await asyncio.sleep(0.3)
        operations.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"the documents that are used most are not kept: the role {guest} lacks rights. "
        "Run as the owner of the tables: "
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON hot_documents TO {guest};"
    ]
    assert caplog.records[0].exc_info is None


@pytest.mark.system
async def test_a_server_that_was_restarted_compiles_before_it_is_asked(
    worker_database: str, workbench: Any, database_url: str, tmp_path: Path
) -> None:
    url = workbench.server.url(worker_database)
    body = {"query": NESTED, "variables": VALUES}

    def executors(path: Path, times: int) -> list[str]:
        path.mkdir()
        with served(url, path, drain_seconds=0) as server:
            if times == 1:
                until(partial(has_compiled, server))
            for _ in range(times):
                assert httpx.post(f"{server.url}/graphql", json=body).status_code == 200
            server.process.terminate()
            server.process.wait(60)
        lines = [line for line in server.lines() if line["logger"] == "community_gql.requests"]
        return [line["executor"] for line in lines]

    before = await asyncio.to_thread(executors, tmp_path / "before", 8)
    after = await asyncio.to_thread(executors, tmp_path / "after", 1)
    assert before[0] == "loaders"
    assert after == ["compiled"]


def has_compiled(server: Server) -> bool:
    return any(line["logger"] == "community_gql.pushdown" for line in server.lines())
