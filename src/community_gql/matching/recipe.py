"""Recipe 1: what a person chose and did in public, as a vector of whole thousandths.

A vector has a place for each tag and each shared habit, and two for journaling. What few people
have weighs more. All numbers are thousandths, so that sums of products are exact in any order.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

RECIPE = 1
"""The number of this recipe: another one makes another version of all vectors."""
MAX_LENGTH = 4096
"""The most numbers that a vector has. Beyond that the commonest tags get no place."""
JOURNALING = 2
"""How many of them, the first ones, are of journaling."""
MIN_FREE = 8
"""How many places are kept free at least, for tags and habits to come; else a tenth."""

STORY = 0.5
"""What a tag of a public story weighs beside one that was chosen; goes with the square root."""
HABIT = 0.3
JOURNALING_WEIGHT = 0.2
MOST_DAYS = 7

# A quarter of a circle: alike adds, unlike adds little, nothing takes away.
_JOURNALED = [
    (JOURNALING_WEIGHT * math.cos(angle), JOURNALING_WEIGHT * math.sin(angle))
    for angle in (math.pi / 2 * days / MOST_DAYS for days in range(MOST_DAYS + 1))
]

Ints = NDArray[np.int64]
Key = int | str
"""What has a place: a tag by its id, a habit by its folded name."""


@dataclass(frozen=True, slots=True)
class Made:
    """What of one person goes into the vector."""

    tags: Mapping[int, tuple[bool, int]] = field(default_factory=dict)
    """By tag: whether they chose it, and how many public stories of theirs have it."""
    habits: frozenset[str] = frozenset()
    """Folded names; empty unless they share their habits."""
    journaling: int | None = None
    """Days a week."""


@dataclass(frozen=True, slots=True)
class Many:
    """What of many people goes into their vectors: a row for each."""

    rows: Ints
    """Of each tag that somebody has, whose row it is; no tag of a row comes twice."""
    tags: Ints
    chosen: NDArray[np.bool_]
    stories: Ints
    """How many public stories of theirs have it."""
    habits: Sequence[Collection[str]]
    """By row, as in ``Made``."""
    journaling: Sequence[int | None]
    """By row."""

    @classmethod
    def of(cls, people: Sequence[Made]) -> Many:
        """Of these people, in this order."""
        tags = [
            (row, tag, chosen, stories)
            for row, made in enumerate(people)
            for tag, (chosen, stories) in made.tags.items()
        ]
        rows, ids, chosen, stories = np.array(tags, np.int64).reshape(-1, 4).T
        habits = [made.habits for made in people]
        journaling = [made.journaling for made in people]
        return cls(rows, ids, chosen.astype(bool), stories, habits, journaling)

    def __len__(self) -> int:
        """How many people they are."""
        return len(self.habits)

    @property
    def have_something(self) -> NDArray[np.bool_]:
        """By row, whether there is anything to go by: how often someone writes is not enough."""
        found = np.array([bool(habits) for habits in self.habits], bool)
        found[self.rows] = True
        return found

    def keys(self) -> list[Key]:
        """All tags and habits that anybody has: tags by their ids, then habits by name."""
        names = {name for habits in self.habits for name in habits}
        return [*np.unique(self.tags).tolist(), *sorted(names)]


@dataclass(slots=True)
class Recipe:
    """The places of one version of vectors, with their weights. Weights never change.

    ``people`` is how many took part when it was made.
    """

    version: int
    people: int
    length: int
    """Numbers of a vector, free places included."""
    places: dict[Key, tuple[int, float]]
    """By tag or habit: its place in the vector, and its weight."""
    most_holders: int | None = None
    """What so many people have, or more, gets no place; None where there were places for all."""

    @classmethod
    def of(cls, version: int, people: int, holders: Mapping[Key, int]) -> Recipe:
        """A recipe for what people have now; ``holders`` says how many have each thing.

        A habit that one person has gets no place. The rarest come first, so that beyond
        MAX_LENGTH the commonest are left out.
        """
        known = sorted(
            (count, isinstance(key, str), key)
            for key, count in holders.items()
            if count > 1 or isinstance(key, int)
        )
        most = MAX_LENGTH - JOURNALING
        free = max(MIN_FREE, min(len(known), most) // 10)
        beyond = known[most - free :]
        known = known[: most - free]
        made = cls(version, people, JOURNALING + len(known) + free, {})
        for count, _, key in known:
            made.add(key, count)
        made.most_holders = beyond[0][0] if beyond else None
        return made

    @property
    def free(self) -> int:
        """How many places are free."""
        return self.length - JOURNALING - len(self.places)

    def add(self, key: Key, holders: int) -> None:
        """Give a free place to a tag or habit that so many people have, unless it is too common.

        Raises NoPlace.
        """
        if self.most_holders is not None and holders >= self.most_holders:
            return
        if self.free <= 0:
            raise NoPlace
        self.places[key] = (JOURNALING + len(self.places), self._weight(holders))

    def _weight(self, holders: int) -> float:
        rarity = math.log(max(self.people, 2) / max(holders, 1))
        return round(math.pow(max(rarity, 0.0), 1.5), 6)

    def lacks(self, key: Key, holders: int) -> bool:
        """Whether this is to be given a place, now that so many people have it."""
        if key in self.places or (isinstance(key, str) and holders < 2):
            return False
        return self.most_holders is None or holders < self.most_holders

    def vectors(self, people: Sequence[Made]) -> NDArray[np.int32]:
        """The vectors of some people."""
        return self.vectors_of(Many.of(people))

    def vectors_of(self, people: Many) -> NDArray[np.int32]:
        """The vectors in thousandths, one row a person. What has no place does not count."""
        values = np.zeros((len(people), self.length))
        known = sorted((key, *found) for key, found in self.places.items() if isinstance(key, int))
        tags = np.array([tag for tag, _, _ in known], np.int64)
        at = np.searchsorted(tags, people.tags)
        has = at < len(tags)
        has[has] = tags[at[has]] == people.tags[has]
        at = at[has]
        places = np.array([place for _, place, _ in known], np.int64)[at]
        weights = np.array([weight for _, _, weight in known])[at]
        stories = STORY * np.sqrt(people.stories[has])
        values[people.rows[has], places] = weights * (people.chosen[has] + stories)
        for row, habits in zip(values, people.habits, strict=True):
            for habit in habits:
                if (found := self.places.get(habit)) is not None:
                    row[found[0]] = HABIT * found[1]
        # Plus 1, so that one common tag is no perfect match.
        values /= np.sqrt((values * values).sum(axis=1, keepdims=True)) + 1
        for row, days in zip(values, people.journaling, strict=True):
            if days is not None:
                row[:JOURNALING] = _JOURNALED[min(max(days, 0), MOST_DAYS)]
        return np.rint(values * 1000).astype(np.int32)

    def to_json(self) -> list[list[Any]]:
        """What ``match_recipes.places`` holds: each key with its weight, in the order of places."""
        return [[key, weight] for key, (_, weight) in self.places.items()]

    @classmethod
    def from_json(
        cls,
        version: int,
        people: int,
        length: int,
        places: Iterable[Sequence[Any]],
        most_holders: int | None = None,
    ) -> Recipe:
        """The recipe again."""
        found = {
            key: (JOURNALING + place, float(weight)) for place, (key, weight) in enumerate(places)
        }
        return cls(version, people, length, found, most_holders)


class NoPlace(Exception):
    """All places of the recipe are taken: another version is due."""


def normalised(numbers: NDArray[np.float64]) -> NDArray[np.int32]:
    """Vectors of somebody else's recipe, of length 1 and in thousandths; one row a person."""
    lengths = np.sqrt((numbers * numbers).sum(axis=1, keepdims=True))
    # A vector of zeros has no direction, and stays one of zeros.
    return np.rint(1000 * numbers / np.where(lengths > 0, lengths, 1)).astype(np.int32)


_TEXTS = tuple(repr(number / 1000) for number in range(1001))


def as_json(vector: NDArray[np.int32]) -> str:
    """A vector in thousandths as the JSON array that ``user_features.vector`` keeps."""
    texts = ["0"] * len(vector)
    places = np.flatnonzero(vector)
    for place, value in zip(places.tolist(), vector[places].tolist(), strict=True):
        texts[place] = _TEXTS[value] if 0 <= value <= 1000 else repr(value / 1000)
    return f"[{','.join(texts)}]"
