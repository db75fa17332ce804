"""The programs of PostgreSQL: making the data, starting a server, finding one that runs."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from community_gql.dev.embedded.places import (
    PORT,
    ROOT_ACCOUNT,
    SOCKET,
    SUPERUSER,
    EmbeddedPostgresError,
    Place,
    own_folder,
)

START_SECONDS = 300  # recovery after a power cut may be slow; a dead process is noticed at once

# Sorting by code point never changes with the operating system, so indexes stay valid; lower()
# and the regular expressions still know all of Unicode. LC_CTYPE is what the text search parser
# uses to tell letters from quotation marks and dashes.
LOCALE = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")

STATISTICS = {"shared_preload_libraries": "pg_stat_statements"}  # `community-gql stats` reads them
LASTING = {"max_connections": "100", **STATISTICS}
THROWAWAY = {
    "max_connections": "200",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    **STATISTICS,
}


@dataclass(frozen=True)
class Postmaster:
    """What a running server says of itself in ``postmaster.pid``."""

    pid: int
    sockets: Path
    ready: bool


def postmaster(data: Path) -> Postmaster | None:
    """Return the server that really runs on ``data``: alive, and started for this folder.

    A number in ``postmaster.pid`` proves nothing: after a crash or in a new container it may
    belong to anything. Such a file counts as no server.
    """
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        pid = int(lines[0])
    except (OSError, ValueError, IndexError):
        return None
    if not serves(pid, data):
        return None
    sockets = lines[4].strip() if len(lines) > 4 else ""
    status = lines[7].strip() if len(lines) > 7 else ""
    return Postmaster(pid, Path(sockets), bool(sockets) and status == "ready")


def serves(pid: int, data: Path) -> bool:
    """Tell whether process ``pid`` is a PostgreSQL that was started with ``-D data``."""
    if pid <= 1:
        return False
    if Path("/proc/self/cmdline").exists():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return len(words) > 2 and words[1:3] == [b"-D", os.fsencode(data)]
    shown = subprocess.run(
        ["ps", "-ww", "-p", str(pid), "-o", "command="], capture_output=True, check=False
    )
    return b" -D " + os.fsencode(data) in shown.stdout


def spawn(where: Place, words: Sequence[str], output: IO[bytes] | int) -> subprocess.Popen[bytes]:
    """Start a PostgreSQL program as the server's account, all its output going to ``output``.

    Its own session keeps Ctrl-C in the terminal away from it. The working directory must be one
    that the account may enter.
    """
    account = where.account
    environment = dict(os.environ)
    if account:
        environment |= {"HOME": str(where.folder), "USER": ROOT_ACCOUNT, "LOGNAME": ROOT_ACCOUNT}
    try:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=where.folder,
            start_new_session=True,
            umask=0o077,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedPostgresError(cannot_run(where, words[0], error)) from None


def run(where: Place, *words: str | Path) -> tuple[int, str]:
    """Run a PostgreSQL program to its end; return its exit code and all it said."""
    process = spawn(where, [str(word) for word in words], subprocess.PIPE)
    try:
        output, _ = process.communicate()
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process.returncode, output.decode(errors="replace").strip()


def cannot_run(where: Place, program: str, error: Exception) -> str:
    """Say why a program could not even be started."""
    who = f" as {ROOT_ACCOUNT}" if where.account else ""
    return f"can't run {program}{who}: {error}. Set DATABASE_URL to a database to do without it."


def make_data(where: Place, bin_folder: Path, *, throwaway: bool) -> None:
    """Make the data directory, whole or not at all: an interrupted initdb leaves no half."""
    if where.account is None:
        require_name(os.geteuid())
    making = Path(tempfile.mkdtemp(prefix="making-", dir=where.folder))
    if where.account:
        os.chown(making, where.account.uid, where.account.gid)
    words: list[str | Path] = [bin_folder / "initdb", "-D", making, "-U", SUPERUSER]
    words += ["--encoding=UTF8", *LOCALE]
    words += ["--auth-local=trust", "--auth-host=reject", "--no-instructions"]
    words += ["--no-sync"] if throwaway else []
    try:
        code, said = run(where, *words, "--lc-ctype=C.UTF-8")
        if code and "locale" in said:  # macOS before 15 has no C.UTF-8
            shutil.rmtree(making)
            own_folder(making, 0o700, where.account)
            code, said = run(where, *words)
        if code:
            raise EmbeddedPostgresError(
                f"initdb could not make a database in {where.folder}:\n{said}"
            )
        making.rename(where.data)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def require_name(uid: int) -> None:
    """Refuse an account without a name, as containers may have: initdb does."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        raise EmbeddedPostgresError(
            f"PostgreSQL can make its data only for a user with a name, and user {uid} has none "
            "here. Run the command as another user, give this one a line in /etc/passwd, or set "
            "DATABASE_URL to a database."
        ) from None


def check_release(where: Place, bin_folder: Path) -> None:
    """Refuse data that another major release of PostgreSQL made, before it does so in its log."""
    ours = run(where, bin_folder / "postgres", "--version")[1].split()[-1]
    theirs = (where.data / "PG_VERSION").read_text().strip()
    if ours.split(".")[0] != theirs:
        raise EmbeddedPostgresError(
            f"the data in {where.data} was made by PostgreSQL {theirs}, and this is {ours}. It is "
            "development data: remove that folder to start again, or move it away to keep it."
        )


def launch(where: Place, bin_folder: Path, *, throwaway: bool) -> subprocess.Popen[bytes]:
    """Start the server and wait until it takes connections."""
    for leftover in (where.data / "postmaster.pid", *where.sockets.glob(f"{SOCKET}*")):
        leftover.unlink(missing_ok=True)  # postmaster() said that no server owns them
    options = {
        "listen_addresses": "",
        "port": str(PORT),
        "unix_socket_directories": str(where.sockets),
        "unix_socket_permissions": "0700",
        "timezone": "UTC",
        "log_timezone": "UTC",
        **(THROWAWAY if throwaway else LASTING),
    }
    words = [str(bin_folder / "postgres"), "-D", str(where.data)]
    words += [part for name, item in options.items() for part in ("-c", f"{name}={item}")]
    if where.log.exists():
        where.log.replace(where.log.with_suffix(".log.1"))
    with open(where.log, "ab") as log:
        started = spawn(where, words, log)
    try:
        wait_ready(where, started.pid, lambda: started.poll() is None)
    except BaseException:
        started.kill()
        started.wait()
        raise
    return started


def wait_ready(where: Place, pid: int, alive: Callable[[], bool]) -> None:
    """Wait until server ``pid`` takes connections; fail at once if it ends before."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        found = postmaster(where.data)
        if found and found.pid == pid and found.ready:
            return
        if not alive():
            raise EmbeddedPostgresError(f"PostgreSQL did not start. {last_words(where)}")
        time.sleep(0.02)
    raise EmbeddedPostgresError(
        f"PostgreSQL was not ready after {START_SECONDS} seconds. {last_words(where)}"
    )


def last_words(where: Place) -> str:
    """Return the end of the server's log for an error text."""
    try:
        lines = where.log.read_text(errors="replace").splitlines()[-12:]
    except OSError:
        lines = []
    return "\n".join([f"The end of its log, {where.log}:", *(f"  {line}" for line in lines)])
