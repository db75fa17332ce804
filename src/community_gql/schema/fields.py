"""The field declarations of the schema: each says once where a field's value comes from.

``column`` copies a column of the row, ``one``, ``page`` and ``through`` follow a relationship of
the models, ``computed`` is an SQL expression of the parent. ``entity`` makes a GraphQL type of a
class that declares such fields. The loaders and the SQL compiler read the same declarations:
``field.source`` and ``field.batch`` of the Strawberry field, see ``kinds.py``.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, dataclass_transform

import strawberry
from sqlalchemy.orm import InstrumentedAttribute
from strawberry import UNSET
from strawberry.types.arguments import StrawberryArgument
from strawberry.types.field import StrawberryField
from strawberry.utils.str_converters import to_camel_case

from community_gql.db import models as m
from community_gql.graph.edges import Bins, Expression, Filter, Found, Shape, Walk
from community_gql.graph.paging import Order
from community_gql.graph.terms import SqlType
from community_gql.schema.ids import write_id
from community_gql.schema.kinds import (
    FILTERS,
    ColumnField,
    DerivedField,
    EdgeField,
    ExpressionField,
    FilterMember,
    IdField,
    LookupField,
    OneField,
    PageField,
    ThroughField,
    ValueField,
)
from community_gql.schema.kinds import Argument as Argument
from community_gql.schema.kinds import argument as argument
from community_gql.schema.lengths import CHARACTERS, longest
from community_gql.schema.results import ResultEdgeField, ResultField
from community_gql.settings.docstrings import documentation

T = TypeVar("T")

Relation = InstrumentedAttribute[Any]
Declared = Any
"""A declaration, in the place of a value of the field: see ``dataclass_transform``."""


def column(description: str, attribute: str | None = None) -> Declared:
    """A column of the row, under the field's name or ``attribute``."""
    return ColumnField(description, attribute)


def derived(derive: Callable[[Any], Any], description: str) -> Declared:
    """What ``derive`` makes of the parent."""
    return DerivedField(derive, description=description)


def node_id(description: str) -> Declared:
    """The global id of a row."""
    return IdField(
        lambda row: write_id(row.shape.name, getattr(row, row.shape.model.__global_key__)),
        description=description,
    )


def result(description: str) -> Declared:
    """In a payload: the entity that the mutation made or changed."""
    return ResultField(description)


def result_edge(owner: type, list_name: str, description: str) -> Declared:
    """In a payload: the entity as an edge of that list of ``owner``, in its default order."""
    return ResultEdgeField(owner, list_name, description)


def one(relationship: Relation | None, description: str) -> Declared:
    """The one row, if any, that the relationship leads to; None names the parent itself."""
    return OneField(relationship.key if relationship is not None else None, description)


def through(
    relationship: Relation,
    order: Order,
    description: str,
    *,
    most: int,
    lateral: bool = False,
    extra: int = 0,
) -> Declared:
    """All rows that the relationship leads to; for lists of at ``most`` a few.

    ``lateral`` looks for the rows of one parent after the other, and for no more than ``most``:
    for what many have in common. ``extra`` is what finding them weighs.
    """
    return ThroughField(relationship.key, order, most, description, lateral=lateral, extra=extra)


def page(
    relationship: Relation | None,
    *,
    orders: type[enum.Enum],
    filter: type | None = None,
    description: str,
    found_by: Callable[[Any, Any, Any], Any] | None = None,
    bins: Bins | None = None,
) -> Declared:
    """A connection over the rows that the relationship leads to; None makes it a root list.

    For ``found_by`` and ``bins`` see ``ToPage``.
    """
    key = relationship.key if relationship is not None else None
    return PageField(key, orders, filter, description, found_by, bins)


def computed(expression: Expression, description: str, **arguments: Argument) -> Declared:
    """An SQL expression of the parent's alias and, by name, the bind of each argument."""
    if arguments:
        return ValueField(expression, description, arguments)
    return ExpressionField(expression, description)


def lookup(
    description: str,
    name: str,
    name_description: str,
    by: str | None = None,
    read: Callable[[str], Any] | None = None,
) -> Declared:
    """A root field that finds one entity: by global id, or ``by`` a unique column."""
    annotation = strawberry.ID if by is None else str
    return LookupField(description, argument(name, annotation, name_description), by, read)


def described_type(cls: type[T]) -> type[T]:
    """``strawberry.type`` with the docstring as description."""
    return strawberry.type(cls, description=documentation(cls))


def described_input(cls: type[T]) -> type[T]:
    """``strawberry.input`` with the docstring as description."""
    return strawberry.input(cls, description=documentation(cls))


def describe_enum(
    cls: type[enum.Enum], description: str, /, called: str | None = None, **values: str
) -> None:
    """Make a GraphQL enum of ``cls``, with a description of it and of each value by name."""
    described = strawberry.enum(cls, name=called, description=description)
    for value in described.__strawberry_definition__.values:  # type: ignore[attr-defined]
        value.description = values.get(value.name, value.description)


def loaded(
    kind: type[EdgeField[Any]], description: str, *arguments: StrawberryArgument
) -> Declared:
    """A field of a kind of its own."""
    return kind(description, arguments)


def member(
    type_: SqlType,
    predicate: Callable[[Any, Any], Any],
    description: str,
    read: Callable[[Any], Any] = lambda value: value,
    *,
    selective: bool = False,
    scarce: bool = False,
    dear: int = 1,
    window: bool = False,
    light: bool = False,
    marked: Callable[[Any, Any], Any] | None = None,
    walk: Callable[[Any, Any], Walk] | None = None,
    found: Callable[[Any, Any], Found] | None = None,
    probe: Callable[[Any, Any], Any] | None = None,
) -> Declared:
    """A member of a filter input, absent by default; the rest is in ``Filter``."""
    declared = Filter(
        type_, predicate, selective, scarce, dear, window, light, marked, walk, found, probe
    )
    metadata = {FILTERS: FilterMember(declared, read)}
    return strawberry.field(description=description, default=UNSET, metadata=metadata)


def ordered(order: Order, description: str) -> Declared:
    """A value of an enum of orders. The first of an enum is its default."""
    return strawberry.enum_value(order, description=description)


def _long(
    fields: Sequence[StrawberryField], names: Mapping[int, str], model: type[m.Base]
) -> dict[str, str]:
    """The attributes that hold long texts, and what GraphQL calls them."""
    attributes = {
        field.attribute or names[id(field)]: to_camel_case(field.name or names[id(field)])
        for field in fields
        if isinstance(field, ColumnField) and not isinstance(field, ExpressionField)
    }
    return {
        attribute: name
        for attribute, name in attributes.items()
        if longest(getattr(model, attribute)) > CHARACTERS
    }


@dataclass_transform(kw_only_default=True, field_specifiers=(column, one, page, through, computed))
def entity(model: type[m.Base]) -> Callable[[type[T]], type[T]]:
    """Make a GraphQL type of a class whose fields are declared over ``model``.

    The docstring becomes the description. The class gets a ``shape``, and resolvers pass rows of
    that shape, never instances of the class.
    """

    def decorate(cls: type[T]) -> type[T]:
        fields = [value for value in vars(cls).values() if isinstance(value, StrawberryField)]
        names = {id(value): name for name, value in vars(cls).items()}
        columns = [
            field.attribute or names[id(field)]
            for field in fields
            if isinstance(field, ColumnField) and not isinstance(field, ExpressionField)
        ]
        expressions = {
            names[id(field)]: field.expression
            for field in fields
            if isinstance(field, ExpressionField)
        }
        if any(getattr(base, "is_node", False) for base in cls.__mro__):
            columns.append(model.__global_key__)
        shape = Shape(cls.__name__, model, tuple(columns), expressions, _long(fields, names, model))
        cls.shape = shape  # type: ignore[attr-defined]
        cls.is_type_of = staticmethod(lambda row, _info: type(row) is shape.row)  # type: ignore[attr-defined]
        return described_type(cls)

    return decorate
