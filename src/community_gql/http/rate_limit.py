"""The budget: how many points of cost a person, or an address, may spend in a minute."""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import NamedTuple, Protocol

from community_gql.errors import PublicError

MINUTE = 60.0
_MAX_BUCKETS = 100_000
"""Each takes about 200 bytes. Beyond, those are forgotten that were not used since half as many
others were."""


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


class _Bucket:
    """What a key held at a time of the monotonic clock."""

    __slots__ = ("held", "then")

    def __init__(self, held: float, then: float) -> None:
        self.held, self.then = held, then


class MemoryBudget:
    """Counts in this process: a token bucket that refills continuously, one for each key."""

    def __init__(self, points: int) -> None:
        self._points, self._most, self._rate = points, float(points), points / MINUTE
        # Two generations: an order of use would be written at each use, for each of those who are
        # told of an event.
        self._young: dict[str, _Bucket] = {}
        self._old: dict[str, _Bucket] = {}

    async def charge(self, key: str, cost: int) -> Balance:
        """Spend ``cost`` points. Raises RateLimited when the bucket holds less."""
        balance = self.charge_now(key, cost)
        if balance is not None:
            return balance
        held = self._filled(key).held
        wait = max(1, math.ceil((cost - held) / self._rate))
        raise RateLimited(self._balance(held), wait)

    def charge_now(self, key: str, cost: int) -> Balance | None:
        """Spend ``cost`` points; None if the bucket holds less."""
        bucket = self._filled(key)
        if cost > bucket.held:
            return None
        bucket.held -= cost
        return self._balance(bucket.held)

    async def debit(self, key: str, cost: int) -> Balance:
        """Spend ``cost`` points on what was done already; at worst a minute has to pass."""
        bucket = self._filled(key)
        bucket.held = max(bucket.held - cost, -self._most)
        return self._balance(bucket.held)

    def spend(self, keys: Sequence[str], cost: int) -> Collection[int]:
        """Spend ``cost`` of each key, if it is there; the places of those where it is not."""
        # In one loop, without a call or a balance for each: an event is for ten thousand.
        now, most, rate, young = time.monotonic(), self._most, self._rate, self._young
        without: list[int] = []
        for place, key in enumerate(keys):
            if (bucket := young.get(key)) is None:
                bucket = self._made_young(key, now)
                young = self._young
            held = bucket.held + (now - bucket.then) * rate
            if held > most:  # `min` would be a call
                held = most
            bucket.then = now
            if cost <= held:
                held -= cost
            else:
                without.append(place)
            bucket.held = held
        return without

    def _filled(self, key: str) -> _Bucket:
        """The bucket of a key, with what has flowed into it until now."""
        now = time.monotonic()
        bucket = self._young.get(key) or self._made_young(key, now)
        held = bucket.held + (now - bucket.then) * self._rate
        bucket.held = held if held < self._most else self._most
        bucket.then = now
        return bucket

    def _made_young(self, key: str, now: float) -> _Bucket:
        """The bucket of a key that was not used for long, or never."""
        if len(self._young) >= _MAX_BUCKETS // 2:
            self._old, self._young = self._young, {}
        bucket = self._old.pop(key, None) or _Bucket(self._most, now)
        self._young[key] = bucket
        return bucket

    def _balance(self, held: float) -> Balance:
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
