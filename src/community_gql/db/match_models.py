"""What goes beyond the seed for matching: choices, recipes, marks, and what two people share.

``models`` has the features and the matches themselves, which are the seed's.
"""

from __future__ import annotations

import enum
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    String,
    Subquery,
    Table,
    and_,
    any_,
    exists,
    func,
    literal_column,
    not_,
    select,
    text,
    union,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from community_gql.db.base import VIEWER, Base, now, owner


class MatchingState(enum.StrEnum):
    """The state of a person's matching. Computed when it is read, not stored."""

    OFF = "off"
    NOTHING_TO_GO_BY = "nothing_to_go_by"
    WAITING = "waiting"
    READY = "ready"


class MatchChoice(Base):
    """What a person chose about being matched; absent until they first choose."""

    __tablename__ = "match_choices"

    user_id: Mapped[str] = owner(primary_key=True)
    wanted: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    habits: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    """Whether their habits count, among others who said so."""
    updated_at: Mapped[datetime] = now()


class MatchDismissal(Base):
    """Someone whom ``user`` does not want to see among their matches."""

    __tablename__ = "match_dismissals"

    user_id: Mapped[str] = owner(primary_key=True)
    target_user_id: Mapped[str] = owner(primary_key=True)
    created_at: Mapped[datetime] = now()

    __table_args__ = (Index("idx_match_dismissals_target", "target_user_id"),)


match_recipes = Table(
    "match_recipes",
    Base.metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("recipe", Integer, nullable=False),
    Column("places", JSONB, nullable=False),
    Column("people", Integer),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
"""How the vectors of each version are made. ``recipe`` 0: by a machine that puts them."""


def _person() -> Column[str]:
    return Column(
        "user_id", String(64), ForeignKey("users.auth0_sub", ondelete="CASCADE"), primary_key=True
    )


stale_features = Table(
    "stale_features",
    Base.metadata,
    _person(),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)
"""Marks, made by triggers: whose vector may have changed, and since when."""

stale_lists = Table(
    "stale_lists",
    Base.metadata,
    _person(),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("vector_changed", Boolean, nullable=False, server_default=text("false")),
)
"""Marks: whose list may have changed. ``vector_changed``: the lists of others may have, too."""


def _table(name: str) -> Any:
    # Of models, which import this module.
    return Base.metadata.tables[name]


@cache
def common_tags() -> Subquery:
    """Tags that the viewer and another person both chose: ``(other_id, tag_id)``."""
    other = _table("user_tags").alias("other")
    return (
        # unscoped: everyone may see which tags people chose
        select(other.c.user_id.label("other_id"), other.c.tag_id)
        .where(other.c.tag_id == any_(_chosen_by_viewer()))
        .subquery("common_tags")
    )


@cache
def common_themes() -> Subquery:
    """Tags that the viewer and another have in common, and did not both choose: the same columns.

    Each of the two chose the tag, or used it on a public story.
    """
    other, choice = _themes("other"), _table("user_tags").alias("other_choice")
    both_chose = and_(
        other.c.tag_id + literal_column("0") == any_(_chosen_by_viewer()),
        # unscoped: everyone may see which tags people chose
        exists().where(choice.c.user_id == other.c.user_id, choice.c.tag_id == other.c.tag_id),
    )
    # A sum has no index: each of the viewer's tags would be looked up for each story of the other.
    shared = other.c.tag_id + literal_column("0") == any_(_themes_of_viewer())
    return (
        # unscoped: everyone may see them, and the tags of public stories
        select(other.c.user_id.label("other_id"), other.c.tag_id)
        .where(shared, not_(both_chose))
        .subquery("common_themes")
    )


# What the viewer has is an array, made once for a statement. Joined, it would be looked up for each
# of their matches.


def _chosen_by_viewer() -> ColumnElement[Any]:
    chosen = _table("user_tags").alias("chosen_by_viewer")
    # unscoped: everyone may see which tags people chose
    return func.array(select(chosen.c.tag_id).where(chosen.c.user_id == VIEWER).scalar_subquery())


def _themes_of_viewer() -> ColumnElement[Any]:
    own = _themes("own")
    # unscoped: the same, and the tags of public stories
    return func.array(select(own.c.tag_id).where(own.c.user_id == VIEWER).scalar_subquery())


def _themes(name: str) -> Subquery:
    stories, story_tags = _table("stories"), _table("story_tags")
    chosen = _table("user_tags")
    return union(
        select(chosen.c.user_id, chosen.c.tag_id),  # unscoped: everyone may see them
        select(stories.c.user_id, story_tags.c.tag_id)  # unscoped: of public stories only
        .join_from(stories, story_tags, story_tags.c.story_id == stories.c.id)
        .where(stories.c.visibility == literal_column("'public'")),
    ).subquery(name)


def folded(name: Any) -> Any:
    """A habit's name as it is compared with others'."""
    return func.lower(name)


@cache
def common_habits() -> Subquery:
    """Habits that the viewer shares with others, as ``(user_id, other_id, habit_id)``.

    ``user_id`` is the viewer. Both must have chosen that their habits count.
    """
    habits, choices = _table("habits"), MatchChoice.__table__
    own, other = habits.alias("own"), habits.alias("other")
    mine, theirs = choices.alias("own_choice"), choices.alias("other_choice")
    # unscoped: the viewer's own choice
    shares = select(mine.c.user_id).where(mine.c.user_id == VIEWER, mine.c.habits, mine.c.wanted)
    return (
        # unscoped: leads to the viewer's own habits only, which the rule of habits sees to
        select(own.c.user_id, other.c.user_id.label("other_id"), own.c.id.label("habit_id"))
        .join_from(own, other, folded(own.c.name) == folded(other.c.name))
        .join(theirs, and_(theirs.c.user_id == other.c.user_id, theirs.c.habits, theirs.c.wanted))
        # An array: whose own do not count, which is the rule, has nothing looked up for each match.
        .where(own.c.user_id == any_(func.array(shares.scalar_subquery())))
        .distinct()
        .subquery("common_habits")
    )
