"""What the log says of a request: one line."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from functools import lru_cache

from community_gql.logs import write_event

_log = logging.getLogger("community_gql.requests")


@dataclass(slots=True)
class RequestLog:
    """The fields of the line, filled while the request is answered."""

    method: str = "POST"
    path: str = "/graphql"
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


@lru_cache(maxsize=10_000)
def digest(sub: str) -> str:
    """A short name of a person that does not tell who it is."""
    return hashlib.blake2b(sub.encode(), digest_size=6).hexdigest()
