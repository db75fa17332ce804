"""Numbers and moments in inputs: exact or refused, alike in a document and in variables."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import asyncpg
import orjson
import pytest
from graphql import GraphQLInputObjectType, get_named_type

from community_gql.errors import BadRequest
from community_gql.http import exact_json
from community_gql.schema.executable import core
from tests.support import factories as make
from tests.support import writing
from tests.support.client import Client
from tests.support.writing import Scene

HABIT = """
  mutation{head} {{ createHabit(input: {{name: "n", frequency: DAILY, meta: {meta}}}) {{
    habit {{ meta }} userErrors {{ code path }} }} }}
"""

REFUSED = ["18446744073709551616", "9223372036854775808", "-9223372036854775809", "1" + "0" * 300]
TAKEN = ["9223372036854775807", "-9223372036854775808", "0.1", "1.5e300", "-0.0", "1e19", "5e-324"]


@pytest.fixture
async def scene(db: asyncpg.Connection) -> Scene:
    return await writing.scene(db)


async def both(api: Client, viewer: Any, db: asyncpg.Connection, meta: str) -> list[Any]:
    """What is said to a JSON value in a document, and to the same in variables."""
    json_text = meta.replace("a:", '"a":')
    payloads = []
    for query, variables in (
        (HABIT.format(head="", meta=meta), "{}"),
        (HABIT.format(head="($m: JSON)", meta="$m"), f'{{"m": {json_text}}}'),
    ):
        body = f'{{"query": {json.dumps(query)}, "variables": {variables}}}'
        headers = api.authorization(viewer.sub) | {"Content-Type": "application/json"}
        answer = await api.send("POST", content=body.encode(), headers=headers)
        payloads.append(answer.data["createHabit"])
        await db.execute("DELETE FROM habits WHERE name = 'n'")
    return payloads


@pytest.mark.both_ways
@pytest.mark.parametrize("shape", ["{{a: {}}}", "{{a: [[{{a: [0, {}]}}]]}}"])
async def test_whole_numbers_are_exact_or_refused(
    shape: str, api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    for number in REFUSED:
        found = await both(api, scene.ada, db, shape.format(number))
        refused = {"habit": None, "userErrors": [{"code": "INVALID", "path": ["meta"]}]}
        assert found == [refused, refused], number
    for number in TAKEN:
        in_document, in_variables = await both(api, scene.ada, db, shape.format(number))
        assert in_document == in_variables
        meta = shape.format(number).replace("a:", '"a":')
        assert writing.doubles(in_document["habit"]["meta"]) == json.loads(meta), number


def test_reading_json() -> None:
    for text in (b"18446744073709551616", "[-9223372036854775809]", f'{{"a": [{10**300}]}}'):
        assert exact_json.loads(text) == json.loads(text)
        assert type(exact_json.loads(text)) is type(json.loads(text))
    assert isinstance(exact_json.loads("18446744073709551616"), int)
    assert exact_json.loads('"12345678901234567890123"') == "12345678901234567890123"
    for text in (
        "NaN",
        "[1,]",
        "1e400",
        "-1e400",
        "1" * 400,
        "1" * 5000,
        "",
        b"\xff",
        "[12345678901234567890",
    ):
        with pytest.raises(orjson.JSONDecodeError):
            exact_json.loads(text)
    with pytest.raises(BadRequest):
        exact_json.loads("[" * 1000 + "1" * 20 + "]" * 1000)
    assert exact_json.loads("[" * 1000 + "1" + "]" * 1000)


async def test_numbers_of_machines(api: Client, db: asyncpg.Connection, scene: Scene) -> None:
    """A Float is a double; a whole number that none can hold is refused."""

    async def put(number: str, member: str = "vector") -> list[Any]:
        """What is said to a number in a document, and to the same in variables."""
        answers: list[Any] = []
        item = {"vector": f"vector: [{number}]", "version": f"vector: [1], version: {number}"}
        variable = {"vector": "$v: [Float!]!", "version": "$v: Int!"}
        used = {"vector": "vector: $v", "version": "vector: [1], version: $v"}
        value = f"[{number}]" if member == "vector" else number
        for head, given, variables in (
            ("", item[member], "{}"),
            (f"({variable[member]})", used[member], f'{{"v": {value}}}'),
        ):
            query = f"""mutation{head} {{ putFeatures(input: {{features: [{{
              userId: "{scene.ada.id}", {given} }}]}}) {{ count }} }}"""
            body = f'{{"query": {json.dumps(query)}, "variables": {variables}}}'
            headers = api.authorization(scene.machine.sub, *scene.machine.permissions)
            headers["Content-Type"] = "application/json"
            answer = await api.send("POST", content=body.encode(), headers=headers)
            if "errors" in answer.body:
                answers.append(answer.codes[0])
                continue
            kept = await db.fetchval("SELECT vector::text FROM user_features")
            answers += [float(item) for item in json.loads(kept)]
        return answers

    for number in ("0.1", "-0.0", "5e-324", "18446744073709551616", "1e19", "9007199254740992"):
        assert await put(number) == [float(number)] * 2, number
    for number in ("9007199254740993", "18446744073709551617"):
        in_document, in_variables = await put(number)
        assert in_document in ("BAD_REQUEST", "GRAPHQL_VALIDATION_FAILED")
        assert in_variables == "BAD_REQUEST"
    for number in ("18446744073709551616", "2147483648", "1.5"):
        in_document, in_variables = await put(number, "version")
        assert in_document in ("BAD_REQUEST", "GRAPHQL_VALIDATION_FAILED")
        assert in_variables == "BAD_REQUEST"


# --- Moments ---


def moments() -> list[str]:
    """The members of inputs that are moments, by coordinate."""
    return sorted(
        f"{type_.name}.{name}"
        for type_ in core.type_map.values()
        if isinstance(type_, GraphQLInputObjectType)
        for name, field in type_.fields.items()
        if get_named_type(field.type).name == "DateTime"
    )


@pytest.mark.parametrize("place", moments())
async def test_digits_beyond_the_sixth_are_refused(place: str, api: Client, scene: Scene) -> None:
    type_, _ = place.split(".")
    base = "2026-11-23T09:00:00.123456"
    field = {
        "StoryFilter": "stories(filter: $v) { totalCount }",
        "UserStoryFilter": "viewer { user { stories(filter: $v) { totalCount } } }",
    }.get(type_)
    for text, good in ((f"{base}Z", 1), (f"{base}000Z", 1), (f"{base}1Z", 0), (f"{base}001Z", 0)):
        value: dict[str, Any] = {place.split(".")[1]: text}
        if field is None:
            name = type_[0].lower() + type_[1:-5]
            value |= writing.EXAMPLES[name](scene)
            query = f"mutation($v: {type_}!) {{ {name}(input: $v) {{ userErrors {{ code }} }} }}"
        else:
            query = f"query($v: {type_}) {{ {field} }}"
        answer = await api(query, scene.ada, v=value)
        if good:
            assert "errors" not in answer.body
        else:
            assert answer.codes == ["BAD_REQUEST"], text
            assert "at most six fractional digits" in str(answer.errors)


@pytest.mark.both_ways
async def test_nobody_joined_in_the_future(api: Client, db: asyncpg.Connection) -> None:
    ada = await make.person(db, "Ada")
    moment = await db.fetchval("SELECT now()")
    for ahead, days in ((timedelta(days=3), 0), (timedelta(seconds=5), 0), (timedelta(days=-2), 2)):
        await db.execute("UPDATE users SET created_at = $1", moment + ahead)
        answer = await api(f'{{ user(id: "{ada.id}") {{ accountAgeDays }} }}')
        assert answer.data == {"user": {"accountAgeDays": days}}


@pytest.mark.parametrize("digits", [11, 5000])
@pytest.mark.parametrize(
    "text",
    [
        "{{ users(first: {}) {{ nodes {{ id }} }} }}",
        "query ($n: Int = {}) {{ users(first: $n) {{ nodes {{ id }} }} }}",
        "{{ stories {{ nodes {{ excerpt(length: -{}) }} }} }}",
    ],
)
async def test_an_int_of_any_length_is_refused_in_the_same_words(
    api: Client, text: str, digits: int
) -> None:
    answer = await api(text.format("9" * digits))
    (error,) = answer.errors
    assert error["message"].startswith("Int cannot represent non 32-bit signed integer value: ")
    assert len(error["message"]) < 100
    assert answer.status == 422


async def test_a_json_number_of_any_length_is_refused(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    query = HABIT.format(head="", meta=f"{{a: {'9' * 5000}}}")
    answer = await api(query, scene.ada)
    refused = {"habit": None, "userErrors": [{"code": "INVALID", "path": ["meta"]}]}
    assert answer.data["createHabit"] == refused
