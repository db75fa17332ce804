from __future__ import annotations

import json
from pathlib import Path

import asyncpg
import pytest
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import create_async_engine

from community_gql.dev.embedded import EmbeddedPostgres
from community_gql.settings import Settings, SettingsError, home
from community_gql.settings.checks import database_address, plain_address

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
        ("host=h dbname=d password=secret", "must be a PostgreSQL address"),
        ("postgresql://u:secret@h", "names no database"),
        ("postgresql://u:secret@h/", "names no database"),
        ("postgresql:///d", "names no host"),
        ("postgresql://u:sec#ret@h/d", "write %23"),
        ("postgresql://u:secret@h:port/d", "percent-encoded"),
        ("postgresql://u:secret@h:0/d", "between 1 and 65535"),
        ("postgresql://u:secret@h/d?sslmode=maybe", "sslmode must be one of"),
        ("postgresql://u:secret@h/d?options=-cx", "parameter options"),
    ],
)
def test_wrong_addresses_are_explained_without_their_password(address: str, reason: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load(database_url=address)
    assert str(caught.value).startswith("DATABASE_URL is wrong: ")
    assert reason in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_both_forms_of_an_address_reach_the_database(postgres: EmbeddedPostgres) -> None:
    address = database_address(plain_address(postgres.url("postgres")))
    engine = create_async_engine(address)
    async with engine.connect() as connection:
        assert (await connection.exec_driver_sql("SELECT 1")).scalar() == 1
    await engine.dispose()
    plain = await asyncpg.connect(plain_address(address))
    await plain.close()


def test_home_is_the_checkout() -> None:
    assert (home() / "src" / "community_gql").samefile(
        Path(__file__).parents[1] / "src/community_gql"
    )
