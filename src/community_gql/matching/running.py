"""Keeping features and lists up to date, in transactions that each leave everything right.

A run has three steps: the vectors of those who are marked, whose lists that concerns, and those
lists. All state is in the marks (``stale_features``, ``stale_lists``), so whoever is stopped goes
on with the same command. A mark is deleted only if nobody renewed it meanwhile.

One session at a time does the first two steps, under an advisory lock; any number share the
third, and the first two wait until none is at it: those who make lists keep the vectors that they
loaded. Needs a direct connection, like migrations: the locks are the session's.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal

import asyncpg
import numpy as np

from community_gql.matching import features, sql, stored
from community_gql.matching.batches import (
    Another,
    Batches,
    Progress,
    Report,
    lock_rows,
    transaction,
)
from community_gql.matching.features import Features
from community_gql.matching.lists import MAX_TOP, TOP, Scorer, reached
from community_gql.matching.merging import Merger
from community_gql.matching.pacing import VECTORS_SHARE, Pace
from community_gql.matching.recipe import RECIPE
from community_gql.matching.steps import Steps
from community_gql.matching.stored import MACHINE, Loaded, OwnVectors, Version
from community_gql.settings import OperatorError
from community_gql.settings.checks import plain_address

Mode = Literal["built-in", "features", "machine"]
"""The setting MATCHING."""

WEEK = timedelta(days=7)
MOST_CHANGED = 0.3
"""Where a larger part of the vectors changed, all lists are made anew, without asking which. So
many vectors or lists are a batch, which has a pace."""


class MatchingError(OperatorError):
    """The run cannot go on; the text says why and what helps."""


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of its own. Raises MatchingError for what the operator can do something about.

    Whoever is interrupted hangs up, and the server rolls back by itself.
    """
    settings = {"application_name": "community-gql matching", "jit": "off"}
    settings |= dict.fromkeys(("statement_timeout", "idle_in_transaction_session_timeout"), "0")
    # What a crash of the server takes away, it takes away with the marks: it is made again.
    settings["synchronous_commit"] = "off"
    try:
        connection = await asyncpg.connect(plain_address(url), server_settings=settings)
        try:
            yield connection
        finally:
            connection.terminate()
    except asyncpg.UndefinedTableError as error:
        raise MatchingError(
            f"the database lacks a table ({error}). Run the migrations: community-gql db upgrade"
        ) from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise MatchingError(
            f"the database failed: {error}. Once it can be reached, run the same command again "
            "to go on."
        ) from error


async def run(
    url: str,
    mode: Mode,
    progress: Progress,
    *,
    top: int | None = None,
    renew: bool = False,
    adopt: bool = False,
    share: float = 1.0,
) -> Report:
    """Bring features and lists of the database at ``url`` up to date. Raises MatchingError.

    For ``top``, ``renew``, ``adopt`` and ``share`` see ``Run``.
    """
    started = time.monotonic()
    async with connected(url) as connection:
        report = await Run(
            connection, mode, progress, partial(connected, url),
            top=top, renew=renew, adopt=adopt, share=share,
        ).run()  # fmt: skip
    report.seconds = time.monotonic() - started
    return report


class Run:
    """A run over one connection, and over ``another`` as well where there is much to write.

    ``top`` is how many matches a list has; None: as before. ``renew`` computes everything anew;
    ``adopt`` does so at the very first run, where it would refuse to replace vectors of others.
    ``share`` is the part of a processor that a batch takes, from above 0 to 1, unless there are no
    lists yet.
    """

    def __init__(
        self,
        connection: asyncpg.Connection,
        mode: Mode,
        progress: Progress,
        another: Another | None = None,
        *,
        top: int | None = None,
        renew: bool = False,
        adopt: bool = False,
        share: float = 1.0,
    ) -> None:
        self._connection, self._mode, self._progress = connection, mode, progress
        self._another = another
        self._steps = Steps(connection, another)
        self._top, self._renew, self._adopt = top, renew, adopt
        self._share, self._rests = share, False
        self._version: Version | None = None
        self._own = OwnVectors()
        self._loaded: Loaded | None = None
        self._scorer: Scorer | None = None
        self._changed: list[str] = []
        """Whose lists come first: the few whose vectors changed."""
        self._merger: Merger | None = None
        self._marked_at: datetime | None = None
        """Of the marks of lists that nothing but the changes of the merger concern."""
        self._ends = False
        self.report = Report()
        self._features = Features(
            connection,
            self.report,
            progress,
            partial(self._pace_of, least=VECTORS_SHARE),
            self._own,
        )

    async def run(self) -> Report:
        """Bring everything up to date. Raises MatchingError."""
        if self._mode == "machine":
            raise MatchingError(
                "MATCHING is machine: a program puts the lists of all people with putMatches, and "
                "this command would write over them. Set MATCHING to built-in or features."
            )
        if self._top is not None and not 1 <= self._top <= MAX_TOP:
            raise MatchingError(f"--top is {self._top}, but a list has 1 to {MAX_TOP} matches.")
        if not await self._connection.fetchval(sql.ANY_LISTS):
            self._share = 1.0
        whole = False
        while not self._ends:
            whole |= await self._once()
        if whole:
            if self._share < 1:  # as autovacuum does: it rests after so many pages
                await self._connection.execute("SET vacuum_cost_delay = '2ms'")
            await self._connection.execute("VACUUM (ANALYZE) match_results")
        return self.report

    async def _once(self) -> bool:
        """The three steps; whether a good part of all rows became others.

        Where it rests, the third one is left for those who have changed meanwhile.
        """
        if not await self._steps.take(""):
            self._progress("lists of another run", 0, 0)
            await self._steps.wait("_shared")
            async with self._steps.held("_shared"):
                self._version = await stored.current(self._connection)
                if self._version is not None:
                    await self._make_lists()
            await self._steps.wait("")
        async with contextlib.AsyncExitStack() as held:
            async with self._steps.held(""):
                await self._settle_version()
                if self._mode == "built-in":
                    await self._make_vectors()
                await self._mark_lists()
                await self._steps.wait("_shared")
                await held.enter_async_context(self._steps.held("_shared"))
            return await self._make_lists()

    async def _pace_of(self, count: int, least: float = 0.0) -> Pace:
        """The pace of so many vectors or lists: ``least`` of a processor, or more."""
        rests = self._share < 1 and count > features.PEOPLE and await self._are_most(count)
        rests |= self._rests  # to the end of the batch, of which less is left each time
        return Pace(max(self._share, least) if rests else 1.0)

    async def _are_most(self, count: int) -> bool:
        """Whether so many vectors or lists are a large part of all."""
        people = await self._connection.fetchval(sql.COUNT_FEATURES)
        return bool(count > MOST_CHANGED * people)

    async def _transaction(self, work: Callable[[], Awaitable[Any]]) -> Any:
        return await transaction(self._connection, work)

    # --- the version ---

    async def _settle_version(self) -> None:
        """Say which vectors lists are made of; where that changes, mark everybody."""
        self._version = await stored.current(self._connection)
        await self._settle_lists()
        if self._mode == "built-in":
            await self._settle_recipe()
        else:
            await self._settle_machines_version()
        version = self._known()
        if self._top is not None and self._top != version.top:
            await self._transaction(self._change_top)

    def _known(self) -> Version:
        assert self._version is not None
        return self._version

    async def _change_top(self) -> None:
        assert self._top is not None
        version = self._known()
        version.top = self._top
        await self._connection.execute(
            "UPDATE match_recipes SET places = places || jsonb_build_object('top', $2::int) "
            "WHERE version = $1",
            version.version,
            self._top,
        )
        await self._connection.execute(sql.ALL_LISTS, version.version, False)

    async def _settle_lists(self) -> None:
        """Refuse to write over the lists of a program, unless everything is made anew."""
        since = await self._connection.fetchval(sql.PUT)
        if since is None:
            return
        if not self._renew:
            raise MatchingError(
                f"a program puts lists with putMatches, since {since:%Y-%m-%d %H:%M} UTC. Set "
                "MATCHING=machine to leave all lists to it, or replace them once and for all: "
                "community-gql matching run --renew"
            )
        await self._connection.execute(sql.FORGET_PUT)

    async def _settle_recipe(self) -> None:
        foreign = await self._connection.fetchrow(sql.FOREIGN)
        adopts = self._adopt and self._version is None
        if foreign and not self._renew and not adopts:
            raise MatchingError(
                f"{foreign['people']:,} vectors are of version {foreign['version']}, which this "
                "command did not make: a program puts them. Set MATCHING=features to make lists of "
                "them, or replace them once and for all: community-gql matching run --renew"
            )
        current = self._version
        if (
            self._renew
            or current is None
            or current.recipe != RECIPE
            or current.created_at < datetime.now(UTC) - WEEK
        ):
            top = self._top or (current.top if current else TOP)
            await self._features.begin(top)
            self._version = self._features.version
            self._renew = False

    async def _settle_machines_version(self) -> None:
        number = await self._connection.fetchval(sql.MACHINES)
        if number is None:
            raise MatchingError(
                "MATCHING is features, but no program has put vectors yet. Put some with "
                "putFeatures, or set MATCHING=built-in so that they are computed."
            )
        if self._version is None or self._version.version != number or self._renew:
            await self._transaction(lambda: self._begin_machines_version(number))
            self._renew = False

    async def _begin_machines_version(self, number: int) -> None:
        top = self._top or (self._version.top if self._version else TOP)
        await self._connection.execute("DELETE FROM match_recipes WHERE version = $1", number)
        await stored.save(self._connection, number, MACHINE, 0, {"top": top})
        await self._connection.execute(sql.ALL_LISTS, number, True)
        self._version = await stored.current(self._connection)

    # --- step 1: vectors ---

    async def _make_vectors(self) -> None:
        """The vectors of all who are marked now."""
        self._features.version = self._version
        await self._features.make()
        self._version = self._features.version

    # --- step 2: whose lists ---

    async def _mark_lists(self) -> None:
        """Mark the lists that changed vectors may concern."""
        count = await self._connection.fetchval(sql.MARKED_VECTORS)
        if count and await self._are_most(count):
            await self._mark_all()
        elif count:
            await self._mark_some()

    async def _mark_all(self) -> None:
        async def mark() -> None:
            await lock_rows(self._connection)
            await self._connection.execute(sql.MARK_ALL, self._known().version)

        await self._transaction(mark)

    async def _mark_some(self) -> None:
        """Mark those that hold changed people, or that these may now be in."""
        connection, version = self._connection, self._known()
        changed = await connection.fetch(sql.CHANGED_VECTORS)
        least = await self._load_beside(partial(stored.least, top=version.top))
        await self._load()
        assert self._loaded is not None
        assert self._scorer is not None
        people = self._changed = [sub for sub, _ in changed]
        rows = np.array(
            sorted(self._loaded.rows[sub] for sub in people if sub in self._loaded.rows), np.int64
        )
        floors = stored.floors(self._loaded, least)
        found = await asyncio.to_thread(reached, self._scorer, rows, floors)
        concerned = [self._loaded.people[row] for row in np.flatnonzero(found).tolist()]
        self._merger = Merger.of(self._scorer, rows)

        async def mark() -> None:
            await lock_rows(self._connection)
            await connection.execute(sql.SEEN, people, [at for _, at in changed])
            self._marked_at = at = await connection.fetchval("SELECT clock_timestamp()")
            await connection.execute(sql.MARK_CONCERNED, concerned, at)
            await connection.execute(sql.MARK_HOLDING, people, at)

        await self._transaction(mark)

    async def _load_beside(
        self, read: Callable[[asyncpg.Connection], Awaitable[list[asyncpg.Record]]]
    ) -> list[asyncpg.Record]:
        """What ``read`` finds over another connection, while the vectors are loaded."""
        if self._another is None:
            return await read(self._connection)
        async with self._another() as connection:
            reading = asyncio.ensure_future(read(connection))
            try:
                await self._load()
                return await reading
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _load(self) -> None:
        if self._loaded is None:
            self._loaded = await stored.load(self._connection, self._known(), self._own)
            self._scorer = await asyncio.to_thread(Scorer, self._loaded.vectors)

    # --- step 3: lists ---

    async def _make_lists(self) -> bool:
        """Make the lists that are marked; whether a good part of all rows became others."""
        self._ends = True
        total = await self._connection.fetchval(sql.MARKED_LISTS)
        if not total:
            return False
        await self._load()
        assert self._loaded is not None
        assert self._scorer is not None
        pace = await self._pace_of(total)
        self._rests = pace.rests
        batches = Batches(
            self._known(), self._loaded, self._scorer, self.report, self._progress, total,
            pace, self._changed if pace.rests else (), self._merger, self._marked_at,
        )  # fmt: skip
        self._ends = await batches.make(
            self._connection, self._steps.helper if self._another else None
        )
        self._loaded, self._merger, self._changed = None, None, []
        return batches.many and batches.rows > 0.2 * len(batches.loaded.people) * self._known().top
