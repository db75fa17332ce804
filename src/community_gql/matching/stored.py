"""Recipes, vectors and lists as the database has them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import asyncpg
import numpy as np
import orjson
from numpy.typing import NDArray

from community_gql.matching import unchecked
from community_gql.matching.lists import LEAST, UNIT, Vectors
from community_gql.matching.recipe import Recipe, normalised
from community_gql.settings import OperatorError

MACHINE = 0
"""What ``match_recipes.recipe`` says of vectors that a machine puts."""
_NUMBERS = 1_000_000
"""How many numbers of vectors are in memory at once while they are loaded."""


@dataclass(slots=True)
class Version:
    """A row of ``match_recipes``: the vectors that lists are made of now."""

    version: int
    recipe: int
    people: int
    top: int
    """How many matches a list has at most."""
    length: int
    places: list[Any]
    most_holders: int | None
    created_at: datetime

    def made(self) -> Recipe:
        """The recipe of these vectors."""
        return Recipe.from_json(
            self.version, self.people, self.length, self.places, self.most_holders
        )


CURRENT = """
    SELECT version, recipe, coalesce(people, 0) AS people, places, created_at FROM match_recipes
    ORDER BY created_at DESC, version DESC LIMIT 1
"""


async def current(connection: asyncpg.Connection) -> Version | None:
    """The version that lists are made of now; None before the first run."""
    row = await connection.fetchrow(CURRENT)
    if row is None:
        return None
    kept = orjson.loads(row["places"])
    return Version(
        row["version"], row["recipe"], row["people"], kept["top"], kept.get("length", 0),
        kept.get("places", []), kept.get("most_holders"), row["created_at"],
    )  # fmt: skip


async def save(
    connection: asyncpg.Connection, version: int, recipe: int, people: int, kept: dict[str, Any]
) -> None:
    """Save a version as the current one, or change it."""
    await connection.execute(
        "INSERT INTO match_recipes (version, recipe, people, places, created_at) "
        "VALUES ($1, $2, $3, $4, clock_timestamp()) "
        "ON CONFLICT (version) DO UPDATE SET places = excluded.places",
        version, recipe, people, orjson.dumps(kept).decode(),
    )  # fmt: skip


def kept(recipe: Recipe, top: int) -> dict[str, Any]:
    """What ``match_recipes.places`` holds of a recipe."""
    return {
        "top": top,
        "length": recipe.length,
        "most_holders": recipe.most_holders,
        "places": recipe.to_json(),
    }


@dataclass(frozen=True, slots=True)
class Loaded:
    """All people with a vector of a version, in the order of their public ids."""

    people: list[str]
    rows: dict[str, int]
    """By person, their place in ``people`` and ``vectors``."""
    vectors: Vectors


@dataclass(slots=True)
class OwnVectors:
    """Vectors that a run has saved itself: as long as nobody wrote another, they are not loaded."""

    _places: dict[str, tuple[datetime, int]] = field(default_factory=dict)
    """By person, when theirs was saved, and which one it is."""
    _parts: list[Vectors] = field(default_factory=list)
    _count: int = 0

    def add(
        self, moments: Mapping[str, datetime], people: Sequence[str], vectors: NDArray[np.int32]
    ) -> None:
        """Keep those of ``people`` that were saved: ``moments`` has ``updated_at``."""
        for row, sub in enumerate(people):
            if (moment := moments.get(sub)) is not None:
                self._places[sub] = moment, self._count + row
        self._parts.append(Vectors.of(vectors))
        self._count += len(people)

    def find(self, sub: str, moment: datetime) -> int:
        """Which one is somebody's vector that was saved then; -1: none."""
        saved, place = self._places.get(sub, (None, -1))
        return place if saved == moment else -1

    def joined(self) -> Vectors:
        """All of them, one below the other."""
        self._parts = [Vectors.joined(self._parts)]
        return self._parts[0]

    def forget(self) -> None:
        """Keep none: another version begins, whose vectors may have another length."""
        self._places, self._parts, self._count = {}, [], 0

    def __len__(self) -> int:
        """Of how many people there are any."""
        return len(self._places)


COUNT = "SELECT count(*) FROM user_features WHERE version = $1"
ORDER = """
    SELECT f.user_id, f.updated_at FROM user_features f JOIN users u ON u.auth0_sub = f.user_id
    WHERE f.version = $1 ORDER BY u.public_id
"""
VECTORS = """
    SELECT f.user_id, f.vector::text FROM user_features f JOIN users u ON u.auth0_sub = f.user_id
    WHERE f.version = $1 AND ($2::varchar[] IS NULL OR f.user_id = ANY ($2)) ORDER BY u.public_id
"""


async def load(
    connection: asyncpg.Connection, version: Version, own: OwnVectors | None = None
) -> Loaded:
    """The vectors of a version; where most are in ``own``, only the others are read.

    Raises OperatorError for one that is not a list of numbers.
    """
    people: list[str] = []
    if not own or 2 * len(own) < await connection.fetchval(COUNT, version.version):
        parts = [part async for part in _parts(connection, version, people, None)]
        return Loaded(people, {sub: row for row, sub in enumerate(people)}, Vectors.joined(parts))
    vectors = own.joined()
    # What is read in parts is of one moment.
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        rows = await connection.fetch(ORDER, version.version)
        people = [sub for sub, _ in rows]
        at = np.array([own.find(sub, moment) for sub, moment in rows], np.int64)
        if others := [people[row] for row in np.flatnonzero(at < 0).tolist()]:
            parts = [part async for part in _parts(connection, version, [], others)]
            at[at < 0] = len(vectors) + np.arange(len(others))
            vectors = Vectors.joined([vectors, *parts])
    return Loaded(people, {sub: row for row, sub in enumerate(people)}, vectors.taken(at))


async def _parts(
    connection: asyncpg.Connection, version: Version, people: list[str], of: list[str] | None
) -> AsyncIterator[Vectors]:
    length = await connection.fetchval(
        "SELECT jsonb_array_length(vector) FROM user_features WHERE version = $1 LIMIT 1",
        version.version,
    )
    async with connection.transaction():  # a snapshot is not needed: changes are marked
        cursor = await connection.cursor(VECTORS, version.version, of)
        while rows := await cursor.fetch(max(1, _NUMBERS // (length or 1))):
            people.extend(sub for sub, _ in rows)
            try:
                numbers = np.array([orjson.loads(text) for _, text in rows], np.float64)
            except (TypeError, ValueError):
                numbers = np.zeros(0)
            if numbers.shape != (len(rows), length):
                raise OperatorError(
                    f"the vectors of version {version.version} are not all lists of {length} "
                    "numbers. Put them again with putFeatures, which checks them."
                )
            yield Vectors.of(thousandths(numbers, version))


def thousandths(numbers: NDArray[np.float64], version: Version) -> NDArray[np.int32]:
    """Stored vectors as lists are made of them."""
    if version.recipe == MACHINE:
        return normalised(numbers)
    return np.rint(numbers * 1000).astype(np.int32)


LEAST_SCORES = """
    SELECT user_id, min(score) FROM match_results GROUP BY user_id
    HAVING count(*) >= $1 AND min(created_at) = max(created_at)
"""


async def least(connection: asyncpg.Connection, top: int) -> list[asyncpg.Record]:
    """The last score of each list of ``top``; without those of several batches."""
    return await connection.fetch(LEAST_SCORES, top)


def floors(loaded: Loaded, least: Iterable[asyncpg.Record]) -> NDArray[np.int32]:
    """For each person the score that reaches their list, at most: see ``lists.reached``.

    A list of several batches counts as a short one: it is to be made anew.
    """
    found = np.full(len(loaded.people), LEAST, np.int32)
    for sub, score in least:
        row = loaded.rows.get(sub)
        if row is not None:
            found[row] = round(score * UNIT)
    return found


StoredList = list[tuple[str, int]]
"""A person's matches, best first: who, and the score in millionths."""


class Batch(NamedTuple):
    """A list as it is stored, and when it was made as a whole."""

    matches: StoredList
    moment: datetime


NO_LIST = Batch([], datetime.min)
"""Of whoever has no rows."""


STORED = """
    SELECT user_id,
      array_agg(target_user_id ORDER BY score DESC, id DESC),
      array_agg(score ORDER BY score DESC, id DESC),
      min(created_at), max(created_at)
    FROM match_results WHERE user_id = ANY ($1) GROUP BY user_id
"""


async def stored_lists(
    connection: asyncpg.Connection, owners: Sequence[str]
) -> dict[str, Batch | None]:
    """The lists of those of these people who have one; None where it is of several batches."""
    found: dict[str, Batch | None] = {}
    for owner, others, scores, first, last in await connection.fetch(STORED, owners):
        matches = [
            (other, round(score * UNIT)) for other, score in zip(others, scores, strict=True)
        ]
        found[owner] = Batch(matches, last) if first == last else None
    return found


class Change(NamedTuple):
    """What turns a stored list into another: whose rows go, and what is written, best first."""

    out: list[str]
    into: StoredList
    moment: datetime | None
    """When the list was made that the rows belong to; None: now, as a whole."""


def change(before: Batch | None, wanted: StoredList, *, is_stored: bool) -> Change | None:
    """What is to be done; None where nothing is. A list of which half changes is made anew.

    Clients see the best first, and at equal scores what was written last. So a row can stay where
    the rows with its score that follow it stay too, in the same order.
    """
    if before is None:
        return Change([], wanted, None) if wanted or is_stored else None
    place = {match: at for at, match in enumerate(before.matches)}
    kept: set[tuple[str, int]] = set()
    score, limit = -1, 0
    for match in reversed(wanted):
        if match[1] != score:
            score, limit = match[1], len(place)
        limit = place.get(match, -1) if place.get(match, limit) < limit else -1
        if limit >= 0:
            kept.add(match)
    out = [match[0] for match in before.matches if match not in kept]
    into = [match for match in wanted if match not in kept]
    if not out and not into:
        return None
    if 2 * len(into) >= len(wanted):
        return Change([], wanted, None)
    return Change(out, into, before.moment)


TAKE_OUT = """
    DELETE FROM match_results m USING unnest($1::varchar[], $2::varchar[]) AS given (owner, other)
    WHERE m.user_id = given.owner AND m.target_user_id = given.other
"""
COLUMNS = ("user_id", "target_user_id", "score", "created_at")


async def write(
    connection: asyncpg.Connection,
    changes: dict[str, Change],
    older: Collection[str],
    *,
    locks: bool = False,
) -> int:
    """Change these lists; how many rows went and came. ``older`` has the owners who have rows.

    A score above 1, in millionths, is written as 1. ``locks``: lock the people in the lists at
    once, instead of row by row; see ``unchecked``. Raises PersonDeleted where one is gone.
    """
    anew = [owner for owner, change in changes.items() if change.moment is None]
    gone = 0
    if rows := [owner for owner in anew if owner in older]:
        gone = _count(
            await connection.execute("DELETE FROM match_results WHERE user_id = ANY ($1)", rows)
        )
    if out := [(owner, other) for owner, change in changes.items() for other in change.out]:
        gone += _count(await connection.execute(TAKE_OUT, *map(list, zip(*out, strict=True))))
    now = await connection.fetchval("SELECT clock_timestamp()")
    # A list is written from its end: at equal scores the higher id comes first.
    written = [
        (owner, other, score / UNIT if score < UNIT else 1.0, change.moment or now)
        for owner, change in changes.items()
        for other, score in reversed(change.into)
    ]
    if written:  # arrays as arguments would take asyncpg five times as long
        copying = partial(
            connection.copy_records_to_table, "match_results", records=written, columns=COLUMNS
        )
        if locks:
            await unchecked.copied(connection, copying, written)
        else:
            await copying()
    return gone + len(written)


def _count(status: str) -> int:
    """The number of rows in the status of a statement, such as ``DELETE 20``."""
    return int(status.rpartition(" ")[2])


WITHOUT_VECTOR = """
    SELECT sub FROM unnest($1::varchar[]) AS sub WHERE NOT EXISTS (
      SELECT FROM user_features f WHERE f.user_id = sub AND f.version = $2
    )
"""


async def without_vector(
    connection: asyncpg.Connection, people: Collection[str], version: int
) -> set[str]:
    """Those of these people who have no vector of this version."""
    if not people:
        return set()
    in_order = sorted(people)  # neighbours are in the same pages of the index
    return {sub for (sub,) in await connection.fetch(WITHOUT_VECTOR, in_order, version)}
