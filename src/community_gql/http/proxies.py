"""Who the client is, behind the proxies that are trusted to say so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.types import Scope
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

_LONGEST = 100
"""Characters of an address: it is the key under which is counted what somebody spends."""
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


class TrustedProxies:
    """Takes the client's address and scheme from ``X-Forwarded-*`` of trusted proxies.

    The addresses are compared by uvicorn's own middleware. Unlike it, this one understands the
    list that a chain of proxies makes of ``X-Forwarded-Proto``: the first one is what the client
    used.
    """

    def __init__(self, trusted: Sequence[str]) -> None:
        nothing: Any = None  # stands behind it: only its comparison of addresses is used
        self._trusted = ProxyHeadersMiddleware(nothing, list(trusted)).trusted_hosts

    def __contains__(self, address: str | None) -> bool:
        """Whether it is one of them."""
        return address in self._trusted

    def apply(self, scope: Scope) -> None:
        """Have the scope say who the client is, and over what it came."""
        client = scope.get("client")
        if (client[0] if client else None) not in self._trusted:
            return
        addresses: list[bytes] = []
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                addresses.append(value)
            elif name == b"x-forwarded-proto" and (scheme := self.scheme(value)) is not None:
                scope["scheme"] = scheme
        if addresses and (found := self.client(b", ".join(addresses))) is not None:
            scope["client"] = found

    @staticmethod
    def scheme(forwarded_proto: bytes) -> str | None:
        """The scheme that the client used; None where that is not one of ours."""
        return _SCHEMES.get(forwarded_proto.decode("latin1").partition(",")[0].strip().lower())

    def client(self, forwarded_for: bytes) -> tuple[str, int] | None:
        """The client's address and port, as the proxies tell them."""
        host, port = self._trusted.get_trusted_client_address(forwarded_for.decode("latin1"))
        return (host[:_LONGEST], port) if host else None
