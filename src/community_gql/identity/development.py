"""The issuer of ``community-gql dev``: tokens for anyone on this machine.

They pass through the real verifier. Only ``dev`` and ``token`` make one; ``serve`` never does.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import orjson
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from community_gql.identity.tokens import ALGORITHM, TokenVerifier

ISSUER = "https://development.community-gql.invalid/"
AUDIENCE = "community-gql"


class DevelopmentIssuer:
    """Signs tokens with a key of its own, kept in ``folder`` so that tokens outlive a restart."""

    def __init__(self, folder: Path) -> None:
        self._key = _key(folder / "key.json")
        self.jwks = KeySet([self._key])

    async def find(self, kid: str) -> RSAKey | None:
        """The public key with this id, or None: what the verifier asks."""
        return self._key if kid == self._key.kid else None

    def verifier(self) -> TokenVerifier:
        """The verifier of this issuer's tokens."""
        return TokenVerifier(self, ISSUER, AUDIENCE)

    def token(
        self,
        subject: str,
        *,
        permissions: Sequence[str] = (),
        lifetime: timedelta = timedelta(hours=12),
    ) -> str:
        """An access token that names ``subject``."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "iat": now,
            "exp": now + int(lifetime.total_seconds()),
            "permissions": list(permissions),
        }
        header = {"alg": ALGORITHM, "kid": self._key.kid, "typ": "at+jwt"}
        return jwt.encode(header, claims, self._key, algorithms=[ALGORITHM])


def _key(path: Path) -> RSAKey:
    if not path.exists():
        made = RSAKey.generate_key(2048, {"kid": secrets.token_hex(8), "use": "sig"})
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written aside and linked into place: of two that start at once, the first one's key stays.
        aside = path.with_name(f"{path.name}.{os.getpid()}")
        aside.touch(mode=0o600)
        aside.write_bytes(orjson.dumps(made.as_dict(private=True)))
        try:
            os.link(aside, path)
        except FileExistsError:
            pass
        finally:
            aside.unlink()
    return RSAKey.import_key(orjson.loads(path.read_bytes()))
