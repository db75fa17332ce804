"""What several processes share in Redis: budgets, and what viewers have written.

Imported by name where ``REDIS_URL`` is set, see ``app.py``.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Collection, Sequence
from typing import Any

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from community_gql.db.replicas import REMEMBERED
from community_gql.http.rate_limit import MINUTE, Balance, MemoryBudget, RateLimited

_REDIS_SECONDS = 0.5
"""How long Redis may take for one answer."""
_FAILURES = 3
"""After so many failures in a row Redis is not asked any more."""
_PING_SECONDS = 2.0
"""How often it is tried then."""
_TOKEN_SECONDS = 0.2
"""As much of it as a read may wait for."""
_TOKEN_PAUSE = 1.0
"""Seconds for which a Redis that did not answer is not asked: only one read in them waits."""
_COMPARED = 25
"""So many characters of a token are its position: the later one is the greater text."""
# Of two writes at once, the one that was committed first may be told last.
_KEEP_LATER = """
local known, told, width = redis.call('GET', KEYS[1]), ARGV[1], tonumber(ARGV[3])
if known and #known == #told and string.sub(known, 1, width) > string.sub(told, 1, width) then
  redis.call('EXPIRE', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
end
"""
_REDIS_ERRORS = (StorageError, OSError, TimeoutError)

_log = logging.getLogger("community_gql.budget")


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

    def charge_now(self, key: str, cost: int) -> None:
        """Redis must be asked."""

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

    def spend(self, keys: Sequence[str], cost: int) -> Collection[int]:
        """Spend ``cost`` in this process: for each event of live updates Redis would be too far."""
        return self._own.spend(keys, cost)

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


class RedisTokens:
    """The tokens of ``ReadAfter``, by name, for as long as they are remembered."""

    def __init__(self, address: str) -> None:
        self._redis = Redis.from_url(
            address, socket_timeout=_TOKEN_SECONDS, socket_connect_timeout=_TOKEN_SECONDS
        )
        self._keep_later = self._redis.register_script(_KEEP_LATER)
        self._asked_from = 0.0

    async def get(self, name: str) -> bytes | None:
        """The token that was put last; None if there is none. Raises OSError without Redis."""
        if time.monotonic() < self._asked_from:
            raise OSError
        try:
            async with asyncio.timeout(_TOKEN_SECONDS):
                token = await self._redis.get(name)
        except (RedisError, OSError, TimeoutError) as error:
            self._asked_from = time.monotonic() + _TOKEN_PAUSE
            raise OSError from error
        return token.encode() if isinstance(token, str) else token

    async def put(self, name: str, token: str) -> None:
        """Remember a token, unless a later one is known. Raises OSError without Redis."""
        try:
            async with asyncio.timeout(_TOKEN_SECONDS):
                await self._keep_later(keys=[name], args=[token, int(REMEMBERED), _COMPARED])
        except (RedisError, TimeoutError) as error:
            raise OSError from error

    async def close(self) -> None:
        """Close the connection."""
        await self._redis.aclose()
