"""The budget: how many points of cost a person, or an address, may spend in a minute."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
import time
from collections import OrderedDict
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError
from redis.exceptions import RedisError

from community_gql.errors import PublicError

MINUTE = 60.0
_MAX_BUCKETS = 100_000
"""Each takes about 200 bytes. Beyond, the ones that were used longest ago are forgotten."""
_REDIS_SECONDS = 0.5
"""How long Redis may take for one answer."""
_FAILURES = 3
"""After so many failures in a row Redis is not asked any more."""
_PING_SECONDS = 2.0
"""How often it is tried then."""
_REDIS_ERRORS = (StorageError, OSError, TimeoutError)

_log = logging.getLogger("community_gql.budget")


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

    async def affords(self, key: str, cost: int) -> bool:
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

    async def affords(self, key: str, cost: int) -> bool:
        """Spend ``cost``, if it is there."""
        held = self._held(key)
        if cost <= held:
            self._keep(key, held - cost)
        return cost <= held

    def _held(self, key: str) -> float:
        now = time.monotonic()
        held, then = self._buckets.get(key, (float(self._points), now))
        return min(float(self._points), held + (now - then) * self._rate)

    def _keep(self, key: str, held: float) -> Balance:
        self._buckets[key] = (held, time.monotonic())
        self._buckets.move_to_end(key)
        if len(self._buckets) > _MAX_BUCKETS:
            self._buckets.popitem(last=False)
        full_in = math.ceil((self._points - held) / self._rate)
        return Balance(self._points, max(math.floor(held), 0), full_in)

    async def close(self) -> None:
        """Nothing to give back."""


class RedisBudget:
    """Counts in Redis, for several processes, over a sliding minute.

    What Redis does not count is counted in this process. After ``_FAILURES`` in a row it is not
    asked any more, so that nobody waits for it, until it answers a ping in the background.
    """

    def __init__(self, address: str, points: int) -> None:
        storage = RedisStorage(
            f"async+{address}",
            wrap_exceptions=True,
            implementation="redispy",
            socket_connect_timeout=_REDIS_SECONDS,
            socket_timeout=_REDIS_SECONDS,
        )
        self._storage, self._points = storage, points
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._item = RateLimitItemPerMinute(points, namespace="community-gql")
        self._own = MemoryBudget(points)
        self._failures = 0
        self._recovery: asyncio.Task[None] | None = None
        """Waits for Redis to come back; None while it is asked."""

    async def charge(self, key: str, cost: int) -> Balance:
        """Spend ``cost`` points. Raises RateLimited when the minute holds less."""
        if self._recovery is None:
            try:
                return await self._hit(key, cost)
            except _REDIS_ERRORS as error:
                self._failed(error)
        return await self._own.charge(key, cost)

    async def debit(self, key: str, cost: int) -> Balance:
        """Spend ``cost`` points on what was done already, or all that the minute still holds."""
        if self._recovery is None:
            try:
                return await self._hit(key, cost)
            except RateLimited as limited:
                remaining = limited.balance.remaining
                return await self.debit(key, remaining) if remaining else limited.balance
            except _REDIS_ERRORS as error:
                self._failed(error)
        return await self._own.debit(key, cost)

    async def affords(self, key: str, cost: int) -> bool:
        """Spend ``cost`` in this process: for each event of live updates Redis would be too far."""
        return await self._own.affords(key, cost)

    async def _hit(self, key: str, cost: int) -> Balance:
        """Count in Redis. Raises RateLimited, and _REDIS_ERRORS when it does not answer."""
        async with asyncio.timeout(2 * _REDIS_SECONDS):
            enough = await self._limiter.hit(self._item, key, cost=max(cost, 1))
            stats = await self._limiter.get_window_stats(self._item, key)
        self._failures = 0
        missing = self._points - stats.remaining
        balance = Balance(self._points, stats.remaining, math.ceil(missing / self._points * MINUTE))
        if not enough:
            lacking = max(cost - stats.remaining, 1)
            raise RateLimited(balance, max(1, math.ceil(lacking / self._points * MINUTE)))
        return balance

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        if self._failures >= _FAILURES and self._recovery is None:
            _log.warning(
                "budgets are counted in each process: Redis does not answer (%s)", type(error)
            )
            self._recovery = asyncio.get_running_loop().create_task(self._wait_for_redis())

    async def _wait_for_redis(self) -> None:
        bridge: Any = self._storage.bridge
        while True:
            await asyncio.sleep(_PING_SECONDS)
            try:
                # Not `check()`: it swallows the cancellation, too.
                async with asyncio.timeout(2 * _REDIS_SECONDS):
                    await bridge.get_connection().ping()
            except (RedisError, OSError, TimeoutError):
                continue
            self._failures, self._recovery = 0, None
            _log.warning("budgets are counted in Redis again")
            return

    async def close(self) -> None:
        """Close the connections to Redis."""
        if self._recovery is not None:
            self._recovery.cancel()
        bridge: Any = self._storage.bridge  # its type for redis-py is not the declared one
        await bridge.storage.aclose()


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
