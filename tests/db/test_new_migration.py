"""What `make migration` writes: `make check` accepts it, and it runs both ways."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from community_gql.settings import home

pytestmark = pytest.mark.system

CHANGED_MODELS = """
import sys
from pathlib import Path

import asyncpg, asyncio
from sqlalchemy import Column, ForeignKey, String, Table

from community_gql.cli import db as commands
from community_gql.db import migrate, revisions
from community_gql.db.models import Base
from community_gql.settings.checks import plain_address

url, migrations = sys.argv[1:]
revisions.folder = lambda: Path(migrations)
profiles = Base.metadata.tables["user_profiles"]
profiles.append_column(Column("of_this_test", String(80)))
Table(
    "things_of_this_test",
    Base.metadata,
    Column("user_id", ForeignKey("users.auth0_sub", ondelete="CASCADE"), primary_key=True),
    Column("name", String(40), primary_key=True),
)

async def ask(*statements):
    connection = await asyncpg.connect(plain_address(url))
    try:
        for statement in statements:
            found = await connection.fetchval(statement)
        return found
    finally:
        await connection.close()

migrate.upgrade(url)
made = migrate.revision(url, "add things")
commands.tidy(made)
migrate.upgrade(url)
migrate.check(url)
migrate.downgrade(url, "-1")
migrate.upgrade(url)
migrate.check(url)
moved = asyncio.run(ask(
    "INSERT INTO users (auth0_sub, email) VALUES ('u', 'u@example.com')",
    "INSERT INTO user_profiles (user_id, updated_at) VALUES ('u', '2020-01-01')",
    "UPDATE user_profiles SET of_this_test = 'Hello'",
    "SELECT updated_at > '2025-01-01' FROM user_profiles",
))
recorded = asyncio.run(ask(
    "INSERT INTO things_of_this_test (user_id, name) VALUES ('u', 'first')",
    "DELETE FROM things_of_this_test",
    "SELECT string_agg(key, ' ') FROM changes WHERE entity = 'things_of_this_test'",
))
print(made, moved, recorded)
"""


def test_a_field_and_an_entity(tmp_path: Path, empty_database_url: Callable[..., str]) -> None:
    migrations = tmp_path / "migrations"
    shutil.copytree(home() / "migrations", migrations, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(home() / "pyproject.toml", tmp_path)
    (tmp_path / "src").symlink_to(home() / "src")  # what is ours, for the order of imports
    done = subprocess.run(
        [sys.executable, "-c", CHANGED_MODELS, empty_database_url(), str(migrations)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    made, moved, *recorded = done.stdout.splitlines()[-1].split()
    assert moved == "True"
    assert recorded == ["u", "u"]

    text = Path(made).read_text()
    assert text.startswith('"""add things"""')
    assert "auto generated" not in text
    for words in (["ruff", "format", "--check"], ["ruff", "check"], ["mypy"]):
        checked = subprocess.run(
            [sys.executable, "-m", *words, made], cwd=tmp_path, capture_output=True, text=True
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr + text
