"""The parts of an OpenID provider that ``serve`` needs to start, for tests of other things."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from joserfc.jwk import RSAKey


@cache
def key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": "tests", "use": "sig"})


@contextmanager
def provided() -> Iterator[dict[str, str]]:
    """The settings of identity, for a provider on loopback that answers until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield {
            "OIDC_ISSUER": f"http://127.0.0.1:{server.server_port}/",
            "AUTH0_AUDIENCE": "https://api.example.com",
        }
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, ThreadingHTTPServer)
        address = f"http://127.0.0.1:{self.server.server_port}/"
        answers = {
            "/.well-known/openid-configuration": {
                "issuer": address,
                "jwks_uri": f"{address}keys",
                "authorization_endpoint": f"{address}authorize",
                "token_endpoint": f"{address}token",
            },
            "/keys": {"keys": [key().as_dict(private=False)]},
        }
        body = json.dumps(answers[self.path]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass
