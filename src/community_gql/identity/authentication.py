"""From a request to a viewer: a bearer token, or the session of a browser."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from community_gql.errors import CsrfHeaderRequired, Unauthenticated
from community_gql.graph.visibility import ANONYMOUS, Viewer
from community_gql.identity.provisioning import Provisioning
from community_gql.identity.sessions import Sessions, recall
from community_gql.identity.tokens import Good, Identity, TokenVerifier
from community_gql.lru import LruCache

CSRF_HEADER = "X-Requested-With"
"""A request with a session must have this header, with any value: other sites cannot send it."""


REMEMBERED_BYTES = 8 * 2**20
_ENTRY_BYTES = 500


class _Remembered(NamedTuple):
    """Whom an ``Authorization`` field names, and when nothing more was to be found out."""

    viewer: Viewer
    good: Good
    forgotten: int


@dataclass(frozen=True, slots=True)
class Authentication:
    """Finds the viewer. Without a verifier it refuses every token, without sessions, cookies."""

    verifier: TokenVerifier | None
    provisioning: Provisioning
    sessions: Sessions | None = None
    _remembered: LruCache[_Remembered] = field(default_factory=lambda: LruCache(REMEMBERED_BYTES))

    async def __call__(self, request: Request) -> Viewer:
        """The viewer; anonymous without a token and without a session.

        A token takes precedence over a session. Raises Unauthenticated for a token or a session
        that is no good, CsrfHeaderRequired, and what provisioning raises.
        """
        headers = request.headers.getlist("authorization")
        if len(headers) > 1:
            raise Unauthenticated("Send one Authorization header.")
        if headers:
            return await self.bearer(headers[0])
        identity = self._session(request)
        return ANONYMOUS if identity is None else await self._provisioned(identity)

    async def bearer(self, authorization: str) -> Viewer:
        """The viewer that an ``Authorization`` header names. Raises as above."""
        forgotten = self.provisioning.forgotten
        identity = await self._verified(authorization)
        viewer = await self._provisioned(identity)
        if self.verifier is not None and identity.token and self.provisioning.knows(identity):
            good = self.verifier.good(identity.token)
            if good is not None:
                found = _Remembered(viewer, good, forgotten)
                key = authorization.encode("latin1")
                self._remembered.put(key, found, len(key) + _ENTRY_BYTES)
        return viewer

    def remembered(self, authorization: bytes) -> Viewer | None:
        """The viewer whom ``bearer`` found; None if that must be asked again."""
        found = self._remembered.get(authorization)
        if (
            found is None
            or found.forgotten != self.provisioning.forgotten
            or self.verifier is None
            or not self.verifier.holds(found.good)
        ):
            return None
        return found.viewer

    async def admission(
        self, authorization: str | None, session: Request | None
    ) -> Callable[[], Awaitable[Viewer]] | None:
        """What lets somebody in for each operation of a connection that stays; None: anonymous.

        A token takes precedence over the session of a request, which must come from a page of
        ours: there is no header to prove it. Raises as above, and so does what is returned, once
        the account is gone.
        """
        if authorization is not None:
            identity: Identity | None = await self._verified(authorization)
        else:
            identity = None if session is None else self._session(session, is_ours=True)
        if identity is None:
            return None
        await self._provisioned(identity)
        # Without the token, which is long, and only asked for while there is no account.
        return functools.partial(self._provisioned, replace(identity, token=None))

    async def _verified(self, authorization: str) -> Identity:
        scheme, _, token = authorization.strip().partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("Authorization must be: Bearer <access token>.")
        if self.verifier is None:
            raise Unauthenticated("This server has no issuer of tokens configured.")
        return await self.verifier.verify(token.strip())

    async def _provisioned(self, identity: Identity) -> Viewer:
        await self.provisioning(identity)
        return Viewer(
            sub=identity.sub,
            permissions=identity.permissions,
            expires_at=datetime.fromtimestamp(identity.expires_at, UTC),
        )

    def forget(self, sub: str) -> None:
        """Forget ``sub``: the next request asks the database again whether they have an account."""
        self.provisioning.forget(sub)

    def answered(
        self, request: Request, response: Response, *, sub: str | None, account_gone: bool
    ) -> None:
        """Draw the consequences of a 401, or of a write that found the account gone.

        The session ends, and the account of ``sub`` is looked up anew at the next request.
        """
        if response.status_code != 401 and not account_gone:
            return
        if sub is not None:
            self.forget(sub)
        if self.sessions is not None and "authorization" not in request.headers:
            kept = self.sessions.read(request)
            if kept is None or "viewer" in kept:  # else a sign-in is under way
                self.sessions.end(request, response)

    def _session(self, request: Request, *, is_ours: bool = False) -> Identity | None:
        kept = self.sessions.read(request) if self.sessions is not None else {}
        if kept is None:
            raise Unauthenticated("Your session has ended. Sign in again.")
        if "viewer" not in kept:
            return None
        identity = recall(kept["viewer"])
        if identity is None:
            raise Unauthenticated("Your session has ended. Sign in again.")
        if not is_ours and CSRF_HEADER not in request.headers:
            raise CsrfHeaderRequired(
                f"A request that comes with a session must have the header {CSRF_HEADER}, with "
                "any value."
            )
        return identity
