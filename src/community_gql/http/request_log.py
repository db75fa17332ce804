"""What the log says of a request, and of a subscription when it ends: one line."""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass, field
from functools import lru_cache

from community_gql.logs import write_event
from community_gql.operations.live import Subscription

_log = logging.getLogger("community_gql.requests")
_subscriptions = logging.getLogger("community_gql.subscriptions")


@dataclass(slots=True)
class RequestLog:
    """The fields of the line, filled while the request is answered."""

    operation: str | None = None
    document: str | None = None
    viewer: str | None = None
    """Tells people apart without naming them: a digest of their ``sub``."""
    cost: int | None = None
    statements: int = 0
    executor: str | None = None
    """``compiled`` or ``loaders``, once the operation ran."""
    fallback_reason: str | None = None
    """Why it was the loaders."""
    database_milliseconds: float = 0
    status: int = 0
    milliseconds: float = 0
    codes: tuple[str, ...] = ()

    def write(self) -> None:
        """Write it."""
        if _log.isEnabledFor(logging.INFO):
            message = f"{self.operation or '-'} {self.status}"
            write_event(_log, message, {name: getattr(self, name) for name in self.__slots__})


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
