"""Long work that leaves room for requests, on a thread beside the event loop or on the loop itself.

What computes for long calls ``rest`` often. In a thread that is ``throttled`` it sleeps then: a
thread that computes takes every second turn at the interpreter, five milliseconds long, and a
request has many turns. In ``in_pieces`` it lets the event loop do what is ready. Elsewhere nothing
happens.

The garbage collector is off in a throttled thread, which collects what it left itself as it goes.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

from sqlalchemy.util import await_only, greenlet_spawn

from community_gql.operations.collector import uncollected

T = TypeVar("T")

BURST = 0.0005
"""Seconds of work after which a thread rests at the next opportunity."""
REST = 3
"""How many times as long a thread sleeps."""
PIECE = 0.001
"""Seconds of work on the event loop after which others have their turn."""
TURNS = 4
"""So many they have: a request goes on in several, and should not wait for a piece in each."""

_resting: ContextVar[Callable[[], None] | None] = ContextVar("resting", default=None)
"""What lets others have their turn, where long work is under way."""


def rest() -> None:
    """To be called often by what computes."""
    resting = _resting.get()
    if resting is not None:
        resting()


def resting(step: Callable[..., Any]) -> Callable[..., Any]:
    """``step`` with a ``rest`` before it."""
    get = _resting.get

    @wraps(step)
    def run(*given: Any) -> Any:
        if (rests := get()) is not None:
            rests()
        return step(*given)

    return run


@contextmanager
def throttled() -> Iterator[None]:
    """Let ``rest`` sleep in this thread."""
    began = time.thread_time()

    def sleep() -> None:
        nonlocal began
        if time.thread_time() - began >= BURST:
            gc.collect(0)
            time.sleep(REST * (time.thread_time() - began))
            began = time.thread_time()

    with uncollected():
        token = _resting.set(sleep)
        try:
            yield
        finally:
            _resting.reset(token)
            gc.collect(1)


async def in_pieces(work: Callable[[], T]) -> T:
    """What ``work`` returns, which may await nothing. Between its pieces others have their turn.

    Raises what it raises; where it rests it can be cancelled.
    """
    return await greenlet_spawn(_in_pieces, work)


async def _others_turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


def _in_pieces(work: Callable[[], T]) -> T:
    began = time.perf_counter()

    def give_way() -> None:
        nonlocal began
        if time.perf_counter() - began >= PIECE:
            await_only(_others_turns())
            began = time.perf_counter()

    token = _resting.set(give_way)
    try:
        return work()
    finally:
        _resting.reset(token)
