"""The blocks of ``docs/clients.md``, and how each is tried.

The words after a block's language say what it is: ``file=app/src/api.ts`` is that file of the
project ``app``; ``run=app`` are commands to run in it, one after another down the page; ``output``
is the end of what the commands before it print; ``on=trusted`` runs them against the server with
the block ``settings``. In place of a project, a name of GROUPS stands for several.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "docs" / "clients.md"
NODE = ("app", "relay", "tada", "genql")
PYTHONIC = ("python", "strawberry")
PROJECTS = (*NODE, *PYTHONIC, "schema")
GROUPS = {"every": PROJECTS, "typescript": NODE, "pip": PYTHONIC, "live": ("app", "relay")}
"""What begins in the same way."""

ADDRESS = "http://127.0.0.1:8000"
"""What the page says for the server; the tests' own stands there when they run."""


@dataclass(frozen=True)
class Block:
    """A fenced block. ``words`` are those after the language."""

    language: str
    words: dict[str, str]
    text: str
    line: int

    @property
    def project(self) -> str | None:
        return self.words.get("run") or self.words.get("file", "").split("/")[0] or None

    def is_of(self, project: str) -> bool:
        """Whether it is one of the project's."""
        return project in GROUPS.get(self.project or "", (self.project,))

    @property
    def path(self) -> str:
        """The file's path in its project."""
        return self.words["file"].partition("/")[2]


def blocks() -> list[Block]:
    """All blocks of the page, from top to bottom."""
    page = PAGE.read_text(encoding="utf-8")
    found = []
    for match in re.finditer(r"^```(\w*) ?(.*)\n((?:.*\n)*?)```$", page, re.MULTILINE):
        language, info, text = match.groups()
        words = dict(word.partition("=")[::2] for word in info.split())
        found.append(Block(language, words, text, page.count("\n", 0, match.start()) + 1))
    return found


def file(name: str) -> str:
    """The text of a file, by project and path."""
    (block,) = [block for block in blocks() if block.words.get("file") == name]
    return block.text
