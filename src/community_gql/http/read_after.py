"""Read your own writes where standbys answer queries: tokens, cookies, and Redis for processes.

After a write the client gets a token: the position that a standby must have. It comes back in a
header or a cookie. For clients that send neither, the process remembers the viewer for a minute,
and Redis does where several processes serve.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from typing import Protocol

from community_gql.db.replicas import NOWHERE, REMEMBERED, Position, Replicas, later
from community_gql.http.head import Head
from community_gql.http.request_log import digest

HEADER = "X-Read-After"
COOKIE = "read_after"
_IN_COOKIES = re.compile(rb"(?:^|;\s*)read_after=([0-9a-f.]{1,80})(?:;|$)")
_SIGNATURE = 8  # bytes: who forges one reads from the primary, or older rows of their own

_log = logging.getLogger("community_gql.replicas")


class SharedTokens(Protocol):
    """Where processes tell each other what was written."""

    async def get(self, name: str) -> bytes | None:
        """The token that was put last; None if there is none. Raises OSError."""

    async def put(self, name: str, token: str) -> None:
        """Remember a token for a minute, unless a later one is known. Raises OSError."""

    async def close(self) -> None:
        """Close the connection."""


class ReadAfter:
    """What a viewer must see, by what they bring and what is remembered of them.

    ``secret`` is the same in all processes.
    """

    def __init__(self, replicas: Replicas, secret: str, shared: SharedTokens | None = None) -> None:
        self._replicas = replicas
        self._key = hashlib.blake2b(secret.encode(), digest_size=32, person=b"read after").digest()
        self._shared = shared

    async def of(self, head: Head | None, sub: str | None) -> Position | None:
        """What a query of this viewer must see; None if they wrote nothing lately.

        What comes over a WebSocket has no head.
        """
        after = None if head is None else self._read(head.read_after)
        if head is not None and head.has_cookie and (found := _IN_COOKIES.search(head.cookie)):
            after = later(after, self._read(found[1]))
        if sub is not None:
            after = later(after, self._replicas.written(sub))
            if self._shared is not None:
                # Always: what is known here may be older than what another process wrote.
                after = later(after, await self._written_elsewhere(self._shared, sub))
        return after

    async def wrote(self, sub: str | None) -> str | None:
        """The token of what this viewer has written by way of this process; other processes are
        told."""
        position = self._replicas.written(sub)
        if sub is None or position is None:
            return None
        token = self._write(position)
        if self._shared is not None:
            try:
                await self._shared.put(_name(sub), token)
            except OSError:
                _log.warning("Redis was not told of a write: its author's reads may be too early")
        return token

    async def close(self) -> None:
        """Close what is shared."""
        if self._shared is not None:
            await self._shared.close()

    async def _written_elsewhere(self, shared: SharedTokens, sub: str) -> Position | None:
        try:
            token = await shared.get(_name(sub))
        except OSError:
            return NOWHERE  # it is not known: the primary has it
        return None if token is None else self._read(token)

    def _write(self, position: Position) -> str:
        # Of a fixed width: the later one is the greater text, see ``RedisTokens``.
        text = f"{position.timeline:08x}.{position.lsn:016x}"
        return f"{text}.{self._signed(text.encode())}"

    def _read(self, token: bytes) -> Position | None:
        text, _, signature = token.rpartition(b".")
        if not text or not hmac.compare_digest(self._signed(text).encode(), signature):
            return None
        timeline, _, lsn = text.partition(b".")
        return Position(int(timeline, 16), int(lsn, 16))

    def _signed(self, text: bytes) -> str:
        return hmac.new(self._key, text, "sha256").digest()[:_SIGNATURE].hex()


def cookie(token: str, is_tls: bool) -> str:
    """The ``Set-Cookie`` field for a browser with a session."""
    secure = "; Secure" if is_tls else ""
    return f"{COOKIE}={token}; Path=/; Max-Age={int(REMEMBERED)}; HttpOnly; SameSite=Lax{secure}"


def _name(sub: str) -> str:
    return f"community-gql:read-after:{digest(sub)}"
