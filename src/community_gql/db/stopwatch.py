"""How long an operation waits for connections, and its statements take in the database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """How long statements took, in seconds, and beside it waiting for connections and compiling.

    What nothing was added to is the class's: each request makes one.
    """

    seconds: float = 0.0
    pool_seconds: float = 0.0
    compile_seconds: float = 0.0

    def add(self, other: Stopwatch) -> None:
        """Add what another one counted."""
        self.seconds += other.seconds
        self.pool_seconds += other.pool_seconds
        self.compile_seconds += other.compile_seconds

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count what the block takes as waiting for a connection, also when it fails."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.pool_seconds += time.perf_counter() - start

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what the block takes, also when it fails."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start
