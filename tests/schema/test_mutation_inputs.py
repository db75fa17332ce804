"""What an input may hold: limits, patches, and all that is wrong with one at once."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import pytest

from community_gql.actions import validation
from tests.support import factories as make
from tests.support import writing
from tests.support.client import Client
from tests.support.mutations import TABLE, by_place, places
from tests.support.writing import EXAMPLES, MUTATIONS, Scene, change, refusal, send


@pytest.fixture
async def scene(db: asyncpg.Connection) -> Scene:
    return await writing.scene(db)


# --- Texts ---

LONGEST = by_place(lambda item: item.longest)
"""The most characters of each text that is stored."""

MAY_BE_EMPTY = places(lambda item: item.may_be_empty)

TAG_NAMES = places(lambda item: item.tag_names)
"""Texts that are looked up and not stored."""

TEXTS = [
    (name, path)
    for name in MUTATIONS
    for path in writing.members(writing.input_type(name), of="String")
]


def said(name: str, path: tuple[str | int, ...]) -> str:
    return " ".join(map(str, (name, *path)))


def test_every_text_of_the_schema_has_a_limit() -> None:
    assert {said(*place) for place in TEXTS} == LONGEST.keys() | TAG_NAMES


async def given(name: str, scene: Scene, db: asyncpg.Connection) -> dict[str, Any]:
    if name == "createGarden":
        await db.execute("DELETE FROM gardens")
    return EXAMPLES[name](scene)


@pytest.mark.parametrize("place", LONGEST)
async def test_a_text_has_at_most_so_many_characters(
    place: str, api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    name, member = place.split()
    # A whole request has 256 KiB, so the longest text goes over HTTP in ASCII only;
    # tests/actions sends it in others.
    characters = "x" if member == "content" else "🌱x"
    for character in characters:
        for length in (LONGEST[place] - 1, LONGEST[place]):
            asked = await given(name, scene, db) | {member: character * length}
            asked |= {"tags": []} if "Story" in name else {}
            if member != "idempotencyKey" and "idempotencyKey" in asked:
                del asked["idempotencyKey"]
            if name == "createHabit":
                await db.execute("DELETE FROM habits")
            payload = await change(
                api, scene.actor(name), name, writing.everything_in(name), **asked
            )
            # The profile lies deeper in its payload, and an idempotency key in none.
            if member != "idempotencyKey" and name != "updateProfile":
                (entity,) = [value for value in payload.values() if value and member in value]
                assert entity[member] == character * length

        before = await writing.rows(db)
        asked = EXAMPLES[name](scene) | {member: f" {character * (LONGEST[place] + 1)} "}
        answer = await send(api, scene.actor(name), name, **asked)
        (error,) = answer.data[name]["userErrors"]
        assert (error["code"], error["path"]) == ("TOO_LONG", [member])
        assert f"at most {LONGEST[place]:,} characters" in error["message"]
        assert f"has {LONGEST[place] + 1:,}." in error["message"]
        assert await writing.rows(db) == before


EMPTY = ["", " ", "\t\n", "\u00a0\u2003", "\u200b", "\u200e\u2060 \ufeff", "\u3164"]
"""Nothing that anyone could see."""


@pytest.mark.parametrize("place", sorted(LONGEST.keys() - MAY_BE_EMPTY))
async def test_titles_and_names_say_something(
    place: str, api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    name, member = place.split()
    asked = await given(name, scene, db)
    before = await writing.rows(db)

    for empty in EMPTY:
        assert await refusal(api, scene.actor(name), name, **asked | {member: empty}) == [
            ("REQUIRED", [member])
        ], repr(empty)
    assert await writing.rows(db) == before


async def test_text_is_trimmed(api: Client, scene: Scene) -> None:
    story = await change(
        api,
        scene.ada,
        "createStory",
        "story { title content }",
        title=" \u2003a  b\n",
        content="\n c\t",
    )
    assert story["story"] == {"title": "a  b", "content": "c"}


async def test_an_optional_text_that_is_empty_is_none(api: Client, scene: Scene) -> None:
    garden = await change(
        api, scene.bea, "createGarden", "garden { name theme }", name=" Moss ", theme=" "
    )
    assert garden["garden"] == {"name": "Moss", "theme": None}
    made = [
        await change(
            api,
            scene.ada,
            "createStory",
            "story { id }",
            title="a",
            content="b",
            idempotencyKey=" ",
        )
        for _ in range(2)
    ]
    assert made[0] != made[1]


async def test_what_people_write_comes_back_as_it_was(api: Client, scene: Scene) -> None:
    """Scripts, joined emoji, quotes, SQL and HTML are text like any other."""
    for text in (
        "👩🏽‍🌾 🇳🇿 \u00e9 ﷽ ‮rtl",
        "Robert'); DROP TABLE users; --",
        '<script>alert("x")</script> {{7*7}} ${x} %s %(a)s :viewer $1',
        "back\\slash \\u0000 \\x00 E'\\\\'",
        "苔は雨のあとで \u0085 🌱",
    ):
        made = await change(
            api, scene.ada, "createStory", "story { title content }", title=text, content=text
        )
        assert made["story"] == {"title": text, "content": text}


# --- Lists of tags ---

TAGS_AT_MOST = {"createStory tags": 20, "updateStory tags": 20, "addTags names": 50}


@pytest.mark.parametrize("place", [*TAGS_AT_MOST, "removeTags names"])
async def test_at_most_so_many_tags(
    place: str, api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    name, member = place.split()
    most = TAGS_AT_MOST.get(place, 50)
    names = [f"🌱 {n}" for n in range(most + 1)]
    await db.executemany("INSERT INTO tags (name) VALUES ($1)", [(each,) for each in names])
    await db.execute("DELETE FROM user_tags")
    asked = EXAMPLES[name](scene)
    asked.pop("idempotencyKey", None)

    assert await refusal(api, scene.ada, name, **asked | {member: names}) == [
        ("TOO_MANY", [member])
    ]
    for count in (most - 1, most):
        await change(api, scene.ada, name, **asked | {member: names[:count]})


async def test_a_person_has_at_most_50_tags_in_all(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    tags = [await make.tag(db) for _ in range(51)]
    await make.choose(db, scene.bea, *tags[:48])

    async def add(*chosen: make.Row) -> list[tuple[str, list[str]]]:
        answer = await send(api, scene.bea, "addTags", names=[tag.name for tag in chosen])
        return [(e["code"], e["path"]) for e in answer.data["addTags"]["userErrors"]]

    assert await add(*tags[48:51]) == [("TOO_MANY", ["names"])]
    assert (
        await db.fetchval("SELECT count(*) FROM user_tags WHERE user_id = $1", scene.bea.sub) == 48
    )
    assert await add(tags[48]) == []
    assert await add(*tags[:50]) == []
    assert await add(tags[50]) == [("TOO_MANY", ["names"])]
    await change(api, scene.bea, "removeTags", names=[tags[0].name])
    assert await add(tags[50]) == []


@pytest.mark.parametrize("place", sorted(TAG_NAMES))
async def test_tags_are_found_however_they_are_written_and_missing_ones_named(
    place: str, api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    name, member, _ = place.split()
    wet = await make.tag(db, "wet moss 🌱")
    asked = EXAMPLES[name](scene) | {member: [" MOSS", "moss", "Wet \t Moss  🌱", "Moss "]}

    payload = await change(api, scene.ada, name, writing.everything_in(name), **asked)
    if "story" in payload:
        assert payload["story"]["tagNames"] == ["moss", wet.name]

    before = await writing.rows(db)
    asked[member] = ["moss", "no such", " ", "NO  such", "x" * 1000]
    asked.pop("idempotencyKey", None)
    answer = await send(api, scene.ada, name, **asked)
    errors = answer.data[name]["userErrors"]
    assert [(e["code"], e["path"]) for e in errors] == [
        ("REQUIRED", [member, "2"]),
        ("TAG_NOT_FOUND", [member, "1"]),
        ("TAG_NOT_FOUND", [member, "4"]),
    ]
    assert '"no such"' in errors[1]["message"]
    assert await writing.rows(db) == before


async def test_a_flood_of_names_is_one_error(api: Client, scene: Scene) -> None:
    """Not one statement with a parameter for each, which PostgreSQL refuses."""
    names = [f"{n:x}" for n in range(5_000)]
    for blank in (names, [""] * 5_000):
        assert await refusal(api, scene.ada, "addTags", names=blank) == [("TOO_MANY", ["names"])]


# --- Numbers and meta ---


async def test_journaling_is_a_number_of_days_a_week(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    for days in (0, 1, 7, None):
        payload = await change(
            api,
            scene.ada,
            "updateProfile",
            "user { profile { journalingFrequency } }",
            journalingFrequency=days,
        )
        assert payload["user"]["profile"] == {"journalingFrequency": days}
    before = await writing.rows(db)
    for days in (-1, 8, 2**31 - 1, -(2**31)):
        assert await refusal(api, scene.ada, "updateProfile", journalingFrequency=days) == [
            ("INVALID", ["journalingFrequency"])
        ]
    assert await writing.rows(db) == before


def deep(depth: int, kind: str) -> Any:
    """A JSON object with that many levels."""
    value: Any = {} if kind == "objects" else []
    for _ in range(depth - 2):
        value = {"a": value} if kind == "objects" else [value]
    return {"a": value}


def sized(size: int, character: str) -> dict[str, str]:
    """A JSON object that takes ``size`` bytes in UTF-8."""
    free = size - len('{"a":""}')
    each = len(character.encode())
    return {"a": character * (free // each) + "x" * (free % each)}


@pytest.mark.parametrize("name", ["createHabit", "updateHabit"])
async def test_meta_is_bounded(
    name: str, api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    kb16 = 16 * 1024
    good: list[Any] = [
        {},
        {"": None},
        {"a": [True, None, "🌱", {"b": []}]},
        {"n": [0, -1, 2**63 - 1, -(2**63), 0.1, -2.5e-300, 1.7e308, 5e-324]},
        deep(7, "objects"),
        deep(8, "objects"),
        deep(7, "lists"),
        deep(8, "lists"),
        sized(kb16 - 1, "x"),
        sized(kb16, "x"),
        sized(kb16, "🌱"),
    ]
    bad: list[Any] = [
        [],
        [{}],
        "{}",
        1,
        1.5,
        True,
        {"a": 2**63},
        {"a": [2**64 - 1]},
        deep(9, "objects"),
        deep(9, "lists"),
        deep(500, "objects"),
        sized(kb16 + 1, "x"),
        sized(kb16 + 1, "🌱"),
    ]
    asked = EXAMPLES[name](scene)
    for meta in good:
        await db.execute("DELETE FROM habits WHERE name = 'read'")
        payload = await change(api, scene.ada, name, "habit { meta }", **asked | {"meta": meta})
        assert writing.doubles(payload["habit"]["meta"]) == meta
    await db.execute("DELETE FROM habits WHERE name = 'read'")
    before = await writing.rows(db)
    for meta in bad:
        assert await refusal(api, scene.ada, name, **asked | {"meta": meta}) == [
            ("INVALID", ["meta"])
        ], str(meta)[:80]
    assert await writing.rows(db) == before


async def test_meta_written_in_the_document(api: Client, scene: Scene) -> None:
    async def create(meta: str) -> Any:
        answer = await api(
            f"""mutation($name: String!) {{ createHabit(input: {{
              name: $name, frequency: DAILY, meta: {meta}
            }}) {{ habit {{ meta }} userErrors {{ code path }} }} }}""",
            scene.ada,
            name=meta[:20],
        )
        return answer.data["createHabit"]

    made = await create('{a: 1, b: [1.5, "x", null, true], c: {d: $name}}')
    assert made["habit"] == {
        "meta": {"a": 1, "b": [1.5, "x", None, True], "c": {"d": '{a: 1, b: [1.5, "x",'}}
    }
    assert (await create("null"))["habit"] == {"meta": {}}
    for number in ("1e999", "-1e999", "9223372036854775808", "1" + "0" * 400):
        refused = await create(f"{{a: [{number}]}}")
        assert refused["userErrors"] == [{"code": "INVALID", "path": ["meta"]}], number


# --- All at once ---


async def test_all_problems_of_an_input_are_said_at_once(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    await make.habit(db, scene.ada, "taken")
    before = await writing.rows(db)
    long = "🌱" * 2_001
    asked: dict[str, dict[str, Any]] = {
        "createStory": {
            "title": long,
            "content": " ",
            "tags": ["none", " "],
            "idempotencyKey": "k" * 65,
        },
        "updateStory": {
            "id": scene.story.id,
            "title": "",
            "content": None,
            "visibility": None,
            "tags": ["none"],
            "expectedUpdatedAt": "2020-01-01T00:00:00Z",
        },
        "updateProfile": {
            "displayName": long,
            "bio": long,
            "journalingFrequency": 8,
            "expectedUpdatedAt": "2020-01-01T00:00:00Z",
        },
        "createHabit": {"name": "", "frequency": "DAILY", "meta": []},
        "updateHabit": {"id": scene.habit.id, "name": None, "frequency": None, "meta": 5},
        "createGarden": {"name": long, "theme": long},
        "updateGarden": {"id": scene.garden.id, "name": None, "theme": long},
        "mergeTags": {"fromId": "x", "intoId": scene.story.id},
    }
    expected = {
        "createStory": [
            ("TOO_LONG", ["title"]),
            ("REQUIRED", ["content"]),
            ("TOO_LONG", ["idempotencyKey"]),
            ("REQUIRED", ["tags", "1"]),
            ("TAG_NOT_FOUND", ["tags", "0"]),
        ],
        "updateStory": [
            ("TAG_NOT_FOUND", ["tags", "0"]),
            ("CONFLICT", ["expectedUpdatedAt"]),
            ("REQUIRED", ["title"]),
            ("REQUIRED", ["content"]),
            ("REQUIRED", ["visibility"]),
        ],
        "updateProfile": [
            ("TOO_LONG", ["displayName"]),
            ("TOO_LONG", ["bio"]),
            ("INVALID", ["journalingFrequency"]),
            ("CONFLICT", ["expectedUpdatedAt"]),
        ],
        "createHabit": [("REQUIRED", ["name"]), ("INVALID", ["meta"])],
        "updateHabit": [("REQUIRED", ["name"]), ("REQUIRED", ["frequency"]), ("INVALID", ["meta"])],
        "createGarden": [("TOO_LONG", ["name"]), ("TOO_LONG", ["theme"])],
        "updateGarden": [("REQUIRED", ["name"]), ("TOO_LONG", ["theme"])],
        "mergeTags": [("NOT_FOUND", ["fromId"]), ("NOT_FOUND", ["intoId"])],
    }
    for name, bad in asked.items():
        assert await refusal(api, scene.actor(name), name, **bad) == expected[name]
    # An id that leads nowhere is one of them.
    for name, member in (
        ("updateStory", "title"),
        ("updateHabit", "name"),
        ("updateGarden", "name"),
    ):
        found = await refusal(api, scene.ada, name, id="nowhere", **{member: ""})
        assert sorted(found) == [("NOT_FOUND", ["id"]), ("REQUIRED", [member])]
    assert await writing.rows(db) == before


# --- Patches ---

PATCHES = {
    name: (item.shows, item.not_cleared) for name, item in TABLE.items() if item.shows is not None
}
"""What each update shows, and what of it cannot be cleared."""

CLEARED: dict[str, Any] = {"tags": [], "meta": {}}
NOT_PATCHED = {"id", "expectedUpdatedAt"}


def test_every_update_is_known() -> None:
    assert set(PATCHES) == {name for name in MUTATIONS if name.startswith("update")}


def shown(payload: Any) -> dict[str, Any]:
    (entity,) = payload.values()
    entity = dict(entity.get("profile", entity.get("matching", entity)))
    if "tagNames" in entity:
        entity["tags"] = entity.pop("tagNames")
    return entity


@pytest.mark.parametrize("name", PATCHES)
async def test_absent_leaves_and_null_clears(
    name: str, api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    selection, needed = PATCHES[name]
    full = EXAMPLES[name](scene)
    names = {"id": full["id"]} if "id" in full else {}
    all_set = shown(await change(api, scene.ada, name, selection, **full))
    patched = writing.input_type(name).fields.keys() - NOT_PATCHED
    assert all_set == {key: value for key, value in full.items() if key != "id"}
    assert all_set.keys() == patched

    assert shown(await change(api, scene.ada, name, selection, **names)) == all_set
    for member in sorted(patched):
        before = await writing.rows(db)
        # null as a value of the variable, as a variable of its own and in the document
        if member in needed:
            assert await refusal(api, scene.ada, name, **names, **{member: None}) == [
                ("REQUIRED", [member])
            ]
            assert await writing.rows(db) == before
            continue
        cleared = shown(await change(api, scene.ada, name, selection, **names, **{member: None}))
        assert cleared == all_set | {member: CLEARED.get(member)}
        restored = {member: full[member]}
        assert shown(await change(api, scene.ada, name, selection, **names, **restored)) == all_set


async def test_patches_through_variables_of_their_own(api: Client, scene: Scene) -> None:
    """A variable that was not given leaves its field absent; null in the document clears."""
    query = """mutation($id: ID!, $name: String, $theme: String) {
      updateGarden(input: {id: $id, name: $name, theme: $theme}) {
        garden { name theme } userErrors { code path }
      }
    }"""

    async def update(**given: Any) -> Any:
        return (await api(query, scene.ada, id=scene.garden.id, **given)).data["updateGarden"]

    both = await update(name="Fern bank", theme="wild")
    assert both["garden"] == {"name": "Fern bank", "theme": "wild"}
    assert (await update())["garden"] == both["garden"]
    assert (await update(theme=None))["garden"] == {"name": "Fern bank", "theme": None}
    assert (await update(name=None))["userErrors"] == [{"code": "REQUIRED", "path": ["name"]}]
    literal = f"""mutation {{ updateGarden(input: {{
      id: {json.dumps(scene.garden.id)}, theme: null
    }}) {{ garden {{ name theme }} }} }}"""
    assert (await api(literal, scene.ada)).data["updateGarden"]["garden"]["theme"] is None


async def test_the_first_save_makes_the_profile(api: Client, db: asyncpg.Connection) -> None:
    cleo = await make.person(db)
    payload = await change(
        api, cleo, "updateProfile", "user { profile { displayName bio journalingFrequency } }"
    )
    nothing = {"displayName": None, "bio": None, "journalingFrequency": None}
    assert payload["user"]["profile"] == nothing
    payload = await change(api, cleo, "updateProfile", "user { profile { bio } }", bio=" Moss. ")
    assert payload["user"]["profile"] == {"bio": "Moss."}


# --- What the schema itself refuses ---

WRONG: list[tuple[str, dict[str, Any]]] = [
    ("createGarden", {}),
    ("createGarden", {"name": None}),
    ("createGarden", {"name": 5}),
    ("createGarden", {"name": "x", "size": 5}),
    ("createStory", {"title": "x", "content": "y", "visibility": "public"}),
    ("createStory", {"title": "x", "content": "y", "tags": [None]}),
    ("createStory", {"title": "x", "content": "y", "tags": None}),
    ("createHabit", {"name": "x", "frequency": "HOURLY"}),
    ("updateProfile", {"journalingFrequency": 2**31}),
    ("updateProfile", {"journalingFrequency": 2.5}),
    ("updateProfile", {"expectedUpdatedAt": "yesterday"}),
    ("updateProfile", {"expectedUpdatedAt": "2026-01-01T00:00:00"}),
    ("putFeatures", {"features": None}),
    ("putFeatures", {"features": [{"userId": "x", "vector": ["1"]}]}),
    ("putFeatures", {"features": [{"userId": "x", "vector": [1], "version": 2**31}]}),
    ("putMatches", {"matches": [{"userId": "x", "targetUserId": "y", "score": None}]}),
]


@pytest.mark.parametrize(("name", "asked"), WRONG)
async def test_values_of_a_wrong_type_refuse_the_request(
    name: str, asked: dict[str, Any], api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    before = await writing.rows(db)
    answer = await send(api, scene.actor(name), name, **asked)
    assert set(answer.codes) == {"BAD_REQUEST"}
    assert "data" not in answer.body
    assert answer.statements == []
    assert await writing.rows(db) == before


def test_the_limits_are_those_of_the_design() -> None:
    assert (validation.MAX_CONTENT_CHARACTERS, validation.MAX_TAGS_PER_STORY) == (100_000, 20)
    assert (validation.MAX_TAGS_PER_PERSON, validation.POPULAR) == (50, 2_000)  # decision 134
    assert (validation.MAX_META_BYTES, validation.MAX_META_DEPTH) == (16 * 1024, 8)
    assert (validation.MAX_BATCH, validation.MAX_JOURNALING_FREQUENCY) == (1_000, 7)
