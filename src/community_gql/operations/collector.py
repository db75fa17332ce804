"""Switching off the garbage collector for a while.

The many small objects of a document or a statement set off collections of all that the process
holds, 30 ms each. They took more time than what made the objects.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_lock = Lock()
_paused = 0
_was_enabled = False


@contextmanager
def uncollected() -> Iterator[None]:
    """Let the collector rest, until the last thread that asked for it leaves the block."""
    global _paused, _was_enabled
    with _lock:
        if not _paused:
            _was_enabled = gc.isenabled()
            gc.disable()
        _paused += 1
    try:
        yield
    finally:
        with _lock:
            _paused -= 1
            if not _paused and _was_enabled:
                gc.enable()
