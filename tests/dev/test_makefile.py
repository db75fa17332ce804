"""What the Makefile does before any package is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from community_gql.settings import home


def make(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *words],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a virtual environment that was made for it."""
    folder = tmp_path / "checkout"
    (folder / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(home() / "Makefile", folder)
    (folder / ".venv" / "made-for").write_text(f"{folder.resolve()}\n")
    return folder


def test_a_virtual_environment_is_kept_where_it_was_made(checkout: Path) -> None:
    assert make(checkout, "help").stderr == ""
    assert (checkout / ".venv").is_dir()


@pytest.mark.parametrize("elsewhere", [shutil.copytree, shutil.move])
def test_a_copied_or_moved_one_is_made_anew(checkout: Path, elsewhere: object) -> None:
    assert callable(elsewhere)
    other = checkout.parent / "other"
    elsewhere(checkout, other)
    assert "copied or moved" in make(other, "help").stderr
    assert not (other / ".venv").exists()
    if checkout.exists():
        assert make(checkout, "help").stderr == ""
        assert (checkout / ".venv").is_dir()


def test_one_without_a_record_is_judged_by_what_it_says_of_itself(checkout: Path) -> None:
    (checkout / ".venv" / "made-for").unlink()
    activate = checkout / ".venv" / "bin" / "activate"
    activate.write_text(f"VIRTUAL_ENV={checkout.resolve()}/.venv\n")
    assert make(checkout, "help").stderr == ""
    activate.write_text("VIRTUAL_ENV=/somewhere/else/.venv\n")
    assert "copied or moved" in make(checkout, "help").stderr


@pytest.mark.parametrize("name", ["PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PYTHONPATH"])
def test_variables_that_put_packages_elsewhere_do_not_reach_pip(checkout: Path, name: str) -> None:
    with (checkout / "Makefile").open("a") as file:
        file.write("\nshow-environment:\n\t@env\n")
    shown = make(checkout, "show-environment", **{name: "1", "PIP_INDEX_URL": "http://kept/"})
    assert f"{name}=" not in shown.stdout
    assert "PIP_INDEX_URL=http://kept/" in shown.stdout


def test_the_example_script_without_a_server_is_one_sentence(checkout: Path) -> None:
    makefile = checkout / "Makefile"
    ours = "answers: $(BIN)/python\n\t@$(BIN)/python -c"
    assert ours in makefile.read_text()
    without_packages = makefile.read_text().replace(ours, f"answers:\n\t@{sys.executable} -c")
    makefile.write_text(without_packages)
    done = make(checkout, "answers", API="http://127.0.0.1:9")
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert said == [
        "Nothing answers at http://127.0.0.1:9: start the server with `make run` in another "
        "terminal."
    ]
