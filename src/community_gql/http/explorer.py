"""The pages for a browser: the explorer at the endpoint, and the map of the schema.

``explorer/`` has their sources; ``make explorer`` builds them into ``BUILD``, which is in the wheel
and not in the repository. The API does not need them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from community_gql.http.head import GRAPHQL_PATHS

BUILD = Path(__file__).parents[1] / "explorer_build"

# Monaco writes styles, GraphiQL's style sheet holds its fonts.
POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; "
    "style-src 'self' 'unsafe-inline'; font-src 'self' data:; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
NOT_BUILT_POLICY = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
NOT_BUILT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>community-gql</title>
<h1>community-gql</h1>
<p>The explorer is not built: install Node.js 20.19 or newer and run <code>make explorer</code>, \
then reload this page; the API answers at <code>/graphql</code> all the same.</p>
</html>
"""


def routes() -> list[BaseRoute]:
    """The pages, and their files. The endpoint hands over those who want its page."""
    return [
        *(Route(path, _explorer) for path in sorted(GRAPHQL_PATHS)),
        Route("/schema", _map),
        Mount("/explorer/assets", _Assets(directory=BUILD / "assets", check_dir=False)),
    ]


async def _explorer(request: Request) -> Response:
    return _page(request, "index.html")


async def _map(request: Request) -> Response:
    return _page(request, "schema.html")


def _page(request: Request, name: str) -> Response:
    policy = POLICY
    try:
        # Read anew each time: it is small, and may be built while we serve.
        text = (BUILD / name).read_text(encoding="utf-8")
    except FileNotFoundError:
        text, policy = NOT_BUILT, NOT_BUILT_POLICY
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-cache",
        "ETag": f'"{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}"',
        "Vary": "Accept",
    }
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return HTMLResponse(text, headers=headers)


class _Assets(StaticFiles):
    """Files whose names hold a digest of what they say: a name never changes its content."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        response = super().file_response(*args, **options)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response
