"""Texts that nobody can see, texts that look the same, and lists: in every input of the schema."""

from __future__ import annotations

import random
import time
import unicodedata
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from graphql import (
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    get_named_type,
)

from community_gql.graph.search import composed, fold_tag, is_blank, without_accents
from community_gql.schema.executable import core
from tests.schema.test_mutation_inputs import MAY_BE_EMPTY, TEXTS, given, said
from tests.support import factories as make
from tests.support import writing
from tests.support.client import Client
from tests.support.writing import Scene, change, refusal, with_value

pytestmark = pytest.mark.both_ways


@pytest.fixture
async def scene(db: asyncpg.Connection) -> Scene:
    return await writing.scene(db)


# --- Texts that are hard to compose ---

_ALL = [chr(code) for code in range(0x300, 0x20000) if not 0xD800 <= code < 0xE000]
MARKS = [one for one in _ALL if unicodedata.combining(one)]
COMPOSED = [one for one in _ALL if unicodedata.normalize("NFD", one) != one]


def test_composing_is_what_unicode_says() -> None:
    """Whatever marks stand behind whatever letters, and however many."""
    chosen = random.Random(1)
    for _ in range(2000):
        length = chosen.choice((3, 70, 200))
        kinds = chosen.choices((MARKS, COMPOSED, "aeé가中ऄ "), (8, 2, 1), k=length)
        text = "".join(chosen.choice(kind) for kind in kinds)
        assert composed(text) == unicodedata.normalize("NFC", text), ascii(text)


@pytest.mark.parametrize("marks", ["\u0315\u0300", "\u0f73", "\u0344\u0315", "\u0301\u0327é"])
def test_many_marks_are_composed_in_little_time(marks: str) -> None:
    """Python alone takes a minute for so many, in which nobody else is answered."""
    start = time.process_time()
    text = composed("a" + marks * 50_000)
    assert composed(text) == text
    assert without_accents(text)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "argument", ["tag(name: $given) { id }", "tags(filter: { prefix: $given }) { totalCount }"]
)
async def test_a_request_with_many_marks_delays_nobody(api: Client, argument: str) -> None:
    start = time.process_time()
    await api(f"query ($given: String!) {{ {argument} }}", given="a" + "\u0315\u0300" * 20_000)
    assert time.process_time() - start < 2


# --- What nobody can see ---

UNSEEN = [
    *("\u3164", "\u2800", "\u115f", "\u1160", "\uffa0", "\ufe0f", "\u034f", "\u17b4", "\u17b5"),
    *("\u0301", "\u0903", "\u20e3", "\u180b", "\u16fe4", "\U000e0100", "\U0001d159"),
    *("\u200b\u200c\u200d", "\u2060", "\ufeff", "\u00ad", "\u061c", "\u200e\u200f", "\u2066\u2069"),
    *("\u202a\u202b\u202c\u202d\u202e", "\u2065", "\ufff0", "\U000e0001", "\U000e0fff"),
    *("\ufdd0", "\uffff", "\U0010ffff", "\ue000", "\u0007", "\u2028\u2029", "\u3000\u00a0"),
    "\u3164 \u2800\n\u0301",
]
UNSEEN.remove("\u16fe4")  # U+16FE and a 4, which is seen
SEEN = [
    "a",
    "1",
    "_",
    "☺️",
    "👩🏽‍🌾",
    "é",
    "e\u0301",
    "\u3164x",
    "ー",
    "ㅤ가",
    "।",
    "\U0001fae9",
    "\u2801",
]


def test_what_can_be_seen() -> None:
    assert [text for text in UNSEEN if not is_blank(text)] == []
    assert [text for text in SEEN if is_blank(text)] == []


@pytest.mark.parametrize("place", TEXTS, ids=lambda place: said(*place))
async def test_a_text_that_nobody_can_see_is_none(
    place: tuple[str, tuple[str | int, ...]], api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    name, path = place
    for text in UNSEEN:
        asked = await given(name, scene, db)
        if said(*place) not in MAY_BE_EMPTY:
            found = await refusal(api, scene.actor(name), name, **with_value(asked, path, text))
            assert found == [("REQUIRED", list(map(str, path)))], ascii(text)
            continue
        if name == "createStory":
            asked["tags"] = []
        await change(api, scene.actor(name), name, **with_value(asked, path, text))
        assert text not in str(await writing.rows(db)), ascii(text)


# --- What looks the same ---

APART, ONE = "Cafe\u0301 \u1100\u1161 A\u030a", "Café 가 Å"


@pytest.mark.parametrize("place", TEXTS, ids=lambda place: said(*place))
async def test_texts_are_kept_composed(
    place: tuple[str, tuple[str | int, ...]], api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    name, path = place
    await db.execute("INSERT INTO tags (name) VALUES ($1)", tag := ONE.lower())
    if name in ("createTag", "renameTag"):
        assert await refusal(
            api, scene.actor(name), name, **with_value(await given(name, scene, db), path, APART)
        ) == [("TAG_ALREADY_EXISTS", ["name"])]
        await db.execute("DELETE FROM tags WHERE name = $1", tag)
    if name == "removeTags":
        await db.execute(
            "INSERT INTO user_tags SELECT $1, id FROM tags WHERE name = $2", scene.ada.sub, tag
        )
    asked = with_value(await given(name, scene, db), path, APART)
    before = str(await writing.rows(db))
    await change(api, scene.actor(name), name, **asked)
    after = str(await writing.rows(db))
    assert after != before
    assert unicodedata.is_normalized("NFC", after)


async def test_a_length_is_that_of_the_composed_text(api: Client, scene: Scene) -> None:
    title = "e\u0301" * 140
    payload = await change(
        api, scene.ada, "createStory", "story { title }", title=title, content="c"
    )
    assert payload["story"] == {"title": "é" * 140}


def filters() -> Iterator[tuple[str, str]]:
    """Every text in a filter of a root list: the list, and the member."""
    assert core.query_type is not None
    for name, field in core.query_type.fields.items():
        if "filter" in field.args:
            for member, value in get_named_type(field.args["filter"].type).fields.items():
                if get_named_type(value.type).name == "String":
                    yield name, member


FILTERS = sorted(filters())


def test_filters_of_texts_were_found() -> None:
    assert ("tags", "prefix") in FILTERS
    assert ("stories", "tagsAll") in FILTERS


async def listed(api: Client, name: str, filter_: Any) -> list[str]:
    type_ = f"{name[:-1].replace('storie', 'story').title()}Filter"
    query = f"query($f: {type_}) {{ {name}(filter: $f) {{ totalCount nodes {{ id }} }} }}"
    found = (await api(query, f=filter_)).data[name]
    assert found["totalCount"] == len(found["nodes"])
    return [node["id"] for node in found["nodes"]]


async def cafe(api: Client, db: asyncpg.Connection) -> None:
    tag = await make.tag(db, "café")
    person = await make.person(db, "Café", tags=[tag])
    await make.story(db, person, "Café", tags=[tag])
    other = await make.person(db, "Else")
    await make.story(db, other, "Else")
    await make.tag(db, "else")


@pytest.mark.parametrize(("name", "member"), FILTERS)
async def test_filters_compare_composed(
    name: str, member: str, api: Client, db: asyncpg.Connection
) -> None:
    await cafe(api, db)
    one = await listed(api, name, {member: "Café"})
    assert len(one) == 1
    assert await listed(api, name, {member: "Cafe\u0301"}) == one
    assert (await api('{ tag(name: "CAFE\u0301") { name } }')).data == {"tag": {"name": "café"}}


@pytest.mark.parametrize(("name", "member"), FILTERS)
async def test_an_emptied_filter_is_no_filter(
    name: str, member: str, api: Client, db: asyncpg.Connection
) -> None:
    await cafe(api, db)
    everything = await listed(api, name, {})
    assert len(everything) == 2
    for empty in ("", " \t\n", "\u3164", None):
        assert await listed(api, name, {member: empty}) == everything
    if member.startswith("tags"):
        for none in ([], [""], [" ", "\u200b"]):
            assert await listed(api, name, {member: none}) == everything


@pytest.mark.parametrize(
    ("typed", "folded"),
    [
        ("  CAFE\u0301  au\u00a0lait ", "café au lait"),
        ("İstanbul", "istanbul"),
        ("I\u0307stanbul", "istanbul"),
        ("i\u0307stanbul", "istanbul"),
        ("ISTANBUL", "istanbul"),
        ("ΟΔΌΣ", "οδός"),
        ("οδός", "οδός"),
        ("Straße", "straße"),
        ("STRASSE", "strasse"),  # another word: decision 74
        ("ǅ", "ǆ"),
        ("Å", "å"),
        ("ﬁ", "ﬁ"),  # NFC keeps what is only compatible
    ],
)
def test_tags_are_folded(typed: str, folded: str) -> None:
    assert fold_tag(typed) == folded == fold_tag(folded)


async def test_people_are_found_with_and_without_accents(
    api: Client, db: asyncpg.Connection
) -> None:
    names = ["Natália", "Natalia", "İpek", "Søren", "Nguyễn Thị", "한국", "Νίκος", "ガギグ"]
    for name in names:
        await make.person(db, name)

    async def found(words: str) -> set[str]:
        query = """query($w: String) { users(filter: {search: $w}) {
          nodes { profile { displayName } } } }"""
        nodes = (await api(query, w=words)).data["users"]["nodes"]
        return {node["profile"]["displayName"] for node in nodes}

    for words in ("Natalia", "NATÁLIA", "nata\u0301l", "Natália"):
        assert await found(words) == {"Natália", "Natalia"}, words
    assert await found("ipek") == await found("İPEK") == {"İpek"}
    assert await found("søren") == {"Søren"}
    assert await found("soren") == set()
    assert await found("nguyen thi") == {"Nguyễn Thị"}
    assert await found("한국") == await found(unicodedata.normalize("NFD", "한국")) == {"한국"}
    assert await found("ΝΙΚΟΣ") | await found("νίκος") == {"Νίκος"}
    assert await found("カキク") == set()


async def test_postgresql_takes_accents_away_as_python_does(db: asyncpg.Connection) -> None:
    for text in (
        "Natália",
        "İ",
        "Nguyễn",
        "한국",
        "ガ",
        "e\u0301\u20dd",
        "q\u0323\u0307",
        "Å",
        "ﬁ",
        "",
    ):
        assert await db.fetchval("SELECT without_accents($1)", text) == without_accents(text), text


# --- Lists ---


def lists() -> Iterator[str]:
    """Every list that an input can hold: of arguments and of members, by coordinate."""
    for type_ in core.type_map.values():
        if type_.name.startswith("__"):
            continue
        if isinstance(type_, GraphQLInputObjectType):
            places = {f"{type_.name}.{name}": field.type for name, field in type_.fields.items()}
        elif isinstance(type_, GraphQLObjectType):
            places = {
                f"{type_.name}.{name}({argument}:)": value.type
                for name, field in type_.fields.items()
                for argument, value in field.args.items()
            }
        else:
            continue
        for place, kind in places.items():
            inner = kind.of_type if isinstance(kind, GraphQLNonNull) else kind
            if isinstance(inner, GraphQLList):
                yield place


MOST = {
    "Query.nodes(ids:)": 100,
    "StoryFilter.tagsAny": 20,
    "StoryFilter.tagsAll": 20,
    "UserStoryFilter.tagsAny": 20,
    "UserStoryFilter.tagsAll": 20,
    "CreateStoryInput.tags": 20,
    "UpdateStoryInput.tags": 20,
    "AddTagsInput.names": 50,
    "RemoveTagsInput.names": 50,
    "PutFeaturesInput.features": 1_000,
    "FeaturesInput.vector": 4_096,
    "PutMatchesInput.matches": 1_000,
}
"""The most items of each list."""


def test_every_list_of_the_schema_has_a_bound() -> None:
    assert set(lists()) == MOST.keys()


@pytest.mark.parametrize("place", [place for place in MOST if "Input." in place])
async def test_a_mutation_refuses_a_longer_list(place: str, api: Client, scene: Scene) -> None:
    type_, member = place.split(".")
    name = "putFeatures" if type_ == "FeaturesInput" else type_[0].lower() + type_[1:-5]
    asked = writing.EXAMPLES[name](scene)
    if type_ == "FeaturesInput":
        asked["features"][0][member] = [0.5] * (MOST[place] + 1)
        expected = ("INVALID", ["features", "0", member])
    else:
        items = asked[member]
        asked[member] = (items * (MOST[place] + 1))[: MOST[place] + 1]
        expected = ("TOO_MANY", [member])
    assert await refusal(api, scene.actor(name), name, **asked) == [expected]
    if type_ == "FeaturesInput":
        asked["features"][0][member].pop()
        assert await change(api, scene.actor(name), name, "count", **asked) == {"count": 1}


@pytest.mark.parametrize("place", [place for place in MOST if "Input." not in place])
async def test_a_query_refuses_a_longer_list(place: str, api: Client, scene: Scene) -> None:
    member = place.removesuffix(":)").split("(" if "(" in place else ".")[1]
    field = {
        "Query": "nodes(ids: $list) { id }",
        "StoryFilter": f"stories(filter: {{{member}: $list}}) {{ nodes {{ id }} }}",
        "UserStoryFilter": (
            f"users {{ nodes {{ stories(filter: {{{member}: $list}}) {{ nodes {{ id }} }} }} }}"
        ),
    }[place.split(".")[0]]
    kind = "ID!" if member == "ids" else "String!"
    query = f"query($list: [{kind}]!) {{ {field} }}"
    assert "errors" not in (await api(query, list=["moss"] * MOST[place])).body
    answer = await api(query, list=["moss"] * (MOST[place] + 1))
    assert answer.codes == ["BAD_REQUEST"]
    (error,) = answer.errors
    assert f"'{member}' may hold at most {MOST[place]}" in error["message"]
    assert f"not {MOST[place] + 1}" in error["message"]
