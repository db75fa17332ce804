"""What is kept between requests, within bounds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class LruCache(Generic[T]):
    """Values by key, least recently used first out, up to a sum of sizes in bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._values: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self.bytes = 0
        """The sum of the sizes of what is kept."""

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    def get(self, key: Hashable) -> T | None:
        """The value, which thereby is the most recently used."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: Hashable, value: T, size: int) -> None:
        """Keep the value; what is larger than the bound alone is not kept."""
        self.drop(key)
        if size > self._max_bytes:
            return
        self._values[key] = value, size
        self.bytes += size
        while self.bytes > self._max_bytes:
            _, (_, dropped) = self._values.popitem(last=False)
            self.bytes -= dropped

    def items(self) -> list[tuple[Hashable, T]]:
        """What is kept, with its keys, least recently used first."""
        return [(key, value) for key, (value, _) in self._values.items()]

    def drop(self, key: Hashable) -> None:
        """Keep the value no longer."""
        _, size = self._values.pop(key, (None, 0))
        self.bytes -= size
