"""Everything that is stored about a person, as JSON, for that person.

Each part is one table. A new column of what a person owns, and a new table whose ``user_id``
refers to them, are in it without a word here. ``tests/db/test_export.py`` compares the parts with
the tables: a column that refers to people is in one of them, or in ``LEFT_OUT`` with a reason.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Column, TextClause, text
from sqlalchemy.dialects import postgresql

from community_gql.db.database import Database
from community_gql.db.models import Base

ROWS = 100
"""How many rows are in memory at once; a story has at most some 100,000 characters."""


@dataclass(frozen=True, slots=True)
class Part:
    """One table: ``sql`` selects the person's rows as they are shown, ``:sub`` is who it is."""

    name: str
    table: str
    sql: str
    single: bool = False
    """Whether there is at most one row."""


LEFT_OUT = {
    "users.name_key": "the name in the profile, in lower case, for sorting",
    "user_tags.user_created_at": "a copy of when the person joined, for sorting",
    "user_tags.user_public_id": "a copy of the person's id, for sorting",
    "user_tags.user_name_key": "a copy of users.name_key, for sorting",
    "stories.search": "the words of title and text, for searching",
    "match_results.target_user_id": "to whom the person was proposed is what others were told",
    "match_dismissals.target_user_id": "who does not want to see the person is what others chose",
    "stale_features.user_id": "a mark that something is to be computed anew",
    "stale_lists.user_id": "a mark that something is to be computed anew",
}
"""Columns that hold or refer to people and are not in the export, and why."""


_quote = postgresql.dialect().identifier_preparer.quote  # type: ignore[no-untyped-call]

OWNER = "user_id"
"""The column of a table that names the person whose row it is."""
CALLED = {"stories.tags_cached": "tags"}
"""Columns that have another name in the export."""


def _own(name: str, table: str) -> Part:
    """All columns of the rows that a person owns, but for those that name other people."""
    columns = Base.metadata.tables[table].columns
    shown = [
        f"{_quote(key)} AS {_quote(CALLED.get(f'{table}.{key}', key))}"
        for key, column in columns.items()
        if key != OWNER and f"{table}.{key}" not in LEFT_OUT and not _names_people(column)
    ]
    unique = bool(columns[OWNER].unique)
    keys = [
        _quote(column.name) for column in columns if column.primary_key and column.name != OWNER
    ]
    order = f" ORDER BY {', '.join(keys)}" if keys and not unique else ""
    sql = f"SELECT {', '.join(shown)} FROM {_quote(table)} WHERE {OWNER} = :sub{order}"
    return Part(name, table, sql, single=unique or not keys)


def _names_people(column: Column[Any]) -> bool:
    return any(key.target_fullname == "users.auth0_sub" for key in column.foreign_keys)


_NAMED = (
    Part("person", "users", """
        SELECT auth0_sub AS sub, public_id AS id, email, created_at
        FROM users WHERE auth0_sub = :sub""", single=True),
    _own("profile", "user_profiles"),
    Part("tags", "user_tags", """
        SELECT tag_id, tags.name
        FROM user_tags JOIN tags ON tags.id = tag_id WHERE user_id = :sub ORDER BY tag_id"""),
    _own("stories", "stories"),
    _own("story_requests", "story_requests"),
    _own("habits", "habits"),
    _own("garden", "gardens"),
    Part("friendships", "friendships", """
        SELECT friendships.id, status, friendships.created_at, accepted_at,
          requester_id = :sub AS requested_by_you, other.public_id AS other_person
        FROM friendships JOIN users AS other
          ON other.auth0_sub = CASE requester_id WHEN :sub THEN addressee_id ELSE requester_id END
        WHERE :sub IN (requester_id, addressee_id) ORDER BY friendships.id"""),
    _own("features", "user_features"),
    Part("matches", "match_results", """
        SELECT match_results.id, target.public_id AS matched_person, score,
          match_results.created_at
        FROM match_results JOIN users AS target ON target.auth0_sub = target_user_id
        WHERE user_id = :sub ORDER BY match_results.id"""),
    _own("matching", "match_choices"),
    Part("dismissals", "match_dismissals", """
        SELECT target.public_id AS dismissed_person, match_dismissals.created_at
        FROM match_dismissals JOIN users AS target ON target.auth0_sub = target_user_id
        WHERE user_id = :sub ORDER BY match_dismissals.created_at, target.public_id"""),
)  # fmt: skip


def parts() -> tuple[Part, ...]:
    """The parts, in the order in which they are written; last what has no name of its own yet."""
    named = {part.table for part in _NAMED}
    others = [
        _own(name, name)
        for name, table in sorted(Base.metadata.tables.items())
        if name not in named and OWNER in table.columns and f"{name}.{OWNER}" not in LEFT_OUT
        if _names_people(table.columns[OWNER])
    ]
    return (*_NAMED, *others)


PARTS = parts()
"""What an export is made of."""


# unscoped: a person's own rows, for themselves
_NEXT, _DONE = text(f"FETCH {ROWS} FROM part_rows"), text("CLOSE part_rows")


def _declared(part: Part) -> TextClause:
    rows = f"SELECT row_to_json(part)::text FROM ({part.sql}) AS part"
    # unscoped: a person's own rows, for themselves
    return text(f"DECLARE part_rows NO SCROLL CURSOR FOR {rows}")


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is to export."""

    exists: bool
    bytes: int
    """Of the texts of the stories: all else is small."""


# unscoped: a person's own rows, for themselves
_SIZE = text("""
    SELECT EXISTS (SELECT FROM users WHERE auth0_sub = :sub) AS exists,
      (SELECT coalesce(sum(octet_length(content)), 0)::bigint FROM stories WHERE user_id = :sub)
        AS bytes
""")
# unscoped: whoever runs the server looks for one person
_BY_EMAIL = text("SELECT auth0_sub FROM users WHERE email = CAST(:email AS citext)")


async def size(database: Database, sub: str, *, caller: str | None = None) -> Size:
    """How much there is of this person. Raises Unavailable."""
    snapshot = database.snapshot(caller=caller)
    try:
        (row,) = await snapshot.run(_SIZE, {"sub": sub})
    finally:
        await snapshot.close()
    return Size(row.exists, row.bytes)


async def find(database: Database, email: str) -> str | None:
    """The ``sub`` of the person with this address."""
    snapshot = database.snapshot()
    try:
        rows = await snapshot.run(_BY_EMAIL, {"email": email})
    finally:
        await snapshot.close()
    return rows[0][0] if rows else None


async def written(
    database: Database, sub: str, *, caller: str | None = None, deadline: float | None = None
) -> AsyncIterator[bytes]:
    """The JSON text of all parts, piece by piece, as of one moment.

    Raises Unavailable, also in the middle: the text is then not valid JSON.
    """
    snapshot = database.snapshot(caller=caller, deadline=deadline)
    try:
        yield b'{"exported_at":' + orjson.dumps(datetime.now(UTC))
        for part in PARTS:
            yield b"," + orjson.dumps(part.name) + b":" + (b"" if part.single else b"[")
            rows_written = 0
            await snapshot.run(_declared(part), {"sub": sub})
            while rows := await snapshot.run(_NEXT, {}):
                comma = b"," if rows_written else b""
                rows_written += len(rows)
                yield comma + b",".join(row[0].encode() for row in rows)
            await snapshot.run(_DONE, {})
            if part.single:
                yield b"" if rows_written else b"null"
            else:
                yield b"]"
        yield b"}\n"
    finally:
        await snapshot.close()
