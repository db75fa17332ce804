"""Story marks, by which an index finds pairs of tags and the stories of some weeks.

A mark is a number made of two texts. The function ``story_marks`` of the database says which marks
a story has: for each tag, for each two of its tags, for its time (in bins of 6 hours, 2 days, 14
days and 112 days), and for each tag with each of the two last. Different texts may have the same
mark, so whoever finds a story by a mark also asks what the mark stands for.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Numeric,
    and_,
    case,
    cast,
    extract,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.sql.elements import Grouping

from community_gql.graph.edges import Bins
from community_gql.graph.terms import Entity

_ONE: Any = literal_column("1")
_HOUR: Any = literal_column("3600")
_FORTNIGHT: Any = literal_column("336")
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


def _are_in(tag: Entity, story: Entity, hours: Any, first: Any, last: Any) -> ColumnElement[bool]:
    size = literal_column(str(hours), Integer) if isinstance(hours, int) else hours
    time = func.concat(size, literal_column("'/'"), literal_column("bin"))
    one = time if tag is None else tag.name
    if tag is not None and size is hours:
        one = case((hours < _FORTNIGHT, time), else_=one)  # tags have marks with longer bins
    # unscoped: no table
    marks = select(_mark(one, time)).select_from(func.generate_series(first, last).alias("bin"))
    if tag is None:
        return _has_one_of(story, func.array(marks.scalar_subquery()))
    found = _has_one_of(story, func.array(marks.correlate(tag).scalar_subquery()))
    has_tag = story.tags_cached.bool_op("@>")(array([tag.name]))
    # "is true" has no index, and needs none where the marks are those of the tag.
    return and_(found, has_tag if size is hours else has_tag.is_(True))


BINS_OF_STORIES = Bins(
    (6, 48, 336, 2688),
    attrgetter("created_at"),
    "created_after",
    "created_before",
    _bin_of,
    _are_in,
)
"""Of all stories, and of those of a tag. The bins are those of UTC."""
