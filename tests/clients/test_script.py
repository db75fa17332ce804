"""``examples/python``: generated, checked and run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

import pytest

from tests.clients.conftest import Live
from tests.clients.projects import PYTHON, every
from tests.clients.snippets import CHECKOUT

pytestmark = pytest.mark.system

FOLDER = CHECKOUT / "examples" / "python"


def run(*command: str, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [str(PYTHON / command[0]), *command[1:]],
        cwd=FOLDER,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


def must(result: tuple[int, str, str]) -> Sequence[str]:
    code, out, err = result
    assert code == 0, out + err
    return out.splitlines()


@every
def test_the_script(live: Live) -> None:
    must(run("ariadne-codegen"))
    must(run("mypy", "--strict", "--follow-imports=silent", "journal.py"))

    grace = {"API": live.origin, "TOKEN": live.token("grace@example.com")}
    lines = must(run("python", "journal.py", "Mend a relay", **grace))
    stories = live.value(
        "SELECT count(*) FROM stories JOIN users ON auth0_sub = user_id WHERE email = $1",
        "grace@example.com",
    )
    assert lines[0] == "Grace Hopper"
    assert sum(line.startswith("  ") for line in lines) == stories > 2
    assert lines[-1] == "Taken up: Mend a relay (daily)"

    lines = must(run("python", "journal.py", "Mend a relay", **grace))
    assert lines[-1].startswith("Refused: ")
    assert lines[-1].endswith("[HABIT_ALREADY_EXISTS at name]")

    code, _, said = run("python", "journal.py", API=live.origin, TOKEN="over")
    assert (code, said[:5]) == (1, "401: ")
    code, _, said = run("python", "journal.py", API=live.origin, TOKEN="")
    assert (code, said[:6]) == (1, "Nobody")
    code, _, said = run("python", "journal.py", API="http://127.0.0.1:9", TOKEN="")
    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith("Nothing answers at http://127.0.0.1:9: ")
