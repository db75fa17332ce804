"""The connections of one process, counted in all and by address."""

from __future__ import annotations

from collections import Counter
from weakref import WeakSet

from uvicorn.server import ServerState

_servers: WeakSet[Connections] = WeakSet()


def open_connections() -> int:
    """How many connections this process holds."""
    return sum(len(server.connections) for server in _servers)


class Connections(ServerState):
    """Which there are, whose they are, and whether the process is about to end."""

    def __init__(self) -> None:
        super().__init__()
        self._held: Counter[str] = Counter()
        self.streams: set[object] = set()
        """Those that stay for events: they are counted with the sockets, and not here."""
        self.draining = False
        """Whether each answer is the last of its connection."""
        _servers.add(self)

    @property
    def counted(self) -> int:
        """How many there are beside those that stay for events."""
        return len(self.connections) - len(self.streams)

    def held_by(self, holder: str | None) -> int:
        """How many count for this address, see ``limits.holder``; none for None."""
        return self._held[holder] if holder is not None else 0

    def beyond(self, most: int) -> int:
        """How many are beyond ``most`` of their address."""
        return sum(max(held - most, 0) for held in self._held.values())

    def take(self, holder: str) -> None:
        """One more for this address."""
        self._held[holder] += 1

    def give_back(self, holder: str) -> None:
        """One less."""
        self._held[holder] -= 1
        if not self._held[holder]:
            del self._held[holder]
