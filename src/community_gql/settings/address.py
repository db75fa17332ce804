"""The address of the database, in all the forms that libpq and hosting providers write.

What the driver does by itself is left to it; what it would ignore or misread is refused by a
sentence that names the parameter. No sentence repeats an address: it may hold a password.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

SCHEMES = ("postgres", "postgresql", "postgresql+asyncpg")
EXAMPLE_URL = "postgresql://user:password@db.example.com:5432/community"

SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
CHOICES = {
    "sslmode": SSL_MODES,
    "sslnegotiation": frozenset({"postgres", "direct"}),
    "target_session_attrs": frozenset(
        {"any", "read-write", "read-only", "primary", "standby", "prefer-standby"}
    ),
}
"""Parameters that the driver understands, and their values."""
FILES = ("passfile", "sslcert", "sslcrl", "sslkey", "sslrootcert")
"""Parameters that the driver understands, and that name a file."""
UNDERSTOOD = frozenset(
    {
        *CHOICES, *FILES, "application_name", "connect_timeout", "dbname", "host", "options",
        "password", "port", "sslpassword", "ssl_max_protocol_version", "ssl_min_protocol_version",
        "user",
    }
)  # fmt: skip
WITHOUT_EFFECT = {
    "channel_binding": frozenset({"disable", "prefer"}),
    "client_encoding": frozenset({"auto", "utf8", "utf-8", "unicode"}),
    "gssencmode": frozenset({"disable", "prefer"}),
    "load_balance_hosts": frozenset({"disable"}),
    "sslcompression": frozenset({"0"}),
    "sslsni": frozenset({"1"}),
}
"""Parameters that the driver does not know, with values that ask for what it does anyway."""
SYSTEM = "system"
"""As ``sslrootcert``: the certificates that the operating system trusts."""


def database_address(value: object) -> str:
    """Normalise a PostgreSQL address: a ``postgresql+asyncpg://`` URL with libpq's parameters.

    Takes a URL, or libpq's ``host=... dbname=...``. Several hosts end up in the parameters
    ``host`` and ``port``. Raises ValueError with a sentence that never repeats the address.
    """
    text = value.strip() if isinstance(value, str) else ""
    scheme, separator, _ = text.partition("://")
    if not separator and re.match(r"[a-z_]+\s*=", text):
        text = _url_of(dict(_keywords(text)))
    elif not separator or scheme not in SCHEMES:
        raise ValueError(f"it must be a PostgreSQL address such as {EXAMPLE_URL}")
    if "#" in text:
        raise ValueError("it holds a #; in a password write %23")
    user, hosts, ports, path, query = _parts(text)
    if not unquote(path.removeprefix("/")) and not query.get("dbname"):
        raise ValueError(f"it names no database; write one at its end, as in {EXAMPLE_URL}")
    if not hosts and not query.get("host"):
        raise ValueError(f"it names no host, as in {EXAMPLE_URL}")
    if hosts and "host" in query:
        raise ValueError("it names its host twice, before the database and as a parameter")
    if len(hosts) > 1:
        query |= {"host": ",".join(hosts), "port": ",".join(port or "5432" for port in ports)}
        hosts = ports = []
    _check_ports(query)
    _check(query)
    place = "".join(f"[{host}]" if ":" in host else host for host in hosts)
    place += "".join(f":{port}" for port in ports if port)
    tail = f"?{urlencode(query, quote_via=quote)}" if query else ""
    return f"postgresql+asyncpg://{user}{place}{path}{tail}"


def plain_address(url: str) -> str:
    """Return what ``database_address`` made as psql and other libpq programs take it."""
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)


def driver_addresses(url: str) -> tuple[list[str], float | None]:
    """What ``database_address`` made, for the driver: an address for each host, and how long

    connecting to one may take, in seconds, if the address says so. The driver itself would spend
    the time for all of them on the first one that does not answer.
    """
    parts = urlsplit(plain_address(url))
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    seconds = float(query.pop("connect_timeout", "0"))
    hosts = query.pop("host", "").split(",") if "host" in query else [""]
    ports = query.pop("port", "").split(",") if "port" in query else [""]
    if len(ports) == 1:
        ports *= len(hosts)
    addresses = []
    for host, port in zip(hosts, ports, strict=True):
        own = query | ({"host": host} if host else {}) | ({"port": port} if port else {})
        tail = f"?{urlencode(own, quote_via=quote)}" if own else ""
        addresses.append(f"{parts.scheme}://{parts.netloc}{parts.path}{tail}")
    return addresses, seconds if seconds > 0 else None


def _parts(text: str) -> tuple[str, list[str], list[str], str, dict[str, str]]:
    """User with password and @, hosts, ports, path with its slash, and parameters."""
    try:
        parts = urlsplit(text)
        before, at, place = parts.netloc.rpartition("@")
        hosts, ports = [], []
        for one in place.split(",") if place else ():
            found = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]@?#]+)(?::(\d*))?", one)
            if found is None or "@" in before:
                raise ValueError
            hosts.append(unquote(found[1].strip("[]")))
            ports.append(found[2] or "")
    except ValueError:
        raise ValueError(
            "its host or port can't be read; characters such as / ? # @ : in a user name or "
            "password must be percent-encoded (@ is %40)"
        ) from None
    if any(port and not 0 < int(port) < 65536 for port in ports):
        raise ValueError("its port must be between 1 and 65535")
    query = {
        "sslmode" if name == "ssl" else name: item
        for name, item in parse_qsl(parts.query, keep_blank_values=True)
    }
    return before + at, hosts, ports, parts.path, query


def _check_ports(query: dict[str, str]) -> None:
    if "port" not in query:
        return
    ports = query["port"].split(",")
    if not all(port.isdecimal() and 0 < int(port) < 65536 for port in ports):
        raise ValueError("its port must be between 1 and 65535")
    if len(ports) > 1 and len(ports) != len(query.get("host", "").split(",")):
        raise ValueError("it has another number of ports than of hosts")


def _check(query: dict[str, str]) -> None:
    """Refuse what the driver cannot do, and take out what asks for nothing."""
    if query.get("channel_binding") == "require":
        if query.get("sslmode") != "verify-full":
            raise ValueError(
                "its channel_binding=require can't be kept: the driver does not bind channels. "
                "sslmode=verify-full with sslrootcert (a file, or system) keeps the same attackers "
                "out; set these, or leave channel_binding out"
            )
        del query["channel_binding"]
    for name, values in WITHOUT_EFFECT.items():
        if name in query and query.pop(name).lower() not in values:
            raise ValueError(
                f"its {name} can only be {' or '.join(sorted(values))}: the driver knows no other"
            )
    if unknown := sorted(query.keys() - UNDERSTOOD):
        raise ValueError(
            f"it has the parameter {', '.join(unknown)}, which isn't supported; the parameters "
            f"are {', '.join(sorted(UNDERSTOOD | WITHOUT_EFFECT.keys()))}"
        )
    for name, values in CHOICES.items():
        if name in query and query[name] not in values:
            raise ValueError(f"its {name} must be one of {', '.join(sorted(values))}")
    if not re.fullmatch(r"-?\d+", query.get("connect_timeout", "0")):
        raise ValueError("its connect_timeout must be a whole number of seconds")
    _check_certificates(query)


def _check_certificates(query: dict[str, str]) -> None:
    # A file that is missing would look like a database that is away.
    if query.get("sslrootcert") == SYSTEM:
        if query.setdefault("sslmode", "verify-full") != "verify-full":
            raise ValueError("its sslrootcert=system needs sslmode=verify-full")
        found = ssl.get_default_verify_paths().cafile
        if found is None:
            raise ValueError("its sslrootcert=system finds no file here; name the file")
        query["sslrootcert"] = found
    for name in FILES:
        if name in query and not os.access(query[name], os.R_OK):
            raise ValueError(f"its {name} names a file that can't be read")
    if query.get("sslmode", "").startswith("verify-") and not (
        "sslrootcert" in query
        or os.environ.get("PGSSLROOTCERT")
        or Path("~/.postgresql/root.crt").expanduser().is_file()
    ):
        raise ValueError(
            f"its sslmode={query['sslmode']} needs sslrootcert: the file with the authority's "
            "certificate, or system"
        )


def _keywords(text: str) -> Iterator[tuple[str, str]]:
    """The pairs of libpq's other form, ``host=h dbname='a b'``. Raises ValueError."""
    pair = re.compile(r"\s*([a-z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^'\s\\]|\\.)*))(?=\s|$)")
    at = 0
    while at < len(text):
        found = pair.match(text, at)
        if found is None:
            raise ValueError(
                "its keywords can't be read; write host=... dbname=..., with values that hold "
                "blanks or quotes in '...' and \\ before ' and \\"
            )
        value = found[2] if found[2] is not None else found[3]
        yield found[1], re.sub(r"\\(.)", r"\1", value)
        at = found.end()


def _url_of(given: dict[str, str]) -> str:
    name = quote(given.pop("dbname", ""), safe="")
    user = quote(given.pop("user", ""), safe="")
    password = quote(given.pop("password", ""), safe="")
    who = f"{user}:{password}@" if password else f"{user}@" if user else ""
    tail = f"?{urlencode(given, quote_via=quote)}" if given else ""
    return f"postgresql://{who}/{name}{tail}"
