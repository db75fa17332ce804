"""What ties a request to the records that others keep of it: its id, and its trace."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from contextvars import ContextVar
from itertools import chain
from typing import Any, Protocol
from weakref import WeakSet

_SANE = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")
_TRACEPARENT = re.compile(  # W3C Trace Context; versions to come may append to it
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.{0,256})?"
)
_DIGITS = 24
_TOGETHER = 100
_PLACES = [slice(start, start + _DIGITS) for start in range(0, _TOGETHER * _DIGITS, _DIGITS)]

current: ContextVar[bytes | None] = ContextVar("id of the request", default=None)
"""The id of the request that is being answered, for what is logged meanwhile."""


class Answering(Protocol):
    """What answers requests in tasks of their own, without setting ``current`` in each."""

    def id_of(self, task: asyncio.Task[Any]) -> bytes | None:
        """The id of the request that the task answers."""


answering: WeakSet[Answering] = WeakSet()


def current_id() -> str | None:
    """The id of the request that is being answered, if one is."""
    found = current.get()
    if found is None:
        try:
            task = asyncio.current_task()
        except RuntimeError:  # there is no loop
            task = None
        if task is not None:
            ids = [each.id_of(task) for each in answering]
            found = next((each for each in ids if each is not None), None)
    return None if found is None else found.decode("ascii")


def _some() -> list[bytes]:
    drawn = secrets.token_hex(_TOGETHER * _DIGITS // 2).encode()
    return [drawn[place] for place in _PLACES]


new_id: Callable[[], bytes] = chain.from_iterable(iter(_some, None)).__next__
"""A new id, of random digits: whoever sees two of them learns nothing of what was answered between.
Each request needs one: they are drawn many at once, and then are taken."""


def request_id(given: bytes) -> bytes:
    """The id that the client or a proxy gave, if it may stand in a log; else a new one.

    It is ASCII without quotation marks and backslashes.
    """
    return given if given and _SANE.fullmatch(given) else new_id()


def trace_id(traceparent: bytes) -> str | None:
    """The trace that a ``traceparent`` field names, 32 hexadecimal digits; None if it is broken."""
    found = _TRACEPARENT.fullmatch(traceparent)
    return found[1].decode("ascii") if found else None
