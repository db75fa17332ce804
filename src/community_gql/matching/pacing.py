"""How much of a processor a batch takes: it rests after each piece of work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

SHARE = 0.02
"""The part of one processor that a run which goes on for ever takes for a batch."""
VECTORS_SHARE = 0.25
"""The least part for all vectors: until they are there, whoever comes gets no list."""
MOST_SECONDS = 5.0
"""A rest is not longer: who waited for a lock has not worked."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Work of which the process and PostgreSQL together take ``share`` of a processor's time.

    PostgreSQL works for the one connection while the process waits, and the other way round. So
    the time from the beginning to the end of a piece of work is what both took.
    """

    share: float = 1.0
    """1: without a rest, on all processors."""

    @property
    def rests(self) -> bool:
        """Whether there are rests at all."""
        return self.share < 1

    @asynccontextmanager
    async def piece(self) -> AsyncIterator[None]:
        """Rest after what is done inside. No transaction is open then, and so no lock is held."""
        started = time.monotonic()
        yield
        if self.rests:
            worked = time.monotonic() - started
            await asyncio.sleep(min(worked * (1 / self.share - 1), MOST_SECONDS))
