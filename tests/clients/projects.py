"""A client's project in a folder of its own, with the packages of an npm project beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.snippets import CHECKOUT, file
from tests.support.node import installed

HERE = Path(__file__).parent
WEB = CHECKOUT / "examples" / "web"
PYTHON = CHECKOUT / ".venv" / "clients" / "bin"
"""The environment of ariadne-codegen, which ``make test-clients`` makes."""

every = pytest.mark.skipif(
    os.environ.get("CLIENTS") != "all", reason="all generators run in make test-clients"
)


def modules() -> Path:
    """All generators, installed."""
    return installed(HERE, "the clients of docs/clients.md") / "node_modules"


class Project:
    """A folder with files, and a shell in it that finds the tools."""

    def __init__(self, name: str, node_modules: Path | None = None) -> None:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        self.folder = HERE / ".work" / worker / name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.paths = [Path(sys.executable).parent]
        if node_modules is not None:
            (self.folder / "node_modules").symlink_to(node_modules)
            self.paths.insert(0, node_modules / ".bin")
            self.write("package.json", '{ "private": true, "type": "module" }\n')
            self.write("tsconfig.json", file("typescript/tsconfig.json"))
        self.write("schema.graphql", (CHECKOUT / "schema.graphql").read_text(encoding="utf-8"))

    def write(self, path: str, text: str) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def read(self, path: str) -> str:
        return (self.folder / path).read_text(encoding="utf-8")

    def attempt(self, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a shell command in the folder."""
        path = os.pathsep.join(map(str, self.paths)) + os.pathsep + os.environ["PATH"]
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder,
            env=os.environ | {"PATH": path, "NO_COLOR": "1"} | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
        )

    def run(self, command: str, **environment: str) -> str:
        """Run a shell command that must succeed; what it printed."""
        done = self.attempt(command, **environment)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout
