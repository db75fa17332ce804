"""How the matching of a community is: what is up to date, and how evenly people are shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from community_gql.matching import stored
from community_gql.matching.stored import MACHINE


@dataclass(frozen=True, slots=True)
class Status:
    """Of the whole community."""

    version: int | None
    """Of the vectors; None before the first run."""
    made_by: str | None
    """``recipe 1``, or ``a program``."""
    since: datetime | None
    people: int
    opted_out: int
    vectors: int
    """Of this version."""
    lists: int
    """People who have one."""
    empty: int
    """People who have a vector and nobody in their list."""
    stale_vectors: int
    stale_lists: int
    oldest_mark: datetime | None
    most_shown: int
    """In how many lists whoever is in most of them is."""
    never_shown: int
    """People with a vector who are in nobody's list."""


COUNTS = """
    SELECT
      (SELECT count(*) FROM users) AS people,
      (SELECT count(*) FROM match_choices WHERE NOT wanted) AS opted_out,
      (SELECT count(*) FROM user_features WHERE version = $1) AS vectors,
      (SELECT count(DISTINCT user_id) FROM match_results) AS lists,
      (SELECT count(*) FROM user_features f WHERE version = $1
        AND NOT EXISTS (SELECT FROM match_results r WHERE r.user_id = f.user_id)) AS empty,
      (SELECT count(*) FROM stale_features) AS stale_vectors,
      (SELECT count(*) FROM stale_lists) AS stale_lists,
      least((SELECT min(at) FROM stale_features), (SELECT min(at) FROM stale_lists)) AS oldest_mark,
      (SELECT coalesce(max(number), 0) FROM (
        SELECT count(DISTINCT user_id) AS number FROM match_results GROUP BY target_user_id
      ) AS shown) AS most_shown,
      (SELECT count(*) FROM user_features f WHERE version = $1
        AND NOT EXISTS (SELECT FROM match_results r WHERE r.target_user_id = f.user_id)
      ) AS never_shown
"""
STALE = """
    SELECT u.public_id::text, u.email::text, f.at AS features, l.at AS lists
    FROM users u
    LEFT JOIN stale_features f ON f.user_id = u.auth0_sub
    LEFT JOIN stale_lists l ON l.user_id = u.auth0_sub
    WHERE f.user_id IS NOT NULL OR l.user_id IS NOT NULL
    ORDER BY least(f.at, l.at), u.public_id
"""


async def status(connection: asyncpg.Connection) -> Status:
    """The status now."""
    version = await stored.current(connection)
    row = await connection.fetchrow(COUNTS, version.version if version else None)
    assert row is not None
    made_by = None
    if version is not None:
        made_by = "a program" if version.recipe == MACHINE else f"recipe {version.recipe}"
    return Status(
        version.version if version else None,
        made_by,
        version.created_at if version else None,
        **dict(row),
    )


async def stale(connection: asyncpg.Connection) -> list[tuple[str, str, str, datetime]]:
    """Who is marked: public id, e-mail address, what is stale, since when; the oldest first."""
    rows = await connection.fetch(STALE)
    return [
        (
            row["public_id"],
            row["email"],
            "vector" if row["features"] else "list",
            min(at for at in (row["features"], row["lists"]) if at is not None),
        )
        for row in rows
    ]
