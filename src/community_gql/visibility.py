"""Who may see which row, written once, as SQL (design/data.md, "Who may see what").

``rule(entity)`` is the only source of the answer. Loaders, connections, counts, search and the
check before a write all start from it, and so will the SQL compiler. The viewer is only ever the
bind parameter ``viewer`` (NULL when anonymous), so one statement text serves every viewer: a rule
has no ``if viewer is None`` and no twin in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Select,
    String,
    and_,
    any_,
    bindparam,
    func,
    inspect,
    literal_column,
    not_,
    or_,
    select,
    true,
)
from sqlalchemy.sql.elements import True_

from community_gql import models as m
from community_gql.checks import Problems
from community_gql.database import Transaction
from community_gql.errors import AccountGone, Code, Rejected, UserError
from community_gql.models import VIEWER, constant

Rule = Callable[[Any], ColumnElement[bool]]


@dataclass(frozen=True, slots=True)
class Viewer:
    """Whoever asks. ``sub`` is their verified ``auth0_sub``, None for the anonymous viewer."""

    sub: str | None = None
    permissions: frozenset[str] = frozenset()
    expires_at: datetime | None = None
    """When the token that names them ends, in UTC."""

    def binds(self) -> dict[str, Any]:
        """The values of the bind parameters that every statement may use."""
        return {
            "viewer": self.sub,
            "viewer_permissions": sorted(self.permissions),
            "viewer_expires_at": self.expires_at,
        }


ANONYMOUS = Viewer()

_rules: dict[type[m.Base], Rule] = {}


def _rule_of(*models: type[m.Base]) -> Callable[[Rule], Rule]:
    def declare(rule: Rule) -> Rule:
        _rules.update(dict.fromkeys(models, rule))
        return rule

    return declare


@_rule_of(m.User, m.UserProfile, m.Garden, m.Tag)
def _everyone(_: Any) -> ColumnElement[bool]:
    return true()


@_rule_of(m.Habit, m.UserFeatures, m.MatchResult)
def _owner_only(row: Any) -> ColumnElement[bool]:
    return _own(row)


@_rule_of(m.Story)
def _by_visibility(story: Any) -> ColumnElement[bool]:
    return or_(
        story.visibility == constant(m.StoryVisibility.PUBLIC),
        _own(story),
        and_(
            story.visibility == constant(m.StoryVisibility.FRIENDS),
            story.user_id == any_(_friends_of_viewer()),
        ),
    )


@_rule_of(m.Friendship)
def _the_two_people(friendship: Any) -> ColumnElement[bool]:
    return or_(friendship.requester_id == VIEWER, friendship.addressee_id == VIEWER)


def _own(row: Any) -> ColumnElement[bool]:
    is_account = inspect(row).mapper.class_ is m.User
    owned: ColumnElement[bool] = (row.auth0_sub if is_account else row.user_id) == VIEWER
    return owned


def _friends_of_viewer() -> ColumnElement[Any]:
    # An array, computed once per statement, instead of EXISTS per story: measured five times
    # faster at a million stories (design/architecture.md).
    friends = m.friends.alias("friends_of_viewer")
    return func.array(
        select(friends.c.friend_id).where(friends.c.user_id == VIEWER).scalar_subquery()
    )


def rule(entity: Any) -> ColumnElement[bool]:
    """The condition under which the viewer may see a row of ``entity``.

    ``entity`` is a mapped class or an alias of one. Raises LookupError for a class without a
    rule: it cannot be read until its rule is written here.
    """
    model = inspect(entity).mapper.class_
    try:
        return _rules[model](entity)
    except KeyError:
        raise LookupError(f"{model.__name__} has no visibility rule: add one here") from None


def is_everyones(model: type[m.Base]) -> bool:
    """Whether the rule lets everyone see every row."""
    return isinstance(rule(model), True_)


def visible(entity: Any, *columns: Any) -> Select[Any]:
    """SELECT ``columns`` (all of the entity's without any) from the rows the viewer may see."""
    return select(*(columns or (entity,))).select_from(entity).where(rule(entity))


async def lock_own(
    session: Transaction,
    viewer: Viewer,
    problems: Problems,
    model: type[m.Base],
    key: Any,
    *columns: Any,
    deleting: bool = False,
) -> Any:
    """Lock the viewer's row of ``model`` whose public key is ``key``; returns its ``columns``.

    Otherwise returns None and notes at ``id``: NOT_FOUND for what the viewer may not see (and for
    a ``key`` of None, which stands for an id that leads nowhere), FORBIDDEN for what they may see
    but do not own. Rows of others are never locked.
    """
    if key is not None:
        this = getattr(model, model.__global_key__) == key
        own = visible(model, *columns).where(this, _own(model))
        row = await session.first(
            own.with_for_update(key_share=not deleting, of=model), viewer.binds()
        )
        if row is not None:
            return row
        seen = visible(model, literal_column("1")).where(this, not_(_own(model)))
        if await session.first(seen, viewer.binds()) is not None:
            problems.add(Code.FORBIDDEN, "It belongs to someone else.", "id")
            return None
    problems.not_found("id")
    return None


async def lock_viewer(session: Transaction, viewer: Viewer, *, shared: bool = False) -> None:
    """Lock the viewer's account, after tags and stories: the lock order.

    ``shared`` locks it against its deletion only. Raises AccountGone when it was deleted.
    """
    account = visible(m.User, m.User.auth0_sub).where(_own(m.User))
    lock = account.with_for_update(read=shared, key_share=True)
    if await session.first(lock, viewer.binds()) is None:
        raise AccountGone


def require_permission(viewer: Viewer, permission: str) -> None:
    """Raises Rejected with FORBIDDEN unless the viewer's token carries ``permission``."""
    if permission not in viewer.permissions:
        raise Rejected(UserError(Code.FORBIDDEN, f"This needs the permission {permission}."))


async def lock_tags(
    session: Transaction, names: Mapping[str, int], problems: Problems, path: str = "tags"
) -> dict[str, int]:
    """Lock the tags of these folded names against deletion and renaming; their ids by name.

    Taken by id and before any story is locked: the lock order. Notes TAG_NOT_FOUND for each name
    that the vocabulary lacks, at its place in the input.
    """
    if not names:
        return {}
    wanted = bindparam("names", type_=ARRAY(String))
    rows = await session.run(
        visible(m.Tag, m.Tag.id, m.Tag.name)
        .where(m.Tag.name == any_(wanted))
        .order_by(m.Tag.id)
        .with_for_update(read=True, key_share=True, of=m.Tag),
        {"names": list(names)},
    )
    found = {row.name: row.id for row in rows}
    for name, place in names.items():
        if name not in found:
            problems.add(Code.TAG_NOT_FOUND, f'There is no tag "{name}".', path, place)
    return found
