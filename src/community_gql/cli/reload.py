"""Serving in a process that is started anew when the code changes.

The parent keeps the port and PostgreSQL, so requests that come in between wait for their answer
instead of failing. It looks at the files' times twice a second (decision 110).
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from community_gql.cli.console import say

LOOK_EVERY = 0.5
"""Seconds between two looks at the files."""
PATIENCE = 10
"""Seconds that a server may take to answer what it was asked before it is killed."""

Times = dict[Path, int]


def serve_reloading(
    listener: socket.socket, command: Sequence[str], watched: Sequence[Path]
) -> None:
    """Run ``command`` with the socket, and again whenever a Python file of ``watched`` changes.

    ``{socket}`` in the command becomes the number of the socket's descriptor. Ends by whatever ends
    the parent: a signal becomes an exception, and the server ends with it.
    """
    command = [word.format(socket=listener.fileno()) for word in command]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, pass_fds=[listener.fileno()])

    times = _times(watched)
    server = start()
    told = False
    try:
        while True:
            time.sleep(LOOK_EVERY)
            before, times = times, _times(watched)
            if changed := _changed(before, times):
                say(f"{changed} changed: the server restarts")
                _end(server)
                server, told = start(), False
            elif server.poll() is not None and not told:
                told = True
                say("the server stopped; it starts again when the code changes")
    finally:
        _end(server)


def end_with_parent(end: Callable[[], None]) -> None:
    """Call ``end`` once the process that started this one is gone. Blocks until then."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY)
    end()


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _times(watched: Sequence[Path]) -> Times:
    found: Times = {}
    for folder in watched:
        for path in folder.rglob("*.py"):
            try:
                found[path] = path.stat().st_mtime_ns
            except FileNotFoundError:  # an editor is just replacing it
                continue
    return found


def _changed(before: Times, now: Times) -> str:
    """The name of a file that is new, changed or gone; empty if there is none."""
    different = sorted({path for path, _ in before.items() ^ now.items()})
    return os.path.relpath(different[0]) if different else ""
