"""Everything that is stored about a person, as JSON, for that person.

Each part is one table. ``tests/db/test_export.py`` compares the parts with the tables: a column
that refers to people is in one of them, or in ``LEFT_OUT`` with a reason.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
from sqlalchemy import TextClause, text

from community_gql.db.database import Database

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


PARTS = (
    Part("person", "users", """
        SELECT auth0_sub AS sub, public_id AS id, email, created_at
        FROM users WHERE auth0_sub = :sub""", single=True),
    Part("profile", "user_profiles", """
        SELECT display_name, bio, journaling_frequency, updated_at
        FROM user_profiles WHERE user_id = :sub""", single=True),
    Part("tags", "user_tags", """
        SELECT tag_id, tags.name
        FROM user_tags JOIN tags ON tags.id = tag_id WHERE user_id = :sub ORDER BY tag_id"""),
    Part("stories", "stories", """
        SELECT id, title, content, visibility, tags_cached AS tags, created_at, updated_at
        FROM stories WHERE user_id = :sub ORDER BY id"""),
    Part("story_requests", "story_requests", """
        SELECT key, story_id, created_at
        FROM story_requests WHERE user_id = :sub ORDER BY key"""),
    Part("habits", "habits", """
        SELECT id, name, frequency, meta, created_at
        FROM habits WHERE user_id = :sub ORDER BY id"""),
    Part("garden", "gardens", """
        SELECT id, name, theme, created_at
        FROM gardens WHERE user_id = :sub""", single=True),
    Part("friendships", "friendships", """
        SELECT friendships.id, status, friendships.created_at, accepted_at,
          requester_id = :sub AS requested_by_you, other.public_id AS other_person
        FROM friendships JOIN users AS other
          ON other.auth0_sub = CASE requester_id WHEN :sub THEN addressee_id ELSE requester_id END
        WHERE :sub IN (requester_id, addressee_id) ORDER BY friendships.id"""),
    Part("features", "user_features", """
        SELECT vector, version, updated_at
        FROM user_features WHERE user_id = :sub""", single=True),
    Part("matches", "match_results", """
        SELECT match_results.id, target.public_id AS matched_person, score,
          match_results.created_at
        FROM match_results JOIN users AS target ON target.auth0_sub = target_user_id
        WHERE user_id = :sub ORDER BY match_results.id"""),
    Part("matching", "match_choices", """
        SELECT wanted, habits, updated_at
        FROM match_choices WHERE user_id = :sub""", single=True),
    Part("dismissals", "match_dismissals", """
        SELECT target.public_id AS dismissed_person, match_dismissals.created_at
        FROM match_dismissals JOIN users AS target ON target.auth0_sub = target_user_id
        WHERE user_id = :sub ORDER BY match_dismissals.created_at, target.public_id"""),
)  # fmt: skip
"""The parts, in the order in which they are written."""

LEFT_OUT = {
    "users.name_key": "the name in the profile, in lower case, for sorting",
    "stories.search": "the words of title and text, for searching",
    "match_results.target_user_id": "to whom the person was proposed is what others were told",
    "match_dismissals.target_user_id": "who does not want to see the person is what others chose",
    "stale_features.user_id": "a mark that something is to be computed anew",
    "stale_lists.user_id": "a mark that something is to be computed anew",
}
"""Columns that hold or refer to people and are not in the export, and why."""


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
