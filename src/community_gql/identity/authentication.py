"""From a request to a viewer."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from community_gql.errors import Unauthenticated
from community_gql.identity.tokens import TokenVerifier
from community_gql.visibility import ANONYMOUS, Viewer


@dataclass(frozen=True, slots=True)
class Authentication:
    """Reads ``Authorization: Bearer``. Without a verifier no token is good."""

    verifier: TokenVerifier | None

    async def __call__(self, request: Request) -> Viewer:
        """The viewer; anonymous without a token. Raises Unauthenticated for a bad one."""
        headers = request.headers.getlist("authorization")
        if not headers:
            return ANONYMOUS
        if len(headers) > 1:
            raise Unauthenticated("Send one Authorization header.")
        scheme, _, token = headers[0].strip().partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("Authorization must be: Bearer <access token>.")
        if self.verifier is None:
            raise Unauthenticated("This server has no issuer of tokens configured.")
        return await self.verifier.verify(token.strip())
