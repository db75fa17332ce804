"""`community-gql dev` in a checkout: it serves while the explorer is built, and reloads."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from community_gql.settings import home

pytestmark = pytest.mark.system

COMMAND = "from community_gql.cli import main; main()"
PATIENCE = 60


class Running:
    """`dev --pages` on a copy of the sources, with tools of Node that only pretend."""

    def __init__(self, folder: Path, environment: dict[str, str], port: int) -> None:
        self.folder, self.port = folder, port
        left_out = shutil.ignore_patterns("__pycache__", "explorer_build", ".explorer_build*")
        shutil.copytree(home() / "src", folder / "src", ignore=left_out)
        for name in ("migrations", "pyproject.toml"):
            (folder / name).symlink_to(home() / name)
        (folder / "explorer" / "node_modules").mkdir(parents=True)
        for name in ("build.py", "package-lock.json", "package.json"):
            shutil.copy(home() / "explorer" / name, folder / "explorer")
        (folder / "explorer" / "src").mkdir()
        tools = folder / "tools"
        tools.mkdir()
        for name, does in {
            "node": "echo v20.19.0",
            "npm": "exit 0",
            "npx": f"exec sleep {PATIENCE * 10}",
        }.items():
            (tools / name).write_text(f"#!/bin/sh\n{does}\n")
            (tools / name).chmod(0o755)
        self.said = folder / "said"
        with open(self.said, "w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-c", COMMAND, "dev", "--people", "20", "--pages"],
                cwd=folder,
                env=environment
                | {
                    "PORT": str(port),
                    "PYTHONDONTWRITEBYTECODE": "",  # it starts three times
                    "PYTHONPATH": str(folder / "src"),
                    "PATH": f"{tools}:{os.environ['PATH']}",
                },
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def get(self, path: str, accept: str = "*/*") -> str:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", headers={"Accept": accept}
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            text: str = answer.read().decode()
        return text

    def page(self) -> str:
        return self.get("/", "text/html")

    def wait(self, what: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            assert self.process.poll() is None, self.said.read_text()
            assert time.monotonic() < deadline, self.said.read_text()
            try:
                if what():
                    return
            except OSError:
                assert "the server restarts" not in self.said.read_text(), (
                    "a restart refuses nobody"
                )
            time.sleep(0.05)

    def edit(self, old: str, new: str) -> None:
        file = self.folder / "src" / "community_gql" / "app.py"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))


@pytest.fixture
def running(tmp_path: Path, environment: dict[str, str], free: int) -> Iterator[Running]:
    (tmp_path / "checkout").mkdir()
    made = Running(tmp_path / "checkout", environment, free)
    yield made
    if made.process.poll() is None:
        os.killpg(made.process.pid, signal.SIGTERM)
        made.process.wait(timeout=PATIENCE)


def test_it_serves_meanwhile_reloads_and_leaves_nothing_behind(running: Running) -> None:
    running.wait(lambda: "ok" in running.get("/healthz"))
    running.wait(lambda: "Building the explorer" in running.page())
    assert '<meta http-equiv="refresh"' in running.page()
    assert f"http://127.0.0.1:{running.port}/graphql -H" in running.get("/")

    query = json.dumps({"query": "query Names { tags(first: 1) { nodes { name } } }"}).encode()
    headers = {"Content-Type": "application/json"}
    address = f"http://127.0.0.1:{running.port}/graphql"
    urllib.request.urlopen(urllib.request.Request(address, query, headers), timeout=30).close()
    running.wait(lambda: "Names" in running.said.read_text())
    assert re.search(
        r"^POST /graphql +Names +200 +[\d.]+ ms +1 statement +loaders: first sight$",
        running.said.read_text(),
        re.M,
    )

    running.edit('PlainTextResponse("ok\\n")', 'PlainTextResponse("changed\\n")')
    running.wait(lambda: running.get("/healthz") == "changed\n")
    running.edit("async def _alive", "async deff _alive")
    running.wait(lambda: "the server stopped" in running.said.read_text())
    running.edit("async deff _alive", "async def _alive")
    running.wait(lambda: running.get("/healthz") == "changed\n")

    running.process.terminate()  # the parent alone, as `kill` does
    running.process.wait(timeout=PATIENCE)
    assert "\x1b[" not in running.said.read_text()
    left = subprocess.run(["pgrep", "-f", str(running.folder)], capture_output=True, text=True)
    assert left.stdout == ""
    assert not (running.folder / "src" / "community_gql" / "explorer_build").exists()
    with pytest.raises(OSError, match="refused"):
        running.page()
