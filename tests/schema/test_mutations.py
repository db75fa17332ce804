"""What holds for every mutation of the schema; a new one is covered here or makes a test fail."""

from __future__ import annotations

import json
import re
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from community_gql.schema.ids import write_id
from tests.support import factories as make
from tests.support import graph, writing
from tests.support.client import Client
from tests.support.mutations import TABLE, by_place
from tests.support.writing import EXAMPLES, MUTATIONS, Scene, change, refusal, send


@pytest.fixture
async def scene(db: asyncpg.Connection) -> Scene:
    return await writing.scene(db)


async def example(name: str, scene: Scene, db: asyncpg.Connection) -> dict[str, Any]:
    """An input with which the mutation succeeds in the scene."""
    if name == "createGarden":
        await db.execute("DELETE FROM gardens")
    return EXAMPLES[name](scene)


def test_every_mutation_has_an_example() -> None:
    assert sorted(EXAMPLES) == MUTATIONS


def test_examples_give_every_member_but_those_about_retries() -> None:
    for name in MUTATIONS:
        given = EXAMPLES[name](_Anything())  # type: ignore[arg-type]
        missing = writing.input_type(name).fields.keys() - given.keys()
        assert missing <= {"expectedUpdatedAt"}, name


class _Anything:
    def __getattr__(self, name: str) -> Any:
        return _Anything()


@pytest.mark.parametrize("name", MUTATIONS)
async def test_a_mutation_answers_with_what_it_did(
    name: str, api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    given = await example(name, scene, db)
    before = await writing.rows(db)

    payload = await change(
        api,
        scene.actor(name),
        name,
        f"{writing.everything_in(name)} query {{ tags {{ nodes {{ name }} }} }}",
        **given,
    )

    assert await writing.rows(db) != before
    names = [tag["name"] for tag in payload.pop("query")["tags"]["nodes"]]
    assert names == [row["name"] for row in await db.fetch("SELECT name FROM tags ORDER BY name")]
    assert payload
    assert None not in payload.values()


# --- Who is let through ---


@pytest.mark.parametrize("name", MUTATIONS)
async def test_no_mutation_lets_an_anonymous_viewer_through(
    name: str, api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    given = await example(name, scene, db)
    before = await writing.rows(db)

    answer = await send(api, None, name, **given)

    assert answer.codes == ["UNAUTHENTICATED"]
    assert answer.body["data"] == {name: None}
    assert answer.statements == []
    assert await writing.rows(db) == before


NEEDS = {name: item.needs for name, item in TABLE.items() if item.needs}


@pytest.mark.parametrize("name", NEEDS)
async def test_moderation_and_machines_need_their_permission(
    name: str, api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    given = await example(name, scene, db)
    before = await writing.rows(db)
    others = {*NEEDS.values(), "admin", "manage", "*"} - {NEEDS[name]}

    for actor in (scene.ada, await make.person(db, permissions=sorted(others))):
        before = await writing.rows(db)
        answer = await send(api, actor, name, **given)
        (error,) = answer.data[name]["userErrors"]
        assert (error["code"], error["path"]) == ("FORBIDDEN", [])
        assert NEEDS[name] in error["message"]
        assert answer.statements == []
        assert await writing.rows(db) == before


def test_what_needs_a_permission_says_so() -> None:
    described = {name: field.description or "" for name, field in writing.fields().items()}
    found = {
        name: permission[1]
        for name, text in described.items()
        if (permission := re.search("needs `([a-z:]+)`", text, re.IGNORECASE))
    }
    assert found == NEEDS


# --- Ids ---

LEADS_TO = by_place(lambda item: item.ids)
"""Every id that a mutation takes, and the type it must be of."""

IDS = [
    (name, path)
    for name in MUTATIONS
    for path in writing.members(writing.input_type(name), of="ID")
]


def said(name: str, path: tuple[str | int, ...]) -> str:
    return " ".join(map(str, (name, *path)))


def test_every_id_of_the_schema_is_known() -> None:
    assert {said(*place) for place in IDS} == LEADS_TO.keys()


def test_ids_of_every_type_are_tried(scene: Scene) -> None:
    missing = set(graph.nodes()) - scene.ids().keys()
    assert missing == set(), "add how to make one to OWNED of tests/support/factories.py"


@pytest.mark.parametrize(("name", "path"), IDS, ids=[said(*place) for place in IDS])
async def test_ids_that_lead_nowhere_are_not_found(
    name: str, path: tuple[str | int, ...], api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    wanted = LEADS_TO[said(name, path)]
    nobodys = write_id("User", uuid4()) if wanted == "User" else write_id(wanted, 2**62)
    right = scene.ids()[wanted]
    wrong = {
        **{kind: id_ for kind, id_ in scene.ids().items() if kind != wanted},
        "of nobody": nobodys,
        "empty": "",
        "blank": " ",
        "raw": "1",
        "raw uuid": str(scene.ada.public_id),
        "the sub": scene.ada.sub,
        "padded": f"{right}=",
        "cut": right[:-2],
        "lower": right.lower(),
        "type alone": write_id(wanted, ""),
        "negative": write_id(wanted, -1),
        "too large": write_id(wanted, 2**63),
        "not a number": write_id(wanted, "x"),
        "another spelling": write_id(wanted, "01"),
        "injected": write_id(wanted, "1' OR '1'='1"),
        "long": "A" * 10_000,
        "not ascii": "Ünïcödé🌱",
        "of no type": write_id("Profile", 1),
    }
    actor, given = scene.actor(name), EXAMPLES[name](scene)
    before = await writing.rows(db)

    for kind, id_ in wrong.items():
        asked = writing.with_value(given, path, id_)
        assert await refusal(api, actor, name, **asked) == [("NOT_FOUND", list(map(str, path)))], (
            kind
        )
    assert await writing.rows(db) == before


OTHERS = {name: item.to_strangers for name, item in TABLE.items() if item.to_strangers}
"""What one hears who is a stranger to the thing: gardens are seen by all, habits by nobody else."""


def test_every_mutation_of_ones_own_things_is_known() -> None:
    owned = {name for name, path in IDS if LEADS_TO[said(name, path)] != "Tag"}
    of_others = {"requestFriendship", "dismissMatch", "restoreMatch", "putFeatures", "putMatches"}
    assert OTHERS.keys() == owned - of_others


@pytest.mark.parametrize("name", OTHERS)
async def test_what_one_may_see_but_does_not_own_is_forbidden(
    name: str, api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    plain, mighty = await make.person(db), await make.person(db, permissions=[*NEEDS.values()])
    given = await example(name, scene, db)
    before = await writing.rows(db)

    for stranger in (plain, mighty):
        assert await refusal(api, stranger, name, **given) == [(OTHERS[name], ["id"])]
    assert await writing.rows(db) == before


@pytest.mark.parametrize("name", ["updateStory", "deleteStory"])
async def test_a_story_is_not_found_by_those_who_may_not_see_it(
    name: str, api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    friend, ended = await make.person(db), await make.person(db)
    await make.friendship(db, friend, scene.ada)
    await make.friendship(db, ended, scene.ada, accepted=False)
    for_friends = await make.story(db, scene.ada, visibility="friends")
    private = await make.story(db, scene.ada, visibility="private")
    before = await writing.rows(db)

    async def code(viewer: make.Person, story: make.Row) -> str:
        ((code, path),) = await refusal(api, viewer, name, id=story.id)
        assert path == ["id"]
        return code

    assert await code(friend, for_friends) == "FORBIDDEN"
    assert await code(friend, private) == "NOT_FOUND"
    for stranger in (scene.bea, ended):
        assert await code(stranger, for_friends) == "NOT_FOUND"
        assert await code(stranger, private) == "NOT_FOUND"
    assert await writing.rows(db) == before


async def test_a_refusal_does_not_tell_what_is_there(api: Client, scene: Scene) -> None:
    """An invisible row and none at all get the same answer."""
    hidden = await send(api, scene.bea, "deleteHabit", id=scene.habit.id)
    nothing = await send(api, scene.bea, "deleteHabit", id=write_id("Habit", 2**40))

    assert hidden.body == nothing.body


# --- Text ---

TEXTS = [
    (name, path)
    for name in MUTATIONS
    for kind in ("String", "ID", "JSON")
    for path in writing.members(writing.input_type(name), of=kind)
]


@pytest.mark.parametrize(("name", "path"), TEXTS, ids=[said(*place) for place in TEXTS])
async def test_text_that_postgresql_cannot_hold_refuses_the_request(
    name: str, path: tuple[str | int, ...], api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    given = EXAMPLES[name](scene)
    before = await writing.rows(db)
    free = path[-1] == "meta"

    for bad in ("\x00", "moss\x00", "\ud83c", "x\udf31"):
        values: list[Any] = [{"a": [bad]}, {bad: 1}] if free else [bad]
        for value in values:
            asked = writing.with_value(given, path, value)
            body = {
                "query": f"mutation($input: {writing.input_type(name).name}!) "
                f"{{ {name}(input: $input) {{ __typename }} }}",
                "variables": {"input": asked},
            }
            answer = await api.send(
                "POST",
                content=json.dumps(body).encode(),  # in ASCII: surrogates go as escapes
                headers={
                    "Content-Type": "application/json",
                    **api.authorization(scene.actor(name).sub, *scene.actor(name).permissions),
                },
            )
            assert answer.codes == ["BAD_REQUEST"], (bad, value)
            assert answer.statements == []
    assert await writing.rows(db) == before


async def test_the_same_holds_for_text_in_the_document(api: Client, scene: Scene) -> None:
    for bad in ('"\\u0000"', '"\\uD83C"', '"""moss\x00"""'):
        answer = await api(
            f"mutation {{ createGarden(input: {{name: {bad}}}) {{ __typename }} }}", scene.bea
        )
        assert set(answer.codes) <= {"BAD_REQUEST", "GRAPHQL_PARSE_FAILED"}
        assert "data" not in answer.body
