"""From a request to a viewer: a bearer token, or the session of a browser."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from community_gql.errors import CsrfHeaderRequired, Unauthenticated
from community_gql.graph.visibility import ANONYMOUS, Viewer
from community_gql.identity.provisioning import Provisioning
from community_gql.identity.sessions import Sessions, recall
from community_gql.identity.tokens import Identity, TokenVerifier

CSRF_HEADER = "X-Requested-With"
"""A request with a session must have this header, with any value: other sites cannot send it."""


@dataclass(frozen=True, slots=True)
class Authentication:
    """Finds the viewer. Without a verifier it refuses every token, without sessions, cookies."""

    verifier: TokenVerifier | None
    provisioning: Provisioning
    sessions: Sessions | None = None

    async def __call__(self, request: Request) -> Viewer:
        """The viewer; anonymous without a token and without a session.

        A token takes precedence over a session. Raises Unauthenticated for a token or a session
        that is not valid, CsrfHeaderRequired, and what provisioning raises.
        """
        identity = await self._bearer(request) or self._session(request)
        if identity is None:
            return ANONYMOUS
        await self.provisioning(identity)
        # For `answered`, which sees only the request and the response.
        request.state.viewer_sub = identity.sub
        return Viewer(
            sub=identity.sub,
            permissions=identity.permissions,
            expires_at=datetime.fromtimestamp(identity.expires_at, UTC),
        )

    def forget(self, sub: str) -> None:
        """Forget ``sub``: the next request asks the database again whether they have an account."""
        self.provisioning.forget(sub)

    def answered(self, request: Request, response: Response) -> None:
        """After a 401, or a write that found the account gone, end the session.

        The account is looked up again at the next request.
        """
        gone = getattr(request.state, "account_gone", False)
        if response.status_code != 401 and not gone:
            return
        if (sub := getattr(request.state, "viewer_sub", None)) is not None:
            self.forget(sub)
        if self.sessions is not None and "authorization" not in request.headers:
            kept = self.sessions.read(request)
            if kept is None or "viewer" in kept:  # else a sign-in is under way
                self.sessions.end(request, response)

    async def _bearer(self, request: Request) -> Identity | None:
        headers = request.headers.getlist("authorization")
        if not headers:
            return None
        if len(headers) > 1:
            raise Unauthenticated("Send one Authorization header.")
        scheme, _, token = headers[0].strip().partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("Authorization must be: Bearer <access token>.")
        if self.verifier is None:
            raise Unauthenticated("This server has no issuer of tokens configured.")
        return await self.verifier.verify(token.strip())

    def _session(self, request: Request) -> Identity | None:
        kept = self.sessions.read(request) if self.sessions is not None else {}
        if kept is None:
            raise Unauthenticated("Your session has ended. Sign in again.")
        if "viewer" not in kept:
            return None
        identity = recall(kept["viewer"])
        if identity is None:
            raise Unauthenticated("Your session has ended. Sign in again.")
        if CSRF_HEADER not in request.headers:
            raise CsrfHeaderRequired(
                f"A request that comes with a session must have the header {CSRF_HEADER}, with "
                "any value."
            )
        return identity
