"""Matches that appear by themselves: the server, a process that matches, and who follows."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
import pytest

from community_gql.cli.matching import BEHIND_OTHERS
from community_gql.identity.development import DevelopmentIssuer
from tests.http.test_live import TRANSPORTS, Event, Events, ask
from tests.support import factories as make
from tests.support.listening import listening

pytestmark = pytest.mark.system

MAIN = "import sys; from community_gql.cli import main; sys.argv[0] = 'community-gql'; main()"
FOLLOW = """subscription { viewer { matching { state } user { matches { nodes {
  score user { id } reasons { tags { name } } } } } } }"""
CHOOSE = 'mutation { addTags(input: {names: ["rare"]}) { userErrors { message } } }'
MINUTE = 60


@asynccontextmanager
async def matching(database_url: str, pause: str) -> AsyncIterator[None]:
    """``matching run --every``, as it runs beside a server, until the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MAIN, "matching", "run", "--every", pause,
        env={**os.environ, "DATABASE_URL": database_url}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield
        assert process.returncode is None
        priority = partial(os.getpriority, os.PRIO_PROCESS)
        assert priority(process.pid) == min(priority(0) + BEHIND_OTHERS, 19)
    finally:
        if process.returncode is None:
            process.terminate()
        _, said = await process.communicate()
    assert "stopped: run the same command again to go on" in said.decode()
    assert "Traceback" not in said.decode()


async def until_listed(told: Any, *people: make.Person) -> Event:
    """The first event whose list holds these people and nobody else."""
    async for event in told:
        assert "errors" not in event
        viewer: Event = event["data"]["viewer"]
        nodes = viewer["user"]["matches"]["nodes"]
        if {node["user"]["id"] for node in nodes} == {one.id for one in people}:
            return viewer
    raise AssertionError("the subscription ended")


@TRANSPORTS
async def test_a_newcomer_gets_matches_by_themselves_within_a_minute_of_choosing_tags(
    database_url: str, issuer: DevelopmentIssuer, db: asyncpg.Connection, events: Events
) -> None:
    rare = await make.tag(db, "rare")
    alike = await make.person(db, tags=[rare])
    for _ in range(5):  # what everyone has weighs nothing
        await make.person(db)
    token = f"Bearer {issuer.token('auth0|newcomer', email='newcomer@example.org')}"
    async with (
        listening(database_url, issuer) as server,
        matching(database_url, "0.5s"),
        aclosing(events(server.url, {"query": FOLLOW}, token)) as told,
        asyncio.timeout(MINUTE),
    ):
        viewer = await until_listed(told)
        assert viewer["matching"]["state"] in {"WAITING", "NOTHING_TO_GO_BY"}
        assert await ask(server.url, CHOOSE, token) == {"addTags": {"userErrors": []}}
        viewer = await until_listed(told, alike)
        assert viewer["matching"]["state"] == "READY"
        (node,) = viewer["user"]["matches"]["nodes"]
        assert node["score"] > 0
        assert node["reasons"]["tags"] == [{"name": "rare"}]
        another = await make.person(db, tags=[rare])  # and so does every batch after the first
        await until_listed(told, alike, another)
