"""What every answer tells a browser, so that it trusts the answer no further than needed."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

RawHeaders = list[tuple[bytes, bytes]]

PLAIN: RawHeaders = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
]
OVER_TLS: RawHeaders = [*PLAIN, (b"strict-transport-security", b"max-age=31536000")]


class SecurityHeaders:
    """Adds these fields to the answers of an application that do not have them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and complete the head of its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        added = OVER_TLS if scope.get("scheme") == "https" else PLAIN

        async def complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(header for header in added if header[0] not in given),
                ]
            await send(message)

        await self._app(scope, receive, complete)
