"""Who may see which row, written once, as SQL.

``rule(entity)`` is the only source of the answer. Loaders, connections, counts, search and the
check before a write, and the SQL compiler all start from it. The viewer is only ever the
bind parameter ``viewer`` (NULL when anonymous), so one statement text serves every viewer: a rule
has no ``if viewer is None`` and no second form in Python.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    and_,
    any_,
    case,
    func,
    inspect,
    null,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.sql.elements import True_

from community_gql.db import models as m
from community_gql.db.models import VIEWER, constant
from community_gql.graph.terms import Entity, Sql, SqlSelect

Rule = Callable[[Entity], ColumnElement[bool]]


@dataclass(frozen=True, slots=True)
class Viewer:
    """The viewer. ``sub`` is their verified ``auth0_sub``, None for the anonymous viewer."""

    sub: str | None = None
    permissions: frozenset[str] = frozenset()
    expires_at: datetime | None = None
    """When their token expires, in UTC."""

    def binds(self) -> dict[str, object]:
        """The values of the bind parameters that every statement may use."""
        return {
            "viewer": self.sub,
            "viewer_permissions": sorted(self.permissions),
            "viewer_expires_at": self.expires_at,
        }


ANONYMOUS = Viewer()


def is_machine(sub: str) -> bool:
    """Whether ``sub`` names a machine (as Auth0 writes them): it has no account."""
    return sub.endswith("@clients")


_rules: dict[type[m.Base], Rule] = {}


def _rule_of(*models: type[m.Base]) -> Callable[[Rule], Rule]:
    def declare(rule: Rule) -> Rule:
        _rules.update(dict.fromkeys(models, rule))
        return rule

    return declare


@_rule_of(m.User, m.UserProfile, m.Garden, m.Tag)
def _everyone(_: Entity) -> ColumnElement[bool]:
    return true()


@_rule_of(m.Habit, m.UserFeatures, m.MatchResult, m.MatchChoice, m.MatchDismissal)
def _owner_only(row: Entity) -> ColumnElement[bool]:
    return own(row)


@_rule_of(m.Story)
def _by_visibility(story: Entity) -> ColumnElement[bool]:
    return or_(
        _is_public(story),
        own(story),
        and_(
            story.visibility == constant(m.StoryVisibility.FRIENDS),
            story.user_id == any_(_friends_of_viewer()),
        ),
    )


def _is_public(story: Entity) -> ColumnElement[bool]:
    is_public: ColumnElement[bool] = story.visibility == constant(m.StoryVisibility.PUBLIC)
    return is_public


@_rule_of(m.Friendship)
def _the_two_people(friendship: Entity) -> ColumnElement[bool]:
    return or_(friendship.requester_id == VIEWER, friendship.addressee_id == VIEWER)


def own(row: Entity) -> ColumnElement[bool]:
    """The condition under which ``row`` is the viewer's own: their account, or what they own."""
    is_account = inspect(row).mapper.class_ is m.User
    owned: ColumnElement[bool] = (row.auth0_sub if is_account else row.user_id) == VIEWER
    return owned


def _friends_of_viewer() -> Sql:
    # An array, computed once per statement, instead of EXISTS per story: it was five times as
    # fast with a million stories.
    friends = m.friends.alias("friends_of_viewer")
    return func.array(
        select(friends.c.friend_id).where(friends.c.user_id == VIEWER).scalar_subquery()
    )


def audience(story: Entity) -> Sql:
    """Who may see a story, as the row tells it: an array of ``auth0_sub``, NULL for everyone.

    The rule seen from the other side, for those who look for the few viewers of a row instead of
    the rows of a viewer. It only narrows: what is shown still passes the rule.
    """
    friends = m.friends.alias("friends_of_author")
    befriended: Any = func.array(
        select(friends.c.friend_id).where(friends.c.user_id == story.user_id).scalar_subquery()
    )
    return case(
        (_is_public(story), null()),
        (
            story.visibility == constant(m.StoryVisibility.FRIENDS),
            func.array_append(befriended, story.user_id),
        ),
        else_=array([story.user_id]),
    )


def rule(entity: Entity) -> ColumnElement[bool]:
    """The condition under which the viewer may see a row of ``entity``.

    ``entity`` is a mapped class or an alias of one. Raises LookupError for a class without a
    rule: add its rule here before it is read.
    """
    model = inspect(entity).mapper.class_
    try:
        return _rules[model](entity)
    except KeyError:
        raise LookupError(f"{model.__name__} has no visibility rule: add one here") from None


def is_everyones(model: type[m.Base]) -> bool:
    """Whether the rule lets everyone see every row."""
    return isinstance(rule(model), True_)


def for_everyone(entity: Entity) -> ColumnElement[bool] | None:
    """Which rows the rule lets everyone see, if it says so by a part of its own with an index."""
    return _is_public(entity) if inspect(entity).mapper.class_ is m.Story else None


def visible(entity: Entity, *columns: Any) -> SqlSelect:
    """SELECT ``columns`` (all of the entity's without any) from the rows the viewer may see."""
    return select(*(columns or (entity,))).select_from(entity).where(rule(entity))


def visible_unindexed(entity: Entity, *columns: Any) -> SqlSelect:
    """The same in a form that no index serves: for rows that other conditions find.

    PostgreSQL would combine the index of a word with that of what everyone may see: half of the
    table is read to find a hundredth of it. It uses no index for "is true", and guesses as well.
    """
    return select(*columns).select_from(entity).where(rule(entity).is_(true()))
