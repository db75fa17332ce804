"""A made-up community whose friendships follow what people care for: what matching should find.

People belong to small groups with rare interests of their own, and have common interests besides.
Some friendships are within groups, the others between anyone, the sociable more often. Without
the groups nobody could be found among thousands: what many care for says little of two of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from community_gql.matching.lists import Vectors
from community_gql.matching.recipe import Key, Made, Recipe
from community_gql.matching.stored import Loaded

COMMON_TAGS, RARE_TAGS = 60, 860
GROUP = 20
"""People of a group, on average."""
WITHIN = 0.4
"""The part of the friendships that are within groups."""
FRIENDS = 6
"""Friendships of a person, on average."""


@dataclass(frozen=True, slots=True)
class Planted:
    """The people by row, and pairs of friends."""

    made: list[Made]
    friends: list[tuple[int, int]]


def planted(people: int, seed: int) -> Planted:
    """A community of so many people; the same seed makes the same."""
    chance = np.random.default_rng(seed)
    groups = max(2, 2 * people // GROUP)
    tags_of = chance.integers(COMMON_TAGS, COMMON_TAGS + RARE_TAGS, (groups, 3))
    popularity = 1 / (1 + np.arange(COMMON_TAGS))
    popularity /= popularity.sum()
    members: list[list[int]] = [[] for _ in range(groups)]
    made = []
    for person in range(people):
        tags: dict[int, tuple[bool, int]] = {}
        for tag in chance.choice(COMMON_TAGS, 3, p=popularity).tolist():
            tags[tag] = (bool(chance.random() < 0.6), int(chance.integers(0, 4)))
        for group in chance.integers(0, groups, chance.integers(1, 4)).tolist():
            members[group].append(person)
            for tag in tags_of[group, chance.random(3) < 0.45].tolist():
                tags[tag] = (bool(chance.random() < 0.5), int(chance.integers(0, 5)))
        tags = {tag: (chosen, count) for tag, (chosen, count) in tags.items() if chosen or count}
        made.append(Made(tags, journaling=int(chance.integers(0, 8))))
    return Planted(made, _friends(people, members, chance))


def _friends(
    people: int, members: list[list[int]], chance: np.random.Generator
) -> list[tuple[int, int]]:
    pairs: set[tuple[int, int]] = set()
    sociable = chance.pareto(6, people) + 1
    sociable /= sociable.sum()
    total = people * FRIENDS // 2
    by_chance = chance.choice(people, (total, 2), p=sociable).tolist()
    for one, other in by_chance:
        if chance.random() < WITHIN:
            group = members[chance.integers(0, len(members))]
            if len(group) < 2:
                continue
            one, other = chance.choice(group, 2).tolist()
        if one != other:
            pairs.add((min(one, other), max(one, other)))
    return sorted(pairs)


def recipe_1(community: Planted) -> Loaded:
    """Everyone's vector, as the product makes it."""
    holders: dict[Key, int] = {}
    for made in community.made:
        for tag in made.tags:
            holders[tag] = holders.get(tag, 0) + 1
    recipe = Recipe.of(1, len(community.made), holders)
    return _loaded(recipe.vectors(community.made))


def chosen_tags_alone(community: Planted) -> Loaded:
    """What is often done instead: the cosine of the chosen tags, all of equal weight."""
    rows = np.zeros((len(community.made), COMMON_TAGS + RARE_TAGS))
    for row, made in zip(rows, community.made, strict=True):
        row[[tag for tag, (chosen, _) in made.tags.items() if chosen]] = 1
    rows *= 1000 / np.sqrt(np.maximum(rows.sum(axis=1, keepdims=True), 1))
    return _loaded(np.rint(rows).astype(np.int32))


def _loaded(rows: NDArray[np.int32]) -> Loaded:
    people = [f"person {row}" for row in range(len(rows))]
    return Loaded(people, {sub: row for row, sub in enumerate(people)}, Vectors.of(rows))
