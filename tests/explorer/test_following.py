"""The explorer's subscription goes on when the server was restarted, where it was."""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.explorer.test_browser import program, seeded
from tests.http.server import free_port
from tests.support import server

pytestmark = pytest.mark.system

__all__ = ["program", "seeded"]


def test_a_subscription_goes_on_after_a_restart(
    program: str, seeded: str, workbench: Any, tmp_path: Path
) -> None:
    port, database = free_port(), seeded.partition("@/")[2].partition("?")[0]

    def write(title: str) -> None:
        workbench.execute(
            database,
            "INSERT INTO stories (user_id, title, content, visibility) "
            f"SELECT min(auth0_sub), '{title}', 'x', 'public' FROM users",
        )

    with ExitStack() as stack:
        running = stack.enter_context(server.process(seeded, tmp_path, port))
        browser = stack.enter_context(
            subprocess.Popen(
                ["node", "follow.mjs", program, f"http://127.0.0.1:{port}"],
                cwd=Path(__file__).parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(browser.kill)

        def shown(text: str) -> Any:
            """What the page shows beside a text, once it shows that."""
            assert browser.stdin is not None
            assert browser.stdout is not None
            print(text, file=browser.stdin, flush=True)
            line = browser.stdout.readline()
            assert line, f"the page never showed {text}"
            return json.loads(line)

        assert shown("RELOAD")["kinds"] == ["RELOAD"]
        write("Before-it")
        before = shown("Before-it")
        assert "as they come" in before["hint"]
        running.terminate()  # as an operator does
        running.wait(30)
        shown("No connection")
        write("Meanwhile")
        again = stack.enter_context(server.process(seeded, tmp_path, port))
        back = shown("Meanwhile")
        # After the last moment: what was missed, and no RELOAD.
        assert back["kinds"] == ["APPEARED", "APPEARED", "RELOAD"]
        assert "as they come" in back["hint"]
        assert back["sockets"] > before["sockets"]
        write("After-it")
        assert shown("After-it")["kinds"][:3] == ["APPEARED"] * 3

        again.terminate()
        again.wait(30)
        shown("No connection")
        assert browser.stdin is not None
        assert browser.stdout is not None
        browser.stdin.close()
        stopped = json.loads(browser.stdout.readline())
        assert stopped["wrong"] == []
        assert "has ended" in stopped["hint"]
