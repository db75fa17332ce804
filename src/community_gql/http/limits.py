"""How many connections a process keeps open, how long, and how many of them for one caller."""

from __future__ import annotations

import ipaddress
import resource
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

from community_gql.settings import OperatorError, Settings

OWN_FILES = 64
"""Files of a process beside its connections: libraries, pipes, logs, Redis."""
BACKLOG = 1024
"""Connections that the kernel completes ahead of us, and that may be there beyond the bound while
they are told so."""


@dataclass(frozen=True)
class ConnectionLimits:
    """The bounds of one process. Times are in seconds."""

    header_timeout: float = 10
    body_timeout: float = 10
    idle_timeout: float = 75
    max_connections: int = 2000
    max_per_address: int = 200
    trusted_proxies: tuple[str, ...] = ("127.0.0.1",)
    """Who may hold as many as there are."""
    spare: int = BACKLOG
    """Connections that may be open beyond the bound, to be refused."""
    max_sockets: int = 10_000
    """Those that stay for live updates, which are counted apart."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What the settings say."""
        return cls(
            header_timeout=settings.header_timeout,
            body_timeout=settings.body_timeout,
            idle_timeout=settings.idle_timeout,
            max_connections=settings.max_connections,
            max_per_address=settings.max_connections_per_address,
            trusted_proxies=settings.trusted_proxies,
            max_sockets=settings.max_sockets,
        )

    def within(self, files: int, others: int) -> Self:
        """The limits of a process that may open ``files`` files, ``others`` of them not sockets.

        Raises OperatorError when that leaves no connection.
        """
        left = files - others
        spare = min(self.spare, left // 4)
        if spare < 1:
            raise OperatorError(
                f"ulimit -n is {files}: too few open files to serve anybody. Raise it to "
                f"{others + self.max_connections + self.spare + self.max_sockets} or more."
            )
        room = left - spare
        # What requests leave is for sockets, but a quarter in any case.
        sockets = min(self.max_sockets, max(room - self.max_connections, room // 4))
        return replace(
            self,
            spare=spare,
            max_sockets=sockets,
            max_connections=min(self.max_connections, room - sockets),
        )

    def trusts(self, address: str) -> bool:
        """Whether this is a proxy of ours, behind which there are many."""
        if "*" in self.trusted_proxies:
            return True
        try:
            parsed = _plain(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)

    @cached_property
    def _networks(
        self,
    ) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        return tuple(ipaddress.ip_network(proxy, strict=False) for proxy in self.trusted_proxies)


@dataclass(frozen=True)
class LiveLimits:
    """The bounds of live updates in one process, and their times in seconds."""

    max_sockets: int = 10_000
    """WebSockets and event streams together, as all that follows."""
    max_per_person: int = 20
    max_per_address: int = 100
    """Of those who are signed out."""
    max_subscriptions: int = 50
    """Operations at once on one socket."""
    init_timeout: float = 10
    """How long a client may take to say who it is."""
    ping_interval: float = 25
    pong_timeout: float = 15
    read_timeout: float = 30
    """How long a client may read nothing of what it is sent."""
    comment_interval: float = 15
    """Between two comments of a stream, without which proxies would take it for dead."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What the settings say."""
        return cls(
            max_sockets=settings.max_sockets,
            max_per_person=settings.max_sockets_per_person,
            max_per_address=settings.max_sockets_per_address,
            max_subscriptions=settings.max_subscriptions,
        )


def _plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    parsed = ipaddress.ip_address(address)
    return (parsed.ipv4_mapped or parsed) if parsed.version == 6 else parsed


def holder(address: str) -> str:
    """Whose share of the connections an address takes: its own; of IPv6 that of its /64."""
    try:
        parsed = _plain(address)
    except ValueError:
        return address
    if parsed.version == 6:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def open_files(wanted: int) -> int:
    """How many files this process and its children may open, raised to ``wanted`` if allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    if soft < wanted:
        raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if raised > soft:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            except (OSError, ValueError):  # the system has a lower bound than it says
                return soft
            return raised
    return soft
