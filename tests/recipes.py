"""Follows the recipes of CONTRIBUTING.md in a copy of the checkout, and checks what they made.

python -m tests.recipes [--follow] [--tests PATH ...] [--keep FOLDER]

The words after a block's language say where its text goes: ``file=`` a path, ``into=`` the class or
function it goes into (how its line begins), ``before=`` the line there that begins so; without it
the text goes to the end of the file, and with ``from=`` it replaces the lines from that one on. A
block of ``sh`` is run in the copy. Nothing else is done: what a recipe leaves out fails here.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
PAGE = CHECKOUT / "CONTRIBUTING.md"
MOST_FILES = {"A field": 8, "A member of a mutation": 8, "A relation": 8, "An entity": 10}
"""How many files a recipe may touch, generated ones included; a member with its field."""

TESTS = (
    "tests/schema", "tests/graph", "tests/operations", "tests/actions", "tests/db", "tests/dev",
    "tests/clients", "tests/test_docs.py", "tests/test_layout.py", "tests/test_benchmarks.py",
)  # fmt: skip
"""What a recipe can break."""


DEFINITIONS = ("class ", "def ", "async def ", "@")
"""What begins so stands apart from what is beside it."""


class RecipeError(Exception):
    """A recipe does not lead where it says; the text says where it stopped."""


@dataclass(frozen=True)
class Step:
    """A block of a recipe: text for a file, or commands."""

    recipe: str
    line: int
    words: dict[str, str]
    text: str


def steps(page: str) -> list[Step]:
    """The blocks of all recipes, from top to bottom."""
    found = []
    for match in re.finditer(
        r"^```(sh|python|text|graphql) ?(.*)\n((?:.*\n)*?)```$", page, re.MULTILINE
    ):
        language, info, text = match.groups()
        recipe = re.findall(r"^### (.*)$", page[: match.start()], re.MULTILINE)
        words = dict(word.partition("=")[::2] for word in shlex.split(info))
        if recipe and (language == "sh" or "file" in words):
            line = page.count("\n", 0, match.start()) + 1
            found.append(Step(recipe[-1], line, words, text))
    return found


def placed(source: str, step: Step) -> str:
    """The text of a file with a step's text in its place. Raises RecipeError without a place."""
    blank = "\n\n" if step.text.startswith(DEFINITIONS) else ""
    if "before" not in step.words:  # at its end
        return source + blank + step.text
    lines = source.splitlines(keepends=True)
    start = 0
    if into := step.words.get("into"):
        heads = [n for n, line in enumerate(lines) if _begins(line, into)]
        if not heads:
            raise RecipeError(f"line {step.line}: nothing in {step.words['file']} is {into}")
        start = heads[0] + 1
    end = _first(lines, start, step, step.words["before"])
    begin = _first(lines, start, step, step.words["from"]) if "from" in step.words else end
    return "".join([*lines[:begin], step.text, blank, *lines[end:]])


def _begins(line: str, name: str) -> bool:
    words = rf"\s*(?:(?:async )?def |class )?{re.escape(name)}(?!\w)"
    return re.match(words, line) is not None


def _first(lines: Sequence[str], start: int, step: Step, beginning: str) -> int:
    for number in range(start, len(lines)):
        if lines[number].lstrip().startswith(beginning):
            return number
    raise RecipeError(f"line {step.line}: no line of {step.words['file']} begins with {beginning}")


class Copy:
    """A copy of the checkout with an environment of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self) -> None:
        """Copy what git knows of, and install it."""
        names = _git(CHECKOUT, "ls-files", "-co", "--exclude-standard").splitlines()
        for name in names:
            if (source := CHECKOUT / name).is_file():
                target = self.folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())
                target.chmod(source.stat().st_mode)
        _git(self.folder, "init", "-q")
        self.commit()
        # As `make install` does it, from the cache of uv: seconds instead of minutes.
        venv, uv = self.folder / ".venv", Path(sys.executable).with_name("uv")
        self.run([sys.executable, "-m", "venv", "--without-pip", str(venv)])
        install = [str(uv), "pip", "install", "-q", "--python", str(venv / "bin" / "python")]
        for lock in ("run", "dev"):
            self.run([*install, "--require-hashes", "-r", f"requirements-{lock}.lock"])
            (venv / f"{lock}-packages").touch()
        self.run([*install, "pip"])
        self.run([*install, "--no-deps", "--no-build-isolation", "-e", "."])
        (venv / "project").touch()
        (venv / "dev-packages").touch()
        (venv / "made-for").write_text(f"{self.folder}\n")

    def commit(self) -> None:
        """Make what is there the state that changes are counted from."""
        _git(self.folder, "add", "-A")
        who = ["-c", "user.name=recipes", "-c", "user.email=recipes@example.org"]
        _git(self.folder, *who, "commit", "-q", "--allow-empty", "-m", "Follow a recipe")

    def run(self, command: Sequence[str]) -> None:
        """Run a command that must succeed."""
        unwanted = ("VIRTUAL_ENV", "PYTHONPATH")
        environment = {key: value for key, value in os.environ.items() if key not in unwanted}
        done = subprocess.run(command, cwd=self.folder, env=environment)
        if done.returncode:
            raise RecipeError(f"{shlex.join(command)} failed in {self.folder}")

    def follow(self, step: Step) -> None:
        """Do what a step says. Raises RecipeError."""
        if "file" not in step.words:
            self.run(["bash", "-euo", "pipefail", "-c", step.text])
            return
        path = self.folder / step.words["file"]
        path.write_text(placed(path.read_text(encoding="utf-8"), step), encoding="utf-8")

    def touched(self) -> list[str]:
        """The files that differ from the last commit, generated ones too."""
        changes = _git(self.folder, "status", "--porcelain", "--untracked-files=all")
        return [line[3:] for line in changes.splitlines()]


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def recipes(page: str) -> Iterator[tuple[str, list[Step]]]:
    """Each recipe that has blocks, with its steps."""
    found = steps(page)
    for name in dict.fromkeys(step.recipe for step in found):
        yield name, [step for step in found if step.recipe == name]


def main() -> None:
    """Follow the recipes one after another in one copy, then check the whole."""
    parser = argparse.ArgumentParser(prog="python -m tests.recipes")
    parser.add_argument("--keep", type=Path, help="make the copy here, and leave it")
    parser.add_argument("--tests", nargs="*", help=f"instead of {' '.join(TESTS)}")
    parser.add_argument("--follow", action="store_true", help="only that: check and test nothing")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="recipes-") as folder:
        copy = Copy(chosen.keep or Path(folder))
        copy.folder.mkdir(exist_ok=True)
        copy.make()
        touched: dict[str, set[str]] = {}
        for name, its in recipes(PAGE.read_text(encoding="utf-8")):
            for step in its:
                copy.follow(step)
            touched[name] = set(copy.touched())
            copy.commit()
            print(f"== {name}: {len(touched[name])} files")  # noqa: T201
            print("\n".join(f"   {path}" for path in sorted(touched[name])))  # noqa: T201
        field = "A field"
        touched["A member of a mutation"] |= touched[field]
        for name, most in MOST_FILES.items():
            if len(touched[name]) > most:
                raise RecipeError(f"{name} touches {len(touched[name])} files, not {most} at most")
        if chosen.follow:
            return
        copy.run(["make", "check"])
        copy.run([".venv/bin/python", "-m", "pytest", "-q", "-n", "auto", *(chosen.tests or TESTS)])


if __name__ == "__main__":
    try:
        main()
    except RecipeError as error:
        sys.exit(f"error: {error}")
