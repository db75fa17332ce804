"""Tokens and sign-in without a provider, and that nothing of it is there in production."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from community_gql.app import create_app
from community_gql.dev.seeding import known_people
from community_gql.identity.development import AUDIENCE, DevelopmentIssuer, Person
from community_gql.settings import Settings, SettingsError
from community_gql.settings.checks import plain_address
from tests.identity.asking import VIEWER, Asking, asking
from tests.identity.browser import browse
from tests.identity.issuer import Issuer, free_port, listening
from tests.support import factories as make

COMMAND = str(Path(sys.executable).with_name("community-gql"))
HERE = "http://127.0.0.1:8000"
ASK = {"X-Requested-With": "tests"}


@asynccontextmanager
async def developing(
    database_url: str, issuer: DevelopmentIssuer, base: str = HERE
) -> AsyncIterator[Asking]:
    """The API as ``community-gql dev`` has it."""

    async def people(limit: int) -> Sequence[Person]:
        return await known_people(database_url, limit)

    app = create_app(Settings.load(database_url=database_url), development=issuer, people=people)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base) as http,
    ):
        yield Asking(app, http)


@pytest.fixture
async def dev(database_url: str, issuer: DevelopmentIssuer) -> AsyncIterator[Asking]:
    async with developing(database_url, issuer) as api:
        yield api


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    unwanted = {name.upper() for name in Settings.model_fields}
    kept = {key: item for key, item in os.environ.items() if key not in unwanted}
    return subprocess.run(
        [COMMAND, *words],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
    )


async def test_its_tokens_pass_through_the_verifier(
    dev: Asking, issuer: DevelopmentIssuer, db: asyncpg.Connection
) -> None:
    ada = await make.person(db)
    token = issuer.token(ada.sub, permissions=["manage:tags"])
    viewer = (await dev(token)).viewer
    assert (viewer["email"], viewer["permissions"]) == (ada.email, ["manage:tags"])
    assert (await dev(token[:-3] + "abc")).refused == (401, "UNAUTHENTICATED")


async def test_tokens_of_another_checkout_are_refused(dev: Asking, tmp_path: Path) -> None:
    other = DevelopmentIssuer(tmp_path)
    assert (await dev(other.token("auth0|ada"))).refused == (401, "UNAUTHENTICATED")


async def test_someone_new_needs_an_address(dev: Asking, issuer: DevelopmentIssuer) -> None:
    assert (await dev(issuer.token("auth0|new"))).refused == (403, "EMAIL_REQUIRED")
    token = issuer.token("auth0|newer", email="new@example.com")
    assert (await dev(token)).viewer["email"] == "new@example.com"


async def test_one_click_signs_in(dev: Asking, db: asyncpg.Connection) -> None:
    ada, bob = await make.person(db, "Ada"), await make.person(db, "<b>Bob</b>")
    page = await dev.http.get("/auth/login?next=/graphql")
    assert page.status_code == 200
    assert f'value="{ada.email}"' in page.text
    assert "&lt;b&gt;Bob" in page.text
    assert 'value="/graphql"' in page.text

    form = {"email": bob.email.upper(), "next": "/graphql"}
    response = await dev.http.post("/auth/login", data=form)
    assert (response.status_code, response.headers["location"]) == (303, "/graphql")
    asked = await dev.http.post("/graphql", json={"query": VIEWER}, headers=ASK)
    assert asked.json()["data"]["viewer"]["email"] == bob.email
    assert (await dev.http.post("/graphql", json={"query": VIEWER})).status_code == 403

    out = await dev.http.get("/auth/logout")
    assert (out.status_code, out.headers["location"]) == (303, "/")
    asked = await dev.http.post("/graphql", json={"query": VIEWER}, headers=ASK)
    assert asked.json()["data"]["viewer"] is None


async def test_the_explorer_is_told_the_people(dev: Asking, db: asyncpg.Connection) -> None:
    ada = await make.person(db, "Ada")
    for number in range(30):
        await make.person(db, f"Someone {number}")
    shown = (await dev.http.get("/auth/options")).json()
    assert shown["signIn"] == "people"
    assert shown["people"][0] == {"email": ada.email, "name": "Ada", "permissions": []}
    assert len(shown["people"]) == 20

    async def found(search: str) -> list[str]:
        answer = await dev.http.get("/auth/options", params={"search": search})
        return [person["name"] for person in answer.json()["people"]]

    assert await found(" SOMEONE 29") == ["Someone 29"]
    assert await found(ada.email) == ["Ada"]
    assert len(await found("someone")) == 20
    assert await found("nobody") == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.example"},
        {"Host": "rebound_example:8000/"},  # request.url puts our own address in its place
        {"Host": "localhost:99999999"},
        {"Host": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
    ],
)
async def test_no_other_site_is_told_the_people(
    dev: Asking, db: asyncpg.Connection, headers: dict[str, str]
) -> None:
    ada = await make.person(db, "Ada")
    refused = await dev.http.get("/auth/options", headers=headers)
    assert refused.status_code == 403
    assert ada.email not in refused.text


async def test_the_sign_in_leads_nowhere_else_and_lets_no_one_else_in(
    dev: Asking, db: asyncpg.Connection, database_url: str, issuer: DevelopmentIssuer
) -> None:
    ada = await make.person(db)
    form = {"email": ada.email, "next": "//evil.example/"}
    assert (await dev.http.post("/auth/login", data=form)).headers["location"] == "/"
    assert (await dev.http.post("/auth/login", data={"email": "no@body"})).status_code == 404
    assert (await dev.http.post("/auth/login", content=b"x" * 20_000)).status_code == 413
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        response = await dev.http.post("/auth/login", data=form, headers=headers)
        assert response.status_code == 403
    # A name of the attacker's that leads to this machine.
    async with developing(database_url, issuer, "http://rebound.example") as other:
        assert (await other.http.get("/auth/login")).status_code == 403
        assert (await other.http.post("/auth/login", data=form)).status_code == 403


@pytest.mark.system
@pytest.mark.usefixtures("page_at_home")
async def test_one_click_in_a_browser(
    database_url: str, issuer: DevelopmentIssuer, db: asyncpg.Connection
) -> None:
    ada = await make.person(db, "Ada")
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    async with developing(database_url, issuer) as dev, listening(dev.app, port):
        options = {
            "method": "POST",
            "headers": {"Content-Type": "application/json", **ASK},
            "body": '{"query": "{ viewer { email } }"}',
        }
        results = await browse(
            ("open", {"url": f"{origin}/auth/login?next=/"}),
            ("press", {"selector": "button[name=email]"}),
            ("fetch", {"url": "/graphql", "options": options}),
        )
    assert results[1] == f"{origin}/"
    assert ada.email in results[2]["body"]


# --- not in production --------------------------------------------------------------------------


@pytest.mark.system
def test_the_commands_refuse_beside_a_provider() -> None:
    for name, value in (("AUTH0_DOMAIN", "a.eu.auth0.com"), ("OIDC_ISSUER", "https://a.example/")):
        for words in (["dev"], ["token", "auth0|ada"], ["token", "--machine", "matcher"]):
            done = run(*words, **{name: value})
            assert done.returncode == 1
            assert f"{name} is set" in done.stderr
            assert done.stdout == ""


@pytest.mark.parametrize(
    "provider", [{"auth0_domain": "a.eu.auth0.com"}, {"oidc_issuer": "https://a.example/"}]
)
def test_no_application_has_both(provider: dict[str, str], issuer: DevelopmentIssuer) -> None:
    settings = Settings.load(database_url="postgresql://u@h/d", **provider)
    with pytest.raises(SettingsError, match="beside the development issuer"):
        create_app(settings, development=issuer)


async def test_with_a_provider_nothing_of_it_is_reachable(
    database_url: str, issuer: DevelopmentIssuer, provider: Issuer, db: asyncpg.Connection
) -> None:
    ada = await make.person(db)
    secrets: dict[str, Any] = {
        "auth0_client_id": "application",
        "auth0_client_secret": "secret",
        "session_secret": "a secret of the tests that is long enough",
    }
    async with (
        asking(database_url, provider.address) as plain,
        asking(database_url, provider.address, **secrets) as signing_in,
        developing(database_url, issuer) as dev,
    ):
        await dev.http.post("/auth/login", data={"email": ada.email})
        (cookie,) = dev.http.cookies.jar
        assert (await plain.http.get("/auth/options")).json() == {"signIn": None, "people": []}
        told = (await signing_in.http.get("/auth/options")).json()
        assert told == {"signIn": "provider", "people": []}
        for ask in (plain, signing_in):
            assert (await ask(issuer.token(ada.sub))).refused == (401, "UNAUTHENTICATED")
            # Its claims, its header, its key under the issuer's name: none of it helps.
            token = provider.token(ada.sub, key=issuer._key)
            assert (await ask(token)).refused == (401, "UNAUTHENTICATED")
            form = {"email": ada.email}
            assert (await ask.http.post("/auth/login", data=form)).status_code in (404, 405)
            said = await ask.send({"Cookie": f"{cookie.name}={cookie.value}", **ASK})
            assert said.status == 401 or said.viewer is None


@pytest.mark.system
def test_serve_never_imports_the_seeded_people() -> None:
    code = "import sys, community_gql.app\nassert 'community_gql.dev.seeding' not in sys.modules\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.system
async def test_serve_refuses_its_tokens(
    database_url: str, provider: Issuer, issuer: DevelopmentIssuer, tmp_path: Path
) -> None:
    port = free_port()
    given = {
        "DATABASE_URL": plain_address(database_url),
        "OIDC_ISSUER": provider.address,
        "AUTH0_AUDIENCE": AUDIENCE,
        "DATA_DIR": str(tmp_path),  # with the key of a development issuer in it
    }
    own = DevelopmentIssuer(tmp_path / "issuer")
    unwanted = {name.upper() for name in Settings.model_fields}
    kept = {key: item for key, item in os.environ.items() if key not in unwanted}
    process = await asyncio.create_subprocess_exec(
        COMMAND, "serve", "--port", str(port), env=kept | given, stdin=subprocess.DEVNULL
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            await until_it_answers(http)
            for signer in (own, issuer):
                said = await viewer(http, signer.token("auth0|ada", email="a@example.com"))
                assert said.status_code == 401
            said = await viewer(http, provider.token(aud=AUDIENCE, claim="a@example.com"))
            assert said.json()["data"]["viewer"]["email"] == "a@example.com"
            assert (await http.get("/auth/login")).status_code == 404
    finally:
        process.terminate()
        await process.wait()


async def until_it_answers(http: httpx.AsyncClient) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            assert (await http.get("/readyz")).status_code == 200
            return
        except httpx.TransportError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


async def viewer(http: httpx.AsyncClient, token: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return await http.post("/graphql", json={"query": VIEWER}, headers=headers)


# --- settings -----------------------------------------------------------------------------------


def test_serve_names_every_setting_that_is_missing() -> None:
    done = run("serve")
    assert done.returncode == 1
    missing = [line.split()[0] for line in done.stderr.removeprefix("error: ").splitlines()]
    assert missing[:3] == ["DATABASE_URL", "AUTH0_DOMAIN", "AUTH0_AUDIENCE"]
    assert "OIDC_ISSUER" in done.stderr
    assert "docs/identity.md" in done.stderr


def test_the_settings_of_signing_in_come_together() -> None:
    given = {
        "DATABASE_URL": "postgresql://u@h/d",
        "AUTH0_DOMAIN": "a.eu.auth0.com",
        "AUTH0_AUDIENCE": "https://api.example.com",
    }
    done = run("serve", AUTH0_CLIENT_ID="x", **given)
    assert done.returncode == 1
    assert "AUTH0_CLIENT_SECRET is not set" in done.stderr
    assert "SESSION_SECRET is not set" in done.stderr
    assert "AUTH0_DOMAIN is not set" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("auth0_domain", "https://a.eu.auth0.com/", "a domain alone"),
        ("auth0_domain", "localhost", "a domain alone"),
        ("oidc_issuer", "http://login.example.com/", "must be https"),
        ("oidc_issuer", "login.example.com", "an address such as"),
        ("oidc_issuer", "https://u:p@login.example.com/", "must not hold a user name"),
        ("oidc_issuer", "https://login.example.com/?a=b", "an address such as"),
        ("session_secret", "short", "at least 32 characters"),
        ("session_secret", f"{'a' * 32},short", "at least 32 characters"),
        ("trusted_proxies", "10.0.0.0/8, proxy", "'proxy' is neither"),
        ("trusted_proxies", "10.0.0.1/8", "neither"),
    ],
)
def test_wrong_settings_are_explained(name: str, value: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason) as caught:
        Settings.load(database_url="postgresql://u@h/d", **{name: value})
    assert str(caught.value).startswith(f"{name.upper()} is wrong: ")


def test_the_issuer_of_auth0_ends_in_a_slash() -> None:
    settings = Settings.load(database_url="postgresql://u@h/d", auth0_domain="A.eu.auth0.com")
    assert settings.issuer == "https://a.eu.auth0.com/"
    for loopback in ("http://127.0.0.1:4000", "http://localhost:1/x", "http://[::1]:2/"):
        settings = Settings.load(database_url="postgresql://u@h/d", oidc_issuer=loopback)
        assert settings.issuer == loopback


def test_no_secret_is_shown() -> None:
    settings = Settings.load(
        database_url="postgresql://u@h/d",
        auth0_client_secret="hush-hush-hush",
        session_secret="hush" * 10,
    )
    assert "hush" not in repr(settings)


@pytest.mark.system
def test_the_token_command(tmp_path: Path) -> None:
    folder = {"DATA_DIR": str(tmp_path)}
    done = run("token", "--machine", "mine", "--permission", "manage:tags", **folder)
    assert done.returncode == 0, done.stderr
    issuer = DevelopmentIssuer(tmp_path / "issuer")
    identity = asyncio.run(issuer.verifier().verify(done.stdout.strip()))
    assert identity.sub == "mine@clients"
    assert identity.permissions == {"manage:tags", "write:features", "write:matches"}
    assert identity.is_machine

    done = run("token", "auth0|new", "--email", "new@example.com", **folder)
    identity = asyncio.run(issuer.verifier().verify(done.stdout.strip()))
    assert (identity.sub, identity.email) == ("auth0|new", "new@example.com")

    for words in (["token"], ["token", "auth0|a", "--machine", "b"]):
        done = run(*words, **folder)
        assert done.returncode == 1
        assert "say whom the token is for" in done.stderr
    assert (tmp_path / "issuer" / "key.json").stat().st_mode & 0o077 == 0
