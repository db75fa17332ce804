"""Verifying access tokens: the ``sub`` of a verified token names the viewer."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from joserfc.jwt import JWTClaimsRegistry

from community_gql.errors import Unauthenticated
from community_gql.graph.visibility import is_machine
from community_gql.lru import LruCache

ALGORITHM = "RS256"
LEEWAY = 30  # seconds of difference between clocks
MAX_TOKEN_BYTES = 8 * 1024
MAX_SUB_CHARACTERS = 64  # users.auth0_sub
TYPES = ("jwt", "at+jwt", "application/at+jwt")
EMBEDDED_KEYS = ("jwk", "jku", "x5c", "x5u")
EMAIL_CLAIM = "https://community-gql/email"
MAX_EMAIL_CHARACTERS = 254  # RFC 5321, section 4.5.3.1.3
REMEMBERED_BYTES = 16 * 2**20
"""Bytes for remembered tokens; verifying a token costs 0.2 ms."""
_GOOD_BYTES = 2000
LAST_SECOND = 253402300799  # of the year 9999: later ones are no dates

# Unknown members of the header are ignored, as RFC 7515, section 4 asks.
_registry = jws.JWSRegistry(algorithms=[ALGORITHM], strict_check_header=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """The claims of a verified token, or of a session that came from one."""

    sub: str
    permissions: frozenset[str]
    issued_at: float
    """Seconds since 1970."""
    expires_at: float
    """Seconds since 1970."""
    email: str | None
    """The address that the issuer vouches for, if it gave one."""
    token: str | None = None
    """The access token itself, where there is one: ``/userinfo`` asks for it."""

    @property
    def is_machine(self) -> bool:
        """Whether this is a program, by the form in which Auth0 names client credentials."""
        return is_machine(self.sub)


class Keys(Protocol):
    """The issuer's public keys."""

    async def find(self, kid: str) -> RSAKey | None:
        """The key with this id, or None."""

    def held(self, kid: str) -> RSAKey | None:
        """The same, if nobody has to be asked for it."""


class Good(NamedTuple):
    """A token that was verified: by which key, and whom it names."""

    kid: str
    key: RSAKey
    identity: Identity


@dataclass(frozen=True, slots=True)
class TokenVerifier:
    """Accepts RS256 access tokens of one issuer for one audience, signed by one of its keys."""

    keys: Keys
    issuer: str
    audience: str
    email_claim: str = EMAIL_CLAIM
    _good: LruCache[Good] = field(default_factory=lambda: LruCache(REMEMBERED_BYTES))

    async def verify(self, token: str) -> Identity:
        """The identity that the token names. Raises Unauthenticated with the reason.

        Raises Unavailable if the keys cannot be fetched. A verified token is remembered; only
        its expiry and the issuer's key are checked again.
        """
        if (good := self._good.get(token)) is not None:
            if good.identity.expires_at > time.time() and (
                await self.keys.find(good.kid) is good.key
            ):
                return good.identity
            self._good.drop(token)
        if len(token) > MAX_TOKEN_BYTES:
            raise Unauthenticated("The token is too long.")
        kid = _kid(_header(token))
        key = await self.keys.find(kid)
        if key is None:
            raise Unauthenticated("The token is signed with a key that its issuer does not have.")
        try:
            claims = jwt.decode(token, key, registry=_registry).claims
        except (JoseError, ValueError, RecursionError) as error:
            raise Unauthenticated("The token's signature is not valid.") from error
        self._check(claims)
        identity = self._identity(token, claims)
        self._good.put(token, Good(kid, key, identity), len(token) + _GOOD_BYTES)
        return identity

    def good(self, token: str) -> Good | None:
        """What is remembered of a token, see ``holds``."""
        return self._good.get(token)

    def holds(self, good: Good) -> bool:
        """Whether what was good still is, for all that is known without asking."""
        return good.identity.expires_at > time.time() and self.keys.held(good.kid) is good.key

    def _identity(self, token: str, claims: dict[str, Any]) -> Identity:
        return Identity(
            sub=_sub(claims),
            permissions=_permissions(claims),
            issued_at=claims["iat"],
            expires_at=claims["exp"],
            email=usable_email(claims.get(self.email_claim)),
            token=token,
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
        if claims["iat"] < 0 or claims["exp"] > LAST_SECOND:
            raise Unauthenticated("The token is not valid: its times are not valid dates.")


def _header(token: str) -> dict[str, Any]:
    try:
        header = jws.extract_compact(token.encode("ascii"), registry=_registry).headers()
    except (JoseError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Unauthenticated("The token cannot be read: it must be a signed JWT.") from error
    if not isinstance(header, dict):
        raise Unauthenticated("The token cannot be read: it must be a signed JWT.")
    if header.get("alg") != ALGORITHM:
        raise Unauthenticated(f"The token must be signed with {ALGORITHM}.")
    if str(header.get("typ", "JWT")).lower() not in TYPES:
        raise Unauthenticated("The token must be an access token.")
    if any(name in header for name in EMBEDDED_KEYS):
        raise Unauthenticated("The token must not bring its own key.")
    if "crit" in header or "b64" in header:
        raise Unauthenticated("The token asks for extensions that this server does not know.")
    return header


def _kid(header: dict[str, Any]) -> str:
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        raise Unauthenticated("The token must name its key (kid).")
    return kid


def _sub(claims: dict[str, Any]) -> str:
    sub = claims["sub"]
    if not sub or len(sub) > MAX_SUB_CHARACTERS or not sub.isprintable() or sub != sub.strip():
        raise Unauthenticated("The token's subject (sub) cannot be used.")
    return str(sub)


def _permissions(claims: dict[str, Any]) -> frozenset[str]:
    named = claims.get("permissions")
    if "permissions" not in claims:
        scope = claims.get("scope")
        named = scope.split() if isinstance(scope, str) else ()
    if not isinstance(named, list | tuple):
        return frozenset()
    return frozenset(item for item in named if isinstance(item, str) and item.isprintable())


def usable_email(claim: object) -> str | None:
    """The address in a claim of the provider, or None if it is not an address."""
    if not isinstance(claim, str):
        return None
    email = claim.strip()
    local, at, domain = email.rpartition("@")
    if not (local and at and domain) or len(email) > MAX_EMAIL_CHARACTERS:
        return None
    return email if email.isprintable() and " " not in email else None


def _reason(error: JoseError) -> str:
    claim = getattr(error, "claim", None)
    return f"{error.error.replace('_', ' ')} ({claim})" if claim else error.error.replace("_", " ")
