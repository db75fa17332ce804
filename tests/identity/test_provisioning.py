"""A person's row: made once, with the address their provider vouches for, gone when deleted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from community_gql.actions.accounts import sub_hash
from community_gql.db.database import Database
from community_gql.identity import looks, provisioning
from community_gql.identity.authentication import Authentication
from community_gql.identity.provisioning import (
    OVERLAP,
    PERSON_BYTES,
    Known,
    Provisioning,
    may_be_older,
)
from community_gql.identity.tokens import LEEWAY, Identity
from tests.identity.asking import Asking, asking
from tests.identity.issuer import Issuer
from tests.support import factories as make
from tests.support.writing import waiting

DELETE = "mutation($id: ID!) { deleteAccount(input: {id: $id}) { userErrors { code } } }"
WRITE = 'mutation { createGarden(input: {name: "Moss"}) { garden { name } userErrors { code } } }'


async def people(db: asyncpg.Connection) -> list[tuple[str, str]]:
    rows = await db.fetch("SELECT auth0_sub, email FROM users ORDER BY auth0_sub")
    return [tuple(row) for row in rows]


def parts(ask: Asking) -> Authentication:
    """The application's own."""
    app: Any = ask.app
    found: Authentication = app.authentication
    return found


async def test_the_first_request_makes_the_row_from_the_claim(
    ask: Asking, provider: Issuer, db: asyncpg.Connection
) -> None:
    viewer = (await ask(provider.token(claim="ada@example.com"))).viewer
    assert viewer["email"] == "ada@example.com"
    assert await people(db) == [("auth0|ada", "ada@example.com")]
    assert provider.userinfos == 0


async def test_later_requests_take_only_the_statements_of_the_query(
    ask: Asking, provider: Issuer
) -> None:
    await ask(provider.token(claim="ada@example.com"))
    for seconds in (0, -60, 5):
        token = provider.token(claim="ada@example.com", iat=int(time.time()) + seconds)
        assert (await ask(token, "{ __typename }")).statements == []
        # The viewer's row is what this query itself asks for.
        assert len((await ask(token, "{ viewer { email } }")).statements) == 1


async def test_a_hundred_first_requests_at_once_make_one_row(
    ask: Asking, provider: Issuer, db: asyncpg.Connection
) -> None:
    tokens = [provider.token(claim="ada@example.com") for _ in range(100)]
    answers = await asyncio.gather(*(ask(token) for token in tokens))
    assert {answer.viewer["email"] for answer in answers} == {"ada@example.com"}
    assert len({answer.viewer["user"]["id"] for answer in answers}) == 1
    assert await people(db) == [("auth0|ada", "ada@example.com")]
    inserts = [text for answer in answers for text in answer.statements if "INSERT" in text]
    assert len(inserts) == 1


async def test_a_hundred_first_requests_at_once_to_several_processes_make_one_row(
    database_url: str, provider: Issuer, db: asyncpg.Connection
) -> None:
    async with (
        asking(database_url, provider.address) as one,
        asking(database_url, provider.address) as two,
        asking(database_url, provider.address) as three,
    ):
        asks = [one, two, three] * 34
        token = provider.token(claim="ada@example.com")
        answers = await asyncio.gather(*(ask(token) for ask in asks))
    assert len({answer.viewer["user"]["id"] for answer in answers}) == 1
    assert await people(db) == [("auth0|ada", "ada@example.com")]


async def test_without_the_claim_userinfo_is_asked_once(
    ask: Asking, provider: Issuer, db: asyncpg.Connection
) -> None:
    provider.people["auth0|ada"] = {"email": "ada@example.com", "email_verified": True}
    token = provider.token()
    answers = await asyncio.gather(*(ask(token) for _ in range(20)))
    assert {answer.viewer["email"] for answer in answers} == {"ada@example.com"}
    assert (await ask(token, "{ __typename }")).statements == []
    assert provider.userinfos == 1
    assert await people(db) == [("auth0|ada", "ada@example.com")]


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"email": None},
        {"email": "not an address"},
        {"email": ["ada@example.com"]},
        {"email": "ada@example.com", "email_verified": False},
        {"email": "ada@example.com", "email_verified": "false"},
        {"email": "ada@example.com", "sub": "auth0|someone-else"},
    ],
)
async def test_without_an_address_nothing_is_written_and_the_person_is_told(
    said: dict[str, Any], ask: Asking, provider: Issuer, db: asyncpg.Connection
) -> None:
    provider.people["auth0|ada"] = said
    token = provider.token()
    for _ in range(3):
        answer = await ask(token)
        assert answer.refused == (403, "EMAIL_REQUIRED")
        assert "verified e-mail address" in answer.message
    assert await people(db) == []
    assert provider.userinfos == 1  # remembered for a while


async def test_who_verified_their_address_and_signs_in_again_is_let_in_at_once(
    ask: Asking, provider: Issuer
) -> None:
    provider.people["auth0|ada"] = {"email": "ada@example.com", "email_verified": False}
    assert (await ask(provider.token(iat=int(time.time()) - 9))).status == 403
    provider.people["auth0|ada"] = {"email": "ada@example.com", "email_verified": True}
    assert (await ask(provider.token())).viewer["email"] == "ada@example.com"


async def test_a_token_that_userinfo_refuses_needs_the_claim(ask: Asking, provider: Issuer) -> None:
    provider.userinfo_mode = "refuse"
    assert (await ask(provider.token())).refused == (403, "EMAIL_REQUIRED")


async def test_userinfo_away_is_unavailable_and_left_alone_for_a_while(
    ask: Asking, provider: Issuer, monkeypatch: pytest.MonkeyPatch, db: asyncpg.Connection
) -> None:
    monkeypatch.setattr(provisioning, "OUTAGE", 0.3)
    provider.people["auth0|ada"] = {"email": "ada@example.com"}
    provider.userinfo_mode = "fail"
    token = provider.token()
    for _ in range(5):
        assert (await ask(token)).refused == (503, "UNAVAILABLE")
    assert provider.userinfos == 1
    assert await people(db) == []
    provider.userinfo_mode = "ok"
    await asyncio.sleep(0.3)
    assert (await ask(token)).viewer["email"] == "ada@example.com"


@pytest.mark.parametrize("address", ["ada@example.com", "ADA@Example.com"])
async def test_an_address_of_another_account_is_refused_and_links_nothing(
    address: str, ask: Asking, provider: Issuer, db: asyncpg.Connection
) -> None:
    await ask(provider.token("auth0|ada", claim="ada@example.com"))
    for _ in range(2):
        answer = await ask(provider.token("google-oauth2|1", claim=address))
        assert answer.refused == (403, "EMAIL_TAKEN")
        assert "Sign in the way you did before" in answer.message
    assert await people(db) == [("auth0|ada", "ada@example.com")]


async def test_the_address_of_a_person_is_never_taken_from_their_input(
    ask: Asking, provider: Issuer, db: asyncpg.Connection
) -> None:
    token = provider.token(claim="ada@example.com")
    headers = {"Authorization": f"Bearer {token}", "X-Email": "eve@example.com"}
    path = "/graphql?email=eve@example.com"
    assert (await ask.send(headers, path=path)).viewer["email"] == "ada@example.com"


@pytest.mark.parametrize("sub", ["matcher@clients", "aB3x@clients"])
async def test_a_machine_has_no_row_and_takes_no_statement(
    sub: str, ask: Asking, provider: Issuer, db: asyncpg.Connection
) -> None:
    token = provider.token(sub, permissions=["write:matches"], claim="m@example.com")
    said = await ask(token, "{ __typename }")
    assert (said.status, said.statements) == (200, [])
    assert (await ask(token)).viewer is None
    assert await people(db) == []
    assert provider.userinfos == 0


async def test_the_address_follows_a_change_in_the_claim(
    ask: Asking, provider: Issuer, db: asyncpg.Connection
) -> None:
    provider.userinfo_mode = "refuse"
    now = int(time.time())
    old = provider.token(claim="ada@example.com", iat=now - 60)
    new = provider.token(claim="ada@new.example.com", iat=now)
    first = (await ask(old)).viewer["user"]["id"]
    assert (await ask(new)).viewer == {
        **(await ask(new)).viewer,
        "email": "ada@new.example.com",
        "user": {"id": first},
    }
    # The older token is still good, and does not change the address back.
    assert (await ask(old)).viewer["email"] == "ada@new.example.com"
    assert await people(db) == [("auth0|ada", "ada@new.example.com")]
    assert (await ask(new, "{ __typename }")).statements == []
    assert (await ask(old, "{ __typename }")).statements == []


async def test_a_process_that_sees_only_the_older_token_believes_userinfo(
    database_url: str, ask: Asking, provider: Issuer, db: asyncpg.Connection
) -> None:
    now = int(time.time())
    provider.people["auth0|ada"] = {"email": "ada@new.example.com"}
    await ask(provider.token(claim="ada@new.example.com", iat=now))
    async with asking(database_url, provider.address) as other:
        old = provider.token(claim="ada@example.com", iat=now - 60)
        assert (await other(old)).viewer["email"] == "ada@new.example.com"
        assert (await other(old, "{ __typename }")).statements == []
    assert provider.userinfos == 1


async def test_without_the_claim_the_address_follows_in_the_background(
    ask: Asking, provider: Issuer, db: asyncpg.Connection
) -> None:
    now = int(time.time())
    provider.people["auth0|ada"] = {"email": "ada@example.com"}
    await ask(provider.token(iat=now - 60))
    provider.people["auth0|ada"] = {"email": "ada@new.example.com"}
    await ask(provider.token(iat=now))
    deadline = time.monotonic() + 5
    while await people(db) != [("auth0|ada", "ada@new.example.com")]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_a_change_is_taken_over_later_when_userinfo_is_away(
    ask: Asking, provider: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provisioning, "OUTAGE", 0.3)
    now = int(time.time())
    await ask(provider.token(claim="ada@example.com", iat=now - 60))
    provider.userinfo_mode = "fail"
    provider.people["auth0|ada"] = {"email": "ada@new.example.com"}
    new = provider.token(claim="ada@new.example.com", iat=now)
    for _ in range(3):
        assert (await ask(new)).viewer["email"] == "ada@example.com"
    assert provider.userinfos == 1
    provider.userinfo_mode = "ok"
    await asyncio.sleep(0.3)
    assert (await ask(new)).viewer["email"] == "ada@new.example.com"


async def test_a_changed_address_that_is_someone_elses_locks_nobody_out(
    ask: Asking, provider: Issuer, db: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    provider.userinfo_mode = "refuse"
    now = int(time.time())
    await ask(provider.token("auth0|ada", claim="ada@example.com", iat=now - 60))
    await ask(provider.token("auth0|bob", claim="bob@example.com"))
    viewer = (await ask(provider.token("auth0|ada", claim="bob@example.com", iat=now))).viewer
    assert viewer["email"] == "ada@example.com"
    assert await people(db) == [("auth0|ada", "ada@example.com"), ("auth0|bob", "bob@example.com")]
    assert "belongs to another account" in caplog.text
    assert "bob@example.com" not in caplog.text


async def test_only_a_change_of_letters_is_no_change(ask: Asking, provider: Issuer) -> None:
    await ask(provider.token(claim="ada@example.com", iat=int(time.time()) - 60))
    said = await ask(provider.token(claim="Ada@Example.com"), "{ __typename }")
    assert said.statements == []


# --- the end of an account --------------------------------------------------------------------


async def delete_account(ask: Asking, token: str) -> None:
    me = (await ask(token)).viewer["user"]["id"]
    said = await ask(token, DELETE, id=me)
    assert said.body["data"]["deleteAccount"]["userErrors"] == []


async def test_a_token_from_before_the_deletion_is_refused_and_a_newer_one_starts_afresh(
    database_url: str, ask: Asking, provider: Issuer, db: asyncpg.Connection
) -> None:
    now = int(time.time())
    old = provider.token(claim="ada@example.com", iat=now - 60)
    await ask(provider.token("auth0|bob", claim="bob@example.com"))
    first = (await ask(old)).viewer["user"]["id"]
    await delete_account(ask, old)

    async with asking(database_url, provider.address) as other:  # a process that never knew them
        answer = await other(old)
        assert answer.refused == (401, "UNAUTHENTICATED")
        assert "deleted" in answer.message
        assert await people(db) == [("auth0|bob", "bob@example.com")]

        await db.execute("UPDATE deleted_accounts SET deleted_at = deleted_at - interval '40 s'")
        new = provider.token(claim="ada@example.com", iat=now)
        assert (await other(new)).viewer["user"]["id"] != first
        assert (await other(old)).refused == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize("ahead", [5, LEEWAY - 2])
async def test_a_token_of_a_clock_that_is_ahead_does_not_bring_the_account_back(
    ahead: int, ask: Asking, provider: Issuer, db: asyncpg.Connection
) -> None:
    token = provider.token(claim="ada@example.com", iat=int(time.time()) + ahead)
    await delete_account(ask, token)
    await parts(ask).provisioning.look_for_deletions()
    assert (await ask(token)).refused == (401, "UNAUTHENTICATED")
    assert await people(db) == []


def test_a_token_is_older_than_a_deletion_unless_no_clock_can_have_been_that_wrong() -> None:
    assert may_be_older(issued_at=1000, deleted_at=1000)
    assert may_be_older(issued_at=1000 + LEEWAY, deleted_at=1000)
    assert not may_be_older(issued_at=1001 + LEEWAY, deleted_at=1000)


def test_each_clock_is_compared_with_itself() -> None:
    token = Identity("auth0|ada", frozenset(), 1000, 2000, "ada@example.com")
    assert Known("a@b.c", 1000, None).ignores(token)
    assert not Known("a@b.c", 999, None).ignores(token)
    assert Known("a@b.c", 0, None, time.monotonic() + 9).ignores(token)
    assert not Known("a@b.c", 0, None, time.monotonic() - 1).ignores(token)


async def test_the_process_that_knew_them_refuses_the_token_after_a_look(
    ask: Asking, provider: Issuer
) -> None:
    old = provider.token(claim="ada@example.com", iat=int(time.time()) - 60)
    await delete_account(ask, old)
    await parts(ask).provisioning.look_for_deletions()
    assert (await ask(old)).refused == (401, "UNAUTHENTICATED")


async def test_the_look_at_deletions_comes_by_itself(
    database_url: str, provider: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provisioning, "WATCH", 0.1)
    old = provider.token(claim="ada@example.com", iat=int(time.time()) - 60)
    async with (
        asking(database_url, provider.address) as one,
        asking(database_url, provider.address) as two,
    ):
        await two(old)
        await delete_account(one, old)
        deadline = time.monotonic() + 5
        for ask in (one, two):
            while (await ask(old)).status != 401:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)


async def test_a_write_that_finds_the_account_gone_makes_the_process_forget_it(
    database_url: str, ask: Asking, provider: Issuer, db: asyncpg.Connection
) -> None:
    old = provider.token(claim="ada@example.com", iat=int(time.time()) - 60)
    await ask(old)
    async with asking(database_url, provider.address) as other:
        await delete_account(other, old)
    (error,) = (await ask(old, WRITE)).body["errors"]
    assert error["extensions"]["code"] == "UNAUTHENTICATED"
    answer = await ask(old)  # no look in between
    assert answer.refused == (401, "UNAUTHENTICATED")
    assert await people(db) == []


async def test_forget(ask: Asking, provider: Issuer, db: asyncpg.Connection) -> None:
    token = provider.token(claim="ada@example.com")
    await ask(token)
    await db.execute("DELETE FROM users")
    assert (await ask(token)).viewer is None
    parts(ask).forget("auth0|ada")
    assert (await ask(token)).viewer["email"] == "ada@example.com"  # no grave: a row again


async def test_a_deletion_under_way_is_not_undone_by_a_first_request(
    database_url: str, provider: Issuer, db: asyncpg.Connection, ask: Asking
) -> None:
    old = provider.token(claim="ada@example.com", iat=int(time.time()) - 60)
    await ask(old)
    async with asking(database_url, provider.address) as other:
        async with db.transaction():
            await db.execute("DELETE FROM users")
            request = asyncio.create_task(_insert_only(other, old))
            await waiting(db)  # it has looked, and waits for the row that is being deleted
            await db.execute(
                "INSERT INTO deleted_accounts (sub_hash) VALUES (encode(sha256($1), 'hex'))",
                b"auth0|ada",
            )
        assert (await request).refused == (401, "UNAUTHENTICATED")
    assert await people(db) == []


async def _insert_only(ask: Asking, token: str) -> Any:
    """Ask as a process does that saw neither row nor grave when it first looked."""
    real = looks.Looks._look

    async def blind(_: Any, subs: Sequence[str]) -> Any:
        return [looks.Found(None, None) for _ in subs]

    looks.Looks._look = blind  # type: ignore[method-assign, assignment]
    try:
        return await ask(token)
    finally:
        looks.Looks._look = real  # type: ignore[method-assign]


async def test_a_deletion_of_someone_else_forgets_nobody(
    ask: Asking, provider: Issuer, db: asyncpg.Connection
) -> None:
    token = provider.token(claim="ada@example.com")
    await ask(token)
    await db.execute("INSERT INTO deleted_accounts (sub_hash) VALUES (repeat('a', 64))")
    await parts(ask).provisioning.look_for_deletions()
    assert (await ask(token, "{ __typename }")).statements == []


async def test_the_watch_sees_a_deletion_that_took_long_to_commit(
    ask: Asking, provider: Issuer, db: asyncpg.Connection
) -> None:
    """Its moment lies before the last look, which did not see it yet."""
    token = provider.token(claim="ada@example.com")
    await ask(token)
    watch = parts(ask).provisioning
    known = watch._known
    ada = sub_hash("auth0|ada")
    assert known.get(ada) is not None
    now = await db.fetchval("SELECT clock_timestamp()")
    await watch.look_for_deletions()
    await db.execute(
        "INSERT INTO deleted_accounts (sub_hash, deleted_at) VALUES ($1, $2)",
        ada,
        now - timedelta(seconds=OVERLAP / 2),
    )
    await watch.look_for_deletions()
    assert known.get(ada) is None


async def test_the_watch_survives_the_database_being_away(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provisioning, "WATCH", 0.05)
    database = Database("postgresql+asyncpg://u@127.0.0.1:9/d", pool_timeout=1)
    watching = Provisioning(database)
    await watching.start()
    await asyncio.sleep(0.3)
    assert watching._watching is not None
    assert not watching._watching.done()
    # One line a minute for the cause, however often it is met.
    assert len([line for line in caplog.records if line.name == "community_gql.db"]) <= 1
    assert {line.name for line in caplog.records} <= {"community_gql.db"}
    await watching.close()
    await database.close()


async def test_what_is_remembered_is_bounded(
    database_url: str, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("community_gql.identity.provisioning.MAX_PEOPLE", 3)
    database = Database(database_url)
    made = Provisioning(database)
    people = [await make.person(db) for _ in range(4)]
    now = time.time()
    for index in (0, 1, 2, 0, 3):  # the second is who was not asked for longest
        person = people[index]
        await made(Identity(person.sub, frozenset(), now, now + 60, person.email))
    kept = [made._known.get(sub_hash(person.sub)) is not None for person in people]
    assert kept == [True, False, True, True]
    assert made._known.bytes == 3 * PERSON_BYTES
    await database.close()


async def test_locks_are_given_back(database_url: str, db: asyncpg.Connection) -> None:
    database = Database(database_url)
    made = Provisioning(database)
    person = await make.person(db)
    identity = Identity(person.sub, frozenset(), time.time(), time.time() + 60, person.email)
    await asyncio.gather(*(made(identity) for _ in range(10)))
    assert made._turns == {}
    await database.close()
