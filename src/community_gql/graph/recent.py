"""Looking for rows in steps of time, where the first rows that are found may be enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ARRAY, Integer, func, inspect, literal_column, or_, select, true
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import aliased

from community_gql.graph.cuts import Cut, directed
from community_gql.graph.edges import Recent, ToPage
from community_gql.graph.paging import RELEVANCE_POOL, Order
from community_gql.graph.terms import Entity, Sql, SqlSelect


def first_known(
    recent: Recent,
    parent: Entity,
    binds: Mapping[str, Sql],
    found: SqlSelect,
    enough: int,
    whole: SqlSelect,
) -> SqlSelect:
    """The answer of the first step that gives it, or that of all rows.

    ``found`` has the number ``n`` of rows of a step first and its answer last, which may be that
    number. It counts where these are ``enough`` or all that there are. ``whole`` has the answer
    alone. A step runs only when the one before was not enough.
    """
    step = found.lateral("counted")
    *_, last = step.c
    # unscoped: numbers of scoped rows, or their keys
    known = select(last).select_from(recent.steps(binds).join(step, true()))
    is_known = or_(step.c.n >= literal_column(str(enough)), recent.is_complete(binds))
    known = known.where(is_known).limit(literal_column("1"))
    if parent is not None:
        known, whole = known.correlate(parent), whole.correlate(parent)
    (column,) = whole.selected_columns
    answer = func.coalesce(known.scalar_subquery(), whole.scalar_subquery(), type_=column.type)
    # OFFSET keeps it from being put in the place of each mention, and computed twice.
    # unscoped: one value
    return select(answer.label(column.name)).offset(literal_column("0"))


def newest_of(
    pool: Order, entity: Entity, parent: Entity, binds: Mapping[str, Sql], rows: SqlSelect
) -> Any:
    """The newest of the rows of an entity that are to be ranked, as an alias of it."""
    first = directed(pool, pool.keys(entity, binds), False)
    rows = rows.correlate(parent) if parent is not None else rows
    model = inspect(entity).mapper.class_
    return aliased(model, rows.order_by(*first).limit(RELEVANCE_POOL).subquery())


def ranked_keys(edge: ToPage, cut: Cut, rows: Any) -> tuple[Any, Any]:
    """The keys of the page of some rows as an array named ``best``, and these rows."""
    keys = cut.order.keys(rows, cut.binds)
    key = getattr(rows, edge.target.key_name)
    type_: Any = ARRAY(key.type)
    ordered = directed(cut.order, keys, cut.backward)
    listed: Any = func.array_agg(aggregate_order_by(key, *ordered), type_=type_)
    is_wanted = cut.is_wanted(keys)
    if is_wanted is not None:
        listed = listed.filter(is_wanted)
    some: Any = func.coalesce(listed, literal_column("'{}'"), type_=type_)
    return some[literal_column("1", Integer) : cut.literal_limit].label("best"), rows
