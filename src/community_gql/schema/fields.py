"""The field declarations of the schema: each says once where a field's value comes from.

``column`` copies a column of the row, ``one``, ``page`` and ``through`` follow a relationship of
the models, ``computed`` is an SQL expression of the parent. ``entity`` makes a GraphQL type of a
class that declares such fields. The batched executor and the SQL compiler read the same
declarations: ``field.source`` of the Strawberry field.

A field's arguments are read before anything runs: ``plan`` turns them into what to load (and
raises BadRequest), ``resolve`` loads it for one parent.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar, dataclass_transform

import strawberry
from graphql import GraphQLResolveInfo
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.types import TypeEngine
from strawberry import UNSET
from strawberry.annotation import StrawberryAnnotation
from strawberry.types import Info
from strawberry.types.arguments import StrawberryArgument
from strawberry.types.base import StrawberryContainer
from strawberry.types.field import StrawberryField

from community_gql.db import models as m
from community_gql.errors import BadRequest
from community_gql.graph.loaders import (
    Expression,
    Filter,
    Lookup,
    Pages,
    Rows,
    Shape,
    ToMany,
    ToOne,
    ToPage,
    ToValue,
    Value,
    Values,
    first_page_cursors,
)
from community_gql.graph.paging import MAX_PAGE_SIZE, Cursors, Order, Window
from community_gql.schema.context import Context
from community_gql.schema.ids import read_id, write_id
from community_gql.settings import require_docstrings

require_docstrings()  # before the first description is read, whoever imports the schema

T = TypeVar("T")

Relation = InstrumentedAttribute[Any]


class ColumnField(StrawberryField):
    """A value that stands in the parent's row under another name than the field's."""

    def __init__(self, description: str, attribute: str | None = None) -> None:
        super().__init__(description=description, type_annotation=None)
        self.attribute = attribute

    def get_result(self, source: Any, info: Info | None, args: list[Any], kwargs: Any) -> Any:
        """The value in the row."""
        return getattr(source, self.attribute or self.python_name)


class DerivedField(StrawberryField):
    """A value made in Python from the parent alone; for what is not a row: pages, ids."""

    def __init__(self, derive: Callable[[Any], Any] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._derive = derive

    def __copy__(self) -> DerivedField:
        """A copy that keeps the function; Strawberry copies the fields of generic types."""
        copied = super().__copy__()
        copied._derive = self._derive
        return copied

    def get_result(self, source: Any, info: Info | None, args: list[Any], kwargs: Any) -> Any:
        """The value, or an awaitable of it."""
        assert self._derive is not None
        return self._derive(source)


class IdField(DerivedField):
    """The global id of a row: ``write_id``, or ``id_sql``, of its shape's name and global key."""


class EdgeField(StrawberryField):
    """A field whose value is loaded. Subclasses say what (``plan``) and how (``resolve``)."""

    def __init__(self, description: str, arguments: Sequence[StrawberryArgument] = ()) -> None:
        super().__init__(description=description)
        self.arguments = list(arguments)

    @property
    def is_basic_field(self) -> bool:
        """False: the resolver needs the operation's context."""
        return False

    @property
    def coordinate(self) -> str:
        """Where the schema has this field: ``User.stories``."""
        return f"{self.origin.__name__}.{self.name}"  # type: ignore[union-attr]

    @property
    def _parent(self) -> type[m.Base] | None:
        shape: Shape | None = getattr(self.origin, "shape", None)
        return None if shape is None else shape.model

    @cached_property
    def _target(self) -> Shape:
        return shape_of(self.type)  # Strawberry looks a type up each time it is asked

    def plan(self, arguments: Mapping[str, Any]) -> Any:
        """What the field's arguments ask for. Raises BadRequest when they cannot be."""
        raise NotImplementedError

    def resolve(self, source: Any, context: Context, plan: Any) -> Awaitable[Any] | Any:
        """The value for one parent row."""
        raise NotImplementedError

    def answer(self, source: Any, info: GraphQLResolveInfo[Context], **_: Any) -> Any:
        """The value for ``source``, by the plan that the argument pass made for this node.

        graphql-core's resolver of the field: Strawberry's would convert the arguments once more
        for each parent.
        """
        context: Context = info.context
        return self.resolve(source, context, context.plans[id(info.field_nodes[0])])


class OneField(EdgeField):
    """``one(m.User.garden)``: to at most one row; ``one()`` is the parent's own entity."""

    def __init__(self, relationship: str | None, description: str) -> None:
        super().__init__(description)
        self._relationship = relationship

    @cached_property
    def source(self) -> ToOne:
        """Where the row comes from."""
        return ToOne(self.coordinate, self._parent, self._relationship, self._target)

    def plan(self, arguments: Mapping[str, Any]) -> Rows:
        """The same for every parent."""
        return Rows(self.source)

    def resolve(self, source: Any, context: Context, plan: Rows) -> Awaitable[Any]:
        """The row, or None."""
        return context.loaders.load(plan, source[0])


class ThroughField(EdgeField):
    """``through(m.Story.tags)``: to all of a few rows."""

    def __init__(self, relationship: str, order: Order, most: int, description: str) -> None:
        super().__init__(description)
        self._relationship, self._order = relationship, order
        self.most = most
        """How many there are at most, by the rules for writes: what the cost counts."""

    @cached_property
    def source(self) -> ToMany:
        """Where the rows come from."""
        return ToMany(self.coordinate, self._parent, self._relationship, self._target, self._order)

    def plan(self, arguments: Mapping[str, Any]) -> Rows:
        """The same for every parent."""
        return Rows(self.source)

    def resolve(self, source: Any, context: Context, plan: Rows) -> Awaitable[Any]:
        """The list of rows."""
        return context.loaders.load(plan, source[0])


class ValueField(EdgeField):
    """``computed(expression, length=Argument(...))``: an SQL expression with arguments."""

    def __init__(
        self, expression: Expression, description: str, arguments: Mapping[str, Argument]
    ) -> None:
        super().__init__(
            description,
            [
                argument(name, int, bounds.description, bounds.default)
                for name, bounds in arguments.items()
            ],
        )
        self._expression, self._bounds = expression, arguments

    @cached_property
    def source(self) -> ToValue:
        """Where the value comes from."""
        shape: Shape = self.origin.shape  # type: ignore[union-attr]
        types = {name: bounds.type for name, bounds in self._bounds.items()}
        return ToValue(self.coordinate, shape, self._expression, types)

    def plan(self, arguments: Mapping[str, Any]) -> Value:
        """The computation with these arguments."""
        for name, bounds in self._bounds.items():
            bounds.check(name, arguments[name])
        return Value(self.source, tuple(sorted(arguments.items())))

    def resolve(self, source: Any, context: Context, plan: Value) -> Awaitable[Any]:
        """The computed value."""
        return context.loaders.load(plan, source[0])


class ExpressionField(ColumnField):
    """``computed(expression)``: an SQL expression without arguments, read along with the row."""

    def __init__(self, expression: Expression, description: str) -> None:
        super().__init__(description)
        self.expression = expression


class PageField(EdgeField):
    """``page(m.User.stories, ...)``: a connection over a list that can grow."""

    def __init__(
        self,
        relationship: str | None,
        orders: type[enum.Enum],
        filter_type: type | None,
        description: str,
    ) -> None:
        size = f"At most {MAX_PAGE_SIZE}"
        listed = orders_of(orders)
        default = next(iter(listed))
        arguments = [
            argument("first", int | None, f"How many, from the start. {size}; 20 without."),
            argument("after", str | None, "Start behind this cursor (pageInfo.endCursor)."),
            argument("last", int | None, f"How many, from the end. {size}."),
            argument("before", str | None, "End before this cursor (pageInfo.startCursor)."),
            argument("order_by", orders | None, f"The order; {default} without."),
        ]
        if filter_type is not None:
            arguments.append(
                argument("filter", filter_type | None, "Only those that match all members.")
            )
        super().__init__(description, arguments)
        self._relationship, self._orders, self._default = relationship, listed, default
        self._filters = filters_of(filter_type) if filter_type is not None else {}

    @cached_property
    def source(self) -> ToPage:
        """Where the list comes from."""
        return ToPage(
            self.coordinate,
            self._parent,
            self._relationship,
            self._target,
            self._orders,
            self._default,
            {name: member.filter for name, member in self._filters.items()},
        )

    def plan(self, arguments: Mapping[str, Any]) -> Pages:
        """The page that the arguments describe."""
        given = {name: value for name, value in arguments.items() if value is not None}
        window = Window.of(*(given.get(name) for name in ("first", "after", "last", "before")))
        order = given.get("order_by")
        return Pages.of(
            self.source, window, order.name if order else None, self._given(given.get("filter"))
        )

    def _given(self, filter_input: Any) -> Values:
        if filter_input is None:
            return ()
        read = (
            (name, member.read(value))
            for name, member in sorted(self._filters.items())
            if (value := getattr(filter_input, name)) not in (None, UNSET)
        )
        return tuple((name, value) for name, value in read if value is not None)

    def resolve(self, source: Any, context: Context, plan: Pages) -> Awaitable[Any]:
        """The Page for one parent, or of the root list."""
        if plan.edge.parent is None:
            return context.loaders.page(plan)
        return context.loaders.page(plan, source[0])


class LookupField(EdgeField):
    """A root field that finds one entity by a unique column or by its global id."""

    def __init__(
        self,
        description: str,
        key: StrawberryArgument,
        by: str | None,
        read: Callable[[Any], Any] | None,
    ) -> None:
        super().__init__(description, [key])
        self._by, self._read = by, read

    def plan(self, arguments: Mapping[str, Any]) -> tuple[Lookup, Any] | None:
        """The lookup and its key; None when nothing can be found by it."""
        ((_, value),) = arguments.items()
        if self._by is None:
            return plan_of_id(value, {self._target.name: self._target})
        key = self._read(value) if self._read else value
        return Lookup(self._target, self._by), key

    def resolve(self, source: Any, context: Context, plan: tuple[Lookup, Any] | None) -> Any:
        """The row, or None."""
        return None if plan is None else context.loaders.load(*plan)


def plan_of_id(text: str, shapes: dict[str, Shape]) -> tuple[Lookup, Any] | None:
    """The lookup behind a global id of one of these types; None when there is none."""
    found = read_id(text, shapes)
    if found is None:
        return None
    shape, key = found
    return Lookup(shape, shape.model.__global_key__), key


@dataclass(frozen=True)
class Argument:
    """An argument of a computed field: an integer within bounds."""

    type: TypeEngine[Any]
    default: int
    minimum: int
    maximum: int
    description: str

    def check(self, name: str, value: Any) -> None:
        """Raises BadRequest when ``value`` lies outside the bounds."""
        if not self.minimum <= value <= self.maximum:
            raise BadRequest(
                f"'{name}' must be between {self.minimum} and {self.maximum}, not {value}."
            )


@dataclass(frozen=True)
class FilterMember:
    """A member of a filter input: what it demands, and how its value is read."""

    filter: Filter
    read: Callable[[Any], Any]
    """Gives None for an emptied field, which demands nothing."""


class ResultField(EdgeField):
    """The entity that a mutation made or changed, in its payload: null when it was refused."""

    def plan(self, arguments: Mapping[str, Any]) -> Lookup:
        """The same for every outcome."""
        return Lookup(self._target, self._target.key_name)

    def resolve(self, source: Any, context: Context, plan: Lookup) -> Awaitable[Any] | None:
        """The row as it was committed."""
        return None if source.key is None else context.loaders.load(plan, source.key)


class ResultEdgeField(ResultField):
    """The entity with its cursor in the list that it now heads, for a client to put in there."""

    def __init__(self, owner: type, list_name: str, description: str) -> None:
        super().__init__(description)
        self._list = owner, list_name

    @cached_property
    def _cursors(self) -> tuple[tuple[str, ...], Cursors]:
        owner, name = self._list
        fields = owner.__strawberry_definition__.fields  # type: ignore[attr-defined]
        listed = next(field for field in fields if field.name == name).source
        return first_page_cursors(listed)

    async def _edge(self, row: Awaitable[Any]) -> ResultEdge | None:
        names, cursors = self._cursors
        node = await row
        if node is None:
            return None
        return ResultEdge(node, cursors.write([getattr(node, name) for name in names]))

    def resolve(self, source: Any, context: Context, plan: Lookup) -> Awaitable[Any] | None:
        """The edge."""
        row = super().resolve(source, context, plan)
        return None if row is None else self._edge(row)


@dataclass(slots=True)
class ResultEdge:
    """A row and its cursor."""

    node: Any
    cursor: str


def argument(
    name: str, annotation: Any, description: str, default: Any = UNSET
) -> StrawberryArgument:
    """An argument of a field; optional ones have no default that clients see."""
    # Without a default of UNSET the SDL prints `= null`.
    return StrawberryArgument(
        python_name=name,
        graphql_name=None,
        type_annotation=StrawberryAnnotation(annotation),
        description=description,
        default=default,
    )


def column(description: str, attribute: str | None = None) -> Any:
    """A column of the row, under the field's name or ``attribute``."""
    return ColumnField(description, attribute)


def derived(derive: Callable[[Any], Any], description: str) -> Any:
    """What ``derive`` makes of the parent."""
    return DerivedField(derive, description=description)


def node_id(description: str) -> Any:
    """The global id of a row."""
    return IdField(
        lambda row: write_id(row.shape.name, getattr(row, row.shape.model.__global_key__)),
        description=description,
    )


def result(description: str) -> Any:
    """In a payload: the entity that the mutation made or changed."""
    return ResultField(description)


def result_edge(owner: type, list_name: str, description: str) -> Any:
    """In a payload: the entity as an edge of that list of ``owner``, in its default order."""
    return ResultEdgeField(owner, list_name, description)


def one(relationship: Relation | None, description: str) -> Any:
    """The one row, if any, that the relationship leads to; None names the parent itself."""
    return OneField(relationship.key if relationship is not None else None, description)


def through(relationship: Relation, order: Order, description: str, *, most: int) -> Any:
    """All rows that the relationship leads to; for lists of at ``most`` a few."""
    return ThroughField(relationship.key, order, most, description)


def page(
    relationship: Relation | None,
    *,
    orders: type[enum.Enum],
    filter: type | None = None,
    description: str,
) -> Any:
    """A connection over the rows that the relationship leads to; None makes it a root list."""
    key = relationship.key if relationship is not None else None
    return PageField(key, orders, filter, description)


def computed(expression: Expression, description: str, **arguments: Argument) -> Any:
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
) -> Any:
    """A root field that finds one entity: by global id, or ``by`` a unique column."""
    annotation = strawberry.ID if by is None else str
    return LookupField(description, argument(name, annotation, name_description), by, read)


def described_type(cls: type[T]) -> type[T]:
    """``strawberry.type`` with the docstring as description."""
    return strawberry.type(cls, description=_description(cls))


def described_input(cls: type[T]) -> type[T]:
    """``strawberry.input`` with the docstring as description."""
    return strawberry.input(cls, description=_description(cls))


def describe_enum(
    cls: type[enum.Enum], description: str, /, called: str | None = None, **values: str
) -> None:
    """Make a GraphQL enum of ``cls``, with a description of it and of each value by name."""
    described = strawberry.enum(cls, name=called, description=description)
    for value in described.__strawberry_definition__.values:  # type: ignore[attr-defined]
        value.description = values.get(value.name, value.description)


def _description(cls: type) -> str:
    return inspect.cleandoc(cls.__doc__ or "")


_FILTERS = "filter"


def loaded(kind: type[EdgeField], description: str, *arguments: StrawberryArgument) -> Any:
    """A field of a kind of its own."""
    return kind(description, arguments)


def member(
    type_: TypeEngine[Any],
    predicate: Callable[[Any, Any], Any],
    description: str,
    read: Callable[[Any], Any] = lambda value: value,
    *,
    selective: bool = False,
    scarce: bool = False,
    dear: bool = False,
    window: bool = False,
) -> Any:
    """A member of a filter input, absent by default; the rest is in ``Filter``."""
    return strawberry.field(
        description=description,
        default=UNSET,
        metadata={
            _FILTERS: FilterMember(Filter(type_, predicate, selective, scarce, dear, window), read)
        },
    )


def filters_of(filter_type: type) -> dict[str, FilterMember]:
    """The members of a filter input by Python name."""
    fields = filter_type.__strawberry_definition__.fields  # type: ignore[attr-defined]
    return {field.name: field.metadata[_FILTERS] for field in fields}


def ordered(order: Order, description: str) -> Any:
    """A value of an enum of orders. The first of an enum is its default."""
    return strawberry.enum_value(order, description=description)


def orders_of(orders: type[enum.Enum]) -> dict[str, Order]:
    """The orders of an enum by name."""
    return {order.name: order.value for order in orders}


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
        shape = Shape(cls.__name__, model, tuple(columns), expressions)
        cls.shape = shape  # type: ignore[attr-defined]
        cls.is_type_of = staticmethod(lambda row, _info: type(row) is shape.row)  # type: ignore[attr-defined]
        return described_type(cls)

    return decorate


def shape_of(type_: Any) -> Shape:
    """The shape of the entity inside a field's type: optional, list or connection."""
    while isinstance(type_, StrawberryContainer):
        type_ = type_.of_type
    shape: Shape | None = getattr(type_, "shape", None)
    if shape is not None:
        return shape
    (inner,) = type_.__strawberry_definition__.type_var_map.values()
    return shape_of(inner)
