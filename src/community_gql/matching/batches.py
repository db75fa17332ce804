"""Lists that are marked, made and written: the third step of a run.

Some hundred lists are a transaction: it claims their marks, writes those that changed, and deletes
the marks. Whoever else claims marks meanwhile, here or on another machine, gets others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import asyncpg
import numpy as np
from numpy.typing import NDArray

from community_gql.graph.exclusions import MATCH_ROWS
from community_gql.matching import sql, stored, unchecked
from community_gql.matching.lists import UNIT, Ints, Lists, Scorer, best_lists, empty
from community_gql.matching.merging import Merger
from community_gql.matching.pacing import Pace
from community_gql.matching.stored import NO_LIST, Batch, Change, Loaded, StoredList, Version
from community_gql.matching.unchecked import PersonDeleted

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""
Another = Callable[[], AbstractAsyncContextManager[asyncpg.Connection]]
"""Opens another connection to the same database, for as long as the block takes."""

LISTS = 500
"""People of a transaction that writes lists."""
PACED_LISTS = 20
"""The same where it rests after each: whoever comes meanwhile waits for less."""
ATTEND = 20.0
"""Seconds of a batch that rests until it sees to those who have changed meanwhile."""
ATTEMPTS = 5
PAUSE = 0.05
LOCK_ROWS = f"SELECT pg_advisory_xact_lock_shared({MATCH_ROWS})"
_REPEATED = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.ForeignKeyViolationError,  # somebody was deleted meanwhile, by hand
    PersonDeleted,
)


@dataclass(slots=True)
class Report:
    """What a run did: vectors that changed, lists it looked at, lists that changed."""

    vectors: int = 0
    looked_at: int = 0
    merged: int = 0
    """Of these, lists that were made of what they were before."""
    lists: int = 0
    matches: int = 0
    """In those lists."""
    seconds: float = 0.0


async def transaction(connection: asyncpg.Connection, work: Callable[[], Awaitable[Any]]) -> Any:
    """The result of ``work`` in a transaction; again when others were in its way."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            async with connection.transaction():
                return await work()
        except _REPEATED:
            if attempt == ATTEMPTS:
                raise
            await asyncio.sleep(PAUSE * attempt)
    raise AssertionError("unreachable")


async def lock_rows(connection: asyncpg.Connection) -> None:
    """Keep those waiting who take people out of lists, until the transaction ends."""
    await connection.execute(LOCK_ROWS)


@dataclass(slots=True)
class Batches:
    """All lists that are marked, made of the vectors of one version."""

    version: Version
    loaded: Loaded
    scorer: Scorer
    report: Report
    progress: Progress
    total: int
    """How many are marked, as far as was seen."""
    pace: Pace
    first: Sequence[str] = ()
    """Whose lists are made before all others."""
    merger: Merger | None = None
    marked_at: datetime | None = None
    """Of a mark that nobody renewed: such a list was right but for the merger's people."""
    done: int = 0
    rows: int = 0
    """How many rows of lists went and came."""
    _locks: bool = False
    """Whether people are locked at once; see ``unchecked``."""
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Lists are made by all processors: by one connection while another one writes."""

    @property
    def many(self) -> bool:
        """Whether they are more than one transaction's."""
        return max(self.total, self.done) > LISTS

    async def make(self, connection: asyncpg.Connection, another: Another | None) -> bool:
        """Make them, over a second connection as well where there are many and no rests.

        Returns False if it stopped for people who have changed meanwhile.
        """
        self._locks = await unchecked.allowed(connection)
        for at in range(0, len(self.first), PACED_LISTS):
            some = list(self.first[at : at + PACED_LISTS])
            await transaction(connection, partial(self._write, connection, sql.CLAIM_OF, some))
        if another is None or not self.many or self.pace.rests:
            return await self._work(connection)
        async with another() as second:
            works = [asyncio.create_task(self._work(one)) for one in (connection, second)]
            try:
                await asyncio.gather(*works)
            finally:
                for work in works:
                    work.cancel()
                await asyncio.gather(*works, return_exceptions=True)
        return True

    async def _work(self, connection: asyncpg.Connection) -> bool:
        last, rounds, started = "", 0, time.monotonic()
        while True:
            writing = partial(self._write, connection, sql.CLAIM, last)
            async with self.pace.piece():
                some = await transaction(connection, writing)
            if some:
                rounds, last, self.done = 0, some[-1]["user_id"], self.done + len(some)
                self.progress("lists", self.done, max(self.total, self.done))
            elif last and not rounds:
                last, rounds = "", 1  # what was marked again meanwhile
            else:
                return True
            if self.pace.rests and time.monotonic() - started > ATTEND:
                if await connection.fetchval(sql.ANY_CHANGED):
                    return False
                started = time.monotonic()

    async def _write(
        self, connection: asyncpg.Connection, claim: str, of: str | list[str]
    ) -> list[asyncpg.Record]:
        """Claim some marks, and write the lists of their people; the marks."""
        await connection.execute(f"{LOCK_ROWS}; {sql.BY_INDEX}")
        claimed: list[asyncpg.Record] = await connection.fetch(
            claim, of, PACED_LISTS if self.pace.rests else LISTS
        )
        if not claimed:
            return []
        owners = [row["user_id"] for row in claimed]
        excluded: dict[int, list[int]] = {}
        rows = self.loaded.rows
        for owner, other in await connection.fetch(sql.EXCLUDED_FROM, owners):
            if owner in rows and other in rows:
                excluded.setdefault(rows[owner], []).append(rows[other])
        before = await stored.stored_lists(connection, owners)
        fresh = {row["user_id"] for row in claimed if row["at"] == self.marked_at}
        async with self._turn:
            lists = await asyncio.to_thread(self._lists, owners, excluded, before, fresh)
        changes: dict[str, Change] = {}
        for owner, wanted in lists.items():
            change = stored.change(before.get(owner), wanted, is_stored=owner in before)
            if change is not None:
                changes[owner] = change
        again = await self._without_those_who_left(connection, changes)
        rows_written = await stored.write(connection, changes, before.keys(), locks=self._locks)
        finished = [row for row in claimed if row["user_id"] not in again]
        await connection.execute(
            sql.UNMARK_LISTS, [row["user_id"] for row in finished], [row["at"] for row in finished]
        )
        self.rows += rows_written
        self.report.looked_at += len(finished)
        self.report.lists += len(changes)
        self.report.matches += sum(len(lists[owner]) for owner in changes)
        return claimed

    async def _without_those_who_left(
        self, connection: asyncpg.Connection, changes: dict[str, Change]
    ) -> Collection[str]:
        """Take the lists out of ``changes`` that hold somebody without a vector; their owners.

        Whoever has none any more is in no list from now on, and has an empty one. Who is in a
        list that is stored has one: leaving takes those rows with it.
        """
        rows = self.loaded.rows
        listed = {other for change in changes.values() for other, _ in change.into}
        gone = await stored.without_vector(
            connection, listed.union(changes) & rows.keys(), self.version.version
        )
        if not gone:
            return ()
        self.scorer.forget([rows[person] for person in gone])
        for owner in gone.intersection(changes):
            changes[owner] = Change([], [], None)
        again = [
            owner
            for owner, change in changes.items()
            if not gone.isdisjoint(other for other, _ in change.into)
        ]
        for owner in again:
            del changes[owner]
        return again

    def _lists(
        self,
        owners: Sequence[str],
        excluded: dict[int, list[int]],
        before: Mapping[str, Batch | None],
        fresh: Collection[str],
    ) -> dict[str, StoredList]:
        """New lists; ``fresh`` are those of ``owners`` whose list before can be gone by."""
        people = self.loaded.people
        known = [owner for owner in owners if owner in self.loaded.rows]
        rows = np.array([self.loaded.rows[owner] for owner in known], np.int64)
        made = empty(len(rows), self.version.top)
        right = self._merged(known, rows, excluded, before, fresh, made)
        threads = 1 if self.pace.rests else None
        anew = best_lists(self.scorer, rows[~right], excluded, self.version.top, threads=threads)
        made.people[~right], made.scores[~right] = anew.people, anew.scores
        lists: dict[str, StoredList] = {owner: [] for owner in owners}
        counts = (made.people >= 0).sum(axis=1).tolist()
        scores = np.minimum(made.scores, UNIT).tolist()
        for owner, count, others, scored in zip(
            known, counts, made.people.tolist(), scores, strict=True
        ):
            subs = map(people.__getitem__, others[:count])
            lists[owner] = list(zip(subs, scored[:count], strict=True))
        return lists

    def _merged(
        self,
        known: Sequence[str],
        rows: Ints,
        excluded: dict[int, list[int]],
        before: Mapping[str, Batch | None],
        fresh: Collection[str],
        made: Lists,
    ) -> NDArray[np.bool_]:
        """Put into ``made`` what can be made of the lists before; for which that is right."""
        right = np.zeros(len(rows), bool)
        if self.merger is None or not fresh:
            return right
        lists = empty(len(rows), self.version.top)
        usable = []
        place = self.loaded.rows
        for number, owner in enumerate(known):
            if owner not in fresh:
                continue
            batch = before.get(owner, NO_LIST)
            matches = batch.matches if batch is not None else []
            others = [place.get(sub, -1) for sub, _ in matches]
            if batch is None or len(others) > self.version.top or -1 in others:
                continue
            usable.append(number)
            lists.people[number, : len(others)] = others
            lists.scores[number, : len(others)] = [score for _, score in matches]
        at = np.array(usable, np.int64)
        some = Lists(lists.people[at], lists.scores[at])
        found, is_right = self.merger.merged(rows[at], some, excluded, self.version.top)
        made.people[at], made.scores[at] = found.people, found.scores
        right[at] = is_right
        self.report.merged += int(is_right.sum())
        return right
