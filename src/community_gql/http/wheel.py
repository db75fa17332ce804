"""Times of many connections, rounded up so that one wake-up of the process serves all of a while.

Ten thousand timers of their own would wake an idle process four hundred times a second.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from itertools import islice
from typing import Protocol

SOON, STEP = 5.0, 0.05
"""What comes within SOON seconds comes at most STEP late."""
LATER_STEP = 0.5
"""So much later may come what takes longer."""
TOGETHER = 50
"""So many are called before others have their turn: each may send something."""


class Timed(Protocol):
    """What waits for a time."""

    def time_has_come(self) -> None:
        """The time of ``Wheel.add`` has come, and it is not on the wheel any more."""


class Wheel:
    """Who is to be called when, by the event loop's clock."""

    def __init__(self) -> None:
        self._slots: dict[float, set[Timed]] = {}

    def __len__(self) -> int:
        """How many wait."""
        return sum(map(len, self._slots.values()))

    def add(self, timed: Timed, when: float) -> float:
        """Have it called then, or a little later; the slot, for ``remove``."""
        loop = asyncio.get_running_loop()
        step = STEP if when - loop.time() <= SOON else LATER_STEP
        slot = math.ceil(when / step) * step
        waiting = self._slots.get(slot)
        if waiting is None:
            waiting = self._slots[slot] = set()
            loop.call_at(slot, self._turn, slot)
        waiting.add(timed)
        return slot

    def remove(self, timed: Timed, slot: float) -> None:
        """Have it not called."""
        if (waiting := self._slots.get(slot)) is not None:
            waiting.discard(timed)

    def _turn(self, slot: float) -> None:
        waiting = self._slots[slot]
        try:
            for timed in _taken(waiting, TOGETHER):
                timed.time_has_come()
        finally:  # a fault of one is not that of the others
            if waiting:
                asyncio.get_running_loop().call_soon(self._turn, slot)
            else:
                del self._slots[slot]


def _taken(waiting: set[Timed], most: int) -> Iterator[Timed]:
    """So many of them at most, which are no longer among them."""
    for timed in list(islice(waiting, most)):
        if timed in waiting:  # the one before may have taken it off
            waiting.discard(timed)
            yield timed
