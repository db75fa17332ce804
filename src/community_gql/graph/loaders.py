"""Loading the graph: edges, and the batches that follow them.

An edge says how to get from a parent to what hangs on it, through a relationship of the models.
Four kinds: to one row (``ToOne``), to a page of rows (``ToPage``), to all of few rows
(``ToMany``) and to a computed value (``ToValue``). The batched executor (this module) runs one
statement per edge and level, whatever the number of parents: ``= ANY($1)``, and LATERAL for
pages. The statements are built once per form of the arguments and cached; whatever varies is a
bind parameter.
"""

from __future__ import annotations

from asyncio import Future, shield
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

from aiodataloader import DataLoader
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Integer,
    Select,
    String,
    any_,
    bindparam,
    func,
    inspect,
    literal_column,
    not_,
    select,
    true,
    union_all,
)
from sqlalchemy.orm import MANYTOONE, aliased
from sqlalchemy.types import TypeEngine

from community_gql.db import models as m
from community_gql.db.database import Snapshot
from community_gql.errors import BadRequest
from community_gql.graph.paging import (
    MAX_COUNT,
    RELEVANCE_POOL,
    Cursors,
    Order,
    Page,
    Window,
    beyond,
    cursor_binds,
)
from community_gql.graph.visibility import Viewer, visible

Expression = Callable[..., ColumnElement[Any]]

NEAR = 5000
"""How many rows of a list are looked through for those that match a filter, before its index is."""
KEYS = "keys"
"""The bind parameter that holds the keys of a batch."""


@dataclass(frozen=True, eq=False)
class Shape:
    """What is read of an entity for one GraphQL type: columns by name, and SQL expressions.

    Rows are plain named tuples of a class of their own, so the class tells the GraphQL type.
    """

    name: str
    model: type[m.Base]
    columns: tuple[str, ...]
    expressions: Mapping[str, Expression] = field(default_factory=dict)

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

    def select_list(self, entity: Any) -> list[ColumnElement[Any]]:
        """The columns of ``entity`` in the order of ``row``'s fields."""
        return [
            self.expressions[name](entity).label(name)
            if name in self.expressions
            else getattr(entity, name)
            for name in self.row._fields
        ]

    @property
    def width(self) -> int:
        """The number of columns of a row."""
        return len(self.row._fields)


def primary_key(model: type[m.Base]) -> str:
    """The attribute of the one-column primary key."""
    mapper = inspect(model)
    (column,) = mapper.primary_key
    return mapper.get_property_by_column(column).key


@dataclass(frozen=True, eq=False)
class Filter:
    """One member of a filter input: its bind type and what it demands of a row."""

    type: TypeEngine[Any]
    predicate: Callable[[Any, ColumnElement[Any]], ColumnElement[bool]]
    selective: bool = False
    """Whether the best plan depends on its value."""
    scarce: bool = False
    """Whether it may leave very few rows of many, found by an index that has no order."""
    dear: bool = False
    """Of a scarce one: whether it takes long to check row by row."""
    window: bool = False
    """Whether it bounds what the default order goes by, so that its index finds these rows."""


@dataclass(frozen=True, eq=False)
class Edge:
    """From a parent entity to ``target``, by ``relationship`` (None: the parent itself)."""

    coordinate: str
    """Where the schema has it: ``User.stories``."""
    parent: type[m.Base] | None
    relationship: str | None
    target: Shape

    def arrives(self, parent: Any, child: Any) -> ColumnElement[bool]:
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

    def key_in(self, parent: Any) -> ColumnElement[Any] | None:
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
        key: ColumnElement[Any] = getattr(parent, mapper.get_property_by_column(local).key)
        return key


@dataclass(frozen=True, eq=False)
class ToMany(Edge):
    """To all of a few rows, in one order."""

    order: Order


@dataclass(frozen=True, eq=False)
class ToPage(Edge):
    """To pages of a list that can grow. Without a parent it is a root list."""

    orders: Mapping[str, Order]
    default_order: str
    filters: Mapping[str, Filter]


@dataclass(frozen=True, eq=False)
class ToValue:
    """To a value computed by SQL from the parent and arguments (bind types by name)."""

    coordinate: str
    shape: Shape
    expression: Expression
    arguments: Mapping[str, TypeEngine[Any]]


Values = tuple[tuple[str, Any], ...]
"""Filter members or arguments that were given, hashable: ``(("search", "moss"), ...)``."""


@dataclass(frozen=True)
class Lookup:
    """Rows of a shape by the value of one unique column. A key without a visible row is None."""

    shape: Shape
    by: str

    def statement(self) -> Select[Any]:
        return _lookup(self.shape, self.by)

    def values(self) -> dict[str, Any]:
        return {}

    def collect(self, rows: Iterable[Any], keys: Sequence[Any]) -> list[Any]:
        found = {row[0]: self.shape.row._make(row[1:]) for row in rows}
        return [found.get(key) for key in keys]


@dataclass(frozen=True)
class Rows:
    """The rows that a ToOne or ToMany edge leads to, per parent key."""

    edge: ToOne | ToMany

    def statement(self) -> Select[Any]:
        return _rows(self.edge)

    def values(self) -> dict[str, Any]:
        return {}

    def collect(self, rows: Iterable[Any], keys: Sequence[Any]) -> list[Any]:
        found: dict[Any, list[Any]] = {key: [] for key in keys}
        make = self.edge.target.row._make
        for row in rows:
            found[row[0]].append(make(row[1:]))
        if isinstance(self.edge, ToMany):
            return [found[key] for key in keys]
        return [found[key][0] if found[key] else None for key in keys]


@dataclass(frozen=True)
class Value:
    """A computed value per parent key."""

    edge: ToValue
    arguments: Values

    def statement(self) -> Select[Any]:
        return _value(self.edge)

    def values(self) -> dict[str, Any]:
        return dict(self.arguments)

    def collect(self, rows: Iterable[Any], keys: Sequence[Any]) -> list[Any]:
        found = {row[0]: row[1] for row in rows}
        return [found.get(key) for key in keys]


@dataclass(frozen=True)
class Counts:
    """How many visible rows a list has after its filter, per parent key, up to MAX_COUNT + 1."""

    edge: ToPage
    filters: Values

    def statement(self) -> Select[Any]:
        return _counts(self.edge, _names(self.filters))

    def values(self) -> dict[str, Any]:
        return dict(self.filters)

    def collect(self, rows: Iterable[Any], keys: Sequence[Any]) -> list[int]:
        found = {row[0]: row[1] for row in rows}
        return [found.get(key, 0) for key in keys]


@dataclass(frozen=True)
class Pages:
    """One page of a list per parent key."""

    edge: ToPage
    window: Window
    order: str
    filters: Values
    cursors: Cursors
    cursor: tuple[Any, ...] | None

    @classmethod
    def of(cls, edge: ToPage, window: Window, order: str | None, filters: Values) -> Pages:
        """The pages that a connection's arguments ask for.

        Raises BadRequest for a cursor of another list and for an order that lacks its filter.
        """
        name = order or edge.default_order
        needs = edge.orders[name].needs
        if needs and needs not in dict(filters):
            raise BadRequest(f"Order {name} needs filter.{needs}.")
        cursors = _cursors(edge, name)
        if filters:
            cursors = cursors.bound(edge.coordinate, name, filters)
        values = cursors.read(window.cursor) if window.cursor is not None else None
        return cls(edge, window, name, filters, cursors, values)

    @property
    def form(self) -> tuple[str, bool, bool, tuple[str, ...], int]:
        """What decides the text of a statement: order, direction, a cursor or none, filters, size.

        The size is written into it. With a bind for it PostgreSQL takes a tenth of the table for
        the page, finds every plan for all values too dear, and plans each execution anew: measured
        at four times the cost of a page.
        """
        window = self.window
        names = _names(self.filters)
        return self.order, window.backward, self.cursor is not None, names, window.size

    @property
    def planned_anew(self) -> bool:
        """Whether PostgreSQL should plan the statement for its values each time.

        One plan for all values is a third of the cost of most pages. But which index finds the
        rows that some word leaves depends on the word: the wrong one took 15 ms for 0.4, and 650
        for 8 in the order of relevance. ``page_of`` spares the lists of everything that, unless
        a window decides which of two indexes finds less.
        """
        given = [self.edge.filters[name] for name, _ in self.filters]
        near = self.edge.parent is None and self.edge.orders[self.order].pool is None
        near = near and not any(f.window for f in given)
        return any(f.selective or (f.scarce and not near) for f in given)

    def statement(self) -> Select[Any]:
        return _pages(self.edge, *self.form)

    def values(self) -> dict[str, Any]:
        cursor = {f"cursor_{i}": value for i, value in enumerate(self.cursor or ())}
        return {**dict(self.filters), **cursor}

    def collect(self, rows: Iterable[Any], keys: Sequence[Any]) -> list[Any]:
        found: dict[Any, list[tuple[Any, Sequence[Any]]]] = {key: [] for key in keys}
        make, end = self.edge.target.row._make, 1 + self.edge.target.width
        for row in rows:
            found[row[0]].append((make(row[1:end]), row[end:]))
        return [(found[key], self.window, self.cursors) for key in keys]


Batch = Lookup | Rows | Value | Counts | Pages

ROOT = ""
"""The key of a list without a parent."""


class Loaders:
    """The batches of one operation, over one snapshot, for one viewer."""

    def __init__(self, snapshot: Snapshot, viewer: Viewer) -> None:
        self.snapshot = snapshot
        self._binds = viewer.binds()
        self._loaders: dict[Batch, DataLoader[Any, Any]] = {}

    def load(self, batch: Batch, key: Any) -> Future[Any]:
        """What ``batch`` finds for ``key``, together with all keys asked for in this tick."""
        loader = self._loaders.get(batch)
        if loader is None:
            loader = DataLoader(partial(self._run, batch))
            self._loaders[batch] = loader
        # All who ask for a key share its future, and the executor cancels those that wait beside an
        # error: each gets one of their own to cancel.
        return shield(loader.load(key))

    async def page(self, pages: Pages, key: Any = ROOT) -> Page:
        """The page of the list that hangs on ``key``."""
        found, window, cursors = await self.load(pages, key)
        count = partial(self.load, Counts(pages.edge, pages.filters), key)
        return Page.cut(found, window, cursors, count)

    async def _run(self, batch: Batch, keys: list[Any]) -> list[Any]:
        values = {**self._binds, **batch.values()}
        if not (isinstance(batch, Pages | Counts) and batch.edge.parent is None):
            values[KEYS] = keys
        rows = await self.snapshot.run(batch.statement(), values)
        return batch.collect(rows, keys)


# The statements. Each starts from visible(); none grows with the number of keys.


def _names(values: Values) -> tuple[str, ...]:
    return tuple(name for name, _ in values)


def _among_keys(column: Any) -> ColumnElement[bool]:
    among: ColumnElement[bool] = column == any_(bindparam(KEYS, type_=ARRAY(column.type)))
    return among


def _root_key() -> ColumnElement[str]:
    return literal_column("''", String).label("key")


@lru_cache(maxsize=256)
def _lookup(shape: Shape, by: str) -> Select[Any]:
    entity = aliased(shape.model)
    key = getattr(entity, by)
    return visible(entity, key.label("key"), *shape.select_list(entity)).where(_among_keys(key))


@lru_cache(maxsize=256)
def _rows(edge: ToOne | ToMany) -> Select[Any]:
    assert edge.parent is not None
    parent, child = aliased(edge.parent), aliased(edge.target.model)
    key = getattr(parent, primary_key(edge.parent))
    query = (
        visible(child, key.label("key"), *edge.target.select_list(child))
        .select_from(parent)
        .where(edge.arrives(parent, child), _among_keys(key))
    )
    if isinstance(edge, ToMany):
        query = query.order_by(*directed(edge.order, edge.order.keys(child, {}), False))
    return query


@lru_cache(maxsize=256)
def _value(edge: ToValue) -> Select[Any]:
    entity = aliased(edge.shape.model)
    key = getattr(entity, edge.shape.key_name)
    binds = {name: bindparam(name, type_=type_) for name, type_ in edge.arguments.items()}
    return visible(entity, key, edge.expression(entity, **binds)).where(_among_keys(key))


@lru_cache(maxsize=1024)
def _counts(edge: ToPage, filters: tuple[str, ...]) -> Select[Any]:
    child = aliased(edge.target.model)
    binds = filter_binds(edge, filters)
    if edge.parent is None:
        # unscoped: of one row that counts scoped ones
        return select(_root_key(), *count_of(edge, None, child, binds).subquery().c)
    parent = aliased(edge.parent)
    key = getattr(parent, primary_key(edge.parent))
    counted = count_of(edge, parent, child, binds).lateral("counted")
    return visible(parent, key, *counted.c).join(counted, true()).where(_among_keys(key))


@lru_cache(maxsize=1024)
def _pages(
    edge: ToPage, order_name: str, backward: bool, cursor: bool, filters: tuple[str, ...], size: int
) -> Select[Any]:
    parent = aliased(edge.parent) if edge.parent is not None else None
    child = aliased(edge.target.model)
    order, binds = edge.orders[order_name], filter_binds(edge, filters)
    there = cursor_binds(order.keys(child, binds)) if cursor else ()
    cut = Cut(order, backward, binds, there, size + 1, "key_")

    def columns(entity: Any) -> list[ColumnElement[Any]]:
        return [*([] if parent else [_root_key()]), *edge.target.select_list(entity)]

    query = page_of(edge, parent, child, columns, cut)
    if parent is None or edge.parent is None:
        return query
    page = query.lateral("page")
    key = getattr(parent, primary_key(edge.parent))
    return (
        visible(parent, key, *page.c)
        .join(page, true())
        .where(_among_keys(key))
        .order_by(key, *directed(order, [page.c[name] for name in cut.names(child)], backward))
    )


def listed(
    edge: ToPage,
    parent: Any,
    child: Any,
    columns: Sequence[Any],
    binds: Mapping[str, ColumnElement[Any]],
) -> Select[Any]:
    """The list's visible, filtered rows, for a parent alias (to correlate or join) or none."""
    demands = _demands(edge, child, binds, binds)
    return visible(child, *columns).where(edge.arrives(parent, child), *demands)


def _demands(
    edge: ToPage, entity: Any, binds: Mapping[str, ColumnElement[Any]], names: Iterable[str]
) -> list[ColumnElement[bool]]:
    """What the filters of these names demand of a row."""
    return [edge.filters[name].predicate(entity, binds[name]) for name in names]


def _scarce(edge: ToPage, binds: Mapping[str, ColumnElement[Any]]) -> list[str]:
    """The filters that may leave very few rows."""
    return [name for name in binds if edge.filters[name].scarce]


def _hits(edge: ToPage, binds: Mapping[str, ColumnElement[Any]]) -> Any:
    """An alias of the rows that the scarce filters and the windows leave, before any rule."""
    hit = aliased(edge.target.model)
    windows = [name for name in binds if edge.filters[name].window]
    demands = _demands(edge, hit, binds, [*_scarce(edge, binds), *windows])
    # OFFSET has this subselect planned for itself, and so for the filters' indexes.
    # unscoped: what is read of these is scoped
    hits = select(*all_columns(hit)).where(*demands).offset(literal_column("0")).subquery()
    return aliased(edge.target.model, hits)


def count_of(
    edge: ToPage, parent: Any, child: Any, binds: Mapping[str, ColumnElement[Any]]
) -> Select[Any]:
    """The number of rows of ``listed``, up to MAX_COUNT + 1. Correlated to the parent."""
    if parent is None and _scarce(edge, binds):
        child = _hits(edge, binds)  # else the index of what everyone may see would be read as well
    most = literal_column(str(MAX_COUNT + 1), Integer)
    rows = listed(edge, parent, child, [literal_column("1")], binds).limit(most)
    if parent is not None:
        rows = rows.correlate(parent)
    # unscoped: counts rows that are scoped
    return select(func.count().label("n")).select_from(rows.subquery())


@dataclass(frozen=True, slots=True)
class Cut:
    """A page to be cut out of a list: how it is ordered, and which rows of that.

    ``binds`` are the filter's; ``there`` are the keys of the cursor, none without one; ``limit``
    is a number of rows. The order's keys are columns named ``key_name`` and a number.
    """

    order: Order
    backward: bool
    binds: Mapping[str, ColumnElement[Any]]
    there: Sequence[ColumnElement[Any]]
    limit: int
    key_name: str

    def names(self, entity: Any) -> list[str]:
        """The names of the keys."""
        return [f"{self.key_name}{i}" for i, _ in enumerate(self.order.keys(entity, self.binds))]


def page_of(
    edge: ToPage, parent: Any, child: Any, columns: Callable[[Any], Sequence[Any]], cut: Cut
) -> Select[Any]:
    """A page of ``listed`` in reading order: ``columns`` of the child, and the order's keys.

    Correlated to the parent. A list of everything is filtered in two ways. PostgreSQL cannot know
    how many rows have some word, and would look through a whole table in its order for one that
    nobody wrote. So the page is looked for among the next ``NEAR`` rows, and where that does not
    fill it, once more by the filters' own indexes: what is so scarce is quickly collected.
    """
    order, binds = cut.order, cut.binds
    key_name = edge.target.key_name
    limit = literal_column(str(cut.limit), Integer)

    def rows(entity: Any, selected: Sequence[Any]) -> Select[Any]:
        query = listed(edge, parent, entity, selected, binds)
        return query.correlate(parent) if parent is not None else query

    def ordered(query: Select[Any], keys: Sequence[ColumnElement[Any]]) -> Select[Any]:
        if cut.there:
            query = query.where(beyond(keys, cut.there, order.descending != cut.backward))
        return query.order_by(*directed(order, keys, cut.backward))

    def page(entity: Any) -> Select[Any]:
        keys = order.keys(entity, binds)
        labelled = (key.label(n) for key, n in zip(keys, cut.names(entity), strict=True))
        query = rows(entity, [*columns(entity), *labelled])
        if order.pool is not None:
            recent = aliased(edge.target.model)
            newest = (
                rows(recent, [getattr(recent, key_name)])
                .order_by(*directed(order.pool, order.pool.keys(recent, binds), False))
                .limit(RELEVANCE_POOL)
            )
            query = query.where(getattr(entity, key_name).in_(newest))
        return ordered(query, keys).limit(limit)

    if not _scarce(edge, binds) or parent is not None or order.pool is not None:
        return page(child)
    model = edge.target.model
    windows = [name for name in binds if edge.filters[name].window]
    near_rows = max(1, NEAR // 16) if any(edge.filters[name].dear for name in binds) else NEAR
    here = aliased(model)
    # unscoped: the page takes of these what the viewer may see
    inside = select(*all_columns(here)).where(*_demands(edge, here, binds, windows))
    next_rows = ordered(inside, order.keys(here, binds)).limit(literal_column(str(near_rows)))
    near = page(aliased(model, next_rows.subquery())).cte()
    # unscoped: counts rows that are scoped
    is_full = select(func.count() == limit).select_from(near).scalar_subquery()
    far = page(_hits(edge, binds)).where(not_(is_full)).subquery()
    # Of subqueries: SQLAlchemy cannot see through a SELECT with a LIMIT in a union.
    both = union_all(
        select(*near.c).where(is_full),  # unscoped: the page, if it is full
        select(*far.c),  # unscoped: the other page
    ).subquery()
    # unscoped: of two pages of which one is empty
    whole = select(*both.c)
    keys = [both.c[name] for name in cut.names(child)]
    return whole.order_by(*directed(order, keys, cut.backward)).limit(limit)


def all_columns(entity: Any) -> list[Any]:
    """Every column of a mapped entity; PostgreSQL drops those that nobody uses."""
    return [getattr(entity, attribute.key) for attribute in inspect(entity).mapper.column_attrs]


def filter_binds(
    edge: ToPage, names: Iterable[str], prefix: str = ""
) -> dict[str, ColumnElement[Any]]:
    """A bind per filter member, by member; ``prefix`` keeps apart two lists in one statement."""
    return {name: bindparam(prefix + name, type_=edge.filters[name].type) for name in names}


def directed(
    order: Order, keys: Iterable[ColumnElement[Any]], backward: bool
) -> list[ColumnElement[Any]]:
    """``keys`` in the direction in which ``order`` is read."""
    descending = order.descending != backward
    return [key.desc() if descending else key.asc() for key in keys]


def first_page_cursors(edge: ToPage) -> tuple[tuple[str, ...], Cursors]:
    """For a list in its default order without a filter: the key columns by name, and its cursors.

    Works for orders over plain columns of the row.
    """
    name = edge.default_order
    keys = edge.orders[name].keys(edge.target.model, {})
    return tuple(str(getattr(key, "key", "")) for key in keys), _cursors(edge, name)


@lru_cache(maxsize=256)
def _cursors(edge: ToPage, name: str) -> Cursors:
    """The cursors of a list in one order, without a filter."""
    keys = edge.orders[name].keys(edge.target.model, filter_binds(edge, edge.filters))
    return Cursors.of(keys, edge.coordinate, name, ())
