"""What vectors are made of, read from the database: what everyone may see, and shared habits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg
from asyncpg.cursor import Cursor

from community_gql.matching import sql
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
_TAGS = f"""
    SELECT user_id, tag_id, bool_or(chosen), sum(stories)::int
    FROM (
      SELECT user_id, tag_id, true AS chosen, 0 AS stories FROM user_tags WHERE {{0}}
      UNION ALL
      SELECT user_id, tag_id, false, count(*) FROM ({_PUBLIC} AND {{1}}) AS used
      GROUP BY user_id, tag_id
    ) AS used
    GROUP BY user_id, tag_id
"""
TAGS = _TAGS.format("user_id = ANY ($1)", "s.user_id = ANY ($1)")
ALL_TAGS = _TAGS.format("true", "true") + 'ORDER BY user_id COLLATE "C"'
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


TagsOf = Callable[[Sequence[str]], Awaitable[Sequence[asyncpg.Record]]]
"""Reads the rows of TAGS of some people."""


class TagsInOrder:
    """The tags of all people, read once: a page of stories has those of many people."""

    def __init__(self, cursor: Cursor) -> None:
        """``cursor`` is of ALL_TAGS."""
        self._cursor = cursor
        self._rows: list[asyncpg.Record] = []
        self._at = 0

    async def of(self, people: Sequence[str]) -> list[asyncpg.Record]:
        """Of these people, who come all behind those of before, in the order of code points."""
        found: list[asyncpg.Record] = []
        among, last = frozenset(people), max(people, default="")
        while True:
            for at in range(self._at, len(self._rows)):
                row = self._rows[at]
                sub = row[0]
                if sub > last:
                    self._at = at
                    return found
                if sub in among:
                    found.append(row)
            self._rows, self._at = await self._cursor.fetch(10_000), 0
            if not self._rows:
                return found


async def material(
    connection: asyncpg.Connection, people: Sequence[str], tags_of: TagsOf | None = None
) -> dict[str, Material]:
    """Of those of these people who take part, what goes into their vectors.

    Choices are read first: what was hidden since is not read, and what is shared since is read by
    the next run, for which there is a mark.
    """
    rows = await connection.fetch(CHOICES, people)
    shares = {sub: habits for sub, wanted, habits in rows if wanted}
    taking_part = list(shares)
    tags: dict[str, dict[int, tuple[bool, int]]] = {sub: {} for sub in taking_part}
    habits: dict[str, set[str]] = {sub: set() for sub in taking_part}
    tagged = await (tags_of(taking_part) if tags_of else connection.fetch(TAGS, taking_part))
    for sub, tag, chosen, stories in tagged:
        tags[sub][tag] = (chosen, stories)
    for sub, name in await connection.fetch(HABITS, taking_part):
        if shares[sub]:
            habits[sub].add(name)
    journaling = dict(map(tuple, await connection.fetch(JOURNALING, taking_part)))
    return {
        sub: Material(Made(tags[sub], frozenset(habits[sub]), journaling.get(sub)), shared)
        for sub, shared in shares.items()
    }


Block = tuple[list[asyncpg.Record], dict[str, Material]]
"""Some marks, and what the vectors of these people are made of."""


async def blocks(
    connection: asyncpg.Connection, until: datetime, size: int, total: int | None
) -> AsyncIterator[Block]:
    """All who are marked until then, ``size`` at a time; each mark is read before the material.

    ``total``: read the tags of everybody at once, for so many marks.
    """
    if total is not None:
        marks = await connection.fetch(sql.SOME_FEATURES, until, "", total)
        marks.sort(key=lambda mark: str(mark[0]))
        async with connection.transaction():
            await connection.execute("SET LOCAL work_mem = '64MB'")
            tags = TagsInOrder(await connection.cursor(ALL_TAGS))
            for first in range(0, len(marks), size):
                some = marks[first : first + size]
                yield some, await material(connection, [sub for sub, _ in some], tags.of)
        return
    after = ""
    while marks := await connection.fetch(sql.SOME_FEATURES, until, after, size):
        yield marks, await material(connection, [sub for sub, _ in marks])
        after = marks[-1][0]
