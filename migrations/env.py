"""How Alembic reaches the database and runs the migrations.

The address is ``config.attributes["url"]`` when a caller gives one, else ``DATABASE_URL``. A
caller that already has a connection gives that instead, as ``config.attributes["connection"]``
(the synchronous form of an asyncpg one, from ``AsyncConnection.run_sync``), outside a transaction.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from logging.config import fileConfig
from typing import Any

from alembic import context
from alembic.migration import MigrationContext
from alembic.operations.ops import (
    AddColumnOp,
    CreateTableOp,
    MigrationScript,
    ModifyTableOps,
    OpContainer,
)
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Column, Connection, NullPool, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import await_only

from community_gql.db import connecting
from community_gql.db.answers import ANSWERS
from community_gql.db.models import Base
from community_gql.db.recording import RecordChanges
from community_gql.db.states import sqlstate
from community_gql.db.updated_at import MoveUpdatedAt
from community_gql.settings.checks import database_address

config = context.config
logger = logging.getLogger("alembic.runtime.migration")

LOCK = 0x636F6D6D75
"""Key of the advisory lock that lets one process migrate a database at a time."""


def address() -> str:
    """Return the address to migrate; raise CommandError when there is none or it is wrong."""
    given = config.attributes.get("url") or os.environ.get("DATABASE_URL", "").strip()
    if not given:
        raise CommandError(
            "DATABASE_URL is not set. Give the database to migrate, such as "
            "DATABASE_URL=postgresql://user:password@db.example.com:5432/community"
        )
    try:
        return database_address(given)
    except ValueError as error:
        raise CommandError(f"DATABASE_URL is wrong: {error}.") from None


@contextmanager
def alone(connection: Connection) -> Iterator[None]:
    """Hold the advisory lock, so that of two upgrades at once the second has nothing to do.

    It asks again and again instead of waiting inside PostgreSQL: a waiting statement holds a
    snapshot, for which CREATE INDEX CONCURRENTLY of the one that works would wait, a deadlock.
    """
    told = False
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK}):
        connection.rollback()
        if not told:
            logger.info("Waiting for another process that migrates this database")
            told = True
        await_only(asyncio.sleep(0.2))
    connection.commit()
    try:
        yield
    finally:
        if not connection.invalidated:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK})
            connection.commit()


def number(
    migration: MigrationContext,
    revision: str | Iterable[str | None] | Iterable[str],
    scripts: list[MigrationScript],
) -> None:
    """Name a new revision by the number after the newest one, and complete it."""
    if migration.connection is not None:
        follow_columns(scripts, migration.connection)
    follow_tables(scripts)
    head = ScriptDirectory.from_config(config).get_current_head()
    for script in scripts:
        script.rev_id = f"{int(head or 0) + 1:04d}"


def follow_columns(scripts: list[MigrationScript], connection: Connection) -> None:
    """Let columns that are added to a table move its `updated_at`, if a trigger keeps that.

    Without it, whoever edits only such a column would not notice that somebody else did too.
    """
    for script in scripts:
        if script.upgrade_ops is None or script.downgrade_ops is None:
            continue
        for change in script.upgrade_ops.ops:
            if not isinstance(change, ModifyTableOps):
                continue
            definition = connection.scalar(
                text("SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = :name"),
                {"name": f"{change.table_name}_set_updated_at"},
            )
            added = [each.column.name for each in change.ops if isinstance(each, AddColumnOp)]
            if definition and added:
                before = list(dict.fromkeys(re.findall(r"old\.(\w+)", definition)))
                after = MoveUpdatedAt(change.table_name, [*before, *added])
                script.upgrade_ops.ops.append(after)
                # The trigger must let go of a column before that is dropped.
                script.downgrade_ops.ops.insert(0, MoveUpdatedAt(change.table_name, before))


def follow_tables(scripts: list[MigrationScript]) -> None:
    """Let new tables whose rows belong to a person be recorded for live updates.

    Without it, whoever follows that person or themselves would not be told.
    """
    for script in scripts:
        changes = script.upgrade_ops
        if isinstance(changes, OpContainer):
            for change in [each for each in changes.ops if isinstance(each, CreateTableOp)]:
                names = [each.name for each in change.columns if isinstance(each, Column)]
                if "user_id" in names:
                    key = "id" if "id" in names else "user_id"
                    changes.ops.append(RecordChanges(change.table_name, key))


LOCK_TIMEOUT = "250ms"
"""How long a migration waits for a table: those who come after it wait as long behind it."""
LOCK_ATTEMPTS = 60


def run(connection: Connection) -> None:
    """Run what Alembic was asked for, again from where it stopped when a table was in use."""
    with alone(connection):
        for attempt in range(1, LOCK_ATTEMPTS + 1):
            try:
                migrate(connection)
                return
            except DBAPIError as error:
                connection.rollback()
                if sqlstate(error) != "55P03" or attempt == LOCK_ATTEMPTS:
                    raise
                if attempt == 1:
                    logger.info("Waiting for a table that is in use")
                await_only(asyncio.sleep(random.uniform(0.2, 1)))


def migrate(connection: Connection) -> None:
    """Run the migrations that are missing, each in a transaction of its own."""
    options: dict[str, Any] = {
        "target_metadata": Base.metadata,
        "compare_type": True,
        "compare_server_default": True,
        "transaction_per_migration": True,
        "process_revision_directives": number,
    }
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding != "UTF8":
        raise CommandError(
            f"the database's encoding is {encoding}, and people write in UTF-8. Make it anew: "
            "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.commit()
    context.configure(connection=connection, **options)
    with context.begin_transaction():
        context.run_migrations()


SESSION = ANSWERS | {
    "default_transaction_read_only": "off",
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": "0",
    "statement_timeout": "0",
}
"""Sent at connect, so that what the server, the database or the role say counts for no migration:
a limit set for the application's role would stop a long one halfway, a ``search_path`` would hide
the tables."""


async def connect(url: str) -> None:
    """Open a connection of our own and run on it."""
    engine = connecting.engine(url, server_settings=SESSION, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run)
    finally:
        await engine.dispose()


if context.is_offline_mode():
    raise CommandError("These migrations look at the data they change: --sql is not supported.")
if config.config_file_name is not None:
    fileConfig(config.config_file_name, disable_existing_loggers=False)
if (connection := config.attributes.get("connection")) is not None:
    run(connection)
else:
    asyncio.run(connect(address()))
