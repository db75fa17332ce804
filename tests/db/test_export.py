"""A person's export is complete, and nothing of it is left after the account is deleted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from community_gql.db import export
from community_gql.db.changes import forget_changes
from community_gql.db.database import opened
from community_gql.identity.development import DevelopmentIssuer
from community_gql.settings.checks import plain_address
from tests.support import factories as make
from tests.support.client import Client, serving
from tests.support.factories import Person
from tests.support.writing import settled

WORD = "quokka"
"""Is in everything that the person writes, and nowhere else."""
REMAINS = {
    "changes": "tells those who follow live of the deletion; removed after LIVE_RETENTION",
}
"""Tables that may still name somebody whose account is gone, and why."""


async def everything(db: asyncpg.Connection) -> tuple[Person, Person]:
    """A person with a row in every table, and another one whom they know."""
    other = await make.person(db, "Other")
    moss = await make.tag(db, "moss")
    mine = await make.person(
        db, f"Ada {WORD}", bio=f"bio {WORD}", journaling_frequency=3, tags=[moss],
        email=f"{WORD}@example.org", sub=f"auth0|{WORD}",
    )  # fmt: skip
    for n in range(3):
        story = await make.story(
            db, mine, f"{WORD} {n}", content=f"text of {WORD}, “quoted”\n" * 3, tags=[moss]
        )
    await db.execute(
        "INSERT INTO story_requests (user_id, key, story_id) VALUES ($1, $2, $3)",
        mine.sub, f"key {WORD}", story.key,
    )  # fmt: skip
    await make.habit(db, mine, f"habit {WORD}", meta={WORD: [1, WORD]})
    await make.garden(db, mine, f"garden {WORD}", theme=WORD)
    await make.features(db, mine)
    await make.friendship(db, other, mine)
    await make.match_batch(db, mine, {other: 0.5})
    await make.match_batch(db, other, {mine: 0.25})
    await db.execute("INSERT INTO match_choices (user_id) VALUES ($1)", mine.sub)
    await db.execute(
        "INSERT INTO match_dismissals (user_id, target_user_id) VALUES ($1, $2), ($2, $1)",
        mine.sub, other.sub,
    )  # fmt: skip
    for name, owned in make.OWNED.items():
        if name not in ("Story", "Habit", "Garden"):
            await owned(db, mine)
    await make.story(db, other, "Of the other one")
    return mine, other


async def exported(database_url: str, sub: str) -> Any:
    async with opened(database_url, pool_size=1) as database:
        return json.loads(b"".join([piece async for piece in export.written(database, sub)]))


async def test_every_part_of_a_person_is_in_it(database_url: str, db: asyncpg.Connection) -> None:
    mine, other = await everything(db)
    found = await exported(database_url, mine.sub)

    assert list(found) == ["exported_at", *(part.name for part in export.PARTS)]
    empty = [name for name, value in found.items() if not value]
    assert empty == [], (
        "make a row of it in `everything`, or in OWNED of tests/support/factories.py"
    )
    assert found["person"]["email"] == mine.email
    assert [story["title"] for story in found["stories"]] == [f"{WORD} {n}" for n in range(3)]
    assert found["stories"][0]["content"].startswith(f"text of {WORD}, “quoted”\n")
    assert found["stories"][0]["tags"] == ["moss"]
    assert found["friendships"][0]["other_person"] == str(other.public_id)
    assert found["friendships"][0]["requested_by_you"] is False
    assert [match["matched_person"] for match in found["matches"]] == [str(other.public_id)]
    # Nothing names others but their public ids.
    assert other.sub not in json.dumps(found)
    assert other.email not in json.dumps(found)


async def test_every_column_that_refers_to_people_is_in_it_or_left_out_for_a_reason(
    db: asyncpg.Connection,
) -> None:
    references = await db.fetch(
        "SELECT conrelid::regclass::text AS name, attname AS column FROM pg_constraint "
        "JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY(conkey) "
        "WHERE contype = 'f' AND confrelid = 'users'::regclass"
    )
    parts = {part.table: part.sql for part in export.PARTS}
    missing = [
        f"{row['name']}.{row['column']}"
        for row in references
        if f"{row['name']}.{row['column']}" not in export.LEFT_OUT
        and row["column"] not in parts.get(row["name"], "")
    ]

    assert len(references) >= 10
    assert missing == []


async def test_every_column_of_the_parts_is_in_it(db: asyncpg.Connection) -> None:
    for part in export.PARTS:
        columns = await db.fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 "
            "AND NOT attisdropped",
            part.table,
        )
        for (column,) in columns:
            there = column in part.sql or f"{part.table}.{column}" in export.LEFT_OUT
            assert there, f"{part.table}.{column}"


def words_of(value: Any) -> Iterator[str]:
    """Every text in the export that can be told from others'."""
    if isinstance(value, dict):
        for item in value.values():
            yield from words_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from words_of(item)
    elif isinstance(value, str) and WORD in value:
        yield value


async def test_nothing_is_left_of_a_deleted_account(
    database_url: str, db: asyncpg.Connection, issuer: DevelopmentIssuer
) -> None:
    mine, _ = await everything(db)
    before = await exported(database_url, mine.sub)
    wanted = {*words_of(before), before["person"]["id"], WORD}
    assert len(wanted) > 10
    assert await left_in(db, wanted) != {}  # the search finds what is there
    async with serving(database_url, issuer) as api:
        answer = await api(
            "mutation($input: DeleteAccountInput!) { deleteAccount(input: $input) "
            "{ deletedId userErrors { code } } }",
            mine,
            input={"id": mine.id},
        )
    assert answer.data["deleteAccount"]["deletedId"] == mine.id

    left = await left_in(db, wanted)
    assert left.keys() == REMAINS.keys()
    assert not any(word in left["changes"] for word in ("text of", "garden", "habit"))
    await settled(db)
    async with opened(database_url, pool_size=1) as database:
        while await database.write(lambda session: forget_changes(session, 0)):
            pass
    assert await left_in(db, wanted) == {}
    after = await exported(database_url, mine.sub)
    assert not any(item for name, item in after.items() if name != "exported_at")


async def left_in(db: asyncpg.Connection, words: set[str]) -> dict[str, str]:
    """The tables with a row that holds one of the words, in any column of any type."""
    tables = await db.fetch(
        "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'm') "
        "AND relnamespace = 'public'::regnamespace"
    )
    found = {}
    for (table,) in tables:
        row = await db.fetchval(
            f"SELECT row_to_json(t)::text FROM {table} AS t, unnest($1::text[]) AS asked (for_) "
            "WHERE strpos(lower(t::text), lower(asked.for_)) > 0 LIMIT 1",
            list(words),
        )
        if row:
            found[table] = row
    return found


@pytest.fixture
async def api(database_url: str, issuer: DevelopmentIssuer) -> Any:
    async with serving(database_url, issuer, cost_per_minute=250_000) as client:
        yield client


async def get(api: Client, person: Person | None, **headers: str) -> Any:
    if person is not None:
        headers |= api.authorization(person.sub)
    return await api.send("GET", "/account/export", headers=headers)


async def test_a_person_gets_their_own(
    api: Client, database_url: str, db: asyncpg.Connection
) -> None:
    mine, other = await everything(db)
    answer = await get(api, mine, **{"X-Request-Id": "mine"})
    headers = answer.response.headers
    found = answer.response.json()
    same = await exported(database_url, mine.sub)
    del found["exported_at"], same["exported_at"]

    assert answer.status == 200
    assert found == same
    assert headers["cache-control"] == "no-store"
    assert headers["content-type"] == "application/json"
    assert headers["content-disposition"].startswith("attachment")
    assert headers["x-request-id"] == "mine"
    assert int(headers["ratelimit-remaining"]) <= 150_000
    (line,) = [line for line in answer.lines if line.name == "community_gql.accounts"]
    assert vars(line)["request_id"] == "mine"
    assert WORD not in str(vars(line))
    theirs = (await get(api, other)).response.json()
    assert theirs["person"]["email"] == other.email
    assert mine.email not in json.dumps(theirs)


async def test_who_gets_none(api: Client, db: asyncpg.Connection, monkeypatch: Any) -> None:
    mine, _ = await everything(db)
    anonymous = await get(api, None)
    program = await api.send(
        "GET", "/account/export", headers=api.authorization("program@clients", "write:matches")
    )
    assert (anonymous.status, anonymous.codes) == (401, ["UNAUTHENTICATED"])
    assert (program.status, program.codes) == (401, ["UNAUTHENTICATED"])
    monkeypatch.setattr("community_gql.http.account.MAX_BYTES", 10)
    long = await get(api, mine)
    assert (long.status, long.codes) == (422, ["ANSWER_TOO_LARGE"])
    assert (await get(api, mine)).status == 422
    spent = await get(api, mine)
    assert (spent.status, spent.codes) == (429, ["RATE_LIMITED"])


async def test_by_the_command_line(
    database_url: str, db: asyncpg.Connection, tmp_path: Path
) -> None:
    mine, _ = await everything(db)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(Path(sys.executable).with_name("community-gql")), "accounts", "export", *words],
            env=os.environ | {"DATABASE_URL": plain_address(database_url)},
            capture_output=True,
            text=True,
        )

    done = run(mine.email.upper())
    nobody = run("nobody@example.org", "--output", str(tmp_path / "x.json"))

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["person"]["sub"] == mine.sub
    assert nobody.returncode == 1
    assert "nobody has the address nobody@example.org" in nobody.stderr
    assert not (tmp_path / "x.json").exists()
