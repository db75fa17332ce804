"""A list that changes a little is changed in place, and reads as one that is written anew."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime

import pytest

from community_gql.matching.stored import Batch, Change, StoredList, change

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def read(rows: dict[str, tuple[int, int]]) -> StoredList:
    """What clients see of rows with a score and an id: the best, and then the newest first."""
    best = sorted(rows, key=lambda who: rows[who], reverse=True)
    return [(who, rows[who][0]) for who in best]


@pytest.mark.parametrize("seed", range(40))
def test_it_reads_like_a_list_that_is_written_anew(seed: int) -> None:
    chance, ids = random.Random(seed), itertools.count()
    rows: dict[str, tuple[int, int]] = {}
    patched = 0
    for _ in range(30):
        scores = {who: score for who, (score, _) in rows.items()}
        for who in chance.sample("abcdefghijkl", chance.choice((0, 1, 1, 2, 8))):
            scores[who] = chance.choice((3, 4, 5))
        order = {who: chance.random() for who in scores} if chance.random() < 0.3 else {}
        wanted = sorted(scores.items(), key=lambda one: (-one[1], order.get(one[0], one[0])))[:10]
        done = change(Batch(read(rows), MOMENT), wanted, is_stored=bool(rows))
        if done is None:
            assert read(rows) == wanted
            continue
        if done.moment is None:
            rows.clear()
        else:
            patched += 1
            assert done.moment == MOMENT
            assert 2 * len(done.into) < len(wanted)
            for who in done.out:
                del rows[who]
        assert rows.keys().isdisjoint(who for who, _ in done.into)
        rows |= {who: (score, next(ids)) for who, score in reversed(done.into)}
        assert read(rows) == wanted
    assert patched


@pytest.mark.parametrize(
    ("before", "wanted", "done"),
    [
        ([("a", 5), ("b", 4), ("c", 3)], [("a", 5), ("b", 4), ("c", 3)], None),
        (
            [("a", 5), ("b", 4), ("c", 3)],
            [("a", 5), ("c", 3), ("d", 2)],
            Change(["b"], [("d", 2)], MOMENT),
        ),
        ([("a", 5), ("b", 4)], [("a", 5)], Change(["b"], [], MOMENT)),
        # What is written last is first among equals: `a` can only come before `d` if it is written.
        (
            [("a", 5), ("b", 4), ("c", 3)],
            [("a", 5), ("d", 5), ("b", 4), ("c", 3)],
            Change([], [("a", 5), ("d", 5), ("b", 4), ("c", 3)], None),
        ),
        (
            [("a", 5), ("b", 4), ("c", 3)],
            [("d", 5), ("a", 5), ("b", 4), ("c", 3)],
            Change([], [("d", 5)], MOMENT),
        ),
        ([("a", 5)], [], Change([], [], None)),
    ],
)
def test_as_little_is_written_as_can_be(
    before: StoredList, wanted: StoredList, done: Change | None
) -> None:
    assert change(Batch(before, MOMENT), wanted, is_stored=True) == done


def test_without_one_list_before_it_is_written_anew() -> None:
    assert change(None, [("a", 5)], is_stored=False) == Change([], [("a", 5)], None)
    assert change(None, [], is_stored=False) is None
    assert change(None, [], is_stored=True) == Change([], [], None)
