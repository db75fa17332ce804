"""Turns of callers at what others would have to wait for.

The connections of one caller together would hold the event loop, or PostgreSQL's processors, so
many times as long as one request does. So their operations are prepared one by one, and so are the
dear ones run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext


class _Caller:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.requests = 0
        """How many have their turn, or wait for it."""


class Turns:
    """One at a time for each caller. Between two of them the event loop does all else."""

    def __init__(self) -> None:
        self._callers: dict[str, _Caller] = {}
        # A caller has one request in this queue at most: so it serves callers in turns.
        self._alone = asyncio.Lock()

    def __len__(self) -> int:
        """How many callers have their turn, or wait for it."""
        return len(self._callers)

    @asynccontextmanager
    async def of(self, key: str, *, alone: bool = False) -> AsyncIterator[None]:
        """The turn of a request of the caller with this key.

        Of those that are ``alone``, there is one at a time for all callers.
        """
        caller = self._callers.setdefault(key, _Caller())
        caller.requests += 1
        has_turn = False
        try:
            has_turn = await caller.lock.acquire()
            async with self._alone if alone else nullcontext():
                yield
        finally:
            # Not at once: what is ready has its turn before the caller's next request.
            asyncio.get_running_loop().call_soon(self._end, key, caller, has_turn)

    def _end(self, key: str, caller: _Caller, had_turn: bool) -> None:
        if had_turn:
            caller.lock.release()
        caller.requests -= 1
        if not caller.requests:
            del self._callers[key]
