"""A rolling deployment: the last released version and this one serve one database side by side."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt

from community_gql.db import migrate
from community_gql.settings.checks import plain_address
from tests.clients.operations import documents
from tests.delivery.images import CHECKOUT
from tests.http.server import Server, served
from tests.support.provider import key, provided

pytestmark = pytest.mark.system

FOLLOW = """subscription Follow($after: String) {
  stories(after: $after) { kind story { title } goneId moment } }"""
STORY = """mutation Write($title: String!) {
  createStory(input: { title: $title, content: "It grows.", visibility: PUBLIC, tags: ["moss"] })
  { story { id } userErrors { message } } }"""
RENAME = """mutation Rename($name: String!) {
  updateProfile(input: { displayName: $name, bio: "Here." })
  { user { profile { displayName } } userErrors { message } } }"""
TAG = (
    """mutation Tag { createTag(input: { name: "moss" }) { tag { id } userErrors { message } } }"""
)
LIST = """query List { stories(first: 100) { totalCount nodes { title tagNames author {
  profile { displayName } } } } viewer { user { profile { displayName } } } }"""


def git(*words: str) -> bytes:
    try:
        return subprocess.run(["git", *words], cwd=CHECKOUT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return b""


def last_release() -> tuple[str, str]:
    """The version that was released last, and its commit: its tag, or where the list names it."""
    found = re.search(r"^## (\d+\.\d+\.\d+) ", (CHECKOUT / "CHANGELOG.md").read_text(), re.M)
    assert found is not None, "CHANGELOG.md names no version"
    version = found[1]
    tag = git("rev-parse", "--verify", "--quiet", f"v{version}^{{commit}}")
    named = git("log", "--format=%H", f"-S## {version} ", "--", "CHANGELOG.md").split()
    commit = tag.strip() or (named[-1] if named else b"")
    if not commit:
        pytest.skip(f"the history of this checkout does not have version {version}")
    return version, commit.decode()


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of the last released version."""
    _, commit = last_release()
    content = git("archive", commit, "src", "migrations", "tests/clients/operations")
    if not content:
        pytest.skip(f"the history of this checkout does not have {commit}")
    folder = tmp_path_factory.mktemp("released")
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # from Python 3.11.4 on
        tar.extractall(folder)
    return folder


@cache
def bearer(issuer: str, name: str) -> dict[str, str]:
    """The same for both versions, so that what they say of it is the same."""
    now = int(time.time())
    claims = {
        "iss": issuer,
        "aud": "https://api.example.com",
        "sub": f"test|{name}",
        "iat": now,
        "exp": now + 3600,
        "permissions": ["manage:tags"],
        "https://community-gql/email": f"{name}@example.com",
    }
    header = {"alg": "RS256", "kid": key().kid, "typ": "at+jwt"}
    return {"Authorization": f"Bearer {jwt.encode(header, claims, key())}"}


@dataclass
class Node:
    """One of the two versions, as a client."""

    server: Server
    issuer: str

    async def __call__(self, query: str, who: str = "ada", **variables: Any) -> Any:
        """What is answered; anything but 200 without errors is a failure."""
        async with httpx.AsyncClient(timeout=120) as http:
            answer = await http.post(
                f"{self.server.url}/graphql",
                json={"query": query, "variables": variables},
                headers=bearer(self.issuer, who),
            )
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert "errors" not in found, found
        return found["data"]

    async def readiness(self) -> int:
        async with httpx.AsyncClient(timeout=120) as http:
            return (await http.get(f"{self.server.url}/readyz")).status_code

    async def follow(self, told: list[Any]) -> None:
        """Keep what a subscription of all stories is told."""
        headers = bearer(self.issuer, "ada") | {"Accept": "text/event-stream"}
        async with (
            httpx.AsyncClient(timeout=None) as http,
            http.stream(
                "POST", f"{self.server.url}/graphql", json={"query": FOLLOW}, headers=headers
            ) as response,
        ):
            assert response.status_code == 200
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    told.append(json.loads(line[6:])["data"]["stories"])


@pytest.fixture
def database(empty_database_url: Callable[..., str], released: Path) -> str:
    """A database as the old version made it."""
    url = empty_database_url()
    program = Path(sys.executable).with_name("community-gql")
    environment = {"PYTHONPATH": str(released / "src"), "DATABASE_URL": plain_address(url)}
    subprocess.run([program, "db", "upgrade"], env=os.environ | environment, check=True)
    return url


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """A function that starts a version of the server."""
    with ExitStack() as stack:
        issuer = stack.enter_context(provided())

        def make(database_url: str, source: Path) -> Node:
            options: dict[str, Any] = {"pythonpath": source / "src", "pushdown": "always"}
            options |= issuer
            server = stack.enter_context(served(plain_address(database_url), tmp_path, **options))
            return Node(server, issuer["OIDC_ISSUER"])

        yield make


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_the_old_and_the_new_version_serve_side_by_side(
    released: Path, start: Callable[..., Node], database: str
) -> None:
    old = await asyncio.to_thread(start, database, released)
    told: dict[str, list[Any]] = {"old": [], "new": []}
    followers = [asyncio.create_task(old.follow(told["old"]))]
    served_by_old = 0
    done = asyncio.Event()

    async def press() -> None:
        """Reads and writes go on with the old version while the database is migrated."""
        nonlocal served_by_old
        while not done.is_set():
            await old(RENAME, name=f"Ada {served_by_old}")
            found = await old(LIST)
            assert found["viewer"]["user"]["profile"]["displayName"] == f"Ada {served_by_old}"
            served_by_old += 1

    pressing = asyncio.create_task(press())
    await asyncio.to_thread(migrate.upgrade, database)
    new = await asyncio.to_thread(start, database, CHECKOUT)
    await until(lambda: served_by_old > 3)
    done.set()
    await pressing
    assert (await old(TAG))["createTag"]["userErrors"] == []
    assert (await old.readiness(), await new.readiness()) == (200, 200)

    followers.append(asyncio.create_task(new.follow(told["new"])))
    await until(lambda: all(told.values()))
    for title, node in [("By the old", old), ("By the new", new)]:
        assert (await node(STORY, title=title))["createStory"]["userErrors"] == []
        for other in (old, new):
            titles = [story["title"] for story in (await other(LIST))["stories"]["nodes"]]
            assert title in titles
        # Neither version's subscribers miss what the other wrote.
        for events in told.values():
            await until(lambda t=title, e=events: t in _titles(e))  # type: ignore[misc]
    assert await old(LIST) == await new(LIST)
    await _answer_the_same(released, old, new)
    assert [follower for follower in followers if follower.done()] == []
    for follower in followers:
        follower.cancel()
    assert [line for node in (old, new) for line in node.server.lines() if _bad(line)] == []


def _titles(events: list[Any]) -> list[str]:
    return [event["story"]["title"] for event in events if event["story"]]


def _bad(line: dict[str, Any]) -> bool:
    return line["level"] in ("warning", "error", "critical") and "ulimit" not in line["message"]


async def _answer_the_same(released: Path, old: Node, new: Node) -> None:
    """What clients of the old version read is what they read of the new one."""
    story = (await old("{ stories(first: 1) { nodes { id author { id } } } }"))["stories"]["nodes"]
    ids = {"id": story[0]["id"], "ids": [story[0]["id"], story[0]["author"]["id"]]}
    given: dict[str, dict[str, Any]] = {
        "ReadNodeQuery": {"id": ids["id"]},
        "ReadNodesQuery": {"ids": ids["ids"]},
        "ReadStoryQuery": {"id": ids["id"]},
        "ReadUserQuery": {"id": story[0]["author"]["id"]},
        "ReadTagQuery": {"name": "moss"},
    }
    asked = 0
    for name, text, fields in documents(released / "tests" / "clients" / "operations"):
        if name.startswith("Read") and "moment" not in fields:
            variables = given.get(name, {})
            assert await old(text, **variables) == await new(text, **variables), name
            asked += 1
    assert asked >= 8
