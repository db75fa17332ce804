"""What renaming a tag on as many stories as one request may does to those who read meanwhile.

    python -m benchmarks.renaming --people 2000 --times 10

Four readers ask for the newest stories over connections that they keep, and one client follows
stories. First alone, then while the tag is renamed again and again.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import connect

from benchmarks import database as databases
from benchmarks.processes import free_port
from community_gql.actions.permissions import MANAGE_TAGS
from community_gql.actions.validation import POPULAR
from community_gql.identity.development import DevelopmentIssuer
from tests.support.listening import PROTOCOL, init
from tests.support.server import process

READERS = 4
ALONE_SECONDS = 10.0
PAUSE_SECONDS = 1.0
READ = "{ stories(first: 10) { nodes { id title author { id } tags { name } } } }"
FOLLOW = "subscription { stories { kind story { title } } }"
FIND = "query ($name: String!) { tag(name: $name) { id } }"
RENAME = "mutation ($input: RenameTagInput!) { renameTag(input: $input) { tag { name } userErrors { message } } }"  # noqa: E501
FILL = """
INSERT INTO tags (name) VALUES ('renamed 0');
WITH chosen AS (SELECT id FROM stories ORDER BY id LIMIT {count})
INSERT INTO story_tags (story_id, tag_id)
SELECT chosen.id, tags.id FROM chosen, tags WHERE tags.name = 'renamed 0';
"""


async def measured(url: str, issuer: DevelopmentIssuer, sub: str, times: int) -> None:
    """Measure, and print."""
    manager = {"Authorization": f"Bearer {issuer.token(sub, permissions=[MANAGE_TAGS])}"}
    took: list[tuple[float, float]] = []
    events = 0

    async def read(http: httpx.AsyncClient) -> None:
        while True:
            start = time.perf_counter()
            answer = await http.post("/graphql", json={"query": READ})
            took.append((start, time.perf_counter() - start))
            assert answer.status_code == 200, answer.text
            await asyncio.sleep(0.005)

    async def follow() -> None:
        nonlocal events
        address = url.replace("http", "ws") + "/graphql"
        async with connect(address, subprotocols=[PROTOCOL], proxy=None) as socket:
            await socket.send(init(None))
            await socket.recv()
            await socket.send(f'{{"id":"1","type":"subscribe","payload":{{"query":"{FOLLOW}"}}}}')
            async for _ in socket:
                events += 1

    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        tasks = [asyncio.create_task(read(http)) for _ in range(READERS)]
        tasks.append(asyncio.create_task(follow()))
        await asyncio.sleep(2)
        took.clear()
        await asyncio.sleep(ALONE_SECONDS)
        alone, renames = [seconds for _, seconds in took], []
        took.clear()
        for number in range(times):
            found = await _ask(http, FIND, {"name": f"renamed {number}"}, manager)
            given = {"id": found["tag"]["id"], "name": f"renamed {number + 1}"}
            start = time.perf_counter()
            answer = await _ask(http, RENAME, {"input": given}, manager)
            assert answer["renameTag"]["userErrors"] == [], answer
            renames.append((start, time.perf_counter() - start))
            await asyncio.sleep(PAUSE_SECONDS)
        beside = [seconds for _, seconds in took]
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)
    _show("alone", alone)
    _show("beside renames", beside)
    _show("renames", [seconds for _, seconds in renames])
    print(f"events to the one who follows: {events}")  # noqa: T201


async def _ask(http: httpx.AsyncClient, query: str, variables: Any, headers: Any) -> Any:
    given = {"query": query, "variables": variables}
    answer = (await http.post("/graphql", json=given, headers=headers)).json()
    assert "errors" not in answer, answer
    return answer["data"]


def _show(name: str, seconds: list[float]) -> None:
    found = sorted(seconds)
    p99 = found[int(len(found) * 0.99)]
    print(  # noqa: T201
        f"{name:15} {len(found):6} times: median {statistics.median(found) * 1e3:7.1f} ms, "
        f"p99 {p99 * 1e3:7.1f}, worst {found[-1] * 1e3:7.1f}"
    )


def main() -> None:
    """Fill a database, serve it, and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--people", type=int, default=2000)
    parser.add_argument("--times", type=int, default=10)
    given = parser.parse_args()
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr)  # noqa: E731, T201
    folder = Path(__file__).resolve().parents[1] / ".data" / "benchmark"
    with databases.started(folder, say) as server:
        filled = databases.filled(server, given.people, say)
        name = f"{filled.name}_renaming"
        server.psql(f"DROP DATABASE IF EXISTS {name}")
        server.psql(f"CREATE DATABASE {name} TEMPLATE {filled.name}")
        database = databases.Database(server, name, given.people)
        database.run(FILL.format(count=POPULAR))
        database.run("VACUUM ANALYZE")
        (person,) = database.rows("SELECT auth0_sub AS sub FROM users ORDER BY 1 LIMIT 1")
        port = free_port()
        with (
            tempfile.TemporaryDirectory() as issuers,
            process(database.url, Path(issuers), port, cost_per_minute=10**12),
        ):
            issuer = DevelopmentIssuer(Path(issuers))
            address = f"http://127.0.0.1:{port}"
            asyncio.run(measured(address, issuer, person["sub"], given.times))
        server.psql(f"DROP DATABASE {name}")


if __name__ == "__main__":
    main()
