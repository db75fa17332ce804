"""Short lists: of a parent with so few rows that all of them are read, and each is asked.

That costs the same in every community. The index of a filter goes through what it has of all
parents beside what it has of this one, and the former grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Integer, case, func, literal_column, not_, select, true, union_all
from sqlalchemy.orm import aliased

from community_gql.graph.bins import in_window
from community_gql.graph.cuts import Columns, Cut, all_columns, directed
from community_gql.graph.edges import ToPage
from community_gql.graph.terms import Entity, Sql, SqlSelect
from community_gql.graph.visibility import visible_unindexed

SHORT = 1000
"""How many rows a short list has at most, whoever may see them, and whatever the filter leaves."""
_ZERO: Any = literal_column("0", Integer)
_ONE: Any = literal_column("1", Integer)


def may_be_short(edge: ToPage, parent: Entity) -> bool:
    """Whether lists of the edge are short or long, and a table between tells which."""
    return edge.found_by is not None and edge.links(parent) is not None


def count_if_short(
    edge: ToPage, parent: Entity, binds: Mapping[str, Sql], otherwise: SqlSelect
) -> SqlSelect:
    """The number of rows of a short list, as ``n``. ``otherwise`` has that of a long one."""
    length = _length(edge, parent)
    # unscoped: of rows that are scoped
    counted = select(func.count()).select_from(_rows(edge, parent, binds)).scalar_subquery()
    number: Any = case((length.c.is_short, counted), else_=otherwise.scalar_subquery())
    # OFFSET: see _length.
    # unscoped: a number of scoped rows
    return select(number.label("n")).select_from(length).correlate(parent).offset(_ZERO)


def page_if_short(
    edge: ToPage, parent: Entity, columns: Columns, cut: Cut, otherwise: SqlSelect
) -> SqlSelect:
    """The page of a short list, with the columns of ``otherwise``, which has that of a long one."""
    length = _length(edge, parent)
    child = _rows(edge, parent, cut.binds)
    keys = cut.order.keys(child, cut.binds)
    labelled = (key.label(name) for key, name in zip(keys, cut.names(child), strict=True))
    # unscoped: orders rows that are scoped
    short = cut.ordered(select(*columns(child), *labelled).where(length.c.is_short), keys)
    short = short.limit(cut.literal_limit).correlate(parent, length)
    # Of subqueries: SQLAlchemy cannot see through a SELECT with a LIMIT in a union.
    parts = (part.subquery() for part in (short, otherwise))
    # unscoped: pages of which one is empty
    one, other = (select(*part.c) for part in parts)
    page = union_all(one, other.where(not_(length.c.is_short))).lateral()
    # unscoped: the one that is not
    whole = select(*page.c).select_from(length.join(page, true()))
    names = [page.c[name] for name in cut.names(child)]
    whole = whole.correlate(parent).order_by(*directed(cut.order, names, cut.backward))
    return whole.limit(cut.literal_limit)


def _rows(edge: ToPage, parent: Entity, binds: Mapping[str, Sql]) -> Any:
    """The visible, filtered rows of the list, by no other index than that of the list."""
    child = aliased(edge.target.model)
    assert edge.found_by is not None, "see may_be_short"
    windows = {name: binds[name] for name in binds if edge.filters[name].window}
    found = edge.found_by(parent, child, windows), *in_window(edge, parent, child, binds)
    # "is true" has no index.
    asked = (demand.is_(True) for demand in edge.demands(child, binds, binds))
    rows = visible_unindexed(child, *all_columns(child)).where(*found, *asked)
    # OFFSET has them found before they are ordered: the index of the order would be gone through.
    return aliased(edge.target.model, rows.correlate(parent).offset(_ZERO).subquery())


def _length(edge: ToPage, parent: Entity) -> Any:
    """A row that tells whether the list ``is_short``."""
    links = edge.links(parent)
    assert links is not None, "see may_be_short"
    # unscoped: nothing is shown of them
    more: Any = select(_ONE).select_from(links.source).where(links.where)
    # PostgreSQL expects to read a tenth before an offset that it does not know, and so goes through
    # the index in its order. Else it may collect all rows of a long list.
    # unscoped: a number
    most = select(literal_column(str(SHORT), Integer)).scalar_subquery()
    more = more.order_by(links.key).offset(most).limit(_ONE)
    is_short = not_(more.correlate(parent).exists())
    # OFFSET keeps it from being put in the place of each mention.
    # unscoped: no rows of the graph
    return select(is_short.label("is_short")).offset(_ZERO).lateral("length")
