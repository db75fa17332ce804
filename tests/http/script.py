"""A ``Live`` whose events are the test's, for tests of what carries them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from community_gql.errors import PublicError
from community_gql.operations.live import Live, Subscriber, Subscription
from community_gql.operations.subscriptions import Delivery
from tests.support.listening import Listening
from tests.support.waiting import until

FOLLOW = "subscription { stories { kind moment } }"


class Scripted(Subscription):
    """A subscription whose events are the test's."""

    def __init__(self, subscriber: Subscriber, after: str | None, *given: Any) -> None:
        super().__init__(*given)
        self.after = after

    def tell(self, payload: bytes, moment: str | None = None) -> None:
        self.events += 1
        self.subscriber.next(Delivery(payload, None, moment, shared=False))


class Script(Live):
    """Takes subscriptions and tells nothing by itself."""

    refuses: PublicError | None = None
    waits: asyncio.Event | None = None

    def __init__(self, *_: Any, **__: Any) -> None:
        self.asked = 0
        self.begun: list[Scripted] = []

    async def subscribe(
        self, prepared: Any, viewer: Any, subscriber: Any, *, key: str, after: str | None = None
    ) -> Scripted:
        self.asked += 1
        if self.waits is not None:
            await self.waits.wait()
        if self.refuses is not None:
            raise self.refuses
        given = (prepared, viewer, subscriber, key, lambda _: None)
        self.begun.append(Scripted(subscriber, after, *given))
        return self.begun[-1]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        yield

    async def next(self, number: int = 0) -> Scripted:
        await until(lambda: len(self.begun) > number)
        return self.begun[number]


def script(server: Listening) -> Script:
    assert isinstance(server.sockets.live, Script)
    return server.sockets.live
