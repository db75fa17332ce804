"""Standbys that answer queries, and who may read from which: nobody misses their own writes.

A write ends with a position in the WAL. Whoever has one reads from a standby only once that has
replayed the position, and from the primary if that takes longer than a moment (decision 105).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from community_gql.db.background import in_background
from community_gql.db.pool import Pool, PoolConfig
from community_gql.db.states import CANCELLED, REPEATED, cause_of, sqlstate
from community_gql.errors import Unavailable
from community_gql.lru import LruCache
from community_gql.telemetry import metrics

EVERY = 1.0
"""Seconds between two looks at each standby."""
LOOK_SECONDS = 2.0
"""How long a look may take."""
MOST_LAG = 5.0
"""Seconds by which a standby may be behind before it rests."""
WAIT = 0.02
"""Seconds that a read waits for a standby to replay a position."""
STEP = 0.002
REMEMBERED = 60.0
"""Seconds for which a write is remembered. A standby that lags longer rests long before."""
_VIEWER_BYTES = 300
_MEMORY_BYTES = 16 * 2**20

# The insert position may be ahead of what is ever sent while nothing else is written.
_FLUSHED = (  # unscoped: a position in the WAL
    "SELECT pg_walfile_name(lsn), (lsn - '0/0')::bigint FROM pg_current_wal_flush_lsn() AS lsn"
)
# In a statement of its own: within the query it would be evaluated after the query's snapshot.
_REPLAYED = (  # unscoped: a position in the WAL
    "SELECT CASE WHEN pg_is_in_recovery() THEN (pg_last_wal_replay_lsn() - '0/0')::bigint END, "
    "coalesce((SELECT received_tli FROM pg_stat_get_wal_receiver()), "
    "(SELECT timeline_id FROM pg_control_checkpoint()))"
)

_log = logging.getLogger("community_gql.db")


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the WAL: the timeline, and the bytes from its beginning."""

    timeline: int
    lsn: int


NOWHERE = Position(0, 2**63 - 1)
"""Where no standby ever is: of a write whose position is not known."""


def later(one: Position | None, other: Position | None) -> Position | None:
    """The later of two positions, or the one of the later timeline; NOWHERE is later than all."""
    if one is None or other is None:
        return one or other
    if NOWHERE in (one, other):
        return NOWHERE
    if one.timeline != other.timeline:
        return one if one.timeline > other.timeline else other
    return one if one.lsn >= other.lsn else other


async def flushed(driver: Any) -> Position:
    """Where the primary is, by a connection whose transaction has been committed."""
    try:
        return _position(await driver.fetchrow(_FLUSHED))  # unscoped: a position in the WAL
    except Exception:  # what was committed must not be answered with an error
        return NOWHERE


def _position(row: Sequence[Any]) -> Position:
    return Position(int(row[0][:8], 16), row[1])


class Behind(Exception):
    """The standby has not replayed the position in time, or is no standby of that timeline."""


async def reach(driver: Any, after: Position | None) -> None:
    """Wait a moment until the connection's server has replayed ``after``. Raises Behind."""
    if after is None:
        return
    until = time.monotonic() + WAIT
    while True:
        replayed, timeline = await driver.fetchrow(_REPLAYED)  # unscoped: a position in the WAL
        if replayed is None or timeline != after.timeline:
            raise Behind
        if replayed >= after.lsn:
            return
        if time.monotonic() >= until:
            raise Behind
        await asyncio.sleep(STEP)


class Replica:
    """One standby."""

    def __init__(self, name: str, url: str, config: PoolConfig) -> None:
        self.name, self.pool = name, Pool(url, config)
        self.rests = True
        """Whether nobody reads from it; so it begins, until it was looked at."""

    def failed(self, error: BaseException) -> bool:
        """Whether the primary should be asked instead; the standby then rests."""
        state = sqlstate(error)
        if isinstance(error, Unavailable):
            away = error.cause != CANCELLED  # what took too long would take as long again
        else:
            away = state in REPEATED or cause_of(error) not in (None, CANCELLED)
        if away and state not in REPEATED:
            self.rest("it does not answer")
        return away

    def rest(self, why: str) -> None:
        """Have nobody read from it until it was looked at again."""
        if not self.rests:
            _log.warning("the standby %s rests: %s", self.name, why)
        self.rests = True


class Replicas:
    """The standbys of one primary, and what was written last by whom."""

    def __init__(self, primary: Pool, urls: Sequence[str], config: PoolConfig) -> None:
        self._primary = primary
        self.all = [Replica(str(n), url, config) for n, url in enumerate(urls, 1)]
        self._next = 0
        self._seen: deque[tuple[float, Position]] = deque()
        """When the primary was where, the latest last."""
        self._written: LruCache[tuple[Position, float]] = LruCache(_MEMORY_BYTES)

    def pick(self, after: Position | None) -> Replica | None:
        """The standby to read from, in turns; None for the primary."""
        if after == NOWHERE:
            return None
        for _ in self.all:
            self._next = (self._next + 1) % len(self.all)
            if not self.all[self._next].rests:
                return self.all[self._next]
        return None

    def note(self, viewer: str, position: Position) -> None:
        """Remember for a while what the viewer has written."""
        # Of two writes at once, the one that was committed first may be noted last.
        last = later(self.written(viewer), position) or position
        self._written.put(viewer, (last, time.monotonic() + REMEMBERED), _VIEWER_BYTES)

    def written(self, viewer: str | None) -> Position | None:
        """The position of what the viewer wrote lately, by way of this process."""
        found = None if viewer is None else self._written.get(viewer)
        return found[0] if found is not None and found[1] > time.monotonic() else None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look at them again and again until the end of the block."""
        async with in_background(self._run()):
            yield

    async def _run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(EVERY)

    async def look(self) -> None:
        """Find out which standbys may be read from."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                position = _position(await self._primary.check(_FLUSHED))
        except Exception:
            # Without a primary nothing is written: what the standbys have is the newest there is.
            position = None
        if position is not None:
            self._seen.append((time.monotonic(), position))
            while len(self._seen) > MOST_LAG / EVERY + 5:
                self._seen.popleft()
        await asyncio.gather(*(self._look(replica, position) for replica in self.all))

    async def _look(self, replica: Replica, primary: Position | None) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                replayed, timeline = await replica.pool.check(_REPLAYED)
        except Exception:
            replica.rest("it does not answer")
            return
        if replayed is None:
            replica.pool.renew_check()
            replica.rest("it is no standby")
        elif primary is not None and timeline != primary.timeline:
            replica.rest(f"it is on timeline {timeline}, the primary on {primary.timeline}")
        elif (lag := self._lag(replayed)) > MOST_LAG:
            replica.rest(f"it is {lag:.0f} s behind")
        else:
            if replica.rests:
                _log.info("the standby %s is read from", replica.name)
            replica.rests = False
        if replayed is not None:
            metrics.REPLICA_LAG.labels(replica.name).set(self._lag(replayed))
        metrics.REPLICA_RESTS.labels(replica.name).set(replica.rests)

    def _lag(self, replayed: int) -> float:
        """For how long the primary has been beyond this place."""
        for moment, position in self._seen:
            if position.lsn > replayed:
                return time.monotonic() - moment
        return 0.0

    async def close(self) -> None:
        """Close every connection."""
        for replica in self.all:
            await replica.pool.close()
