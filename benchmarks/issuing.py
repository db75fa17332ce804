"""The provider of the benchmark: signs access tokens, publishes its key over HTTP.

Every system verifies the same RS256 tokens with the key that it fetches here.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc.jwk import RSAKey

from benchmarks.cases import Person

AUDIENCE = "https://benchmark.community-gql.invalid"
EMAIL_CLAIM = "https://community-gql/email"
HOURS = 12


class Issuer:
    """An OpenID provider, as far as verifying tokens needs one."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._key = RSAKey.generate_key(2048, {"kid": "benchmark", "use": "sig", "alg": "RS256"})
        self._private: Any = self._key.get_op_key("sign")

    @property
    def documents(self) -> dict[str, Any]:
        """What is published, by path."""
        return {
            "/.well-known/openid-configuration": {
                "issuer": self.address,
                "jwks_uri": f"{self.address}/jwks",
                "authorization_endpoint": f"{self.address}/authorize",
                "token_endpoint": f"{self.address}/token",
            },
            "/jwks": {"keys": [self._key.as_dict(private=False)]},
        }

    def token(self, person: Person, permissions: Sequence[str] = ()) -> str:
        """An access token that names the person."""
        now = int(time.time())
        claims: dict[str, object] = {
            "iss": self.address,
            "aud": AUDIENCE,
            "sub": person.sub,
            "iat": now,
            "exp": now + HOURS * 3600,
            "permissions": list(permissions),
            EMAIL_CLAIM: person.email,
        }
        # By hand: joserfc takes ten times as long, and some runs need ten thousand.
        header = {"alg": "RS256", "kid": "benchmark", "typ": "at+jwt"}
        text = b".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
        signature = self._private.sign(text, PKCS1v15(), SHA256())
        return b".".join((text, _encoded(signature))).decode()


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@contextmanager
def issuing() -> Iterator[Issuer]:
    """An issuer that answers on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            document = issuer.documents.get(self.path)
            body = json.dumps(document).encode()
            self.send_response(404 if document is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = Issuer(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
