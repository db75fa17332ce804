"""The statements of the loaders, and the pages that the compiler cuts as well.

Each starts from ``visible``; none grows with the number of keys. They are built once per form of
the arguments and cached; whatever varies is a bind parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

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
from sqlalchemy.orm import aliased

from community_gql.db.changes import MOMENT_SQL
from community_gql.graph.edges import Shape, ToMany, ToOne, ToPage, ToValue, primary_key
from community_gql.graph.paging import MAX_COUNT, RELEVANCE_POOL, Order, beyond, cursor_binds
from community_gql.graph.visibility import visible

NEAR_ROWS = 5000
"""How many rows of a list are looked through for those that match a filter, before its index is."""
KEYS = "keys"
"""The bind parameter that holds the keys of a batch."""

Columns = Callable[[Any], Sequence[Any]]
"""What is selected of an entity."""


def _among_keys(column: Any) -> ColumnElement[bool]:
    among: ColumnElement[bool] = column == any_(bindparam(KEYS, type_=ARRAY(column.type)))
    return among


def _root_key() -> ColumnElement[str]:
    return literal_column("''", String).label("key")


@lru_cache(maxsize=1)
def moment() -> Select[Any]:
    """The moment that the statement shows, behind an empty key."""
    # unscoped: no table, but what the answer's snapshot is
    found: Any = select(_root_key(), literal_column(MOMENT_SQL, String))
    return found  # type: ignore[no-any-return]


@lru_cache(maxsize=256)
def lookup_rows(shape: Shape, by: str) -> Select[Any]:
    """The rows with one of the keys, each behind its key."""
    entity = aliased(shape.model)
    key = getattr(entity, by)
    return visible(entity, key.label("key"), *shape.select_list(entity)).where(_among_keys(key))


@lru_cache(maxsize=256)
def edge_rows(edge: ToOne | ToMany) -> Select[Any]:
    """The rows that hang on one of the keys, each behind the key."""
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
def values_of(edge: ToValue) -> Select[Any]:
    """The computed value of each row with one of the keys, behind the key."""
    entity = aliased(edge.shape.model)
    key = getattr(entity, edge.shape.key_name)
    binds = {name: bindparam(name, type_=type_) for name, type_ in edge.arguments.items()}
    return visible(entity, key, edge.expression(entity, **binds)).where(_among_keys(key))


@lru_cache(maxsize=1024)
def counts(edge: ToPage, filters: tuple[str, ...]) -> Select[Any]:
    """How many rows the list of each of the keys has, behind the key."""
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
def pages(
    edge: ToPage,
    order_name: str,
    backward: bool,
    has_cursor: bool,
    filters: tuple[str, ...],
    size: int,
    near_rows: int,
) -> Select[Any]:
    """The rows of the page of each of the keys: key, row, keys of the order."""
    parent = aliased(edge.parent) if edge.parent is not None else None
    child = aliased(edge.target.model)
    order, binds = edge.orders[order_name], filter_binds(edge, filters)
    there = cursor_binds(order.keys(child, binds)) if has_cursor else ()
    cut = Cut(order, backward, binds, there, size + 1, "key_")

    def columns(entity: Any) -> list[ColumnElement[Any]]:
        return [*([] if parent else [_root_key()]), *edge.target.select_list(entity)]

    query = page_of(edge, parent, child, columns, cut, near_rows)
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


def count_of(
    edge: ToPage, parent: Any, child: Any, binds: Mapping[str, ColumnElement[Any]]
) -> Select[Any]:
    """The number of rows of ``listed``, up to MAX_COUNT + 1. Correlated to the parent."""
    if parent is None and _is_scarce(edge, binds):
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

    @property
    def literal_limit(self) -> ColumnElement[int]:
        """The limit, written into the statement."""
        return literal_column(str(self.limit), Integer)

    def ordered(self, query: Select[Any], keys: Sequence[ColumnElement[Any]]) -> Select[Any]:
        """The rows of ``query`` behind the cursor, in the order of ``keys``."""
        if self.there:
            descending = self.order.descending != self.backward
            query = query.where(beyond(keys, self.there, descending))
        return query.order_by(*directed(self.order, keys, self.backward))


def page_of(
    edge: ToPage,
    parent: Any,
    child: Any,
    columns: Columns,
    cut: Cut,
    near_rows: int = NEAR_ROWS,
) -> Select[Any]:
    """A page of ``listed`` in reading order: ``columns`` of the child, and the order's keys.

    Correlated to the parent. A list of everything whose filter may leave few rows is looked
    through in two ways, see ``_near_or_far``; ``near_rows`` bounds the first.
    """
    if _is_scarce(edge, cut.binds) and parent is None and cut.order.pool is None:
        return _near_or_far(edge, child, columns, cut, near_rows)
    return _cut_out(edge, parent, child, columns, cut)


def _cut_out(edge: ToPage, parent: Any, child: Any, columns: Columns, cut: Cut) -> Select[Any]:
    """The page, in one way: the list's rows, ordered and cut."""
    order, binds, key_name = cut.order, cut.binds, edge.target.key_name

    def rows(entity: Any, selected: Sequence[Any]) -> Select[Any]:
        query = listed(edge, parent, entity, selected, binds)
        return query.correlate(parent) if parent is not None else query

    keys = order.keys(child, binds)
    labelled = (key.label(n) for key, n in zip(keys, cut.names(child), strict=True))
    query = rows(child, [*columns(child), *labelled])
    if order.pool is not None:
        recent = aliased(edge.target.model)
        newest = (
            rows(recent, [getattr(recent, key_name)])
            .order_by(*directed(order.pool, order.pool.keys(recent, binds), False))
            .limit(RELEVANCE_POOL)
        )
        query = query.where(getattr(child, key_name).in_(newest))
    return cut.ordered(query, keys).limit(cut.literal_limit)


def _near_or_far(
    edge: ToPage, child: Any, columns: Columns, cut: Cut, near_rows: int
) -> Select[Any]:
    """The page of a list of everything, looked for in two ways.

    PostgreSQL cannot know how many rows have some word, and would look through a whole table in
    its order for one that nobody wrote. So the page is looked for among the next ``near_rows``
    rows, and where that does not fill it, once more by the filters' own indexes: what is so scarce
    is quickly collected.
    """
    if any(edge.filters[name].dear for name in cut.binds):
        near_rows = max(1, near_rows // 16)
    near = _cut_out(edge, None, _next_rows(edge, cut, near_rows), columns, cut).cte()
    # unscoped: counts rows that are scoped
    is_full = select(func.count() == cut.literal_limit).select_from(near).scalar_subquery()
    far = _cut_out(edge, None, _hits(edge, cut.binds), columns, cut).where(not_(is_full)).subquery()
    # Of subqueries: SQLAlchemy cannot see through a SELECT with a LIMIT in a union.
    both = union_all(
        select(*near.c).where(is_full),  # unscoped: the page, if it is full
        select(*far.c),  # unscoped: the other page
    ).subquery()
    # unscoped: of two pages of which one is empty
    whole = select(*both.c)
    keys = [both.c[name] for name in cut.names(child)]
    return whole.order_by(*directed(cut.order, keys, cut.backward)).limit(cut.literal_limit)


def _next_rows(edge: ToPage, cut: Cut, near_rows: int) -> Any:
    """The next rows of the whole table in the order, within the filter's windows."""
    entity = aliased(edge.target.model)
    windows = [name for name in cut.binds if edge.filters[name].window]
    # unscoped: the page takes of these what the viewer may see
    inside = select(*all_columns(entity)).where(*_demands(edge, entity, cut.binds, windows))
    rows = cut.ordered(inside, cut.order.keys(entity, cut.binds))
    return aliased(edge.target.model, rows.limit(literal_column(str(near_rows))).subquery())


def _is_scarce(edge: ToPage, names: Iterable[str]) -> bool:
    return any(edge.filters[name].scarce for name in names)


def _hits(edge: ToPage, binds: Mapping[str, ColumnElement[Any]]) -> Any:
    """All rows that the filters' own indexes find."""
    entity = aliased(edge.target.model)
    filters = edge.filters
    names = [name for name in binds if filters[name].scarce or filters[name].window]
    # OFFSET has this subselect planned for itself, and so for the filters' indexes.
    # unscoped: the page takes of these what the viewer may see
    matching = select(*all_columns(entity)).where(*_demands(edge, entity, binds, names))
    return aliased(edge.target.model, matching.offset(literal_column("0")).subquery())


def _demands(
    edge: ToPage, entity: Any, binds: Mapping[str, ColumnElement[Any]], names: Iterable[str]
) -> list[ColumnElement[bool]]:
    return [edge.filters[name].predicate(entity, binds[name]) for name in names]


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
