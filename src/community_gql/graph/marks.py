"""Story marks, by which an index finds pairs of tags and the stories of some weeks.

A mark is a number made of two texts. The function ``story_marks`` of the database says which marks
a story has: for each tag, for each two of its tags, for its time (in bins of 6 hours, 2 days, 14
days and 112 days), and for each tag with each of the two last. Different texts may have the same
mark, so whoever finds a story by a mark also asks what the mark stands for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Integer,
    Numeric,
    and_,
    cast,
    column,
    extract,
    false,
    func,
    literal_column,
    select,
    true,
    values,
)
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.orm import aliased
from sqlalchemy.sql.elements import Grouping

from community_gql.db import models as m
from community_gql.graph.edges import Recent
from community_gql.graph.terms import Entity, Sql

# Literals, and not the columns of the steps: a subselect of them would bring their table along.
_HOURS, _FIRST, _LAST, _START = (
    literal_column(f"step.{name}", type_)
    for name, type_ in (
        ("hours", Integer),
        ("first", BigInteger),
        ("last", BigInteger),
        ("start", DateTime(timezone=True)),
    )
)
_ONE: Any = literal_column("1")
_HOUR: Any = literal_column("3600")
_SEASON: Any = literal_column("2688")
"""The hours of the longest bins."""
_MANY: Any = literal_column("''")
"""What each tag has a mark with where a story has so many that their pairs have none."""


def _hash(text: Any) -> Any:
    number = func.hashtextextended(text, literal_column("0"))
    return number.op(">>")(literal_column("2"))


def _mark(one: Any, other: Any) -> Any:
    return _hash(one).op("+")(_hash(other))


def _has_one_of(story: Entity, marks: Any) -> ColumnElement[bool]:
    found = func.story_marks(story.tags_cached, story.created_at)
    return found.bool_op("&&")(marks)


def has_first_and_last(story: Entity, names: Any) -> ColumnElement[bool]:
    """Whether the marks of a story leave it open that it has the first and the last of the tags."""
    listed: Any = Grouping(names)
    first, last = listed[_ONE], listed[func.cardinality(names)]
    pair = _mark(first, last)
    return and_(*(_has_one_of(story, array([pair, _mark(_MANY, tag)])) for tag in (first, last)))


def has_with(story: Entity, tag: Entity, names: Any) -> ColumnElement[bool]:
    """Whether the marks of a story leave it open that it has a tag and one of some others."""
    other: Any = literal_column("other")
    # unscoped: no table
    pairs = select(_mark(tag.name, other)).select_from(func.unnest(names).alias("other"))
    listed = func.array(pairs.correlate(tag).scalar_subquery())
    return _has_one_of(story, func.array_append(listed, _mark(_MANY, tag.name)))


def _bin_of(moment: Any, hours: Any) -> Any:
    """The number of the bin of a moment, of so many hours."""
    seconds = cast(extract("epoch", moment), Numeric)
    return cast(func.floor(seconds / (hours * _HOUR)), BigInteger)


def _steps(sizes: Sequence[tuple[int, int]], binds: Mapping[str, Sql]) -> Any:
    """A row for each step: its hours, its first and its last bin, and the moment when it starts."""
    # unscoped: nothing is shown of it, and the rows that it leads to are scoped
    newest: Any = select(func.max(aliased(m.Story).created_at).label("moment")).subquery("newest")
    latest = newest.c.moment
    if "created_before" in binds:
        latest = func.least(latest, binds["created_before"])
    columns = (column("hours", Integer), column("number", Integer))
    listed = values(*columns, name="size", literal_binds=True).data(sizes)
    length: Any = listed.c.hours
    last = _bin_of(latest, length)
    first = last - (listed.c.number - _ONE)
    start = func.to_timestamp(first * length * _HOUR)
    found = (length.label("hours"), first.label("first"), last.label("last"))
    # unscoped: no rows of the graph
    rows = select(*found, start.label("start")).select_from(newest.join(listed, true()))
    return rows.subquery("step")


def _has_bins(tag: Entity, story: Entity, hours: Any, first: Any, last: Any) -> ColumnElement[bool]:
    """Whether the marks of a story leave it open that it is of some bins, and of the tag."""
    time = func.concat(hours, literal_column("'/'"), literal_column("bin"))
    marks = select(_mark(time if tag is None else tag.name, time))  # unscoped: no table
    listed = marks.select_from(func.generate_series(first, last).alias("bin"))
    if tag is not None:
        listed = listed.correlate(tag)
    return _has_one_of(story, func.array(listed.scalar_subquery()))


def _is_recent(tag: Entity, story: Entity, binds: Mapping[str, Sql]) -> ColumnElement[bool]:
    first: Any = _FIRST
    if "created_after" in binds:
        first = func.greatest(first, _bin_of(binds["created_after"], _HOURS))
    # "is true": the index of the time would be read as well.
    inside = (story.created_at >= _START).is_(True)
    return and_(_has_bins(tag, story, _HOURS, first, _LAST), inside)


def _are_all_recent(binds: Mapping[str, Sql]) -> ColumnElement[bool]:
    return binds["created_after"] >= _START if "created_after" in binds else false()


def _is_within(tag: Entity, story: Entity, binds: Mapping[str, Sql]) -> ColumnElement[bool]:
    # unscoped: nothing is shown of it, and the rows that it leads to are scoped
    start: Any = select(func.min(aliased(m.Story).created_at)).scalar_subquery()
    first = _bin_of(binds.get("created_after", start), _SEASON)
    return _has_bins(tag, story, _SEASON, first, _bin_of(binds["created_before"], _SEASON))


def _recent(*steps: tuple[int, int]) -> Recent:
    """Steps of so many hours a bin and so many bins."""
    ends = frozenset(["created_before"])
    return Recent(partial(_steps, steps), _is_recent, _are_all_recent, _is_within, ends)


RECENT_STORIES = _recent((6, 3), (48, 3), (336, 3))
"""At most the last 18 hours, 6 days, and 6 weeks, up to the newest story or ``created_before``. The
bins are those of UTC. Steps that go further back read nearly as much as everything."""
RECENT_STORIES_OF_TAG = _recent((336, 2))
"""The same for the stories of one tag, of which there are fewer: at most 4 weeks."""
