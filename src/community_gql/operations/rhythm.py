"""How often a process looks for changes: often while there are some, seldom after a rest."""

from __future__ import annotations

import time

BRISK, BRISK_SECONDS = 0.4, 2.0
"""What the interval is multiplied by, for so long after a change: more of them are likely."""
REST_AFTER = 10.0
"""After so many seconds in which nothing has happened it rests, if it will hear of changes. Longer
than a process may be silent between two hints (``db/hints.py``)."""
REST = 1.0
"""Seconds between two looks at rest. What is written by others than our processes waits so long."""


class Rhythm:
    """That of one process; ``interval`` is in seconds."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._changed_at = self._stirred_at = float("-inf")

    def stirs(self) -> None:
        """Something has happened that others may follow."""
        self._stirred_at = time.monotonic()

    def has_changed(self) -> None:
        """A change was found."""
        self._changed_at = self._stirred_at = time.monotonic()

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing has happened for a while."""
        return time.monotonic() - self._stirred_at >= REST_AFTER

    def pause(self, *, may_rest: bool) -> float:
        """Seconds until the next look. ``may_rest``: it will be heard when something happens."""
        if may_rest and self.is_at_rest:
            return max(self._interval, REST)
        if time.monotonic() - self._changed_at < BRISK_SECONDS:
            return self._interval * BRISK
        return self._interval
