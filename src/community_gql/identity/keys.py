"""The provider's public keys: fetched at start and refreshed; while it is away, the last good set.

A token that names an unknown key causes a fetch, because keys rotate. Anyone can invent such
tokens, so these fetches are limited twice: the pause between them grows while they find nothing
new, and a key id that was not found is not looked for again for a while. The longest pause is
below the 5 s within which a rotated key must work.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import warnings
from collections import OrderedDict
from typing import Any

from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import RSAKey

from community_gql.errors import Unavailable
from community_gql.identity.provider import Provider, ProviderError
from community_gql.identity.tokens import ALGORITHM

# All in seconds.
REFRESH = 300.0  # a key that the provider removed is refused after this at the latest
RETRIES = (1.0, 2.0, 5.0, 10.0, 30.0)  # while there is no key at all, or the refresh fails
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 4.0  # between the fetches that unknown key ids cause
CALM = 30.0  # without such a fetch, the pause is the shortest again
SHORTEST_COOL_DOWN, LONGEST_COOL_DOWN = 2.0, 300.0  # of one key id

MAX_COOLING = 10_000  # key ids remembered as not found
MAX_WAITING = 1_000  # requests that wait for a fetch at once; one more gets Unavailable
MAX_KID_CHARACTERS = 256
MIN_KEY_BITS = 2048

_log = logging.getLogger("community_gql.identity")


class ProviderKeys:
    """The RS256 keys of a provider by their id."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._keys: dict[str, RSAKey] = {}
        self._failure: ProviderError | None = None
        self._flight: asyncio.Task[None] | None = None
        self._asked: asyncio.Task[None] | None = None
        self._waiting = 0
        self._background: asyncio.Task[None] | None = None
        self._pause, self._last_asked = SHORTEST_PAUSE, float("-inf")
        self._cooling: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Key id -> (until when it is not looked for, how long that was), the oldest first."""
        self.fetches = 0
        """How many times the key set was fetched."""

    async def start(self) -> None:
        """Fetch the keys and keep refreshing them in the background.

        If the provider is away, it logs an error that says what failed, and retries. Until then
        tokens cannot be verified, and ``find`` raises Unavailable.
        """
        await self._fetch()
        self._background = asyncio.create_task(self._refresh())

    async def close(self) -> None:
        """End the background work."""
        for task in (self._background, self._asked, self._flight):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def are_known(self) -> bool:
        """Whether there is any key to verify a token with."""
        return bool(self._keys)

    async def find(self, kid: str) -> RSAKey | None:
        """The key with this id, or None when the provider has none.

        A known key is returned without waiting, whatever the provider does. Raises Unavailable if
        the key is not known and the provider cannot be asked.
        """
        if (key := self._keys.get(kid)) is not None:
            return key
        if len(kid) > MAX_KID_CHARACTERS:
            return None
        if not self._cools(kid) and not (self._failure and self._too_soon()):
            await self._ask(kid)
            if (key := self._keys.get(kid)) is not None:
                return key
        if self._failure is not None:
            raise Unavailable(
                "The token cannot be verified, because its issuer does not answer. "
                "Try again shortly."
            )
        return None

    def held(self, kid: str) -> RSAKey | None:
        """The key with this id, if it was fetched."""
        return self._keys.get(kid)

    def _too_soon(self) -> float:
        """Seconds until an unknown key id may cause a fetch again; 0 if it may now."""
        now = time.monotonic()
        if now - self._last_asked > CALM:
            self._pause = SHORTEST_PAUSE
        return max(0.0, self._last_asked + self._pause - now)

    def _cools(self, kid: str) -> bool:
        until, _ = self._cooling.get(kid, (0.0, 0.0))
        return time.monotonic() < until

    async def _ask(self, kid: str) -> None:
        """Wait for the next permitted fetch together with everyone else who needs it."""
        if self._waiting >= MAX_WAITING:
            raise Unavailable("Too many tokens with unknown keys at once. Try again shortly.")
        if self._asked is None or self._asked.done():
            self._asked = asyncio.create_task(self._permitted_fetch())
        self._waiting += 1
        try:
            # Shielded: if the first request is cancelled, the others still wait for the fetch.
            await asyncio.shield(self._asked)
        finally:
            self._waiting -= 1
        if self._failure is None and kid not in self._keys:
            self._cool(kid)

    def _cool(self, kid: str) -> None:
        if self._cools(kid):
            return  # another request of the same fetch was first
        _, before = self._cooling.pop(kid, (0.0, SHORTEST_COOL_DOWN / 2))
        seconds = min(before * 2, LONGEST_COOL_DOWN)
        self._cooling[kid] = (time.monotonic() + seconds, seconds)
        if len(self._cooling) > MAX_COOLING:
            self._cooling.popitem(last=False)

    async def _permitted_fetch(self) -> None:
        await asyncio.sleep(self._too_soon())
        known = self._keys.keys()
        await self._fetch()
        self._last_asked = time.monotonic()
        new = self._keys.keys() - known
        self._pause = SHORTEST_PAUSE if new else min(self._pause * 2, LONGEST_PAUSE)

    async def _refresh(self) -> None:
        failures = 0
        while True:
            if self._failure is None:
                failures = 0
                await asyncio.sleep(REFRESH)
            else:
                await asyncio.sleep(RETRIES[min(failures, len(RETRIES) - 1)])
                failures += 1
            await self._fetch()

    async def _fetch(self) -> None:
        """Fetch, or wait for the fetch that is under way: there is never more than one."""
        if self._flight is None or self._flight.done():
            self._flight = asyncio.create_task(self._replace())
        await asyncio.shield(self._flight)

    async def _replace(self) -> None:
        """Replace the keys by the provider's. If the answer is not a key set, keep the old ones."""
        self.fetches += 1
        try:
            keys = usable_keys(await self._provider.jwks())
            if not keys:
                raise ProviderError(f"{self._provider.issuer} publishes no {ALGORITHM} key")
        except ProviderError as error:
            if str(error) != str(self._failure):
                _log.error("%s", self._explain(error))
            self._failure = error
            return
        if self._failure is not None:
            _log.warning("The keys of %s are there again.", self._provider.issuer)
        self._keys, self._failure = keys, None

    def _explain(self, error: ProviderError) -> str:
        so_far = (
            "Tokens signed with the keys known so far go on working."
            if self._keys
            else "Until it answers, no token can be verified and nobody can sign in."
        )
        return (
            f"The keys of {self._provider.issuer} (AUTH0_DOMAIN, OIDC_ISSUER) cannot be fetched: "
            f"{error}. {so_far} Trying again."
        )


def usable_keys(jwks: dict[str, Any]) -> dict[str, RSAKey]:
    """The keys of a JWK set that may sign an access token; the others are left out."""
    found = {}
    listed = jwks.get("keys")
    for item in listed if isinstance(listed, list) else ():
        if not isinstance(item, dict) or item.get("kty") != "RSA":
            continue
        kid = item.get("kid")
        if not isinstance(kid, str) or not kid:
            continue
        if item.get("use", "sig") != "sig" or item.get("alg", ALGORITHM) != ALGORITHM:
            continue
        # Only the members of a public key: unknown members cannot break it.
        public: dict[str, Any] = {name: item.get(name) for name in ("kty", "n", "e")}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", SecurityWarning)
                key = RSAKey.import_key(public | {"kid": kid})
        except (JoseError, ValueError, TypeError, SecurityWarning):
            continue
        if key.public_key.key_size >= MIN_KEY_BITS:
            found[kid] = key
    return found
