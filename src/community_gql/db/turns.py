"""Who may hold a connection now: fair parts by caller, and turns for those who wait."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

Waiting = OrderedDict[str | None, deque[asyncio.Future[None]]]
"""Those who wait, by caller; the caller whose turn it is comes first."""


class Turns:
    """A semaphore over ``size`` places that serves callers in turns, not in order of arrival.

    A caller (a person, or the address of someone signed out) holds at most ``caller_part`` places,
    and all who write at most ``write_part``. The caller None is the server itself: it is bound by
    no caller's part. Reads and writes alternate while both wait.
    """

    def __init__(self, size: int, *, caller_part: int, write_part: int) -> None:
        self._free = size
        self._caller_part, self._write_part = caller_part, write_part
        self._held: dict[str, int] = {}
        self._writing = 0
        self._readers: Waiting = OrderedDict()
        self._writers: Waiting = OrderedDict()
        self._writers_next = False

    @property
    def waiting(self) -> int:
        """How many wait."""
        every = (*self._readers.values(), *self._writers.values())
        return sum(map(len, every))

    def try_take(self, caller: str | None, *, write: bool = False) -> bool:
        """Take a place if one is free for this caller now."""
        # Whoever waits while a place is free waits for a part of its own, so nobody is passed by.
        if not self._free or (write and not self._may_write()):
            return False
        if caller is not None:
            held = self._held.get(caller, 0)
            if held >= self._caller_part:
                return False
            self._held[caller] = held + 1
        self._free -= 1
        self._writing += write
        return True

    async def take(self, caller: str | None, *, write: bool, seconds: float) -> None:
        """Take a place, waiting for one at most ``seconds``. Raises TimeoutError."""
        if self.try_take(caller, write=write):
            return
        waiting = self._writers if write else self._readers
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.setdefault(caller, deque()).append(granted)
        try:
            async with asyncio.timeout(seconds):
                await granted
        except BaseException:
            if granted.done() and not granted.cancelled():
                self.give(caller, write=write)
            else:
                self._leave(waiting, caller, granted)
            raise

    def give(self, caller: str | None, *, write: bool) -> None:
        """Give a place back; whoever's turn it is gets it."""
        self._free += 1
        self._writing -= write
        if caller is not None:
            left = self._held[caller] - 1
            if left:
                self._held[caller] = left
            else:
                del self._held[caller]
        while (self._readers or self._writers) and self._free and self._grant_next():
            pass

    def _has_part(self, caller: str | None) -> bool:
        return caller is None or self._held.get(caller, 0) < self._caller_part

    def _may_write(self) -> bool:
        return self._writing < self._write_part

    def _occupy(self, caller: str | None, write: bool) -> None:
        self._free -= 1
        self._writing += write
        if caller is not None:
            self._held[caller] = self._held.get(caller, 0) + 1

    def _grant_next(self) -> bool:
        """Give a free place to the next who may have it; False if there is nobody."""
        for write in (self._writers_next, not self._writers_next):
            if write and not self._may_write():
                continue
            waiting = self._writers if write else self._readers
            # Few are passed by: who has no part left holds one, and only a few parts fit.
            for caller in waiting:
                if self._has_part(caller):
                    self._grant(waiting, caller, write)
                    self._writers_next = not write
                    return True
        return False

    def _grant(self, waiting: Waiting, caller: str | None, write: bool) -> None:
        queue = waiting[caller]
        granted = queue.popleft()
        if queue:
            waiting.move_to_end(caller)
        else:
            del waiting[caller]
        self._occupy(caller, write)
        granted.set_result(None)

    @staticmethod
    def _leave(waiting: Waiting, caller: str | None, granted: asyncio.Future[None]) -> None:
        queue = waiting[caller]
        queue.remove(granted)
        if not queue:
            del waiting[caller]
