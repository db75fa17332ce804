"""Who the client is, behind the proxies that are trusted to say so."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware


class TrustedProxies:
    """Takes the client's address and scheme from ``X-Forwarded-*`` of trusted proxies.

    The addresses are compared by uvicorn's own middleware. Unlike it, this one understands the
    list that a chain of proxies makes of ``X-Forwarded-Proto``: the first one is what the client
    used.
    """

    def __init__(self, app: ASGIApp, trusted: Sequence[str]) -> None:
        self._app = app
        self._trusted = ProxyHeadersMiddleware(app, list(trusted)).trusted_hosts  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on as the client made it."""
        if scope["type"] != "lifespan":
            client = scope.get("client")
            if (client[0] if client else None) in self._trusted:
                self._apply(scope)
        await self._app(scope, receive, send)

    def _apply(self, scope: Scope) -> None:
        addresses: list[bytes] = []
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                addresses.append(value)
            elif name == b"x-forwarded-proto":
                scheme = value.decode("latin1").partition(",")[0].strip().lower()
                if scheme in ("http", "https"):
                    scope["scheme"] = scheme
        if addresses:
            listed = b", ".join(addresses).decode("latin1")
            host, port = self._trusted.get_trusted_client_address(listed)
            if host:
                scope["client"] = (host, port)
