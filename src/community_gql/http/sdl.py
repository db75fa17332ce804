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
from community_gql.http.endpoint import Authenticate, Edge, refused
from community_gql.http.responses import fault
from community_gql.schema.executable import sdl


class SchemaFile:
    """Answers with the text and a strong validator of it."""

    def __init__(self, authenticate: Authenticate, edge: Edge) -> None:
        self._authenticate, self._edge = authenticate, edge

    async def __call__(self, request: Request) -> Response:
        """The text, 304 for who has it, or a refusal as the endpoint writes it."""
        public = self._edge.opens_schema_to(ANONYMOUS)
        try:
            if not public:
                await self._check(request)
        except Exception as error:
            answer = refused(error) if isinstance(error, PublicError) else fault(error)
            return answer.response(None, head=request.method == "HEAD")
        body = sdl().encode()
        tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
        headers = {
            "ETag": tag,
            # Kept by whoever likes, and asked for anew each time: it changes with a deployment.
            "Cache-Control": "no-cache" if public else "private, no-cache",
            "Vary": "Authorization, Cookie",
        }
        if _has(request.headers.get("if-none-match", ""), tag):
            return Response(None, 304, headers)
        headers["Content-Length"] = str(len(body))
        text = b"" if request.method == "HEAD" else body
        return Response(text, headers=headers, media_type="text/plain")

    async def _check(self, request: Request) -> None:
        if self._edge.introspection == "nobody":
            raise SchemaClosed("This server does not show its schema.")
        if not self._edge.opens_schema_to(await self._authenticate(request)):
            raise Unauthenticated("The schema is only for people who are signed in.")


def _has(if_none_match: str, tag: str) -> bool:
    """Whether the header names the tag; a proxy that compressed the text has made it weak."""
    given = {each.strip().removeprefix("W/") for each in if_none_match.split(",")}
    return not given.isdisjoint({tag, "*"})
