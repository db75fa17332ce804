"""Compiling beside the event loop without slowing it.

A thread that computes takes every second turn at the interpreter, five milliseconds long, and a
request has many turns. So the compiler rests after each burst of work, three times as long.

The garbage collector is off meanwhile, and collects what the compiler itself left as it goes.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from community_gql.operations.collector import uncollected

BURST = 0.0005
"""Seconds of work after which the thread rests at the next opportunity."""
REST = 3
"""How many times as long."""

_thread = threading.local()


@contextmanager
def throttled() -> Iterator[None]:
    """Let ``rest`` rest in this thread."""
    with uncollected():
        _thread.since = time.thread_time()
        try:
            yield
        finally:
            del _thread.since
            gc.collect(1)


def rest() -> None:
    """To be called often by what computes. Does nothing in a thread that is not throttled."""
    since = getattr(_thread, "since", None)
    if since is None:
        return
    if time.thread_time() - since >= BURST:
        gc.collect(0)
        time.sleep(REST * (time.thread_time() - since))
        _thread.since = time.thread_time()
