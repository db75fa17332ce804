"""The parts of the schema that tests enumerate, so that a new field is covered or fails a test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphql import (
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    get_named_type,
)
from sqlalchemy import Column

from community_gql.schema.executable import core
from community_gql.schema.kinds import ColumnField, EdgeField, ExpressionField, declared


def readable_types() -> dict[str, GraphQLNamedType]:
    """All types that a query can reach, with the inputs that it can give, by name."""
    found: dict[str, GraphQLNamedType] = {}
    pending: list[GraphQLNamedType] = [core.query_type] if core.query_type else []
    while pending:
        type_ = pending.pop()
        if type_.name in found:
            continue
        found[type_.name] = type_
        for field in getattr(type_, "fields", {}).values():
            pending.append(get_named_type(field.type))
            pending.extend(get_named_type(a.type) for a in getattr(field, "args", {}).values())
        if type_.name == "Node":
            pending.extend(core.get_possible_types(type_))  # type: ignore[arg-type]
    return found


def nodes() -> list[str]:
    """The types that ``node`` finds, by name."""
    node = core.type_map["Node"]
    assert isinstance(node, GraphQLInterfaceType)
    return sorted(type_.name for type_ in core.get_possible_types(node))


def readable_fields() -> Iterator[tuple[str, GraphQLField]]:
    """Every field of every object type of ``readable_types``, with its coordinate."""
    for type_ in readable_types().values():
        if isinstance(type_, GraphQLObjectType) and not type_.name.startswith("__"):
            for name, field in type_.fields.items():
                yield f"{type_.name}.{name}", field


def column_of(field: GraphQLField) -> Column[Any] | None:
    """The column of the models that a field copies, if it does."""
    declaration = declared(field)
    if not isinstance(declaration, ColumnField) or isinstance(declaration, ExpressionField):
        return None
    model = getattr(declaration.origin, "shape").model  # noqa: B009 - of our own making
    attribute = getattr(model, declaration.attribute or declaration.python_name)
    column: Column[Any] = attribute.property.columns[0]
    return column


def edges() -> dict[str, GraphQLField]:
    """The fields whose value is loaded (those that cost statements), by coordinate."""
    return {
        coordinate: field
        for coordinate, field in readable_fields()
        if isinstance(declared(field), EdgeField)
    }


def leads_to(*names: str) -> set[str]:
    """The coordinates of the edges to one of these types, as one, a list or a connection."""
    wanted = {*names, *(f"{name}Connection" for name in names)}
    return {
        coordinate
        for coordinate, field in edges().items()
        if get_named_type(field.type).name in wanted
    }


def members(input_name: str) -> set[str]:
    """The members of an input type."""
    type_ = core.type_map[input_name]
    assert isinstance(type_, GraphQLInputObjectType)
    return set(type_.fields)
