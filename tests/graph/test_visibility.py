"""Who may see what, along every path, and the guards that keep it so."""

from __future__ import annotations

import ast
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import asyncpg
import pytest
from sqlalchemy import inspect, select
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column

from community_gql.db import models as m
from community_gql.graph.visibility import rule, visible
from community_gql.schema.ids import write_id
from tests.graph import unscoped
from tests.support import factories as make
from tests.support import graph
from tests.support.client import Client
from tests.support.factories import Person, Row, day

pytestmark = pytest.mark.both_ways

# --- The rules are there, and nothing goes around them ---

MODELS = sorted((mapper.class_ for mapper in m.Base.registry.mappers), key=lambda c: c.__name__)


@pytest.mark.parametrize("model", MODELS)
def test_every_mapped_class_has_a_rule_about_the_viewer_only(model: type[m.Base]) -> None:
    it = aliased(model)
    demand = select(rule(it))

    assert set(demand.compile().params) <= {"viewer"}
    assert demand.get_final_froms() in ([], [inspect(it).selectable]), "it speaks of another row"


def test_a_class_without_a_rule_cannot_be_read() -> None:
    class Elsewhere(DeclarativeBase):
        pass

    class Badge(Elsewhere):
        __tablename__ = "badges"
        id: Mapped[int] = mapped_column(primary_key=True)

    for entity in (Badge, aliased(Badge)):
        with pytest.raises(LookupError, match="Badge has no visibility rule"):
            visible(entity)


@pytest.mark.parametrize("path", list(unscoped.modules()), ids=unscoped.name)
def test_nothing_reads_around_the_rules(path: Any) -> None:
    assert unscoped.unscoped(path.read_text()) == []


def test_the_guard_watches_what_requests_reach() -> None:
    watched = set(map(unscoped.name, unscoped.modules()))

    assert {
        "graph/loaders.py",
        "db/models.py",
        "db/database.py",
        "schema/query.py",
        "schema/filters.py",
    } <= watched
    imported = {
        part
        for path in unscoped.modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("community_gql")
        for part in (*(node.module or "").split("."), *(alias.name for alias in node.names))
    }
    tools = {PurePath(name).stem for name in unscoped.TOOLS}
    assert imported.isdisjoint(tools), "a tool that requests reach must be watched"


BAD = """
from sqlalchemy import select; select(Story)
from sqlalchemy import select as pick; pick(Story.id).where(Story.id == 1)
import sqlalchemy as sa; sa.select(Story)
import sqlalchemy; sqlalchemy.exists(Story)
from sqlalchemy import exists; exists().where(x)
from sqlalchemy.orm import Query; Query(Story)
stories.select().where(stories.c.id == 1)
(await session.get(Story, 1)).title
self.session.get_one(model, key)
session.query(m.Story)
from community_gql.db import models as m; connection.get(m.Story, 1)
from community_gql.db.models import Story; anything.get(Story, 1)
user.stories.any(Story.title == "x")
story.author.has()
from sqlalchemy import func, select; select(func.count()).select_from(Story)
from sqlalchemy import func, select; select(func.max(Story.id))
from sqlalchemy import text; text("SELECT * FROM stories")
from sqlalchemy import text; text(query)
import sqlalchemy as sa; sa.text(f"{query}")
await connection.execute("SELECT 1")
await connection.execute(f"SELECT {what}")
await connection.execute("SELECT " + what)
await connection.execute("SELECT {}".format(what))
await connection.execute(" ".join(parts))
SQL = "SELECT 1"; await connection.execute(SQL, values)
SQL: str = "SELECT 1"; await session.scalar(SQL)
await connection.executemany("SELECT $1", rows)
await connection.fetch(query)
await connection.fetchrow(query)
await connection.fetchval(query)
connection.exec_driver_sql(query)
connection.cursor("SELECT 1")
select(Story)  # unscoped
from sqlalchemy import select; select(Story)  # unscoped:
from sqlalchemy import select; select(Story)  # scoped elsewhere
from sqlalchemy import select; "# unscoped: not a comment"; select(Story)
""".strip().splitlines()
BAD[BAD.index("select(Story)  # unscoped")] = "stories.select()  # unscoped"


@pytest.mark.parametrize("source", BAD)
def test_the_guard_finds(source: str) -> None:
    assert unscoped.unscoped(f"async def work():\n  {source}\n") != []


GOOD = """
from community_gql.graph.visibility import visible; visible(Story, Story.id).where(x)
from sqlalchemy import select; select(Story)  # unscoped: counts public rows only
from sqlalchemy import text; text("created_at DESC")
from community_gql.errors import text; text(query)
settings.get("select"); headers.get(name); values.get(Story)
await session.execute(statement, values)
page.cursor(0); any(rows); path.exists()
from sqlalchemy import func, select; session.first(select(func.now(), func.lock(_KEY, 1)))
""".strip().splitlines()


@pytest.mark.parametrize("source", GOOD)
def test_the_guard_leaves_alone(source: str) -> None:
    assert unscoped.unscoped(f"async def work():\n  {source}\n") == []


def test_the_guard_accepts_a_reason_on_any_line_of_the_read_and_no_other() -> None:
    read = "from sqlalchemy import select\nx = (\n  {}select(Story)\n  .where(a)\n){}\n{}y = 1\n"
    reason = "# unscoped: for this test"

    assert unscoped.unscoped(read.format("", "", "")) == ["3: select"]
    assert unscoped.unscoped(read.format(f"{reason}\n  ", "", "")) == []
    assert (
        unscoped.unscoped(read.replace(".where(a)", f".where(a)  {reason}").format("", "", ""))
        == []
    )
    assert unscoped.unscoped(read.format("", "", f"{reason}\n")) == ["3: select"]


# --- The truth table of stories ---

VISIBLE = {
    "anonymous": {"public"},
    "stranger": {"public"},
    "asked": {"public"},
    "asking": {"public"},
    "friend": {"public", "friends"},
    "befriended": {"public", "friends"},
    "author": {"public", "friends", "private"},
}
"""Which of the author's stories each viewer sees. ``asked`` is a viewer whom the author asked for
friendship, ``asking`` one who asked the author; of ``friend`` and ``befriended`` the first asked
and the second accepted."""


@dataclass
class World:
    api: Client
    author: Person
    viewers: dict[str, Person | None]
    stories: dict[str, Row]
    tag: Row
    garden: Row

    async def ask(self, viewer: str, query: str, **variables: Any) -> Any:
        return (await self.api(query, self.viewers[viewer], **variables)).data


@pytest.fixture
async def world(api: Client, db: asyncpg.Connection) -> World:
    tag = await make.tag(db, "moss")
    author = await make.person(db, "Ada", tags=[tag])
    viewers: dict[str, Person | None] = {
        name: await make.person(db, name) for name in VISIBLE if name not in ("anonymous", "author")
    }
    viewers |= {"anonymous": None, "author": author}

    async def befriend(one: str, other: str, accepted: bool) -> None:
        first, second = viewers[one], viewers[other]
        assert first is not None
        assert second is not None
        await make.friendship(db, first, second, accepted=accepted)

    await befriend("author", "asked", False)
    await befriend("asking", "author", False)
    await befriend("friend", "author", True)
    await befriend("author", "befriended", True)
    await befriend("stranger", "friend", True)  # friends of friends are strangers
    for target in viewers.values():
        if target is not None:
            await make.match_batch(db, target, {author: 0.5})
    stories = {
        kind: await make.story(
            db, author, kind, content="A lantern.", visibility=kind, tags=[tag], created_at=day(n)
        )
        for n, kind in enumerate(("private", "friends", "public"))
    }
    return World(api, author, viewers, stories, tag, await make.garden(db, author))


Path = Callable[[World, str], Awaitable[list[set[str]] | None]]
"""The titles that a viewer finds, in each of some ways; None where the viewer cannot go."""

CONNECTION = "{ totalCount nodes { title } edges { node { title } } }"


def titles(connection: Any) -> set[str]:
    """The titles on a page that holds the whole list, whose parts must agree."""
    found = [node["title"] for node in connection["nodes"]]
    assert [edge["node"]["title"] for edge in connection["edges"]] == found
    assert connection["totalCount"] == len(found) == len(set(found))
    return set(found)


async def connections(world: World, viewer: str, start: str, end: str, **variables: Any) -> Any:
    """What lies in ``start { stories end }`` for every order, direction and filter."""
    given = {
        "all": "",
        "last": "(last: 100)",
        "oldest": "(orderBy: OLDEST)",
        "relevance": '(orderBy: RELEVANCE, filter: {search: "lantern"})',
        "relevance_last": '(last: 100, orderBy: RELEVANCE, filter: {search: "lantern"})',
        **{f"by_{name}": f"(filter: {{{name}: {value}}})" for name, value in FILTERS.items()},
    }
    asked = " ".join(f"{name}: stories{args} {CONNECTION}" for name, args in given.items())
    data = await world.ask(viewer, f"query {start} {asked} {end}", **variables)
    return data, list(given)


FILTERS = {
    "tagsAny": '["moss", "nothing"]',
    "tagsAll": '["moss"]',
    "createdAfter": '"2020-01-01T00:00:00Z"',
    "createdBefore": '"2030-01-01T00:00:00Z"',
    "search": '"lantern"',
}
"""Each lets all stories through, so that only visibility decides."""


def beneath(start: str, *keys: str, closed_to: tuple[str, ...] = ()) -> Path:
    """The path to ``stories`` below ``start``; ``keys`` lead to it in the answer."""

    async def path(world: World, viewer: str) -> list[set[str]] | None:
        if viewer in closed_to:
            return None
        variables = {
            name: value
            for name, value in {
                "author": world.author.id,
                "tag": world.tag.id,
                "garden": world.garden.id,
                "public": world.stories["public"].id,
            }.items()
            if f"${name}:" in start
        }
        data, names = await connections(
            world, viewer, start, "}" * (start.count("{") - start.count("}")), **variables
        )
        for key in keys:
            data = data[int(key) if key.isdigit() else key]
        return [titles(data[name]) for name in names]

    return path


def by_id(field: str) -> Path:
    async def path(world: World, viewer: str) -> list[set[str]]:
        ids = {f"v{n}": story.id for n, story in enumerate(world.stories.values())}
        declared = ", ".join(f"${name}: ID!" for name in ids)
        asked = " ".join(
            f"{name}: {field}(id: ${name}) {{ ... on Story {{ title }} }}" for name in ids
        )
        data = await world.ask(viewer, f"query({declared}) {{ {asked} }}", **ids)
        return [{found["title"] for found in data.values() if found is not None}]

    return path


async def nodes(world: World, viewer: str) -> list[set[str]]:
    ids = [story.id for story in world.stories.values()]
    query = "query($ids: [ID!]!) { nodes(ids: $ids) { ... on Story { title } } }"
    found = (await world.ask(viewer, query, ids=ids))["nodes"]
    assert len(found) == 3
    return [{node["title"] for node in found if node is not None}]


async def by_visibility(world: World, viewer: str) -> list[set[str]]:
    kinds = ("private", "friends", "public")
    asked = " ".join(
        f"{kind}: stories(filter: {{visibility: {kind.upper()}}}) {CONNECTION}" for kind in kinds
    )
    query = f"query($author: ID!) {{ user(id: $author) {{ {asked} }} }}"
    data = (await world.ask(viewer, query, author=world.author.id))["user"]
    assert all(titles(data[kind]) <= {kind} for kind in kinds)
    return [set().union(*(titles(data[kind]) for kind in kinds))]


NOT_A_FRIEND = ("anonymous", "stranger", "asked", "asking", "author")

PATHS: dict[str, Path] = {
    "Query.story": by_id("story"),
    "Query.node": by_id("node"),
    "Query.nodes": nodes,
    "Query.stories": beneath("{"),
    "User.stories": beneath("($author: ID!) { user(id: $author) {", "user"),
    "User.stories(filter: {visibility})": by_visibility,
    "User.stories of Query.users": beneath(
        '{ users(filter: {search: "ada"}) { nodes {', "users", "nodes", "0"
    ),
    "User.stories of Story.author": beneath(
        "($public: ID!) { story(id: $public) { author {", "story", "author"
    ),
    "User.stories of Garden.owner": beneath(
        "($garden: ID!) { node(id: $garden) { ... on Garden { owner {", "node", "owner"
    ),
    "User.stories of Profile.user": beneath(
        "($author: ID!) { user(id: $author) { profile { user {", "user", "profile", "user"
    ),
    "User.stories of Tag.users": beneath(
        '{ tag(name: "moss") { users { nodes {', "tag", "users", "nodes", "0"
    ),
    "User.stories of Match.user": beneath(
        "{ viewer { user { matches { nodes { user {",
        *("viewer", "user", "matches", "nodes", "0", "user"),
        closed_to=("anonymous",),
    ),
    "User.stories of Viewer.friends": beneath(
        '{ viewer { friends(filter: {search: "ada"}) { nodes {',
        *("viewer", "friends", "nodes", "0"),
        closed_to=NOT_A_FRIEND,
    ),
    "User.stories of Friendship.addressee": beneath(
        "($author: ID!) { user(id: $author) { viewerFriendship { requester { id } addressee {",
        *("user", "viewerFriendship", "addressee"),
        closed_to=("anonymous", "stranger", "asked", "befriended", "author"),
    ),
    "User.stories of Viewer.user": beneath(
        "{ viewer { user {", "viewer", "user", closed_to=tuple(VISIBLE.keys() - {"author"})
    ),
    "Tag.stories": beneath("($tag: ID!) { node(id: $tag) { ... on Tag {", "node"),
    "Tag.stories of Query.tag": beneath('{ tag(name: "moss") {', "tag"),
    "Tag.stories of User.tags": beneath(
        "($author: ID!) { user(id: $author) { tags {", "user", "tags", "0"
    ),
    "Tag.stories of Story.tags": beneath(
        "($public: ID!) { story(id: $public) { tags {", "story", "tags", "0"
    ),
}


@pytest.mark.parametrize("path", PATHS)
async def test_stories_are_seen_as_the_table_says(world: World, path: str) -> None:
    for viewer, kinds in VISIBLE.items():
        found = await PATHS[path](world, viewer)
        if found is not None:
            assert found == [kinds] * len(found), f"{viewer} by {path}"


def test_the_table_has_every_path_to_stories() -> None:
    covered = {path.split(" of ")[0].split("(")[0] for path in PATHS}

    assert graph.leads_to("Story", "Node") == covered
    assert graph.members("StoryFilter") == FILTERS.keys()
    assert graph.members("UserStoryFilter") == FILTERS.keys() | {"visibility"}
    assert set(graph.readable_types()["StoryOrder"].values) == {  # type: ignore[attr-defined]
        *("NEWEST", "OLDEST", "RELEVANCE")
    }


# --- What may not be seen is as if it were not there ---

EVERYTHING = f"""
query($author: ID!, $tag: ID!, $ids: [ID!]!, $first: ID!, $second: ID!) {{
  nodes(ids: $ids) {{ id }}
  a: node(id: $first) {{ id }}  b: node(id: $second) {{ id }}
  c: story(id: $first) {{ id }}  d: story(id: $second) {{ id }}
  stories(first: 1) {{ totalCount pageInfo {{ hasNextPage hasPreviousPage endCursor }} }}
  last: stories(last: 1) {{ totalCount pageInfo {{ hasNextPage hasPreviousPage endCursor }} }}
  search: stories(filter: {{search: "lantern"}}, orderBy: RELEVANCE, first: 1) {{
    totalCount edges {{ cursor node {{ title }} }} pageInfo {{ hasNextPage }}
  }}
  node(id: $tag) {{ ... on Tag {{ stories(first: 1) {CONNECTION} }} }}
  user(id: $author) {{
    stories(first: 1, filter: {{tagsAny: ["moss"]}}) {{ totalCount pageInfo {{ hasNextPage }} }}
    private: stories(filter: {{visibility: PRIVATE}}) {CONNECTION}
    habits {{ totalCount nodes {{ id }} pageInfo {{ startCursor }} }}
    matches {{ totalCount nodes {{ id }} }}
    viewerFriendship {{ id }}
  }}
}}
"""


@pytest.mark.parametrize("viewer", ["anonymous", "stranger", "asked", "asking"])
async def test_what_may_not_be_seen_is_as_if_it_were_not_there(
    world: World, db: asyncpg.Connection, viewer: str
) -> None:
    author, ada = world.viewers[viewer], world.author
    habit = await make.habit(db, ada)
    hidden = [world.stories["private"].id, world.stories["friends"].id, habit.id]
    (match,) = await db.fetch("SELECT id FROM match_results WHERE user_id = $1", ada.sub)
    between = await db.fetch(
        "SELECT id FROM friendships "
        "WHERE status = 'accepted' AND $1 IN (requester_id, addressee_id)",
        ada.sub,
    )
    hidden.append(write_id("Match", match["id"]))
    hidden.extend(write_id("Friendship", row["id"]) for row in between)
    variables = {
        "author": ada.id, "tag": world.tag.id, "ids": hidden,
        "first": hidden[0], "second": hidden[1],
    }  # fmt: skip

    before = (await world.api(EVERYTHING, author, **variables)).body
    await db.execute("DELETE FROM stories WHERE visibility <> 'public'")
    for table in ("habits", "match_results", "user_features"):
        await db.execute(f"DELETE FROM {table} WHERE user_id = $1", ada.sub)
    await db.execute("DELETE FROM friendships WHERE status = 'accepted'")
    after = (await world.api(EVERYTHING, author, **variables)).body

    assert before == after
    assert "errors" not in before
    assert before["data"]["nodes"] == [None] * 6
    assert before["data"]["stories"]["totalCount"] == 1
    assert before["data"]["stories"]["pageInfo"]["hasNextPage"] is False


@pytest.mark.parametrize("order", ["NEWEST", "OLDEST"])
async def test_a_cursor_on_an_invisible_story_tells_nothing(
    world: World, db: asyncpg.Connection, order: str
) -> None:
    query = f"""query($after: String) {{
      stories(after: $after, orderBy: {order}) {{
        totalCount nodes {{ title }} edges {{ cursor }} pageInfo {{ hasNextPage hasPreviousPage }}
      }}
    }}"""
    mine = await world.ask("author", query)
    place = [node["title"] for node in mine["stories"]["nodes"]].index("friends")
    cursor = mine["stories"]["edges"][place]["cursor"]

    before = (await world.api(query, None, after=cursor)).body
    await db.execute("DELETE FROM stories WHERE visibility = 'friends'")

    assert (await world.api(query, None, after=cursor)).body == before
    assert "errors" not in before


# --- Who may see what else ---


async def test_what_belongs_to_people_alone_is_seen_by_them_alone(
    world: World, db: asyncpg.Connection
) -> None:
    ada = world.author
    habit = await make.habit(db, ada, "walk")
    (match,) = await db.fetch("SELECT id FROM match_results WHERE user_id = $1", ada.sub)
    query = """query($ada: ID!, $habit: ID!, $match: ID!) {
      habit: node(id: $habit) { id }
      match: node(id: $match) { id }
      nodes(ids: [$habit, $match]) { id }
      user(id: $ada) {
        habits { totalCount nodes { id } edges { cursor } }
        matches { totalCount nodes { id } edges { cursor } }
      }
    }"""
    ids = {"ada": ada.id, "habit": habit.id, "match": write_id("Match", match["id"])}
    nothing = {"totalCount": 0, "nodes": [], "edges": []}

    for viewer in VISIBLE:
        found = await world.ask(viewer, query, **ids)
        if viewer == "author":
            assert found["habit"] == {"id": habit.id}
            assert found["match"] == {"id": ids["match"]}
            assert found["nodes"] == [found["habit"], found["match"]]
            assert found["user"]["habits"]["totalCount"] == 1
            assert found["user"]["matches"]["totalCount"] == 1
        else:
            assert found == {
                "habit": None,
                "match": None,
                "nodes": [None, None],
                "user": {"habits": nothing, "matches": nothing},
            }, viewer


async def test_everyone_sees_people_gardens_and_tags(world: World) -> None:
    query = """query($ada: ID!, $garden: ID!, $tag: ID!) {
      user(id: $ada) { id createdAt profile { displayName } garden { name } tags { name } }
      users { totalCount }
      nodes(ids: [$ada, $garden, $tag]) { id }
      tags { totalCount nodes { name users { totalCount } } }
      tag(name: "moss") { name }
    }"""
    ids = {"ada": world.author.id, "garden": world.garden.id, "tag": world.tag.id}
    answers = [await world.ask(viewer, query, **ids) for viewer in VISIBLE]

    first = answers[0]
    assert first["user"]["profile"] == {"displayName": "Ada"}
    assert first["user"]["garden"] == {"name": "Moss corner"}
    assert first["user"]["tags"] == [{"name": "moss"}]
    assert first["nodes"] == [{"id": id_} for id_ in ids.values()]
    assert first["users"] == {"totalCount": 6}
    assert first["tags"] == {
        "totalCount": 1,
        "nodes": [{"name": "moss", "users": {"totalCount": 1}}],
    }
    assert all(answer == first for answer in answers)


async def test_a_friendship_is_seen_by_the_two_people_in_it(
    world: World, db: asyncpg.Connection
) -> None:
    rows = await db.fetch("SELECT id, requester_id, addressee_id FROM friendships ORDER BY id")
    ids = [write_id("Friendship", row["id"]) for row in rows]
    query = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }"

    for viewer, who in world.viewers.items():
        found = (await world.ask(viewer, query, ids=ids))["nodes"]
        sub = who.sub if who else None
        for row, id_, node in zip(rows, ids, found, strict=True):
            theirs = sub in (row["requester_id"], row["addressee_id"])
            assert node == ({"id": id_} if theirs else None), viewer


async def test_the_viewers_own_friendship_with_a_person(world: World) -> None:
    query = """query($ada: ID!) { user(id: $ada) { viewerFriendship {
      status requester { profile { displayName } } addressee { profile { displayName } }
    } } }"""
    seen = {}
    for viewer in VISIBLE:
        found = (await world.ask(viewer, query, ada=world.author.id))["user"]["viewerFriendship"]
        seen[viewer] = found and (
            found["status"],
            found["requester"]["profile"]["displayName"],
            found["addressee"]["profile"]["displayName"],
        )

    assert seen == {
        "anonymous": None,
        "stranger": None,
        "author": None,
        "asked": ("PENDING", "Ada", "asked"),
        "asking": ("PENDING", "asking", "Ada"),
        "friend": ("ACCEPTED", "friend", "Ada"),
        "befriended": ("ACCEPTED", "Ada", "befriended"),
    }


async def test_friends_and_requests_are_the_viewers_own(world: World) -> None:
    query = """{ viewer {
      email user { id } features { version }
      friends(orderBy: NAME) { totalCount nodes { profile { displayName } } }
      friendRequests { totalCount nodes { requester { profile { displayName } } } }
      sentFriendRequests { totalCount nodes { addressee { profile { displayName } } } }
    } }"""
    friends = {
        "author": ["befriended", "friend"],
        "friend": ["Ada", "stranger"],
        "stranger": ["friend"],
        "asked": [],
        "asking": [],
        "befriended": ["Ada"],
    }
    requests = {"author": ["asking"], "asked": ["Ada"]}
    sent = {"author": ["asked"], "asking": ["Ada"]}

    assert await world.ask("anonymous", query) == {"viewer": None}
    for viewer, names in friends.items():
        who = world.viewers[viewer]
        found = (await world.ask(viewer, query))["viewer"]
        assert who is not None
        assert (found["email"], found["user"]["id"]) == (who.email, who.id)
        assert [f["profile"]["displayName"] for f in found["friends"]["nodes"]] == names
        assert found["friends"]["totalCount"] == len(names)
        for field, other, expected in (
            ("friendRequests", "requester", requests),
            ("sentFriendRequests", "addressee", sent),
        ):
            names = [f[other]["profile"]["displayName"] for f in found[field]["nodes"]]
            assert names == expected.get(viewer, []), field
            assert found[field]["totalCount"] == len(names)


async def test_a_token_for_someone_without_an_account_sees_what_everyone_sees(
    world: World, db: asyncpg.Connection
) -> None:
    gone = await make.person(db)
    query = "{ viewer { email } stories { totalCount } }"
    await world.api(query, gone)  # this process knows them from now on
    await db.execute("DELETE FROM users WHERE auth0_sub = $1", gone.sub)

    answer = await world.api(query, gone)

    assert answer.data == {"viewer": None, "stories": {"totalCount": 1}}


def test_what_is_the_viewers_alone_hangs_on_the_viewer() -> None:
    fields = {coordinate for coordinate, _ in graph.readable_fields()}
    private = {"email", "permissions", "sessionExpiresAt", "features", "friends"}
    private |= {"friendRequests", "sentFriendRequests"}

    assert {field for field in fields if field.split(".")[1] in private} == {
        f"Viewer.{name}" for name in private
    }
    assert graph.leads_to("Viewer") == {"Query.viewer"}
    assert graph.leads_to("Features") == {"Viewer.features"}
    assert graph.leads_to("Habit") == {"User.habits", "MatchReasons.habits"}
    assert graph.leads_to("MatchReasons") == {"Match.reasons"}
    assert graph.leads_to("Match") == {"User.matches"}
    assert graph.leads_to("Friendship") == {
        "User.viewerFriendship",
        "Viewer.friendRequests",
        "Viewer.sentFriendRequests",
    }
