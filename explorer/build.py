"""Builds the explorer's pages into the package, unless they are built from just these sources.

    python explorer/build.py [--if-node]

``--if-node`` is for `make run`: without Node it says nothing, and a failure is a sentence and no
failure, because the API does without the pages.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent
BUILD = SOURCES.parent / "src" / "community_gql" / "explorer_build"
STAMP = "built-from"
LOCK = "package-lock.json"
INSTALLED = "node_modules/.installed"
NODE = (20, 19)  # what Vite needs


class BuildError(Exception):
    """Why there is no build, in a sentence or with what a tool said."""


def main() -> int:
    """Build if needed; the exit status."""
    lenient = "--if-node" in sys.argv
    try:
        if lenient and not (shutil.which("node") and shutil.which("npm")):
            return 0
        build()
    except (BuildError, OSError) as error:
        _say(f"the explorer is not built: {error}")
        if lenient:
            _say("the API does without it; `make explorer` tries again")
        return 0 if lenient else 1
    except KeyboardInterrupt:
        return 130
    return 0


def build() -> None:
    """Have the build of these sources in its place. Raises BuildError."""
    wanted = digest()
    if _stamp() == wanted:
        return
    _check_node()
    with open(SOURCES / LOCK) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one builds, the others wait for it
        if _stamp() == wanted:
            return
        installed = SOURCES / INSTALLED
        packages = (SOURCES / LOCK).read_bytes()
        if not installed.exists() or installed.read_bytes() != packages:
            _say("installing the packages of the explorer (once, about 300 MB)")
            _run("npm", "ci", "--no-progress")
            installed.write_bytes(packages)
        _say("building the explorer")
        # Aside and then into place: a failure leaves what was there.
        with tempfile.TemporaryDirectory(dir=BUILD.parent, prefix=".explorer_build-") as folder:
            made = Path(folder) / "build"
            _run("npx", "tsc", "--noEmit")
            _run("npx", "vite", "build", "--logLevel", "error", "--outDir", str(made))
            (made / STAMP).write_text(wanted)
            shutil.rmtree(BUILD, ignore_errors=True)
            made.rename(BUILD)


def digest() -> str:
    """What the build depends on: every source, the settings and the lock."""
    files = [path for path in SOURCES.iterdir() if path.is_file() and path.suffix != ".py"]
    files += (path for path in (SOURCES / "src").rglob("*") if path.is_file())
    found = hashlib.sha256()
    for path in sorted(files):
        found.update(f"{path.relative_to(SOURCES)}\0".encode())
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def _stamp() -> str | None:
    stamp = BUILD / STAMP
    return stamp.read_text() if stamp.exists() else None


def _check_node() -> None:
    needed = f"Node.js {'.'.join(map(str, NODE))} or newer is needed"
    if not shutil.which("node") or not shutil.which("npm"):
        raise BuildError(f"{needed}, and is not installed.")
    done = subprocess.run(["node", "--version"], capture_output=True, text=True)
    found = done.stdout.strip()
    if tuple(int(part) for part in re.findall(r"\d+", found)[:2]) < NODE:
        raise BuildError(f"{needed}; this is {found or 'none that runs'}.")


def _run(*command: str) -> None:
    done = subprocess.run(command, cwd=SOURCES, capture_output=True, text=True)
    if done.returncode != 0:
        said = f"{done.stdout}\n{done.stderr}".strip().splitlines()[-15:]
        raise BuildError("\n".join([f"`{' '.join(command[:2])}` failed:", *said]))


def _say(text: str) -> None:
    sys.stderr.write(f"· {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
