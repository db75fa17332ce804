"""The commands of ``community-gql matching``, as an operator runs them."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import sys
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from community_gql.matching import evaluating, neighbours
from community_gql.matching.running import MatchingError, connected
from tests.matching.conftest import community, lists, matched
from tests.support import factories as make

pytestmark = pytest.mark.system

MAIN = "import sys; {}; from community_gql.cli import main; sys.argv[0] = 'community-gql'; main()"


async def command(
    url: str | None, *words: str, before: str = "pass", **variables: str
) -> tuple[int, str, str]:
    """Run a command; its exit status and what it said on stdout and stderr."""
    environment = {key: item for key, item in os.environ.items() if key != "DATABASE_URL"}
    if url is not None:
        environment["DATABASE_URL"] = url
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MAIN.format(before), "matching", *words,
        env={**environment, **variables},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_run_and_status(db: asyncpg.Connection, database_url: str) -> None:
    people, words = await community(db, 40, random.Random(1))
    code, out, err = await command(database_url, "run", "--top", "5")
    assert (code, out) == (0, "")
    assert "matching vectors: 40 of 40" in err
    assert "lists looked at" in err
    await make.choose(db, people[3], *(await make.tag(db), await make.tag(db)))
    await db.execute("INSERT INTO match_choices VALUES ($1, false)", people[1].sub)
    code, out, err = await command(database_url, "status", "--json", "--stale")
    assert (code, err) == (0, "")
    told = json.loads(out)
    vectors = await db.fetchval("SELECT count(*) FROM user_features")
    assert told["people"] == 40
    assert (told["version"], told["made_by"]) == (1, "recipe 1")
    assert (told["vectors"], told["opted_out"], told["stale_vectors"]) == (vectors, 1, 1)
    assert told["lists"] + told["empty"] == vectors == len(await lists(db)) + told["empty"]
    assert [one["email"] for one in told["stale"]] == [people[3].email]
    code, out, _ = await command(database_url, "status")
    assert code == 0
    assert "made by        recipe 1" in out
    assert re.search(r"^since +\d{4}-\d\d-\d\d [\d:]{8} UTC$", out, re.M)
    assert words


@pytest.mark.parametrize(
    ("words", "before", "sentence"),
    [
        ("run --every soon", "pass", "--every is 'soon', but it must be a number and a unit"),
        ("run", "sys.modules['numpy'] = None", "pip install 'community-gql[matching]'"),
    ],
)
async def test_a_mistake_is_a_sentence(words: str, before: str, sentence: str) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:9/nothing"
    code, out, err = await command(nowhere, *words.split(), before=before)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert sentence in err


@pytest.fixture
def blank_url(empty_database_url: Callable[..., str]) -> str:
    """A database without migrations."""
    return empty_database_url()


async def test_a_database_without_migrations_or_away_is_a_sentence(blank_url: str) -> None:
    with pytest.raises(MatchingError, match="Run the migrations: community-gql db upgrade"):
        await matched(blank_url)
    with pytest.raises(MatchingError, match=r"the database failed.*run the same command again"):
        await matched("postgresql://nobody@127.0.0.1:9/nothing")


async def test_what_needs_vectors_says_so(database_url: str) -> None:
    async with connected(database_url) as connection:
        for work in (evaluating.evaluate, neighbours.build):
            with pytest.raises(MatchingError, match="First: community-gql matching run"):
                await work(connection)


async def test_serving_never_imports_numpy() -> None:
    code = "import sys, community_gql.app; assert 'numpy' not in sys.modules"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    assert await process.wait() == 0


async def test_evaluate_reads_only(db: asyncpg.Connection, database_url: str) -> None:
    people, _ = await community(db, 60, random.Random(2))
    await matched(database_url)
    async with connected(database_url) as connection:
        with pytest.raises(MatchingError, match="0 friendships"):
            await evaluating.evaluate(connection)
        for one, other in zip(people, people[1:] + people[:1], strict=True):
            await make.friendship(db, one, other)
            if one != people[2]:
                third = people[(people.index(one) + 7) % 60]
                await make.friendship(db, one, third)
        await connection.execute("SET default_transaction_read_only = on")
        found = await evaluating.evaluate(connection)
    assert 10 < found.people <= 60
    for quality in (found.matching, found.popularity, found.random):
        assert 0 <= quality.ndcg <= quality.hit_rate <= 1
    code, out, _ = await command(database_url, "evaluate")
    assert code == 0
    assert f"matching      {found.matching.hit_rate:.4f}" in out


async def test_an_index_of_pgvector(db: asyncpg.Connection, database_url: str) -> None:
    await community(db, 60, random.Random(3))
    await matched(database_url)
    async with connected(database_url) as connection:
        example = await neighbours.build(connection)
        assert await neighbours.build(connection) == example
    name = f"{neighbours.PREFIX}1"
    for way in ("seqscan", "bitmapscan", "sort"):  # so small a table needs no index
        await db.execute(f"SET enable_{way} = off")
    (someone,) = await db.fetch(
        "SELECT user_id FROM match_results GROUP BY user_id ORDER BY count(*) DESC LIMIT 1"
    )
    plan = await db.fetch("EXPLAIN " + example.replace("$1", f"'{someone[0]}'"))
    assert name in str(plan)
    near = [row[0] for row in await db.fetch(example, someone[0])]
    listed = [who for who, _ in (await lists(db))[someone[0]]]
    assert len({*near[:5]} & {*listed[:6]}) >= 3
    async with connected(database_url) as connection:
        assert await neighbours.drop(connection) == 1
        assert await neighbours.drop(connection) == 0


@pytest.fixture(autouse=True)
async def _without_the_extension(db: asyncpg.Connection) -> AsyncIterator[None]:
    yield
    await db.execute("DROP EXTENSION IF EXISTS vector CASCADE")


async def test_without_pgvector_it_is_a_sentence(
    db: asyncpg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await community(db, 20, random.Random(4))
    await matched(database_url)
    async with connected(database_url) as connection:
        await connection.execute("CREATE ROLE plain; GRANT plain TO CURRENT_USER")
        try:
            await connection.execute(
                "GRANT SELECT ON match_recipes, user_features TO plain; SET ROLE plain"
            )
            with pytest.raises(MatchingError, match="only a superuser may create it"):
                await neighbours.build(connection)
        finally:
            await connection.execute("RESET ROLE; DROP OWNED BY plain; DROP ROLE plain")
        # An installation that lacks it, by a catalog that says so.
        await connection.execute(
            "CREATE TEMP VIEW pg_available_extensions AS "
            "SELECT * FROM pg_catalog.pg_available_extensions WHERE name <> 'vector'"
        )
        await connection.execute("SET search_path = pg_temp, public, pg_catalog")
        with pytest.raises(MatchingError, match="this PostgreSQL has no pgvector"):
            await neighbours.build(connection)
