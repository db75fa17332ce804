"""An issuer of tokens on loopback, in this process: its answers can be broken at will."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import json
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlencode

import uvicorn
from joserfc import jws, jwt
from joserfc.jwk import ECKey, OctKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

AUDIENCE = "https://api.example.com"
EMAIL = "https://community-gql/email"

_turn = itertools.count()


def new_key(kid: str) -> RSAKey:
    """A key of 2048 bits, another one than the two before. Making one takes a while: there are
    three, and each is read once for a name."""
    return _named(next(_turn) % 3, kid)


@cache
def _numbers(_: int) -> RSAKey:
    return RSAKey.generate_key(2048)


@cache
def _named(number: int, kid: str) -> RSAKey:
    numbers = _numbers(number).as_dict(private=True)
    return RSAKey.import_key(numbers | {"kid": kid, "use": "sig"})


class Issuer:
    """Signs tokens, and answers for its keys and its people."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.key = new_key("first")
        self.published: list[Any] = [self.key]
        self.people: dict[str, dict[str, Any]] = {}
        """What /userinfo says of each ``sub``, for any token that names them."""
        self.mode = "ok"
        """How the key set is answered: ok, fail, hang, garbage, empty, huge, drip or wrong."""
        self.userinfo_mode = "ok"
        self.fetches = 0
        self.in_flight = self.most_in_flight = 0
        self.userinfos = 0
        self.codes: dict[str, dict[str, str]] = {}
        """What each authorization code was asked for with."""
        self.who = "auth0|ada"
        """Who signs in."""
        self.email: str | None = "ada@example.com"
        self.id_token_changes: dict[str, Any] = {}
        self.access_token_changes: dict[str, Any] = {}
        self.token_mode = "ok"
        """How the token endpoint answers: ok, fail, hang, opaque or no-id."""
        self.ends = True
        """Whether discovery names an end_session_endpoint."""

    def rotate(self, kid: str, *, keep: bool = True) -> None:
        """Sign with a new key from now on; the old ones stay published, or not."""
        self.key = new_key(kid)
        self.published = [self.key, *(self.published if keep else ())]

    def claims(
        self, sub: Any = "auth0|ada", *, claim: str | None = None, **changes: Any
    ) -> dict[str, Any]:
        """The claims of a good token; a change of None leaves one out.

        ``claim`` is the address that an Action adds to access tokens.
        """
        now = int(time.time())
        claims = {
            "iss": self.address,
            "aud": [AUDIENCE, f"{self.address}userinfo"],
            "sub": sub,
            "iat": now,
            "exp": now + 3600,
            "azp": "application",
            "scope": "openid email",
            "permissions": [],
            EMAIL: claim,
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self,
        sub: Any = "auth0|ada",
        *,
        claim: str | None = None,
        header: Mapping[str, Any] | None = None,
        key: RSAKey | ECKey | OctKey | None = None,
        **changes: Any,
    ) -> str:
        """A good token, but for what is changed in its header, its key or its claims."""
        key = key or self.key
        head = {"alg": "RS256", "typ": "JWT", "kid": key.kid, **(header or {})}
        head = {name: value for name, value in head.items() if value is not None}
        if head["alg"] == "none":
            parts = [json.dumps(part).encode() for part in (head, self.claims(sub, **changes))]
            return ".".join(base64.urlsafe_b64encode(p).decode().rstrip("=") for p in parts) + "."
        registry = jws.JWSRegistry(
            algorithms=["RS256", "PS256", "ES256"], strict_check_header=False
        )
        return jwt.encode(head, self.claims(sub, claim=claim, **changes), key, registry=registry)

    def signed(self, payload: bytes, header: Mapping[str, Any] | None = None) -> str:
        """Anything at all, with a good signature."""
        head = {"alg": "RS256", "kid": self.key.kid, **(header or {})}
        return jws.serialize_compact(head, payload, self.key, algorithms=["RS256"])

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._discovery),
                Route("/keys", self._keys),
                Route("/userinfo", self._userinfo),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
            ]
        )

    async def _discovery(self, _: Request) -> Response:
        if self.mode == "no-discovery":
            return Response("no", 500)
        addresses = {
            "issuer": self.address if self.mode != "wrong" else "https://evil.example/",
            "jwks_uri": f"{self.address}keys",
            "authorization_endpoint": f"{self.address}authorize",
            "token_endpoint": f"{self.address}token",
            "userinfo_endpoint": f"{self.address}userinfo",
        }
        if self.ends:
            addresses["end_session_endpoint"] = f"{self.address}logout"
        return JSONResponse(addresses)

    async def _keys(self, _: Request) -> Response:
        self.fetches += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._key_set()
        finally:
            self.in_flight -= 1

    async def _key_set(self) -> Response:
        await asyncio.sleep(0.02)
        match self.mode:
            case "fail":
                return Response("away", 500)
            case "hang":
                await asyncio.sleep(60)
            case "garbage":
                return Response("<html>", media_type="application/json")
            case "list":
                return JSONResponse([1, 2])
            case "empty":
                return JSONResponse({"keys": []})
            case "huge":
                return JSONResponse({"keys": [], "x": "x" * 2_000_000})
            case "redirect":
                return Response(status_code=302, headers={"Location": f"{self.address}keys2"})
        public = [k if isinstance(k, dict) else k.as_dict(private=False) for k in self.published]
        return JSONResponse({"keys": public})

    async def _authorize(self, request: Request) -> Response:
        """Everyone is signed in at once."""
        asked = dict(request.query_params)
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        query = urlencode({"code": code, "state": asked["state"], "iss": self.address})
        return RedirectResponse(f"{asked['redirect_uri']}?{query}")

    async def _token(self, request: Request) -> Response:
        if self.token_mode == "hang":
            await asyncio.sleep(60)
        if self.token_mode == "fail":
            return Response("away", 500)
        form = dict(parse_qsl((await request.body()).decode()))
        asked = self.codes.pop(form["code"], None)
        basic = base64.b64encode(b"application:secret of the application").decode()
        challenge = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if (
            asked is None
            or request.headers.get("authorization") != f"Basic {basic}"
            or asked["redirect_uri"] != form["redirect_uri"]
            or asked["code_challenge_method"] != "S256"
            or base64.urlsafe_b64encode(challenge).decode().rstrip("=") != asked["code_challenge"]
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        claims = {
            "aud": "application",
            "nonce": asked["nonce"],
            "email": self.email,
            "email_verified": True,
            "permissions": None,
            **self.id_token_changes,
        }
        id_token = self.token(claims.pop("sub", self.who), **claims)
        access = self.token(self.who, **{"aud": asked["audience"], **self.access_token_changes})
        answer = {"token_type": "Bearer", "expires_in": 3600, "access_token": access}
        if self.token_mode == "opaque":
            answer["access_token"] = "not a JWT"
        if self.token_mode != "no-id":
            answer["id_token"] = id_token
        return JSONResponse(answer)

    async def _userinfo(self, request: Request) -> Response:
        self.userinfos += 1
        if self.userinfo_mode == "fail":
            return Response("away", 500)
        if self.userinfo_mode == "refuse":
            return Response("no", 403)
        token = request.headers["authorization"].removeprefix("Bearer ")
        payload = jws.extract_compact(token.encode()).payload
        sub = json.loads(payload)["sub"]
        return JSONResponse({"sub": sub, **self.people.get(sub, {})})


def free_port() -> int:
    """A port of loopback that is free at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@asynccontextmanager
async def listening(app: Any, port: int = 0) -> AsyncIterator[str]:
    """Serve an ASGI application on loopback for the block; its origin."""
    listener = socket.create_server(("127.0.0.1", port))
    # No lifespan here: who wants one runs it in this task, where its end can be waited for.
    config = uvicorn.Config(app, log_config=None, lifespan="off", proxy_headers=False)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server._serve([listener]))
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        await task
        listener.close()


@asynccontextmanager
async def issuing() -> AsyncIterator[Issuer]:
    """An issuer of its own, with the slash at the end of its address that Auth0's have."""
    port = free_port()
    issuer = Issuer(f"http://127.0.0.1:{port}/")
    async with listening(issuer.app(), port):
        yield issuer
