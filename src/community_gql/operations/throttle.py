"""Compiling beside the event loop without slowing it.

A thread that computes takes every second turn at the interpreter, five milliseconds long, and a
request has many turns. So the compiler rests after each burst of work, three times as long.

Its many small objects would also set off collections of all that the process holds, 30 ms each,
which took a quarter of the time. So those are off meanwhile, and its own are collected as it goes.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

BURST = 0.0005
"""Seconds of work after which the thread rests at the next opportunity."""
REST = 3
"""How many times as long."""

_thread = threading.local()


@contextmanager
def paced() -> Iterator[None]:
    """Let ``rest`` rest in this thread."""
    enabled = gc.isenabled()
    gc.disable()
    _thread.since = time.thread_time()
    try:
        yield
    finally:
        del _thread.since
        gc.collect(1)
        if enabled:
            gc.enable()


def rest() -> None:
    """To be called often by what computes. Does nothing in a thread that is not paced."""
    since = getattr(_thread, "since", None)
    if since is None:
        return
    if time.thread_time() - since >= BURST:
        gc.collect(0)
        time.sleep(REST * (time.thread_time() - since))
        _thread.since = time.thread_time()
