"""The pages for a browser: the explorer at the endpoint, and the map of the schema.

``explorer/`` has their sources; ``make explorer`` builds them into ``BUILD``, which is in the wheel
and not in the repository. The API does not need them.
"""

from __future__ import annotations

import fcntl
import hashlib
import mimetypes
import os
from html import escape
from pathlib import Path

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from community_gql.http import page
from community_gql.http.head import GRAPHQL_PATHS, wants_signpost

BUILD = Path(__file__).parents[1] / "explorer_build"
PROGRESS = ".explorer_build-progress"
"""Beside BUILD; explorer/build.py writes it, and holds a lock on it while it builds."""

# Monaco writes styles.
POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; "
    "style-src 'self' 'unsafe-inline'; font-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
NOT_BUILT = """<p>Install Node.js 20.19 or newer and run <code>make explorer</code>, \
then reload this page.</p>
<p>The API answers at <code>/graphql</code> all the same.</p>"""
BEING_BUILT = """<p>{doing}.</p>
<p>This page reloads itself. The API answers at <code>/graphql</code> already.</p>"""
RELOAD_AFTER = 2  # seconds
NOTHING_HERE = """<p>There is no page at <code>{path}</code>.</p>
<p><a href="/">Open the explorer</a></p>"""
SIGNPOST = """community-gql: a GraphQL API.

  In a browser   {address}/
  A request      curl {address}/graphql -H 'Content-Type: application/json' -d '{{"query":"{{ tags(first: 3) {{ nodes {{ name }} }} }}"}}'
  The schema     {address}/schema.graphql

As somebody: add -H 'Authorization: Bearer TOKEN'.
"""  # noqa: E501 (a command that is copied)


def routes() -> list[BaseRoute]:
    """The pages, and their files. The endpoint hands over those who want its page."""
    return [
        *(Route(path, _explorer) for path in sorted(GRAPHQL_PATHS)),
        Route("/schema", _map),
        Mount("/explorer/assets", _Assets(directory=BUILD / "assets", check_dir=False)),
    ]


async def not_found(request: Request, _: Exception) -> Response:
    """The answer to a path that leads nowhere, with 404: a page for browsers, else a line."""
    if "text/html" not in request.headers.get("accept", ""):
        return PlainTextResponse("Not found. GraphQL answers at /graphql.\n", 404)
    text = page.html("Nothing here", NOTHING_HERE.format(path=escape(request.url.path)))
    headers = {"Content-Security-Policy": page.POLICY, "Cache-Control": "no-cache"}
    return HTMLResponse(text, 404, headers=headers | {"Vary": "Accept"})


async def _explorer(request: Request) -> Response:
    if wants_signpost(request.url.path, request.headers.get("accept", "").encode("latin1")):
        address = str(request.base_url).rstrip("/")
        return PlainTextResponse(
            SIGNPOST.format(address=address),
            headers={"Vary": "Accept", "Cache-Control": "no-cache"},
        )
    return _page(request, "index.html")


async def _map(request: Request) -> Response:
    return _page(request, "schema.html")


def _page(request: Request, name: str) -> Response:
    policy = POLICY
    try:
        # Read anew each time: it is small, and may be built while we serve.
        text = (BUILD / name).read_text(encoding="utf-8")
    except FileNotFoundError:
        text, policy = _stand_in(), page.POLICY
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-cache",
        "ETag": f'"{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}"',
        "Vary": "Accept",
    }
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return HTMLResponse(text, headers=headers)


def _stand_in() -> str:
    """The page while there is no explorer: it says what is being done, or what to do."""
    try:
        with open(BUILD.with_name(PROGRESS), encoding="utf-8") as file:
            said = file.read()
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                doing = escape(said[:1].upper() + said[1:] or "Looking at what is there")
                title = "The explorer is being built"
                return page.html(title, BEING_BUILT.format(doing=doing), reload_after=RELOAD_AFTER)
    except OSError:
        said = ""
    body = f"<pre>{escape(said)}</pre>\n{NOT_BUILT}" if said else NOT_BUILT
    return page.html("The explorer is not built", body)


class _Assets(StaticFiles):
    """Files whose names hold a digest of what they say: a name never changes its content.

    The build has put compressed ones beside most of them; who accepts those gets them.
    """

    async def check_config(self) -> None:
        """Nothing: without a build there is no such file, and with the next one there may be."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """The file; none for what cannot be the name of one."""
        try:
            return super().lookup_path(path)
        except (OSError, ValueError):
            return "", None

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        chosen, encoding = _encoded(full_path, Headers(scope=scope).get("accept-encoding", ""))
        if encoding:
            stat_result = os.stat(chosen)
        response = super().file_response(chosen, stat_result, scope, status_code)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        response.headers["Vary"] = "Accept-Encoding"
        if encoding and response.status_code != 304:
            response.headers["Content-Encoding"] = encoding
            response.headers["Content-Type"] = _media_type(full_path)
        return response


def _encoded(path: str | os.PathLike[str], accepts: str) -> tuple[str, str | None]:
    """The best file for these bytes, and its Content-Encoding. ``accepts`` is the header."""
    accepted = set()
    for part in accepts.lower().split(","):
        name, _, quality = part.partition(";")
        if quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            accepted.add(name.strip())
    for name, suffix in (("br", ".br"), ("gzip", ".gz")):
        if name in accepted and os.path.isfile(f"{os.fspath(path)}{suffix}"):
            return f"{os.fspath(path)}{suffix}", name
    return os.fspath(path), None


def _media_type(path: str | os.PathLike[str]) -> str:
    media = mimetypes.guess_type(path)[0] or "application/octet-stream"
    return f"{media}; charset=utf-8" if media.startswith("text/") else media
