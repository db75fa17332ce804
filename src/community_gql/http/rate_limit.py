"""The budget: how many points of cost a person, or an address, may spend in a minute."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Collection, Sequence
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

    def charge_now(self, key: str, cost: int) -> Balance | None:
        """Spend ``cost``; None if it is not there, or if somebody must be asked."""

    async def debit(self, key: str, cost: int) -> Balance:
        """Spend ``cost`` on what was done already, also below nothing, down to an empty minute."""

    def spend(self, keys: Sequence[str], cost: int) -> Collection[int]:
        """Spend ``cost`` of each key in this process alone, if it is there.

        Returns the places of those where it is not.
        """

    async def close(self) -> None:
        """Give back connections."""


class MemoryBudget:
    """Counts in this process: a token bucket that refills continuously, one for each key."""

    def __init__(self, points: int) -> None:
        self._points, self._rate = points, points / MINUTE
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def charge(self, key: str, cost: int) -> Balance:
        """Spend ``cost`` points. Raises RateLimited when the bucket holds less."""
        balance = self.charge_now(key, cost)
        if balance is not None:
            return balance
        now = time.monotonic()
        held = self._held(key, now)
        balance = self._keep(key, held, now)
        raise RateLimited(balance, max(1, math.ceil((cost - held) / self._rate)))

    def charge_now(self, key: str, cost: int) -> Balance | None:
        """Spend ``cost`` points; None if the bucket holds less."""
        now = time.monotonic()
        held = self._held(key, now)
        return self._keep(key, held - cost, now) if cost <= held else None

    async def debit(self, key: str, cost: int) -> Balance:
        """Spend ``cost`` points on what was done already; at worst a minute has to pass."""
        now = time.monotonic()
        return self._keep(key, max(self._held(key, now) - cost, -float(self._points)), now)

    def spend(self, keys: Sequence[str], cost: int) -> Collection[int]:
        """Spend ``cost`` of each key, if it is there; the places of those where it is not."""
        # In one loop, without a balance: an event for ten thousand is charged to each of them.
        now, most, rate, buckets = time.monotonic(), float(self._points), self._rate, self._buckets
        without: list[int] = []
        for place, key in enumerate(keys):
            held = most
            if (found := buckets.get(key)) is not None:
                held = found[0] + (now - found[1]) * rate
                if held > most:  # `min` would be a call
                    held = most
            if cost > held:
                without.append(place)
                continue
            buckets[key] = held - cost, now
            buckets.move_to_end(key)
        while len(buckets) > _MAX_BUCKETS:
            buckets.popitem(last=False)
        return without

    def _held(self, key: str, now: float) -> float:
        found = self._buckets.get(key)
        if found is None:
            return float(self._points)
        held, then = found
        held += (now - then) * self._rate
        return held if held < self._points else float(self._points)

    def _keep(self, key: str, held: float, now: float) -> Balance:
        buckets = self._buckets
        buckets[key] = (held, now)
        buckets.move_to_end(key)
        if len(buckets) > _MAX_BUCKETS:
            buckets.popitem(last=False)
        full_in = math.ceil((self._points - held) / self._rate)
        return Balance(self._points, int(held) if held > 0 else 0, full_in)

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
