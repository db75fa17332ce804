from __future__ import annotations

import asyncio
import json
import socket
import struct
from pathlib import Path
from ssl import get_default_verify_paths
from urllib.parse import parse_qsl, urlsplit

import asyncpg
import pytest
from asyncpg.exceptions import TargetServerAttributeNotMatched
from pydantic import ValidationError

from community_gql.db.connecting import connect, engine
from community_gql.dev.embedded import EmbeddedPostgres
from community_gql.settings import Settings, SettingsError, home
from community_gql.settings.address import database_address, driver_addresses, plain_address

URL = "postgresql://someone:secret@db.example.com/community"


@pytest.fixture(autouse=True)
def only_these(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def settings_table() -> str:
    """The table of docs/operations.md."""
    rows = ["| setting | default | what it is |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and "shown_default" in extra:
            default = str(extra["shown_default"])
        elif field.is_required():
            default = ""
        else:
            value = field.default
            default = f"`{value if isinstance(value, str) else json.dumps(value)}`"
        rows.append(f"| `{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


def test_the_guide_has_every_setting() -> None:
    guide = (home() / "docs" / "operations.md").read_text()
    assert settings_table() in guide, f"docs/operations.md needs this table:\n{settings_table()}"


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", URL)
    settings = Settings.load()
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, 1)
    assert settings.data_dir == home() / ".data"
    assert (settings.database_pool_size, settings.database_pool_timeout) == (10, 5)
    assert (settings.statement_timeout, settings.request_timeout) == (14, 15)
    assert not settings.database_pgbouncer


def test_the_environment_and_what_goes_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", URL)
    monkeypatch.setenv("PORT", " 9000 ")
    monkeypatch.setenv("WORKERS", "")
    monkeypatch.setenv("LOG_LEVEL", "WARNING")
    monkeypatch.setenv("DATABASE_PGBOUNCER", "true")
    settings = Settings.load(host="0.0.0.0", workers=None)
    assert (settings.host, settings.port, settings.workers) == ("0.0.0.0", 9000, 1)
    assert settings.log_level == "warning"
    assert settings.database_pgbouncer
    assert Settings.load(port=1234).port == 1234


def test_frozen_and_silent_about_the_password() -> None:
    settings = Settings.load(database_url=URL)
    assert "secret" not in repr(settings)
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1


def test_every_missing_and_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "eighty")
    monkeypatch.setenv("WORKERS", "0")
    monkeypatch.setenv("LOG_LEVEL", "loud")
    monkeypatch.setenv("DATABASE_PGBOUNCER", "perhaps")
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    lines = str(caught.value).splitlines()
    assert [line.split()[0] for line in lines] == [
        "DATABASE_URL",
        "DATABASE_PGBOUNCER",
        "PORT",
        "WORKERS",
        "LOG_LEVEL",
    ]
    assert lines[0].startswith("DATABASE_URL is not set.")
    assert "postgresql://user:password@" in lines[0]
    assert lines[2] == "PORT is wrong: 'eighty' given, but it must be a whole number."
    assert "'debug', 'info', 'warning' or 'error'" in lines[4]


def test_timeouts_must_be_in_order() -> None:
    with pytest.raises(SettingsError, match=r"STATEMENT_TIMEOUT \(20 s\) must be below"):
        Settings.load(database_url=URL, statement_timeout=20)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        # PostgreSQL would take them for 0, which is no timeout at all.
        ("statement_timeout", "0.0009"),
        ("lock_timeout", "0.0009"),
        ("max_answer_bytes", "10000000000000000000000"),
        # Commas alone: a variable of a script was empty.
        ("session_secret", ","),
        ("trusted_proxies", " , ,"),
        *(
            ("cors_origins", f"https://app.example.com,{origin}")
            for origin in (
                *("https://", "https://App.example.com", "https://a.example.com:443", "null", "*"),
                *(
                    "https://u:p@a.example.com",
                    "https://*.example.com",
                    "https://a b",
                    "https://a/",
                ),
                *("http://a:80", "https://a:999999", "https://a:", "https://[::1"),
            )
        ),
        *(
            ("redis_url", address)
            for address in (
                *("redis://", "redis://h", "redis://h:99999999", "redis://h:x", "redis://[::1"),
                *("rediss://h:6379/abc", "redis+unix://", "http://h:6379", "h:6379"),
            )
        ),
    ],
)
def test_nonsense_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name.upper(), value)
    with pytest.raises(SettingsError, match=rf"^{name.upper()} is wrong: .+\.$"):
        Settings.load(database_url=URL)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("statement_timeout", "0.001"),
        ("cors_origins", "https://app.example.com,http://localhost:5173,http://[::1]:8044"),
        ("redis_url", "redis://:secret@redis.example.com:6379/0"),
        ("redis_url", "rediss://h:6379"),
        ("redis_url", "redis+unix:///run/redis.sock"),
    ],
)
def test_what_is_good_is_taken(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name.upper(), value)
    assert getattr(Settings.load(database_url=URL), name)


def test_an_operation_may_cost_what_a_minute_holds() -> None:
    given = {"database_url": URL, "auth0_domain": "a.eu.auth0.com", "auth0_audience": "https://a"}
    assert Settings.load_to_serve(**given, cost_limit=10, cost_per_minute=10)
    with pytest.raises(SettingsError, match=r"COST_LIMIT \(11\) must not be above COST_PER_MINUTE"):
        Settings.load_to_serve(**given, cost_limit=11, cost_per_minute=10)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_address_schemes(scheme: str) -> None:
    given = f" {scheme}://u:p%40ss@h:6432/d?sslmode=require "
    assert database_address(given) == "postgresql+asyncpg://u:p%40ss@h:6432/d?sslmode=require"
    assert (
        plain_address(database_address(given)) == "postgresql://u:p%40ss@h:6432/d?sslmode=require"
    )


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("mysql://u:secret@h/d", "must be a PostgreSQL address"),
        ("postgresql+psycopg://u:secret@h/d", "must be a PostgreSQL address"),
        ("postgresql://u:secret@h", "names no database"),
        ("postgresql://u:secret@h/", "names no database"),
        ("postgresql:///d", "names no host"),
        ("postgresql://u:sec#ret@h/d", "write %23"),
        ("postgresql://u:secret@h:port/d", "percent-encoded"),
        ("postgresql://u:secret@h:0/d", "between 1 and 65535"),
        ("postgresql://u:secret@h/d?sslmode=maybe", "sslmode must be one of"),
        ("postgresql://u:secret@h/d?schema=x", "parameter schema"),
        ("postgresql://u:secret@h/d?service=x", "parameter service"),
        ("postgresql://u:secret@h/d?hostaddr=10.0.0.1", "parameter hostaddr"),
        ("postgresql://u:secret@h/d?host=other", "names its host twice"),
        ("postgresql://u:secret@a:1,b:x/d", "percent-encoded"),
        ("postgresql://u:sec@ret@h/d", "percent-encoded"),
        ("postgresql://u:secret@/d?host=a,b,c&port=1,2", "another number of ports"),
        ("postgresql://u:secret@h/d?target_session_attrs=writable", "target_session_attrs must be"),
        ("postgresql://u:secret@h/d?channel_binding=require", "channel_binding=require can't"),
        (
            "postgresql://u:secret@h/d?sslmode=require&channel_binding=require",
            "sslmode=verify-full with sslrootcert",
        ),
        ("postgresql://u:secret@h/d?gssencmode=require", "gssencmode can only be"),
        ("postgresql://u:secret@h/d?load_balance_hosts=random", "load_balance_hosts can only be"),
        ("postgresql://u:secret@h/d?connect_timeout=soon", "whole number of seconds"),
        ("postgresql://u:secret@h/d?sslrootcert=/secret/missing", "sslrootcert names a file"),
        ("postgresql://u:secret@h/d?passfile=/secret/missing", "passfile names a file"),
        ("postgresql://u:secret@h/d?sslmode=verify-full", "needs sslrootcert"),
        (
            "postgresql://u:secret@h/d?sslmode=require&sslrootcert=system",
            "sslrootcert=system needs sslmode=verify-full",
        ),
        ("host=h password=secret", "names no database"),
        ("dbname=d password=secret", "names no host"),
        ("host=h dbname='d password=secret", "keywords can't be read"),
        ("host=h dbname=d password=secret x=1", "parameter x"),
    ],
)
def test_wrong_addresses_are_explained_without_their_password(address: str, reason: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load(database_url=address)
    assert str(caught.value).startswith("DATABASE_URL is wrong: ")
    assert reason in str(caught.value)
    assert "secret" not in str(caught.value)


MADE = "postgresql+asyncpg://"


@pytest.mark.parametrize(
    ("given", "made"),
    [
        # what hosting providers write
        ("u:p@h/d?sslmode=require&application_name=x", None),
        ("u:p@h/d?channel_binding=prefer&gssencmode=prefer", "u:p@h/d"),
        ("u:p@h/d?connect_timeout=10", None),
        ("u:p@h/d?options=endpoint%3Dx-1", None),
        ("u:p@h:6543/d?target_session_attrs=read-write", None),
        # several hosts, in both places
        ("u:p@a,b:6432/d?sslmode=require", "u:p@/d?sslmode=require&host=a%2Cb&port=5432%2C6432"),
        ("u:p@[::1]:1,b/d", "u:p@/d?host=%3A%3A1%2Cb&port=1%2C5432"),
        ("u@[::1]:6432/d", None),
        ("/d?user=u&host=/run/one,/run/two", "/d?user=u&host=%2Frun%2Fone%2C%2Frun%2Ftwo"),
        ("h?dbname=d&user=u&password=p", None),
    ],
)  # fmt: skip
def test_addresses_that_others_write(given: str, made: str | None) -> None:
    assert database_address(f"postgresql://{given}") == MADE + (made or given)


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("host=h dbname=d", "/d?host=h"),
        (
            r"host=h port=6432 user=u password='it\'s a \\ @' dbname='a b'",
            "u:it%27s%20a%20%5C%20%40@/a%20b?host=h&port=6432",
        ),
        ("host = a,b  dbname=d\tsslmode=require ", "/d?host=a%2Cb&sslmode=require"),
        ("host=h dbname=d password=", "/d?host=h"),
    ],
)
def test_the_form_of_keywords(given: str, made: str) -> None:
    assert database_address(given) == MADE + made


def test_the_certificates_of_the_system() -> None:
    found = database_address(
        "postgresql://u@h/d?sslrootcert=system&channel_binding=require&sslmode=verify-full"
    )
    query = dict(parse_qsl(urlsplit(found).query))
    assert query == {"sslmode": "verify-full", "sslrootcert": get_default_verify_paths().cafile}


def test_each_host_is_an_address_for_the_driver() -> None:
    url = database_address("postgresql://u:p@a:1,b:2/d?connect_timeout=3&sslmode=require")
    assert driver_addresses(url) == (
        [
            "postgresql://u:p@/d?sslmode=require&host=a&port=1",
            "postgresql://u:p@/d?sslmode=require&host=b&port=2",
        ],
        3.0,
    )
    assert driver_addresses(database_address("postgresql://u@a/d?connect_timeout=0")) == (
        ["postgresql://u@a/d"],
        None,
    )


async def test_both_forms_of_an_address_reach_the_database(postgres: EmbeddedPostgres) -> None:
    address = database_address(plain_address(postgres.url("postgres")))
    made = engine(address)
    async with made.connect() as connection:
        assert (await connection.exec_driver_sql("SELECT 1")).scalar() == 1
    await made.dispose()
    plain = await asyncpg.connect(plain_address(address))
    await plain.close()


async def shown(url: str, setting: str) -> str:
    connection = await connect(url, server_settings={"application_name": "ours"})
    try:
        found: str = await connection.fetchval(f"SHOW {setting}")
        return found
    finally:
        await connection.close()


async def test_what_an_address_asks_for_is_done(postgres: EmbeddedPostgres) -> None:
    sockets = dict(parse_qsl(urlsplit(postgres.url("x")).query))["host"]
    place = f"postgresql://postgres@/postgres?host={sockets}&port=5432"
    assert await shown(database_address(place), "application_name") == "ours"
    named = database_address(f"{place}&application_name=theirs&options=-c%20work_mem%3D7MB")
    assert await shown(named, "application_name") == "theirs"
    assert await shown(named, "work_mem") == "7MB"
    words = f"host={sockets} user=postgres dbname=postgres target_session_attrs=read-write"
    assert await shown(database_address(words), "transaction_read_only") == "off"
    with pytest.raises(TargetServerAttributeNotMatched):
        await shown(database_address(f"{place}&target_session_attrs=standby"), "work_mem")
    preferred = database_address(f"{place}&target_session_attrs=prefer-standby")
    assert await shown(preferred, "transaction_read_only") == "off"


async def test_a_host_that_does_not_answer_does_not_use_up_the_time_of_the_next(
    postgres: EmbeddedPostgres,
) -> None:
    sockets = dict(parse_qsl(urlsplit(postgres.url("x")).query))["host"]
    with socket.create_server(("127.0.0.1", 0)) as mute:  # accepts, and says nothing
        port = mute.getsockname()[1]
        two = f"?host=127.0.0.1,{sockets}&port={port},5432&connect_timeout=1"
        url = database_address(f"postgresql://postgres@/postgres{two}")
        assert await asyncio.wait_for(shown(url, "transaction_read_only"), 30) == "off"


async def test_the_password_comes_from_the_file_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver sends it to a server that asks for one: one that only listens to it."""
    asked: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!i", await reader.readexactly(4))
        await reader.readexactly(length - 4)
        writer.write(b"R" + struct.pack("!ii", 8, 3))  # AuthenticationCleartextPassword
        kind, length = struct.unpack("!ci", await reader.readexactly(5))
        assert kind == b"p"
        asked.set_result((await reader.readexactly(length - 4)).rstrip(b"\0"))
        writer.close()

    async with await asyncio.start_server(server, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        file = tmp_path / "pgpass"
        file.write_text(f"127.0.0.1:{port}:d:u:from the file\n")
        file.chmod(0o600)
        monkeypatch.setenv("PGPASSFILE", str(file))
        url = database_address(f"postgresql://u@127.0.0.1:{port}/d?sslmode=disable")
        with pytest.raises((OSError, asyncpg.PostgresError)):
            await connect(url, seconds=20)
        assert await asyncio.wait_for(asked, 20) == b"from the file"


def test_home_is_the_checkout() -> None:
    assert (home() / "src" / "community_gql").samefile(
        Path(__file__).parents[1] / "src/community_gql"
    )
