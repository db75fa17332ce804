"""Concurrent writers of stories, and what they have committed: the truth that readers are held to.

Each writer notes what it writes in the table ``journal``, in the same transaction. So the journal
says which state of a story belongs to which transaction, and holds nothing that was rolled back.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import asyncpg

TABLE = """
    CREATE TABLE journal (
      seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      xid BIGINT NOT NULL DEFAULT pg_current_xact_id()::text::bigint,
      key BIGINT NOT NULL, author VARCHAR(64) NOT NULL,
      title TEXT NOT NULL, visibility VARCHAR(16) NOT NULL, tags TEXT[] NOT NULL,
      is_there BOOLEAN NOT NULL
    )
"""
NOTE = (
    "INSERT INTO journal (key, author, title, visibility, tags, is_there) "
    "VALUES ($1, $2, $3, $4, $5, $6)"
)
INSERT = "INSERT INTO stories (user_id, title, content, visibility) VALUES ($1, $2, 'c', $3)"
TAGS = ("moss", "fern", "lichen", "ivy")
VISIBILITIES = ("public", "public", "public", "friends", "friends", "private")
MOST_STORIES = 9
"""So many a writer has at a time: all of them together fit on one page."""


class Shown(NamedTuple):
    """A story as a reader sees it."""

    title: str
    visibility: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A story as a transaction left it; ``shown`` is None when it was deleted."""

    xid: int
    key: int
    author: str
    shown: Shown | None


World = dict[int, Row]
"""All stories by their keys."""


class Seen(NamedTuple):
    """A snapshot, read independently of the product."""

    xmax: int
    xip: frozenset[int]

    def shows(self, xid: int) -> bool:
        return xid < self.xmax and xid not in self.xip


class Moment:
    """What the text of a moment says."""

    def __init__(self, text: str) -> None:
        self.place, _, told = text.rpartition("-")
        *parts, last = told.split("~")
        self.oldest = _seen(last)
        self.ahead = [(int(b), _seen(s)) for s, b in zip(parts[::2], parts[1::2], strict=True)]
        self.xmax = max([self.oldest.xmax, *(seen.xmax for _, seen in self.ahead)])

    def knows(self, row: Row) -> bool:
        for bound, seen in self.ahead:
            if row.key <= bound:
                return seen.shows(row.xid)
        return self.oldest.shows(row.xid)


def _seen(text: str) -> Seen:
    _, xmax, xip = text.split(":")
    return Seen(int(xmax), frozenset(map(int, filter(None, xip.split(",")))))


class Truth:
    """What was committed: the world when a round began, and what became of it, in order."""

    def __init__(self, before: World, rows: Sequence[Row]) -> None:
        self.before, self.rows = before, rows
        self._sorted = sorted(enumerate(rows), key=lambda item: item[1].xid)
        self._of: dict[int, list[tuple[int, Row]]] = defaultdict(list)
        for place, row in enumerate(rows):
            self._of[row.xid].append((place, row))
        self._xids = [row.xid for _, row in self._sorted]

    def between(self, then: Moment, now: Moment) -> list[Row]:
        """What ``now`` knows and ``then`` did not, in order."""
        start = bisect_left(self._xids, then.oldest.xmax)
        end = bisect_left(self._xids, now.xmax)
        found = self._sorted[start:end]
        for xid in then.oldest.xip:
            found += self._of.get(xid, ())
        return [row for _, row in sorted(found) if now.knows(row) and not then.knows(row)]

    def at(self, moment: Moment) -> World:
        """The world as the moment knows it."""
        return apply(dict(self.before), filter(moment.knows, self.rows))

    def after(self) -> World:
        """The world when the round has ended."""
        return apply(dict(self.before), self.rows)


def apply(world: World, rows: Iterable[Row]) -> World:
    """Change the world."""
    for row in rows:
        if row.shown is None:
            world.pop(row.key, None)
        else:
            world[row.key] = row
    return world


@dataclass
class Writer:
    """One that writes stories of its own, with delays, savepoints and rollbacks."""

    address: str
    author: str
    dice: random.Random
    titles: Iterator[int]
    tags: Sequence[str] = TAGS
    committed: int = 0
    """About how many changes it has written; a crash may hide some."""
    pid: int = 0
    _mine: dict[int, Shown] = field(default_factory=dict)
    _db: asyncpg.Connection | None = None

    async def write(self, changes: int, each_second: float) -> None:
        """Write until about so many changes are committed, at about this rate."""
        goal = self.committed + changes
        while self.committed < goal:
            began, before = asyncio.get_running_loop().time(), self.committed
            try:
                await asyncio.wait_for(self._turn(), 30)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self.close()
                await asyncio.sleep(0.05)
                continue
            took = asyncio.get_running_loop().time() - began
            pause = (self.committed - before or 1) / each_second * self.dice.uniform(0.5, 1.5)
            await asyncio.sleep(max(pause - took, 0))

    async def _turn(self) -> None:
        db = await self._connected()
        kept, count = dict(self._mine), 0
        outer = db.transaction()
        await outer.start()
        for _ in range(self.dice.randint(1, 3)):
            await self._change(db)
            count += 1
            await asyncio.sleep(self.dice.random() * 0.01)
        if self.dice.random() < 0.3:
            inner, mine = db.transaction(), dict(self._mine)
            await inner.start()
            await self._change(db)
            if self.dice.random() < 0.5:
                await inner.commit()
                count += 1
            else:
                await inner.rollback()
                self._mine = mine
        if self.dice.random() < 0.2:
            await outer.rollback()
            self._mine = kept
        else:
            await outer.commit()
            self.committed += count

    async def _change(self, db: asyncpg.Connection) -> None:
        dice, title = self.dice, f"v{next(self.titles)}"
        if not self._mine or (len(self._mine) < MOST_STORIES and dice.random() < 0.3):
            shown = Shown(title, dice.choice(VISIBILITIES), ())
            key = await db.fetchval(f"{INSERT} RETURNING id", self.author, title, shown.visibility)
            if dice.random() < 0.6:
                shown = await self._tag(db, key, shown)
        else:
            key = dice.choice(list(self._mine))
            shown = self._mine[key]
            match dice.randint(0, 5):
                case 0:
                    await db.execute("DELETE FROM stories WHERE id = $1", key)
                    del self._mine[key]
                    await db.execute(NOTE, key, self.author, *shown[:2], list(shown.tags), False)
                    return
                case 1:
                    shown = await self._tag(db, key, shown)
                case _:
                    shown = Shown(title, dice.choice(VISIBILITIES), shown.tags)
                    await db.execute(
                        "UPDATE stories SET title = $2, visibility = $3 WHERE id = $1",
                        key,
                        *shown[:2],
                    )
        self._mine[key] = shown
        await db.execute(NOTE, key, self.author, *shown[:2], list(shown.tags), True)

    async def _tag(self, db: asyncpg.Connection, key: int, shown: Shown) -> Shown:
        name = self.dice.choice(self.tags)
        if name in shown.tags:
            await db.execute(
                "DELETE FROM story_tags WHERE story_id = $1 "
                "AND tag_id = (SELECT id FROM tags WHERE name = $2)", key, name,
            )  # fmt: skip
            tags = set(shown.tags) - {name}
        else:
            await db.execute(
                "INSERT INTO story_tags SELECT $1, id FROM tags WHERE name = $2", key, name
            )
            tags = {*shown.tags, name}
        return shown._replace(tags=tuple(sorted(tags)))

    async def _connected(self) -> asyncpg.Connection:
        if self._db is None:
            self._db = await asyncpg.connect(self.address, timeout=30)
            self.pid = self._db.get_server_pid()
            rows = await self._db.fetch(
                "SELECT id, title, visibility, tags_cached FROM stories WHERE user_id = $1",
                self.author,
            )
            self._mine = {row[0]: Shown(row[1], row[2], tuple(sorted(row[3]))) for row in rows}
        return self._db

    async def hold(self, seconds: float) -> None:
        """Write a story in a transaction that stays open for so long."""
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            db = await self._connected()
            async with db.transaction():
                await self._change(db)
                await asyncio.sleep(seconds)
            return
        await self.close()

    async def close(self) -> None:
        """Let the connection go."""
        db, self._db = self._db, None
        if db is not None:
            db.terminate()
