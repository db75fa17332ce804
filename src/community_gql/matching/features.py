"""Vectors of those who are marked: the first step of a run.

Some hundred people are a transaction: it saves their vectors, marks the lists of those whose vector
changed, and deletes the marks. Where many are marked, what all vectors are made of is read at
once, and the next vectors are made while PostgreSQL saves the last ones.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import asyncpg
import numpy as np
from numpy.typing import NDArray

from community_gql.matching import sql, stored
from community_gql.matching.batches import LOCK_ROWS, Progress, Report, transaction
from community_gql.matching.material import (
    HABIT_PEOPLE,
    Everybody,
    Material,
    holders_of,
    material,
)
from community_gql.matching.pacing import Pace
from community_gql.matching.recipe import RECIPE, Key, NoPlace, Recipe, as_json
from community_gql.matching.stored import OwnVectors, Version

PEOPLE = 1000
"""People of a transaction that writes vectors."""
PACED_PEOPLE = 200
"""The same where it rests after each."""
SENT = 0.005
"""Seconds until a statement that saves them has been sent, as a rule: it is larger than what a
socket takes at once, and so PostgreSQL would wait for the rest of it."""
LARGE = 0.1
"""Where a larger part of all people is marked, everybody's tags are read at once."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some marks, and the vectors of their people."""

    marks: Sequence[asyncpg.Record]
    material: Material
    lacking: list[Key]
    """What may be due a place: then that comes first, and the vectors are made anew."""
    vectors: NDArray[np.int32]
    """In thousandths, a row each."""
    texts: list[str]
    """The same as it is stored."""
    people: list[str]
    """Whose they are."""
    shares: list[bool]
    """Whether they share their habits."""


@dataclass(slots=True)
class Features:
    """Makes the vectors, for the one run that does so. ``version`` is what they are of."""

    connection: asyncpg.Connection
    report: Report
    progress: Progress
    pace_of: Callable[[int], Awaitable[Pace]]
    """The pace of so many vectors."""
    own: OwnVectors
    """Keeps the vectors that are saved."""
    version: Version | None = None
    _marked: tuple[list[asyncpg.Record], Everybody] | None = None
    """All marks, and what was read after them."""
    _made_by: Recipe = field(init=False)
    """Of the version, with all places that it has."""

    def known(self) -> Version:
        """The version, which there is."""
        assert self.version is not None
        return self.version

    async def begin(self, top: int) -> None:
        """A new version of all vectors, for lists of ``top`` matches.

        Everybody is marked first. Whoever is stopped before there is a version begins it again.
        """
        await transaction(self.connection, partial(self.connection.execute, sql.ALL_FEATURES))
        everybody = await self._read()
        await transaction(self.connection, partial(self._begin, top, everybody))

    async def _begin(self, top: int, everybody: Everybody) -> None:
        number = 1 + await self.connection.fetchval(sql.NEWEST)
        recipe = Recipe.of(number, everybody.people, everybody.holders)
        kept = stored.kept(recipe, top)
        await stored.save(self.connection, number, RECIPE, everybody.people, kept)
        await self.connection.execute(sql.FORGET_VERSIONS, number)
        self.version = await stored.current(self.connection)
        self.own.forget()

    async def _read(self) -> Everybody:
        """What all vectors are made of; all marks are read before it."""
        until = await self.connection.fetchval("SELECT clock_timestamp()")
        marks = await self.connection.fetch(sql.SOME_FEATURES, until, "", None)
        pace = await self.pace_of(len(marks))
        if pace.rests:  # one processor is enough for it
            await self.connection.execute("SET max_parallel_workers_per_gather = 0")
        everybody = await Everybody.read(self.connection)
        self._marked = marks, everybody
        return everybody

    async def make(self) -> None:
        """The vectors of all who are marked now."""
        while True:
            try:
                await self._make()
                return
            except NoPlace:
                await self.begin(self.known().top)

    async def _make(self) -> None:
        ((until, total),) = await self.connection.fetch(sql.MARKED_FEATURES)
        if self._marked is None and total > PEOPLE:
            people = await self.connection.fetchval(sql.COUNT_FEATURES)
            if total > LARGE * people:
                await self._read()
        pace = await self.pace_of(total)
        size, done = PACED_PEOPLE if pace.rests else PEOPLE, 0
        self._made_by = self.known().made()
        if self._marked is not None:
            done = await self._make_of(*self._marked, until, size, pace)
            self._marked = None
        after, before = "", done
        while True:
            marks = await self.connection.fetch(sql.SOME_FEATURES, until, after, size)
            if marks:
                after, done = marks[-1][0], done + len(marks)
                async with pace.piece():
                    made_of = await material(self.connection, [sub for sub, _ in marks])
                    await self._save(self._block(marks, made_of), until)
                    self.progress("vectors", done, max(total, done))
            elif done > before:  # once more from the beginning: a new place marks people
                after, before = "", done
            else:
                return

    async def _make_of(
        self,
        marks: Sequence[asyncpg.Record],
        everybody: Everybody,
        until: datetime,
        size: int,
        pace: Pace,
    ) -> int:
        """The vectors of these people, of whom everything is read; how many they are."""
        parts = (marks[at : at + size] for at in range(0, len(marks), size))
        blocks = (
            self._block(part, everybody.of([sub for sub, _ in part]), everybody.holders)
            for part in parts
        )
        done, block = 0, next(blocks, None)
        while block is not None:
            following = functools.cache(partial(next, blocks, None))
            async with pace.piece():
                # Where it rests, one thing after the other: a piece takes one processor.
                await self._save(block, until, None if pace.rests else following)
                done += len(block.marks)
                self.progress("vectors", done, len(marks))
                block = following()
        return done

    def _block(
        self,
        marks: Sequence[asyncpg.Record],
        made_of: Material,
        holders: Mapping[Key, int] | None = None,
    ) -> Block:
        """The vectors of those who are marked; ``holders`` as far as they are known."""
        recipe = self._made_by
        lacking = [
            key
            for key in made_of.made.keys()  # noqa: SIM118
            if recipe.lacks(key, 2 if holders is None else holders.get(key, 0))
        ]
        has = made_of.made.have_something
        vectors = recipe.vectors_of(made_of.made)[has]
        rows = np.flatnonzero(has).tolist()
        return Block(
            marks, made_of, lacking, vectors, [as_json(vector) for vector in vectors],
            [made_of.people[row] for row in rows], [made_of.shares[row] for row in rows],
        )  # fmt: skip

    async def _save(
        self, block: Block, until: datetime, meanwhile: Callable[[], Any] | None = None
    ) -> None:
        """Save these vectors; ``meanwhile`` is called once PostgreSQL is at it."""
        writing = partial(self._write, block, until, meanwhile)
        block, rows = await transaction(self.connection, writing)
        self.report.vectors += len(rows)
        self.own.add({sub: at for sub, at in rows if at is not None}, block.people, block.vectors)

    async def _write(
        self, block: Block, until: datetime, meanwhile: Callable[[], Any] | None
    ) -> tuple[Block, list[asyncpg.Record]]:
        # Before any row, as whoever takes people out of lists does.
        await self.connection.execute(f"{LOCK_ROWS}; {sql.BY_INDEX}")
        if block.lacking:
            await self._find_places(block.lacking, until)
            block = self._block(block.marks, block.material)
        with_vector = frozenset(block.people)
        subs = [sub for sub, _ in block.marks]
        saving = self.connection.fetch(
            sql.SAVE_VECTORS, block.people, block.texts, block.shares, self.known().version,
            [sub for sub in subs if sub not in with_vector], subs, [at for _, at in block.marks],
        )  # fmt: skip

        async def go_on() -> None:
            if meanwhile is not None:
                await asyncio.sleep(SENT)
                meanwhile()

        rows, _ = await asyncio.gather(saving, go_on())
        return block, rows

    async def _find_places(self, lacking: Sequence[Key], until: datetime) -> None:
        """Give places to what had none before, if enough people have it. Raises NoPlace."""
        # Read again: what an attempt before this one did may have been rolled back.
        self.version = await stored.current(self.connection)
        recipe = self._made_by = self.known().made()
        tags = [key for key in lacking if isinstance(key, int)]
        habits = [key for key in lacking if isinstance(key, str)]
        counts = await holders_of(self.connection, tags, habits)
        placed = [key for key in lacking if recipe.lacks(key, counts.get(key, 0))]
        for key in placed:
            recipe.add(key, counts.get(key, 0))
        if not placed:
            return
        version = self.known()
        kept = stored.kept(recipe, version.top)
        await stored.save(self.connection, version.version, RECIPE, version.people, kept)
        # A habit counts from its second person on: then for the first as well.
        new = [name for name in habits if name in recipe.places]
        await self.connection.execute(
            f"INSERT INTO stale_features (user_id, at) "
            f"SELECT user_id, $2 FROM ({HABIT_PEOPLE}) AS holding ORDER BY user_id "
            "ON CONFLICT (user_id) DO NOTHING",
            new,
            until,
        )
