"""The rows of a list: how a page of them is cut, and how they are counted.

Which way finds them depends on what the filter has. The loaders and the compiler take the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    any_,
    bindparam,
    case,
    func,
    literal_column,
    not_,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.orm import aliased

from community_gql.graph.bins import (
    InBins,
    Steps,
    count_of_steps,
    in_window,
    keys_of_page,
)
from community_gql.graph.cuts import Columns, Cut, all_columns, directed
from community_gql.graph.edges import Bins, ToPage, Walk
from community_gql.graph.paging import MAX_COUNT, RELEVANCE_POOL, Order
from community_gql.graph.short import count_if_short, may_be_short, page_if_short
from community_gql.graph.terms import Entity, Sql, SqlSelect
from community_gql.graph.visibility import for_everyone, is_everyones, visible, visible_unindexed
from community_gql.graph.walks import Way, has_way, way_of

NEAR_ROWS = 5000
"""How many rows of a list are looked through for those that match a filter, before its index is."""
_SOON = 5
"""How many times fewer, of a list with bins: what is scarce is soon found in them."""


def listed(
    edge: ToPage,
    parent: Entity,
    child: Entity,
    columns: Sequence[Sql],
    binds: Mapping[str, Sql],
    known: Iterable[str] = (),
) -> SqlSelect:
    """The list's visible, filtered rows, for a parent alias (to correlate or join) or none.

    ``known`` are members of the filter that all rows of the child are known to meet.
    """
    asked = [name for name in binds if name not in set(known)]
    light = [name for name in asked if edge.filters[name].light] if parent is not None else []
    demands = edge.demands(child, binds, [name for name in asked if name not in light])
    # "is true" has no index.
    demands += [found.is_(True) for found in edge.demands(child, binds, light)]
    return visible(child, *columns).where(edge.arrives(parent, child), *demands)


def count_of(edge: ToPage, parent: Entity, child: Entity, binds: Mapping[str, Sql]) -> SqlSelect:
    """The number of rows of ``listed``, up to MAX_COUNT + 1. Correlated to the parent.

    Where an index knows bins of time, the rows are counted from the newest on, until they are more
    than MAX_COUNT. Those of a short list are all read.
    """
    number = _count_of_long(edge, parent, child, binds)
    return count_if_short(edge, parent, binds, number) if may_be_short(edge, parent) else number


def _count_of_long(
    edge: ToPage, parent: Entity, child: Entity, binds: Mapping[str, Sql]
) -> SqlSelect:
    way = way_of(edge, parent, child, binds)
    if way is not None and way.found is None:
        return way.count(binds)
    bins = None if way is not None else _bins(edge, parent, child, binds)
    if bins is not None:
        return _count_in_bins(edge, bins, parent, binds)
    whole = _counted(_countable(edge, parent, child, binds), parent)
    if way is not None and way.found is not None:
        served = way.through_index().count({}).scalar_subquery()
        number: Any = case((way.found.serves, served), else_=whole.scalar_subquery())
    elif parent is None and not binds and (is_public := for_everyone(child)) is not None:
        # The oldest: PostgreSQL knows of their pages that it need not look at them.
        order = edge.orders[edge.default_order]
        oldest = directed(order, order.keys(child, binds), True)
        # unscoped: of rows that everyone may see
        rows: Any = select(literal_column("1")).select_from(child).where(is_public)
        public = _counted(rows.order_by(*oldest), None).subquery()
        # unscoped: the number of these
        many = select(public.c.n).where(public.c.n > MAX_COUNT).scalar_subquery()
        number = func.coalesce(many, whole.scalar_subquery(), type_=BigInteger())
    else:
        return whole
    return select(number.label("n")).offset(literal_column("0"))  # unscoped: one number


def _count_in_bins(edge: ToPage, bins: Bins, parent: Entity, binds: Mapping[str, Sql]) -> SqlSelect:
    one: Any = literal_column("1").label("one")

    def found(in_bins: InBins) -> SqlSelect:
        rows = _in_bins(edge, parent, lambda _: [one], binds, in_bins)
        # unscoped: of rows that are scoped
        return _counted(select(one).select_from(_as_found(rows, parent)), parent)

    return count_of_steps(Steps(bins, edge, parent, binds, MAX_COUNT + 1).found(found))


def _counted(rows: SqlSelect, parent: Entity) -> SqlSelect:
    rows = rows.limit(literal_column(str(MAX_COUNT + 1), Integer))
    if parent is not None:
        rows = rows.correlate(parent)
    # unscoped: counts rows that are scoped
    return select(func.count().label("n")).select_from(rows.subquery())


def _bins(edge: ToPage, parent: Entity, child: Entity, binds: Mapping[str, Sql]) -> Bins | None:
    """The bins in which the rows of a list are looked for, if that is soonest."""
    if any(edge.filters[name].marked is not None for name in binds):
        return None  # found at once
    if parent is None and not _is_scarce(edge, binds):
        return None
    return edge.bins if parent is not None or _walk(edge, None, child, binds) is None else None


def _in_bins(
    edge: ToPage,
    parent: Entity,
    columns: Columns,
    binds: Mapping[str, Sql],
    in_bins: InBins,
) -> SqlSelect:
    """The rows of a list in the bins of a step, by no other index than that of the bins."""
    some, rest = aliased(edge.target.model), aliased(edge.target.model)

    def asked(entity: Entity) -> SqlSelect:
        rows = visible_unindexed(entity, *columns(entity))
        return rows.where(*_asked(edge, entity, binds, binds))

    both = [
        asked(some).where(in_bins(some, False)),
        asked(rest).where(_arrives(edge, parent, rest, binds), in_bins(rest, True)),
    ]
    rows = union_all(*(r if parent is None else r.correlate(parent) for r in both)).subquery()
    # unscoped: of rows that are scoped
    return select(*rows.c)


def _countable(edge: ToPage, parent: Entity, child: Entity, binds: Mapping[str, Sql]) -> SqlSelect:
    """A row for each of ``listed``, by a way that can stop at any of them."""
    one: ColumnElement[int] = literal_column("1")
    walk = _walk(edge, parent, child, binds)
    if walk is not None and walk.once is None and is_everyones(edge.target.model):
        # unscoped: of rows that everyone may see
        return select(one).select_from(walk.source).where(walk.where)
    if walk is not None and parent is None:
        same = getattr(child, walk.by or edge.target.key_name) == walk.key
        rows = visible(child, one).select_from(walk.source).where(walk.where, same)
        return rows if walk.once is None else rows.where(walk.once)
    if _finds_hits(edge, parent, binds):
        hits = _by_filter(edge, parent, child, [one.label("one")], binds)
        # unscoped: of rows that are scoped
        return select(one).select_from(_as_found(hits, parent))
    rows = listed(edge, parent, child, [one], binds)
    if parent is None and binds:
        # Windows of the default order: in it, its index leads to the rows within.
        order = edge.orders[edge.default_order]
        rows = rows.order_by(*directed(order, order.keys(child, binds), False))
    return rows


def _as_found(rows: SqlSelect, parent: Entity) -> Any:
    """Rows that are found by the filters' own indexes, as a FROM item that is read row by row."""
    if parent is None:
        # A CTE is planned to be read whole, and is not. What is planned for its first rows goes
        # through the whole table where there are fewer rows than PostgreSQL guessed.
        return rows.cte(nesting=True).prefix_with("MATERIALIZED")
    return rows.correlate(parent).offset(literal_column("0")).subquery()


def _by_filter(
    edge: ToPage,
    parent: Entity,
    entity: Entity,
    columns: Sequence[Sql],
    binds: Mapping[str, Sql],
) -> SqlSelect:
    """The rows of ``listed``, with no other index to find them than those of the filter."""
    return visible_unindexed(entity, *columns).where(*_finding(edge, parent, entity, binds, binds))


def _finding(
    edge: ToPage, parent: Entity, entity: Entity, binds: Mapping[str, Sql], names: Iterable[str]
) -> list[ColumnElement[bool]]:
    """What the filters demand, and the list, in the forms that the filters' indexes know."""
    return [
        _arrives(edge, parent, entity, binds),
        *_asked(edge, entity, binds, list(names)),
        *in_window(edge, parent, entity, binds),
    ]


def _arrives(
    edge: ToPage, parent: Entity, entity: Entity, binds: Mapping[str, Sql]
) -> ColumnElement[bool]:
    """That an entity is in the list, as the filters' indexes know it."""
    if edge.found_by is None or parent is None:
        return edge.arrives(parent, entity)
    return edge.found_by(parent, entity, binds)


def _asked(
    edge: ToPage, entity: Entity, binds: Mapping[str, Sql], names: Iterable[str]
) -> list[ColumnElement[bool]]:
    """What members of the filter demand, in the forms that their indexes know."""
    filters = [(edge.filters[name], binds[name]) for name in names]
    found = [asked.marked(entity, value) for asked, value in filters if asked.marked is not None]
    for asked, value in filters:
        demand = asked.predicate(entity, value)
        is_said = asked.marked is not None or (edge.bins is not None and asked.window)
        # "is true" has no index.
        found.append(demand.is_(True) if is_said else demand)
    return found


def _walk(edge: ToPage, parent: Entity, child: Entity, binds: Mapping[str, Sql]) -> Walk | None:
    """What names the rows of the list one by one, if something does."""
    if parent is not None:
        return None if binds else edge.links(parent)
    if len(binds) != 1:
        return None  # an index of both filters may find far less
    ((name, value),) = binds.items()
    found = edge.filters[name].walk
    return None if found is None else found(child, value)


def page_of(
    edge: ToPage,
    parent: Entity,
    child: Entity,
    columns: Columns,
    cut: Cut,
    near_rows: int = NEAR_ROWS,
) -> SqlSelect:
    """A page of ``listed`` in reading order: ``columns`` of the child, and the order's keys.

    Correlated to the parent. A long list whose filter may leave few rows is looked through in two
    ways, see ``_near_or_far``; ``near_rows`` bounds the first. A short list is read whole.
    """
    page = _page_of_long(edge, parent, child, columns, cut, near_rows)
    return page_if_short(edge, parent, columns, cut, page) if may_be_short(edge, parent) else page


def _page_of_long(
    edge: ToPage, parent: Entity, child: Entity, columns: Columns, cut: Cut, near_rows: int
) -> SqlSelect:
    way = way_of(edge, parent, child, cut.binds)
    if way is not None and way.found is None:
        return way.page(child, columns, cut)
    if way is not None:
        return _near_or_far(edge, parent, child, columns, cut, near_rows, way)
    if _finds_hits(edge, parent, cut.binds) and cut.order.pool is None:
        return _near_or_far(edge, parent, child, columns, cut, near_rows)
    return _cut_out(edge, parent, child, columns, cut)


def _cut_out(
    edge: ToPage,
    parent: Entity,
    child: Entity,
    columns: Columns,
    cut: Cut,
    known: Iterable[str] = (),
) -> SqlSelect:
    """The page, in one way: the list's rows, ordered and cut. For ``known`` see ``listed``."""
    order, binds = cut.order, cut.binds
    if order.pool is not None:
        return _best_of_newest(edge, parent, columns, cut, order.pool)
    keys = order.keys(child, binds)
    labelled = (key.label(n) for key, n in zip(keys, cut.names(child), strict=True))
    query = listed(edge, parent, child, [*columns(child), *labelled], binds, known)
    if parent is not None:
        query = query.correlate(parent)
    return cut.ordered(query, keys).limit(cut.literal_limit)


def _best_of_newest(
    edge: ToPage, parent: Entity, columns: Columns, cut: Cut, pool: Order
) -> SqlSelect:
    """The page of the newest rows of the list, ordered once these are found."""
    binds, model = cut.binds, edge.target.model
    child = aliased(model)
    bins = _bins(edge, parent, child, binds)
    if bins is not None:
        return _in_steps(edge, bins, parent, columns, cut)
    if _finds_hits(edge, parent, binds):
        rows = _by_filter(edge, parent, child, all_columns(child), binds)
    else:
        rows = listed(edge, parent, child, all_columns(child), binds)
    newest = directed(pool, pool.keys(child, binds), False)
    rows = rows.correlate(parent) if parent is not None else rows
    found = aliased(model, rows.order_by(*newest).limit(RELEVANCE_POOL).subquery())
    keys = cut.order.keys(found, binds)
    labelled = (key.label(n) for key, n in zip(keys, cut.names(found), strict=True))
    # unscoped: orders rows that are scoped
    ranked = select(*columns(found), *labelled)
    return cut.ordered(ranked, keys).limit(cut.literal_limit)


def _in_steps(edge: ToPage, bins: Bins, parent: Entity, columns: Columns, cut: Cut) -> SqlSelect:
    """The page, of the rows in the first bins that have enough of them."""

    def rows(columns: Columns, in_bins: InBins) -> SqlSelect:
        return _in_bins(edge, parent, columns, cut.binds, in_bins)

    best = keys_of_page(edge, cut, bins, parent, rows)
    page = best.subquery() if parent is None else best.correlate(parent).lateral()
    child = aliased(edge.target.model)
    keys = cut.order.keys(child, cut.binds)
    labelled = (key.label(n) for key, n in zip(keys, cut.names(child), strict=True))
    is_best = getattr(child, edge.target.key_name) == any_(page.c.best)
    # unscoped: the keys are of rows that are scoped
    query = select(*columns(child), *labelled).select_from(child).join(page, is_best)
    return query.order_by(*directed(cut.order, keys, cut.backward)).limit(cut.literal_limit)


def _near_or_far(
    edge: ToPage,
    parent: Entity,
    child: Entity,
    columns: Columns,
    cut: Cut,
    near_rows: int,
    way: Way | None = None,
) -> SqlSelect:
    """The page of a long list, looked for in two ways.

    PostgreSQL cannot know how many rows have some word, and would look through a whole table in
    its order for one that nobody wrote. So the page is looked for among the next ``near_rows``
    rows, and where that does not fill it, once more by the filters' own indexes: what is so scarce
    is quickly collected. Where that is likely from the start, nobody looks through rows first.
    """
    dear = max((edge.filters[name].dear for name in cut.binds), default=1)
    near_rows = max(1, near_rows // (dear if edge.bins is None else _SOON))
    found = _near(edge, parent, child, columns, cut, near_rows, way)
    if way is not None and way.found is not None:
        found = found.where(not_(way.found.are_few))
    near = found.cte()
    # unscoped: counts rows that are scoped
    is_full = select(func.count() == cut.literal_limit).select_from(near).scalar_subquery()
    is_whole: ColumnElement[bool] = is_full
    if way is None:
        is_whole = or_(is_full, not_(_goes_on(edge, cut, near_rows)))
    # unscoped: one value, computed once
    decided = select(is_whole.label("near")).cte()
    # unscoped: the same
    is_near = select(decided.c.near).scalar_subquery()
    parts: list[tuple[Any, Sql]] = [(near, is_near)]
    far = _far(edge, parent, child, columns, cut).where(not_(is_near))
    if way is not None and way.found is not None:
        far = far.where(not_(way.found.serves))
        served = way.through_index().page(child, columns, cut)
        served = served.where(not_(is_near), way.found.serves)
        parts.append((served.subquery(), true()))
    parts.append((far.subquery(), true()))
    # Of subqueries: SQLAlchemy cannot see through a SELECT with a LIMIT in a union.
    # unscoped: pages of which all but one are empty
    both = union_all(*(select(*part.c).where(holds) for part, holds in parts)).subquery()
    # unscoped: the one that is not
    whole = select(*both.c)
    if parent is not None:
        whole = whole.add_cte(near, decided, nest_here=True)  # they speak of the parent
    keys = [both.c[name] for name in cut.names(child)]
    return whole.order_by(*directed(cut.order, keys, cut.backward)).limit(cut.literal_limit)


def _near(
    edge: ToPage,
    parent: Entity,
    child: Entity,
    columns: Columns,
    cut: Cut,
    near_rows: int,
    way: Way | None,
) -> SqlSelect:
    """The page, as far as it is among the next rows."""
    if way is not None and way.walk is not None:
        return way.next_rows(cut, near_rows).page(child, columns, cut)
    next_rows = _next_rows(edge, cut, near_rows)
    found = _cut_out(edge, None, next_rows, columns, cut, _windows(edge, cut.binds))
    if parent is not None and edge.found_by is not None:
        found = found.where(edge.found_by(parent, next_rows, {})).correlate(parent)
    return found


def _far(edge: ToPage, parent: Entity, child: Entity, columns: Columns, cut: Cut) -> SqlSelect:
    """The page by the filters' own indexes."""
    if not _finds_hits(edge, parent, cut.binds):
        return _cut_out(edge, parent, child, columns, cut)
    if edge.bins is not None:
        return _in_steps(edge, edge.bins, parent, columns, cut)
    hits = _hits(edge, cut.binds, parent)
    return _cut_out(edge, None, hits, columns, cut, _indexed(edge, cut.binds))


def _next_rows(edge: ToPage, cut: Cut, near_rows: int) -> Any:
    """The next rows of the whole table in the order, within the filter's windows."""
    entity = aliased(edge.target.model)
    rows = _in_order(edge, cut, entity, all_columns(entity))
    return aliased(edge.target.model, rows.limit(literal_column(str(near_rows))).subquery())


def _in_order(edge: ToPage, cut: Cut, entity: Entity, columns: Sequence[Sql]) -> SqlSelect:
    windows = edge.demands(entity, cut.binds, _windows(edge, cut.binds))
    # unscoped: the page takes of these what the viewer may see
    inside = select(*columns).select_from(entity).where(*windows)
    return cut.ordered(inside, cut.order.keys(entity, cut.binds))


def _goes_on(edge: ToPage, cut: Cut, near_rows: int) -> Any:
    """Whether the order has more rows than ``_next_rows``: else these were all."""
    entity = aliased(edge.target.model)
    rows = _in_order(edge, cut, entity, [literal_column("1")])
    return rows.offset(literal_column(str(near_rows))).limit(literal_column("1")).exists()


def depends_on_values(edge: ToPage, names: Sequence[str], order: Order | None) -> bool:
    """Whether the best plan of a page in an order, or of the count, depends on the filter's values.

    It does where two indexes could find the rows, and the values decide which finds fewer: the
    wrong one took 15 ms for 0.4. Planning anew costs up to 2 ms. So the statements of most lists
    leave PostgreSQL one index, and have one plan for all values.
    """
    if has_way(edge, tuple(names)):
        return False
    if edge.bins is not None and (edge.parent is not None or _is_scarce(edge, names)):
        return False
    given = [edge.filters[name] for name in names]
    if edge.parent is not None:
        given = [member for member in given if not member.light]
    is_scarce, has_window = any(f.scarce for f in given), any(f.window for f in given)
    if order is None:
        return is_scarce or has_window
    is_near = edge.parent is None and order.pool is None and not has_window
    return any(f.selective for f in given) or (is_scarce and not is_near)


def _is_scarce(edge: ToPage, names: Iterable[str]) -> bool:
    return any(edge.filters[name].scarce for name in names)


def _finds_hits(edge: ToPage, parent: Entity, names: Iterable[str]) -> bool:
    """Whether the filters' own indexes should find the rows."""
    return _is_scarce(edge, names) if parent is None else edge.found_by is not None


def _hits(edge: ToPage, binds: Mapping[str, Sql], parent: Entity) -> Any:
    """All rows of the list that the filters' own indexes find; whoever may see them."""
    entity = aliased(edge.target.model)
    found = _finding(edge, parent, entity, binds, _indexed(edge, binds))
    # unscoped: the page takes of these what the viewer may see
    matching = select(*all_columns(entity)).where(*found)
    if parent is not None:
        matching = matching.correlate(parent)
    # OFFSET has this subselect planned for itself, and so for the filters' indexes. Else the index
    # of what everyone may see would be read as well.
    return aliased(edge.target.model, matching.offset(literal_column("0")).subquery())


def _windows(edge: ToPage, names: Iterable[str]) -> list[str]:
    return [name for name in names if edge.filters[name].window]


def _indexed(edge: ToPage, names: Iterable[str]) -> list[str]:
    """The members that hits are found by."""
    return [name for name in names if edge.filters[name].scarce or edge.filters[name].window]


def filter_binds(edge: ToPage, names: Iterable[str], prefix: str = "") -> dict[str, Sql]:
    """A bind per filter member, by member; ``prefix`` keeps apart two lists in one statement."""
    return {name: bindparam(prefix + name, type_=edge.filters[name].type) for name in names}
