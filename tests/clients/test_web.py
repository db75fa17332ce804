"""``examples/web``: small and typed; built, and used in a real browser by two people at once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time

import httpx
import pytest

from tests.clients.conftest import Live
from tests.clients.projects import WEB
from tests.identity.browser import chromium
from tests.identity.issuer import free_port
from tests.support.node import installed

pytestmark = pytest.mark.system

# Two people with names and matches, no friends of each other; the first has no garden.
TWO_PEOPLE = """
    WITH people AS (
        SELECT auth0_sub AS sub, email::text, created_at
        FROM users JOIN user_profiles ON user_id = auth0_sub
        WHERE display_name IS NOT NULL
        AND (SELECT count(*) > 2 FROM match_results WHERE user_id = auth0_sub)
    )
    SELECT one.email || ',' || other.email FROM people one JOIN people other ON one.sub <> other.sub
    WHERE one.sub NOT IN (SELECT user_id FROM gardens) AND NOT EXISTS (
        SELECT FROM friendships
        WHERE one.sub IN (requester_id, addressee_id) AND other.sub IN (requester_id, addressee_id)
    )
    ORDER BY one.created_at, other.created_at LIMIT 1
"""
HAND_WRITTEN = ["index.html", "*.ts", "src/*.css", "src/*.ts", "src/*.tsx"]


def test_it_is_small_and_typed() -> None:
    texts = {file: file.read_text() for name in HAND_WRITTEN for file in WEB.glob(name)}
    assert sum(len(text.splitlines()) for text in texts.values()) < 2500
    # The type, not the word.
    untyped = re.compile(r"([:<|&,=(]|\bas|\bsatisfies) *any\b|\bany\[\]|@ts-(ignore|nocheck)")
    assert [file.name for file, text in texts.items() if untyped.search(text)] == []
    assert json.loads((WEB / "tsconfig.json").read_text())["compilerOptions"]["strict"] is True


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
        used = subprocess.run(
            ["node", "--test", "--test-reporter=spec", "e2e.mjs"],
            cwd=WEB,
            env=os.environ
            | {"ORIGIN": origin, "EMAILS": live.value(TWO_PEOPLE), "CHROMIUM": program},
            capture_output=True,
            text=True,
            timeout=400,
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
