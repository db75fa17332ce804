"""Builds the explorer's pages into the package, unless they are built from just these sources.

    python explorer/build.py [--if-node]

``--if-node`` is for `make run`, which serves meanwhile: without Node it says nothing, and a failure
is a sentence and no failure, because the API does without the pages. What happens is also written
to ``PROGRESS``, for the page that stands in for the explorer until then.
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCES = Path(__file__).parent
BUILD = SOURCES.parent / "src" / "community_gql" / "explorer_build"
PROGRESS = BUILD.with_name(".explorer_build-progress")
"""What is being done, while somebody holds a lock on it; after a failure, what went wrong."""
STAMP = "built-from"
LOCK = "package-lock.json"
INSTALLED = "node_modules/.installed"
NODE = (20, 19)  # what Vite needs


class BuildError(Exception):
    """Why there is no build, in a sentence or with what a tool said."""


def main() -> int:
    """Build if needed; the exit status."""
    lenient = "--if-node" in sys.argv
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what is half built is removed
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
    with _progress() as say:  # one builds, the others wait for it
        if _stamp() == wanted:
            return
        installed = SOURCES / INSTALLED
        packages = (SOURCES / LOCK).read_bytes()
        if not installed.exists() or installed.read_bytes() != packages:
            say("installing the packages of the explorer (once; 300 MB on disk)")
            _run("npm", "ci", "--no-progress", "--no-audit", "--no-fund")
            installed.write_bytes(packages)
        say("building the explorer")
        # Aside and then into place: a failure leaves what was there.
        with tempfile.TemporaryDirectory(dir=BUILD.parent, prefix=".explorer_build-") as folder:
            made = Path(folder) / "build"
            _run("npx", "tsc", "--noEmit")
            _run("npx", "vite", "build", "--logLevel", "error", "--outDir", str(made))
            (made / STAMP).write_text(wanted)
            shutil.rmtree(BUILD, ignore_errors=True)
            made.rename(BUILD)
        say("the explorer is built")


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Be the only one who builds. Yields a function that says (also to the page) what is done."""
    with open(PROGRESS, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        def note(text: str) -> None:
            file.seek(0)
            file.truncate()
            file.write(text)
            file.flush()

        def say(text: str) -> None:
            note(text)
            _say(text)

        note("")
        try:
            yield say
        except (BuildError, OSError) as error:
            note(f"The explorer could not be built: {error}")
            raise
        except BaseException:
            note("")
            raise
        note("")


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
