"""How good the lists are, measured on a community's own friendships. It only reads.

A fifth of the friendships is set aside. For each of some people who have one that was set aside,
everyone else is ranked as their list would be, their other friends left out, and the places are
looked up of the friends that were set aside. Recipe 1 is made of no friendships, so nothing of
them is in the ranking.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg
import numpy as np
from numpy.typing import NDArray

from community_gql.matching import stored
from community_gql.matching.lists import TOP, Ints, Scorer, best_lists
from community_gql.matching.running import MatchingError
from community_gql.matching.stored import Loaded

FRIENDS = """
    SELECT requester_id, addressee_id FROM friendships
    WHERE status = 'accepted' ORDER BY id
"""
CUT = 10
"""How many places of a ranking count: HR@10 and NDCG@10."""
HELD_OUT = 0.2

Friends = Mapping[int, Sequence[int]]
"""By row, the rows of friends."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a ranking finds friends: between 0 and 1, more is better."""

    hit_rate: float
    """The part of those looked at of whom a friend is among the first ten."""
    ndcg: float
    """The same with earlier places worth more, and all friends counted."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The lists beside two rankings that know nothing of what people care for."""

    people: int
    """How many people were looked at."""
    matching: Quality
    random: Quality
    popularity: Quality
    """By how many friends someone has."""
    most_shown: int
    """In so many of these people's lists of twenty is whoever is in most of them."""
    never_shown: float
    """The part of all people who are in none of those lists."""


async def evaluate(
    connection: asyncpg.Connection, *, people: int = 5000, seed: int = 1
) -> Evaluation:
    """Measure the vectors that are stored. Raises MatchingError where there is too little."""
    version = await stored.current(connection)
    if version is None:
        raise MatchingError("there are no vectors yet. First: community-gql matching run")
    loaded = await stored.load(connection, version)
    pairs = [
        (loaded.rows[one], loaded.rows[other])
        for one, other in await connection.fetch(FRIENDS)
        if one in loaded.rows and other in loaded.rows
    ]
    if len(pairs) < 50:
        raise MatchingError(
            f"{len(pairs)} friendships between people with a vector are too few to measure "
            "anything: it takes 50, and some thousand for meaningful figures."
        )
    return await asyncio.to_thread(measured, loaded, pairs, people, seed)


def measured(
    loaded: Loaded, pairs: Sequence[tuple[int, int]], people: int, seed: int
) -> Evaluation:
    """Rank everyone for some people, in three ways."""
    chance = np.random.default_rng(seed)
    held = chance.random(len(pairs)) < HELD_OUT
    wanted, known = _sides(pairs, held), _sides(pairs, ~held)
    among = np.array(sorted(wanted), np.int64)
    if len(among) > people:
        among = np.sort(chance.choice(among, people, replace=False))
    lists = best_lists(Scorer(loaded.vectors), among, known, TOP).people
    number = len(loaded.people)
    degree = np.bincount([row for pair in pairs for row in pair], minlength=number)
    by_degree = np.argsort(-degree, kind="stable")
    popular = [_first(by_degree, {row, *known.get(row, ())}) for row in among.tolist()]
    by_chance = [
        _first(chance.integers(0, number, 4 * CUT), {row, *known.get(row, ())})
        for row in among.tolist()
    ]
    shown = np.bincount(lists[lists >= 0], minlength=number)
    return Evaluation(
        len(among),
        _quality(lists[:, :CUT].tolist(), among, wanted),
        _quality(by_chance, among, wanted),
        _quality(popular, among, wanted),
        int(shown.max(initial=0)),
        float((shown == 0).mean()) if number else 0.0,
    )


def _sides(pairs: Sequence[tuple[int, int]], chosen: NDArray[np.bool_]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for (one, other), is_chosen in zip(pairs, chosen.tolist(), strict=True):
        if is_chosen:
            found.setdefault(one, []).append(other)
            found.setdefault(other, []).append(one)
    return found


def _first(ranked: NDArray[np.int64], out: set[int]) -> list[int]:
    """The first places of a ranking without those who are left out."""
    first: list[int] = []
    for row in ranked.tolist():
        if row not in out and row not in first:
            first.append(row)
            if len(first) == CUT:
                break
    return first


def _quality(rankings: Sequence[Sequence[int]], among: Ints, wanted: Friends) -> Quality:
    hits, gains = [], []
    for ranking, row in zip(rankings, among.tolist(), strict=True):
        friends = {*wanted[row]}
        found = [1 / np.log2(place + 2) for place, who in enumerate(ranking) if who in friends]
        best = sum(1 / np.log2(place + 2) for place in range(min(CUT, len(friends))))
        hits.append(bool(found))
        gains.append(sum(found) / best)
    return Quality(float(np.mean(hits)), float(np.mean(gains)))
