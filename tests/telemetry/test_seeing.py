"""A slow query, seen from the outside alone: which, who, and since when."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from joserfc import jwt

from community_gql.settings.checks import plain_address
from tests.http.server import HOST, Server, free_port, served
from tests.support import factories as make
from tests.support.factories import Person
from tests.support.provider import key
from tests.telemetry.test_metrics import awaited

pytestmark = pytest.mark.system

GREENHOUSE = 'query Greenhouse { viewer { user { garden { name } } } tag(name: "moss") { id } }'
PEOPLE = "query People { users(first: 3) { nodes { id } } }"
SLOW = 400.0
"""Milliseconds."""


def token(server: Server, person: Person) -> str:
    words = Path(f"/proc/{server.process.pid}/environ").read_bytes().split(b"\0")
    environment = dict(word.decode().split("=", 1) for word in words if b"=" in word)
    now = int(time.time())
    claims = {
        "iss": environment["OIDC_ISSUER"],
        "aud": environment["AUTH0_AUDIENCE"],
        "sub": person.sub,
        "iat": now,
        "exp": now + 600,
    }
    return jwt.encode({"alg": "RS256", "kid": "tests"}, claims, key())


def ran(address: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("community-gql")), *words],
        env=os.environ | {"DATABASE_URL": address},
        capture_output=True,
        text=True,
        timeout=120,
    )


def command(address: str, *words: str) -> Any:
    done = ran(address, *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if "--json" in words else done.stdout


def ask(server: Server, query: str, person: str) -> None:
    headers = {"Authorization": f"Bearer {person}"}
    body = {"query": query}
    answer = httpx.post(f"{server.url}/graphql", json=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text


@pytest.fixture
def address(empty_database_url: Callable[..., str], migrated_template: str) -> str:
    return plain_address(empty_database_url(migrated_template))


async def slow_down(db: asyncpg.Connection, person: Person) -> None:
    """From now on, reading this person's garden takes long."""
    await db.execute(
        "ALTER TABLE gardens RENAME TO slow_gardens;"
        "CREATE VIEW gardens AS SELECT * FROM slow_gardens WHERE CASE "
        f"WHEN user_id = '{person.sub}' THEN pg_sleep({SLOW / 1000 + 0.2}) IS NOT NULL "
        "ELSE true END"
    )


async def test_which_who_and_since_when(address: str, tmp_path: Path) -> None:
    db = await asyncpg.connect(address)
    try:
        await db.execute("CREATE EXTENSION pg_stat_statements")
        patient, other = await make.person(db, "Patient"), await make.person(db, "Other")
        for person in (patient, other):
            await make.garden(db, person)
        port = free_port()
        with served(address, tmp_path, metrics=f"{HOST}:{port}") as server:
            tokens = {person.email: token(server, person) for person in (patient, other)}
            for _ in range(4):
                for mine in tokens.values():
                    ask(server, GREENHOUSE, mine)
                    ask(server, PEOPLE, mine)
            began = datetime.now(UTC)
            await slow_down(db, patient)
            for _ in range(2):
                for mine in tokens.values():
                    ask(server, GREENHOUSE, mine)
                    ask(server, PEOPLE, mine)

            bucket = "community_gql_request_database_seconds_bucket"
            labels = [("executor", "compiled"), ("type", "query")]
            slow, every = (
                f"{bucket}{sorted([*labels, ('le', bound)])}" for bound in ("0.25", "+Inf")
            )
            awaited(port, lambda samples: samples[every] - samples[slow] >= 2)
            lines = server.lines()
        stats = command(address, "stats", "--json")
        requests = [line for line in lines if line["logger"] == "community_gql.requests"]
        slow_ones = [line for line in requests if line["database_milliseconds"] > SLOW]
        (digest,) = {line["viewer"] for line in slow_ones}
        (document,) = {line["document"] for line in slow_ones}

        # Which: by the log, and by PostgreSQL's own statistics.
        assert {line["operation"] for line in slow_ones} == {"Greenhouse"}
        (text,) = {line["text"] for line in lines if line["logger"] == "community_gql.documents"
                   and line["document"] == document}  # fmt: skip
        assert text.startswith("query Greenhouse{viewer{user{garden{name}}}")
        assert "moss" not in text
        assert [
            row["operation"]
            for row in stats["operations"]
            if row["max_ms"] > SLOW and "op=" in row["operation"]
        ] == [f"op=Greenhouse doc={document}"]
        # Who.
        who = command(address, "who", digest)
        assert f"email: {patient.email}" in who
        assert f"sub: {patient.sub}" in who
        # Since when.
        since = min(datetime.fromisoformat(line["time"]) for line in slow_ones)
        quick = [line for line in requests if line["document"] == document]
        assert began < since
        assert len(slow_ones) == 2
        assert len([x for x in quick if datetime.fromisoformat(x["time"]) < began]) == 8
    finally:
        await db.close()


async def test_statements_name_the_operation(address: str, tmp_path: Path) -> None:
    """Compiled ones, those of a mutation, and those of the loaders for a query that searches.

    The loaders' other statements belong to many operations: pg_stat_statements keeps the text of
    the first that ran, which then has no name.
    """
    from community_gql.identity.development import DevelopmentIssuer
    from tests.support.client import serving

    db = await asyncpg.connect(address)
    try:
        await db.execute("CREATE EXTENSION pg_stat_statements")
        anna = await make.person(db, "Anna")
        name = "L" + "o" * 70 + "ng"
        for pushdown in ("off", "always"):
            async with serving(address, DevelopmentIssuer(tmp_path), pushdown=pushdown) as api:
                await api.meet(anna)
                search = '(filter: {search: "anna"})' if pushdown == "off" else ""
                for query in (f"query By_{pushdown} {{ users{search} {{ nodes {{ id }} }} }}",
                              f"query {name} {{ stories {{ nodes {{ id }} }} }}",
                              "{ tags { nodes { id } } }"):  # fmt: skip
                    answer = await api.send(
                        "POST",
                        json={"query": query, "extensions": {"sql": True}},
                        headers=api.authorization(anna.sub),
                    )
                    # What people are shown is the statement alone.
                    assert "/* op=" not in answer.response.text
                garden = {"name": "Moss"}
                await api(
                    "mutation Plant($input: CreateGardenInput!) { createGarden(input: $input) "
                    "{ garden { id } } }",
                    anna,
                    input=garden,
                )
        found = {
            row["operation"].split()[0]
            for row in command(address, "stats", "--json", "--limit", "50")["operations"]
        }
        shown = command(address, "stats")
    finally:
        await db.close()

    assert {"op=By_off", "op=By_always", "op=Plant", "op=-", f"op={name[:60]}"} <= found
    assert "op=Plant" in shown


def test_stats_without_the_extension_says_what_to_do(address: str) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("community-gql")), "stats"],
        env=os.environ | {"DATABASE_URL": address},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0
    assert "CREATE EXTENSION pg_stat_statements" in done.stderr
    assert "unused indexes" in done.stdout


@pytest.mark.parametrize(
    ("digest", "reason"), [("0123456789ab", "nobody has the digest"), ("x", "is not a digest")]
)
def test_who_is_nobody(address: str, digest: str, reason: str) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("community-gql")), "who", digest],
        env=os.environ | {"DATABASE_URL": address},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert reason in done.stderr


@pytest.mark.parametrize("words", [("stats",), ("who", "9f86d081884c")])
def test_a_database_that_is_away_is_one_sentence(words: tuple[str, ...]) -> None:
    done = attempted(f"postgresql://nobody@{HOST}:{free_port()}/nothing", *words)
    assert done.startswith("error: the database is out of reach: ")
    assert done.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ("who", "9f86d081884c"),
        ("accounts", "export", "ada@example.com"),
        ("tags", "rename", "moss", "fern"),
    ],
)
def test_a_role_without_rights_is_one_sentence(guest_url: str, words: tuple[str, ...]) -> None:
    done = attempted(plain_address(guest_url), *words)
    assert done.startswith("error: the database refused: permission denied for table ")
    assert done.count("\n") == 1


def attempted(url: str, *words: str) -> str:
    """What a command that fails says."""
    done = ran(url, *words)
    assert done.returncode == 1
    return done.stderr
