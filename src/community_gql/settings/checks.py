"""Checks of single settings: each returns the value in its final form or raises ValueError.

The text of the error is the rest of a sentence that begins with the name of the setting.
"""

from __future__ import annotations

import ipaddress
import os
import re
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit
from urllib.request import getproxies

SCHEMES = ("postgres", "postgresql", "postgresql+asyncpg")
EXAMPLE_URL = "postgresql://user:password@db.example.com:5432/community"
EXAMPLE_DOMAIN = "example.eu.auth0.com"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
MIN_SECRET = 32  # characters

# The options that asyncpg accepts. Any other would become an unknown keyword and fail only at the
# first connection, far from its cause.
URL_PARAMETERS = frozenset({"host", "port", "ssl"})
SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})


def database_address(value: object) -> str:
    """Normalise a PostgreSQL address to the ``postgresql+asyncpg://`` form of SQLAlchemy.

    ``sslmode=`` (libpq, and so most hosting providers) becomes asyncpg's ``ssl=``. Raises
    ValueError with a sentence that never repeats the address, since it may hold a password.
    """
    text = value.strip() if isinstance(value, str) else ""
    scheme, separator, _ = text.partition("://")
    if not separator or scheme not in SCHEMES:
        raise ValueError(f"it must be a PostgreSQL address such as {EXAMPLE_URL}")
    if "#" in text:
        raise ValueError("it holds a #; in a password write %23")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(
            "its host or port can't be read; characters such as / ? # @ : in a user name or "
            "password must be percent-encoded (@ is %40)"
        ) from None
    if not unquote(parts.path.removeprefix("/")):
        raise ValueError(f"it names no database; write one at its end, as in {EXAMPLE_URL}")

    query: dict[str, str] = {}
    for name, item in parse_qsl(parts.query, keep_blank_values=True):
        query["ssl" if name == "sslmode" else name] = item
    if unknown := sorted(query.keys() - URL_PARAMETERS):
        raise ValueError(
            f"it has the parameter {', '.join(unknown)}, which isn't supported; "
            "the parameters are host, port and sslmode"
        )
    if "ssl" in query and query["ssl"] not in SSL_MODES:
        raise ValueError(f"its sslmode must be one of {', '.join(sorted(SSL_MODES))}")
    if not parts.hostname and "host" not in query:
        raise ValueError(f"it names no host, as in {EXAMPLE_URL}")
    if port is not None and not 0 < port < 65536:
        raise ValueError("its port must be between 1 and 65535")

    tail = f"?{urlencode(query, quote_via=quote)}" if query else ""
    return f"postgresql+asyncpg://{parts.netloc}{parts.path}{tail}"


def plain_address(url: str) -> str:
    """Return ``url`` as psql and other libpq programs take it: the reverse of the above."""
    parts = urlsplit(url)
    query = [("sslmode" if key == "ssl" else key, item) for key, item in parse_qsl(parts.query)]
    tail = f"?{urlencode(query, quote_via=quote)}" if query else ""
    return f"postgresql://{parts.netloc}{parts.path}{tail}"


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
    """Split a text at its commas; anything else stays as it is."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def origin(value: str) -> str:
    """Check that ``value`` is a browser's origin such as ``https://app.example.com``."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or f"{parts.scheme}://{parts.netloc}" != value:
        raise ValueError(f"{value!r} is not an origin such as https://app.example.com")
    return value


def redis_address(value: str) -> str:
    """Check that ``value`` is a Redis address; the message never repeats it."""
    if not value.startswith(("redis://", "rediss://", "redis+unix://")):
        raise ValueError("it must be a Redis address such as redis://redis.example.com:6379/0")
    return value
