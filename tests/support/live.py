"""Live updates in tests: those of a process, and subscribers that keep what they are told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from community_gql.db.database import opened
from community_gql.graph.visibility import ANONYMOUS, Viewer
from community_gql.operations.compiled import Mode
from community_gql.operations.live import EndReason, Live, Subscription
from community_gql.operations.pipeline import Operations
from community_gql.operations.prepared import Params
from community_gql.operations.subscriptions import Delivery
from tests.support.factories import Person

STORIES = """subscription ($filter: StoryFilter, $after: String) {
  stories(filter: $filter, after: $after) { kind story { id title } goneId moment }
}"""


@dataclass
class Follower:
    """A subscriber that keeps what it is told."""

    events: list[Any] = field(default_factory=list)
    """The data of each event."""
    errors: list[Any] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    moments: list[str | None] = field(default_factory=list)
    ended: EndReason | None = None
    room: bool = True
    subscription: Subscription | None = None
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    def has_room(self) -> bool:
        return self.room

    def next(self, delivery: Delivery) -> bool:
        if not self.room:
            return False
        answer = orjson.loads(delivery.text)
        self.events.append(answer["data"])
        self.errors.extend(answer.get("errors", ()))
        self.raw.append(delivery.text)
        self.moments.append(delivery.moment_text)
        self._more.set()
        return True

    def complete(self) -> None:
        self._more.set()

    def end(self, reason: EndReason) -> None:
        self.ended = reason
        self._more.set()

    async def until(self, is_done: Callable[[], bool], seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while not is_done():
                self._more.clear()
                await self._more.wait()

    async def count(self, number: int) -> list[Any]:
        """The first so many events, once they are there."""
        await self.until(lambda: len(self.events) >= number)
        return self.events[:number]

    def close(self) -> None:
        assert self.subscription is not None
        self.subscription.close()


def told(follower: Follower) -> list[tuple[str, str | None]]:
    """What a follower of ``STORIES`` was told: the kind, and the title or id of the story."""
    return [
        (event["stories"]["kind"], (event["stories"]["story"] or {}).get("title"))
        for event in follower.events
    ]


@dataclass
class Process:
    """What one process has."""

    operations: Operations
    live: Live

    async def follow(
        self, text: str = STORIES, who: Person | Viewer | None = None, /, **variables: Any
    ) -> Follower:
        """Subscribe."""
        viewer = ANONYMOUS if who is None else who
        if isinstance(viewer, Person):
            viewer = Viewer(viewer.sub, frozenset(viewer.permissions))
        prepared = self.operations.prepare(Params(text, variables=variables), open_schema=True)
        follower = Follower()
        follower.subscription = await self.live.subscribe(
            prepared, viewer, follower, key=str(viewer.sub)
        )
        return follower

    async def begin(
        self, who: Person | Viewer | None = None, text: str = STORIES, /, **variables: Any
    ) -> Follower:
        """Follow from now on: the first RELOAD has been told and is forgotten."""
        follower = await self.follow(text, who, **variables)
        await follower.count(1)
        follower.events.clear()
        follower.raw.clear()
        return follower


@contextlib.asynccontextmanager
async def process(
    database_url: str, *, pushdown: Mode = "always", interval: float = 0.03, **options: Any
) -> AsyncIterator[Process]:
    """The live updates of a process over the database."""
    async with opened(database_url) as database:
        operations = Operations(database, pushdown=pushdown)
        live = Live(operations, database, interval=interval, **{"state_seconds": 0.2} | options)
        async with live.running():
            yield Process(operations, live)
        operations.close()
