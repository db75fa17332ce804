"""Whether readers who vanish and come back are told each change exactly once, by hand:

python -m tests.http.exactness --events 100000 --readers 1000 --drops 1000 --seed 1

Eight writers with delays, savepoints and rollbacks, one transaction that is held, two server
processes and both transports; PostgreSQL is killed twice. Every event of every reader is compared
with what its moment and the one before it mean, by a journal of what was committed. Of more than
MANY readers most follow one tag of many, so that a change concerns a dozen of them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from community_gql.db import migrate
from community_gql.identity.development import DevelopmentIssuer
from community_gql.settings.checks import plain_address
from tests.http.journal import (
    INSERT,
    NOTE,
    TABLE,
    TAGS,
    Moment,
    Row,
    Shown,
    Truth,
    World,
    Writer,
    apply,
)
from tests.http.server import HOST, free_port
from tests.support import factories as make
from tests.support.following import TRANSPORTS, Connection, Cut
from tests.support.postgres import OwnServer, own_server
from tests.support.server import process

WRITERS = 8
ROUND = 5000
"""After so many changes everybody waits for everybody, and is checked."""
MANY, FOLLOW_ALL = 100, 100
"""Of more than MANY readers each FOLLOW_ALLth follows all stories, instead of every second one."""
ALIKE = 5
"""So many readers follow the same tag then, each with the eyes of another viewer."""
MARKED = 20
"""So many tags one mark has at most."""
AT_ONCE = 20
"""So many lists are read at once."""
MARK_SECONDS = 15
"""After so long without all readers knowing it, the mark is changed again."""
MOST_AT_ONCE = 100
"""More changes than this at once may be answered with RELOAD."""
FOLLOW = """subscription ($after: String, $filter: StoryFilter) {
  stories(after: $after, filter: $filter) {
    kind story { id title visibility tagNames } goneId moment
  }
}"""
READ = """query ($filter: StoryFilter) {
  moment stories(first: 100, filter: $filter) { nodes { id title visibility tagNames } }
}"""
Shelf = dict[int, Shown]
"""What a reader sees, by the keys of the stories."""


@dataclass(frozen=True)
class Options:
    """How much is done."""

    events: int
    readers: int
    drops: int
    seed: int = 1
    each_second: float = 400
    hold: float = 10
    crashes: bool = True
    seconds: float = float("inf")
    """No round begins after so long."""


@dataclass(frozen=True)
class Viewer:
    """Whose eyes a reader has."""

    sub: str | None
    token: str | None
    friends: frozenset[str]

    def sees(self, row: Row, tag: str | None) -> bool:
        """Whether the story is in this viewer's list; a rule of the test's own."""
        assert row.shown is not None
        visible = (
            row.shown.visibility == "public"
            or row.author == self.sub
            or (row.shown.visibility == "friends" and row.author in self.friends)
        )
        return visible and (tag is None or tag in row.shown.tags)


class Lists:
    """Reads lists, so many at a time: httpx takes long to queue a thousand requests itself."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http, self._turns = http, asyncio.Semaphore(AT_ONCE)

    async def read(self, port: int, viewer: Viewer, filter_: Any) -> dict[str, Any]:
        """The data of READ, once the server answers. Raises httpx.HTTPError."""
        headers = {} if viewer.token is None else {"Authorization": viewer.token}
        while True:
            async with self._turns:
                answer = await self._http.post(
                    f"http://{HOST}:{port}/graphql",
                    json={"query": READ, "variables": {"filter": filter_}},
                    headers=headers,
                )
            if answer.status_code == 200:
                data: dict[str, Any] = answer.json()["data"]
                return data
            await asyncio.sleep(0.1)


@dataclass
class Told:
    """What a reader was told, or has read.

    ``what`` is a kind, LIST for a list with its moment, or ANEW for a subscription without one.
    """

    what: str
    moment: str
    key: int = 0
    shown: Shown | None = None
    shelf: Shelf = field(default_factory=dict)


class Reader:
    """A client that vanishes and comes back, on another server and perhaps over another transport.

    It keeps what it was told. After RELOAD it either reads the list with its moment and follows
    from there, or reads the list while the events go on.
    """

    def __init__(
        self, viewer: Viewer, tag: str | None, ports: list[int], dice: random.Random
    ) -> None:
        self.viewer, self.tag, self._ports, self._dice = viewer, tag, ports, dice
        self.log: list[Told] = []
        self.shelf: Shelf = {}
        """As a client without moments would keep it: by what it is told alone."""
        self.counts: Counter[str] = Counter()
        self.sessions = 0
        """How often it has come."""
        self.vanish_after: int | None = None
        """So many events more, and it vanishes."""
        self._moment: str | None = None
        self._filter = None if tag is None else {"tagsAny": [tag]}
        self._turn = dice.randrange(2)
        self.base: Moment | None = None
        """Up to where it was checked."""
        self.mark = 0
        """The key of a story that is in its list."""
        self.knows = ""
        """The title of that story by what it was told, or by a list that it follows from."""
        self.other_marks: Collection[int] = ()
        """Those of other readers, which are changed after its own."""

    async def run(self, http: Lists) -> None:
        """Follow for ever."""
        while True:
            try:
                await self._session(http)
            except (Cut, httpx.HTTPError, TimeoutError):
                self.counts["cut"] += 1
                await asyncio.sleep(0.1)
            await asyncio.sleep(self._dice.random() * 0.3)

    async def _session(self, http: Lists) -> None:
        self.sessions += 1
        self._turn += 1
        port = self._ports[self._turn % len(self._ports)]
        if self._moment is None and self._dice.random() < 0.7:
            await self._read(http, port, follows=True)
        if self._moment is None:
            self.log.append(Told("ANEW", ""))
        transport = self._dice.choice(list(TRANSPORTS))
        after = {"filter": self._filter}
        async with asyncio.timeout(60):
            connection: Connection = await TRANSPORTS[transport].open(
                port, FOLLOW, after, token=self.viewer.token, last=self._moment
            )
        self.counts[f"{transport} {self._ports.index(port)}"] += 1
        try:
            while await self._event(http, port, await connection.receive()):
                pass
        finally:
            connection.vanish()

    async def _event(self, http: Lists, port: int, payload: dict[str, Any]) -> bool:
        """Take an event, and say whether to go on."""
        assert "errors" not in payload, payload
        change = payload["data"]["stories"]
        self._moment = change["moment"]
        told = Told(change["kind"], change["moment"])
        self.log.append(told)
        self.counts[told.what] += 1
        if told.what == "RELOAD":
            if self._dice.random() < 0.5:
                self._moment = None
                return False
            self._moment = None  # to begin anew with, if this fails
            await self._read(http, port, follows=False)
            self._moment = told.moment
        elif told.what == "GONE":
            told.key = _key(change["goneId"])
            self.shelf.pop(told.key, None)
        else:
            told.key, told.shown = _story(change["story"])
            self.shelf[told.key] = told.shown
            if told.key == self.mark:
                self.knows = told.shown.title
        if self.vanish_after is not None:
            self.vanish_after -= 1
            if self.vanish_after < 0:
                self.vanish_after = None
                self.counts["vanished"] += 1
                return False
        return True

    async def _read(self, http: Lists, port: int, *, follows: bool) -> None:
        data = await http.read(port, self.viewer, self._filter)
        self.shelf = dict(map(_story, data["stories"]["nodes"]))
        told = Told("LIST", data["moment"], shelf=dict(self.shelf))
        self.counts["LIST"] += 1
        if follows:
            self._moment = data["moment"]
            self.log.append(told)
            self.knows = self.shelf[self.mark].title

    def expected(self, world: World) -> Shelf:
        """What of the world is in its list."""
        return {
            key: row.shown
            for key, row in world.items()
            if row.shown is not None and self.viewer.sees(row, self.tag)
        }

    def check(self, truth: Truth) -> list[str]:
        """What is wrong with all that it was told in this round."""
        wrong: list[str] = []
        world, base = dict(truth.before), self.base
        for number, told in enumerate(self.log):
            if told.what == "ANEW":
                base = None
                continue
            now = Moment(told.moment)
            about = f"{number} of {len(self.log)}: {told.what} {told.key or ''} {told.moment}"
            if told.what in ("LIST", "RELOAD"):
                if told.what == "RELOAD":
                    wrong += self._reason(about, truth, base, now)
                world, base = truth.at(now), now
                if told.what == "LIST" and told.shelf != self.expected(world):
                    wrong.append(f"{about}: the list is not that of its moment")
                continue
            if base is None or base.place != now.place:
                wrong.append(f"{about}: not RELOAD, but of another run of the server")
                base = now
                continue
            rows = truth.between(base, now)
            keys = {row.key for row in rows} | {told.key}
            before = self.expected({key: world[key] for key in keys if key in world})
            seen = self._between(world, rows)
            after = self.expected({key: world[key] for key in keys if key in world})
            changed = {row.key for row in rows}
            hidden = {key: seen[key] for key in seen.keys() - before.keys() - after.keys()}
            wrong += self._compare(about, told, changed, before | hidden, after)
            base = now
        self.base = base
        self.log.clear()
        newer = truth.between(base, END) if base is not None else []
        left = [row for row in newer if row.key not in self.other_marks]
        if left:
            wrong.append(f"the last moment does not know {len(left)} changes")
        if self.shelf != self.expected(truth.after()):
            is_, should = self.shelf.items(), self.expected(truth.after()).items()
            wrong.append(f"at the end {set(is_ - should)} should be {set(should - is_)}")
        return wrong

    def _between(self, world: World, rows: list[Row]) -> Shelf:
        """Change the world, and say what was in the list for a moment after each transaction."""
        found: Shelf = {}
        for number, row in enumerate(rows):
            apply(world, [row])
            later = (one for one in rows[number + 1 :] if one.key == row.key)
            following = next(later, None)
            if following is not None and following.xid != row.xid:
                found |= self.expected({row.key: row})
        return found

    def _reason(self, about: str, truth: Truth, base: Moment | None, now: Moment) -> list[str]:
        """Count why it was told to reload; what is wrong if there was no reason."""
        if base is None:
            self.counts["RELOAD to begin with"] += 1
        elif base.place != now.place:
            self.counts["RELOAD after a crash"] += 1
        else:
            self.counts["RELOAD for too much"] += 1
            changed = {row.key for row in truth.between(base, now)}
            if len(changed) <= MOST_AT_ONCE:
                return [f"{about}: needless, for {len(changed)} changes"]
        return []

    def _compare(
        self, about: str, told: Told, changed: set[int], before: Shelf, after: Shelf
    ) -> list[str]:
        wrong = []
        for key in changed | {told.key}:
            was, is_ = before.get(key), after.get(key)
            kind = "CHANGED" if was and is_ else "APPEARED" if is_ else "GONE" if was else None
            if key not in changed or (kind is None and key == told.key):
                wrong.append(f"{about}: nothing has become of it")
            elif key != told.key and kind is not None:
                wrong.append(f"{about}: {kind} {key} was missed")
            elif key == told.key and (told.what, told.shown) != (kind, is_):
                wrong.append(f"{about}: {told.shown} should be {kind} {is_}")
        return wrong


END = Moment(f"-{2**62}:{2**62}:")


def _key(global_id: str) -> int:
    return int(global_id.rpartition("_")[2])


def _story(node: dict[str, Any]) -> tuple[int, Shown]:
    shown = Shown(node["title"], node["visibility"].lower(), tuple(sorted(node["tagNames"])))
    return _key(node["id"]), shown


class Run:
    """Servers, writers and readers."""

    def __init__(self, options: Options, folder: Path) -> None:
        self.options, self.dice = options, random.Random(options.seed)
        self._folder, self._stack = folder, ExitStack()
        self.readers: list[Reader] = []
        self.world: World = {}
        self.written = 0
        self.tags: tuple[str, ...] = TAGS
        if options.readers > MANY:
            self.tags = tuple(f"tag {number}" for number in range(options.readers // ALIKE))
        self._seq = 0
        self._mark = 0
        self._marks: dict[int, tuple[str, ...]] = {}
        """The tags of stories that are changed for all readers to know."""
        self.place: OwnServer
        self.counts: Counter[str] = Counter()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Run]:
        """Everything runs until the end of the block."""
        try:
            await asyncio.to_thread(self._start_servers)
            await self._set_the_scene()
            async with httpx.AsyncClient(timeout=60) as http:
                lists = Lists(http)
                tasks = [asyncio.create_task(reader.run(lists)) for reader in self.readers]
                await self._all_know_a_mark()
                yield self
                for task in tasks:
                    assert not task.done(), task.exception()
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            await asyncio.to_thread(self._stack.close)

    def _start_servers(self) -> None:
        self.place = self._stack.enter_context(own_server())
        self.url = self.place.url("postgres")
        self.address = plain_address(self.url)
        migrate.upgrade(self.url)
        self.issuer = DevelopmentIssuer(self._folder)
        self.ports = [free_port(), free_port()]
        many = 2 * self.options.readers + 200
        settings = {
            "cost_per_minute": 10**9, "max_sockets_per_person": many,
            "max_sockets_per_address": many, "max_connections_per_address": many,
        }  # fmt: skip
        for port in self.ports:
            self._stack.enter_context(process(self.url, self._folder, port, **settings))

    async def _set_the_scene(self) -> None:
        db = await asyncpg.connect(self.address)
        await db.execute(TABLE)
        for name in self.tags:
            await make.tag(db, name)
        authors = await make.people(db, WRITERS + 2)
        friend, stranger = await make.people(db, 2)
        for author in authors[:5]:
            await make.friendship(db, author, friend)
        await make.friendship(db, stranger, authors[0], accepted=False)
        titles = itertools.count(1)
        *first, holder, self._marker = (
            Writer(
                self.address,
                author.sub,
                random.Random(f"{self.options.seed} {n}"),
                titles,
                self.tags,
            )
            for n, author in enumerate(authors)
        )
        self.writers, self.holder = first, holder
        await self._make_marks(db)
        await db.close()
        eyes: list[Viewer] = [Viewer(None, None, frozenset())]
        for person, friends in (
            (friend, authors[:5]), (stranger, []), (authors[0], [friend]), (authors[7], [])
        ):  # fmt: skip
            token = f"Bearer {self.issuer.token(person.sub)}"
            eyes.append(Viewer(person.sub, token, frozenset(one.sub for one in friends)))
        for number in range(self.options.readers):
            tag = self._tag_of(number)
            dice = random.Random(f"{self.options.seed} reader {number}")
            reader = Reader(eyes[number % len(eyes)], tag, self.ports, dice)
            reader.mark = next(
                key for key, tags in self._marks.items() if tag is None or tag in tags
            )
            reader.other_marks = self._marks.keys() - {reader.mark}
            self.readers.append(reader)

    def _tag_of(self, number: int) -> str | None:
        """What a reader follows; None for all stories."""
        if self.options.readers > MANY:
            place = number // ALIKE % len(self.tags)
            return None if number % FOLLOW_ALL == 0 else self.tags[place]
        return self.tags[number % len(self.tags)] if number % 2 else None

    async def _make_marks(self, db: asyncpg.Connection) -> None:
        for start in range(0, len(self.tags), MARKED):
            tags = self.tags[start : start + MARKED]
            key = await db.fetchval(
                f"{INSERT} RETURNING id", self._marker.author, "mark 0", "public"
            )
            await db.execute(
                "INSERT INTO story_tags SELECT $1, id FROM tags WHERE name = ANY ($2)", key, tags
            )
            self._marks[key] = tuple(sorted(tags))
            self.world[key] = Row(
                0, key, self._marker.author, Shown("mark 0", "public", self._marks[key])
            )

    async def round(self, changes: int, drops: int, crash: list[str]) -> list[str]:
        """Write so many changes while readers vanish, and say what is wrong in the end."""
        each_second = self.options.each_second / WRITERS
        writing = [
            asyncio.create_task(writer.write(changes // WRITERS, each_second))
            for writer in self.writers
        ]
        holding = asyncio.create_task(self.holder.hold(self.options.hold))
        seconds = changes / self.options.each_second
        dropping = asyncio.create_task(self._drop(drops, seconds))
        for how in crash:
            await asyncio.sleep(seconds / (len(crash) + 1))
            await self._crash(how)
        await asyncio.gather(*writing, holding, dropping)
        await self._all_know_everything()
        truth = Truth(self.world, await self._committed())
        wrong = [
            f"reader {number} ({reader.viewer.sub}, {reader.tag}): {said}"
            for number, reader in enumerate(self.readers)
            for said in reader.check(truth)
        ]
        self.world, self.written = truth.after(), self.written + len(truth.rows)
        return wrong

    async def _drop(self, drops: int, seconds: float) -> None:
        for _ in range(drops):
            await asyncio.sleep(self.dice.uniform(0.2, 1.8) * seconds / drops)
            self.dice.choice(self.readers).vanish_after = self.dice.randint(0, 3)

    async def _crash(self, how: str) -> None:
        self.counts[f"crash: {how}"] += 1
        if how == "backend":
            os.kill(self.dice.choice([w.pid for w in self.writers if w.pid]), signal.SIGKILL)
        else:
            await asyncio.to_thread(self.place.stop)  # immediate
            again = self.place.again()
            self.place = await asyncio.to_thread(self._stack.enter_context, again)

    async def _all_know_everything(self) -> None:
        """Change the marks until all readers were told of whatever was written before.

        What one step tells comes in the order of keys, and the marks come first. So what is told
        beside the second mark is told before the third one, to those who stay.
        """
        while True:
            await self._all_know_a_mark()
            sessions = [reader.sessions for reader in self.readers]
            for _ in range(2):
                await self._all_know_a_mark()
            if sessions == [reader.sessions for reader in self.readers]:
                return

    async def _all_know_a_mark(self) -> None:
        """Change the marks until all readers were told of the same change.

        Whose RELOAD has a moment behind it is told of the next one only.
        """
        async with asyncio.timeout(180):
            while True:
                title = await self._change_marks()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(MARK_SECONDS):
                        while any(reader.knows != title for reader in self.readers):  # noqa: ASYNC110 (nothing tells)
                            await asyncio.sleep(0.05)
                        return

    async def _change_marks(self) -> str:
        """Change all marks in one transaction; their title."""
        self._mark += 1
        title = f"mark {self._mark}"
        db = await asyncpg.connect(self.address)
        async with db.transaction():
            for key, tags in self._marks.items():
                await db.execute("UPDATE stories SET title = $2 WHERE id = $1", key, title)
                await db.execute(NOTE, key, self._marker.author, title, "public", list(tags), True)
        await db.close()
        return title

    async def _committed(self) -> list[Row]:
        db = await asyncpg.connect(self.address)
        rows = await db.fetch("SELECT * FROM journal WHERE seq > $1 ORDER BY seq", self._seq)
        await db.close()
        self._seq = rows[-1]["seq"]
        return [
            Row(
                row["xid"],
                row["key"],
                row["author"],
                Shown(row["title"], row["visibility"], tuple(row["tags"]))
                if row["is_there"]
                else None,
            )
            for row in rows
        ]

    def summary(self) -> Counter[str]:
        """What all readers have met."""
        return sum((reader.counts for reader in self.readers), self.counts.copy())


async def run(options: Options, say: Callable[[str], object]) -> tuple[list[str], Run]:
    """All rounds. What is wrong in the first that has something, and the run with its counts."""
    with tempfile.TemporaryDirectory() as folder:
        async with Run(options, Path(folder)).open() as made:
            rounds, start = max(1, options.events // ROUND), time.monotonic()
            crashing = min(1, rounds - 1)
            for number in range(rounds):
                began = time.monotonic()
                if began - start > options.seconds:
                    break
                crash = ["backend", "server"] if options.crashes and number == crashing else []
                wrong = await made.round(options.events // rounds, options.drops // rounds, crash)
                took = time.monotonic() - began
                say(f"round {number + 1} of {rounds}: {took:.0f} s, {made.written} changes, "
                    f"{len(wrong)} wrong")  # fmt: skip
                if wrong:
                    return wrong, made
            return [], made


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="changes to be committed")
    parser.add_argument("--readers", type=int, default=24, help="at once")
    parser.add_argument("--drops", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--each-second", type=float, default=400, help="changes, at most")
    parser.add_argument("--hold", type=float, default=10, help="seconds of the held transaction")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="then it ends")
    options = Options(**vars(parser.parse_args()))

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    wrong, made = asyncio.run(run(options, say))
    say(json.dumps(made.summary(), indent=2, sort_keys=True))
    for line in wrong[:20]:
        say(line)
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
