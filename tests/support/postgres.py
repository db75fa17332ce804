"""PostgreSQL servers of a test's own, which it may freeze, kill and promote."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from community_gql.dev import embedded
from community_gql.dev.embedded import places, process

QUICK = "fsync = off\nfull_page_writes = off\nautovacuum = off\n"


@dataclass
class OwnServer:
    """A server that runs; ``where`` says where."""

    where: places.Place
    bin: Path
    pid: int

    @property
    def sockets(self) -> str:
        """What is ``host`` in its address."""
        return str(self.where.sockets)

    def url(self, database: str) -> str:
        """The address of a database."""
        return f"postgresql+asyncpg{embedded.address(self.where.sockets, database)}"

    def processes(self) -> list[int]:
        """All its processes, the first one first."""
        found = [self.pid]
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(stat.read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == self.pid:
                found.append(int(stat.parent.name))
        return found

    @contextmanager
    def frozen(self, seconds: float = 30) -> Iterator[None]:
        """It answers nothing: every process of it stands still until the end of the block.

        Or for so many seconds: a test that fails must not hang.
        """
        stopped: list[int] = []

        def go_on() -> None:
            for pid in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

        timer = threading.Timer(seconds, go_on)
        timer.start()
        try:
            for pid in self.processes():
                os.kill(pid, signal.SIGSTOP)
                stopped.append(pid)
            yield
        finally:
            timer.cancel()
            go_on()

    def stop(self, mode: str = "immediate", *more: str) -> None:
        """Stop it: ``immediate`` is a crash, ``smart`` waits for its sessions."""
        words = ("-m", mode, "-t", "60", *more, "stop")
        process.run(self.where, self.bin / "pg_ctl", "-D", self.where.data, *words)

    @contextmanager
    def again(self) -> Iterator[OwnServer]:
        """The server, started once more after ``stop``, until the end of the block."""
        with _running(self.where, self.bin) as server:
            yield server

    def run(self, program: str, *words: str | Path) -> str:
        """Run one of PostgreSQL's programs as the server's account, and return what it says."""
        code, said = process.run(self.where, self.bin / program, *words)
        assert code == 0, said
        return said

    def promote(self) -> None:
        """Make the standby a primary."""
        words: tuple[str | Path, ...] = ("-D", self.where.data, "-t", "60", "promote")
        code, said = process.run(self.where, self.bin / "pg_ctl", *words)
        assert code == 0, said

    @contextmanager
    def standby(self) -> Iterator[OwnServer]:
        """A standby that follows this server, until the end of the block."""
        with _place() as where:
            words = ("-h", self.sockets, "-p", str(places.PORT), "-U", places.SUPERUSER)
            more = ("-R", "-X", "stream", "-c", "fast", "--no-sync")
            program = self.bin / "pg_basebackup"
            code, said = process.run(where, program, "-D", where.data, *words, *more)
            assert code == 0, said
            with _running(where, self.bin) as server:
                yield server


@contextmanager
def own_server() -> Iterator[OwnServer]:
    """A server that can have standbys, until the end of the block; it survives no power cut."""
    with _place() as where:
        bin_folder = places.binaries(where.account)
        process.make_data(where, bin_folder, throwaway=True)
        with (where.data / "postgresql.conf").open("a") as settings:
            settings.write(QUICK)
        with _running(where, bin_folder) as server:
            yield server


@contextmanager
def _place() -> Iterator[places.Place]:
    account = places.root_account() if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="community-gql-own-"))
    try:
        if account:
            os.chown(folder, account.uid, account.gid)
        where = places.Place(folder, folder / "run", account)
        places.own_folder(where.sockets, 0o700, account)
        yield where
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(where: places.Place, bin_folder: Path) -> Iterator[OwnServer]:
    started = process.launch(where, bin_folder, throwaway=False)
    server = OwnServer(where, bin_folder, started.pid)
    try:
        yield server
    finally:
        if started.poll() is None:
            server.stop()
        started.wait(60)
