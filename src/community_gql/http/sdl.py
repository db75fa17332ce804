"""``GET /schema.graphql``: the schema for generators and editors, without running a query.

Whoever may introspect may have it. It is plain text, so that a browser shows it and does not
download it; no type is registered for SDL, and generators go by the name's ending.
"""

from __future__ import annotations

import hashlib

from starlette.requests import Request
from starlette.responses import Response

from community_gql.errors import PublicError, SchemaClosed, Unauthenticated
from community_gql.graph.visibility import ANONYMOUS
from community_gql.http.exchange import Authenticate, EndpointConfig
from community_gql.http.responses import fault, is_known, refusal
from community_gql.schema.executable import sdl


class SchemaFile:
    """Answers with the text and a strong validator of it."""

    def __init__(self, authenticate: Authenticate, config: EndpointConfig) -> None:
        self._authenticate, self._config = authenticate, config

    async def answer(self, request: Request) -> Response:
        """The text, 304 for who has it, or a refusal as the endpoint writes it."""
        public = self._config.opens_schema_to(ANONYMOUS)
        try:
            if not public:
                await self._check(request)
        except Exception as error:
            answer = refusal(error) if isinstance(error, PublicError) else fault(error)
            response = answer.response(head=request.method == "HEAD")
            self._authenticate.answered(request, response, sub=None, account_gone=False)
            return response
        body = sdl().encode()
        tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
        headers = {
            "ETag": tag,
            # Kept by whoever likes, and asked for anew each time: it changes with a deployment.
            "Cache-Control": "no-cache" if public else "private, no-cache",
            "Vary": "Authorization, Cookie",
        }
        if is_known(request.headers.get("if-none-match", ""), tag):
            return Response(None, 304, headers)
        headers["Content-Length"] = str(len(body))
        text = b"" if request.method == "HEAD" else body
        return Response(text, headers=headers, media_type="text/plain")

    async def _check(self, request: Request) -> None:
        if self._config.introspection == "nobody":
            raise SchemaClosed("This server does not show its schema.")
        if not self._config.opens_schema_to(await self._authenticate(request)):
            raise Unauthenticated("The schema is only for people who are signed in.")
