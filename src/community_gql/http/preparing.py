"""When an operation is prepared: a caller's one by one, and new long documents one at a time.

Preparing takes the event loop up to a few milliseconds, a long document in many pieces. Without
turns, the connections of one caller together would hold it so many times as long.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager


class _Caller:
    """Who prepares something now."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.operations = 0
        """How many of theirs are prepared, or wait for it."""


class Turns:
    """Who may prepare an operation now. Between two of a caller, the event loop does all else."""

    def __init__(self) -> None:
        self._callers: dict[str, _Caller] = {}
        # A caller has one operation in this queue at most: so it serves callers in turns.
        self._alone = asyncio.Lock()

    @property
    def waiting(self) -> int:
        """How many operations are prepared, or wait for it."""
        return sum(caller.operations for caller in self._callers.values())

    @asynccontextmanager
    async def of(self, key: str, *, alone: bool) -> AsyncIterator[None]:
        """The turn of the caller with this key; ``alone``, while nobody else has such a one."""
        caller = self._callers.setdefault(key, _Caller())
        caller.operations += 1
        try:
            async with AsyncExitStack() as held:
                await caller.lock.acquire()
                # Not at once: what is ready has its turn before the caller's next operation.
                held.callback(asyncio.get_running_loop().call_soon, caller.lock.release)
                if alone:
                    await held.enter_async_context(self._alone)
                yield
        finally:
            caller.operations -= 1
            if not caller.operations:
                del self._callers[key]
