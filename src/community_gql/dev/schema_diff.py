"""Check that ``schema.graphql`` equals the code's schema, and that clients still work."""

from __future__ import annotations

import difflib
import re
import subprocess
from pathlib import Path

from graphql import BreakingChange, BreakingChangeType, build_schema, find_breaking_changes
from graphql.error import GraphQLError

from community_gql.settings import OperatorError

FILE = "schema.graphql"
DIFFERENCE_LINES = 40


class SchemaError(OperatorError):
    """The schema file is out of date, or a breaking change isn't in the changelog."""


def check(checkout: Path, code: str, *, against: str | None = None) -> list[str]:
    """Compare ``code`` (the code's SDL) with the file, and the file with an earlier one.

    The earlier one is that of the git revision ``against``; by default HEAD's, or the one before
    HEAD where the file is HEAD's own. Returns lines to print; raises :class:`SchemaError`.
    """
    try:
        text = (checkout / FILE).read_text(encoding="utf-8")
    except OSError:
        raise SchemaError(f"there is no {checkout / FILE}. Write it: make schema") from None
    if text != code:
        raise SchemaError(
            f"{FILE} is not what the code says. Write it: make schema\n{diff(text, code)}"
        )
    lines = [f"{FILE} is what the code says"]
    base, earlier = earlier_schema(checkout, text, against)
    if earlier is None:
        return [*lines, f"no {FILE} in {base} to look for breaking changes since"]
    changes = breaking_changes(earlier, text)
    if not changes:
        return [*lines, f"no breaking change since {base}"]
    listed = announced(checkout)
    missing = [change for change in changes if coordinate(change) not in listed]
    if missing:
        raise SchemaError(
            f"breaking changes since {base} that CHANGELOG.md doesn't name under Unreleased, "
            "'### Breaking' (as `coordinate`):\n"
            + "\n".join(f"  `{coordinate(change)}`: {change.description}" for change in missing)
        )
    return [*lines, *(f"breaking since {base}, announced: {c.description}" for c in changes)]


def diff(old: str, new: str) -> str:
    """Return the first lines of what differs."""
    names = (FILE, "the code")
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), *names, lineterm="", n=1))
    rest = len(lines) - DIFFERENCE_LINES
    return "\n".join(
        lines[:DIFFERENCE_LINES] + ([f"... and {rest} more lines"] if rest > 0 else [])
    )


def earlier_schema(checkout: Path, text: str, against: str | None) -> tuple[str, str | None]:
    """Return the revision to compare with and its schema, None where it has none."""
    if against is not None:
        return against, shown(checkout, against)
    head = shown(checkout, "HEAD")
    if head is not None and head != text:
        return "HEAD", head
    return "HEAD~1", shown(checkout, "HEAD~1")


def shown(checkout: Path, revision: str) -> str | None:
    """Return the schema file of a git revision; None without git, the revision or the file."""
    try:
        done = subprocess.run(
            ["git", "show", "--end-of-options", f"{revision}:./{FILE}"],
            cwd=checkout,
            capture_output=True,
            encoding="utf-8",
            stdin=subprocess.DEVNULL,
        )
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def breaking_changes(old: str, new: str) -> list[BreakingChange]:
    """Return the changes from ``old`` to ``new`` that break clients."""
    try:
        return find_breaking_changes(build_schema(old), build_schema(new))
    except GraphQLError as error:
        raise SchemaError(f"a schema can't be read: {error.message}") from None


def coordinate(change: BreakingChange) -> str:
    """Return the schema coordinate of a change, such as ``Query.story(id:)``."""
    text = change.description
    if change.type is BreakingChangeType.TYPE_REMOVED_FROM_UNION:
        return text.rstrip(".").rpartition(" ")[2]
    found = re.search(r"@\w+(\(\w+:\))?|\w+\.\w+(\(\w+:\))?", text)
    return found.group() if found else text.partition(" ")[0]


def announced(checkout: Path) -> set[str]:
    """Return what CHANGELOG.md has in backquotes under Unreleased, Breaking."""
    try:
        text = (checkout / "CHANGELOG.md").read_text(encoding="utf-8")
    except OSError:
        return set()
    section = subsection = ""
    names: set[str] = set()
    for line in text.splitlines():
        if line.startswith("## "):
            section, subsection = line.lower(), ""
        elif line.startswith("### "):
            subsection = line.lower()
        elif "unreleased" in section and "breaking" in subsection:
            names |= set(re.findall(r"`([^`]+)`", line))
    return names
