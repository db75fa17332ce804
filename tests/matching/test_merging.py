"""Lists made of what they were are those made of everybody, or said not to be right."""

from __future__ import annotations

import random

import asyncpg
import numpy as np
import pytest
from numpy.typing import NDArray

from community_gql.matching import merging
from community_gql.matching.lists import UNIT, Lists, Scorer, Vectors, best_lists
from community_gql.matching.merging import Merger
from tests.matching.conftest import community, lists, made_anew, matched


def vectors(chance: np.random.Generator, people: int, columns: int) -> NDArray[np.int32]:
    """With few different numbers, so that many scores are equal; a list is shorter the more
    columns there are.
    """
    dense = chance.choice((300, 500), (people, columns))
    return np.where(chance.random((people, columns)) < 2 / columns, dense, 0).astype(np.int32)


@pytest.mark.parametrize("seed", range(12))
def test_whoever_changes(seed: int) -> None:
    chance = np.random.default_rng(seed)
    people, top = int(chance.integers(30, 400)), int(chance.choice((1, 3, 20)))
    dense = vectors(chance, people, 6 if seed % 2 else 60)
    rows = np.arange(people)
    excluded = {
        int(row): chance.choice(people, 3).tolist() for row in chance.choice(people, people // 3)
    }
    before = best_lists(Scorer(Vectors.of(dense)), rows, excluded, top)
    changed = np.sort(chance.choice(people, int(chance.integers(1, 8)), replace=False))
    dense[changed] = vectors(chance, len(changed), dense.shape[1])
    scorer = Scorer(Vectors.of(dense))
    gone = int(chance.integers(people))
    if gone in changed:
        scorer.forget([gone])
    merger = Merger.of(scorer, changed)
    assert merger is not None
    found, right = merger.merged(rows, before, excluded, top)
    whole = best_lists(scorer, rows, excluded, top)
    assert (found.people[right] == whole.people[right]).all()
    assert (found.scores[right] == whole.scores[right]).all()
    assert not right[changed].any()
    assert right.sum() > people // 4  # it is worth it


def test_a_list_whose_scores_were_cut_is_not_right() -> None:
    scorer = Scorer(Vectors.of(np.array([[1000, 0], [900, 100], [1000, 0]], np.int32)))
    merger = Merger.of(scorer, np.array([1]))
    assert merger is not None
    before = Lists(np.array([[2]], np.int32), np.array([[UNIT]], np.int32))
    assert not merger.merged(np.array([0]), before, {}, 1)[1].any()


def test_too_many_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "MOST", 1)
    assert Merger.of(Scorer(Vectors.of(np.eye(3, dtype=np.int32))), np.array([0, 2])) is None


async def test_a_run_merges(db: asyncpg.Connection, database_url: str) -> None:
    people, words = await community(db, 90, random.Random(9), tags=12)
    await matched(database_url, top=5)
    for number in (3, 30, 60):
        await db.execute(
            "INSERT INTO user_tags VALUES ($1, $2) ON CONFLICT DO NOTHING",
            people[number].sub,
            words[number % 7].key,
        )
    # Of these nothing is known but that they must be made.
    marked = [who.sub for who in people[40:50]]
    await db.execute("DELETE FROM match_results WHERE user_id = ANY ($1)", marked)
    await db.execute("INSERT INTO stale_lists (user_id) SELECT unnest($1::varchar[])", marked)
    report = await matched(database_url)
    assert 5 < report.merged < report.looked_at
    found = await lists(db)
    assert await made_anew(db, database_url) == found
