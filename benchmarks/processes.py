"""Server processes: how they are started, and what the kernel says that they used."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
START_SECONDS = 90
ROOT = Path(__file__).resolve().parents[1]


class Failed(Exception):
    """A program did not do what it should; the text says what, and where to look."""


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Process:
    """A server process of its own, with its log in a file."""

    def __init__(
        self, words: Sequence[str], environment: Mapping[str, str], port: int, log: Path
    ) -> None:
        self.port, self._log = port, log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                words,
                env=dict(environment),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._popen.poll() is not None:
                raise Failed(f"ended with {self._popen.returncode}: {self.last_words()}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.05)
        raise Failed(f"did not listen within {START_SECONDS} s: {self.last_words()}")

    def last_words(self) -> str:
        """The end of its log, and where the rest is."""
        text = self._log.read_text(errors="replace").strip().splitlines()[-12:]
        return "\n    ".join([f"see {self._log}", *text])

    @property
    def pid(self) -> int:
        """Its number."""
        return self._popen.pid

    def stop(self, seconds: float = 5) -> None:
        """End it; by force if that takes longer."""
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
            try:
                self._popen.wait(seconds)
            except subprocess.TimeoutExpired:
                self._popen.kill()
        self._popen.wait()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    def cpu(self) -> float:
        """Seconds of processor time that it and its children have used."""
        return cpu_of(self._popen.pid)

    def peak_memory(self) -> int:
        """The most bytes that it has held at once, its children's added."""
        return self._memory("VmHWM:")

    def memory(self) -> int:
        """The bytes that it holds now, its children's added."""
        return self._memory("VmRSS:")

    def _memory(self, member: str) -> int:
        total = 0
        for pid in _tree(self._popen.pid):
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith(member):
                        total += int(line.split()[1]) * 1024
        return total


def cpu_of(pid: int) -> float:
    """Seconds of processor time of a process, its children, and those it has already buried."""
    ticks = 0
    for member in _tree(pid):
        with contextlib.suppress(OSError):
            fields = _stat(member)
            # Of the dead, their parents keep the sum: cutime and cstime.
            ticks += sum(int(fields[i]) for i in (11, 12, 13, 14))
    return ticks / TICK


def nanoseconds_of(pid: int) -> int:
    """Processor time of the threads and children that a process has now: exact, for little work."""
    total = 0
    for member in _tree(pid):
        for thread in Path(f"/proc/{member}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                total += int(thread.read_text().split()[0])
    return total


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on: the second may hold blanks."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _tree(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(_stat(int(folder.name))[1]), []).append(int(folder.name))
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, ())
    return found
