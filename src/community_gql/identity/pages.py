"""Shared by the pages of sign-in: small HTML pages, and the checks against other sites."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from community_gql.http.page import POLICY, html

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# A path of this host: no scheme, no host (//host and /\\host are one for browsers), no controls.
LOCAL = re.compile(r"/(?![/\\])[!-\[\]-~]*", re.ASCII)
MAX_PATH = 500  # characters


def page(title: str, body: str, status: int = 200) -> Response:
    """A page; ``body`` is HTML, ``title`` is text."""
    return HTMLResponse(html(title, body), status, headers=HEADERS)


def problem(title: str, message: str, status: int, link: tuple[str, str] | None = None) -> Response:
    """A page that says what went wrong, with a link (address, text) to what to do next."""
    address, text = link or ("/auth/login", "Sign in again")
    body = f'<p>{escape(message)}</p>\n<p><a href="{escape(address)}">{escape(text)}</a></p>'
    return page(title, body, status)


def options(
    sign_in: Literal["people", "provider"] | None, people: Sequence[dict[str, Any]] = ()
) -> Response:
    """How to sign in here, for the explorer: ``GET /auth/options``.

    As one of the ``people`` (development), at the provider, or not at all.
    """
    return private(JSONResponse({"signIn": sign_in, "people": people}))


def private(response: Response) -> Response:
    """The response, without caching and without a referrer for other sites."""
    for name in ("Cache-Control", "Referrer-Policy", "X-Content-Type-Options"):
        response.headers.setdefault(name, HEADERS[name])
    return response


def local_path(wanted: str | None) -> str:
    """``wanted`` if it is a path of this host, otherwise the start page."""
    if wanted and len(wanted) <= MAX_PATH and LOCAL.fullmatch(wanted):
        return wanted
    return "/"


def comes_from_elsewhere(request: Request) -> bool:
    """Whether a page of another origin caused the request, as far as browsers tell.

    Browsers send ``Sec-Fetch-Site`` or, the older ones with a POST, ``Origin``; a program
    sends neither and is not checked.
    """
    if (site := request.headers.get("sec-fetch-site")) is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is not None and origin != f"{request.url.scheme}://{request.url.netloc}"
