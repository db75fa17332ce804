"""The budget: how many points of cost a person, or an address, may spend in a minute."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from functools import lru_cache
from typing import NamedTuple, Protocol

from community_gql.errors import PublicError

MINUTE = 60.0
_MAX_BUCKETS = 100_000
"""Each takes about 200 bytes. Beyond, the ones that were used longest ago are forgotten."""


class Balance(NamedTuple):
    """What a budget holds after a charge, in points."""

    limit: int
    remaining: int
    full_in: int
    """Seconds until it is full again."""

    def headers(self) -> dict[str, str]:
        """The ``RateLimit-*`` fields."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.full_in),
        }


class RateLimited(PublicError):
    """The budget is spent; ``wait`` is in seconds."""

    code = "RATE_LIMITED"

    def __init__(self, balance: Balance, wait: int) -> None:
        super().__init__(f"The budget of this minute is spent: try again in {wait} s.")
        self.balance, self.wait = balance, wait


class Budget(Protocol):
    """Where spending is counted."""

    async def charge(self, key: str, cost: int) -> Balance:
        """Spend ``cost``. Raises RateLimited."""

    async def debit(self, key: str, cost: int) -> Balance:
        """Spend ``cost`` on what was done already, also below nothing, down to an empty minute."""

    def affords(self, key: str, cost: int) -> bool:
        """Spend ``cost`` in this process alone, if it is there."""

    async def close(self) -> None:
        """Give back connections."""


class MemoryBudget:
    """Counts in this process: a token bucket that refills continuously, one for each key."""

    def __init__(self, points: int) -> None:
        self._points, self._rate = points, points / MINUTE
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def charge(self, key: str, cost: int) -> Balance:
        """Spend ``cost`` points. Raises RateLimited when the bucket holds less."""
        held = self._held(key)
        enough = cost <= held
        balance = self._keep(key, held - cost if enough else held)
        if not enough:
            raise RateLimited(balance, max(1, math.ceil((cost - held) / self._rate)))
        return balance

    async def debit(self, key: str, cost: int) -> Balance:
        """Spend ``cost`` points on what was done already; at worst a minute has to pass."""
        return self._keep(key, max(self._held(key) - cost, -float(self._points)))

    def affords(self, key: str, cost: int) -> bool:
        """Spend ``cost``, if it is there."""
        # For each event that is told: as few calls as can be.
        buckets, now = self._buckets, time.monotonic()
        if (found := buckets.get(key)) is None:
            self._put(key, self._points)
            found = buckets[key]
        held, then = found
        held = min(held + (now - then) * self._rate, self._points)
        if cost > held:
            return False
        buckets[key] = held - cost, now
        buckets.move_to_end(key)
        return True

    def _held(self, key: str) -> float:
        now = time.monotonic()
        held, then = self._buckets.get(key, (float(self._points), now))
        return min(float(self._points), held + (now - then) * self._rate)

    def _put(self, key: str, held: float) -> None:
        self._buckets[key] = (held, time.monotonic())
        self._buckets.move_to_end(key)
        if len(self._buckets) > _MAX_BUCKETS:
            self._buckets.popitem(last=False)

    def _keep(self, key: str, held: float) -> Balance:
        self._put(key, held)
        full_in = math.ceil((self._points - held) / self._rate)
        return Balance(self._points, max(math.floor(held), 0), full_in)

    async def close(self) -> None:
        """Nothing to give back."""


@lru_cache(maxsize=10_000)
def key_of(sub: str | None, address: str | None) -> str:
    """Whose budget it is: the person's, or that of the address; of IPv6 its /64 network."""
    if sub is not None:
        return f"person:{sub}"
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return f"address:{address}"
    if parsed.version == 6:
        mapped = parsed.ipv4_mapped
        parsed = mapped or ipaddress.ip_network((parsed, 64), strict=False).network_address
    return f"address:{parsed}"
