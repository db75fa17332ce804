"""Transactions on the driver: when a statement stands alone, and what is left of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import text

from community_gql.db.database import Database, Transaction, opened
from community_gql.db.texts import Fixed
from tests.support.statements import watched

# unscoped: a test's own statements
PUT = Fixed(text("INSERT INTO tags (name) VALUES (:name) ON CONFLICT DO NOTHING RETURNING id"))
LOOK = Fixed(text("SELECT name FROM tags"))  # unscoped: the same
FAIL = text("INSERT INTO tags (name) VALUES (NULL)")


@pytest.fixture
async def database(database_url: str, db: asyncpg.Connection) -> AsyncIterator[Database]:
    async with opened(database_url, pool_size=1, statement_timeout=5) as made:
        yield made


async def words(database: Database, action: object, **options: float) -> list[str]:
    """The first words of what a write runs."""
    seen: list[str] = []
    with watched(lambda statement: seen.append(statement.split()[0])):
        await database.write(action, **options)  # type: ignore[arg-type]
    return seen


async def put(session: Transaction) -> None:
    assert await session.only(PUT, {"name": "moss"}) is not None


async def test_a_statement_that_is_all_of_it_stands_alone(
    database: Database, db: asyncpg.Connection
) -> None:
    assert await words(database, put) == ["INSERT"]
    assert await db.fetchval("SELECT name FROM tags") == "moss"


async def test_it_does_not_where_its_end_may_come_too_late(
    database: Database, db: asyncpg.Connection
) -> None:
    """Whoever gives up a transaction knows that it was not committed."""
    deadline = asyncio.get_running_loop().time() + 4
    assert await words(database, put, deadline=deadline) == ["BEGIN", "INSERT", "COMMIT"]
    assert await db.fetchval("SELECT name FROM tags") == "moss"


async def test_what_wrote_nothing_is_followed_by_a_transaction(
    database: Database, db: asyncpg.Connection
) -> None:
    async def action(session: Transaction) -> None:
        assert await session.only(PUT, {"name": "moss"}) is None
        assert [row.name for row in await session.run(LOOK)] == ["moss"]

    await db.execute("INSERT INTO tags (name) VALUES ('moss')")
    assert await words(database, action) == ["INSERT", "BEGIN", "SELECT", "COMMIT"]


async def test_an_error_leaves_nothing_and_a_connection_that_works(
    database: Database, db: asyncpg.Connection
) -> None:
    async def action(session: Transaction) -> None:
        await session.run(PUT, {"name": "fern"})
        await session.run(FAIL)

    for _ in range(2):
        with pytest.raises(asyncpg.NotNullViolationError):
            await database.write(action)
    assert await db.fetchval("SELECT count(*) FROM tags") == 0
    await database.write(put)


async def test_a_value_that_is_missing_is_said(database: Database) -> None:
    with pytest.raises(KeyError, match="name"):
        await database.write(lambda session: session.run(PUT, {}))
