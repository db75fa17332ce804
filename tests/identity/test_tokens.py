"""What makes a token good, and every single thing that makes it bad."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from community_gql.errors import Unauthenticated
from community_gql.identity import tokens
from community_gql.identity.tokens import TokenVerifier, usable_email
from tests.identity.asking import Asking, asking
from tests.identity.issuer import AUDIENCE, EMAIL, Issuer, new_key

Make = Callable[[Issuer], str]


def raw(part: Any) -> str:
    text = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def unsigned(i: Issuer, alg: str = "none", signature: str = "") -> str:
    return f"{raw({'alg': alg, 'kid': i.key.kid})}.{raw(i.claims())}.{signature}"


def hmac_with_the_public_key(i: Issuer) -> str:
    # By hand: joserfc refuses to take a public key for a secret.
    text = f"{raw({'alg': 'HS256', 'typ': 'JWT', 'kid': i.key.kid})}.{raw(i.claims())}"
    secret = i.key.as_pem(private=False)
    return f"{text}.{raw(hmac.digest(secret, text.encode(), 'sha256'))}"


def critical(i: Issuer) -> str:
    head = {"alg": "RS256", "kid": i.key.kid, "crit": ["exp"], "exp": 1}
    text = f"{raw(head)}.{raw(i.claims())}"
    assert i.key.private_key is not None
    signature = i.key.private_key.sign(text.encode(), PKCS1v15(), SHA256())
    return f"{text}.{raw(signature)}"


def ec_key(i: Issuer) -> ECKey:
    return ECKey.generate_key("P-256", {"kid": str(i.key.kid)})


def of_another_key(i: Issuer) -> str:
    return i.token(key=RSAKey.generate_key(2048, {"kid": str(i.key.kid)}))


def with_its_own_key(i: Issuer, name: str) -> str:
    own = RSAKey.generate_key(2048, {"kid": "own"})
    values = {
        "jwk": own.as_dict(private=False),
        "jku": f"{i.address}keys",
        "x5u": f"{i.address}keys",
        "x5c": ["MIIB"],
    }
    return i.token(header={name: values[name]}, key=own)


REFUSED: dict[str, Make] = {
    "alg none": unsigned,
    "alg None in other letters": lambda i: unsigned(i, "nOnE"),
    "alg none with a signature": lambda i: unsigned(i, "none", "c2ln"),
    "alg empty": lambda i: unsigned(i, ""),
    "HS256 with the public key as its secret": hmac_with_the_public_key,
    "PS256 with the right key": lambda i: i.token(header={"alg": "PS256"}),
    "ES256": lambda i: i.token(header={"alg": "ES256"}, key=ec_key(i)),
    "RS256 of another key under the right kid": of_another_key,
    "no signature": lambda i: i.token().rpartition(".")[0] + ".",
    "changed claims": lambda i: ".".join(
        [(parts := i.token().split("."))[0], raw(i.claims("auth0|eve")), parts[2]]
    ),
    "aud wrong": lambda i: i.token(aud="https://other.example.com"),
    "aud missing": lambda i: i.token(aud=None),
    "aud a list without ours": lambda i: i.token(aud=["https://other.example.com", "x"]),
    "aud an empty list": lambda i: i.token(aud=[]),
    "aud an empty string": lambda i: i.token(aud=""),
    "aud a list in a list": lambda i: i.token(aud=[[AUDIENCE]]),
    "aud with a slash more": lambda i: i.token(aud=f"{AUDIENCE}/"),
    "aud an object": lambda i: i.token(aud={AUDIENCE: 1}),
    "iss of someone else": lambda i: i.token(iss="https://evil.example.com/"),
    "iss without the slash at its end": lambda i: i.token(iss=i.address.rstrip("/")),
    "iss missing": lambda i: i.token(iss=None),
    "iss a list": lambda i: i.token(iss=[i.address]),
    "expired": lambda i: i.token(exp=int(time.time()) - 31),
    "exp missing": lambda i: i.token(exp=None),
    "exp a text": lambda i: i.token(exp=str(int(time.time()) + 60)),
    "exp true": lambda i: i.token(exp=True),
    "exp after the year 9999": lambda i: i.token(exp=10**18),
    "exp of 400 digits": lambda i: i.token(exp=10**400),
    "exp not a number": lambda i: i.signed(
        json.dumps({**i.claims(), "exp": float("nan")}).encode()
    ),
    "not yet valid": lambda i: i.token(nbf=int(time.time()) + 35),
    "nbf a text": lambda i: i.token(nbf="0"),
    "iat missing": lambda i: i.token(iat=None),
    "iat in the future": lambda i: i.token(iat=int(time.time()) + 35),
    "iat before 1970": lambda i: i.token(iat=-1),
    "sub missing": lambda i: i.token(sub=None),
    "sub empty": lambda i: i.token(sub=""),
    "sub of spaces": lambda i: i.token(sub="   "),
    "sub of 65 characters": lambda i: i.token(sub="a" * 65),
    "sub of 50 KB": lambda i: i.token(sub="a" * 50_000),
    "sub with a NUL": lambda i: i.token(sub="auth0|a\x00b"),
    "sub with a line break": lambda i: i.token(sub="auth0|a\nb"),
    "sub with half a character": lambda i: i.signed(
        json.dumps({**i.claims(), "sub": "auth0|\ud800"}).encode()
    ),
    "sub a number": lambda i: i.token(sub=5),
    "sub a list": lambda i: i.token(sub=["auth0|ada"]),
    "kid missing": lambda i: i.token(header={"kid": None}),
    "kid empty": lambda i: i.token(header={"kid": ""}),
    "kid unknown": lambda i: i.token(header={"kid": "nobody's"}),
    "kid a number": lambda i: f"{raw({'alg': 'RS256', 'kid': 5})}.{raw(i.claims())}.c2ln",
    "kid a list": lambda i: f"{raw({'alg': 'RS256', 'kid': ['first']})}.{raw(i.claims())}.c2ln",
    "kid a path": lambda i: i.token(header={"kid": "../../../dev/null"}),
    "kid of 300 characters": lambda i: i.token(header={"kid": "k" * 300}),
    "an embedded jwk": lambda i: with_its_own_key(i, "jwk"),
    "an embedded jku": lambda i: with_its_own_key(i, "jku"),
    "an embedded x5u": lambda i: with_its_own_key(i, "x5u"),
    "an embedded x5c": lambda i: with_its_own_key(i, "x5c"),
    "a jwk beside the right kid": lambda i: i.token(header={"jwk": {"kty": "RSA"}}),
    "an unknown critical extension": critical,
    "typ of an ID token of another kind": lambda i: i.token(header={"typ": "logout+jwt"}),
    "typ a list": lambda i: f"{raw({'alg': 'RS256', 'typ': ['JWT'], 'kid': 'first'})}.e30.c2ln",
    "a token of 9 KB": lambda i: i.token(padding="x" * 9_000),
    "claims that are a list": lambda i: i.signed(b'["sub"]'),
    "claims that are no JSON": lambda i: i.signed(b"sub=ada"),
    "claims nested without end": lambda i: i.signed(b"[" * 3000),
    "no token at all": lambda i: "",
    "a word": lambda i: "token",
    "two parts": lambda i: i.token().rpartition(".")[0],
    "four parts": lambda i: i.token() + ".x",
    "five parts, as of an encrypted one": lambda i: "a.b.c.d.e",
    "a header that is a list": lambda i: f"{raw(['alg', 'kid'])}.e30.c2ln",
    "a header that is a text": lambda i: f"{raw('alg b64 kid')}.e30.c2ln",
    "a header nested without end": lambda i: f"{raw(b'[' * 300)}.e30.c2ln",
    "letters from elsewhere": lambda i: i.token()[:-3] + "äöü",
    "two tokens": lambda i: f"{i.token()} {i.token()}",
    "two tokens with a comma": lambda i: f"{i.token()},{i.token()}",
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
async def test_refused(make: Make, ask: Asking, provider: Issuer) -> None:
    token = make(provider)
    value = f"Bearer {token}".encode("latin-1")

    said = await ask.send({"Authorization": value})

    assert said.refused == (401, "UNAUTHENTICATED")
    challenge = said.response.headers["www-authenticate"]
    assert challenge.startswith("Bearer ")
    assert 'error="invalid_token"' in challenge
    assert said.response.headers["cache-control"] == "no-store"
    assert said.statements == []
    assert token[:20] not in said.response.text or len(token) < 20


ACCEPTED: dict[str, Make] = {
    "of Auth0's older dialect": lambda i: i.token(claim="a@example.com"),
    "of RFC 9068": lambda i: i.token(header={"typ": "at+jwt"}, claim="a@example.com"),
    "with its typ in full": lambda i: i.token(
        header={"typ": "application/at+jwt"}, claim="a@example.com"
    ),
    "without typ": lambda i: i.signed(json.dumps(i.claims(claim="a@example.com")).encode()),
    "with one audience": lambda i: i.token(aud=AUDIENCE, claim="a@example.com"),
    "expired within the leeway": lambda i: i.token(
        exp=int(time.time()) - 25, claim="a@example.com"
    ),
    "of a clock that is ahead": lambda i: i.token(
        iat=int(time.time()) + 25, nbf=int(time.time()) + 25, claim="a@example.com"
    ),
    "with fractions of seconds": lambda i: i.token(
        iat=time.time() - 0.5, exp=time.time() + 60.5, claim="a@example.com"
    ),
    "with a header that means nothing": lambda i: i.token(
        header={"x5t": "abc", "vendor": 1}, claim="a@example.com"
    ),
    "of a sub of 64 characters": lambda i: i.token("a" * 64, claim="a@example.com"),
}


@pytest.mark.parametrize("make", ACCEPTED.values(), ids=ACCEPTED)
async def test_accepted(make: Make, ask: Asking, provider: Issuer) -> None:
    assert (await ask(make(provider))).viewer["email"] == "a@example.com"


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer", "bEaReR"])
async def test_the_scheme_in_any_letters(scheme: str, ask: Asking, provider: Issuer) -> None:
    token = provider.token(claim="a@example.com")
    said = await ask.send({"Authorization": f"{scheme}  {token}"})
    assert said.viewer["email"] == "a@example.com"


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic YTpi", "Token x", "Negotiate"])
async def test_other_schemes_are_refused(value: str, ask: Asking) -> None:
    assert (await ask.send({"Authorization": value})).refused == (401, "UNAUTHENTICATED")


async def test_several_authorization_headers_are_refused(ask: Asking, provider: Issuer) -> None:
    value = f"Bearer {provider.token(claim='a@example.com')}"
    for second in (value, "Bearer x", "Basic YTpi", ""):
        headers = [("Authorization", value), ("Authorization", second)]
        assert (await ask.send(headers)).refused == (401, "UNAUTHENTICATED")


async def test_a_token_in_the_query_string_or_the_body_is_ignored(
    ask: Asking, provider: Issuer
) -> None:
    token = provider.token(claim="a@example.com")
    said = await ask.send({}, path=f"/graphql?access_token={token}&token={token}")
    assert said.viewer is None
    body = {"query": "{ viewer { email } }", "access_token": token}
    response = await ask.http.post("/graphql", json=body)
    assert response.json()["data"] == {"viewer": None}


async def test_no_token_is_the_anonymous_viewer_and_takes_no_statement(ask: Asking) -> None:
    said = await ask()
    assert said.viewer is None
    assert said.statements == []


async def test_a_removed_key_is_refused(ask: Asking, provider: Issuer) -> None:
    old = provider.token(claim="a@example.com")
    assert (await ask(old)).viewer
    provider.rotate("second", keep=False)
    assert (await ask(provider.token(claim="a@example.com"))).viewer
    assert (await ask(old)).refused == (401, "UNAUTHENTICATED")


async def test_an_id_token_is_no_access_token(ask: Asking, provider: Issuer) -> None:
    said = await ask(provider.token(aud="application", nonce="n", email_verified=True))
    assert said.refused == (401, "UNAUTHENTICATED")


async def test_permissions_and_the_end_of_the_token_are_shown(
    ask: Asking, provider: Issuer
) -> None:
    end = int(time.time()) + 1234
    token = provider.token(
        permissions=["write:matches", "manage:tags"], exp=end, claim="a@example.com"
    )
    viewer = (await ask(token)).viewer
    assert viewer["permissions"] == ["manage:tags", "write:matches"]
    shown = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(end))
    assert viewer["sessionExpiresAt"].startswith(shown)


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"permissions": None, "scope": "openid manage:tags"}, ["manage:tags", "openid"]),
        ({"permissions": [], "scope": "manage:tags"}, []),
        ({"permissions": "manage:tags"}, []),
        ({"permissions": ["manage:tags", 5, None, ["x"], "a\x00b"]}, ["manage:tags"]),
        ({"permissions": {"manage:tags": True}}, []),
        ({"permissions": None, "scope": ["manage:tags"]}, []),
        ({"permissions": None, "scope": None}, []),
    ],
)
async def test_where_permissions_come_from(
    ask: Asking, provider: Issuer, claims: dict[str, Any], expected: list[str]
) -> None:
    said = await ask(provider.token(**claims, claim="a@example.com"))
    assert said.viewer["permissions"] == expected


async def test_permissions_gate_tags_and_the_mutations_of_machines(
    ask: Asking, provider: Issuer
) -> None:
    create = 'mutation { createTag(input: {name: "moss"}) { tag { name } userErrors { code } } }'
    matches = "mutation { putMatches(input: {matches: []}) { userErrors { code } } }"
    plain = provider.token(claim="a@example.com")
    gifted = provider.token(permissions=["manage:tags"], claim="a@example.com")
    machine = provider.token("matcher@clients", permissions=["write:matches"])

    def codes(said: Any, name: str) -> list[str]:
        return [error["code"] for error in said.body["data"][name]["userErrors"]]

    assert codes(await ask(plain, create), "createTag") == ["FORBIDDEN"]
    assert codes(await ask(gifted, create), "createTag") == []
    assert codes(await ask(gifted, matches), "putMatches") == ["FORBIDDEN"]
    assert codes(await ask(machine, matches), "putMatches") == ["REQUIRED"]  # the empty batch


async def test_the_email_claim_is_a_setting(database_url: str, provider: Issuer) -> None:
    async with asking(database_url, provider.address, email_claim="https://x/e") as ask:
        claims: dict[str, Any] = {"https://x/e": "x@example.com"}
        token = provider.token(claim="y@example.com", **claims)
        assert (await ask(token)).viewer["email"] == "x@example.com"


@pytest.mark.parametrize(
    ("claim", "email"),
    [
        ("a@b", "a@b"),
        (" a@example.com ", "a@example.com"),
        ('"a@b"@example.com', '"a@b"@example.com'),
        (None, None),
        (5, None),
        (["a@example.com"], None),
        ("", None),
        ("a", None),
        ("@example.com", None),
        ("a@", None),
        ("a b@example.com", None),
        ("a\x00@example.com", None),
        ("a\n@example.com", None),
        ("a\ud800@example.com", None),
        (f"{'a' * 250}@b.de", None),
    ],
)
def test_usable_email(claim: object, email: str | None) -> None:
    assert usable_email(claim) == email


class OneKey:
    def __init__(self) -> None:
        self.key = new_key("first")

    async def find(self, kid: str) -> RSAKey | None:
        return self.key

    def held(self, kid: str) -> RSAKey | None:
        return self.key


_keys = OneKey()
_verifier = TokenVerifier(_keys, "https://issuer.example/", AUDIENCE)
_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)  # the machine may be busy
@given(st.text() | st.builds(lambda parts: ".".join(parts), st.lists(st.text(), max_size=5)))
async def test_no_text_is_a_token_or_a_fault(text: str) -> None:
    with pytest.raises(Unauthenticated):
        await _verifier.verify(text)


@settings(deadline=None)  # the machine may be busy
@given(st.fixed_dictionaries({"alg": _json, "kid": _json, "typ": _json}) | _json)
async def test_no_header_is_a_fault(header: Any) -> None:
    with pytest.raises(Unauthenticated):
        await _verifier.verify(f"{raw(header)}.{raw({})}.c2ln")


_names = st.sampled_from(["iss", "aud", "sub", "exp", "iat", "nbf", "permissions", "scope", EMAIL])


@settings(deadline=None)  # the machine may be busy
@given(st.dictionaries(_names, _json))
async def test_no_claims_are_a_fault(changes: dict[str, Any]) -> None:
    issuer = Issuer("https://issuer.example/")
    issuer.key = _keys.key
    payload = json.dumps({**issuer.claims(), **changes}).encode()
    try:
        identity = await _verifier.verify(issuer.signed(payload))
    except Unauthenticated:
        return
    assert 0 < len(identity.sub) <= 64


# --- Remembered ---


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens whose signatures were verified."""
    texts: list[str] = []
    decode = jwt.decode

    def noted(token: str, *given: Any, **named: Any) -> Any:
        texts.append(token)
        return decode(token, *given, **named)

    monkeypatch.setattr(jwt, "decode", noted)
    return texts


async def test_a_good_token_is_verified_once(decoded: list[str]) -> None:
    issuer, keys = Issuer("https://issuer.example/"), OneKey()
    issuer.key = keys.key
    verifier = TokenVerifier(keys, "https://issuer.example/", AUDIENCE)
    one, other = issuer.token(), issuer.token(sub="auth0|grace")

    for _ in range(3):
        assert (await verifier.verify(one)).sub == "auth0|ada"
        assert (await verifier.verify(other)).sub == "auth0|grace"
        with pytest.raises(Unauthenticated):
            await verifier.verify(f"{one}x")

    assert [decoded.count(token) for token in (one, other, f"{one}x")] == [1, 1, 3]


async def test_a_remembered_token_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    issuer, keys = Issuer("https://issuer.example/"), OneKey()
    issuer.key = keys.key
    verifier = TokenVerifier(keys, "https://issuer.example/", AUDIENCE)
    now = time.time()
    token = issuer.token(exp=int(now) + 60)
    await verifier.verify(token)
    monkeypatch.setattr(time, "time", lambda: now + 60 + tokens.LEEWAY - 2)
    await verifier.verify(token)
    monkeypatch.setattr(time, "time", lambda: now + 60 + tokens.LEEWAY + 2)
    with pytest.raises(Unauthenticated, match="expired"):
        await verifier.verify(token)


async def test_a_remembered_token_ends_with_its_key() -> None:
    issuer, keys = Issuer("https://issuer.example/"), OneKey()
    issuer.key = keys.key
    verifier = TokenVerifier(keys, "https://issuer.example/", AUDIENCE)
    token = issuer.token()
    await verifier.verify(token)
    keys.key = new_key("first")  # another one under the same name
    with pytest.raises(Unauthenticated, match="signature"):
        await verifier.verify(token)
