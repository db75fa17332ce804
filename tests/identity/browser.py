"""A real browser: Debian's Chromium, headless, driven by npm's ``playwright-core``."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Sequence
from typing import Any

import pytest

from tests.identity.node import installed_provider


def chromium() -> str:
    """The program, or a skip that says it is missing."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("Chromium is not installed: apt install chromium")
    return program


async def browse(*steps: tuple[str, dict[str, Any]]) -> Sequence[Any]:
    """Do the steps of ``browser.mjs`` in a fresh browser; what came of each."""
    program, folder = chromium(), installed_provider()
    process = await asyncio.create_subprocess_exec(
        "node",
        "browser.mjs",
        program,
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    given = json.dumps([{"do": what, **options} for what, options in steps]).encode()
    out, err = await asyncio.wait_for(process.communicate(given), 120)
    assert process.returncode == 0, err.decode()
    results: list[Any] = json.loads(out)
    return results
