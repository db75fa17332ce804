"""Signing in and out with a browser, request by request; the browser itself is in test_browser."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx
import pytest

from community_gql.identity.pages import local_path
from community_gql.identity.sessions import Sessions
from tests.identity.asking import VIEWER, Asking, asking
from tests.identity.issuer import AUDIENCE, Issuer

SECRET = "a secret of the tests that is long enough"
SETTINGS: dict[str, Any] = {
    "auth0_client_id": "application",
    "auth0_client_secret": "secret of the application",
    "session_secret": SECRET,
}
ASK = {"X-Requested-With": "tests"}


class Browser:
    """A browser's cookies, redirects one at a time, and nothing else of it."""

    def __init__(self, ask: Asking, base: str, **options: Any) -> None:
        transport = httpx.ASGITransport(ask.app, **options)
        self.here = httpx.AsyncClient(transport=transport, base_url=base)
        self.there = httpx.AsyncClient()

    async def begin(self, path: str = "/auth/login") -> str:
        """Ask to sign in; the address of the provider's page."""
        response = await self.here.get(path)
        assert response.status_code == 302, response.text
        return response.headers["location"]

    async def at_provider(self, address: str) -> str:
        """Sign in there; the path and the query to come back with."""
        response = await self.there.get(address)
        assert response.status_code == 307, response.text
        back = urlsplit(response.headers["location"])
        return f"{back.path}?{back.query}"

    async def sign_in(self, path: str = "/auth/login") -> httpx.Response:
        return await self.here.get(await self.at_provider(await self.begin(path)))

    async def viewer(self, **headers: str) -> httpx.Response:
        body = {"query": VIEWER}
        return await self.here.post("/graphql", json=body, headers={**ASK, **headers})

    @property
    def cookies(self) -> dict[str, str]:
        return {cookie.name: cookie.value or "" for cookie in self.here.cookies.jar}


@pytest.fixture
async def ask(database_url: str, provider: Issuer) -> AsyncIterator[Asking]:
    async with asking(database_url, provider.address, **SETTINGS) as api:
        yield api


@asynccontextmanager
async def browsing(
    ask: Asking, base: str = "http://test", **options: Any
) -> AsyncIterator[Browser]:
    browser = Browser(ask, base, **options)
    async with browser.here, browser.there:
        yield browser


@pytest.fixture
async def browser(ask: Asking) -> AsyncIterator[Browser]:
    async with browsing(ask) as made:
        yield made


def set_cookie(response: httpx.Response) -> Any:
    """The attributes of the only cookie that the response sets."""
    (text,) = response.headers.get_list("set-cookie")
    ((_, morsel),) = SimpleCookie(text).items()
    return morsel


async def test_the_request_to_the_provider(browser: Browser, provider: Issuer) -> None:
    first, second = [urlsplit(await browser.begin()) for _ in range(2)]
    assert first.geturl().startswith(f"{provider.address}authorize?")
    asked = {name: found[0] for name, found in parse_qs(first.query).items()}
    other = {name: found[0] for name, found in parse_qs(second.query).items()}
    assert asked["response_type"] == "code"
    assert asked["client_id"] == "application"
    assert asked["redirect_uri"] == "http://test/auth/callback"
    assert asked["scope"] == "openid email"
    assert asked["audience"] == AUDIENCE
    assert asked["code_challenge_method"] == "S256"
    for secret in ("state", "nonce", "code_challenge"):
        assert len(asked[secret]) >= 20
        assert asked[secret] != other[secret]


async def test_it_does_not_read_the_certificates_each_time(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    await browser.sign_in()
    monkeypatch.setattr("httpcore2.default_ssl_context", None)  # what would read them, for 25 ms
    assert (await browser.sign_in()).status_code == 303


async def test_signing_in_makes_the_row_and_the_session(
    browser: Browser, provider: Issuer, db: asyncpg.Connection
) -> None:
    provider.access_token_changes = {"permissions": ["manage:tags"]}
    response = await browser.sign_in()
    assert (response.status_code, response.headers["location"]) == (303, "/")
    assert await db.fetchval("SELECT email FROM users") == "ada@example.com"
    viewer = (await browser.viewer()).json()["data"]["viewer"]
    assert viewer["email"] == "ada@example.com"
    assert viewer["permissions"] == ["manage:tags"]
    assert viewer["sessionExpiresAt"]


async def test_the_cookie(browser: Browser) -> None:
    cookie = set_cookie(await browser.sign_in())
    assert cookie.key == "community-session"
    assert cookie["httponly"]
    assert cookie["samesite"].lower() == "lax"
    assert cookie["path"] == "/"
    assert cookie["domain"] == ""
    assert not cookie["secure"]
    assert 3500 < int(cookie["max-age"]) <= 3600
    assert "ada" not in cookie.value
    assert len(cookie.value) < 4000


async def test_over_https_the_cookie_is_secure_and_of_this_host_alone(ask: Asking) -> None:
    async with browsing(ask, "https://test") as browser:
        cookie = set_cookie(await browser.sign_in())
        assert cookie.key == "__Host-community-session"
        assert cookie["secure"]
        assert (await browser.viewer()).json()["data"]["viewer"]
        # The name for http is not looked at: any subdomain could have set it.
        browser.here.cookies.clear()
        browser.here.cookies.set("community-session", cookie.value)
        assert (await browser.viewer()).json()["data"]["viewer"] is None


@pytest.mark.parametrize(
    ("client", "trusted", "secure"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3, 192.0.2.1", True),
        ("192.0.2.9", "10.0.0.0/8", False),
        ("10.1.2.3", "127.0.0.1", False),
        ("2001:db8::1", "2001:db8::/32", True),
    ],
)
async def test_forwarded_headers_count_only_from_trusted_proxies(
    client: str, trusted: str, secure: bool, database_url: str, provider: Issuer
) -> None:
    settings = {**SETTINGS, "trusted_proxies": trusted}
    async with (
        asking(database_url, provider.address, **settings) as ask,
        browsing(ask, client=(client, 4711)) as browser,
    ):
        browser.here.headers["X-Forwarded-Proto"] = "https"
        response = await browser.here.get("/auth/login")
        assert bool(set_cookie(response)["secure"]) is secure
        (back,) = parse_qs(urlsplit(response.headers["location"]).query)["redirect_uri"]
        assert back == f"{'https' if secure else 'http'}://test/auth/callback"


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ("/", "/"),
        ("/graphql?query=%7Ba%7D#x", "/graphql?query=%7Ba%7D#x"),
        ("/a//b/../c", "/a//b/../c"),
        ("//evil.example", "/"),
        ("///evil.example", "/"),
        ("/\\evil.example", "/"),
        ("\\\\evil.example", "/"),
        ("/a\\b", "/"),
        ("https://evil.example", "/"),
        ("https:evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("/\n/evil.example", "/"),
        ("\t//evil.example", "/"),
        (" //evil.example", "/"),
        ("/ /evil.example", "/"),
        ("/\x00", "/"),
        ("/ä", "/"),
        ("/a\r\nSet-Cookie: a=b", "/"),
        ("/" + "a" * 500, "/"),
        ("", "/"),
        (None, "/"),
    ],
)
def test_only_paths_of_this_host_are_returned_to(wanted: str | None, path: str) -> None:
    assert local_path(wanted) == path


async def test_next_leads_back_but_never_elsewhere(browser: Browser) -> None:
    response = await browser.sign_in("/auth/login?next=/graphql%3Fa=b")
    assert response.headers["location"] == "/graphql?a=b"
    response = await browser.sign_in("/auth/login?next=https://evil.example/")
    assert response.headers["location"] == "/"
    response = await browser.sign_in("/auth/login?next=//evil.example/")
    assert response.headers["location"] == "/"
    # `next` of the callback means nothing.
    back = await browser.at_provider(await browser.begin())
    response = await browser.here.get(f"{back}&next=https://evil.example/")
    assert response.headers["location"] == "/"


async def refused(browser: Browser, back: str, status: int = 400) -> None:
    response = await browser.here.get(back)
    assert response.status_code == status
    assert "<h1>Signing in did not work</h1>" in response.text
    assert response.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert (await browser.viewer()).json()["data"]["viewer"] is None


async def test_an_answer_with_another_state_is_refused(browser: Browser) -> None:
    back = await browser.at_provider(await browser.begin())
    for bent in (
        back.replace("state=", "state=x"),
        back.replace("state=", "other="),
        "/auth/callback",
        "/auth/callback?code=code-0",
    ):
        await refused(browser, bent)


async def test_an_answer_to_another_browser_is_refused(ask: Asking, browser: Browser) -> None:
    async with browsing(ask) as attacker:
        back = await attacker.at_provider(await attacker.begin())
    await refused(browser, back)


async def test_an_answer_counts_once(browser: Browser) -> None:
    back = await browser.at_provider(await browser.begin())
    assert (await browser.here.get(back)).status_code == 303
    browser.here.cookies.clear()
    await refused(browser, back)


async def test_a_code_of_another_verifier_is_refused(browser: Browser, provider: Issuer) -> None:
    back = await browser.at_provider(await browser.begin())
    (code,) = provider.codes
    provider.codes[code]["code_challenge"] = "of someone else"
    await refused(browser, back)


async def test_an_id_token_with_another_nonce_is_refused(
    browser: Browser, provider: Issuer
) -> None:
    provider.id_token_changes = {"nonce": "replayed"}
    await refused(browser, await browser.at_provider(await browser.begin()))


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": None},
        {"aud": "another application"},
        {"aud": "another application", "azp": None},
        {"aud": None},
        {"aud": ["application", "x"], "azp": "x"},
        {"iss": "https://evil.example/"},
        {"exp": 1},
        {"exp": None},
        {"iat": None},
        {"sub": "auth0|bob"},
        {"header": {"alg": "none"}},
        {"header": {"kid": "nobody's"}},
        {"header": {"alg": "PS256"}},
    ],
    ids=str,
)
async def test_a_bad_id_token_is_refused(
    changes: dict[str, Any], browser: Browser, provider: Issuer, db: asyncpg.Connection
) -> None:
    provider.id_token_changes = changes
    await refused(browser, await browser.at_provider(await browser.begin()))
    assert await db.fetchval("SELECT count(*) FROM users") == 0


@pytest.mark.parametrize(
    "changes", [{"aud": "https://other.example.com"}, {"exp": 1}, {"iss": "https://evil.example/"}]
)
async def test_a_bad_access_token_is_refused(
    changes: dict[str, Any], browser: Browser, provider: Issuer
) -> None:
    provider.access_token_changes = changes
    await refused(browser, await browser.at_provider(await browser.begin()))


@pytest.mark.parametrize(("mode", "status"), [("opaque", 400), ("no-id", 400), ("fail", 503)])
async def test_a_token_endpoint_that_answers_otherwise(
    mode: str, status: int, browser: Browser, provider: Issuer
) -> None:
    provider.token_mode = mode
    back = await browser.at_provider(await browser.begin())
    response = await browser.here.get(back)
    assert response.status_code in (status, 400)
    assert "Traceback" not in response.text


async def test_a_token_endpoint_that_hangs(
    browser: Browser, provider: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("community_gql.identity.signin.TIMEOUT", 0.5)
    provider.token_mode = "hang"
    response = await browser.here.get(await browser.at_provider(await browser.begin()))
    assert response.status_code == 503


async def test_an_answer_of_another_issuer_is_refused(browser: Browser, provider: Issuer) -> None:
    back = await browser.at_provider(await browser.begin())
    await refused(browser, back.partition("&iss=")[0] + "&iss=https%3A%2F%2Fevil.example%2F")


async def test_what_the_provider_says_went_wrong_is_not_shown(browser: Browser) -> None:
    await browser.begin()
    text = "<script>alert(1)</script>"
    response = await browser.here.get(
        "/auth/callback", params={"error": "access_denied", "error_description": text}
    )
    assert response.status_code == 400
    assert "alert" not in response.text


async def test_without_an_address_signing_in_says_so(
    browser: Browser, provider: Issuer, db: asyncpg.Connection
) -> None:
    provider.id_token_changes = {"email_verified": False}
    provider.people["auth0|ada"] = {"email": "ada@example.com", "email_verified": False}
    response = await browser.here.get(await browser.at_provider(await browser.begin()))
    assert response.status_code == 403
    assert "verified e-mail address" in response.text
    assert "/auth/logout" in response.text
    assert (await browser.viewer()).json()["data"]["viewer"] is None
    assert await db.fetchval("SELECT count(*) FROM users") == 0


async def test_an_address_of_another_account_is_said_and_another_way_offered(
    ask: Asking, browser: Browser, provider: Issuer
) -> None:
    await ask(provider.token("auth0|first", claim="ada@example.com"))
    response = await browser.here.get(await browser.at_provider(await browser.begin()))
    assert response.status_code == 403
    assert "Sign in the way you did before" in response.text
    # Signing out reaches the provider's session too, so that another way can be chosen.
    out = await browser.here.get("/auth/logout")
    assert out.headers["location"].startswith(f"{provider.address}logout?")
    assert "id_token_hint" in out.headers["location"]


async def test_the_provider_away_is_said(
    browser: Browser, provider: Issuer, database_url: str
) -> None:
    async with (
        asking(database_url, "http://127.0.0.1:9/", **SETTINGS) as ask,
        browsing(ask) as lost,
    ):
        response = await lost.here.get("/auth/login")
        assert response.status_code == 503
        assert "not possible at the moment" in response.text
        assert (await lost.here.get("/auth/logout")).headers["location"] == "/"


# --- requests with a session --------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_session_needs_the_header(method: str, browser: Browser) -> None:
    await browser.sign_in()
    if method == "GET":
        url = "/graphql?query={viewer{email}}"
        without = await browser.here.get(url)
        with_it = await browser.here.get(url, headers=ASK)
    else:
        body = {"query": "{ viewer { email } }"}
        without = await browser.here.post("/graphql", json=body)
        with_it = await browser.here.post("/graphql", json=body, headers=ASK)
    assert without.status_code == 403
    assert without.json()["errors"][0]["extensions"]["code"] == "CSRF_HEADER_REQUIRED"
    assert "X-Requested-With" in without.json()["errors"][0]["message"]
    assert with_it.json()["data"]["viewer"] == {"email": "ada@example.com"}


async def test_the_header_is_not_needed_without_a_session(browser: Browser) -> None:
    body = {"query": "{ viewer { email } }"}
    assert (await browser.here.post("/graphql", json=body)).status_code == 200
    await browser.begin()  # a cookie, but nobody's
    assert (await browser.here.post("/graphql", json=body)).status_code == 200


async def test_with_both_the_bearer_counts(browser: Browser, provider: Issuer) -> None:
    await browser.sign_in()
    token = provider.token("auth0|bob", claim="bob@example.com")
    response = await browser.viewer(Authorization=f"Bearer {token}")
    assert response.json()["data"]["viewer"]["email"] == "bob@example.com"
    # A bad bearer is not saved by a good session, and does not end it.
    bad = await browser.viewer(Authorization="Bearer x")
    assert bad.status_code == 401
    assert "set-cookie" not in bad.headers
    # Nor does the header rule apply to what a bearer vouches for.
    body = {"query": "{ __typename }"}
    headers = {"Authorization": f"Bearer {token}"}
    assert (await browser.here.post("/graphql", json=body, headers=headers)).status_code == 200


@pytest.mark.parametrize("value", ["x", "a.b.c.d.e", "", "eyJhbGciOiJkaXIifQ...."])
async def test_a_forged_session_is_401_and_dropped(value: str, browser: Browser) -> None:
    response = await browser.here.post(
        "/graphql",
        json={"query": VIEWER},
        headers={**ASK, "Cookie": f"community-session={value}"},
    )
    assert response.status_code == 401
    assert response.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    cookie = set_cookie(response)
    assert (cookie.key, cookie.value, cookie["max-age"]) == ("community-session", "", "0")


async def test_a_session_of_another_secret_is_401(
    browser: Browser, database_url: str, provider: Issuer
) -> None:
    settings = {**SETTINGS, "session_secret": "another secret that is long enough as well"}
    async with (
        asking(database_url, provider.address, **settings) as ask,
        browsing(ask) as other,
    ):
        await other.sign_in()
        browser.here.cookies = other.here.cookies
        assert (await browser.viewer()).status_code == 401


async def test_a_session_ends_with_its_token(browser: Browser, provider: Issuer) -> None:
    provider.access_token_changes = {"exp": int(time.time()) + 6}
    await browser.sign_in()
    assert (await browser.viewer()).json()["data"]["viewer"]
    await asyncio.sleep(6)
    # As a browser that keeps the cookie although its time is over.
    for cookie in browser.here.cookies.jar:
        cookie.expires = None
    assert (await browser.viewer()).status_code == 401
    assert browser.cookies == {}
    assert (await browser.viewer()).json()["data"]["viewer"] is None


async def test_deleting_the_account_ends_the_session(browser: Browser, provider: Issuer) -> None:
    provider.access_token_changes = {"iat": int(time.time()) - 5}
    await browser.sign_in()
    me = (await browser.viewer()).json()["data"]["viewer"]["user"]["id"]
    gone = "mutation($id: ID!) { deleteAccount(input: {id: $id}) { userErrors { code } } }"
    body = {"query": gone, "variables": {"id": me}}
    done = await browser.here.post("/graphql", json=body, headers=ASK)
    assert done.json()["data"]["deleteAccount"]["userErrors"] == []
    # A write says at once what a read would say within seconds.
    write = {"query": 'mutation { createGarden(input: {name: "x"}) { garden { name } } }'}
    answer = await browser.here.post("/graphql", json=write, headers=ASK)
    assert answer.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert browser.cookies == {}
    assert (await browser.viewer()).json()["data"]["viewer"] is None


async def test_a_session_keeps_no_token_that_others_would_take(browser: Browser) -> None:
    await browser.sign_in()
    kept = Sessions([SECRET]).open(browser.cookies["community-session"])
    assert kept is not None
    assert sorted(kept) == ["id_token", "viewer"]
    assert sorted(kept["viewer"]) == ["email", "exp", "iat", "permissions", "sub"]


async def test_a_long_id_token_is_left_out(browser: Browser, provider: Issuer) -> None:
    provider.id_token_changes = {"picture": "x" * 3000}
    await browser.sign_in()
    kept = Sessions([SECRET]).open(browser.cookies["community-session"])
    assert kept is not None
    assert sorted(kept) == ["viewer"]
    out = await browser.here.get("/auth/logout")
    assert "client_id=application" in out.headers["location"]


async def test_more_permissions_than_a_cookie_holds(browser: Browser, provider: Issuer) -> None:
    provider.access_token_changes = {"permissions": [f"permission:{n:05}" for n in range(250)]}
    response = await browser.here.get(await browser.at_provider(await browser.begin()))
    assert response.status_code == 500
    assert "too large" in response.text


# --- signing out --------------------------------------------------------------------------------


async def test_signing_out_here_and_there(browser: Browser, provider: Issuer) -> None:
    await browser.sign_in()
    response = await browser.here.get("/auth/logout")
    assert response.status_code == 303
    there = urlsplit(response.headers["location"])
    assert there.geturl().startswith(f"{provider.address}logout?")
    said = parse_qs(there.query)
    assert said["client_id"] == ["application"]
    assert said["post_logout_redirect_uri"] == ["http://test/"]
    assert said["id_token_hint"]
    assert browser.cookies == {}
    assert (await browser.viewer()).json()["data"]["viewer"] is None


async def test_an_auth0_tenant_without_discovery_of_logout(
    database_url: str, provider: Issuer
) -> None:
    provider.ends = False
    settings = {**SETTINGS, "auth0_domain": "example.eu.auth0.com"}
    async with (
        asking(database_url, provider.address, **settings) as ask,
        browsing(ask) as browser,
    ):
        await browser.sign_in()
        out = await browser.here.post("/auth/logout")
        assert out.headers["location"] == (
            "https://example.eu.auth0.com/v2/logout?client_id=application"
            "&returnTo=http%3A%2F%2Ftest%2F"
        )


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
async def test_another_site_cannot_sign_anyone_out(
    headers: dict[str, str], browser: Browser
) -> None:
    await browser.sign_in()
    posted = await browser.here.post("/auth/logout", headers=headers)
    assert posted.status_code == 403
    followed = await browser.here.get("/auth/logout", headers=headers)
    assert followed.status_code == 200
    assert "Sign out?" in followed.text
    assert browser.cookies
    for kind in ({"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
        assert (await browser.here.post("/auth/logout", headers=kind)).status_code == 303


async def test_methods(browser: Browser) -> None:
    assert (await browser.here.post("/auth/login")).status_code == 405
    assert (await browser.here.post("/auth/callback")).status_code == 405
    assert (await browser.here.put("/auth/logout")).status_code == 405


async def test_without_the_settings_there_is_no_sign_in(
    database_url: str, provider: Issuer
) -> None:
    async with asking(database_url, provider.address) as ask:
        for path in ("login", "callback", "logout"):
            assert (await ask.http.get(f"/auth/{path}")).status_code == 404
        said = await ask.send({"Cookie": "community-session=x"})
        assert said.viewer is None
