"""All or nothing: what is committed, what a payload shows of it, and what is left of the rest."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from community_gql.identity.development import DevelopmentIssuer
from tests.support import factories as make
from tests.support import server, writing
from tests.support.client import Answer, Client, serving
from tests.support.factories import Person
from tests.support.mutations import TABLE
from tests.support.statements import is_command, watched
from tests.support.writing import EXAMPLES, MUTATIONS, Scene, change, send


@pytest.fixture
async def scene(db: asyncpg.Connection) -> Scene:
    return await writing.scene(db)


# --- Several mutations in one document ---


async def test_mutations_run_in_order_and_each_shows_what_it_committed(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    answer = await api(
        """mutation($story: ID!) {
          first: updateStory(input: {id: $story, title: "one", tags: []}) { ...now }
          second: updateStory(input: {id: $story, title: "two", tags: ["fern"]}) { ...now }
          refused: updateStory(input: {id: $story, title: ""}) { ...now }
          gone: deleteStory(input: {id: $story}) {
            deletedId query { story(id: $story) { title } stories { totalCount } }
          }
          nothing: updateStory(input: {id: $story, title: "three"}) { ...now }
        }
        fragment now on UpdateStoryPayload {
          story { ...it }
          userErrors { code }
          query { story(id: $story) { ...it author { stories { nodes { ...it } } } } }
        }
        fragment it on Story { title tagNames tags { name } }""",
        scene.ada,
        story=scene.story.id,
    )

    def now(title: str, *tags: str, code: str | None = None) -> dict[str, Any]:
        it = {"title": title, "tagNames": list(tags), "tags": [{"name": tag} for tag in tags]}
        return {
            "story": None if code else it,
            "userErrors": [{"code": code}] if code else [],
            "query": {"story": {**it, "author": {"stories": {"nodes": [it]}}}},
        }

    assert answer.data == {
        "first": now("one"),
        "second": now("two", "fern"),
        "refused": now("two", "fern", code="REQUIRED"),
        "gone": {
            "deletedId": scene.story.id,
            "query": {"story": None, "stories": {"totalCount": 0}},
        },
        "nothing": {
            "story": None,
            "userErrors": [{"code": "NOT_FOUND"}],
            "query": {"story": None},
        },
    }


@asynccontextmanager
async def broken(db: asyncpg.Connection, table: str) -> AsyncIterator[None]:
    """No row can be added to the table, for a reason that no action expects."""
    await db.execute(f"ALTER TABLE {table} ADD CONSTRAINT broken CHECK (false) NOT VALID")
    try:
        yield
    finally:
        await db.execute(f"ALTER TABLE {table} DROP CONSTRAINT broken")


async def test_a_fault_in_one_hides_nothing_of_the_others(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    async with broken(db, "story_tags"):
        answer = await api(
            """mutation {
              before: createHabit(input: {name: "before", frequency: DAILY}) { habit { name } }
              fault: createStory(input: {title: "a", content: "b", tags: ["moss"]}) {
                story { title }
              }
              after: createHabit(input: {name: "after", frequency: DAILY}) { habit { name } }
            }""",
            scene.ada,
        )
    assert answer.body["data"] == {
        "before": {"habit": {"name": "before"}},
        "fault": None,
        "after": {"habit": {"name": "after"}},
    }
    assert answer.codes == ["INTERNAL"]
    assert answer.errors[0]["path"] == ["fault"]
    assert "broken" not in answer.response.text
    assert await db.fetchval("SELECT count(*) FROM stories WHERE title = 'a'") == 0


async def test_a_database_that_goes_away_hides_nothing_of_what_was_committed(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    """Whoever heard only that it is away would send all of it again."""

    def go_away(text: str) -> None:
        if "INSERT INTO stories" in text:
            raise ConnectionResetError

    with watched(go_away):
        answer = await api(
            """mutation {
              before: createHabit(input: {name: "before", frequency: DAILY}) { habit { name } }
              away: createStory(input: {title: "a", content: "b"}) { story { title } }
            }""",
            scene.ada,
        )
    assert answer.codes == ["UNAVAILABLE"]
    assert answer.body["data"] == {"before": {"habit": {"name": "before"}}, "away": None}


AT_THE_END = {"createStory": "story_tags", "updateStory": "story_tags", "mergeTags": "story_tags"}
"""Mutations of several steps, and the table of one of the last."""


@pytest.mark.parametrize("name", AT_THE_END)
async def test_a_mutation_that_fails_leaves_nothing(
    name: str, api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    before = await writing.rows(db)
    async with broken(db, AT_THE_END[name]):
        answer = await send(api, scene.actor(name), name, **EXAMPLES[name](scene))
    assert answer.codes == ["INTERNAL"]
    assert answer.body["data"] == {name: None}
    assert await writing.rows(db) == before
    await change(api, scene.actor(name), name, **EXAMPLES[name](scene))


async def test_one_connection_is_enough(
    database_url: str, issuer: DevelopmentIssuer, db: asyncpg.Connection, scene: Scene
) -> None:
    """Nothing holds one while it waits for another, however many write and read at once."""
    query = """mutation($name: String!) {
      a: createHabit(input: {name: $name, frequency: DAILY}) { habit { owner { id } } }
      b: updateProfile(input: {bio: $name}) { query { viewer { user { habits { totalCount } } } } }
    }"""
    async with serving(database_url, issuer, database_pool_size=1) as api:
        answers = await asyncio.gather(*(api(query, scene.ada, name=f"h {n}") for n in range(20)))
    assert all(answer.data["a"]["habit"] for answer in answers)


# --- A client that goes away ---


async def cut_off(number: int, work: Coroutine[Any, Any, Answer]) -> tuple[Answer | None, int]:
    """Cancel the request when its statement of that number is about to run.

    Returns the answer if it had fewer statements, and how many ran.
    """
    seen = 0
    task = asyncio.create_task(work)

    def count(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            task.cancel()

    with watched(lambda text: None if is_command(text) else count()):
        await asyncio.wait([task])
    return (None if task.cancelled() else task.result()), seen


@pytest.mark.parametrize("name", ["createStory", "updateStory", "mergeTags", "deleteAccount"])
async def test_an_operation_that_is_cut_off_leaves_all_or_nothing(
    name: str,
    database_url: str,
    issuer: DevelopmentIssuer,
    db: asyncpg.Connection,
    scene: Scene,
) -> None:
    """At whatever statement; and its connection goes back to the pool, which has only one."""
    given, actor = EXAMPLES[name](scene), scene.actor(name)
    before = await writing.rows(db)
    async with serving(database_url, issuer, database_pool_size=1) as api:
        await api("{ viewer { email } }", actor)  # opens the connection
        for number in itertools.count(1):
            work = send(api, actor, name, writing.everything_in(name), **given)
            answer, statements = await cut_off(number, work)
            assert (await api("{ viewer { email } }", actor)).status == 200
            now = await writing.rows(db)
            if now != before:
                break
            assert (answer, statements) == (None, number)
    # Cut off in its transaction it left nothing; and there was more than one place to cut.
    assert number > max(STATEMENTS[name], 1)
    assert answer is None or answer.data[name]["userErrors"] == []


# --- A server that goes away ---

CREATE = """mutation($title: String!) {
  createStory(input: {
    title: $title, content: "x", tags: ["moss", "fern"], idempotencyKey: $title
  }) { story { title } userErrors { code } }
}"""


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number: int = listener.getsockname()[1]
    return number


async def whole_stories(db: asyncpg.Connection) -> set[str]:
    """The titles of the stories that are there; each must be there with its tags and its key."""
    found = await db.fetch("""
        SELECT title, tags_cached, (SELECT count(*) FROM story_tags WHERE story_id = s.id) AS tags,
          (SELECT count(*) FROM story_requests WHERE story_id = s.id) AS keys
        FROM stories s WHERE content = 'x'
    """)
    assert all(
        (row["tags_cached"], row["tags"], row["keys"]) == (["fern", "moss"], 2, 1) for row in found
    )
    assert len({row["title"] for row in found}) == len(found)
    return {row["title"] for row in found}


async def test_a_killed_server_loses_no_acknowledged_write(
    database_url: str, db: asyncpg.Connection, tmp_path: Path, port: int, scene: Scene
) -> None:
    token = DevelopmentIssuer(tmp_path).token(scene.ada.sub)
    acknowledged: set[str] = set()
    sent: set[str] = set()
    enough = asyncio.Event()

    async def write(http: httpx.AsyncClient, worker: int) -> None:
        for number in itertools.count():
            title = f"{worker}-{number}"
            sent.add(title)
            try:
                response = await http.post(
                    "/graphql", json={"query": CREATE, "variables": {"title": title}}
                )
            except httpx.TransportError:
                return
            assert response.json()["data"]["createStory"]["story"] == {"title": title}
            acknowledged.add(title)
            if len(acknowledged) >= 150:
                enough.set()

    with server.process(database_url, tmp_path, port) as process:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
        ) as http:
            workers = [asyncio.create_task(write(http, n)) for n in range(8)]
            await asyncio.wait(
                [asyncio.create_task(enough.wait()), *workers], return_when="FIRST_COMPLETED"
            )
            process.kill()
            await asyncio.gather(*workers)

    await connections_end(db)
    there = await whole_stories(db)
    assert len(acknowledged) >= 150
    assert acknowledged <= there <= sent
    assert len(there - acknowledged) <= 8  # one a worker, committed and not answered any more

    # Whoever asks again with the same key gets the same story, not a second one.
    with server.process(database_url, tmp_path, port):
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {token}"}
        ) as http:
            for title in sent - acknowledged:
                body = {"query": CREATE, "variables": {"title": title}}
                response = await http.post("/graphql", json=body)
                assert response.json()["data"]["createStory"]["story"] == {"title": title}
    assert await whole_stories(db) == sent


async def connections_end(db: asyncpg.Connection) -> None:
    """Return once the server's connections are gone from the database."""
    while await db.fetchval(  # noqa: ASYNC110 - nothing else tells
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'community-gql'"
    ):
        await asyncio.sleep(0.01)


async def test_a_client_that_hangs_up_leaves_all_or_nothing(
    database_url: str, db: asyncpg.Connection, tmp_path: Path, port: int, scene: Scene
) -> None:
    token = DevelopmentIssuer(tmp_path).token(scene.ada.sub)

    async def hang_up(number: int) -> None:
        body = json.dumps({"query": CREATE, "variables": {"title": str(number)}}).encode()
        head = (
            f"POST /graphql HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode() + (body if number % 4 else body[:-5]))
        await writer.drain()
        await asyncio.sleep(0.002 * (number % 8))
        writer.close()
        await writer.wait_closed()

    with server.process(database_url, tmp_path, port):
        await asyncio.gather(*(hang_up(n) for n in range(40)))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            answers = await asyncio.gather(
                *(
                    http.post("/graphql", json={"query": "{ tags { totalCount } }"})
                    for _ in range(20)
                )
            )
    assert {answer.status_code for answer in answers} == {200}
    await connections_end(db)
    assert not {str(n) for n in range(0, 40, 4)} & await whole_stories(db)


# --- How many statements ---

STATEMENTS = {name: item.statements for name, item in TABLE.items()}
"""Of each mutation in its transaction: between begin and commit, or alone."""

KEYED = 5
"""What an ``idempotencyKey`` adds."""


def test_the_statements_of_every_mutation_are_known() -> None:
    assert sorted(STATEMENTS) == MUTATIONS


@contextmanager
def transactions() -> Iterator[list[str]]:
    """Yields the first words of what transactions run meanwhile."""
    seen: list[str] = []
    with watched(lambda text: seen.append(text.split()[0])):
        yield seen


@pytest.mark.parametrize("name", MUTATIONS)
async def test_a_mutation_takes_so_many_statements(
    name: str, api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    if name == "createGarden":
        await db.execute("DELETE FROM gardens")
    given = EXAMPLES[name](scene)
    key = given.pop("idempotencyKey", None)
    await api.meet(scene.actor(name))

    with transactions() as seen:
        await change(api, scene.actor(name), name, **given)

    if len(seen) > 1:  # else it stands alone
        assert (seen.pop(0), seen.pop()) == ("BEGIN", "COMMIT")
    assert len(seen) == STATEMENTS[name], seen
    if key is not None:
        answer = await send(api, scene.actor(name), name, **given, idempotencyKey=key)
        assert len(answer.statements) == STATEMENTS[name] + KEYED


async def test_a_garden_is_one_insert_and_one_read(api: Client, db: asyncpg.Connection) -> None:
    ada = await make.person(db)
    await api.meet(ada)
    with transactions() as seen:
        answer = await send(
            api, ada, "createGarden", "garden { id name theme createdAt }", name="Moss"
        )
    assert answer.data["createGarden"]["garden"]["name"] == "Moss"
    assert len(answer.statements) == 2  # the payload is read outside of a transaction
    assert seen == ["INSERT"]


async def test_a_batch_takes_no_more_statements_than_one(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    people: list[Person] = await make.people(db, 30)
    features = [
        {"userId": each.id, "vector": [1.0] * (n + 1), "version": n + 1}
        for n, each in enumerate(people)
    ]
    matches = [{"userId": each.id, "targetUserId": scene.ada.id, "score": 0.5} for each in people]
    for name, given in (
        ("putFeatures", {"features": features}),
        ("putMatches", {"matches": matches}),
    ):
        answer = await send(api, scene.machine, name, **given)
        assert answer.data[name]["userErrors"] == []
        assert len(answer.statements) == STATEMENTS[name]
