"""The lists are what a plain comparison of everybody with everybody gives, to the last tie."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from community_gql.matching.lists import LEAST, Scorer, Vectors, best_lists, reached

Rows = NDArray[np.int32]


def brute(
    rows: Rows, excluded: Mapping[int, Sequence[int]], top: int
) -> list[list[tuple[int, int]]]:
    """The lists, by whole numbers and a sort: (person, score) in order."""
    exact = rows.astype(np.float64)  # holds every whole number below 2**53
    products = (exact @ exact.T).astype(np.int64)
    people = np.arange(len(rows))
    found = []
    for own in range(len(rows)):
        products[own, [own, *excluded.get(own, ())]] = -1
        order = np.lexsort(((people - own) % len(rows), -products[own]))[:top].tolist()
        best = [(other, int(products[own, other])) for other in order]
        found.append([(other, score) for other, score in best if score >= LEAST])
    return found


def computed(
    rows: Rows, excluded: Mapping[int, Sequence[int]], top: int, **options: int
) -> list[list[tuple[int, int]]]:
    scorer = Scorer(Vectors.of(rows))
    lists = best_lists(scorer, np.arange(len(rows)), excluded, top, **options)
    return [
        [(int(who), int(score)) for who, score in zip(people, scores, strict=True) if who >= 0]
        for people, scores in zip(lists.people, lists.scores, strict=True)
    ]


def sparse(people: int, columns: int, filled: int, seed: int) -> Rows:
    """Rows with about ``filled`` numbers each, the first columns in many of them."""
    chance = np.random.default_rng(seed)
    rows = np.zeros((people, columns), np.int32)
    for row in rows:
        places = np.minimum(chance.geometric(0.02, filled) - 1, columns - 1)
        row[places] = chance.integers(50, 400, filled)
    return rows


def dense(people: int, columns: int, seed: int) -> Rows:
    """Rows of length 1, also with negative numbers."""
    numbers = np.random.default_rng(seed).normal(size=(people, columns))
    unit = numbers / np.linalg.norm(numbers, axis=1, keepdims=True)
    rows: Rows = np.rint(1000 * unit).astype(np.int32)
    return rows


def tied(people: int, seed: int) -> Rows:
    """Few different rows: most scores are equal."""
    kinds = dense(5, 4, seed)
    return kinds[np.random.default_rng(seed).integers(0, 5, people)]


COMMUNITIES = {
    "nobody": np.zeros((0, 8), np.int32),
    "one": dense(1, 8, 1),
    "two": dense(2, 8, 1) * 0 + 500,
    "with nothing": np.zeros((30, 8), np.int32),
    "few": sparse(40, 300, 5, 2),
    "a group": sparse(64, 300, 5, 3),
    "more than a group": sparse(65, 300, 5, 3),
    "sparse": sparse(2000, 900, 6, 4),
    "dense": dense(1500, 32, 5),
    "tied": tied(1990, 6),
    "a few tied": tied(100, 7),
    "all alike": np.repeat(dense(1, 8, 8), 1400, axis=0),
}


@pytest.mark.parametrize("name", COMMUNITIES)
@pytest.mark.parametrize("top", [1, 7, 20])
def test_lists_are_those_of_brute_force(name: str, top: int) -> None:
    rows = COMMUNITIES[name]
    chance = np.random.default_rng(9)
    excluded = {own: chance.integers(0, len(rows), 5).tolist() for own in range(0, len(rows), 3)}
    assert computed(rows, excluded, top) == brute(rows, excluded, top)


@pytest.mark.parametrize("name", ["sparse", "dense", "tied"])
def test_blocks_and_threads_change_nothing(name: str) -> None:
    rows = COMMUNITIES[name]
    whole = computed(rows, {}, 20, threads=1)
    for options in ({"threads": 3}, {"threads": 1, "block_bytes": 10**5}, {"block_bytes": 10**6}):
        assert computed(rows, {}, 20, **options) == whole


def digest(rows: Rows) -> str:
    return hashlib.sha256(repr(computed(rows, {}, 20)).encode()).hexdigest()


def test_the_kernel_of_the_processor_changes_nothing() -> None:
    script = (
        "from tests.matching.test_lists import COMMUNITIES, digest\n"
        "print(digest(COMMUNITIES['sparse']), digest(COMMUNITIES['dense']))"
    )
    here = f"{digest(COMMUNITIES['sparse'])} {digest(COMMUNITIES['dense'])}"
    for given in (
        {"OPENBLAS_CORETYPE": "Prescott", "OPENBLAS_NUM_THREADS": "1"},
        {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "2"},
    ):
        done = subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, **given},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.strip() == here


def test_parts_are_joined() -> None:
    rows = COMMUNITIES["sparse"]
    joined = Vectors.joined([Vectors.of(rows[:7]), Vectors.of(rows[7:7]), Vectors.of(rows[7:])])
    whole = Vectors.of(rows)
    assert len(Vectors.joined([])) == 0
    for one, other in zip(dataclasses.astuple(joined), dataclasses.astuple(whole), strict=True):
        assert np.array_equal(one, other)


def test_whoever_is_forgotten_is_in_no_list() -> None:
    rows = COMMUNITIES["tied"]
    scorer = Scorer(Vectors.of(rows))
    gone = [3, 4, 1000]
    scorer.forget(gone)
    lists = best_lists(scorer, np.arange(len(rows)), {}, 20)
    assert not np.isin(lists.people, gone).any()
    excluded = dict.fromkeys(range(len(rows)), gone)
    assert lists.people[0].tolist() == [who for who, _ in brute(rows, excluded, 20)[0]]


@pytest.mark.parametrize("name", ["sparse", "dense", "tied"])
def test_who_is_reached_is_everyone_whose_list_changes(name: str) -> None:
    """Lists of those who are neither reached nor held somebody changed stay as they were."""
    rows = COMMUNITIES[name]
    changed = np.arange(5, len(rows), 97)
    after = rows.copy()
    after[changed] = np.roll(rows, 31, axis=0)[changed]
    before, now = computed(rows, {}, 20), computed(after, {}, 20)
    floors = np.array([one[-1][1] if len(one) == 20 else LEAST for one in before], np.int32)
    reaches = reached(Scorer(Vectors.of(after)), changed, floors)
    held = {own for own, one in enumerate(before) if {who for who, _ in one} & {*changed.tolist()}}
    stale = {*np.flatnonzero(reaches).tolist(), *held, *changed.tolist()}
    different = {own for own in range(len(rows)) if before[own] != now[own]}
    assert different
    assert different <= stale
