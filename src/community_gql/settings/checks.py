"""Checks of single settings: each returns the value in its final form or raises ValueError.

The text of the error is the rest of a sentence that begins with the name of the setting.
"""

from __future__ import annotations

import ipaddress
import os
import re
from urllib.parse import urlsplit
from urllib.request import getproxies

from community_gql.settings.address import EXAMPLE_URL, database_address, plain_address

__all__ = ["EXAMPLE_URL", "database_address", "plain_address"]  # address.py is part of the checks

EXAMPLE_DOMAIN = "example.eu.auth0.com"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
MIN_SECRET = 32  # characters


def metrics_address(value: object) -> tuple[str, int] | None:
    """Check ``host:port``, an address of this machine. Raises ValueError with a sentence."""
    if value is None or isinstance(value, tuple):
        return value
    host, _, port = value.strip().rpartition(":") if isinstance(value, str) else ("", "", "")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError("it must be an address and a port, such as 127.0.0.1:9464")
    return host.strip("[]"), int(port)


def tenant_domain(value: object) -> str | None:
    """Check the domain of an Auth0 tenant (or its custom domain): a bare host name.

    Raises ValueError with a sentence.
    """
    if value is None:
        return None
    text = value.strip().lower() if isinstance(value, str) else ""
    if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", text):
        raise ValueError(f"it must be a domain alone, such as {EXAMPLE_DOMAIN}")
    return text


def issuer_address(value: object) -> str | None:
    """Check the address of an OpenID provider, which must be exactly its ``iss``.

    Plain http is for loopback only. Raises ValueError with a sentence.
    """
    if value is None:
        return None
    text = value.strip() if isinstance(value, str) else ""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("https", "http") or parts.query or parts.fragment:
        raise ValueError("it must be an address such as https://login.example.com/")
    if parts.username is not None:
        raise ValueError("it must not hold a user name or password")
    if parts.scheme == "http" and host not in LOOPBACK:
        raise ValueError("it must be https: plain http is accepted on this machine only")
    return text


def session_secrets(secrets: tuple[str, ...]) -> tuple[str, ...]:
    """Check the secrets of the session cookie. Raises ValueError when one is short."""
    if any(len(secret) < MIN_SECRET for secret in secrets):
        raise ValueError(
            f"it must have at least {MIN_SECRET} characters; make one with: openssl rand -hex 32"
        )
    return secrets


def proxies(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Check addresses and networks. Raises ValueError naming the one that is neither."""
    for address in addresses:
        try:
            ipaddress.ip_network("0.0.0.0/0" if address == "*" else address)
        except ValueError:
            raise ValueError(
                f"{address!r} is neither an address such as 10.0.0.5 nor a network such as "
                "10.0.0.0/8"
            ) from None
    return addresses


def trusts_everyone(addresses: tuple[str, ...]) -> bool:
    """Whether ``X-Forwarded-For`` is believed whoever sends it."""
    return any(address == "*" or address.endswith("/0") for address in addresses)


def unusable_proxies() -> list[str]:
    """A sentence for each outgoing proxy of the environment that no request can be sent through.

    The client that asks the OpenID provider prepares for all of them when it is made, also for
    those that no request of ours would take. A sentence repeats no address: it may hold a password.
    """
    found = getproxies()
    if "*" in (host.strip() for host in found.get("no", "").split(",")):
        return []
    return [
        f"{_variable(f'{scheme}_proxy')} is wrong: the OpenID provider is asked through a proxy "
        "such as http://proxy.example.com:3128, and this is no http:// or https:// address. "
        "Correct or unset it."
        for scheme in ("http", "https", "all")
        if (address := found.get(scheme)) and not _is_http(address)
    ]


def _is_http(address: str) -> bool:
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is no number
        return False


def _variable(name: str) -> str:
    """The name as the environment has it: lower case counts before capitals."""
    return name if name in os.environ else name.upper()


def listed(value: object) -> object:
    """Split a text at its commas; anything else stays as it is.

    Raises ValueError for commas alone, which somebody took for a value.
    """
    if isinstance(value, str):
        parts = tuple(part.strip() for part in value.split(",") if part.strip())
        if value.strip() and not parts:
            raise ValueError("it has commas and nothing between them; write a value or unset it")
        return parts
    return value


def spaced(value: object) -> object:
    """Split a text at white space; anything else stays as it is."""
    return tuple(value.split()) if isinstance(value, str) else value


_ORIGIN = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.ASCII)


def origin(value: str) -> str:
    """Check that ``value`` is a browser's origin such as ``https://app.example.com``.

    It must be as browsers write it, or no page would ever have it: lower case, no usual port.
    """
    scheme, _, rest = value.partition("://")
    usual = {"http": ":80", "https": ":443"}.get(scheme, "")
    if not _ORIGIN.fullmatch(value) or rest.endswith(usual):
        raise ValueError(f"{value!r} is not an origin such as https://app.example.com")
    return value


def redis_address(value: str) -> str:
    """Check that ``value`` is a Redis address; the message never repeats it."""
    try:
        parts = urlsplit(value)
        is_host = parts.scheme in ("redis", "rediss") and bool(parts.hostname and parts.port)
    except ValueError:
        is_host = False
    if is_host and re.fullmatch(r"(/\d*)?", parts.path, re.ASCII):
        return value
    if re.match(r"redis\+unix://.*/.", value):
        return value
    raise ValueError("it must be a Redis address such as redis://redis.example.com:6379/0")
