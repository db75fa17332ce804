"""The kinds of fields: what a declaration of ``fields.py`` makes, and how its value is loaded.

A field's arguments are read before anything runs: ``plan`` turns them into what to load (and
raises BadRequest). ``batch`` and ``key`` say where the loaders find that for each parent; the
compiler reads ``source``.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Generic, TypeVar

from graphql import GraphQLField, GraphQLResolveInfo
from strawberry import UNSET
from strawberry.annotation import StrawberryAnnotation
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types import Info
from strawberry.types.arguments import StrawberryArgument
from strawberry.types.base import StrawberryContainer
from strawberry.types.field import StrawberryField

from community_gql.db import models as m
from community_gql.errors import BadRequest
from community_gql.graph.edges import (
    Bins,
    Expression,
    Filter,
    Shape,
    ToMany,
    ToOne,
    ToPage,
    ToValue,
)
from community_gql.graph.loaders import ROOT
from community_gql.graph.paging import MAX_PAGE_SIZE, Order, Window
from community_gql.graph.plans import (
    NOWHERE,
    Batch,
    Lookup,
    LookupPlan,
    PagePlan,
    Plan,
    RowsPlan,
    ValuePlan,
    Values,
)
from community_gql.graph.terms import SqlType
from community_gql.schema.context import Context
from community_gql.schema.ids import read_id

P = TypeVar("P", bound=Plan)

FILTERS = "filter"
"""Where a member of a filter input keeps its FilterMember in the metadata."""


def declared(definition: GraphQLField) -> StrawberryField | None:
    """The declaration behind a field of the schema; None for a field that is graphql-core's."""
    found: StrawberryField | None
    found = (definition.extensions or {}).get(GraphQLCoreConverter.DEFINITION_BACKREF)
    return found


Arguments = Mapping[str, Any]
"""The arguments of a field by name, as graphql-core coerced them by the schema's types."""
Source = Any
"""What a field hangs on: a row, or what a mutation or an event hands over."""


class ColumnField(StrawberryField):
    """A value that stands in the parent's row under another name than the field's."""

    def __init__(self, description: str, attribute: str | None = None) -> None:
        super().__init__(description=description, type_annotation=None)
        self.attribute = attribute

    def get_result(self, source: Source, info: Info | None, args: list[Any], kwargs: Any) -> Any:
        """The value in the row."""
        return getattr(source, self.attribute or self.python_name)


class DerivedField(StrawberryField):
    """A value made in Python from the parent alone; for what is not a row: pages, ids."""

    def __init__(self, derive: Callable[[Any], Any] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.derive = derive

    def __copy__(self) -> DerivedField:
        """A copy that keeps the function; Strawberry copies the fields of generic types."""
        copied = super().__copy__()
        copied.derive = self.derive
        return copied

    def get_result(self, source: Source, info: Info | None, args: list[Any], kwargs: Any) -> Any:
        """The value, or an awaitable of it."""
        assert self.derive is not None
        return self.derive(source)


class IdField(DerivedField):
    """The global id of a row: ``write_id``, or ``id_sql``, of its shape's name and global key."""


class EdgeField(StrawberryField, Generic[P]):
    """A field whose value is loaded. Subclasses say what (``plan``), and from where.

    That is ``batch`` and ``key``, or a ``resolve`` of their own, which only graphql-core's executor
    runs.
    """

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

    def plan(self, arguments: Arguments) -> P:
        """What the field's arguments ask for. Raises BadRequest when they cannot be."""
        raise NotImplementedError

    def batch(self, plan: P) -> Batch | None:
        """What loads the values; None where there are none."""
        raise NotImplementedError

    def key(self, plan: P, source: Source, context: Context) -> object:
        """The key of a parent in the batch; None where it has no value."""
        return source[0]

    def values(self, plan: P, keys: list[object], found: list[Any], context: Context) -> list[Any]:
        """The values of the parents with these keys, made of what was found for each."""
        return found

    def resolve(self, source: Source, context: Context, plan: P) -> Any:
        """The value for one parent, or an awaitable of it."""
        batch = self.batch(plan)
        key = None if batch is None else self.key(plan, source, context)
        if batch is None or key is None:
            return None
        if type(self).values is EdgeField.values:
            return context.loaders.load(batch, key)
        return self._loaded(plan, batch, key, context)

    async def _loaded(self, plan: P, batch: Batch, key: object, context: Context) -> object:
        found = await context.loaders.load(batch, key)
        (value,) = self.values(plan, [key], [found], context)
        return value

    def answer(self, source: Source, info: GraphQLResolveInfo[Context], **_: Any) -> Any:
        """The value for ``source``, by the plan that the argument pass made for this node.

        graphql-core's resolver of the field: Strawberry's would convert the arguments once more
        for each parent.
        """
        context: Context = info.context
        plan: Any = context.plans.of(info.field_nodes[0])
        return self.resolve(source, context, plan)


class RowsField(EdgeField[RowsPlan]):
    """A field to rows that hang on the parent, without arguments."""

    @property
    def source(self) -> ToOne | ToMany:
        """Where the rows come from."""
        raise NotImplementedError

    @cached_property
    def _plan(self) -> RowsPlan:
        return RowsPlan(self.source)

    def plan(self, arguments: Arguments) -> RowsPlan:
        """The same for every parent."""
        return self._plan

    def batch(self, plan: RowsPlan) -> RowsPlan:
        """Finds a row or None, or a list of rows."""
        return plan


class OneField(RowsField):
    """``one(m.User.garden)``: to at most one row; ``one()`` is the parent's own entity."""

    def __init__(self, relationship: str | None, description: str) -> None:
        super().__init__(description)
        self._relationship = relationship

    @cached_property
    def source(self) -> ToOne:
        """Where the row comes from."""
        return ToOne(self.coordinate, self._parent, self._relationship, self._target)


class ThroughField(RowsField):
    """``through(m.Story.tags)``: to all of a few rows."""

    def __init__(
        self,
        relationship: str,
        order: Order,
        most: int,
        description: str,
        *,
        lateral: bool,
        extra: int,
    ) -> None:
        super().__init__(description)
        self._relationship, self._order, self._lateral = relationship, order, lateral
        self.most = most
        """How many there are at most, by the rules for writes: what the cost counts."""
        self.extra = extra
        """What finding them weighs, whatever is found."""

    @cached_property
    def source(self) -> ToMany:
        """Where the rows come from."""
        return ToMany(
            self.coordinate,
            self._parent,
            self._relationship,
            self._target,
            self._order,
            self.most if self._lateral else None,
        )


class ValueField(EdgeField[ValuePlan]):
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

    def plan(self, arguments: Arguments) -> ValuePlan:
        """The computation with these arguments."""
        for name, bounds in self._bounds.items():
            bounds.check(name, arguments[name])
        return ValuePlan(self.source, tuple(sorted(arguments.items())))

    def batch(self, plan: ValuePlan) -> ValuePlan:
        """Computes the value."""
        return plan


class ExpressionField(ColumnField):
    """``computed(expression)``: an SQL expression without arguments, read along with the row."""

    def __init__(self, expression: Expression, description: str) -> None:
        super().__init__(description)
        self.expression = expression


class PageField(EdgeField[PagePlan]):
    """``page(m.User.stories, ...)``: a connection over a list that can grow."""

    def __init__(
        self,
        relationship: str | None,
        orders: type[enum.Enum],
        filter_type: type | None,
        description: str,
        found_by: Callable[[Any, Any, Any], Any] | None = None,
        bins: Bins | None = None,
    ) -> None:
        size = f"At most {MAX_PAGE_SIZE}"
        listed = orders_of(orders)
        default = next(iter(listed))
        arguments = [
            argument("first", int | None, f"The first n items. {size}; 20 by default."),
            argument("after", str | None, "Start after this cursor (pageInfo.endCursor)."),
            argument("last", int | None, f"The last n items. {size}."),
            argument("before", str | None, "End before this cursor (pageInfo.startCursor)."),
            argument("order_by", orders | None, f"The order; {default} by default."),
        ]
        if filter_type is not None:
            arguments.append(
                argument("filter", filter_type | None, "Only those that match all members.")
            )
        super().__init__(description, arguments)
        self._relationship, self._orders, self._default = relationship, listed, default
        self._filters = filters_of(filter_type) if filter_type is not None else {}
        self._found_by, self._bins = found_by, bins

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
            self._found_by,
            self._bins,
        )

    def plan(self, arguments: Arguments) -> PagePlan:
        """The page that the arguments describe."""
        given = arguments.get
        window = Window.of(given("first"), given("after"), given("last"), given("before"))
        order, filters = given("order_by"), given("filter")
        return PagePlan.of(
            self.source,
            window,
            order.name if order else None,
            self._given(filters) if filters is not None else (),
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

    def batch(self, plan: PagePlan) -> PagePlan:
        """Finds the rows of a page."""
        return plan

    def key(self, plan: PagePlan, source: Source, context: Context) -> object:
        """That of the parent, or of the root list."""
        return ROOT if plan.edge.parent is None else source[0]

    def values(
        self, plan: PagePlan, keys: list[object], found: list[Any], context: Context
    ) -> list[Any]:
        """The pages."""
        page = context.loaders.page
        return [page(plan, key, rows) for key, rows in zip(keys, found, strict=True)]


class LookupField(EdgeField[LookupPlan]):
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

    def plan(self, arguments: Arguments) -> LookupPlan:
        """The lookup and its key."""
        ((_, value),) = arguments.items()
        if self._by is None:
            return plan_of_id(value, {self._target.name: self._target})
        key = self._read(value) if self._read else value
        return LookupPlan(Lookup(self._target, self._by), key)

    def batch(self, plan: LookupPlan) -> Lookup | None:
        """Finds the row, or None."""
        return plan.lookup

    def key(self, plan: LookupPlan, source: Source, context: Context) -> object:
        """What the argument says."""
        return plan.key


def plan_of_id(text: str, shapes: dict[str, Shape]) -> LookupPlan:
    """The lookup behind a global id of one of these types; NOWHERE for other texts."""
    found = read_id(text, shapes)
    if found is None:
        return NOWHERE
    shape, key = found
    return LookupPlan(_by_id(shape), key)


@cache
def _by_id(shape: Shape) -> Lookup:
    return Lookup(shape, shape.model.__global_key__)


@dataclass(frozen=True)
class Argument:
    """An argument of a computed field: an integer within bounds."""

    type: SqlType
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


def filters_of(filter_type: type) -> dict[str, FilterMember]:
    """The members of a filter input by Python name."""
    fields = filter_type.__strawberry_definition__.fields  # type: ignore[attr-defined]
    return {field.name: field.metadata[FILTERS] for field in fields}


def orders_of(orders: type[enum.Enum]) -> dict[str, Order]:
    """The orders of an enum by name."""
    return {order.name: order.value for order in orders}


def shape_of(type_: Any) -> Shape:
    """The shape of the entity inside a field's type: optional, list or connection."""
    while isinstance(type_, StrawberryContainer):
        type_ = type_.of_type
    shape: Shape | None = getattr(type_, "shape", None)
    if shape is not None:
        return shape
    (inner,) = type_.__strawberry_definition__.type_var_map.values()
    return shape_of(inner)
