"""Lists of people are what a plain statement says, in every order, whatever index is walked."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest

from community_gql.db.texts import Fixed
from community_gql.graph import statements
from community_gql.graph.edges import ToPage
from community_gql.graph.paging import MAX_COUNT
from community_gql.graph.search import word_prefixes
from community_gql.graph.walks import has_way
from community_gql.schema.kinds import PageField, declared
from community_gql.settings.checks import plain_address
from tests.support import graph

NAMES = (
    "Ada", "Ada Adam", "ada lovelace", "Adele", "", "J.R.R. Tolkien", "O'Brien", "a\\b c", "É",
    "Maria-Anna Ada", "x.co/path", "🌱 moss", "مريم", "-5 ада", "A", "a:b", "ß", "İı Ada",
)  # fmt: skip
SEARCHES = (
    "a", "ad", "ada", "adam ada", "A D", "j", "j.r", "o'b", "maria-a", "anna maria", "x.co", "🌱",
    "م", "-5", "5", "xylophonist", "\\", "a\\b", "'", "ß", ":*", "ada!", "&", "i",
)  # fmt: skip
ORDERS = {
    "NEWEST": (("u.created_at", "u.public_id"), "DESC"),
    "NAME": (("u.name_key = ''", "u.name_key", "u.public_id"), "ASC"),
}
FOUND = "to_tsvector('simple', u.name_key) @@ to_tsquery('simple', $1)"


@pytest.fixture
async def people(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Sixty people, many of whom have the same name or joined at the same moment."""
    chance = random.Random(3)
    db = await asyncpg.connect(plain_address(database_url))
    await db.execute("INSERT INTO tags (id, name) VALUES (1, 'moss'), (2, 'rain'), (3, 'rare')")
    for n in range(60):
        await db.execute(
            "INSERT INTO users (auth0_sub, email, created_at) "
            "VALUES ($1::text, $1::text, '2026-01-01Z'::timestamptz + $2 * interval '1 hour')",
            f"p{n}",
            chance.randint(1, 9),
        )
        await db.execute(
            "INSERT INTO user_profiles (user_id, display_name) VALUES ($1, $2)",
            f"p{n}",
            chance.choice(NAMES),
        )
        for tag, most in ((1, 0.7), (2, 0.5), (3, 0.03)):
            if chance.random() < most:
                await db.execute("INSERT INTO user_tags VALUES ($1, $2)", f"p{n}", tag)
    yield db
    await db.close()


def edge_of(coordinate: str) -> ToPage:
    field = declared(graph.edges()[coordinate])
    assert isinstance(field, PageField)
    return field.source


def asked() -> Iterator[tuple[str, dict[str, str]]]:
    """The lists, and what they are filtered by."""
    for name in ("Query.users", "Tag.users"):
        yield name, {}
        for tag in ("moss", "rain", "rare", "unknown"):
            yield name, {"tag": tag}
        for search in SEARCHES:
            yield name, {"search": word_prefixes(search)}
        for search in ("a", "ada", "adam ada"):
            yield name, {"search": word_prefixes(search), "tag": "rain"}


async def truth(
    db: asyncpg.Connection, name: str, given: dict[str, str], order: str
) -> list[asyncpg.Record]:
    keys, direction = ORDERS[order]
    wanted = [FOUND if "search" in given else "$1::text IS NULL"]
    if name == "Tag.users":
        wanted.append("u.auth0_sub IN (SELECT user_id FROM user_tags WHERE tag_id = 1)")
    wanted.append(
        "u.auth0_sub IN (SELECT user_id FROM user_tags JOIN tags ON id = tag_id WHERE name = $2)"
        if "tag" in given
        else "$2::text IS NULL"
    )
    return await db.fetch(
        f"SELECT u.auth0_sub, {', '.join(keys)} FROM users u WHERE {' AND '.join(wanted)} "
        f"ORDER BY {', '.join(f'{key} {direction}' for key in keys)}",
        given.get("search"),
        given.get("tag"),
    )


async def run(db: asyncpg.Connection, statement: Any, given: dict[str, Any]) -> list[Any]:
    fixed = Fixed(statement)
    values = {"viewer": None, "keys": [1], **given}
    return list(await db.fetch(fixed.text(None), *fixed.arguments(values)))


@pytest.mark.parametrize("order", ORDERS)
async def test_every_page_is_that_of_the_plain_list(people: asyncpg.Connection, order: str) -> None:
    chance = random.Random(5)
    for name, given in asked():
        edge, names = edge_of(name), tuple(given)
        there = await truth(people, name, given, order)
        subs = [row["auth0_sub"] for row in there]
        places = [None, *([chance.randrange(len(there)), len(there) - 1] if there else [])]
        for place in places:
            backward = chance.random() < 0.5
            near_rows = chance.choice((16, 5000))  # one row, and all
            values: dict[str, Any] = dict(given)
            if place is not None:
                cursor = tuple(there[place])[1:]
                values.update({f"cursor_{n}": key for n, key in enumerate(cursor)})
            page = statements.pages(edge, order, backward, place is not None, names, 4, near_rows)
            found = [row["auth0_sub"] for row in await run(people, page, values)]
            if backward:
                expected = subs[::-1] if place is None else subs[:place][::-1]
            else:
                expected = subs if place is None else subs[place + 1 :]
            assert found == expected[:5], (name, given, order, backward, place)


async def test_every_count_is_that_of_the_plain_list(people: asyncpg.Connection) -> None:
    for name, given in asked():
        there = await truth(people, name, given, "NEWEST")
        counted = await run(people, statements.counts(edge_of(name), tuple(given)), given)
        assert [row["n"] for row in counted] == [len(there)], (name, given)


async def test_counting_stops(people: asyncpg.Connection) -> None:
    await people.execute("""
        INSERT INTO users (auth0_sub, email, name_key)
        SELECT 'q' || n, 'q' || n, 'zoe zoltan ' || n FROM generate_series(1, 1100) AS n;
        INSERT INTO user_tags SELECT auth0_sub, tags.id FROM users, tags WHERE name_key LIKE 'zoe%'
    """)
    searches: list[dict[str, str]] = [
        {"search": word_prefixes(text)} for text in ("z", "zoe", "zol zoe")
    ]
    for given in ({}, {"tag": "rain"}, *searches):
        for name in ("Query.users", "Tag.users"):
            counted = await run(people, statements.counts(edge_of(name), tuple(given)), given)
            assert [row["n"] for row in counted] == [MAX_COUNT + 1], (name, given)


def test_which_lists_are_walked() -> None:
    """Of people alone: who may see a story is asked of each."""
    walked = {
        (name, filters)
        for name in ("Query.users", "Tag.users", "Query.stories", "Tag.stories", "Viewer.friends")
        for filters in ((), ("search",), ("tag",), ("search", "tag"))
        if set(filters) <= edge_of(name).filters.keys() and has_way(edge_of(name), filters)
    }
    assert walked == {
        ("Query.users", ("search",)), ("Query.users", ("tag",)), ("Query.users", ("search", "tag")),
        ("Tag.users", ()), ("Tag.users", ("search",)), ("Tag.users", ("tag",)),
    }  # fmt: skip
