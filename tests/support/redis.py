"""A Redis of a test's own, from Debian's ``redis-server``."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.http.server import HOST


@contextmanager
def redis_server(port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """One that answers at ``port`` until the block ends. Skips the test where there is none."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed: apt install redis-server")
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", HOST, "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    try:
        client = [shutil.which("redis-cli") or "redis-cli", "-p", str(port), "ping"]
        for _ in range(100):
            if subprocess.run(client, capture_output=True).stdout.startswith(b"PONG"):
                break
            time.sleep(0.05)
        else:
            raise AssertionError("Redis does not start")
        yield process
    finally:
        process.send_signal(signal.SIGCONT)  # a test that froze it may have failed
        process.terminate()
        process.wait(10)
