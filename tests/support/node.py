"""Packages of npm for tests: installed if their lock has changed; without Node, a visible skip."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest


def installed(folder: Path, why: str) -> Path:
    """The folder, with the packages of its lock; the skip says ``why`` Node is needed."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip(f"Node is not installed: {why} needs it")
    wanted = (folder / "package-lock.json").read_bytes()
    stamp = folder / "node_modules" / ".installed"
    with open(folder / "package.json") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one worker installs, the others wait for it
        if not stamp.exists() or stamp.read_bytes() != wanted:
            done = subprocess.run(
                ["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True
            )
            assert done.returncode == 0, f"npm ci failed:\n{done.stderr}"
            stamp.write_bytes(wanted)
    return folder
