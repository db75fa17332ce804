"""Long work of the event loop, in pieces that leave room for requests between them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

T = TypeVar("T")

TURN = 0.002
"""Seconds of work after which others have their turn. A request needs several turns."""
PIECE = 64
"""So many small things are done before it looks at the clock."""


class Pace:
    """Counts the time since others had their turn."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    def begins(self) -> None:
        """The work goes on after something was awaited."""
        self._began = time.perf_counter()

    async def rest(self) -> None:
        """Let others have their turn, if it is time."""
        if time.perf_counter() - self._began > TURN:
            await self.give_way()

    async def give_way(self) -> None:
        """Let others have their turn."""
        await asyncio.sleep(0)
        self._began = time.perf_counter()

    async def pieces(self, things: Sequence[T], size: int = PIECE) -> AsyncIterator[Sequence[T]]:
        """The things in pieces, between which others may have their turn."""
        for start in range(0, len(things), size):
            yield things[start : start + size]
            await self.rest()
