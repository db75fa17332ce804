"""The best others of each person, exactly. It knows no database.

People are rows in the order of their public ids. A score is the product of two vectors of
thousandths: a whole number of millionths, below 2**24, so float32 holds every sum exactly and no
block size, number of threads or processor changes a list. At a tie the next in that order after
one's own row wins (round to the first row after the last): everyone prefers somebody else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNIT = 1_000_000
"""A score of 1, in the millionths that scores are counted in here."""
LEAST = 50_000
"""The least score of a match, in millionths: rather fewer matches than poor ones."""
TOP = 20
MAX_TOP = 100
"""Matches of a person: as a rule, and at most."""

BLOCK_BYTES = 192 * 2**20
"""Memory for scores, of all threads together."""
COMMON = 0.02
"""A column that a larger part of the people have is multiplied as a column of a matrix; the
others by the lists of the people who have them."""
GROUP = 64
"""So many scores are looked at as one, by the best of them, to find the best of all."""

Ints = NDArray[np.int64]
Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Vectors:
    """Sparse rows of thousandths: the numbers of row ``i`` stand from ``starts[i]`` on."""

    starts: Ints
    columns: NDArray[np.int32]
    values: Scores
    length: int
    """How many columns there are."""

    @classmethod
    def of(cls, dense: NDArray[np.int32]) -> Vectors:
        """Of dense rows."""
        rows, columns = np.nonzero(dense)
        counts = np.bincount(rows, minlength=len(dense))
        starts = np.concatenate([[0], counts.cumsum()]).astype(np.int64)
        values = dense[rows, columns].astype(np.float32)
        return cls(starts, columns.astype(np.int32), values, dense.shape[1])

    @classmethod
    def joined(cls, parts: Sequence[Vectors]) -> Vectors:
        """Parts of equal length, one below the other."""
        if not parts:
            return cls.of(np.zeros((0, 1), np.int32))
        ends = np.cumsum([part.starts[-1] for part in parts])
        starts = [
            part.starts[1:] + end - part.starts[-1] for part, end in zip(parts, ends, strict=True)
        ]
        return cls(
            np.concatenate([[0], *starts]).astype(np.int64),
            np.concatenate([part.columns for part in parts]),
            np.concatenate([part.values for part in parts]),
            parts[0].length,
        )

    def taken(self, rows: Ints) -> Vectors:
        """Some rows, in this order."""
        counts = np.diff(self.starts)[rows]
        starts = np.concatenate([[0], counts.cumsum()]).astype(np.int64)
        at = np.repeat(self.starts[rows] - starts[:-1], counts) + np.arange(starts[-1])
        return Vectors(starts, self.columns[at], self.values[at], self.length)

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.starts) - 1


@dataclass(frozen=True, slots=True)
class Lists:
    """The lists of some people: a row each, best first, -1 where a list is shorter."""

    people: NDArray[np.int32]
    scores: NDArray[np.int32]
    """In millionths; 0 where there is nobody."""


def empty(count: int, top: int) -> Lists:
    """So many lists that hold nobody."""
    return Lists(np.full((count, top), -1, np.int32), np.zeros((count, top), np.int32))


class Scorer:
    """Scores of some people with all people, block by block."""

    def __init__(self, vectors: Vectors) -> None:
        self.people = len(vectors)
        self._groups = max(1, -(-self.people // GROUP))
        self.width = GROUP * self._groups
        """Columns of a block: the people, and some more that score -1."""
        self._vectors = vectors
        holders = np.bincount(vectors.columns, minlength=vectors.length)
        common = holders > COMMON * self.people
        is_common = common[vectors.columns]
        rows = np.repeat(np.arange(self.people), np.diff(vectors.starts))
        place = np.cumsum(common) - 1
        # A column of the vectors is a row of this: so it takes a tenth less to multiply.
        self._matrix = np.zeros((int(common.sum()), self.width), np.float32)
        columns = vectors.columns[is_common]
        self._matrix[place[columns], rows[is_common]] = vectors.values[is_common]
        # The rare: of each row its columns, of each column its people.
        rare = ~is_common
        rare_rows, rare_columns = rows[rare], vectors.columns[rare]
        values = vectors.values[rare]
        self._row_starts = np.searchsorted(rare_rows, np.arange(self.people + 1))
        self._row_columns, self._row_values = rare_columns, values
        order = np.argsort(rare_columns, kind="stable")
        self._holders, self._held = rare_rows[order], values[order]
        self._column_starts = np.searchsorted(rare_columns[order], np.arange(vectors.length + 1))
        self.gone: frozenset[int] = frozenset()
        self._memory: list[Scores] = []
        """What blocks of scores were written to, and is free again."""

    def forget(self, people: Sequence[int]) -> None:
        """Keep these rows out of all lists from now on."""
        self.gone = self.gone.union(people)  # never changed: others may be reading it

    def dense(self, rows: Ints) -> Scores:
        """The vectors of some people, with all numbers."""
        some = self._vectors.taken(rows)
        at = np.repeat(np.arange(len(rows)), np.diff(some.starts))
        found = np.zeros((len(rows), some.length), np.float32)
        found[at, some.columns] = some.values
        return found

    def steps(self, found: NDArray[Any], rows: Ints) -> Ints:
        """How far ``found`` come after ``rows`` in the order of all people, round to the first."""
        return (found.astype(np.int64) - rows - 1) % self.width

    def blocks(self, rows: Ints, threads: int, block_bytes: int) -> Iterator[Ints]:
        """``rows`` in parts, whose scores take ``block_bytes`` when ``threads`` work at once."""
        size = max(1, block_bytes // threads // (4 * self.width))
        for first in range(0, len(rows), size):
            yield rows[first : first + size]

    @contextmanager
    def scores(self, rows: Ints) -> Iterator[Scores]:
        """Of each of ``rows`` with everybody, also themselves; ``width`` columns.

        The memory is used again after the block of ``with``: new memory is dear, as the system
        fills it with zeros page by page.
        """
        size = len(rows) * self.width
        memory = self._memory.pop() if self._memory else np.empty(0, np.float32)
        if len(memory) < size:
            memory = np.empty(size, np.float32)
        block = memory[:size].reshape(len(rows), self.width)
        np.matmul(self._matrix[:, rows].T, self._matrix, out=block)
        # Of a small vocabulary nothing is rare, and loops of Python keep other threads waiting.
        for number, row in enumerate(rows.tolist() if len(self._held) else ()):
            scores = block[number]
            for at in range(self._row_starts[row], self._row_starts[row + 1]):
                column = self._row_columns[at]
                held = slice(self._column_starts[column], self._column_starts[column + 1])
                scores[self._holders[held]] += self._row_values[at] * self._held[held]
        block[:, self.people :] = -1
        if self.gone:
            block[:, sorted(self.gone)] = -1
        try:
            yield block
        finally:
            self._memory.append(memory)

    def best(self, rows: Ints, excluded: Mapping[int, Sequence[int]], top: int) -> Lists:
        """The lists of ``rows``; ``excluded`` has by row whom its list must not hold."""
        with self.scores(rows) as block:
            block[np.arange(len(rows)), rows] = -1
            for scores, row in zip(block, rows.tolist(), strict=True):
                if out := excluded.get(row):
                    scores[list(out)] = -1
            return self.cut(*self._reaching(block, top), rows, top)

    def _reaching(self, block: Scores, top: int) -> tuple[Ints, Ints, Scores]:
        """All matches that can be in the lists: rows of the block, people, scores.

        Those are all that reach the least of the ``top`` best groups, ties included: each of these
        groups holds one. Group g has every column that leaves g when divided by the number of
        groups.
        """
        groups = block.reshape(len(block), GROUP, self._groups)
        best = groups.max(axis=1)
        floors = np.full(len(block), LEAST, np.float32)
        if self._groups > top:
            floors = np.maximum(floors, np.partition(best, -top, axis=1)[:, -top])
        among = np.flatnonzero((best >= floors[:, None]).ravel())
        rows, group = np.divmod(among, self._groups)
        scores = groups[rows, :, group]
        at, step = np.nonzero(scores >= floors[rows, None])
        return rows[at], step * self._groups + group[at], scores[at, step]

    def cut(self, at: Ints, found: Ints, scores: Scores, rows: Ints, top: int) -> Lists:
        """The best ``top`` of the people ``found`` for each row of a block, in order."""
        steps = self.steps(found, rows[at])
        whole = scores.astype(np.int64)
        order = np.lexsort((steps - whole * self.width, at))
        at = at[order]
        place = np.arange(len(at)) - np.searchsorted(at, np.arange(len(rows)))[at]
        kept = place < top
        at, place, order = at[kept], place[kept], order[kept]
        lists = empty(len(rows), top)
        lists.people[at, place], lists.scores[at, place] = found[order], whole[order]
        return lists


def best_lists(
    scorer: Scorer,
    rows: Ints,
    excluded: Mapping[int, Sequence[int]],
    top: int = TOP,
    *,
    threads: int | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Lists:
    """The lists of ``rows``, best first; see ``Scorer.best``."""
    threads = threads or processors()
    blocks = list(scorer.blocks(rows, threads, block_bytes))
    if len(blocks) == 1:
        return scorer.best(blocks[0], excluded, top)
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(lambda block: scorer.best(block, excluded, top), blocks))
    return Lists(
        np.concatenate([np.zeros((0, top), np.int32), *(part.people for part in parts)]),
        np.concatenate([np.zeros((0, top), np.int32), *(part.scores for part in parts)]),
    )


def reached(scorer: Scorer, changed: Ints, floors: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whose lists the ``changed`` people may now be in: a yes or no for each person.

    ``floors`` has for each person the score that must be reached: of the last in a full list,
    LEAST in a shorter one.
    """
    found = np.zeros(scorer.people, bool)

    def look(block: Ints) -> NDArray[np.bool_]:
        with scorer.scores(block) as scores:
            return scores[:, : scorer.people].max(axis=0) >= floors  # type: ignore[no-any-return]

    threads = processors()
    with ThreadPoolExecutor(threads) as pool:
        for reaches in pool.map(look, list(scorer.blocks(changed, threads, BLOCK_BYTES))):
            np.logical_or(found, reaches, out=found)
    return found


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
