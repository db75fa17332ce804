"""What is done after answers, for many at once: the lines of the log, and what metrics count.

One answer's line alone takes as long as the rest of a small request: its code has left the caches
of the processor since the line before. Those of SECONDS together are a tight loop, and few writes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Protocol

from community_gql.http.request_log import RequestLog
from community_gql.logs import write_events, write_lines, writes_json
from community_gql.telemetry.metrics import Answered, Requests

SECONDS = 0.05
"""How late a line may be: so much of the log is lost if the process is killed."""
TOGETHER = 50
"""So many lines do not wait any longer."""

_log = logging.getLogger("community_gql.requests")


class Noted(Answered, Protocol):
    """What is known of a request that was answered."""

    def line(self) -> RequestLog:
        """What the log says of it."""

    def text(self, logger: str, at: float) -> bytes:
        """The same as a line of JSON for that logger: it was answered ``at`` that time."""


class Afterwards:
    """What is still to be done for the requests that one application has answered.

    ``requests`` counts them, where somebody wants to know.
    """

    def __init__(self, requests: Requests | None = None) -> None:
        self.requests = requests
        self._noted: list[tuple[float, Noted, bool]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._has_ended = False

    def note(self, request: Noted, *, is_counted: bool = True) -> None:
        """It was answered now; metrics count it if ``is_counted``."""
        noted = self._noted
        noted.append((time.time(), request, is_counted))
        if self._timer is None:
            # For people, and for what else reads records, each has its line at once.
            if self._has_ended or not writes_json(_log):
                self.catch_up()
            else:
                self._timer = asyncio.get_running_loop().call_later(SECONDS, self.catch_up)
        elif len(noted) >= TOGETHER:
            self.catch_up()

    def catch_up(self) -> None:
        """Do it now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        noted, self._noted = self._noted, []
        if not _log.isEnabledFor(logging.INFO):
            pass
        elif writes_json(_log):
            write_lines([request.text(_log.name, at) for at, request, _ in noted])
        else:
            logs = [(at, request.line()) for at, request, _ in noted]
            write_events(_log, [(at, log.message(), log.fields()) for at, log in logs])
        if self.requests is not None:
            self.requests.count([request for _, request, is_counted in noted if is_counted])

    def end(self) -> None:
        """Do it now; from here on nothing waits."""
        self._has_ended = True
        self.catch_up()
