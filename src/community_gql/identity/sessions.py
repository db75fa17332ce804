"""The session of a browser: one encrypted, authenticated cookie, and nothing on the server.

It holds the claims of the access token at sign-in. It ends when that token would end, and whatever
ends a token ends it too. It is a JWE (``dir``, A256GCM): its holder can neither read nor change it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from starlette.requests import Request
from starlette.responses import Response

from community_gql.identity.tokens import Identity

COOKIE = "community-session"
SECURE_PREFIX = "__Host-"  # browsers accept it only over https, from this host, for all paths
MAX_COOKIE_BYTES = 4000  # of the value; browsers take 4096 with the name and the attributes
SIGNING_IN = 600  # seconds that a person has to sign in at the provider
HEADER = {"alg": "dir", "enc": "A256GCM"}
ALGORITHMS = list(HEADER.values())

Session = dict[str, Any]
"""``viewer`` (see ``remember``), ``id_token`` for signing out, and Authlib's state."""


class SessionTooLarge(Exception):
    """A session that is too large for a browser to store."""


class Sessions:
    """Seals sessions with the first of ``secrets`` and opens what any of them sealed."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = [OctKey.import_key(_derive(secret)) for secret in secrets]

    def read(self, request: Request) -> Session | None:
        """The session of a request: empty without a cookie, None if the cookie is not valid."""
        sealed = _sealed(request)
        return {} if sealed is None else self.open(sealed)

    def write(self, request: Request, response: Response, kept: Mapping[str, Any]) -> None:
        """Set the session's cookie. Raises SessionTooLarge."""
        seconds = SIGNING_IN
        if viewer := kept.get("viewer"):
            seconds = max(seconds, int(viewer["exp"] - time.time()))
        sealed = self.seal(kept, seconds)
        if len(sealed) > MAX_COOKIE_BYTES:
            raise SessionTooLarge
        secure = request.url.scheme == "https"
        response.set_cookie(
            _name(request), sealed, seconds, secure=secure, httponly=True, samesite="lax"
        )

    def end(self, request: Request, response: Response) -> None:
        """Make the browser delete its session, if it has one."""
        if _sealed(request) is not None:
            secure = request.url.scheme == "https"
            response.delete_cookie(_name(request), secure=secure, httponly=True, samesite="lax")

    def seal(self, kept: Mapping[str, Any], seconds: int) -> str:
        """The cookie's value, valid for that long."""
        plain = orjson.dumps({**kept, "exp": int(time.time()) + seconds})
        return jwe.encrypt_compact(HEADER, plain, self._keys[0], algorithms=ALGORITHMS)

    def open(self, sealed: str) -> Session | None:
        """What ``seal`` was given; None if the value is not valid or has expired."""
        for key in self._keys:
            try:
                plain = jwe.decrypt_compact(sealed, key, algorithms=ALGORITHMS).plaintext
                kept: Session = orjson.loads(plain or b"")
                return kept if kept.pop("exp") > time.time() else None
            except (JoseError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
                continue
        return None


def remember(identity: Identity) -> dict[str, Any]:
    """What a session stores about the person who signed in."""
    return {
        "sub": identity.sub,
        "permissions": sorted(identity.permissions),
        "iat": identity.issued_at,
        "exp": identity.expires_at,
        "email": identity.email,
    }


def recall(viewer: Mapping[str, Any]) -> Identity | None:
    """The person whom ``remember`` stored; None if the token of their sign-in has expired."""
    if viewer["exp"] <= time.time():
        return None
    return Identity(
        sub=viewer["sub"],
        permissions=frozenset(viewer["permissions"]),
        issued_at=viewer["iat"],
        expires_at=viewer["exp"],
        email=viewer["email"],
    )


def _name(request: Request) -> str:
    return (SECURE_PREFIX if request.url.scheme == "https" else "") + COOKIE


def _sealed(request: Request) -> str | None:
    """The value of the session's cookie, the last one if there are several.

    Not of ``request.cookies``, which unquotes all values: a quoted one of 30,000 backslashes takes
    Python 3.11.7 seconds (CVE-2024-7592). What we seal holds nothing to unquote.
    """
    name, found = _name(request), None
    for header in request.headers.getlist("cookie"):
        for cookie in header.split(";"):
            key, _, value = cookie.partition("=")
            if key.strip() == name:
                found = value.strip()
    return found


def _derive(secret: str) -> bytes:
    # The secret is long and random, so it needs no slow function; HKDF gives it the key's length.
    return HKDF(SHA256(), 32, None, b"community-gql session").derive(secret.encode())
