"""Lists made of what they were and of the few whose vectors changed. It knows no database.

A list that was right holds the best of those who have not changed, down to its last place. So the
best of its unchanged members and of all changed people are the new list, if enough of them come
before what was the last place: nobody else does. Otherwise, as where a member got worse and nobody
took the place, the list has to be made of everybody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from community_gql.matching.lists import LEAST, UNIT, Ints, Lists, Scorer, Scores

MOST = 2000
"""So many changed people at most: beyond, it is hardly quicker."""


@dataclass(frozen=True, slots=True)
class Merger:
    """The people whose vectors changed, and all others."""

    scorer: Scorer
    changed: Ints
    """Their rows, in order."""
    vectors: Scores
    """Theirs, a row each."""
    is_changed: NDArray[np.bool_]
    """By row, of everybody."""

    @classmethod
    def of(cls, scorer: Scorer, changed: Ints) -> Merger | None:
        """None where too many changed."""
        if len(changed) > MOST:
            return None
        is_changed = np.zeros(scorer.people, bool)
        is_changed[changed] = True
        return cls(scorer, changed, scorer.dense(changed), is_changed)

    def merged(
        self, rows: Ints, before: Lists, excluded: Mapping[int, Sequence[int]], top: int
    ) -> tuple[Lists, NDArray[np.bool_]]:
        """The lists of ``rows``, and which of them are right; ``before`` has what they were.

        ``before`` must be right but for the changed people, and have ``top`` places.
        """
        block = self._scores(rows, excluded)
        last = before.people[:, -1]
        full = last >= 0
        bound = np.where(full, before.scores[:, -1], LEAST)
        at, found = np.nonzero(block >= bound[:, None])
        kept = (before.people >= 0) & ~self.is_changed[before.people]
        kept_at, kept_place = np.nonzero(kept)
        lists = self.scorer.cut(
            np.concatenate([kept_at, at]),
            np.concatenate([before.people[kept_at, kept_place], self.changed[found]]),
            np.concatenate([before.scores[kept_at, kept_place], block[at, found]]),
            rows,
            top,
        )
        right = ~full | self._reach(lists, rows, last, bound)
        # A score above 1 was stored as 1: such a list does not say who comes first.
        return lists, right & ~self.is_changed[rows] & (before.scores < UNIT).all(axis=1)

    def _scores(self, rows: Ints, excluded: Mapping[int, Sequence[int]]) -> Scores:
        """Of each of ``rows`` with each of the changed; -1 for whom a list must not hold."""
        block = self.scorer.dense(rows) @ self.vectors.T
        block[rows[:, None] == self.changed] = -1
        for scores, row in zip(block, rows.tolist(), strict=True):
            if out := excluded.get(row):
                scores[np.isin(self.changed, list(out))] = -1
        if gone := self.scorer.gone:
            block[:, np.isin(self.changed, sorted(gone))] = -1
        return block

    def _reach(
        self, lists: Lists, rows: Ints, last: NDArray[np.int32], bound: NDArray[np.int32]
    ) -> NDArray[np.bool_]:
        """Whether the last of each list comes no later than who was the last one."""
        ends, scores = lists.people[:, -1], lists.scores[:, -1]
        steps, before = self.scorer.steps(ends, rows), self.scorer.steps(last, rows)
        later: NDArray[np.bool_] = (scores < bound) | ((scores == bound) & (steps > before))
        return np.asarray((ends >= 0) & ~later)
