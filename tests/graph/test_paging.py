"""Paging: windows, cursors, and walking every connection in every order."""

from __future__ import annotations

import itertools
import math
import os
import random
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from graphql import GraphQLArgument, GraphQLEnumType, get_named_type
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, DateTime, Double, String, Uuid, column

from community_gql.errors import BadRequest
from community_gql.graph.paging import Cursors, Window, decode_opaque, encode_opaque
from tests.support import factories as make
from tests.support import graph
from tests.support.client import Answer, Client
from tests.support.factories import Person, Row, day

pytestmark = pytest.mark.both_ways

# --- Windows ---


@pytest.mark.parametrize(
    ("arguments", "window"),
    [
        ({}, Window(20, False, None)),
        ({"first": 0}, Window(0, False, None)),
        ({"first": 100}, Window(100, False, None)),
        ({"after": "x"}, Window(20, False, "x")),
        ({"first": 3, "after": "x"}, Window(3, False, "x")),
        ({"last": 3}, Window(3, True, None)),
        ({"before": "x"}, Window(20, True, "x")),
        ({"last": 0, "before": "x"}, Window(0, True, "x")),
    ],
)
def test_a_window_is_what_the_four_arguments_say(arguments: Any, window: Window) -> None:
    assert Window.of(**arguments) == window


@pytest.mark.parametrize("size", [-1, 101, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("name", ["first", "last"])
def test_a_page_has_at_most_100_items(name: str, size: int) -> None:
    with pytest.raises(BadRequest, match=rf"'{name}' must be between 0 and 100, not {size}"):
        Window.of(**{name: size})  # type: ignore[arg-type]


@pytest.mark.parametrize("forward", [{"first": 1}, {"after": "x"}, {"first": 0, "after": "x"}])
@pytest.mark.parametrize("backward", [{"last": 1}, {"before": "x"}, {"last": 0, "before": "x"}])
def test_a_window_has_one_direction(forward: Any, backward: Any) -> None:
    with pytest.raises(BadRequest, match="either forward"):
        Window.of(**forward, **backward)


# --- Cursors ---

KINDS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "moment": (
        DateTime(timezone=True),
        st.datetimes(timezones=st.just(UTC)),
    ),
    "integer": (BigInteger(), st.integers(-(2**63), 2**63 - 1)),
    "number": (Double(), st.floats(allow_nan=False, allow_infinity=False)),
    "uuid": (Uuid(), st.uuids()),
    "text": (String(), st.text(st.characters(exclude_characters="\0", codec="utf-8"))),
}


def cursors(*kinds: str, order: str = "NEWEST", filters: Any = ()) -> Cursors:
    return Cursors.of([column("x", KINDS[kind][0]) for kind in kinds], "A.b", order, filters)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_a_cursor_gives_back_what_was_written(kind: str, data: st.DataObject) -> None:
    list_ = cursors(kind, "integer")
    values = (data.draw(KINDS[kind][1]), 7)

    opaque = list_.write(values)

    assert list_.read(opaque) == values
    assert opaque.isascii()
    assert opaque.replace("-", "").replace("_", "").isalnum()


def test_cursors_can_have_no_other_kind_of_key() -> None:
    with pytest.raises(TypeError, match="cannot use a key"):
        Cursors.of([column("x")], "A.b", "NEWEST", ())


@settings(max_examples=200, deadline=None)
@given(st.text() | st.binary().map(lambda data: encode_opaque(data.decode("latin-1"))))
def test_any_other_text_is_refused_alike(text: str) -> None:
    with pytest.raises(BadRequest, match="does not belong to this list"):
        cursors("moment", "integer").read(text)


# --- Every connection, in every order ---

Insert = Callable[[asyncpg.Connection, "World", int], Awaitable[Any]]
"""Adds an item; the number says which of a few key values it gets, so that there are ties."""


@dataclass
class World:
    api: Client
    viewer: Person
    moss: Row
    people: list[Person]


@dataclass(frozen=True)
class Listed:
    """A connection: where it hangs, and how it gets a new item."""

    start: str
    keys: tuple[str, ...]
    insert: Insert


async def insert_story(db: asyncpg.Connection, world: World, tie: int) -> None:
    # Repeating the word changes the rank; other words of the same number keep it.
    content = "lantern " * (1 + tie % 2) + "moss " * (4 - tie % 2)
    await make.story(
        db, world.viewer, "Night", content=content, tags=[world.moss], created_at=day(tie)
    )


async def insert_person(db: asyncpg.Connection, world: World, tie: int) -> None:
    name = (None, "Ada", "ada", "Åsa Zoë", "zoë")[tie % 5]
    made = await make.person(db, name, created_at=day(tie % 3), tags=[world.moss])
    await make.friendship(db, *((made, world.viewer) if tie % 2 else (world.viewer, made)))


async def insert_dismissed(db: asyncpg.Connection, world: World, tie: int) -> None:
    name = (None, "Ada", "ada", "Åsa Zoë", "zoë")[tie % 5]
    made = await make.person(db, name, created_at=day(tie % 3))
    await db.execute(
        "INSERT INTO match_dismissals (user_id, target_user_id) VALUES ($1, $2)",
        world.viewer.sub,
        made.sub,
    )


async def insert_tag(db: asyncpg.Connection, world: World, tie: int) -> None:
    made = await make.tag(db)
    for chooser in world.people[: tie % 3]:
        await make.choose(db, chooser, made)


async def insert_habit(db: asyncpg.Connection, world: World, tie: int) -> None:
    await make.habit(db, world.viewer, created_at=day(tie % 3))


async def insert_match(db: asyncpg.Connection, world: World, tie: int) -> None:
    await make.match_batch(db, world.viewer, {await make.person(db): (tie % 3) / 3}, day(1))


async def insert_request(db: asyncpg.Connection, world: World, tie: int) -> None:
    asking = await make.person(db)
    await make.friendship(db, asking, world.viewer, accepted=False, created_at=day(tie % 3))


async def insert_sent_request(db: asyncpg.Connection, world: World, tie: int) -> None:
    asked = await make.person(db)
    await make.friendship(db, world.viewer, asked, accepted=False, created_at=day(tie % 3))


LISTS = {
    "Query.stories": Listed("{", (), insert_story),
    "Query.users": Listed("{", (), insert_person),
    "Query.tags": Listed("{", (), insert_tag),
    "User.stories": Listed("{ viewer { user {", ("viewer", "user"), insert_story),
    "User.habits": Listed("{ viewer { user {", ("viewer", "user"), insert_habit),
    "User.matches": Listed("{ viewer { user {", ("viewer", "user"), insert_match),
    "Tag.stories": Listed('{ tag(name: "moss") {', ("tag",), insert_story),
    "Tag.users": Listed('{ tag(name: "moss") {', ("tag",), insert_person),
    "Viewer.friends": Listed("{ viewer {", ("viewer",), insert_person),
    "Viewer.friendRequests": Listed("{ viewer {", ("viewer",), insert_request),
    "Viewer.sentFriendRequests": Listed("{ viewer {", ("viewer",), insert_sent_request),
    "Viewer.notInterested": Listed("{ viewer {", ("viewer",), insert_dismissed),
}


def orders(arguments: Mapping[str, GraphQLArgument]) -> list[str]:
    """The orders that a connection can be asked for; none for what is no connection."""
    named = get_named_type(arguments["orderBy"].type) if "orderBy" in arguments else None
    return list(named.values) if isinstance(named, GraphQLEnumType) else []


ORDERED = [
    (coordinate, order)
    for coordinate, field in sorted(graph.edges().items())
    for order in orders(field.args)
]
"""Every connection of the schema in each of its orders."""


def test_every_connection_is_here() -> None:
    assert {coordinate for coordinate, _ in ORDERED} == LISTS.keys()
    assert LISTS.keys() == {
        coordinate
        for coordinate, field in graph.edges().items()
        if get_named_type(field.type).name.endswith("Connection")
    }


@pytest.fixture
async def world(api: Client, db: asyncpg.Connection) -> World:
    moss = await make.tag(db, "moss")
    viewer = await make.person(db, "Me", created_at=day(1), tags=[moss])
    people = [await make.person(db, created_at=day(1), tags=[moss]) for _ in range(3)]
    return World(api, viewer, moss, people)


async def ask(
    world: World, coordinate: str, order: str, filters: str = "", **window: Any
) -> Answer:
    """The answer to one page of a list; ``page`` takes it apart."""
    list_, name = LISTS[coordinate], coordinate.split(".")[1]
    members = [filters] * bool(filters) + ['search: "lantern"'] * (order == "RELEVANCE")
    filtered = f", filter: {{{', '.join(members)}}}" if members else ""
    query = (
        "query($first: Int, $after: String, $last: Int, $before: String)"
        f"{list_.start} {name}(first: $first, after: $after, last: $last, before: $before, "
        f"orderBy: {order}{filtered}) {{ totalCount edges {{ cursor node {{ id }} }} "
        "nodes { id } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } }"
        f"{'}' * (list_.start.count('{') - list_.start.count('}'))}"
    )
    return await world.api(query, world.viewer, **window)


async def page(world: World, coordinate: str, order: str, filters: str = "", **window: Any) -> Any:
    """One page of a list, whose parts must agree."""
    found = (await ask(world, coordinate, order, filters, **window)).data
    for key in (*LISTS[coordinate].keys, coordinate.split(".")[1]):
        found = found[key]
    edges, info = found["edges"], found["pageInfo"]
    assert found["nodes"] == [edge["node"] for edge in edges]
    assert info["startCursor"] == (edges[0]["cursor"] if edges else None)
    assert info["endCursor"] == (edges[-1]["cursor"] if edges else None)
    return found


def ids(found: Any) -> list[str]:
    return [node["id"] for node in found["nodes"]]


WALKS = int(os.environ.get("WALKS", "2"))
"""So many of each list in each order, forward and backward in turn; others in each run."""


@pytest.mark.parametrize(("coordinate", "order"), ORDERED)
async def test_walking_yields_each_row_once(
    world: World, db: asyncpg.Connection, coordinate: str, order: str
) -> None:
    for tie in (0, 1, 1, 0, 2, 3, 4, 1, 2):
        await LISTS[coordinate].insert(db, world, tie)

    # Whatever is inserted meanwhile: the rows of before come once each, in their order, and what
    # comes besides them comes once and in its place.
    for number in range(WALKS):
        size, backward = random.randint(1, 5), bool(number % 2)
        inserted = random.choices((None, None, 0, 1, 2, 3, 4), k=random.randint(0, 4))
        print(f"a walk: {size=} {backward=} {inserted=}")  # noqa: T201 (shown when it fails)
        before = ids(await page(world, coordinate, order, first=100))
        coming = itertools.chain(inserted, itertools.repeat(None))
        walked = [row async for row in walk(world, db, coordinate, order, size, backward, coming)]
        after = ids(await page(world, coordinate, order, last=100))
        if backward:
            walked.reverse()
        assert len(set(walked)) == len(walked), "repeated"
        assert [row for row in walked if row in before] == before, "skipped or out of order"
        assert [row for row in after if row in walked] == walked, "out of order"
        if not any(tie is not None for tie in inserted):
            assert walked == before == after


async def walk(
    world: World,
    db: asyncpg.Connection,
    coordinate: str,
    order: str,
    size: int,
    backward: bool,
    coming: Iterator[int | None],
) -> Any:
    """The ids in the order of reading, page after page, with an insertion after some pages."""
    cursor = None
    for _ in range(100):
        window: dict[str, Any] = (
            {"last": size, "before": cursor} if backward else {"first": size, "after": cursor}
        )
        found = await page(world, coordinate, order, **window)
        more = found["pageInfo"]["hasPreviousPage" if backward else "hasNextPage"]
        assert len(ids(found)) == size or not more
        for id_ in reversed(ids(found)) if backward else ids(found):
            yield id_
        if not more:
            return
        cursor = found["pageInfo"]["startCursor" if backward else "endCursor"]
        if (tie := next(coming)) is not None:
            await LISTS[coordinate].insert(db, world, tie)
    pytest.fail("the pages never end")


# --- Cursors that do not fit ---

REFUSED = "The cursor does not belong to this list"


def assert_refused(answer: Answer, message: str = REFUSED) -> None:
    """The request was refused before anything ran."""
    assert answer.codes == ["BAD_REQUEST"]
    assert answer.errors[0]["message"].startswith(message)
    assert "data" not in answer.body
    assert answer.statements == []


VARIANTS = [
    *((coordinate, order, "") for coordinate, order in ORDERED),
    ("Query.stories", "NEWEST", 'tagsAny: ["moss"]'),
    ("Query.stories", "NEWEST", 'tagsAll: ["moss"]'),
    ("Query.stories", "NEWEST", 'tagsAll: ["moss", "oak"]'),
    ("Query.stories", "NEWEST", 'search: "lantern"'),
    ("Query.stories", "RELEVANCE", 'tagsAny: ["moss"]'),
    ("User.stories", "NEWEST", "visibility: PUBLIC"),
    ("Query.users", "NAME", 'tag: "moss"'),
    ("Query.tags", "NAME", 'prefix: "m"'),
]


async def test_a_cursor_fits_only_its_list_order_and_filter(
    world: World, db: asyncpg.Connection
) -> None:
    for insert in {list_.insert for list_ in LISTS.values()}:
        await insert(db, world, 1)
    taken = {}
    for variant in VARIANTS:
        cursor = (await page(world, *variant))["pageInfo"]["endCursor"]
        if cursor is not None:  # no story has both tags
            taken[variant] = cursor
    assert len(set(taken.values())) == len(taken) == len(VARIANTS) - 1

    for (here, cursor), there in itertools.product(taken.items(), VARIANTS):
        answer = await ask(world, *there, after=cursor)
        if here == there:
            assert "errors" not in answer.body
        else:
            assert_refused(answer)


async def test_filters_that_mean_the_same_share_their_cursors(
    world: World, db: asyncpg.Connection
) -> None:
    await insert_story(db, world, 1)
    cursor = (await page(world, "Query.stories", "NEWEST", 'tagsAny: ["moss"]'))["pageInfo"]
    again = await page(
        world, "Query.stories", "NEWEST", 'search: null, tagsAny: [" MOSS ", "moss"]',
        before=cursor["endCursor"],
    )  # fmt: skip

    assert ids(again) == []


def bits(value: float) -> str:
    return struct.pack(">d", value).hex()


def microseconds(year: int) -> int:
    """The microseconds from 1970 to the first of January of that year."""
    days = datetime(year - 1, 12, 31, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (days.days + 1) * 86_400 * 10**6


BEFORE_YEAR_1 = str(-719_162 * 86_400 * 10**6 - 1)


NUMBERS = [
    "", " ", "x", "~", "\u0663", "1_0", " 1", "1 ", "+1", "01", "-0", "1.0", "1e3", "NaN", "null",
    str(2**63), str(-(2**63) - 1), "9" * 30, "9" * 5000,
]  # fmt: skip

DAMAGED = {
    "flag": ["", "2", "-1", "00", "01", "t", "true", "False", " 1"],
    "integer": NUMBERS,
    "moment": [*NUMBERS, str(2**63 - 1), str(-(2**63)), str(microseconds(10_000)), BEFORE_YEAR_1],
    "number": [
        "", "x", "0", "7FE0000000000000", "00" * 7, "00" * 9, "00 " * 8,
        bits(math.inf), bits(-math.inf), bits(math.nan),
    ],
    "uuid": [
        "", "x", "0" * 32, "00000000-0000-0000-0000-00000000000",
        "{00000000-0000-0000-0000-000000000000}", "urn:uuid:00000000-0000-0000-0000-000000000000",
        "ABCDEF00-0000-0000-0000-000000000000", "00000000-0000-0000-0000-00000000000\u0663",
    ],
    "text": ["x", "6", "61 62", " 61", "4A4A", "00", "610062", "ff", "c0af", "eda080", "0x61"],
}  # fmt: skip
"""What we never write for a key of that kind."""

EXTREMES = {
    "flag": ["0", "1"],
    "integer": [str(2**63 - 1), str(-(2**63)), "0", "-1"],
    "moment": ["0", str(microseconds(10_000) - 1), str(int(BEFORE_YEAR_1) + 1)],
    "number": [bits(-0.0), bits(1.7976931348623157e308), bits(-5e-324)],
    "uuid": [str(UUID(int=0)), str(UUID(int=2**128 - 1))],
    "text": ["", "\U0010ffff".encode().hex(), "\uffff\x01%_\\'".encode().hex(), "61" * 5000],
}
"""What we might write, if there were such a row."""


def kinds(coordinate: str, order: str) -> tuple[str, ...]:
    """The kinds of the keys in the cursors of a list."""
    first = {"NAME": "text", "POPULARITY": "integer", "SCORE": "number", "RELEVANCE": "number"}
    people = coordinate in ("Query.users", "Tag.users", "Viewer.friends", "Viewer.notInterested")
    flag = ("flag",) if people and order == "NAME" else ()  # whether there is no name
    return *flag, first.get(order, "moment"), "uuid" if people else "integer"


def with_key(cursor: str, place: int, text: str) -> str:
    """The cursor with another text for one of its keys."""
    digest, *keys = decode_opaque(cursor).split("~")
    keys[place] = text
    return encode_opaque("~".join((digest, *keys)))


@pytest.mark.parametrize(("coordinate", "order"), ORDERED)
async def test_a_damaged_cursor_is_refused(
    world: World, db: asyncpg.Connection, coordinate: str, order: str
) -> None:
    await LISTS[coordinate].insert(db, world, 1)
    cursor = (await page(world, coordinate, order))["pageInfo"]["endCursor"]
    digest, *keys = decode_opaque(cursor).split("~")
    damaged = [
        "", " ", "x", "\u00e9", "%00", "=", cursor + "=", cursor + "A", cursor[: len(cursor) // 2],
        cursor[1:], cursor.swapcase(), f" {cursor}", f"{cursor}\n", cursor * 50, "A" * 10_000,
        encode_opaque(digest), encode_opaque("~".join(keys)),
        encode_opaque("~".join((digest, *keys, keys[0]))),
        encode_opaque("~".join((digest, keys[0]))),
        encode_opaque("~".join(("0" * 12, *keys))),
    ]  # fmt: skip
    for place, kind in enumerate(kinds(coordinate, order)):
        damaged.extend(with_key(cursor, place, text) for text in DAMAGED[kind])

    for text in damaged:
        assert_refused(await ask(world, coordinate, order, after=text))
    assert_refused(await ask(world, coordinate, order, before=damaged[0]))
    assert_refused(await ask(world, coordinate, order, after=f"{cursor}\0"), "Text must not")


@pytest.mark.parametrize(("coordinate", "order"), ORDERED)
async def test_the_extremes_that_a_cursor_can_name_are_answered(
    world: World, db: asyncpg.Connection, coordinate: str, order: str
) -> None:
    await LISTS[coordinate].insert(db, world, 1)
    cursor = (await page(world, coordinate, order))["pageInfo"]["endCursor"]

    for place, kind in enumerate(kinds(coordinate, order)):
        for text in EXTREMES[kind]:
            await page(world, coordinate, order, after=with_key(cursor, place, text))


# --- hasNextPage, hasPreviousPage, sizes ---


@pytest.fixture
async def three(world: World, db: asyncpg.Connection) -> World:
    """A world with three stories."""
    for tie in range(3):
        await insert_story(db, world, tie)
    return world


@pytest.mark.parametrize(
    ("window", "rows", "previous", "next_"),
    [
        ({}, [0, 1, 2], False, False),
        ({"first": None, "last": None, "after": None, "before": None}, [0, 1, 2], False, False),
        ({"first": 0}, [], False, True),
        ({"first": 2}, [0, 1], False, True),
        ({"first": 3}, [0, 1, 2], False, False),
        ({"first": 100}, [0, 1, 2], False, False),
        ({"after": 0}, [1, 2], True, False),
        ({"after": 0, "first": 0}, [], True, True),
        ({"after": 0, "first": 1}, [1], True, True),
        ({"after": 2}, [], True, False),
        ({"after": 2, "first": 0}, [], True, False),
        ({"last": 0}, [], True, False),
        ({"last": 2}, [1, 2], True, False),
        ({"last": 3}, [0, 1, 2], False, False),
        ({"last": 100}, [0, 1, 2], False, False),
        ({"before": 2}, [0, 1], False, True),
        ({"before": 2, "last": 1}, [1], True, True),
        ({"before": 0}, [], False, True),
        ({"before": 0, "last": 0}, [], False, True),
    ],
)
@pytest.mark.parametrize("coordinate", ["Query.stories", "User.stories"])
async def test_a_page_knows_what_is_around_it(
    three: World, coordinate: str, window: Any, rows: Sequence[int], previous: bool, next_: bool
) -> None:
    whole = await page(three, coordinate, "NEWEST")
    asked = {
        name: whole["edges"][value]["cursor"]
        if name in ("after", "before") and value is not None
        else value
        for name, value in window.items()
    }

    found = await page(three, coordinate, "NEWEST", **asked)

    assert ids(found) == [ids(whole)[row] for row in rows]
    assert found["pageInfo"]["hasPreviousPage"] is previous
    assert found["pageInfo"]["hasNextPage"] is next_
    assert found["totalCount"] == 3


async def test_a_page_has_20_items_by_default_and_100_at_most(
    world: World, db: asyncpg.Connection
) -> None:
    await db.execute(
        "INSERT INTO stories (user_id, title, content, visibility, created_at) "
        "SELECT $1, 'Story ' || n, '', 'public', $2::timestamptz + n * interval '1 s' "
        "FROM generate_series(1, 101) n",
        world.viewer.sub,
        day(0),
    )
    for coordinate in ("Query.stories", "User.stories"):
        whole = await page(world, coordinate, "OLDEST", first=100)
        assert len(ids(whole)) == 100
        assert whole["pageInfo"]["hasNextPage"] is True
        assert ids(await page(world, coordinate, "OLDEST")) == ids(whole)[:20]
        end = await page(world, coordinate, "OLDEST", last=100)
        assert ids(end)[:-1] == ids(whole)[1:]
        assert end["pageInfo"]["hasPreviousPage"] is True
        before = whole["edges"][50]["cursor"]
        assert ids(await page(world, coordinate, "OLDEST", before=before)) == ids(whole)[30:50]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("first: 101", "'first' must be between 0 and 100, not 101."),
        ("first: -1", "'first' must be between 0 and 100, not -1."),
        ("last: 101", "'last' must be between 0 and 100, not 101."),
        ("last: -1", "'last' must be between 0 and 100, not -1."),
        ("first: 1, last: 1", "Page either forward"),
        ('first: 1, before: "x"', "Page either forward"),
        ('after: "x", last: 1', "Page either forward"),
        ("orderBy: RELEVANCE", "Order RELEVANCE needs filter.search."),
        ('orderBy: RELEVANCE, filter: {tagsAny: ["moss"]}', "Order RELEVANCE needs filter.search."),
        ("orderBy: RELEVANCE, filter: {search: null}", "Order RELEVANCE needs filter.search."),
    ],
)
@pytest.mark.parametrize(
    "query",
    [
        "{ stories(%s) { totalCount } }",
        "{ users { nodes { stories(%s) { totalCount } } } }",
        "{ viewer { email } ...F } fragment F on Query { tags { nodes { ...G } } } "
        "fragment G on Tag { stories(%s) { nodes { id } } }",
        '{ node(id: "no such thing") { ... on User { stories(%s) { totalCount } } } }',
    ],
)
async def test_bad_arguments_refuse_the_request_before_it_runs(
    world: World, query: str, arguments: str, message: str
) -> None:
    assert_refused(await world.api(query % arguments, world.viewer), message)


async def test_what_is_left_out_is_not_read(world: World) -> None:
    query = (
        "query($no: Boolean!) { tags { totalCount } stories(first: 101) @include(if: $no) "
        "{ totalCount } ... @skip(if: true) { users(first: -1) { totalCount } } }"
    )

    assert (await world.api(query, None, no=False)).data == {"tags": {"totalCount": 1}}
    assert_refused(await world.api(query, None, no=True), "'first' must be")
