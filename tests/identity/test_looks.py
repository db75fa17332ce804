"""What the database knows of people who come for the first time, many at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from community_gql.actions.accounts import sub_hash
from community_gql.db.database import Database, opened
from community_gql.errors import Unavailable
from community_gql.identity import looks
from community_gql.identity.looks import Found, Looks
from tests.support import factories as make

PEOPLE = 60


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened(database_url) as found:
        yield found


async def test_many_at_once_share_a_few_statements_and_each_gets_their_own(
    database: Database, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = await make.people(db, PEOPLE)
    await db.execute(
        "INSERT INTO deleted_accounts (sub_hash, deleted_at) VALUES ($1, to_timestamp(1000.5))",
        sub_hash("auth0|gone"),
    )
    asked: list[int] = []
    look = Looks._look

    async def counted(self: Looks, subs: list[str]) -> list[Found]:
        asked.append(len(subs))
        return await look(self, subs)

    monkeypatch.setattr(Looks, "_look", counted)
    monkeypatch.setattr(looks, "TOGETHER", 40)
    find = Looks(database)
    subs = [*(person.sub for person in there), "auth0|gone", "auth0|nobody"]
    found = dict(zip(subs, await asyncio.gather(*map(find, subs)), strict=True))
    assert found.pop("auth0|gone") == Found(None, 1000.5)
    assert found.pop("auth0|nobody") == Found(None, None)
    rows = await db.fetch("SELECT auth0_sub, email::text FROM users")
    assert found == {sub: Found(email, None) for sub, email in rows}
    assert asked == [40, PEOPLE + 2 - 40]


async def test_an_outage_reaches_all_who_wait_and_nobody_afterwards(
    database: Database, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await make.person(db)
    find, real = Looks(database), database.value

    async def away(*_: object) -> None:
        raise Unavailable("away", "57P01")

    monkeypatch.setattr(database, "value", away)
    errors = await asyncio.gather(*(find(f"auth0|{n}") for n in range(5)), return_exceptions=True)
    assert [getattr(error, "cause", None) for error in errors] == ["57P01"] * 5
    assert len(set(map(id, errors))) == 5
    monkeypatch.setattr(database, "value", real)
    assert (await find(person.sub)).email is not None


async def test_whoever_gives_up_takes_nothing_from_the_others(
    database: Database, db: asyncpg.Connection
) -> None:
    person = await make.person(db)
    find = Looks(database)
    impatient, patient = (asyncio.create_task(find(person.sub)) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    assert (await patient).email is not None
    assert impatient.cancelled()
