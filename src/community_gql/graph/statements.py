"""The statements of the loaders.

Each starts from ``visible``; none grows with the number of keys. They are built once per form of
the arguments and cached; whatever varies is a bind parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Integer,
    String,
    any_,
    bindparam,
    literal_column,
    select,
    true,
)
from sqlalchemy.orm import aliased

from community_gql.db.changes import MOMENT_SQL
from community_gql.graph.cuts import Cut, directed
from community_gql.graph.edges import (
    Shape,
    ToMany,
    ToOne,
    ToPage,
    ToValue,
    primary_key,
)
from community_gql.graph.finding import count_of, filter_binds, page_of
from community_gql.graph.paging import cursor_binds
from community_gql.graph.terms import Entity, Sql, SqlSelect
from community_gql.graph.visibility import visible

KEYS = "keys"
"""The bind parameter that holds the keys of a batch."""


def _among_keys(column: Any) -> ColumnElement[bool]:
    among: ColumnElement[bool] = column == any_(bindparam(KEYS, type_=ARRAY(column.type)))
    return among


def _root_key() -> ColumnElement[str]:
    return literal_column("''", String).label("key")


@lru_cache(maxsize=1)
def moment() -> SqlSelect:
    """The moment that the statement shows, behind an empty key."""
    # unscoped: no table, but what the answer's snapshot is
    found: Any = select(_root_key(), literal_column(MOMENT_SQL, String))
    return found  # type: ignore[no-any-return]


@lru_cache(maxsize=256)
def lookup_rows(shape: Shape, by: str) -> SqlSelect:
    """The rows with one of the keys, each behind its key."""
    entity = aliased(shape.model)
    key = getattr(entity, by)
    return visible(entity, key.label("key"), *shape.select_list(entity)).where(_among_keys(key))


@lru_cache(maxsize=256)
def edge_rows(edge: ToOne | ToMany) -> SqlSelect:
    """The rows that hang on one of the keys, each behind the key."""
    assert edge.parent is not None
    parent, child = aliased(edge.parent), aliased(edge.target.model)
    key = getattr(parent, primary_key(edge.parent))
    if isinstance(edge, ToMany) and edge.limit is not None:
        names = edge.order.keys(child, {})
        keys = [name.label(f"key_{i}") for i, name in enumerate(names)]
        rows = few(edge, parent, child, [*edge.target.select_list(child), *keys]).lateral("few")
        ordered = directed(edge.order, [rows.c[name.name] for name in keys], False)
        columns = [column for column in rows.c if not column.name.startswith("key_")]
        return (
            visible(parent, key.label("key"), *columns)
            .join(rows, true())
            .where(_among_keys(key))
            .order_by(*ordered)
        )
    query = (
        visible(child, key.label("key"), *edge.target.select_list(child))
        .select_from(parent)
        .where(edge.arrives(parent, child), _among_keys(key))
    )
    if isinstance(edge, ToMany):
        query = query.order_by(*directed(edge.order, edge.order.keys(child, {}), False))
    return query


def few(edge: ToMany, parent: Entity, child: Entity, columns: Sequence[Sql]) -> SqlSelect:
    """The first rows that hang on a parent alias, at most ``edge.limit``. Correlated to it."""
    query = (
        visible(child, *columns)
        .where(edge.arrives(parent, child))
        .order_by(*directed(edge.order, edge.order.keys(child, {}), False))
    )
    if edge.limit is not None:
        query = query.limit(literal_column(str(edge.limit), Integer))
    return query.correlate(parent)


@lru_cache(maxsize=256)
def values_of(edge: ToValue) -> SqlSelect:
    """The computed value of each row with one of the keys, behind the key."""
    entity = aliased(edge.shape.model)
    key = getattr(entity, edge.shape.key_name)
    binds = {name: bindparam(name, type_=type_) for name, type_ in edge.arguments.items()}
    return visible(entity, key, edge.expression(entity, **binds)).where(_among_keys(key))


@lru_cache(maxsize=1024)
def counts(edge: ToPage, filters: tuple[str, ...]) -> SqlSelect:
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
) -> SqlSelect:
    """The rows of the page of each of the keys: key, row, keys of the order."""
    parent = aliased(edge.parent) if edge.parent is not None else None
    child = aliased(edge.target.model)
    order, binds = edge.orders[order_name], filter_binds(edge, filters)
    there = cursor_binds(order.keys(child, binds)) if has_cursor else ()
    cut = Cut(order, backward, binds, there, size + 1, "key_")

    def columns(entity: Entity) -> list[Sql]:
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
