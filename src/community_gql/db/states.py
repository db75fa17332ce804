"""The passing states of the database: what says "not now" rather than "not like this"."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AbstractContextManager

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from community_gql.errors import Unavailable
from community_gql.telemetry import metrics

PASSING = (
    "08",  # the connection broke, or a proxy such as PgBouncer refused it
    "25006",  # read-only: a standby, or a server that was switched so
    "28",  # the password or the role is refused
    "3D000",  # there is no such database
    "53",  # no disk, no memory, no connections left
    "55P03",  # a lock was not given within lock_timeout
    "57014",  # cancelled by statement_timeout
    "57P",  # the server starts, stops, or ended the connection
    "58",  # its files cannot be read or written
)
"""SQLSTATE classes and codes that pass without a change of ours."""
USELESS = ("08", "25006", "57P")
"""Of those, what makes all connections of before suspect: they are replaced."""
STALE = "0A000"
REPEATED = ("40001", "40P01", STALE)
"""A serialisation failure, a deadlock, and a cached plan that no longer fits its table."""

CANCELLED = "57014"
AWAY = "The database cannot answer at the moment. Try again shortly."
TOO_LONG = "The request took too long. Ask for less at once."
POOL_WAIT = "pool wait"
NO_CONNECTION = "no connection"
LOG_SECONDS = 60.0
"""How often each cause is logged at most."""

_log = logging.getLogger("community_gql.db")


class Causes:
    """Logs passing states: one warning a minute for each cause, with how many there were."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        """How often each cause was met since its last line."""
        self._logged: dict[str, float] = {}

    def note(self, cause: str) -> None:
        """Count one occurrence of a cause: a SQLSTATE, or words. Needs a running event loop."""
        metrics.DATABASE_AWAY.labels(cause).inc()
        self._counts[cause] = self._counts.get(cause, 0) + 1
        wait = self._logged.get(cause, -LOG_SECONDS) + LOG_SECONDS - time.monotonic()
        if wait <= 0:
            self._write(cause)
        elif self._counts[cause] == 1:  # nobody may come afterwards to write the last of them
            asyncio.get_running_loop().call_later(wait, self._write, cause)

    def _write(self, cause: str) -> None:
        if count := self._counts.pop(cause, 0):
            self._logged[cause] = time.monotonic()
            _log.warning(
                "the database cannot serve: %s, %d times", cause, count,
                extra={"cause": cause, "count": count},
            )  # fmt: skip


def sqlstate(error: BaseException) -> str:
    """PostgreSQL's code for the error, such as ``23505``; empty when it has none.

    The error may be the driver's own, that of SQLAlchemy's adapter for it, or SQLAlchemy's.
    """
    original = error.orig if isinstance(error, DBAPIError) else error
    # The adapter's error for a stale cached plan does not carry the code of its cause.
    cause = getattr(original, "__cause__", None)
    return getattr(original, "sqlstate", None) or getattr(cause, "sqlstate", None) or ""


def cause_of(error: BaseException) -> str | None:
    """The passing state that the error is a sign of (a SQLSTATE, or words); None if of none."""
    if code := sqlstate(error):
        lost = isinstance(error, DBAPIError) and error.connection_invalidated
        return code if lost or code.startswith(PASSING) else None
    if isinstance(error, PoolTimeout):
        return POOL_WAIT
    own = _of_driver(error)
    if isinstance(own, asyncpg.DataError):
        return None  # a value that the driver cannot send: a fault of ours
    if isinstance(own, (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)):
        return NO_CONNECTION
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return NO_CONNECTION
    return None


def _of_driver(error: BaseException) -> BaseException:
    """The driver's own error below those of SQLAlchemy and its adapter, which say less."""
    original = error.orig if isinstance(error, DBAPIError) else error
    if original is not None and type(original).__module__.startswith("sqlalchemy"):
        original = original.__cause__ or original
    return original or error


def is_useless(error: BaseException) -> bool:
    """Whether the error shows that the connections opened before it should be replaced."""
    code = sqlstate(error)
    return code.startswith(USELESS) if code else cause_of(error) == NO_CONNECTION


_causes = Causes()


class _AwayIsUnavailable:
    """The block of ``away_is_unavailable``. A generator would cost every statement more."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        if isinstance(error, Exception):
            refuse_away(error)


def refuse_away(error: Exception) -> None:
    """Raises Unavailable, which is counted, if the error shows that the database cannot serve."""
    if (cause := cause_of(error)) is None:
        return
    # A task that is being cancelled breaks its own connection: no sign of the database's.
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error
    raise unavailable(cause) from error


_away = _AwayIsUnavailable()


def away_is_unavailable() -> AbstractContextManager[None]:
    """Turn every sign that the database cannot serve now into Unavailable, and count it."""
    return _away


def unavailable(cause: str) -> Unavailable:
    """Count the cause, and return the error that tells the client."""
    _causes.note(cause)
    return Unavailable(TOO_LONG if cause == CANCELLED else AWAY, cause)
