"""What vectors are made of, read from the database: what everyone may see, and shared habits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import asyncpg

from community_gql.matching.recipe import Key, Made

_TAKES_PART = "NOT EXISTS (SELECT FROM match_choices c WHERE c.user_id = {} AND NOT c.wanted)"
_PUBLIC = """
    SELECT s.user_id, st.tag_id FROM stories s JOIN story_tags st ON st.story_id = s.id
    WHERE s.visibility = 'public'
"""
_SHARED = """
    SELECT h.user_id, lower(h.name) AS name
    FROM habits h JOIN match_choices c ON c.user_id = h.user_id AND c.habits AND c.wanted
"""

PEOPLE = f"SELECT count(*) FROM users WHERE {_TAKES_PART.format('auth0_sub')}"
TAG_HOLDERS = f"""
    SELECT tag_id, count(DISTINCT user_id)
    FROM (SELECT user_id, tag_id FROM user_tags UNION ALL {_PUBLIC}) AS used
    WHERE {_TAKES_PART.format("used.user_id")} AND ($1::bigint[] IS NULL OR tag_id = ANY ($1))
    GROUP BY tag_id
"""
HABIT_HOLDERS = f"""
    SELECT name, count(DISTINCT user_id) FROM ({_SHARED}) AS shared
    WHERE $1::varchar[] IS NULL OR name = ANY ($1)
    GROUP BY name
"""
HABIT_PEOPLE = f"SELECT DISTINCT user_id FROM ({_SHARED}) AS shared WHERE name = ANY ($1)"
CHOICES = """
    SELECT auth0_sub, coalesce(wanted, true), coalesce(habits, false)
    FROM users LEFT JOIN match_choices ON user_id = auth0_sub
    WHERE auth0_sub = ANY ($1)
"""
TAGS = f"""
    SELECT user_id, tag_id, bool_or(chosen), sum(stories)::int
    FROM (
      SELECT user_id, tag_id, true AS chosen, 0 AS stories FROM user_tags WHERE user_id = ANY ($1)
      UNION ALL
      SELECT user_id, tag_id, false, count(*) FROM ({_PUBLIC} AND s.user_id = ANY ($1)) AS used
      GROUP BY user_id, tag_id
    ) AS used
    GROUP BY user_id, tag_id
"""
HABITS = f"SELECT user_id, name FROM ({_SHARED}) AS shared WHERE user_id = ANY ($1)"
JOURNALING = """
    SELECT user_id, journaling_frequency FROM user_profiles
    WHERE user_id = ANY ($1) AND journaling_frequency IS NOT NULL
"""


class Material(NamedTuple):
    """What of one person goes into their vector, and whether they share their habits."""

    made: Made
    habits: bool


async def holders(connection: asyncpg.Connection) -> tuple[int, dict[Key, int]]:
    """How many people take part, and how many of them have each tag and each shared habit."""
    people = await connection.fetchval(PEOPLE)
    return int(people), await holders_of(connection, None, None)


async def holders_of(
    connection: asyncpg.Connection, tags: Sequence[int] | None, habits: Sequence[str] | None
) -> dict[Key, int]:
    """How many people have each of these tags and shared habits; None stands for all."""
    found: dict[Key, int] = {}
    for statement, keys in ((TAG_HOLDERS, tags), (HABIT_HOLDERS, habits)):
        found.update((key, count) for key, count in await connection.fetch(statement, keys))
    return found


async def material(connection: asyncpg.Connection, people: Sequence[str]) -> dict[str, Material]:
    """Of those of these people who take part, what goes into their vectors.

    Choices are read first: what was hidden since is not read, and what is shared since is read by
    the next run, for which there is a mark.
    """
    rows = await connection.fetch(CHOICES, people)
    shares = {sub: habits for sub, wanted, habits in rows if wanted}
    taking_part = list(shares)
    tags: dict[str, dict[int, tuple[bool, int]]] = {sub: {} for sub in taking_part}
    habits: dict[str, set[str]] = {sub: set() for sub in taking_part}
    for sub, tag, chosen, stories in await connection.fetch(TAGS, taking_part):
        tags[sub][tag] = (chosen, stories)
    for sub, name in await connection.fetch(HABITS, taking_part):
        if shares[sub]:
            habits[sub].add(name)
    journaling = dict(map(tuple, await connection.fetch(JOURNALING, taking_part)))
    return {
        sub: Material(Made(tags[sub], frozenset(habits[sub]), journaling.get(sub)), shared)
        for sub, shared in shares.items()
    }
