"""The connections that stay for live updates, sockets and streams alike: who holds how many.

They are counted apart from other connections: a socket that waits for events all day must not use
up what requests need, nor the other way round.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Protocol

from community_gql.errors import PublicError
from community_gql.http.limits import LiveLimits, holder
from community_gql.http.wheel import Wheel

LEAVE_SECONDS = 5.0
"""Over so long clients are sent away when the process ends, in random order: they all come back."""
GOODBYE_SECONDS = 1.0
"""How long the last of them may take to go."""
_FEW = 10
"""So many connections that have not said whose they are an address may have in any case."""
_STEP = 0.05
"""Seconds between two groups that are sent away."""


class TooManyConnections(PublicError):
    """A caller holds as many as they may."""

    code = "RATE_LIMITED"


class LiveConnection(Protocol):
    """A socket or a stream."""

    def leave(self) -> None:
        """The process ends: send the client elsewhere. It then calls ``forget``."""


class LiveConnections:
    """Those of one process. A key is the caller's, as of a budget (``key_of``)."""

    def __init__(self, limits: LiveLimits) -> None:
        self.limits = limits
        self.wheel = Wheel()
        """On which their times are."""
        self.draining = False
        self._most = limits.max_sockets
        self._open: set[LiveConnection] = set()
        self._keys: dict[LiveConnection, str] = {}
        self._held: Counter[str] = Counter()
        self._unknown: dict[LiveConnection, str] = {}
        """The addresses of those of which it is not known whose they are."""
        self._unknown_of: Counter[str] = Counter()
        self._leaving: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._open)

    def bound(self, most: int) -> None:
        """Have room for fewer than the setting says: the process may not open as many files."""
        self._most = min(self._most, most)

    @property
    def is_full(self) -> bool:
        """Whether there is no room for one more."""
        return len(self._open) >= self._most

    def has_room_for(self, address: str | None) -> bool:
        """Whether an address may have one more that has not said whose it is.

        A tenth of all, so that nobody takes the room of everyone. After a restart all people of an
        office come at once from one address.
        """
        most = max(self.limits.max_per_address, self._most // 10, _FEW)
        return address is None or self._unknown_of[holder(address)] < most

    def add(self, connection: LiveConnection, address: str | None = None) -> None:
        """Count it. Whose it is may not be known yet: then it counts for its address."""
        self._open.add(connection)
        if address is not None:
            self._unknown[connection] = holder(address)
            self._unknown_of[holder(address)] += 1

    def _is_known(self, connection: LiveConnection) -> None:
        address = self._unknown.pop(connection, None)
        if address is not None:
            _give_back(self._unknown_of, address)

    def assign(self, connection: LiveConnection, key: str) -> None:
        """Count it for its caller. Raises TooManyConnections."""
        is_person = key.startswith("person:")
        most = self.limits.max_per_person if is_person else self.limits.max_per_address
        if self._held[key] >= most:
            who = "You hold" if is_person else "Your address holds"
            raise TooManyConnections(f"{who} {most} live connections already. Close one of them.")
        self._held[key] += 1
        self._keys[connection] = key
        self._is_known(connection)

    def release(self, connection: LiveConnection) -> None:
        """Give its caller the share back: it is closing."""
        key = self._keys.pop(connection, None)
        if key is not None:
            _give_back(self._held, key)

    def forget(self, connection: LiveConnection) -> None:
        """It is gone."""
        self.release(connection)
        self._is_known(connection)
        self._open.discard(connection)

    def drain(self, seconds: float) -> None:
        """Begin to send all clients elsewhere, within so many seconds, and take no new ones."""
        self.draining = True
        if self._leaving is None:
            self._leaving = asyncio.get_running_loop().create_task(self._send_away(seconds))

    async def finish(self) -> None:
        """Send away at once who is left, and wait until they are gone, for a moment."""
        self.draining = True
        if self._leaving is not None:
            self._leaving.cancel()
        for connection in list(self._open):
            connection.leave()
        for _ in range(round(GOODBYE_SECONDS / _STEP)):
            if not self._open:
                break
            await asyncio.sleep(_STEP)

    async def _send_away(self, seconds: float) -> None:
        waiting = list(self._open)
        random.shuffle(waiting)
        steps = max(round(seconds / _STEP), 1)
        for step in range(steps):
            # An even share of those who are left, so that the last step has the last ones.
            for _ in range(-(-len(waiting) // (steps - step))):
                waiting.pop().leave()
            await asyncio.sleep(_STEP if seconds else 0)


def _give_back(counted: Counter[str], key: str) -> None:
    """One less; what is not held is not kept."""
    counted[key] -= 1
    if not counted[key]:
        del counted[key]
