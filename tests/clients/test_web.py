"""``examples/web``: built, and used in a real browser."""

from __future__ import annotations

import os
import subprocess
import time

import httpx

from tests.clients.conftest import Live
from tests.clients.projects import WEB
from tests.identity.browser import chromium
from tests.identity.issuer import free_port
from tests.support.node import installed

WITHOUT_GARDEN = (
    "SELECT email::text FROM users WHERE auth0_sub NOT IN (SELECT user_id FROM gardens) "
    "ORDER BY created_at LIMIT 1"
)


def test_the_app(live: Live) -> None:
    program = chromium()
    installed(WEB, "the example of a web app")
    built = subprocess.run(["npm", "run", "build"], cwd=WEB, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr

    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    preview = subprocess.Popen(
        [WEB / "node_modules/.bin/vite", "preview", "--port", str(port), "--strictPort"],
        cwd=WEB,
        env=os.environ | {"API": live.origin},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _await(origin)
        email = live.value(WITHOUT_GARDEN)
        used = subprocess.run(
            ["node", "--test", "--test-reporter=spec", "e2e.mjs"],
            cwd=WEB,
            env=os.environ | {"ORIGIN": origin, "EMAIL": email, "CHROMIUM": program},
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert used.returncode == 0, used.stdout + used.stderr
    finally:
        preview.terminate()
        preview.wait(20)


def _await(origin: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            httpx.get(origin, timeout=5)
        except httpx.ConnectError:
            assert time.monotonic() < deadline, "vite preview does not answer"
            time.sleep(0.1)
        else:
            return
