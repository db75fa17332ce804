"""With tokens of a real OpenID provider that speaks as Auth0 does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from tests.identity.asking import Asking, asking
from tests.identity.issuer import AUDIENCE
from tests.identity.node import NodeProvider, node_provider

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def node() -> Iterator[NodeProvider]:
    with node_provider("http://127.0.0.1:9") as running:
        yield running


@pytest.fixture(autouse=True)
def healthy(node: NodeProvider) -> None:
    node.tell("modes", jwks="ok", userinfo="ok")


@pytest.fixture
async def ask(database_url: str, node: NodeProvider) -> AsyncIterator[Asking]:
    async with asking(database_url, node.issuer) as api:
        yield api


async def test_a_person(ask: Asking, node: NodeProvider, db: asyncpg.Connection) -> None:
    node.person("auth0|ada", "ada@example.com", permissions=["manage:tags"])
    viewer = (await ask(node.token("auth0|ada", AUDIENCE))).viewer
    assert viewer["email"] == "ada@example.com"
    assert viewer["permissions"] == ["manage:tags"]
    assert await db.fetchval("SELECT auth0_sub FROM users") == "auth0|ada"


async def test_a_person_whose_tokens_lack_the_claim(ask: Asking, node: NodeProvider) -> None:
    node.person("auth0|bob", "bob@example.com", claim=False)
    before = node.tell("counts")["userinfo"]
    token = node.token("auth0|bob", AUDIENCE)
    for _ in range(3):
        assert (await ask(token)).viewer["email"] == "bob@example.com"
    assert node.tell("counts")["userinfo"] == before + 1


async def test_a_person_without_a_verified_address(ask: Asking, node: NodeProvider) -> None:
    node.person("auth0|eve", "eve@example.com", claim=False, verified=False)
    token = node.token("auth0|eve", AUDIENCE)
    assert (await ask(token)).refused == (403, "EMAIL_REQUIRED")


async def test_a_machine(ask: Asking, node: NodeProvider, db: asyncpg.Connection) -> None:
    node.person("matcher@clients", None, permissions=["write:matches"])
    query = "mutation { putMatches(input: {matches: []}) { userErrors { code } } }"
    said = await ask(node.machine_token(AUDIENCE), query)
    assert said.body["data"]["putMatches"]["userErrors"] == [{"code": "REQUIRED"}]
    assert await db.fetchval("SELECT count(*) FROM users") == 0


async def test_a_token_for_another_audience(ask: Asking, node: NodeProvider) -> None:
    node.person("auth0|ada", "ada@example.com")
    token = node.token("auth0|ada", "https://other.example.com")
    assert (await ask(token)).refused == (401, "UNAUTHENTICATED")


async def test_rotation(ask: Asking, node: NodeProvider) -> None:
    node.person("auth0|ada", "ada@example.com")
    old = node.token("auth0|ada", AUDIENCE)
    assert (await ask(old)).viewer
    node.tell("rotate")
    new = node.token("auth0|ada", AUDIENCE)
    start = time.perf_counter()
    assert (await ask(new)).viewer
    assert time.perf_counter() - start < 5
    assert (await ask(old)).viewer
    node.tell("rotate", remove=True)
    await asyncio.sleep(1.1)  # the pause between fetches that unknown keys cause
    assert (await ask(node.token("auth0|ada", AUDIENCE))).viewer
    assert (await ask(old)).refused == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize("mode", ["fail", "garbage", "empty", "hang"])
async def test_broken_keys(
    mode: str, ask: Asking, node: NodeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("community_gql.identity.provider.TIMEOUT", 1.0)
    node.person("auth0|ada", "ada@example.com")
    old = node.token("auth0|ada", AUDIENCE)
    node.tell("modes", jwks=mode)
    node.tell("rotate")
    assert (await ask(node.token("auth0|ada", AUDIENCE))).refused == (503, "UNAVAILABLE")
    start = time.perf_counter()
    assert (await ask(old)).viewer
    assert time.perf_counter() - start < 0.8
    node.tell("modes", jwks="ok")
    new = node.token("auth0|ada", AUDIENCE)
    start = time.perf_counter()
    while (await ask(new)).status != 200:
        assert time.perf_counter() - start < 5
        await asyncio.sleep(0.1)


async def test_slow_keys_are_waited_for(ask: Asking, node: NodeProvider) -> None:
    node.person("auth0|ada", "ada@example.com")
    node.tell("modes", jwks="slow")
    node.tell("rotate")
    assert (await ask(node.token("auth0|ada", AUDIENCE))).viewer
