"""What the graph is made of: shapes of rows, and the edges between them.

An edge says how to get from a parent to what hangs on it, through a relationship of the models.
Four kinds: to one row (``ToOne``), to a page of rows (``ToPage``), to all of few rows
(``ToMany``) and to a computed value (``ToValue``).
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import SimpleNamespace
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    inspect,
    true,
)
from sqlalchemy.orm import MANYTOONE
from sqlalchemy.sql import operators

from community_gql.db import models as m
from community_gql.db.base import COPIES
from community_gql.graph.paging import Order
from community_gql.graph.terms import Entity, FromItem, Sql, SqlType
from community_gql.graph.texts import if_wanted

Expression = Callable[..., Sql]


@dataclass(frozen=True, eq=False)
class Shape:
    """What is read of an entity for one GraphQL type: columns by name, and SQL expressions.

    Rows are plain named tuples of a class of their own, so the class tells the GraphQL type.
    """

    name: str
    model: type[m.Base]
    columns: tuple[str, ...]
    expressions: Mapping[str, Expression] = field(default_factory=dict)
    long_texts: Mapping[str, str] = field(default_factory=dict)
    """The columns that hold long texts, and the names of their fields."""

    def __post_init__(self) -> None:
        names = tuple(dict.fromkeys((self.key_name, *self.columns, *self.expressions)))
        row = type(self.name, (namedtuple(self.name, names),), {"__slots__": (), "shape": self})
        object.__setattr__(self, "row", row)

    row: Any = field(init=False)
    """The class of the rows; its first field is the primary key, ``row.shape`` is this shape."""

    @property
    def key_name(self) -> str:
        """The primary key's attribute: what edges from a row of this shape start from."""
        return primary_key(self.model)

    def select_list(self, entity: Entity) -> list[Sql]:
        """The columns of ``entity`` in the order of ``row``'s fields."""
        return [
            self.expressions[name](entity).label(name)
            if name in self.expressions
            else if_wanted(self.long_texts[name], getattr(entity, name)).label(name)
            if name in self.long_texts
            else getattr(entity, name)
            for name in self.row._fields
        ]

    @property
    def width(self) -> int:
        """The number of columns of a row."""
        return len(self.row._fields)


def _is_whole_key(column: Any) -> bool:
    """Whether a column alone is a key of its table."""
    kinds = PrimaryKeyConstraint, UniqueConstraint
    keys = [c for c in column.table.constraints if isinstance(c, kinds)]
    return any(list(key.columns) == [column] for key in keys)


def primary_key(model: type[m.Base]) -> str:
    """The attribute of the one-column primary key."""
    mapper = inspect(model)
    (column,) = mapper.primary_key
    return mapper.get_property_by_column(column).key


class Walk(NamedTuple):
    """A way to the rows that a filter or a list leaves, which can be read row by row."""

    source: FromItem
    """What is read: a FROM item."""
    key: Sql
    """A key of the row, a column of the source that is never NULL and refers to it."""
    where: ColumnElement[bool]
    """Which rows of the source."""
    once: ColumnElement[bool] | None = None
    """Of the entity, where the source may name it twice: at which of them it counts."""
    by: str | None = None
    """The attribute that ``key`` is equal to, if it is not the primary key."""
    copies: Any = None
    """What the source has of the row: its attributes that are copied, in the place of an entity."""
    group: Sql | None = None
    """The key of what the rows of the source have in common."""


def walk_between(table: Table, key: str, link: str, start: Sql) -> Walk:
    """The rows of a table between whose column ``link`` is ``start``, each naming its target.

    By a copy of a key, if the table has one: it is among what the rows are ordered by, so an index
    of the order has it.
    """
    between = table.alias()
    (target,) = table.c[key].foreign_keys
    copies = {c.info[COPIES]: between.c[c.name] for c in table.c if COPIES in c.info}
    if not copies:
        return Walk(between, between.c[key], between.c[link] == start, group=start)
    there = SimpleNamespace(**copies, **{target.column.name: between.c[key]})
    by = next(name for name in copies if _is_whole_key(target.column.table.c[name]))
    return Walk(between, copies[by], between.c[link] == start, by=by, copies=there, group=start)


class Found(NamedTuple):
    """What an index has for a value, which may be one that it does not serve."""

    walk: Walk
    serves: ColumnElement[bool]
    """Whether it has all that the value leaves: a condition on the value alone."""
    are_few: ColumnElement[bool]
    """Whether these are hardly so many that some are soon met on the way: a condition likewise."""


class Bins(NamedTuple):
    """Bins of time by which an index knows the rows of a list."""

    sizes: tuple[int, ...]
    """How many hours a bin has, the shortest first."""
    moment: Callable[[Entity], Sql]
    """What puts a row into its bin."""
    after: str
    """The filter's member with the moment after which rows are."""
    before: str
    """The one with the moment before which they are."""
    number: Callable[[Any, Any], Any]
    """The number of the bin with a moment, for its hours."""
    predicate: Callable[[Entity, Entity, Any, Any, Any], ColumnElement[bool]]
    """Whether the index leaves it open that a row is in the bins of some hours (a number, or SQL of
    one of the sizes), from the first to the last: for the parent, or None, and the entity. The
    parent's own rows, as far as an index of them needs the parent."""

    def has_window(self, binds: Collection[str]) -> bool:
        """Whether a filter with these members bounds the time."""
        return self.after in binds or self.before in binds


@dataclass(frozen=True, eq=False)
class Filter:
    """One member of a filter input: its bind type and what it demands of a row."""

    type: SqlType
    predicate: Callable[[Entity, Sql], ColumnElement[bool]]
    selective: bool = False
    """Whether the best plan depends on its value."""
    scarce: bool = False
    """Whether it may leave very few rows of many, found by an index that has no order."""
    dear: int = 1
    """Of a scarce one: how many times as long as others it takes to check row by row."""
    window: bool = False
    """Whether it bounds what the default order goes by, so that its index finds these rows."""
    light: bool = False
    """Of a scarce one: whether checking the rows of one parent takes less than its index."""
    marked: Callable[[Entity, Sql], ColumnElement[bool]] | None = None
    """Of a scarce one: what its predicate implies, for an index that finds less by it."""
    walk: Callable[[Entity, Sql], Walk] | None = None
    """Of a scarce one: how to read what it leaves without its index, for the entity."""
    found: Callable[[Sql, Sql | None], Found] | None = None
    """Of a scarce one: an index that has what it leaves, of all rows or of a walk's ``group``."""
    probe: Callable[[Entity, Sql], ColumnElement[bool]] | None = None
    """What it demands of rows that are met one by one, if that is written in another way."""


@dataclass(frozen=True, eq=False)
class Edge:
    """From a parent entity to ``target``, by ``relationship`` (None: the parent itself)."""

    coordinate: str
    """Where the schema has it: ``User.stories``."""
    parent: type[m.Base] | None
    relationship: str | None
    target: Shape

    def arrives(self, parent: Entity, child: Entity) -> ColumnElement[bool]:
        """The join condition between an alias of the parent and one of the target."""
        if parent is None:
            return true()
        if self.relationship is None:
            key = primary_key(self.target.model)
            same: ColumnElement[bool] = getattr(parent, key) == getattr(child, key)
            return same
        joined: ColumnElement[bool] = (
            getattr(parent, self.relationship).of_type(child).__clause_element__()
        )
        return joined

    def links(self, parent: Entity) -> Walk | None:
        """The rows of a table between, if the relationship has one and each names its target."""
        if self.relationship is None or parent is None:
            return None
        found = inspect(inspect(parent).mapper.class_).relationships[self.relationship]
        table = found.secondary
        if not isinstance(table, Table) or not found.secondary_synchronize_pairs:
            return None
        ((target, key),) = found.secondary_synchronize_pairs
        ((own, link),) = found.synchronize_pairs
        if key.nullable or not any(f.column is target for f in key.foreign_keys):
            return None
        start = getattr(parent, inspect(parent).mapper.get_property_by_column(own).key)
        return walk_between(table, key.name, link.name, start)

    def starts_from(self) -> set[str]:
        """The attributes of the parent that ``arrives`` speaks of."""
        assert self.parent is not None
        mapper = inspect(self.parent)
        if self.relationship is None:
            return {primary_key(self.parent)}
        columns = mapper.relationships[self.relationship].local_columns
        return {mapper.get_property_by_column(column).key for column in columns}


@dataclass(frozen=True, eq=False)
class ToOne(Edge):
    """To at most one row."""

    @cached_property
    def is_unique(self) -> bool:
        """Whether a key of the target's table says so: no statement needs to stop at the first."""
        if self.parent is None:
            return False
        if self.relationship is None:
            return True  # the parent itself, by its primary key
        relation = inspect(self.parent).mapper.relationships[self.relationship]
        join = relation.primaryjoin
        if relation.secondary is not None or getattr(join, "operator", None) is not operators.eq:
            return False
        ((_, remote),) = relation.local_remote_pairs or ((None, None),)
        return remote is not None and bool(remote.unique or _is_whole_key(remote))

    def key_in(self, parent: Entity) -> Sql | None:
        """The target's primary key as a foreign key of ``parent`` that is never NULL, if it is one.

        The target's row is then there whenever the parent's is.
        """
        if self.parent is None or self.relationship is None:
            return None
        mapper = inspect(self.parent)
        relation = mapper.relationships[self.relationship]
        if relation.direction is not MANYTOONE or len(relation.local_remote_pairs or ()) != 1:
            return None
        ((local, remote),) = relation.local_remote_pairs or ()
        is_key = remote.primary_key and any(f.column is remote for f in local.foreign_keys)
        if local.nullable or not is_key:
            return None
        key: Sql = getattr(parent, mapper.get_property_by_column(local).key)
        return key


@dataclass(frozen=True, eq=False)
class ToMany(Edge):
    """To all of a few rows, in one order."""

    order: Order
    limit: int | None = None
    """The first so many only, looked for parent by parent (LATERAL)."""


@dataclass(frozen=True, eq=False)
class ToPage(Edge):
    """To pages of a list that can grow. Without a parent it is a root list."""

    orders: Mapping[str, Order]
    default_order: str
    filters: Mapping[str, Filter]
    found_by: Callable[[Entity, Entity, Mapping[str, Sql]], ColumnElement[bool]] | None = None
    """What ``arrives`` says, for an index that can be combined with those of scarce filters, whose
    binds may say more of it."""
    bins: Bins | None = None
    """Bins that the same index knows."""

    def demands(
        self, entity: Entity, binds: Mapping[str, Sql], names: Iterable[str]
    ) -> list[ColumnElement[bool]]:
        """What members of the filter demand of an entity."""
        return [self.filters[name].predicate(entity, binds[name]) for name in names]

    def probes(
        self, copies: Any, binds: Mapping[str, Sql], names: Iterable[str]
    ) -> list[ColumnElement[bool]]:
        """The same of rows that a walk names, by what it has of them."""
        asked = [(self.filters[name], binds[name]) for name in names]
        return [(member.probe or member.predicate)(copies, value) for member, value in asked]


@dataclass(frozen=True, eq=False)
class ToValue:
    """To a value computed by SQL from the parent and arguments (bind types by name)."""

    coordinate: str
    shape: Shape
    expression: Expression
    arguments: Mapping[str, SqlType]
