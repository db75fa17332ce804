"""Loading the graph: how many statements it takes, and that each parent gets its own."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import pytest
from graphql import GraphQLField, get_named_type, is_leaf_type
from sqlalchemy import text

from community_gql.db.database import Snapshot, opened
from community_gql.db.pool import Lent, Pool
from community_gql.errors import Unavailable
from community_gql.graph.loaders import Loaders
from community_gql.graph.plans import Lookup
from community_gql.graph.visibility import ANONYMOUS
from community_gql.identity import provisioning
from community_gql.identity.development import DevelopmentIssuer
from community_gql.operations import documents
from community_gql.operations.shape import LIMITS
from community_gql.schema.types import Tag
from tests.support import factories as make
from tests.support import graph
from tests.support.client import Answer, Client, serving
from tests.support.factories import Person, Row, day

# --- Statements: as many for 200 parents as for 2 ---

SIDES = '{ tags(first: 2, filter: {prefix: "side "}) { nodes'
ROUTES = {
    "Query": "{ %s }",
    "Viewer": "{ viewer { %s } }",
    "User": SIDES + " { users(first: $n) { nodes { %s } } } } }",
    "Profile": SIDES + " { users(first: $n) { nodes { profile { %s } } } } } }",
    "Garden": SIDES + " { users(first: $n) { nodes { garden { %s } } } } } }",
    "Friendship": SIDES + " { users(first: $n) { nodes { viewerFriendship { %s } } } } } }",
    "Tag": "{ tags(first: $n) { nodes { %s } } }",
    "Story": SIDES + " { stories(first: $n) { nodes { %s } } } } }",
    "Habit": "{ viewer { user { habits(first: $n) { nodes { %s } } } } }",
    "Match": "{ viewer { user { matches(first: $n) { nodes { %s } } } } }",
    "MatchReasons": "{ viewer { user { matches(first: $n) { nodes { reasons { %s } } } } } }",
}
"""A way to many parents of each type: to ``$n`` of them on each of two sides."""
BY_IDS = "{ nodes(ids: $ids) { ... on %s { %%s } } }"
"""The way to those of other types, which OWNED can make."""

PARENTS = {
    **dict.fromkeys(("Query", "Viewer"), (1, 1)),
    **dict.fromkeys(("Tag", "Habit", "Match", "MatchReasons"), (1, 100)),
}
"""How many parents that is for 1 and for 100, if not 2 and 200. A page has 100 at most; only the
viewer's own habits, matches and reasons can be seen, and tags below a page of people cost too
much."""

REQUIRED = {
    "Query.user": "(id: $user)",
    "Query.story": "(id: $story)",
    "Query.tag": '(name: "side a")',
    "Query.node": "(id: $garden)",
    "Query.nodes": "(ids: $ids)",
}


@dataclass
class Crowd:
    api: Client
    viewer: Person
    values: dict[str, Any]
    owned: dict[str, list[str]]
    """The ids of 100 parents of each type that has no route."""

    async def ask(self, query: str, **values: Any) -> Answer:
        """The viewer's answer; each ``$name`` in the query is replaced by its value."""
        answer = await self.api(filled(query, {**self.values, **values}), self.viewer)
        assert "errors" not in answer.body, answer.body
        assert len(answer.statements) == answer.line.statements  # type: ignore[attr-defined]
        return answer


def filled(query: str, values: Mapping[str, Any]) -> str:
    """The query with values in place of ``$name``, for queries put together from parts."""
    for name, value in values.items():
        query = query.replace(f"${name}", json.dumps(value))
    return query


CROWD = """
INSERT INTO users (auth0_sub, email)
  SELECT 'crowd|' || n, n || '@crowd' FROM generate_series(1, 200) n;
INSERT INTO user_profiles (user_id, display_name) SELECT 'crowd|' || n, 'N' || n
  FROM generate_series(1, 200) n;
INSERT INTO gardens (user_id, name) SELECT 'crowd|' || n, 'G' || n FROM generate_series(1, 200) n;
INSERT INTO tags (name) SELECT 'own ' || n FROM generate_series(1, 200) n;
INSERT INTO tags (name) VALUES ('side a'), ('side b');
INSERT INTO user_tags SELECT 'crowd|' || n, t.id FROM generate_series(1, 200) n, tags t
  WHERE t.name IN ('own ' || n, CASE WHEN n <= 100 THEN 'side a' ELSE 'side b' END);
INSERT INTO stories (user_id, title, content, visibility)
  SELECT 'crowd|' || n, 'S' || n, 'A lantern.', 'public' FROM generate_series(1, 200) n;
INSERT INTO story_tags SELECT s.id, t.tag_id FROM stories s JOIN user_tags t USING (user_id);
INSERT INTO friendships (requester_id, addressee_id, status, accepted_at)
  SELECT 'crowd|' || n, 'crowd|me', 'accepted', now() FROM generate_series(1, 100) n;
INSERT INTO friendships (requester_id, addressee_id)
  SELECT 'crowd|' || n, 'crowd|me' FROM generate_series(101, 200) n;
INSERT INTO habits (user_id, name, frequency)
  SELECT 'crowd|me', 'H' || n, 'daily' FROM generate_series(1, 100) n;
INSERT INTO match_results (user_id, target_user_id, score, created_at)
  SELECT 'crowd|me', 'crowd|' || n, n / 200.0, now() FROM generate_series(1, 200) n;
"""


@pytest.fixture
def pushdown() -> str:
    return "off"


@pytest.fixture
async def crowd(api: Client, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch) -> Crowd:
    # Ways to many parents go through more lists than a client may nest.
    monkeypatch.setattr(documents, "LIMITS", replace(LIMITS, lists=9))
    me = await make.person(db, "Me", sub="crowd|me")
    await make.features(db, me)
    mine = await make.story(db, me)
    garden = await make.garden(db, me)
    await db.execute(CROWD)
    answer = await api("{ stories(first: 100) { nodes { id } } }")
    ids = [node["id"] for node in answer.data["stories"]["nodes"]]
    owned = {
        name: [(await owned(db, me)).id for _ in range(100)]
        for name, owned in make.OWNED.items()
        if name not in ROUTES
    }
    values = {"user": me.id, "story": mine.id, "garden": garden.id, "ids": ids, "n": 1}
    return Crowd(api, me, values, owned)


def selected(coordinate: str, field: GraphQLField) -> str:
    """A selection of an edge that loads it and nothing below it, without totalCount."""
    named, name = get_named_type(field.type), coordinate.split(".")[1]
    below = "" if is_leaf_type(named) else "{ __typename }"
    if named.name.endswith("Connection"):
        below = "{ nodes { __typename } }"
    return f"{name}{REQUIRED.get(coordinate, '')} {below}"


def test_every_type_with_edges_has_a_route() -> None:
    parents = {coordinate.split(".")[0] for coordinate in graph.edges()}
    assert ROUTES.keys() <= parents
    missing = parents - ROUTES.keys() - make.OWNED.keys()
    assert missing == set(), "add a way to many of them to ROUTES, or a maker to OWNED"


# The number of rows that were asked for.
NUMBER = re.compile(
    r"(?<=LIMIT )\d+|(?<=count\(\*\) = )\d+|\d+(?= [->] steps\.total)|(?<=\[1:)\d+(?=\])"
)


@pytest.mark.parametrize("coordinate", sorted(graph.edges()))
async def test_an_edge_takes_one_statement_for_any_number_of_parents(
    crowd: Crowd, coordinate: str
) -> None:
    parent, name = coordinate.split(".")
    field = graph.edges()[coordinate]
    selections = [("", 0), (selected(coordinate, field), 1)]
    if get_named_type(field.type).name.endswith("Connection"):
        both = selected(coordinate, field).replace("{ nodes", "{ totalCount nodes")
        selections.append((both, 2))
    texts: dict[int, list[str]] = {}
    route, expected = ROUTES.get(parent), PARENTS.get(parent, (2, 200))
    ids = crowd.values["ids"]
    if route is None:
        route, expected, ids = BY_IDS % parent, (2, 100), crowd.owned[parent]
    for selection, cost in selections:
        query = route % f"parent: __typename {selection}"
        few = await crowd.ask(query, n=1, ids=ids[:2])
        many = await crowd.ask(query, n=100, ids=ids)

        parents = (few.response.text.count('"parent"'), many.response.text.count('"parent"'))
        assert parents == expected, "the test needs its parents"
        shapes = [[NUMBER.sub("n", text) for text in a.statements] for a in (few, many)]
        assert shapes[0] == shapes[1], "neither their number nor their text may grow"
        texts[cost] = many.statements
        assert len(many.statements) == len(texts[0]) + cost, f"{name} costs one per level"


async def test_a_deep_operation_takes_one_statement_per_edge_and_level(crowd: Crowd) -> None:
    answer = await crowd.ask(
        SIDES
        + """ {
          users(first: 100) { nodes {
            profile { displayName }
            tags { name stories(first: 2) { totalCount nodes { author { garden { name } } } } }
            stories(first: 1) { nodes { excerpt tags { name } } }
          } }
        } } }"""
    )

    # tags users profile tags stories totalCount author garden stories excerpt tags
    assert len(answer.statements) == 11
    assert len(set(answer.statements)) == 11


async def test_aliases_with_the_same_arguments_share_a_batch(crowd: Crowd) -> None:
    answer = await crowd.ask(
        "{ a: users(first: 2) { totalCount nodes { id profile { bio } } } "
        "b: users(first: 2) { totalCount nodes { id profile { bio } } } "
        "c: users(first: 2, orderBy: NEWEST) { totalCount } }"
    )

    assert answer.data["a"] == answer.data["b"]
    assert len(answer.statements) == 3


async def test_nodes_takes_one_statement_per_type(crowd: Crowd) -> None:
    ids = [*crowd.values["ids"][:3], crowd.values["user"], crowd.values["garden"]]

    answer = await crowd.ask("{ nodes(ids: $ids) { __typename } }", ids=ids)

    assert [node["__typename"] for node in answer.data["nodes"]] == [
        *["Story"] * 3, "User", "Garden",
    ]  # fmt: skip
    assert len(answer.statements) == 3


async def test_what_is_not_asked_for_costs_nothing(crowd: Crowd) -> None:
    answer = await crowd.ask(
        "{ stories { pageInfo { hasNextPage } } nodes(ids: []) { id } "
        "node(id: $user) @skip(if: true) { id } }"
    )

    assert len(answer.statements) == 1


async def test_an_empty_level_asks_nothing(crowd: Crowd) -> None:
    answer = await crowd.ask(
        '{ users(filter: {search: "nobody"}) { totalCount nodes { profile { user { id } } } } }'
    )

    assert answer.data == {"users": {"totalCount": 0, "nodes": []}}
    assert len(answer.statements) == 2


# --- Each parent gets its own ---

WINDOWS = [
    "first: 2",
    "last: 2",
    "first: 2, orderBy: OLDEST",
    "last: 3, orderBy: OLDEST",
    'first: 2, filter: {tagsAny: ["moss"]}',
    'last: 2, filter: {tagsAll: ["moss", "oak"]}, orderBy: OLDEST',
    'first: 2, filter: {search: "lantern"}',
    'first: 2, filter: {search: "lantern"}, orderBy: RELEVANCE',
    'last: 2, filter: {search: "lantern"}, orderBy: RELEVANCE',
    'first: 2, filter: {createdAfter: "2026-01-02T09:00:00Z"}',
    "first: 0",
    "first: 2, after: $cursor",
    "last: 2, before: $cursor",
]


@dataclass
class Written:
    """Three people with 0, 3 and 7 stories, and what of them an anonymous viewer sees."""

    api: Client
    people: list[Person]
    tags: list[Row]


@pytest.fixture
async def written(api: Client, db: asyncpg.Connection) -> Written:
    moss, oak = await make.tag(db, "moss"), await make.tag(db, "oak")
    people = [await make.person(db, f"Writer {n}", tags=[moss]) for n in (0, 3, 7)]
    for number, person in zip((0, 3, 7), people, strict=True):
        for n in range(number):
            await make.story(
                db,
                person,
                f"{number}-{n}",
                content="lantern " * (1 + n % 3) if n % 2 == 0 else "Nothing.",
                visibility="private" if n == 5 else "public",
                tags=[moss, oak][: n % 3],
                created_at=day(n // 2),  # with ties
            )
    return Written(api, people, [moss, oak])


NESTED = {
    "User.stories": ("users { nodes { id %s } }", "user(id: $key) { id %s }", "id"),
    "Tag.stories": ("tags { nodes { name %s } }", "tag(name: $key) { name %s }", "name"),
}


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("coordinate", NESTED)
async def test_nested_pages_are_right_for_each_parent(
    written: Written, coordinate: str, window: str
) -> None:
    together, alone, key = NESTED[coordinate]
    root = together.split()[0]
    page = (
        f"stories({window}) {{ totalCount edges {{ cursor node {{ title }} }} "
        "pageInfo { hasNextPage hasPreviousPage startCursor endCursor } }"
    )
    if "$cursor" in window:
        whole = await written.api(f"{{ {together % 'stories { edges { cursor } }'} }}")
        edges = max((n["stories"]["edges"] for n in whole.data[root]["nodes"]), key=len)
        page = filled(page, {"cursor": edges[3]["cursor"]})

    answer = await written.api(f"{{ {together % page} }}")
    parents = answer.data[root]["nodes"]

    assert len(parents) == (3 if root == "users" else 2)
    for parent in parents:
        single = await written.api(filled(f"{{ {alone % page} }}", {"key": parent[key]}))
        assert list(single.data.values()) == [parent]
    assert window == "first: 0" or any(parent["stories"]["edges"] for parent in parents)
    assert any(parent["stories"]["totalCount"] for parent in parents)


async def test_a_nested_page_holds_the_parents_own_rows(written: Written) -> None:
    query = """{ users(orderBy: NAME) { nodes { stories(first: 2, orderBy: OLDEST) {
      totalCount nodes { title } pageInfo { hasNextPage }
    } } } }"""

    answer = await written.api(query)

    assert [
        (
            user["stories"]["totalCount"],
            [story["title"] for story in user["stories"]["nodes"]],
            user["stories"]["pageInfo"]["hasNextPage"],
        )
        for user in answer.data["users"]["nodes"]
    ] == [(0, [], False), (3, ["3-0", "3-1"], True), (6, ["7-0", "7-1"], True)]


async def test_what_is_not_there_is_null_in_its_place(api: Client, db: asyncpg.Connection) -> None:
    people = await make.people(db, 3)
    await db.execute("DELETE FROM user_profiles WHERE user_id = $1", people[1].sub)
    garden = await make.garden(db, people[2], "Zen")
    query = """query($ids: [ID!]!) { nodes(ids: $ids) {
      id ... on User { profile { displayName } garden { name } }
    } }"""
    gone = await make.person(db)
    await db.execute("DELETE FROM users WHERE auth0_sub = $1", gone.sub)
    ids = [people[2].id, gone.id, people[0].id, people[1].id, garden.id, people[2].id]

    nodes = (await api(query, None, ids=ids)).data["nodes"]

    zen = {"id": people[2].id, "profile": {"displayName": "Person 002"}, "garden": {"name": "Zen"}}
    assert nodes == [
        zen,
        None,
        {"id": people[0].id, "profile": {"displayName": "Person 000"}, "garden": None},
        {"id": people[1].id, "profile": None, "garden": None},
        {"id": garden.id},
        zen,
    ]


async def test_a_loader_gives_rows_in_the_order_of_the_keys(
    database_url: str, db: asyncpg.Connection
) -> None:
    tags = [await make.tag(db) for _ in range(3)]
    asked = [tags[2].key, -1, tags[0].key, tags[2].key, 2**63 - 1, tags[1].key]
    async with opened(database_url) as database:
        snapshot = database.snapshot()
        try:
            loaders = Loaders(snapshot, ANONYMOUS)
            batch = Lookup(Tag.shape, "id")  # type: ignore[attr-defined]
            found = await asyncio.gather(*(loaders.load(batch, key) for key in asked))
            again = await loaders.load(batch, tags[0].key)
        finally:
            await snapshot.close()

    assert [row and row.id for row in found] == [
        tags[2].key, None, tags[0].key, tags[2].key, None, tags[1].key,
    ]  # fmt: skip
    assert again is found[2]
    assert snapshot.statements == 1


# --- One snapshot and one connection ---


async def test_an_operation_sees_one_moment(
    api: Client, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await make.person(db, "Ada")
    await make.story(db, ada, "Before")
    run, turn = Snapshot.run, asyncio.Lock()
    written = 0

    async def run_and_write(self: Snapshot, *arguments: Any) -> Any:
        """Commit something after each statement of the operation."""
        nonlocal written
        found = await run(self, *arguments)
        async with turn:
            written += 1
            await make.story(db, ada, f"After {written}")
            await make.person(db)
            await db.execute("UPDATE user_profiles SET display_name = $1", f"Ada {written}")
            await db.execute("DELETE FROM stories WHERE title = 'Before'")
        return found

    query = """{ users { totalCount nodes { profile { displayName }
      stories { totalCount nodes { title author { profile { displayName } } } } } }
      stories { totalCount } }"""
    with monkeypatch.context() as patched:
        patched.setattr(Snapshot, "run", run_and_write)
        during = (await api(query)).data
    after = (await api(query)).data

    name = {"displayName": "Ada"}
    assert written >= 6
    assert during == {
        "users": {
            "totalCount": 1,
            "nodes": [
                {
                    "profile": name,
                    "stories": {
                        "totalCount": 1,
                        "nodes": [{"title": "Before", "author": {"profile": name}}],
                    },
                }
            ],
        },
        "stories": {"totalCount": 1},
    }
    assert after["stories"]["totalCount"] == written
    assert after["users"]["totalCount"] == 1 + written


async def test_who_stops_waiting_takes_nothing_from_others(
    database_url: str, db: asyncpg.Connection
) -> None:
    """The executor cancels what waits beside an error, in a list whose other items go on."""
    tag = await make.tag(db)
    async with opened(database_url) as database:
        snapshot = database.snapshot()
        try:
            loaders = Loaders(snapshot, ANONYMOUS)
            batch = Lookup(Tag.shape, "id")  # type: ignore[attr-defined]
            one, other = loaders.load(batch, tag.key), loaders.load(batch, tag.key)
            one.cancel()
            assert (await other).id == tag.key
            assert (await loaders.load(batch, tag.key)).id == tag.key
        finally:
            await snapshot.close()


async def test_an_operation_cannot_write(database_url: str) -> None:
    async with opened(database_url) as database:
        snapshot = database.snapshot()
        try:
            with pytest.raises(Unavailable) as refused:
                await snapshot.run(text("INSERT INTO tags (name) VALUES ('x')"), {})
            assert "read-only transaction" in str(refused.value.__cause__)
        finally:
            await snapshot.close()


@pytest.fixture
def checkouts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The connections that were lent, one entry for each time."""
    taken: list[Any] = []
    lend = Pool.lend

    async def noted(self: Pool, *given: Any, **options: Any) -> Lent:
        lent = await lend(self, *given, **options)
        taken.append(lent.driver)
        return lent

    monkeypatch.setattr(Pool, "lend", noted)
    return taken


NESTED_QUERY = """{
  users { totalCount nodes { profile { displayName } garden { name } tags { name }
    stories { totalCount nodes { excerpt author { id } tags { name } } } } }
  stories { totalCount nodes { id } }
  tags { nodes { users { totalCount } stories { totalCount } } }
}"""


async def test_an_operation_takes_one_connection_and_gives_it_back(
    written: Written, checkouts: list[Any]
) -> None:
    assert len((await written.api(NESTED_QUERY)).statements) > 10
    assert len(checkouts) == 1

    await written.api("{ __typename }")
    await written.api("{ stories(first: 101) { totalCount } }")
    await written.api("{ no such thing")
    assert len(checkouts) == 1, "what needs no row takes no connection"


async def test_twenty_operations_share_one_connection(
    written: Written,
    database_url: str,
    issuer: DevelopmentIssuer,
    checkouts: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(provisioning, "WATCH", 3600)  # it takes a connection now and then
    settings = {"database_pool_size": 1, "database_pool_timeout": 120}
    async with serving(database_url, issuer, pushdown="off", **settings) as api:
        viewers = [*written.people, None] * 5
        for person in written.people:
            await api.meet(person)
        checkouts.clear()

        answers = await asyncio.gather(*(api(NESTED_QUERY, viewer) for viewer in viewers))

        assert len({id(connection) for connection in checkouts}) == 1
        assert len(checkouts) == 20
        for viewer, answer in zip(viewers, answers, strict=True):
            assert answer.data == (await written.api(NESTED_QUERY, viewer)).data
