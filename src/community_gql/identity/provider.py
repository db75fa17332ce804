"""The OpenID provider over HTTP: its discovery document, its keys, ``/userinfo``."""

from __future__ import annotations

import asyncio
import functools
import ssl
from dataclasses import dataclass
from typing import Any

import httpx2
import orjson

TIMEOUT = 5.0  # seconds for a whole answer, from connecting to its last byte
MAX_ANSWER_BYTES = 1024 * 1024
REQUIRED = ("issuer", "jwks_uri", "authorization_endpoint", "token_endpoint")


class ProviderError(Exception):
    """The provider is away, slow, or its answer is wrong. The text says which, and where.

    ``status`` is the HTTP status of the answer, None if there was no answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@functools.cache
def trusted() -> ssl.SSLContext:
    """Whom connections to a provider trust. Made once: reading the certificates takes 25 ms."""
    return httpx2.create_ssl_context()


@dataclass(frozen=True, slots=True)
class Person:
    """What ``/userinfo`` says about a person."""

    sub: str
    email: str | None
    """None if there is none, or if the provider says that it is not verified."""


class Provider:
    """One OpenID provider, named by its exact issuer address."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self._metadata: dict[str, Any] | None = None
        self._client: httpx2.AsyncClient | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def metadata(self) -> dict[str, Any]:
        """The discovery document, fetched once. Raises ProviderError.

        https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfigurationValidation:
        an issuer that is not exactly the expected one is refused.
        """
        if self._metadata is None:
            url = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
            found = await self.json(url)
            for name in REQUIRED:
                if not isinstance(found.get(name), str):
                    raise ProviderError(f"{url} does not give {name!r}")
            if found["issuer"] != self.issuer:
                raise ProviderError(
                    f"{url} is of the issuer {found['issuer']!r}, but {self.issuer!r} is expected"
                )
            self._metadata = found
        return self._metadata

    async def jwks(self) -> dict[str, Any]:
        """The key set, fetched now. Raises ProviderError."""
        return await self.json((await self.metadata())["jwks_uri"])

    async def person(self, token: str) -> Person:
        """The person of an access token, from ``/userinfo``. Raises ProviderError."""
        url = (await self.metadata()).get("userinfo_endpoint")
        if not isinstance(url, str):
            raise ProviderError(f"{self.issuer} has no userinfo_endpoint", 404)
        found = await self.json(url, {"Authorization": f"Bearer {token}"})
        sub, email = found.get("sub"), found.get("email")
        if not isinstance(sub, str):
            raise ProviderError(f"{url} does not say whom it speaks of")
        verified = found.get("email_verified") not in (False, "false")
        return Person(sub, email if isinstance(email, str) and verified else None)

    async def json(self, url: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """The JSON object at ``url``. Raises ProviderError; redirects are not followed."""
        try:
            async with asyncio.timeout(TIMEOUT):
                status, body = await self._get(url, headers or {})
        except TimeoutError:
            raise ProviderError(f"{url} has not answered within {TIMEOUT:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise ProviderError(f"{url} cannot be reached: {error or type(error).__name__}") from (
                error
            )
        if status != 200:
            raise ProviderError(f"{url} answers with status {status}", status)
        try:
            found = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise ProviderError(f"{url} does not answer with JSON") from None
        if not isinstance(found, dict):
            raise ProviderError(f"{url} does not answer with a JSON object")
        return found

    async def _get(self, url: str, headers: dict[str, str]) -> tuple[int, bytes]:
        if self._client is None:
            self._client = httpx2.AsyncClient(
                verify=trusted(), timeout=TIMEOUT, follow_redirects=False
            )
        body = bytearray()
        # unscoped: HTTP to the provider, not a statement
        async with self._client.stream("GET", url, headers=headers) as response:
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise ProviderError(f"{url} answers with more than {MAX_ANSWER_BYTES} bytes")
        return response.status_code, bytes(body)
