"""One timer of a connection, moved again and again: a request that arrives at once sets none."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class LazyTimer:
    """Calls ``act`` once a time has come.

    A later time only moves ``deadline``: the timer that runs sees that when it fires. Only an
    earlier one sets another timer.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
        self._loop, self._act = loop, act
        self.deadline = math.inf
        """By the loop's clock; infinite for no time."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    def expect(self, seconds: float) -> None:
        """Call in so many seconds, and not before; never if they are infinite."""
        if seconds == math.inf:
            self.deadline = math.inf
            return
        self.deadline = self._loop.time() + seconds
        if self._timer is not None:
            if self._timer_at <= self.deadline:
                return
            self._timer.cancel()
        self._set(seconds)

    @property
    def left(self) -> float:
        """How many seconds are left."""
        return self.deadline - self._loop.time()

    def cancel(self) -> None:
        """Call no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, seconds: float) -> None:
        self._timer_at = self.deadline
        self._timer = self._loop.call_later(seconds, self._fire)

    def _fire(self) -> None:
        self._timer, left = None, self.left
        if left <= 0.001:
            self._act()
        elif left < math.inf:
            self._set(left)
