"""The migrations there are, without Alembic: what serves does not import it."""

from __future__ import annotations

from pathlib import Path

from community_gql.settings import OperatorError


class MigrationError(OperatorError):
    """A migration could not be run; the text says why."""


def folder() -> Path:
    """Return the migrations: the checkout's, or the copy that an installed wheel holds."""
    inside = Path(__file__).resolve().parents[1] / "migrations"
    beside = Path(__file__).resolve().parents[3] / "migrations"
    for candidate in (inside, beside):
        if (candidate / "env.py").is_file():
            return candidate
    raise MigrationError(f"no migrations found in {inside} or {beside}. Install the package again.")


def in_order() -> list[str]:
    """Return the id of each migration, the oldest first: its file's name begins with it."""
    return sorted(path.name.partition("_")[0] for path in folder().glob("versions/[0-9]*.py"))
