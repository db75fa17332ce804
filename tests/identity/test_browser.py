"""Signing in and out in a real browser, at a real OpenID provider."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import pytest

from community_gql.app import create_app
from community_gql.settings import Settings
from tests.identity.browser import browse, chromium
from tests.identity.issuer import AUDIENCE, free_port, listening
from tests.identity.node import NodeProvider, node_provider

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("page_at_home")]

QUERY = "{ viewer { email permissions } }"
EVIL = "http://evil.test/"


@asynccontextmanager
async def running(database_url: str, **given: Any) -> AsyncIterator[tuple[str, NodeProvider]]:
    """The origin of the application on a port of its own, and the provider that knows it."""
    chromium()
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    with node_provider(origin) as node:
        settings = Settings.load(
            database_url=database_url,
            oidc_issuer=node.issuer,
            auth0_audience=AUDIENCE,
            auth0_client_id="application",
            auth0_client_secret="secret of the application",
            session_secret="a secret of the tests that is long enough",
            **given,
        )
        app = create_app(settings)
        async with app.router.lifespan_context(app), listening(app, port):
            yield origin, node


@pytest.fixture
async def place(database_url: str) -> AsyncIterator[tuple[str, NodeProvider]]:
    async with running(database_url) as made:
        yield made


def enter(origin: str, login: str, path: str = "/") -> list[tuple[str, dict[str, Any]]]:
    """The steps of signing in and coming back to ``path``."""
    return [
        ("open", {"url": f"{origin}/auth/login?next={path}"}),
        ("fill", {"name": "login", "value": login}),
        ("fill", {"name": "password", "value": "any"}),
        ("press", {"selector": "button[type=submit]"}),
        ("wait", {"url": f"{origin}{path}"}),
    ]


def asks(**headers: str) -> tuple[str, dict[str, Any]]:
    """The step of asking the API from the page the browser is at."""
    options = {
        "method": "POST",
        "headers": {"Content-Type": "application/json", **headers},
        "body": json.dumps({"query": QUERY}),
    }
    return ("fetch", {"url": "/graphql", "options": options})


async def test_from_signing_in_to_signing_out(
    place: tuple[str, NodeProvider], db: asyncpg.Connection
) -> None:
    origin, node = place
    node.person("auth0|ada", "ada@example.com", permissions=["manage:tags"])
    csrf = {"X-Requested-With": "page"}

    results = await browse(
        *enter(origin, "auth0|ada"),
        ("cookies", {}),
        ("scripts", {}),
        asks(**csrf),
        asks(),
        ("open", {"url": f"{origin}/auth/logout"}),
        ("press", {"selector": "button[value=yes]"}),
        ("wait", {"url": f"{origin}/**"}),
        ("cookies", {}),
        ("open", {"url": f"{origin}/"}),
        asks(**csrf),
        ("open", {"url": f"{origin}/auth/login"}),
        ("text", {}),
        ("cookies", {}),
    )
    at_provider, _, _, _, back, cookies, scripts, with_header, without = results[:9]
    there, _, home, left, _, signed_out, again, _, _ = results[9:]

    assert at_provider.startswith(f"{node.issuer}/interaction/")
    assert back == f"{origin}/"
    (cookie,) = [each for each in cookies if each["name"] == "community-session"]
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Lax"
    assert cookie["path"] == "/"
    assert "community-session" not in scripts

    assert with_header["status"] == 200
    viewer = json.loads(with_header["body"])["data"]["viewer"]
    assert viewer == {"email": "ada@example.com", "permissions": ["manage:tags"]}
    assert without["status"] == 403
    assert "CSRF_HEADER_REQUIRED" in without["body"]
    assert await db.fetchval("SELECT auth0_sub FROM users") == "auth0|ada"

    assert there.startswith(f"{node.issuer}/session/end")
    assert home.startswith(f"{origin}/")
    assert not [each for each in left if each["name"] == "community-session"]
    assert json.loads(signed_out["body"])["data"] == {"viewer": None}
    # Signed out at the provider too: it asks who is there.
    assert again.startswith(f"{node.issuer}/interaction/")


async def test_what_another_site_can_do_with_a_session(
    place: tuple[str, NodeProvider],
) -> None:
    origin, node = place
    node.person("auth0|ada", "ada@example.com")
    page = (
        f'<a id="query" href="{origin}/graphql?query=%7Bviewer%7Bemail%7D%7D">x</a>'
        f'<a id="out" href="{origin}/auth/logout">x</a>'
        f'<form method="post" action="{origin}/auth/logout"><button id="post">x</button></form>'
    )
    stage = ("stage", {"url": EVIL, "html": page})

    results = await browse(
        *enter(origin, "auth0|ada"),
        stage,
        ("press", {"selector": "#query"}),
        ("text", {}),
        stage,
        ("press", {"selector": "#out"}),
        ("text", {}),
        stage,
        ("press", {"selector": "#post"}),
        ("text", {}),
        ("open", {"url": f"{origin}/"}),
        asks(**{"X-Requested-With": "page"}),
    )

    query, out, post, still = results[7], results[10], results[13], results[15]
    assert "CSRF_HEADER_REQUIRED" in query  # Lax sends the cookie here; the header is missing
    assert "ada@example.com" not in query
    assert "Sign out?" in out
    assert "Another site asked for it" in post
    assert json.loads(still["body"])["data"]["viewer"]["email"] == "ada@example.com"


async def test_an_open_redirect_leads_home(place: tuple[str, NodeProvider]) -> None:
    origin, node = place
    node.person("auth0|ada", "ada@example.com")
    steps = enter(origin, "auth0|ada", "https://evil.test/")
    results = await browse(*steps[:4], ("wait", {"url": f"{origin}/**"}))
    assert results[4] == f"{origin}/"


async def test_without_a_verified_address_the_page_says_so(
    place: tuple[str, NodeProvider], db: asyncpg.Connection
) -> None:
    origin, node = place
    node.person("auth0|eve", "eve@example.com", claim=False, verified=False)
    steps = enter(origin, "auth0|eve")
    results = await browse(*steps[:4], ("text", {}))
    assert "verified e-mail address" in results[4]
    assert await db.fetchval("SELECT count(*) FROM users") == 0


async def test_the_bearer_and_the_session_of_one_person_are_one_row(
    place: tuple[str, NodeProvider], db: asyncpg.Connection
) -> None:
    origin, node = place
    node.person("auth0|ada", "ada@example.com")
    await browse(*enter(origin, "auth0|ada"))
    token = node.token("auth0|ada", AUDIENCE)
    async with httpx.AsyncClient() as http:
        headers = {"Authorization": f"Bearer {token}"}
        answer = await http.post(f"{origin}/graphql", json={"query": QUERY}, headers=headers)
    assert answer.json()["data"]["viewer"]["email"] == "ada@example.com"
    assert await db.fetchval("SELECT count(*) FROM users") == 1
