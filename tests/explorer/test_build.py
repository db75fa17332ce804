"""When the pages are built, what a failure says, and that a wheel has them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.node import installed

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]


class Checkout:
    """The sources of the explorer in a folder of their own, with tools that only pretend."""

    def __init__(self, folder: Path) -> None:
        self.pages = folder / "src" / "community_gql" / "explorer_build"
        self.pages.parent.mkdir(parents=True)
        self.sources = folder / "explorer"
        shutil.copytree(
            ROOT / "explorer", self.sources, ignore=shutil.ignore_patterns("node_modules")
        )
        (self.sources / "node_modules").mkdir()
        self.tools = folder / "tools"
        self.tools.mkdir()
        (self.tools / "mkdir").symlink_to(shutil.which("mkdir") or "/bin/mkdir")
        self.calls = folder / "calls"

    def tool(self, name: str, does: str) -> None:
        file = self.tools / name
        file.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.calls}\n{does}\n')
        file.chmod(0o755)

    def works(self) -> None:
        self.tool("node", "echo v20.19.0")
        self.tool("npm", "")
        # `npx vite build --logLevel error --outDir FOLDER`
        self.tool("npx", '[ "$1" = vite ] || exit 0; mkdir "$6"; echo page > "$6/index.html"')

    def build(self, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(self.sources / "build.py"), *options],
            env={**os.environ, "PATH": str(self.tools)},
            capture_output=True,
            text=True,
        )


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_without_node_run_goes_on_in_silence(checkout: Checkout) -> None:
    lenient, strict = checkout.build("--if-node"), checkout.build()

    assert (lenient.returncode, lenient.stderr) == (0, "")
    assert strict.returncode == 1
    assert "Node.js 20.19 or newer is needed, and is not installed." in strict.stderr


def test_an_old_node_is_named(checkout: Checkout) -> None:
    checkout.works()
    checkout.tool("node", "echo v18.1.0")
    lenient = checkout.build("--if-node")

    assert lenient.returncode == 0
    assert "this is v18.1.0" in lenient.stderr
    assert not checkout.pages.exists()


def test_it_is_built_again_only_for_other_sources(checkout: Checkout) -> None:
    checkout.works()
    assert checkout.build().returncode == 0
    calls = checkout.calls.read_text()
    again = checkout.build()
    assert (again.returncode, again.stderr, checkout.calls.read_text()) == (0, "", calls)
    assert (checkout.pages / "index.html").read_text() == "page\n"

    (checkout.sources / "src" / "more.ts").write_text("export {};\n")
    assert "building the explorer" in checkout.build("--if-node").stderr
    later = checkout.calls.read_text().removeprefix(calls)
    assert "npx vite build" in later
    assert "npm ci" not in later  # the packages are the same
    assert checkout.pages.with_name(".explorer_build-progress").read_text() == ""


def test_a_failure_keeps_what_was_there(checkout: Checkout) -> None:
    checkout.works()
    assert checkout.build().returncode == 0
    checkout.tool("npx", "echo 'a mistake in main.tsx' >&2; exit 1")
    (checkout.sources / "src" / "more.ts").write_text("nonsense")
    lenient, strict = checkout.build("--if-node"), checkout.build()

    assert (lenient.returncode, strict.returncode) == (0, 1)
    for said in (lenient.stderr, strict.stderr):
        assert "the explorer is not built" in said
        assert "a mistake in main.tsx" in said
    assert (checkout.pages / "index.html").read_text() == "page\n"
    progress = checkout.pages.with_name(".explorer_build-progress")
    assert set(checkout.pages.parent.iterdir()) == {checkout.pages, progress}
    assert "a mistake in main.tsx" in progress.read_text()


def test_a_wheel_has_the_pages(tmp_path: Path) -> None:
    installed(Path(__file__).parent, "the explorer")  # or a skip
    subprocess.run([sys.executable, str(ROOT / "explorer" / "build.py")], check=True)
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir"]
    done = subprocess.run([*command, str(tmp_path), str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()

    assert {"index.html", "schema.html"} <= {
        name.removeprefix("community_gql/explorer_build/") for name in names
    }
    assert any(name.endswith(".js") for name in names)
    assert not any("node_modules" in name for name in names)
