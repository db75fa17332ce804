"""Writing a community to the database: all of it in one transaction, or nothing.

The rows go in by COPY, while a thread already makes the next thousand people. Meanwhile the
tables' own triggers are off and their secondary indexes are gone, inside the transaction: the rows
carry what the triggers would have computed (a test has the triggers compute it again), and
an index is built several times faster than it is filled row by row. All of that is in reach of
the role that owns the tables. Other sessions wait for the tables until the seeding ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg

from community_gql.db.connecting import connect
from community_gql.db.housekeeping import COUNT
from community_gql.db.models import Base
from community_gql.db.names import FILL_NAME_WORDS
from community_gql.dev.seeding.community import COLUMNS, Batch, Community, Tag
from community_gql.dev.seeding.founders import FOUNDERS, permissions_of
from community_gql.dev.seeding.themes import TAGS
from community_gql.settings import OperatorError

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

UNTIL = datetime(2026, 11, 1, tzinfo=UTC)
"""The end of the seeded time. Fixed: rows that followed the clock would never be the same."""

LOCK_SECONDS = 10
BUILD_MEMORY = "256MB"


class SeedError(OperatorError):
    """The database can't be seeded; the text says why and what helps."""


@dataclass(frozen=True, slots=True)
class SeedReport:
    """What was written: the number of rows by table, and how long it took."""

    rows: dict[str, int]
    seconds: float


@dataclass(frozen=True, slots=True)
class Person:
    """Someone to sign in as; ``display_name`` is the address of those who have not given one."""

    auth0_sub: str
    email: str
    display_name: str
    permissions: frozenset[str]


async def seed(
    url: str,
    *,
    people: int = 200,
    seed: int = 1,
    progress: Progress,
    until: datetime = UNTIL,
) -> SeedReport:
    """Fill a migrated database that has no people with a made-up community.

    The same ``people``, ``seed`` and ``until`` (with a time zone; nothing is younger) give the
    same rows, byte for byte. The first people are the founders. About ten stories per person.

    Raises :class:`SeedError`. An error or interruption leaves nothing behind, unless it comes
    after the commit, at ``progress("statistics", ...)``: then everything is there.
    """
    if people < 1:
        raise SeedError(f"people is {people}, but a community has at least one person.")
    if until.tzinfo is None:
        raise SeedError("until has no time zone: give one, such as UTC.")
    started = time.monotonic()
    async with _connection(url) as connection:
        async with _alone(connection):
            rows = await _write(connection, people, seed, until, progress)
        await _settle(connection, progress)
    return SeedReport(rows, time.monotonic() - started)


async def is_empty(url: str) -> bool:
    """Tell whether a migrated database has no people. Raises :class:`SeedError`."""
    async with _connection(url) as connection:
        await _check_tables(connection)
        return not await _has_people(connection)


async def known_people(url: str, limit: int = 10) -> list[Person]:
    """Return people to sign in as, the founders first, then by age of the account.

    Raises :class:`SeedError`.
    """
    founders = [founder.auth0_sub for founder in FOUNDERS]
    async with _connection(url) as connection:
        await _check_tables(connection)
        rows = await connection.fetch(  # unscoped: for the operator, not for a viewer
            """
            SELECT auth0_sub, email::text, coalesce(nullif(display_name, ''), email::text)
            FROM users LEFT JOIN user_profiles ON user_id = auth0_sub
            ORDER BY array_position($1::varchar[], auth0_sub), users.created_at, public_id
            LIMIT $2
            """,
            founders,
            limit,
        )
    return [Person(sub, email, name, permissions_of(sub)) for sub, email, name in rows]


# --- the transaction ------------------------------------------------------------------------


@asynccontextmanager
async def _connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect, and give the expected failures a text."""
    try:
        connection = await connect(url)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise SeedError(f"can't connect to the database: {error}") from error
    try:
        yield connection
    except asyncpg.InsufficientPrivilegeError as error:
        raise SeedError(
            f"{error}. Seed as the role that owns the tables: the one that ran the migrations."
        ) from error
    except asyncpg.LockNotAvailableError as error:
        raise SeedError(
            "another session uses the tables; perhaps another seeding. Wait for it to end, or "
            "stop the server, and try again."
        ) from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise SeedError(
            f"the database failed: {error}. A seeding that doesn't finish leaves nothing behind."
        ) from error
    finally:
        # Interrupted while rolling back: hang up, and the server rolls back by itself.
        if connection.is_in_transaction():
            connection.terminate()
        else:
            await connection.close()


@asynccontextmanager
async def _alone(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Open the transaction, with the tables checked, empty and to ourselves."""
    async with connection.transaction():
        await connection.execute(
            f"""
            SET LOCAL lock_timeout = '{LOCK_SECONDS}s';
            SET LOCAL statement_timeout = 0;
            SET LOCAL idle_in_transaction_session_timeout = 0;
            SET LOCAL maintenance_work_mem = '{BUILD_MEMORY}';
            """
        )
        await _check_tables(connection)
        # All at once, so as not to deadlock with readers. A second seeding waits here, and then
        # finds people.
        tables = ", ".join(("tags", *COLUMNS))
        await connection.execute(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")
        if await _has_people(connection):
            raise SeedError(
                "the database has people already, and seeding never mixes with them. "
                "Seed an empty database, or start this one afresh."
            )
        yield


async def _check_tables(connection: asyncpg.Connection) -> None:
    """Raise SeedError unless all columns of the models are there."""
    found = {
        (row["table_name"], row["column_name"])
        for row in await connection.fetch(
            "SELECT table_name::text, column_name::text FROM information_schema.columns "
            "WHERE table_schema = current_schema()"
        )
    }
    wanted = [(t.name, c.name) for t in Base.metadata.sorted_tables for c in t.columns]
    missing = [f"{table}.{column}" for table, column in wanted if (table, column) not in found]
    if missing:
        raise SeedError(
            f"the database lacks {missing[0]}"
            + (f" and {len(missing) - 1} more columns" if len(missing) > 1 else "")
            + ". Run the migrations first: community-gql db upgrade"
        )


async def _has_people(connection: asyncpg.Connection) -> bool:
    found = await connection.fetchval(  # unscoped: whether there is anyone at all
        "SELECT EXISTS (SELECT FROM users)"
    )
    return bool(found)


async def _write(
    connection: asyncpg.Connection, people: int, seed: int, until: datetime, progress: Progress
) -> dict[str, int]:
    schema = await connection.fetchval(
        "SELECT nspname FROM pg_type JOIN pg_namespace n ON n.oid = typnamespace "
        "WHERE typname = 'citext'"
    )
    await connection.set_type_codec(
        "citext", schema=schema, encoder=str.encode, decoder=bytes.decode, format="binary"
    )
    triggers = await _disable_triggers(connection)
    indexes = await _drop_indexes(connection)
    community = Community(people, seed, await _tags(connection, until), until)
    written = {"tags": len(TAGS), **dict.fromkeys(COLUMNS, 0)}
    done = 0
    progress("people", done, people)
    async for batch in _ahead(community.batches()):
        for table, rows in batch.rows.items():
            await connection.copy_records_to_table(table, records=rows, columns=COLUMNS[table])
            written[table] += len(rows)
        done += batch.people
        progress("people", done, people)
    for number, definition in enumerate(indexes):
        progress("indexes", number, len(indexes))
        await connection.execute(definition)
    progress("indexes", len(indexes), len(indexes))
    for statement in triggers:
        await connection.execute(statement)
    await connection.execute(COUNT)
    await connection.execute(FILL_NAME_WORDS)
    for table, last in community.last_id.items():
        await _advance(connection, table, last)
    return written


async def _ahead(batches: Iterator[Batch]) -> AsyncIterator[Batch]:
    """Yield the batches, making each in a thread while the one before is being written."""
    following = asyncio.create_task(asyncio.to_thread(next, batches, None))
    try:
        while (batch := await following) is not None:
            following = asyncio.create_task(asyncio.to_thread(next, batches, None))
            yield batch
    finally:
        following.cancel()


async def _tags(connection: asyncpg.Connection, until: datetime) -> list[Tag]:
    """Add the common tags that are missing; return them all as the database sorts them."""
    await connection.execute(
        "INSERT INTO tags (name, created_at) "
        "SELECT name, $2 FROM unnest($1::varchar[]) WITH ORDINALITY AS given(name, place) "
        "ORDER BY place ON CONFLICT (name) DO NOTHING",
        TAGS,
        until,
    )
    rows = await connection.fetch(  # unscoped: tags are for everyone
        "SELECT id, name FROM tags WHERE name = ANY($1::varchar[]) ORDER BY name", TAGS
    )
    return [Tag(*row) for row in rows]


async def _advance(connection: asyncpg.Connection, table: str, last: int) -> None:
    """Let ids go on after ``last``, never back. Not setval: a rollback would not undo it."""
    sequence = await connection.fetchval("SELECT pg_get_serial_sequence($1, 'id')", table)
    used = await connection.fetchval(
        f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}"
    )
    await connection.execute(f"ALTER SEQUENCE {sequence} RESTART WITH {max(used, last) + 1}")


async def _disable_triggers(connection: asyncpg.Connection) -> list[str]:
    """Disable the seeded tables' own triggers; return the statements that enable them again."""
    rows = await connection.fetch(
        """
        SELECT format('ALTER TABLE %s', tgrelid::regclass) AS alter, quote_ident(tgname) AS trigger
        FROM pg_trigger
        WHERE tgrelid = ANY($1::regclass[]) AND tgenabled = 'O' AND NOT tgisinternal
        ORDER BY 1, 2
        """,
        list(COLUMNS),
    )
    for row in rows:
        await connection.execute(f"{row['alter']} DISABLE TRIGGER {row['trigger']}")
    return [f"{row['alter']} ENABLE TRIGGER {row['trigger']}" for row in rows]


async def _drop_indexes(connection: asyncpg.Connection) -> list[str]:
    """Drop the indexes that no constraint needs; return the statements that build them again."""
    rows = await connection.fetch(
        """
        SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition
        FROM pg_index
        WHERE indrelid = ANY($1::regclass[])
          AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
        ORDER BY array_position($1::regclass[], indrelid::regclass), 1
        """,
        list(COLUMNS),
    )
    for row in rows:
        await connection.execute(f"DROP INDEX {row['name']}")
    return [row["definition"] for row in rows]


async def _settle(connection: asyncpg.Connection, progress: Progress) -> None:
    """Give the planner its statistics and the rows their visibility marks, after the commit."""
    tables = ("tags", "name_words", *COLUMNS)
    for number, table in enumerate(tables):
        progress("statistics", number, len(tables))
        await connection.execute(f"VACUUM (ANALYZE) {table}")
    progress("statistics", len(tables), len(tables))
