"""What vectors are made of, read from the database: what everyone may see, and shared habits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import numpy as np
from numpy.typing import NDArray

from community_gql.matching.recipe import Ints, Key, Many

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
    WHERE {_TAKES_PART.format("used.user_id")} AND tag_id = ANY ($1)
    GROUP BY tag_id
"""
HABIT_HOLDERS = f"""
    SELECT name, count(DISTINCT user_id) FROM ({_SHARED}) AS shared
    WHERE name = ANY ($1) GROUP BY name
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


ALL_CHOICES = "SELECT user_id, wanted, habits FROM match_choices"
# Of each person the ids of tags, eight bytes each, behind each other: a million rows would take the
# process ten times as long, and PostgreSQL three times.
_ALL_TAGS = """
    SELECT user_id, string_agg(int8send(tag_id), ''::bytea) FROM {} AS used
    WHERE {} GROUP BY user_id
"""
ALL_CHOSEN = _ALL_TAGS.format("user_tags", _TAKES_PART.format("used.user_id"))
ALL_PUBLIC = _ALL_TAGS.format(f"({_PUBLIC})", _TAKES_PART.format("used.user_id"))
"""A tag comes once for each story that has it."""
ALL_HABITS = _SHARED
ALL_JOURNALING = """
    SELECT user_id, journaling_frequency FROM user_profiles WHERE journaling_frequency IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Material:
    """What vectors of some people are made of; of those who take part."""

    people: list[str]
    """A row of ``made`` each."""
    shares: list[bool]
    """By row, whether they share their habits."""
    made: Many


async def holders_of(
    connection: asyncpg.Connection, tags: Sequence[int], habits: Sequence[str]
) -> dict[Key, int]:
    """How many people have each of these tags and shared habits."""
    found: dict[Key, int] = {}
    for statement, keys in ((TAG_HOLDERS, tags), (HABIT_HOLDERS, habits)):
        if keys:
            found.update((key, count) for key, count in await connection.fetch(statement, keys))
    return found


async def material(connection: asyncpg.Connection, people: Sequence[str]) -> Material:
    """What the vectors of these people are made of.

    Choices are read first: what was hidden since is not read, and what is shared since is read by
    the next run, for which there is a mark.
    """
    choices = await connection.fetch(CHOICES, people)
    shares = {sub: habits for sub, wanted, habits in choices if wanted}
    taking_part = list(shares)
    rows = {sub: row for row, sub in enumerate(taking_part)}
    tagged = await connection.fetch(TAGS, taking_part)
    tags = [(rows[sub], tag, chosen, stories) for sub, tag, chosen, stories in tagged]
    of, ids, chosen, stories = np.array(tags, np.int64).reshape(-1, 4).T
    habits = _sets(await connection.fetch(HABITS, taking_part))
    journaling = dict(map(tuple, await connection.fetch(JOURNALING, taking_part)))
    return Material(
        taking_part,
        list(shares.values()),
        Many(
            of, ids, chosen.astype(bool), stories,
            [habits.get(sub, frozenset()) if shared else () for sub, shared in shares.items()],
            [journaling.get(sub) for sub in taking_part],
        ),
    )  # fmt: skip


def _sets(rows: Iterable[Any]) -> dict[str, set[str]]:
    """By person, the names of shared habits."""
    found: dict[str, set[str]] = {}
    for sub, name in rows:
        found.setdefault(sub, set()).add(name)
    return found


@dataclass(frozen=True, slots=True)
class Everybody:
    """What vectors are made of, of all people at once: a page has stories of many of them."""

    people: int
    """How many take part."""
    holders: Mapping[Key, int]
    """How many people have each tag and each shared habit."""
    _choices: Mapping[str, tuple[bool, bool]]
    _rows: Mapping[str, int]
    """Of whoever has tags, which row is theirs."""
    _starts: Ints
    """By row, where its tags begin in what follows."""
    _tags: Ints
    _chosen: NDArray[np.bool_]
    _stories: Ints
    _habits: Mapping[str, set[str]]
    _journaling: Mapping[str, int]

    @classmethod
    async def read(cls, connection: asyncpg.Connection) -> Everybody:
        """Read it, choices first: see ``material``. It takes some ten bytes for each tag."""
        people = int(await connection.fetchval(PEOPLE))
        choices = {
            sub: (wanted, habits) for sub, wanted, habits in await connection.fetch(ALL_CHOICES)
        }
        async with connection.transaction():
            await connection.execute("SET LOCAL work_mem = '64MB'")
            chosen = dict(map(tuple, await connection.fetch(ALL_CHOSEN)))
            public = dict(map(tuple, await connection.fetch(ALL_PUBLIC)))
        habits = _sets(await connection.fetch(ALL_HABITS))
        journaling = dict(map(tuple, await connection.fetch(ALL_JOURNALING)))
        rows = {sub: row for row, sub in enumerate({**chosen, **public})}
        table = _table(rows, chosen, public)
        ids, counts = np.unique(table[1], return_counts=True)
        holders: dict[Key, int] = dict(zip(ids.tolist(), counts.tolist(), strict=True))
        holders.update(Counter(name for names in habits.values() for name in names))
        return cls(people, holders, choices, rows, *table, habits, journaling)

    def of(self, people: Sequence[str]) -> Material:
        """Of those of these people who take part."""
        as_usual = (True, False)
        shares = {
            sub: habits
            for sub, (wanted, habits) in ((sub, self._choices.get(sub, as_usual)) for sub in people)
            if wanted
        }
        own = np.array([self._rows.get(sub, -1) for sub in shares], np.int64)
        among = np.flatnonzero(own >= 0)
        firsts = self._starts[own[among]]
        counts = self._starts[own[among] + 1] - firsts
        at = np.repeat(firsts - (counts.cumsum() - counts), counts) + np.arange(counts.sum())
        made = Many(
            np.repeat(among, counts), self._tags[at], self._chosen[at], self._stories[at],
            [self._habits.get(sub, ()) if shared else () for sub, shared in shares.items()],
            [self._journaling.get(sub) for sub in shares],
        )  # fmt: skip
        return Material(list(shares), list(shares.values()), made)


def _table(
    rows: Mapping[str, int], chosen: Mapping[str, bytes], public: Mapping[str, bytes]
) -> tuple[Ints, Ints, NDArray[np.bool_], Ints]:
    """Where the tags of each row begin; the tags, whether they were chosen, of how many stories."""
    owners, tags = [], []
    for found in (chosen, public):
        counts = np.array([len(ids) // 8 for ids in found.values()], np.int64)
        owners.append(np.repeat(np.array([rows[sub] for sub in found], np.int64), counts))
        tags.append(np.frombuffer(b"".join(found.values()), ">i8").astype(np.int64))
    ids = np.unique(np.concatenate(tags))
    # A number for each pair of a row and a tag, in the order of rows; doubled, and one more for a
    # story. Sorting them is ten times as quick as np.union1d.
    width = max(1, len(ids))
    doubled = [
        2 * (owner * width + np.searchsorted(ids, some))
        for owner, some in zip(owners, tags, strict=True)
    ]
    numbers = np.sort(np.concatenate([doubled[0], doubled[1] + 1]))
    pairs = numbers >> 1
    firsts = np.flatnonzero(np.diff(pairs, prepend=-1))
    is_chosen = numbers[firsts] % 2 == 0
    stories = np.diff(firsts, append=len(pairs)) - is_chosen
    pairs = pairs[firsts]
    starts = np.searchsorted(pairs, np.arange(len(rows) + 1) * width)
    return starts, ids[pairs % width], is_chosen, stories
