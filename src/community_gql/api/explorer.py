"""The page that a browser gets at the endpoint: an explorer of the schema."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache

from starlette.responses import HTMLResponse
from strawberry.http.ides import get_graphql_ide_html


def explorer() -> HTMLResponse:
    """The page, under a policy that lets it run its own script and nobody else's."""
    page, policy = _page()
    return HTMLResponse(page, headers={"Content-Security-Policy": policy, "Vary": "Accept"})


@cache
def _page() -> tuple[str, str]:
    page = get_graphql_ide_html()
    scripts = re.findall(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", page, re.DOTALL)
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts)
    return page, (
        f"default-src 'none'; script-src {hashes} https://unpkg.com; "
        "style-src 'unsafe-inline' https://unpkg.com; font-src data: https://unpkg.com; "
        "img-src data: https:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
