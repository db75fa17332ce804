"""Lists whose rows an index names one by one, in the orders of the list.

A page then reads the entries of the index that are on it, and no others; so it costs the same
however long the list is. Only of rows that everyone may see: whose rows have to be asked for first
are not counted or cut out before that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import SimpleNamespace

from sqlalchemy import Integer, bindparam, func, literal_column, select, true
from sqlalchemy.orm import aliased

from community_gql.graph.cuts import Columns, Cut, directed
from community_gql.graph.edges import Found, ToPage, Walk
from community_gql.graph.paging import MAX_COUNT
from community_gql.graph.terms import Entity, Sql, SqlSelect
from community_gql.graph.visibility import is_everyones, visible


@dataclass(frozen=True, slots=True)
class Way:
    """How the rows of a list are found: of a parent's list, or of a root list with a filter."""

    edge: ToPage
    parent: Entity
    walk: Walk | None
    """What names the rows one by one; None where only ``found`` does."""
    rest: tuple[str, ...]
    """The members of the filter that are asked of each."""
    found: Found | None = None
    """An index that has those of the walk that the rest leaves."""

    def page(self, child: Entity, columns: Columns, cut: Cut) -> SqlSelect:
        """The page of the rows that the walk names."""
        walk = self._walk()
        names = cut.names(child)
        there = self._cut(walk, cut).subquery()
        same = getattr(child, walk.by or self.edge.target.key_name) == there.c.key
        keys = [there.c[name] for name in names]
        page = visible(child, *columns(child), *keys).join(there, same)
        if self.parent is not None:
            page = page.correlate(self.parent)
        return page.order_by(*directed(cut.order, keys, cut.backward)).limit(cut.literal_limit)

    def next_rows(self, cut: Cut, most: int) -> Way:
        """The way through the next rows alone, ``most`` of them."""
        walk = self._walk()
        copied = vars(walk.copies)
        # unscoped: of rows that everyone may see
        rows: SqlSelect = select(
            walk.key.label("key"), *(value.label(name) for name, value in copied.items())
        )
        rows = cut.ordered(
            self._correlated(rows.select_from(walk.source).where(walk.where)),
            cut.order.keys(walk.copies, cut.binds),
        )
        near = rows.limit(literal_column(str(most), Integer)).subquery()
        copies = SimpleNamespace(**{name: near.c[name] for name in copied})
        walk = Walk(near, near.c.key, true(), by=walk.by, copies=copies)
        return replace(self, walk=walk, found=None)

    def through_index(self) -> Way:
        """The way through what ``found`` has; the rest is then not asked of each."""
        assert self.found is not None
        return replace(self, walk=self.found.walk, rest=(), found=None)

    def count(self, binds: Mapping[str, Sql]) -> SqlSelect:
        """The number of rows that the walk names, up to MAX_COUNT + 1."""
        walk = self._walk()
        demands = self.edge.probes(walk.copies, binds, self.rest)
        # unscoped: of rows that everyone may see
        all_: SqlSelect = select(literal_column("1").label("one")).select_from(walk.source)
        rows = self._correlated(all_.where(walk.where, *demands))
        if demands:
            # Its neighbours in the order are what the next probe finds in memory.
            order = self.edge.orders[self.edge.default_order]
            rows = rows.order_by(*directed(order, order.keys(walk.copies, binds), False))
        some = rows.limit(literal_column(str(MAX_COUNT + 1), Integer)).subquery()
        # unscoped: the number of these
        return self._correlated(select(func.count().label("n")).select_from(some))

    def _walk(self) -> Walk:
        assert self.walk is not None, "whoever has no walk is not asked for it"
        return self.walk

    def _cut(self, walk: Walk, cut: Cut) -> SqlSelect:
        keys = cut.order.keys(walk.copies, cut.binds)
        names = cut.names(walk.copies)
        labelled = (key.label(name) for key, name in zip(keys, names, strict=True))
        demands = self.edge.probes(walk.copies, cut.binds, self.rest)
        # unscoped: of rows that everyone may see
        all_: SqlSelect = select(walk.key.label("key"), *labelled).select_from(walk.source)
        rows = self._correlated(all_.where(walk.where, *demands))
        return cut.ordered(rows, keys).limit(cut.literal_limit)

    def _correlated(self, query: SqlSelect) -> SqlSelect:
        return query if self.parent is None else query.correlate(self.parent)


def way_of(edge: ToPage, parent: Entity, child: Entity, binds: Mapping[str, Sql]) -> Way | None:
    """The way to the rows of a list with these members of its filter, if there is one."""
    if not is_everyones(edge.target.model):
        return None
    walk, rest = _walk(edge, parent, child, binds)
    if walk is None and (parent is not None or not rest):
        return None
    indexed = [name for name in rest if edge.filters[name].found is not None]
    if not indexed:
        return None if walk is None else Way(edge, parent, walk, rest)
    find = edge.filters[indexed[0]].found
    if len(rest) > 1 or find is None:
        return None
    found = find(binds[indexed[0]], None if walk is None else walk.group)
    return Way(edge, parent, walk, rest, found)


@lru_cache(maxsize=1024)
def has_way(edge: ToPage, names: tuple[str, ...]) -> bool:
    """Whether there is one, with these members of the filter."""
    parent = None if edge.parent is None else aliased(edge.parent)
    binds = {name: bindparam(name, type_=edge.filters[name].type) for name in names}
    return way_of(edge, parent, aliased(edge.target.model), binds) is not None


def _walk(
    edge: ToPage, parent: Entity, child: Entity, binds: Mapping[str, Sql]
) -> tuple[Walk | None, tuple[str, ...]]:
    """What names the rows, and the members of the filter that it leaves to be asked."""
    if parent is not None:
        walk, rest = edge.links(parent), tuple(binds)
        return (walk if walk is not None and walk.copies is not None else None), rest
    for name, value in binds.items():
        through = edge.filters[name].walk
        walk = None if through is None else through(child, value)
        if walk is not None and walk.copies is not None:
            return walk, tuple(other for other in binds if other != name)
    return None, tuple(binds)
