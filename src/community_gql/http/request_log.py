"""What the log says of a request, and of a subscription when it ends: one line."""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import os
import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from community_gql.logs import line, write_event
from community_gql.operations.live import Subscription
from community_gql.operations.pipeline import Executor

_pid = os.getpid()  # a worker is a process that was started anew, not a copy of another
_subscriptions = logging.getLogger("community_gql.subscriptions")


@dataclass
class RequestLog:
    """The fields of the line, filled while the request is answered."""

    method: str = "POST"
    path: str = "/graphql"
    request_id: str = ""
    trace_id: str | None = None
    """The trace that the request, or this process, says it belongs to."""
    operation: str | None = None
    type: str | None = None
    """``query``, ``mutation`` or ``subscription``, once that is known."""
    document: str | None = None
    viewer: str | None = None
    """Tells people apart without naming them: a digest of their ``sub``."""
    client: str | None = None
    """What kind of address it came from, see ``client_class``."""
    cost: int | None = None
    statements: int = 0
    executor: str | None = None
    """``compiled`` or ``loaders``, once the operation ran."""
    fallback_reason: str | None = None
    """Why it was the loaders."""
    prepare_milliseconds: float = 0
    """For reading the document and the variables; on the quick way the head with them."""
    compile_milliseconds: float = 0
    """For compiling it, if the request waited for that."""
    pool_milliseconds: float = 0
    """For waiting for connections to the database."""
    database_milliseconds: float = 0
    status: int = 0
    milliseconds: float = 0
    codes: tuple[str, ...] = ()
    cause: str | None = None
    """Why the database could not serve: a SQLSTATE, or words."""

    @property
    def kind(self) -> tuple[str | None, str | None, int]:
        """As metrics know it, see ``telemetry.metrics.Answered``."""
        return self.type, self.executor, self.status

    @property
    def seconds(self) -> float:
        """How long its answer took."""
        return self.milliseconds / 1000

    @property
    def database_seconds(self) -> float:
        """How long its statements took."""
        return self.database_milliseconds / 1000

    def line(self) -> RequestLog:
        """Itself: it is filled."""
        return self

    def text(self, logger: str, at: float) -> bytes:
        """The line as JSON."""
        return line(logger, at, self.message(), self.fields())

    def message(self) -> str:
        """What the line says first."""
        return f"{self.operation or '-'} {self.status}"

    def fields(self) -> dict[str, Any]:
        """What the line holds, by name."""
        # Written out: asking for each by its name takes four times as long.
        return {
            "method": self.method,
            "path": self.path,
            "request_id": self.request_id,
            "trace_id": self.trace_id,
            "operation": self.operation,
            "type": self.type,
            "document": self.document,
            "viewer": self.viewer,
            "client": self.client,
            "cost": self.cost,
            "statements": self.statements,
            "executor": self.executor,
            "fallback_reason": self.fallback_reason,
            "prepare_milliseconds": self.prepare_milliseconds,
            "compile_milliseconds": self.compile_milliseconds,
            "pool_milliseconds": self.pool_milliseconds,
            "database_milliseconds": self.database_milliseconds,
            "status": self.status,
            "milliseconds": self.milliseconds,
            "codes": self.codes,
            "cause": self.cause,
            "pid": _pid,
        }


@dataclass(slots=True)
class SubscriptionLog:
    """What the line says of a subscription, which begins now."""

    transport: str
    """``websocket`` or ``sse``."""
    request: RequestLog
    started: float = field(default_factory=time.monotonic)

    def write(self, subscription: Subscription | None, reason: str) -> None:
        """Write it. ``subscription`` is None if the client went before it had begun."""
        if not _subscriptions.isEnabledFor(logging.INFO):
            return
        fields = {
            "operation": self.request.operation,
            "document": self.request.document,
            "viewer": self.request.viewer,
            "cost": self.request.cost,
            "transport": self.transport,
            "executor": (
                Executor.of(subscription.fallback_reason)
                if subscription and subscription.events
                else None
            ),
            "fallback_reason": subscription.fallback_reason if subscription else None,
            "events": subscription.events if subscription else 0,
            "reloads": subscription.reloads if subscription else 0,
            "worst_delay_milliseconds": (
                round(subscription.worst_delay * 1000, 1) if subscription else 0
            ),
            "seconds": round(time.monotonic() - self.started, 1),
            "reason": reason,
        }
        write_event(_subscriptions, f"{self.request.operation or '-'} {reason}", fields)


@lru_cache(maxsize=10_000)
def digest(sub: str) -> str:
    """A short name of a person that does not tell who it is."""
    return hashlib.blake2b(sub.encode(), digest_size=6).hexdigest()


@lru_cache(maxsize=10_000)
def client_class(address: str | None) -> str | None:
    """``loopback``, ``private`` or ``public``; None if it is not an address."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return None
    return "loopback" if found.is_loopback else "private" if found.is_private else "public"
