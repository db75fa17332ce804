"""Verifying access tokens (design/identity.md): a verified ``sub`` is the identity."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from joserfc.jwt import JWTClaimsRegistry

from community_gql.errors import Unauthenticated
from community_gql.visibility import Viewer

ALGORITHM = "RS256"
LEEWAY = 30  # seconds of difference between clocks
MAX_TOKEN_BYTES = 8 * 1024
MAX_SUB_CHARACTERS = 64  # users.auth0_sub
TYPES = ("jwt", "at+jwt", "application/at+jwt")
EMBEDDED_KEYS = ("jwk", "jku", "x5c", "x5u")


class Keys(Protocol):
    """The issuer's public keys."""

    async def find(self, kid: str) -> RSAKey | None:
        """The key with this id, or None."""


@dataclass(frozen=True, slots=True)
class TokenVerifier:
    """Accepts RS256 access tokens of one issuer for one audience, signed by one of its keys."""

    keys: Keys
    issuer: str
    audience: str

    async def verify(self, token: str) -> Viewer:
        """The viewer whom the token names. Raises Unauthenticated with the reason."""
        if len(token) > MAX_TOKEN_BYTES:
            raise Unauthenticated("The token is too long.")
        key = await self.keys.find(_kid(_header(token)))
        if key is None:
            raise Unauthenticated("The token is signed with a key that its issuer does not have.")
        try:
            claims = jwt.decode(token, key, algorithms=[ALGORITHM]).claims
        except (JoseError, ValueError) as error:
            raise Unauthenticated("The token's signature is not valid.") from error
        self._check(claims)
        return Viewer(
            sub=_sub(claims),
            permissions=_permissions(claims),
            expires_at=datetime.fromtimestamp(claims["exp"], UTC),
        )

    def _check(self, claims: dict[str, Any]) -> None:
        registry = JWTClaimsRegistry(
            now=lambda: int(time.time()),
            leeway=LEEWAY,
            iss={"essential": True, "value": self.issuer},
            aud={"essential": True, "value": self.audience},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
        )
        try:
            registry.validate(claims)
        except JoseError as error:
            raise Unauthenticated(f"The token is not valid: {_reason(error)}.") from error


def _header(token: str) -> dict[str, Any]:
    try:
        header = jws.extract_compact(token.encode("ascii")).headers()
    except (JoseError, ValueError) as error:
        raise Unauthenticated("The token cannot be read: it must be a signed JWT.") from error
    if header.get("alg") != ALGORITHM:
        raise Unauthenticated(f"The token must be signed with {ALGORITHM}.")
    if str(header.get("typ", "JWT")).lower() not in TYPES:
        raise Unauthenticated("The token must be an access token.")
    if any(name in header for name in EMBEDDED_KEYS):
        raise Unauthenticated("The token must not bring its own key.")
    return header


def _kid(header: dict[str, Any]) -> str:
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        raise Unauthenticated("The token must name its key (kid).")
    return kid


def _sub(claims: dict[str, Any]) -> str:
    sub = claims["sub"]
    if not isinstance(sub, str) or not sub or len(sub) > MAX_SUB_CHARACTERS or "\x00" in sub:
        raise Unauthenticated("The token's subject (sub) cannot be used.")
    return sub


def _permissions(claims: dict[str, Any]) -> frozenset[str]:
    named = claims.get("permissions")
    if isinstance(named, Sequence) and not isinstance(named, str):
        return frozenset(item for item in named if isinstance(item, str))
    scope = claims.get("scope")
    return frozenset(scope.split()) if isinstance(scope, str) else frozenset()


def _reason(error: JoseError) -> str:
    claim = getattr(error, "claim", None)
    return f"{error.error.replace('_', ' ')} ({claim})" if claim else error.error.replace("_", " ")
