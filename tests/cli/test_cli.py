"""The commands as people run them: processes, ports, signals and what is said."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from community_gql.cli.commands import app
from community_gql.dev.embedded import known_address
from community_gql.dev.embedded.places import place
from community_gql.dev.embedded.process import postmaster
from community_gql.settings import home
from community_gql.settings.checks import plain_address, unusable_proxies

pytestmark = pytest.mark.system

SERVABLE = {
    "DATABASE_URL": "postgresql://u@h/d",
    "OIDC_ISSUER": "http://127.0.0.1:9/",  # nobody listens there
    "AUTH0_AUDIENCE": "https://api.example.com",
}
"""What `serve` needs to get as far as listening."""
COMMAND = shutil.which("community-gql", path=str(Path(sys.executable).parent)) or "community-gql"
WRITE = 'mutation { createGarden(input: {name: "a"}) { garden { name } } }'
EVERY_COMMAND = [
    *(["dev"], ["serve"], ["token"], ["explain"], ["stats"], ["who"]),
    *(["accounts", "export"], ["schema", "export"], ["schema", "check"]),
    *(["tags", name] for name in ("rename", "merge", "delete")),
    *(["db", name] for name in ("upgrade", "downgrade", "current", "seed", "url", "psql", "reset")),
]

needs_migrations = pytest.mark.skipif(
    not (home() / "migrations" / "env.py").is_file(), reason="migrations/ has not landed yet"
)
needs_the_application = pytest.mark.skipif(
    not all(map(find_spec, ("community_gql.app", "community_gql.dev.seeding"))),
    reason="app.py or seeding has not landed yet",
)


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    def run(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [COMMAND, *words],
            env={**environment, **settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert "\x1b[" not in done.stdout + done.stderr  # no colours where nobody sees them
        return done

    return run


@pytest.mark.parametrize("name", ["ALL_PROXY", "https_proxy"])
@pytest.mark.parametrize("address", ["socks5://u:hush@127.0.0.1:9", "http://u:hush@proxy:port"])
def test_a_proxy_that_cannot_be_used_is_named(run: Run, name: str, address: str) -> None:
    done = run("serve", **SERVABLE, **{name: address})
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {name} is wrong: ")
    assert "Correct or unset it." in done.stderr
    assert "hush" not in done.stderr


def test_proxies_that_can_be_used_are_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://user:password@proxy.example.com:3128")
    monkeypatch.setenv("ALL_PROXY", "proxy.example.com:3128")
    assert unusable_proxies() == []
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    assert len(unusable_proxies()) == 1
    monkeypatch.setenv("NO_PROXY", "*")  # the client then ignores every proxy
    assert unusable_proxies() == []
    httpx2.AsyncClient()


def test_a_python_without_docstrings_has_the_same_schema_and_help(run: Run) -> None:
    """Their texts are then read from the source."""
    for words in (("schema", "export"), ("serve", "--help"), ("tags", "rename", "--help")):
        usual, without = run(*words), run(*words, PYTHONOPTIMIZE="2")
        assert (without.returncode, without.stderr) == (0, "")
        assert without.stdout == usual.stdout
    assert usual.stdout


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("words", EVERY_COMMAND, ids=" ".join)
def test_help_has_examples(words: list[str]) -> None:
    done = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "100"})
    assert done.exit_code == 0
    assert re.search(r"Examples?:\s+.*community-gql " + " ".join(words), done.stdout, re.S)


def test_help_is_not_kept_waiting_for_libraries() -> None:
    script = "import sys, community_gql.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert not {"sqlalchemy", "strawberry", "alembic", "uvicorn"} & set(loaded.stdout.split())


def test_version(run: Run) -> None:
    assert re.fullmatch(r"community-gql \d+\.\d+\.\d+\S*\n", run("--version").stdout)


def test_a_mistyped_command_is_an_error(run: Run) -> None:
    assert run("sreve").returncode == 2


def test_serve_names_every_missing_setting(run: Run, data_dir: Path) -> None:
    done = run("serve", PORT="http")
    assert done.returncode == 1
    assert "DATABASE_URL is not set" in done.stderr
    assert "PORT is wrong" in done.stderr
    assert not data_dir.exists()


def test_options_go_before_the_environment(run: Run, taken: int) -> None:
    done = run("serve", "--port", str(taken), PORT="1", **SERVABLE)
    assert f"port {taken} is taken" in done.stderr


def test_a_taken_port_is_an_error_before_anything_is_started(
    run: Run, taken: int, data_dir: Path
) -> None:
    done = run("dev", PORT=str(taken))
    assert done.returncode == 1
    assert f"port {taken} is taken" in done.stderr
    assert f"PORT={taken + 1}" in done.stderr
    assert not place(data_dir / "postgres").folder.exists()


def test_an_address_of_another_machine_is_an_error(run: Run) -> None:
    done = run("serve", HOST="192.0.2.1", **SERVABLE)
    assert done.returncode == 1
    assert "can't listen on 192.0.2.1:8000" in done.stderr


def test_the_development_issuer_stays_away_from_auth0(run: Run) -> None:
    for words in (["dev"], ["token", "ada@example.com"]):
        done = run(*words, AUTH0_DOMAIN="community.eu.auth0.com")
        assert done.returncode == 1
        assert "AUTH0_DOMAIN is set" in done.stderr


def test_psql_and_url_and_reset(run: Run, data_dir: Path) -> None:
    done = run("db", "psql", "-AtX", "-c", "select 6 * 7, current_database()")
    assert (done.returncode, done.stdout) == (0, "42|community\n")
    assert postmaster(place(data_dir / "postgres").data) is None
    url = run("db", "url")
    assert url.stdout.startswith("postgresql://postgres@/community?host=")
    assert "not running" in url.stderr
    assert run("db", "psql", "-c", "nonsense").returncode == 1
    assert run("db", "reset").returncode == 0
    assert not place(data_dir / "postgres").folder.exists()


def test_psql_gets_ctrl_c_and_then_everything_ends(
    environment: dict[str, str], data_dir: Path
) -> None:
    words = [COMMAND, "db", "psql", "-AtX", "-c", "select 'here'", "-c", "select pg_sleep(60)"]
    process = subprocess.Popen(
        words, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout
    assert process.stdout.readline() == "here\n"
    deadline = time.monotonic() + 20
    while process.poll() is None:  # one that comes between two statements cancels nothing
        assert time.monotonic() < deadline
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.3)
    process.communicate()
    while postmaster(place(data_dir / "postgres").data):  # a second Ctrl-C ends the wait for it
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_database_out_of_reach_is_one_sentence(run: Run) -> None:
    done = run("db", "current", DATABASE_URL="postgresql://u:secret@127.0.0.1:1/d")
    assert done.returncode == 1
    assert done.stderr.count("\n") <= 3
    assert "secret" not in done.stderr


def test_a_query_is_explained(run: Run, database_url: str, tmp_path: Path) -> None:
    settings = {"DATABASE_URL": plain_address(database_url)}
    query = "query Some($n: Int!) { stories(first: $n) { nodes { title } } }"
    (tmp_path / "some.graphql").write_text(query)
    for given in (query, str(tmp_path / "some.graphql")):
        done = run("explain", given, "--variables", '{"n": 2}', **settings)
        assert done.returncode == 0, done.stderr
        assert re.match(
            r"1 statement, compiled, [\d.]+ ms in the database, cost \d+\n", done.stdout
        )
        assert "FROM stories" in done.stdout
        assert "actual time=" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{ nothing }"], "Cannot query field 'nothing'"),
        ([WRITE], "only queries are explained"),
        (["nowhere.graphql"], "nowhere.graphql is neither a query nor a file"),
        (["{ __typename }", "--variables", "[]"], "--variables is not a JSON object"),
        (["{ __typename }", "--person", "x@example.com"], "nobody has the address x@example.com"),
    ],
)
def test_what_cannot_be_explained_is_one_sentence(
    run: Run, database_url: str, words: list[str], said: str
) -> None:
    done = run("explain", *words, DATABASE_URL=plain_address(database_url))
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {said}")


@needs_migrations
def test_migrations_up_down_up(run: Run, empty_database_url: Callable[..., str]) -> None:
    settings = {"DATABASE_URL": plain_address(empty_database_url())}
    assert "no revision" in run("db", "current", **settings).stdout
    assert "(head)" in run("db", "upgrade", **settings).stdout
    refused = run("db", "downgrade", "-1", **settings)
    assert refused.returncode == 1
    assert "--yes" in refused.stderr
    assert "(head)" not in run("db", "downgrade", "-1", "--yes", **settings).stdout
    assert "no revision" in run("db", "downgrade", "base", "--yes", **settings).stdout
    done = run("db", "upgrade", **settings)
    assert "(head)" in done.stdout
    assert "Running upgrade" in done.stderr
    assert run("db", "upgrade", "nowhere", **settings).returncode == 1


@needs_the_application
def test_seeding_refuses_a_database_that_holds_people(run: Run, data_dir: Path) -> None:
    assert run("db", "seed", "--people", "20").returncode == 0
    again = run("db", "seed", "--people", "20")
    assert again.returncode == 1
    assert "holds people already" in again.stderr
    token = run("token", "ada@example.com")
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", token.stdout)
    nobody = run("token", "nobody@example.com")
    assert nobody.returncode == 1
    assert "ada@example.com" in nobody.stderr


def answers(port: int) -> bool:
    """Tell whether something speaks HTTP on ``port``."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/graphql", timeout=2).close()
    except urllib.error.HTTPError as refused:
        refused.close()
    except OSError:
        return False
    return True


@needs_the_application
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_dev_from_nothing_to_ctrl_c(
    environment: dict[str, str], data_dir: Path, free: int, tmp_path: Path, number: signal.Signals
) -> None:
    with open(tmp_path / "said", "w") as said:
        process = subprocess.Popen(
            [COMMAND, "dev", "--people", "30"],
            env={**environment, "PORT": str(free)},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    text = ""
    try:
        deadline = time.monotonic() + 60
        while not answers(free):
            text = (tmp_path / "said").read_text()
            assert process.poll() is None, text
            assert time.monotonic() < deadline, text
            time.sleep(0.05)
        text = (tmp_path / "said").read_text()
        assert f"http://127.0.0.1:{free}/graphql" in text
        curl = next(line for line in text.splitlines() if line.startswith("curl "))
        answer = subprocess.run(["bash", "-c", curl], capture_output=True, text=True)
        result = json.loads(answer.stdout)
        assert "errors" not in result, result
        assert result["data"]["viewer"]["user"]["profile"]["displayName"]
        assert result["data"]["viewer"]["user"]["matches"]["nodes"]
        assert known_address(data_dir / "postgres", "community")[1] is True
        if Path("/proc").is_dir():
            status = Path(f"/proc/{process.pid}/status").read_text()
            assert int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) < 200 * 1024
    finally:
        os.killpg(process.pid, number)
        code = process.wait(timeout=30)
    text = (tmp_path / "said").read_text()
    assert "Traceback" not in text, text
    assert (code == 0) is (number == signal.SIGINT), text
    assert postmaster(place(data_dir / "postgres").data) is None
    assert not answers(free)


@needs_the_application
def test_serve_with_workers(
    environment: dict[str, str], database_url: str, free: int, tmp_path: Path
) -> None:
    with open(tmp_path / "said", "w") as said:
        process = subprocess.Popen(
            [COMMAND, "serve", "--workers", "2", "--port", str(free)],
            env={**environment, **SERVABLE, "DATABASE_URL": plain_address(database_url)},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 60
        while not answers(free):
            assert process.poll() is None, (tmp_path / "said").read_text()
            assert time.monotonic() < deadline, (tmp_path / "said").read_text()
            time.sleep(0.05)
    finally:
        process.terminate()
        process.wait(timeout=30)
    assert "Traceback" not in (tmp_path / "said").read_text()
    assert not answers(free)
