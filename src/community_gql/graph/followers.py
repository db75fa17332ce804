"""Who of those who follow a list is told what of its changes: one statement for all of them.

A story as it was comes from the record of changes, the story as it is from its table. Both pass
the same rule and the same filter. What a story said before is not kept: where its text changed,
a filter over the text may have matched before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnClause,
    ColumnElement,
    and_,
    bindparam,
    case,
    column,
    false,
    func,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import aliased
from sqlalchemy.sql import visitors

from community_gql.db import models as m
from community_gql.db.changes import Change
from community_gql.db.texts import Fixed
from community_gql.graph.cuts import all_columns
from community_gql.graph.edges import ToPage
from community_gql.graph.finding import filter_binds
from community_gql.graph.for_many import EACH, ForMany, for_many
from community_gql.graph.terms import Entity, Sql, SqlType
from community_gql.graph.visibility import audience, rule

KEPT = frozenset({"id", "user_id", "visibility", "tags_cached", "created_at"})
"""What is known of a story as it was."""
TEXT = frozenset({"title", "content", "search"})
"""What is not, but whether it changed."""


@dataclass(slots=True)
class Changed:
    """A story that changed since a moment, however often."""

    key: int
    first: Change
    """The first of its changes, which holds what the story was."""
    last: Change
    text_changed: bool
    was_there: bool
    """Whether there was such a story at the moment."""
    later: list[Change] = field(default_factory=list)
    """The first change of each later transaction: it holds what the story was in between."""

    def in_between(self) -> Iterator[Changed]:
        """The story from each state that others could see in between."""
        for change in self.later:
            yield Changed(self.key, change, self.last, self.text_changed, not change.is_new)


def net(changes: Iterable[Change]) -> list[Changed]:
    """The stories among the changes, in the order of their keys."""
    found: dict[str, Changed] = {}
    for change in changes:
        if change.entity != "stories" or change.key == "*":
            continue
        story = found.get(change.key)
        if story is None:
            found[change.key] = Changed(
                int(change.key), change, change, bool(change.text_changed), not change.is_new
            )
        else:
            if change.xid != story.last.xid:
                story.later.append(change)
            story.last = change
            story.text_changed |= bool(change.text_changed)
            story.was_there &= not change.is_new
    return sorted(found.values(), key=lambda story: story.key)


class Places(NamedTuple):
    """The values of the statements' arrays, one item for each story."""

    keys: list[int]
    xids: list[int]
    ids: list[int]
    text_changed: list[bool]
    was_there: list[bool]

    @classmethod
    def of(cls, stories: Sequence[Changed]) -> Places:
        """Those of the stories."""
        return cls(
            [story.key for story in stories],
            [story.first.xid for story in stories],
            [story.first.id for story in stories],
            [story.text_changed for story in stories],
            [story.was_there for story in stories],
        )


class _Pair:
    """The changed stories as they were and as they are, in one row each."""

    def __init__(self) -> None:
        names: dict[str, SqlType] = {
            "keys": BigInteger(),
            "xids": BigInteger(),
            "ids": BigInteger(),
            "text_changed": Boolean(),
            "was_there": Boolean(),
        }
        binds = [bindparam(name, type_=ARRAY(type_)) for name, type_ in names.items()]
        given = (
            func.unnest(*binds)
            .table_valued(*(column(name, type_) for name, type_ in names.items()))
            .render_derived(name="given")
        )
        before, story = m.changes.alias("before"), aliased(m.Story, name="story")
        kept = [
            before.c[name].label(f"was_{name}")
            for name in ("user_id", "visibility", "tags_cached", "created_at")
        ]
        # unscoped: both pass the rule for each viewer
        both = select(
            *(given.c[name] for name in ("keys", "ids", "text_changed", "was_there")),
            *kept,
            *all_columns(story),
        )
        self.rows: Any = (
            both.select_from(given)
            .join(before, and_(before.c.xid == given.c.xids, before.c.id == given.c.ids))
            .outerjoin(story, story.id == given.c["keys"])
            .offset(literal_column("0"))  # so that they are put together once, not per viewer
            .subquery("both")
        )
        self.key = self.rows.c["keys"]
        rows = self.rows.c
        # unscoped: the same rows under other names
        renamed = select(
            rows["keys"].label("id"),
            rows.was_user_id.label("user_id"),
            rows.was_visibility.label("visibility"),
            rows.was_tags_cached.label("tags_cached"),
            rows.was_created_at.label("created_at"),
            *(rows[name].label(name) for name in sorted(TEXT | {"updated_at"})),
        )
        earlier = renamed.correlate(self.rows).lateral("was")
        self.was: Any = aliased(m.Story, earlier, adapt_on_names=True)
        self.story: Entity = aliased(m.Story, self.rows)
        self.source = self.rows.join(earlier, true())

    @property
    def was_there(self) -> ColumnElement[bool]:
        return self.rows.c.was_there  # type: ignore[no-any-return]

    @property
    def is_there(self) -> ColumnElement[bool]:
        return self.story.id.is_not(None)  # type: ignore[no-any-return]


_NOBODY: Sql = literal_column("'{}'::varchar[]")


@lru_cache(maxsize=1)
def audiences() -> Fixed:
    """For each story: its key, whether everyone may be told, and else which people."""
    pair = _Pair()
    sides = ((pair.was_there, audience(pair.was)), (pair.is_there, audience(pair.story)))
    everyone = or_(*(and_(there, who.is_(None)) for there, who in sides))
    people = [case((there, func.coalesce(who, _NOBODY)), else_=_NOBODY) for there, who in sides]
    # unscoped: narrows whom to ask for, and is shown to nobody
    found = select(pair.key, everyone, people[0].op("||")(people[1])).select_from(pair.source)
    return Fixed(found)


class Stage(NamedTuple):
    """States in which a story was that had the same audience."""

    changes: list[int]
    """By the ``id`` of the change that holds it, one of each different state."""
    everyone: bool
    people: list[str]
    """Who could see the story then, unless everyone could."""


@lru_cache(maxsize=1)
def stages() -> Fixed:
    """In which different states the stories were, as rows of ``Stage``."""
    pair = _Pair()
    rows = pair.rows.c
    decides = [rows["keys"], rows.was_user_id, rows.was_visibility]
    states = (
        # unscoped: narrows what to ask about, and is shown to nobody
        select(func.min(rows.ids).label("id"), *decides)
        .where(pair.was_there)
        .group_by(*decides, rows.was_tags_cached, rows.was_created_at)
        .subquery("states")
    )
    decides = [states.c["keys"], states.c.was_user_id, states.c.was_visibility]
    found = (
        # unscoped: the same
        select(
            func.array_agg(aggregate_order_by(states.c.id, states.c.id)).label("changes"),
            states.c.was_user_id.label("user_id"),
            states.c.was_visibility.label("visibility"),
        )
        .group_by(*decides)
        .subquery("stage")
    )
    story = aliased(m.Story, found, adapt_on_names=True)
    who = audience(story)
    # unscoped: the same
    return Fixed(select(found.c.changes, who.is_(None), func.coalesce(who, _NOBODY)))


class Told(NamedTuple):
    """Whom to tell of a story, by place in the list of those who were asked for, from 1."""

    key: int
    appeared: list[int]
    changed: list[int]
    gone: list[int]


@lru_cache(maxsize=64)
def told(edge: ToPage, names: tuple[str, ...]) -> tuple[str, ForMany]:
    """The text that asks for many followers whose filters have these members, and its parts.

    A follower is a row of ``viewer`` and of each member's value, as ``each_`` and its name. The
    text's rows are those of ``Told``.
    """
    pair = _Pair()
    binds = filter_binds(edge, names, EACH)
    demands = [(edge.filters[name].predicate, binds[name]) for name in names]
    was = [predicate(pair.was, value) for predicate, value in demands]
    now = [predicate(pair.story, value) for predicate, value in demands]
    surely = [_unless_read(pair, demand, false()) for demand in was]
    maybe = [_unless_read(pair, demand, true()) for demand in was]
    # Without the CASE, NULL would have the friends of each viewer read.
    # unscoped: the rule stands in it, for each side
    asked = select(
        pair.key.label("key"),
        _holds(pair.was_there, rule(pair.was), *surely).label("was"),
        _holds(pair.was_there, rule(pair.was), *maybe).label("might"),
        _holds(pair.is_there, rule(pair.story), *now).label("now"),
    ).select_from(pair.source)
    parts = for_many(asked)
    text = (
        "SELECT t.key,"
        " coalesce(array_agg(v$.n) FILTER (WHERE now AND NOT was), '{}'),"
        " coalesce(array_agg(v$.n) FILTER (WHERE now AND was), '{}'),"
        " coalesce(array_agg(v$.n) FILTER (WHERE might AND NOT now), '{}')"
        f" FROM {parts.source} CROSS JOIN LATERAL ({parts.inner}) AS t"
        " WHERE might OR now GROUP BY t.key ORDER BY t.key"
    )
    return text, parts


def _holds(there: ColumnElement[bool], *demands: ColumnElement[bool]) -> ColumnElement[bool]:
    return case((there, func.coalesce(and_(*demands), false())), else_=false())


def _unless_read(
    pair: _Pair, demand: ColumnElement[bool], instead: ColumnElement[bool]
) -> ColumnElement[bool]:
    """The demand on what a story was; ``instead`` where it reads a text that has changed."""
    if not columns_of(demand) & TEXT:
        return demand
    return case((pair.rows.c.text_changed, instead), else_=demand)


def columns_of(condition: ColumnElement[bool]) -> set[str]:
    """The names of the columns that the condition reads."""
    return {
        str(item.key)
        for item in visitors.iterate(condition)
        if isinstance(item, ColumnClause) and not item.is_literal
    }
