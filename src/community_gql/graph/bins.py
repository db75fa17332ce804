"""Looking for rows in bins of time, the newest first, until enough are found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    DateTime,
    Double,
    Integer,
    Interval,
    and_,
    case,
    cast,
    column,
    extract,
    func,
    literal_column,
    null,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import aliased

from community_gql.graph.cuts import Columns, Cut, directed
from community_gql.graph.edges import Bins, ToPage
from community_gql.graph.paging import RELEVANCE_POOL
from community_gql.graph.terms import Entity, Sql, SqlSelect

_ZERO: Any = literal_column("0", Integer)
_ONE: Any = literal_column("1", Integer)
_MOMENT: Any = DateTime(timezone=True)
# Literals, and not the columns of the steps: a subselect of them would bring their table along.
_N, _TOTAL, _SINCE, _UNTIL, _SPAN, _LENGTH, _HOURS, _FIRST, _LAST, _END = (
    literal_column(name, type_)
    for name, type_ in (
        ("steps.n", BigInteger()),
        ("steps.total", BigInteger()),
        ("steps.since", _MOMENT),
        ("steps.until", _MOMENT),
        ("steps.span", Interval()),
        ("wanted.length", Interval()),
        ("wanted.hours", Integer()),
        ("step.first", BigInteger()),
        ("step.last", BigInteger()),
        ("step.end", _MOMENT),
    )
)
_INSTANT: Any = literal_column("interval '1 microsecond'", Interval)
_LONGER: Any = literal_column("8", Double)
"""How many times as long as the step before a step is at most."""
_MOST = 6
"""How many bins of a size a step is at most."""

InBins = Callable[[Entity, bool], ColumnElement[bool]]
"""Whether a row of an entity is in the bins of a step, or, of the last step, in what is left."""


@dataclass(frozen=True, slots=True)
class Steps:
    """How to go through the rows of a list in bins, until ``enough`` rows were found.

    The first step is one bin. The next ones are so long that what lacks is expected in them, by
    what the step before had in its time. Where that is all the time that is left, or no bins are so
    long, the last step is all that is left. So what is frequent is found in few bins, and what is
    rare in few steps.
    """

    bins: Bins
    edge: ToPage
    parent: Entity
    binds: Mapping[str, Sql]
    enough: int
    forward: bool = False
    """Whether the oldest rows come first."""
    there: Sql | None = None
    """The moment to begin with, if it is not that of the first row."""

    def found(self, found: Callable[[InBins], SqlSelect]) -> Any:
        """A recursive CTE whose rows are the steps.

        ``found`` makes the query of a step: the number ``n`` of its rows comes first, then arrays.
        Each step has them, and the ``total`` so far.
        """
        answers = list(found(lambda _, __: true()).selected_columns)[1:]
        before: Any = self._start(answers).cte("steps", recursive=True, nesting=True)
        rows = found(self._is_in_bins).lateral("found")
        source = before.join(self._wanted(), true()).join(self._step(), true()).join(rows, true())
        left = (_END, _UNTIL, _END - _SINCE) if self.forward else (_SINCE, _END, _UNTIL - _END)
        values = rows.c.n, _TOTAL + rows.c.n, *left, *(rows.c[answer.name] for answer in answers)
        # unscoped: numbers of scoped rows, and their keys
        more = select(*values).select_from(source)
        more = more.where(literal_column(str(self.enough)) > _TOTAL, _SINCE < _UNTIL)
        return before.union_all(more)

    def _start(self, answers: Iterable[Any]) -> SqlSelect:
        """Nothing found, and all the time there is: from ``since`` until before ``until``."""
        table = aliased(self.edge.target.model)
        since: Any = func.min(self.bins.moment(table))
        until: Any = func.max(self.bins.moment(table)) + _INSTANT
        if self.bins.after in self.binds:
            since = func.greatest(since, self.binds[self.bins.after])
        if self.bins.before in self.binds:
            until = func.least(until, self.binds[self.bins.before])
        if self.there is not None and self.forward:
            since = func.greatest(since, self.there)
        elif self.there is not None:
            until = func.least(until, self.there + _INSTANT)
        zero = cast(_ZERO, BigInteger)
        # unscoped: nothing is shown of it, and the rows that it leads to are scoped
        return select(
            zero.label("n"),
            zero.label("total"),
            since.label("since"),
            until.label("until"),
            literal_column("interval '0'", Interval).label("span"),
            *(cast(null(), answer.type).label(answer.name) for answer in answers),
        ).select_from(table)

    def _wanted(self) -> Any:
        """In what ``length`` what lacks is expected, and the ``hours`` of its bins, or NULL."""
        lacking: Any = cast(literal_column(str(self.enough), Integer) - _TOTAL, Double)
        # Where none was found, one is likely in as much time as that.
        times = lacking / cast(_N + _ONE, Double)
        is_all: Any = _SPAN.op("*")(times) >= _UNTIL - _SINCE
        length: Any = func.least(_SPAN.op("*")(func.least(_LONGER, times)), _UNTIL - _SINCE)
        # OFFSET keeps it from being put in the place of each mention.
        # unscoped: no rows of the graph
        found: Any = select(length.label("length"), is_all.label("is_all")).offset(_ZERO)
        found = found.subquery("expected")
        seconds: Any = extract("epoch", found.c.length)
        cases: list[Any] = [(found.c.is_all, null())]
        cases += [
            (
                seconds <= literal_column(str(size * 3600 * _MOST)),
                literal_column(str(size), Integer),
            )
            for size in self.bins.sizes
        ]
        # unscoped: the same
        return select(found.c.length, case(*cases).label("hours")).offset(_ZERO).lateral("wanted")

    def _step(self) -> Any:
        """The numbers of the ``first`` and the ``last`` bin, and where what is left then ends."""
        number = self.bins.number
        if self.forward:
            first = number(_SINCE, _HOURS)
            last = func.greatest(number(_SINCE + _LENGTH - _INSTANT, _HOURS), first)
        else:
            last = number(_UNTIL - _INSTANT, _HOURS)
            first = func.least(number(_UNTIL - _LENGTH, _HOURS), last)
        # unscoped: no rows of the graph
        numbers: Any = select(first.label("first"), last.label("last")).offset(_ZERO)
        numbers = numbers.subquery("numbers")
        bound = numbers.c.last + _ONE if self.forward else numbers.c.first
        end = func.to_timestamp(bound * _HOURS * literal_column("3600"))
        end = func.coalesce(end, _UNTIL if self.forward else _SINCE, type_=_MOMENT)
        # unscoped: the same
        step = select(numbers.c.first, numbers.c.last, end.label("end"))
        return step.offset(_ZERO).lateral("step")

    def _is_in_bins(self, entity: Entity, is_last: bool) -> ColumnElement[bool]:
        moment = self.bins.moment(entity)
        since, until = (_SINCE, _END) if self.forward else (_END, _UNTIL)
        # "is true": the index of the time would be read as well.
        inside = and_(moment >= since, moment < until).is_(true())
        if is_last:
            left = and_(inside, _HOURS.is_(None))
            if not self.bins.has_window(self.binds):
                return left  # the index would be asked for all bins
            return and_(_is_between(self.bins, self.parent, entity, _SINCE, _UNTIL), left)
        known = self.bins.predicate(self.parent, entity, _HOURS, _FIRST, _LAST)
        return and_(known, inside, _HOURS.is_not(None))


def in_window(
    edge: ToPage, parent: Entity, entity: Entity, binds: Mapping[str, Sql]
) -> list[ColumnElement[bool]]:
    """That the index leaves it open that a row is in a filter's window of time, if it has one."""
    bins = edge.bins
    if bins is None or not bins.has_window(binds):
        return []
    table = aliased(edge.target.model)
    # unscoped: nothing is shown of it, and the rows that it leads to are scoped
    ends: Any = select(func.min(bins.moment(table)), func.max(bins.moment(table)))
    oldest, latest = (
        ends.with_only_columns(end).scalar_subquery() for end in ends.selected_columns
    )
    since = func.greatest(binds[bins.after], oldest) if bins.after in binds else oldest
    return [_is_between(bins, parent, entity, since, binds.get(bins.before, latest))]


def _is_between(
    bins: Bins, parent: Entity, entity: Entity, since: Any, until: Any
) -> ColumnElement[bool]:
    hours = bins.sizes[-1]
    size: Any = literal_column(str(hours), Integer)
    first, last = bins.number(since, size), bins.number(until, size)
    return bins.predicate(parent, entity, hours, first, last)


def count_of_steps(steps: Any) -> SqlSelect:
    """The number of rows that steps found, named ``n``."""
    # unscoped: a number of scoped rows
    return select(func.max(steps.c.total).label("n")).select_from(steps)


def keys_of_page(
    edge: ToPage,
    cut: Cut,
    bins: Bins,
    parent: Entity,
    rows: Callable[[Columns, InBins], SqlSelect],
) -> SqlSelect:
    """The keys of a page as an array ``best``: of the first rows, or of the best of a pool.

    ``rows`` selects columns of the list's rows in the bins of a step.
    """
    model, binds, order = edge.target.model, cut.binds, cut.order
    by_time = order.pool or order
    backward, enough = (False, RELEVANCE_POOL) if order.pool else (cut.backward, cut.limit)

    def values(entity: Entity) -> list[Sql]:
        ranks = order.keys(entity, binds) if order.pool else ()
        listed = *by_time.keys(entity, binds), *ranks, getattr(entity, edge.target.key_name)
        return [value.label(f"value{n}") for n, value in enumerate(listed)]

    def found(in_bins: InBins) -> SqlSelect:
        def is_wanted(entity: Entity, is_last: bool) -> ColumnElement[bool]:
            behind = None if order.pool else cut.is_wanted(order.keys(entity, binds))
            inside = in_bins(entity, is_last)
            return inside if behind is None else and_(inside, behind.is_(True))

        some = rows(values, is_wanted).subquery()
        arrays: list[Any] = [
            func.array_agg(value, type_=ARRAY(value.type)).label(value.name) for value in some.c
        ]
        # unscoped: of rows that are scoped
        return select(func.count().label("n"), *arrays).select_from(some)

    there = None if order.pool or not cut.there else cut.there[0]
    forward = by_time.descending == backward
    steps = Steps(bins, edge, parent, binds, enough, forward, there).found(found)
    lists = [each for each in steps.c if each.name.startswith("value")]
    names: list[Any] = [column(each.name, each.type.item_type) for each in lists]
    every = func.unnest(*lists).table_valued(*names, name="every").render_derived()
    first = list(every.c)[: len(by_time.keys(aliased(model), binds))]
    # unscoped: the same
    some: Any = select(every).select_from(steps.join(every, true()))
    some = some.order_by(*directed(by_time, first, backward))
    some = some.limit(literal_column(str(enough), Integer)).subquery()
    *_, key = some.c
    keys = list(some.c)[len(first) : -1] if order.pool else list(some.c)[:-1]
    listed: Any = func.array_agg(
        aggregate_order_by(key, *directed(order, keys, cut.backward)), type_=ARRAY(key.type)
    )
    is_wanted = cut.is_wanted(keys) if order.pool else None
    if is_wanted is not None:
        listed = listed.filter(is_wanted)
    best: Any = func.coalesce(listed, literal_column("'{}'"), type_=ARRAY(key.type))
    # unscoped: the same
    return select(best[_ONE : cut.literal_limit].label("best")).select_from(some)
