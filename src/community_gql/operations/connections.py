"""A connection in SQL: the rows of a page once, and all that is told of them.

The rows come first (``_Rows``), then the members made of them (``_Members``), then the object of
the members. The count of the list stands beside the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from graphql import GraphQLObjectType
from sqlalchemy import (
    ColumnElement,
    Integer,
    String,
    false,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.orm import aliased

from community_gql.graph.cuts import Cut, all_columns
from community_gql.graph.finding import (
    count_of,
    depends_on_values,
    filter_binds,
    page_of,
)
from community_gql.graph.paging import MAX_COUNT, cursor_binds, cursor_sql
from community_gql.graph.plans import PagePlan
from community_gql.graph.terms import Entity, FromItem, Sql, SqlSelect
from community_gql.operations.json_sql import (
    Entries,
    built,
    fits,
    labelled,
    list_sql,
    of_row,
    shaped,
    text_sql,
)
from community_gql.operations.selections import NotCompiled, Selected, object_type

if TYPE_CHECKING:
    from community_gql.operations.compiler import Compiler

_MAX_COUNT: ColumnElement[int] = literal_column(str(MAX_COUNT), Integer)
_COUNTS: dict[str, Callable[[Sql], Sql]] = {
    "totalCount": lambda n: func.least(n, _MAX_COUNT),
    "totalCountIsExact": lambda n: n <= _MAX_COUNT,
}
"""The members of a connection that tell of its count, made of the number of ``count_of``."""
_LISTS = frozenset({"nodes", "edges"})
_CURSORS = frozenset({"startCursor", "endCursor"})


@dataclass(frozen=True)
class _Rows:
    """The rows of a page as a FROM item, in reading order, maybe numbered (``n$``, ``found$``)."""

    source: FromItem
    keys: list[Sql]
    """The order's keys."""
    entity: Entity
    """The target's alias over the rows."""
    limit: ColumnElement[int]
    one_too_many: bool
    """Whether one row more than the page holds was asked for, to see that there are more."""

    @property
    def on_page(self) -> ColumnElement[bool] | None:
        """Which rows are on the page; None for all."""
        return self.source.c["n$"] < self.limit if self.one_too_many else None


class ConnectionCompiler:
    """The connection of one field for one parent."""

    def __init__(
        self, compiler: Compiler, selected: Selected, plan: PagePlan, parent: Entity
    ) -> None:
        self._compiler, self._selected, self._plan = compiler, selected, plan
        self._parents = [] if parent is None else [parent]
        self._parent = parent
        self._members = compiler.selections.of(object_type(selected), selected.sets)
        compiler.custom_plan |= plan.custom_plan
        names = [name for name, _ in plan.filters]
        prefix = compiler.binds.prefix(selected.node, names)
        self._filters = filter_binds(plan.edge, names, prefix)

    def object(self) -> Sql:
        """The JSON of the connection."""
        rows = self._read()
        made = _Members(self._compiler, self._selected, self._plan, rows)
        told = [member for member in self._members if member.name not in _COUNTS]
        values = {member.key: made.value(member) for member in told}
        if len(told) < len(self._members):
            return self._beside_count(values, rows, made.laterals)
        entries = list(values.items())
        if rows is None:
            return self._compiler.object(entries, *self._parents)
        if not fits(entries):
            return self._aggregated([built(entries)], rows, made.laterals).scalar_subquery()
        query = self._aggregated(labelled(entries), rows, made.laterals)
        return of_row(query.subquery(self._compiler.binds.name("c")))

    def _read(self) -> _Rows | None:
        """The rows, if something asks for them."""
        compiler, plan, edge = self._compiler, self._plan, self._plan.edge
        backward = plan.window.backward
        info = self._info()
        more = ("hasPreviousPage" if backward else "hasNextPage") in info
        if not (more or info & _CURSORS or any(m.name in _LISTS for m in self._members)):
            return None
        child = aliased(edge.target.model, name=compiler.binds.name("t"))
        order = edge.orders[plan.order]
        keys = order.keys(child, self._filters)
        there: Sequence[Sql] = ()
        if plan.cursor is not None:
            names = [f"cursor_{i}" for i in range(len(keys))]
            there = cursor_binds(keys, compiler.binds.prefix(self._selected.node, names))
        cut = Cut(order, backward, self._filters, there, plan.window.size + more, "key$")
        page = page_of(edge, self._parent, child, all_columns, cut, compiler.near_rows)
        rows: FromItem = page.subquery(compiler.binds.name("q"))
        if more or backward or info & _CURSORS:
            rows = _numbered(rows).subquery(compiler.binds.name("p"))
        return _Rows(
            rows,
            [rows.c[name] for name in cut.names(child)],
            aliased(edge.target.model, rows),
            cut.literal_limit,
            more,
        )

    def _info(self) -> set[str]:
        """What is asked of the connection's pageInfo."""
        return {
            info.name
            for member in self._members
            if member.name == "pageInfo"
            for info in self._compiler.selections.of(object_type(member), member.sets)
        }

    def _aggregated(
        self, columns: Sequence[Sql], rows: _Rows, laterals: list[FromItem]
    ) -> SqlSelect:
        source = rows.source
        for lateral in laterals:
            source = source.join(lateral, true())
        # unscoped: aggregates the rows of page_of
        return select(*columns).select_from(source).correlate(*self._parents)

    def _beside_count(
        self, values: dict[str, Sql], rows: _Rows | None, laterals: list[FromItem]
    ) -> Sql:
        """The connection with its count, which all members that tell of it share."""
        binds, edge = self._compiler.binds, self._plan.edge
        if rows is not None and values:
            # These are aggregates, the count is not: they stand beside it.
            columns = [value.label(f"m${i}") for i, value in enumerate(values.values())]
            page = self._aggregated(columns, rows, laterals).subquery(binds.name("a"))
            values = dict(zip(values, page.c, strict=True))
        other = aliased(edge.target.model, name=binds.name("t"))
        self._compiler.custom_plan |= depends_on_values(edge, tuple(self._filters), None)
        counted = count_of(edge, self._parent, other, self._filters).subquery(binds.name("n"))
        entries = [
            (member.key, _COUNTS[member.name](counted.c.n))
            if member.name in _COUNTS
            else (member.key, values[member.key])
            for member in self._members
        ]
        if fits(entries):
            return of_row(shaped(entries).correlate(*self._parents).subquery(binds.name("c")))
        # unscoped: of one row that aggregates scoped ones
        return select(built(entries)).correlate(*self._parents).scalar_subquery()


@dataclass
class _Members:
    """The members of a connection, made of its rows where they need any."""

    compiler: Compiler
    selected: Selected
    plan: PagePlan
    rows: _Rows | None
    laterals: list[FromItem] = field(default_factory=list)
    """What is to be joined to the rows: the objects made of each."""

    @property
    def _there(self) -> _Rows:
        assert self.rows is not None, "a member that needs the rows has them read"
        return self.rows

    def value(self, member: Selected) -> Sql:
        """The value of a member, mostly an aggregate of the rows."""
        type_ = object_type(self.selected)
        if member.name == "__typename":
            return text_sql(type_.name)
        if member.name == "nodes":
            return self._items(self._row(member))
        if member.name == "edges":
            return self._items(self._edge(object_type(member), member))
        if member.name == "pageInfo":
            inner = object_type(member)
            # Aggregates of the page's own SELECT: no subselect could hold them.
            infos = self.compiler.selections.of(inner, member.sets)
            return built([(info.key, self._page_info(inner, info)) for info in infos])
        raise NotCompiled(f"{type_.name}.{member.name} is declared in a way of its own")

    def _row(self, member: Selected) -> Entries:
        shape = self.plan.edge.target
        return self.compiler.row(object_type(member), member, self._there.entity, shape)

    def _edge(self, type_: GraphQLObjectType, member: Selected) -> Entries:
        entries: Entries = []
        for item in self.compiler.selections.of(type_, member.sets):
            if item.name == "__typename":
                value: Sql = text_sql(type_.name)
            elif item.name == "cursor":
                value = self._cursor()
            elif item.name == "node":
                value = self.compiler.object(self._row(item), self._there.source)
            else:
                raise NotCompiled(f"{type_.name}.{item.name} is declared in a way of its own")
            entries.append((item.key, value))
        return entries

    def _items(self, entries: Entries) -> Sql:
        rows = self._there
        if fits(entries):
            name = self.compiler.binds.name("o")
            lateral = shaped(entries).correlate(rows.source).lateral(name)
            self.laterals.append(lateral)
            item: Sql = lateral.table_valued()
        else:
            item = built(entries)
        # Forward, the rows arrive in the order of the subselect and json_agg takes them so.
        order = rows.source.c["n$"].desc() if self.plan.window.backward else None
        return list_sql(item, rows.on_page, order)

    def _cursor(self) -> ColumnElement[str]:
        digest = self.compiler.binds.value(self.selected.node, "digest", String())
        return cursor_sql(digest, self._there.keys)

    def _page_info(self, type_: GraphQLObjectType, info: Selected) -> Sql:
        window = self.plan.window
        if info.name == "__typename":
            return text_sql(type_.name)
        if info.name in ("hasNextPage", "hasPreviousPage"):
            if (info.name == "hasPreviousPage") == window.backward:
                return func.count() >= self._there.limit
            return true() if window.cursor is not None else false()
        if info.name in _CURSORS:
            is_first = (info.name == "startCursor") != window.backward
            return func.max(self._cursor()).filter(self._is_at_end(is_first))
        raise NotCompiled(f"{type_.name}.{info.name} is declared in a way of its own")

    def _is_at_end(self, first: bool) -> ColumnElement[bool]:
        """Whether a row is the first that was read, or the last, of those on the page."""
        rows = self._there
        n, found = rows.source.c["n$"], rows.source.c["found$"]
        at: ColumnElement[bool]
        if first:
            at = n == literal_column("1")
            # `first: 0` reads one row too many as well, and has no start.
            return at if rows.on_page is None else at & rows.on_page
        if rows.one_too_many:
            at = n == func.least(found, rows.limit - literal_column("1"))
        else:
            at = n == found
        return at


def _numbered(rows: FromItem) -> SqlSelect:
    numbers = func.row_number().over().label("n$"), func.count().over().label("found$")
    return select(*rows.c, *numbers)  # unscoped: the rows of page_of
