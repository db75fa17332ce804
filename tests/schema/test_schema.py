"""The schema itself: described, checked in, and made by the project's conventions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLUnionType,
    build_schema,
    get_named_type,
    is_list_type,
    is_non_null_type,
    is_required_argument,
    is_specified_scalar_type,
    validate_schema,
)

from community_gql.schema.executable import core, sdl
from community_gql.schema.kinds import ThroughField, declared
from tests.support import graph

FILE = Path(__file__).parents[2] / "schema.graphql"

TYPES = {
    name: type_
    for name, type_ in sorted(core.type_map.items())
    if not name.startswith("__") and not is_specified_scalar_type(type_)
}
OUTPUTS = {
    name: type_
    for name, type_ in TYPES.items()
    if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType)
}
FIELDS: dict[str, GraphQLField] = {
    f"{name}.{field}": definition
    for name, type_ in OUTPUTS.items()
    for field, definition in type_.fields.items()
}
INPUTS = {name: t for name, t in TYPES.items() if isinstance(t, GraphQLInputObjectType)}
ENUMS = {name: t for name, t in TYPES.items() if isinstance(t, GraphQLEnumType)}
CONNECTIONS = {name: t for name, t in OUTPUTS.items() if name.endswith("Connection")}


def test_the_file_is_what_the_code_says() -> None:
    assert FILE.read_text(encoding="utf-8") == sdl(), "make schema"


def test_the_schema_is_valid_and_reads_back() -> None:
    assert validate_schema(core) == []
    assert build_schema(sdl()).type_map.keys() >= TYPES.keys()


def described() -> list[Any]:
    """Everything that a frontend developer may hover over, by coordinate."""
    found: list[Any] = [(name, type_.description) for name, type_ in TYPES.items()]
    for coordinate, field in FIELDS.items():
        found.append((coordinate, field.description))
        found += [(f"{coordinate}({name}:)", a.description) for name, a in field.args.items()]
    for name, input_ in INPUTS.items():
        found += [(f"{name}.{member}", f.description) for member, f in input_.fields.items()]
    for name, enum in ENUMS.items():
        found += [(f"{name}.{value}", v.description) for value, v in enum.values.items()]
    return found


def test_everything_is_described_in_a_sentence() -> None:
    elements = described()

    assert len(elements) > 200
    assert [name for name, text in elements if not text] == []
    # A sentence, not a restated name: it ends, and it has a space.
    short = [name for name, text in elements if not re.fullmatch(r".+ .+[.)]", text.strip(), re.S)]
    assert [
        name for name in short if not name.startswith(("UserErrorCode", "HabitFrequency"))
    ] == []


def test_a_description_tells_nothing_of_the_inside() -> None:
    inside = re.compile(
        r"\b(auth0|sql|postgres\w*|column|sqlalchemy|strawberry|resolver|loader|snake_case)\b", re.I
    )
    assert [(name, text) for name, text in described() if inside.search(text or "")] == []


@pytest.mark.parametrize("coordinate", FIELDS)
def test_lists_are_of_items_that_are_there(coordinate: str) -> None:
    type_: Any = FIELDS[coordinate].type
    inner = type_.of_type if is_non_null_type(type_) else type_
    if not is_list_type(inner):
        return
    assert is_non_null_type(type_), "a list is there, if empty"
    # `nodes` answers each id at its place.
    assert is_non_null_type(inner.of_type) is (coordinate != "Query.nodes")


@pytest.mark.parametrize("name", CONNECTIONS)
def test_connections_are_relays(name: str) -> None:
    node = name.removesuffix("Connection")
    fields = {field: str(definition.type) for field, definition in CONNECTIONS[name].fields.items()}
    edge = {field: str(f.type) for field, f in OUTPUTS[f"{node}Edge"].fields.items()}

    assert fields == {
        "edges": f"[{node}Edge!]!",
        "nodes": f"[{node}!]!",
        "pageInfo": "PageInfo!",
        "totalCount": "Int!",
        "totalCountIsExact": "Boolean!",
    }
    assert edge == {"node": f"{node}!", "cursor": "String!"}


def test_page_info_is_relays() -> None:
    assert {name: str(field.type) for name, field in OUTPUTS["PageInfo"].fields.items()} == {
        "hasNextPage": "Boolean!",
        "hasPreviousPage": "Boolean!",
        "startCursor": "String",
        "endCursor": "String",
    }


CONNECTED = [c for c, field in FIELDS.items() if get_named_type(field.type).name in CONNECTIONS]


@pytest.mark.parametrize("coordinate", CONNECTED)
def test_connections_are_asked_for_alike(coordinate: str) -> None:
    field = FIELDS[coordinate]
    node = get_named_type(field.type).name.removesuffix("Connection")
    arguments = {name: str(argument.type) for name, argument in field.args.items()}
    filters = arguments.pop("filter", f"{node}Filter")

    assert isinstance(field.type, GraphQLNonNull), "a list is there, if empty"
    assert arguments == {
        "first": "Int",
        "after": "String",
        "last": "Int",
        "before": "String",
        "orderBy": f"{node}Order",
    }
    assert filters in (f"{node}Filter", f"User{node}Filter")
    assert not any(is_required_argument(argument) for argument in field.args.values())
    assert "defaultValue" not in "".join(map(str, field.args.values()))


def test_lists_that_can_grow_are_connections() -> None:
    lists = {
        coordinate
        for coordinate, field in FIELDS.items()
        if is_list_type(getattr(field.type, "of_type", field.type))
        and isinstance(get_named_type(field.type), GraphQLObjectType | GraphQLInterfaceType)
        and not coordinate.split(".")[0].endswith(("Connection", "Payload"))
    }
    bounded = {c for c in lists if isinstance(declared(FIELDS[c]), ThroughField)}
    assert lists - bounded == {"Query.nodes"}, "`through` or `page`: this list has no bound"
    most = {c: declared(FIELDS[c]).most for c in bounded}  # type: ignore[union-attr]
    assert {c: n for c, n in most.items() if not 1 <= n <= 100} == {}, "more are pages"


def test_no_argument_has_a_default_that_collides_with_another() -> None:
    defaults = {
        f"{coordinate}({name}:)"
        for coordinate, field in FIELDS.items()
        for name, argument in field.args.items()
        if str(argument).find("=") >= 0 or "= " in sdl_of(coordinate, name)
    }
    assert defaults == {"Story.excerpt(length:)"}


def sdl_of(coordinate: str, argument: str) -> str:
    """The line of the SDL that declares an argument."""
    type_name, field = coordinate.split(".")
    body = sdl().split(f"type {type_name} ", 1)[-1].split("\n}", 1)[0]
    match = re.search(rf"\n  {field}\((.*?)\n?\s*\): ", body, re.S)
    lines = [] if match is None else [line.strip() for line in match[1].splitlines()]
    return next((line for line in lines if line.startswith(f"{argument}: ")), "")


def test_objects_stand_where_tables_have_foreign_keys() -> None:
    keys = [c for c in FIELDS if re.search(r"(Id|Ids|Sub|_id)$", c)]

    # The id of what is gone is all that there is of it.
    gone = {"deletedId", "deletedMatchId", "goneId"}
    assert [c for c in keys if c.split(".")[1] not in gone] == []
    assert {str(f.type) for c, f in FIELDS.items() if c.endswith(".id")} == {"ID!"}


def test_what_has_an_id_is_a_node() -> None:
    with_ids = {name for name, t in OUTPUTS.items() if "id" in t.fields and name != "Node"}
    assert with_ids == set(graph.nodes()), "a type with an id is a Node"
    assert isinstance(OUTPUTS["Query"].fields["node"].type, GraphQLInterfaceType)


NULLABLE = {
    "Query.viewer": "signed out",
    "Query.node": "a lookup",
    "Query.user": "a lookup",
    "Query.story": "a lookup",
    "Query.tag": "a lookup",
    "User.profile": "until they first save it",
    "User.garden": "until they plant one",
    "User.viewerFriendship": "no friends yet",
    "MatchReasons.journaling": "where it is not the same",
    "Matching.listedAt": "while there is no list",
    "Viewer.features": "until they are computed",
    "Viewer.sessionExpiresAt": "a viewer without a token",
    "PageInfo.startCursor": "an empty page",
    "PageInfo.endCursor": "an empty page",
    "Subscription.viewer": "signed out",
    "Subscription.node": "a lookup",
    "StoryChange.story": "it is gone",
    "StoryChange.storyEdge": "it did not appear",
    "StoryChange.goneId": "it is not gone",
}
"""The only fields of a query that may be null, and when; beside columns that may be NULL."""


def test_only_what_may_be_absent_is_nullable() -> None:
    written = re.compile(
        r"^Mutation\.|Payload\."
    )  # nullable, so that one failed mutation does not hide the others
    nullable, columns = set(), {}
    for coordinate, field in FIELDS.items():
        if (column := graph.column_of(field)) is not None:
            columns[coordinate] = (column.nullable, not is_non_null_type(field.type))
        elif not is_non_null_type(field.type) and not written.search(coordinate):
            nullable.add(coordinate)
    assert nullable == NULLABLE.keys(), "each stands in NULLABLE, with its reason"
    differing = {place for place, (one, other) in columns.items() if one is not other}
    assert differing == set(), "a field may be null where its column may be NULL"


def test_mutations_and_payloads_have_one_form() -> None:
    if core.mutation_type is None:
        pytest.skip("there are no mutations")
    for name, field in core.mutation_type.fields.items():
        payload = get_named_type(field.type)
        assert not is_non_null_type(field.type), name
        assert payload.name == f"{name[0].upper()}{name[1:]}Payload"
        assert field.args.keys() <= {"input"}, name
        for argument in field.args.values():
            assert str(argument.type) == f"{name[0].upper()}{name[1:]}Input!"
        fields = {key: str(f.type) for key, f in OUTPUTS[payload.name].fields.items()}
        assert fields.pop("userErrors") == "[UserError!]!", name
        assert fields.pop("query") == "Query!", name
        assert not [key for key, type_ in fields.items() if type_.endswith("!")], name


@pytest.mark.parametrize("name", TYPES)
def test_names_are_the_fields_own(name: str) -> None:
    type_: GraphQLNamedType = TYPES[name]
    assert re.fullmatch(r"[A-Z][A-Za-z]*", name)
    if isinstance(type_, GraphQLEnumType):
        assert all(re.fullmatch(r"[A-Z]+(_[A-Z]+)*", value) for value in type_.values)
    elif not isinstance(type_, GraphQLScalarType | GraphQLUnionType):
        members: Any = type_.fields  # type: ignore[attr-defined]
        assert all(re.fullmatch(r"[a-z][A-Za-z0-9]*", member) for member in members)
    if isinstance(type_, GraphQLInputObjectType):
        assert name.endswith(("Input", "Filter"))


def test_moments_end_in_at_and_are_datetimes() -> None:
    for coordinate, field in FIELDS.items():
        moment = get_named_type(field.type).name == "DateTime"
        assert moment is bool(re.search(r"[a-z]At$", coordinate)), coordinate


def test_scalars_beyond_graphqls_own_say_where_they_are_specified() -> None:
    scalars = {n: t for n, t in TYPES.items() if isinstance(t, GraphQLScalarType)}

    assert scalars.keys() == {"DateTime", "JSON"}
    assert all(
        (scalar.specified_by_url or "").startswith("https://") for scalar in scalars.values()
    )
    json_ = {c for c, field in FIELDS.items() if get_named_type(field.type).name == "JSON"}
    assert json_ == {"Habit.meta"}
