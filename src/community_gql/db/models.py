"""The database as SQLAlchemy models. The relationships here are the ERD, declared once.

The nine tables of the seed keep its names, types, lengths and constraint names (the naming
convention below is PostgreSQL's own). What goes beyond the seed is named in the docstrings.
Relationships never load by themselves (``lazy="raise"``): loaders and the compiler join them.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    Computed,
    Double,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    and_,
    func,
    or_,
    select,
    text,
    union_all,
)
from sqlalchemy.dialects.postgresql import CITEXT, JSONB, TSVECTOR
from sqlalchemy.orm import Mapped, aliased, foreign, mapped_column, relationship

from community_gql.db.base import VIEWER as VIEWER
from community_gql.db.base import Base as Base
from community_gql.db.base import constant as constant
from community_gql.db.base import now, one_of, owner
from community_gql.db.match_models import MatchChoice as MatchChoice
from community_gql.db.match_models import MatchDismissal as MatchDismissal
from community_gql.db.match_models import MatchingState as MatchingState
from community_gql.db.match_models import common_habits, common_tags, common_themes
from community_gql.db.match_models import stale_features as stale_features
from community_gql.db.match_models import stale_lists as stale_lists
from community_gql.db.server_models import changes as changes
from community_gql.db.server_models import deleted_accounts as deleted_accounts
from community_gql.db.server_models import hot_documents as hot_documents
from community_gql.db.server_models import housekeeping as housekeeping
from community_gql.db.server_models import tag_renames as tag_renames
from community_gql.db.tables import EVERYONE as EVERYONE
from community_gql.db.tables import name_words as name_words
from community_gql.db.tables import story_requests as story_requests
from community_gql.db.tables import story_tags as story_tags
from community_gql.db.tables import user_tags as user_tags


class StoryVisibility(enum.StrEnum):
    """Who may read a story, as stored."""

    PUBLIC = "public"
    FRIENDS = "friends"
    PRIVATE = "private"


class HabitFrequency(enum.StrEnum):
    """How often a habit recurs, as stored."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    CUSTOM = "custom"


class FriendshipStatus(enum.StrEnum):
    """Whether the addressee has accepted, as stored."""

    PENDING = "pending"
    ACCEPTED = "accepted"


class Friendship(Base):
    """A request for friendship and, once accepted, the friendship. Beyond the seed."""

    __tablename__ = "friendships"

    id: Mapped[int] = mapped_column(primary_key=True)
    requester_id: Mapped[str] = owner()
    addressee_id: Mapped[str] = owner()
    status: Mapped[str] = mapped_column(String(16), server_default=FriendshipStatus.PENDING)
    created_at: Mapped[datetime] = now()
    accepted_at: Mapped[datetime | None]

    __table_args__ = (
        one_of("status", FriendshipStatus),
        CheckConstraint("requester_id <> addressee_id", name="no_self"),
        CheckConstraint("(status = 'accepted') = (accepted_at IS NOT NULL)", name="accepted_at"),
        Index(
            "uq_friendships_pair",
            func.least(text("requester_id"), text("addressee_id")),
            func.greatest(text("requester_id"), text("addressee_id")),
            unique=True,
        ),
        Index("idx_friendships_requester", "requester_id", "status", "addressee_id"),
        Index("idx_friendships_addressee", "addressee_id", "status", "requester_id"),
    )

    requester: Mapped[User] = relationship(foreign_keys=requester_id, lazy="raise")
    addressee: Mapped[User] = relationship(foreign_keys=addressee_id, lazy="raise")


friends = union_all(
    # unscoped: made for the rule of stories; as a list it depends on the viewer only
    select(Friendship.requester_id.label("user_id"), Friendship.addressee_id.label("friend_id"))
    .where(Friendship.status == constant(FriendshipStatus.ACCEPTED)),
    # unscoped: the other half of the same
    select(Friendship.addressee_id, Friendship.requester_id)
    .where(Friendship.status == constant(FriendshipStatus.ACCEPTED)),
).subquery("friends")  # fmt: skip
"""Accepted friendships seen from both sides: ``(user_id, friend_id)``."""


class User(Base):
    """A person. ``auth0_sub`` names them at their identity provider and is never shown."""

    __tablename__ = "users"
    __global_key__ = "public_id"

    auth0_sub: Mapped[str] = mapped_column(String(64), primary_key=True)
    email: Mapped[str] = mapped_column(CITEXT, unique=True)
    created_at: Mapped[datetime] = now()
    public_id: Mapped[UUID] = mapped_column(unique=True, server_default=func.gen_random_uuid())
    """Beyond the seed: the id that the API shows, and the tie-break in cursors."""
    name_key: Mapped[str] = mapped_column(String, server_default="")
    """Beyond the seed: the display name in lower case and without accents; set by a trigger."""

    __table_args__ = (
        Index("idx_users_created", text("created_at DESC"), text("public_id DESC")),
        Index("idx_users_named_first", text("(name_key = '')"), "name_key", "public_id"),
        Index(
            "idx_users_name_words",
            func.to_tsvector(text("'simple'"), text("name_key")),
            postgresql_using="gin",
        ),
    )

    profile: Mapped[UserProfile | None] = relationship(back_populates="user", lazy="raise")
    stories: Mapped[list[Story]] = relationship(back_populates="author", lazy="raise")
    habits: Mapped[list[Habit]] = relationship(back_populates="owner", lazy="raise")
    garden: Mapped[Garden | None] = relationship(back_populates="owner", lazy="raise")
    tags: Mapped[list[Tag]] = relationship(
        secondary=user_tags, back_populates="users", lazy="raise"
    )
    features: Mapped[UserFeatures | None] = relationship(back_populates="user", lazy="raise")
    matches: Mapped[list[MatchResult]] = relationship(
        primaryjoin=lambda: and_(
            User.auth0_sub == foreign(MatchResult.user_id),
            MatchResult.created_at == _newest_batch(),
        ),
        viewonly=True,
        lazy="raise",
    )
    """The newest batch only: ``created_at`` is the batch."""
    friends: Mapped[list[User]] = relationship(
        secondary=friends,
        primaryjoin=lambda: User.auth0_sub == friends.c.user_id,
        secondaryjoin=lambda: User.auth0_sub == friends.c.friend_id,
        viewonly=True,
        lazy="raise",
    )
    dismissed: Mapped[list[User]] = relationship(
        secondary=lambda: MatchDismissal.__table__,
        primaryjoin=lambda: User.auth0_sub == MatchDismissal.user_id,
        secondaryjoin=lambda: User.auth0_sub == MatchDismissal.target_user_id,
        viewonly=True,
        lazy="raise",
    )
    friend_requests: Mapped[list[Friendship]] = relationship(
        primaryjoin=lambda: and_(
            User.auth0_sub == foreign(Friendship.addressee_id),
            Friendship.status == constant(FriendshipStatus.PENDING),
        ),
        viewonly=True,
        lazy="raise",
    )
    sent_friend_requests: Mapped[list[Friendship]] = relationship(
        primaryjoin=lambda: and_(
            User.auth0_sub == foreign(Friendship.requester_id),
            Friendship.status == constant(FriendshipStatus.PENDING),
        ),
        viewonly=True,
        lazy="raise",
    )
    viewer_friendship: Mapped[Friendship | None] = relationship(
        primaryjoin=lambda: or_(
            and_(User.auth0_sub == foreign(Friendship.requester_id),
                 Friendship.addressee_id == VIEWER),
            and_(User.auth0_sub == foreign(Friendship.addressee_id),
                 Friendship.requester_id == VIEWER),
        ),
        viewonly=True,
        uselist=False,
        lazy="raise",
    )  # fmt: skip


class UserProfile(Base):
    """What a person says about themselves; absent until they first save it."""

    __tablename__ = "user_profiles"

    user_id: Mapped[str] = owner(primary_key=True)
    display_name: Mapped[str | None] = mapped_column(String(80))
    bio: Mapped[str | None] = mapped_column(Text)
    journaling_frequency: Mapped[int | None] = mapped_column(Integer)
    updated_at: Mapped[datetime] = now()

    __table_args__ = (CheckConstraint("journaling_frequency >= 0", name="journaling_frequency"),)

    user: Mapped[User] = relationship(back_populates="profile", lazy="raise")


class Tag(Base):
    """A word of the shared vocabulary: trimmed, single-spaced, lower case."""

    __tablename__ = "tags"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = now()
    popularity: Mapped[int] = mapped_column(server_default=text("0"))
    """Beyond the seed: how many people chose it, as of the last count (``db.housekeeping``)."""

    __table_args__ = (
        Index("idx_tags_name_prefix", "name", postgresql_ops={"name": "text_pattern_ops"}),
        Index("idx_tags_popularity", text("popularity DESC"), text("id DESC")),
    )

    users: Mapped[list[User]] = relationship(
        secondary=user_tags, back_populates="tags", lazy="raise"
    )
    stories: Mapped[list[Story]] = relationship(
        secondary=story_tags, back_populates="tags", lazy="raise"
    )


class Story(Base):
    """Something a person wrote, seen by those whom ``visibility`` admits."""

    __tablename__ = "stories"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str] = owner()
    title: Mapped[str] = mapped_column(String(140))
    content: Mapped[str] = mapped_column(Text)
    visibility: Mapped[str] = mapped_column(String(16), server_default=StoryVisibility.PRIVATE)
    tags_cached: Mapped[list[str]] = mapped_column(ARRAY(String), server_default=text("'{}'"))
    """The names of its tags, sorted; maintained by triggers, never written by the application."""
    created_at: Mapped[datetime] = now()
    updated_at: Mapped[datetime] = now()
    search: Mapped[str] = mapped_column(
        TSVECTOR,
        Computed(
            "setweight(to_tsvector('english', title), 'A') || "
            "setweight(to_tsvector('english', \"left\"(content, 100000)), 'B')",
            persisted=True,
        ),
    )
    """Beyond the seed. ``left`` keeps an oversized old row from breaking the 1 MB of a tsvector."""

    __table_args__ = (
        CheckConstraint("visibility IN ('private','public','friends')", name="visibility"),
        Index("idx_stories_user_created", "user_id", text("created_at DESC")),
        Index("idx_stories_visibility", "visibility"),
        Index("idx_stories_created", text("created_at DESC"), text("id DESC")),
        Index(
            "idx_stories_public_created",
            text("created_at DESC"),
            text("id DESC"),
            postgresql_where=text("visibility = 'public'"),
        ),
        Index(
            "idx_stories_marks_words_tags",
            text("story_marks(tags_cached, created_at)"),
            "search",
            "tags_cached",
            postgresql_using="gin",
            postgresql_with={"gin_pending_list_limit": 256},
        ),
    )

    author: Mapped[User] = relationship(back_populates="stories", lazy="raise")
    tags: Mapped[list[Tag]] = relationship(
        secondary=story_tags, back_populates="stories", lazy="raise"
    )


class Habit(Base):
    """Something a person does again and again."""

    __tablename__ = "habits"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str] = owner()
    name: Mapped[str] = mapped_column(String(80))
    frequency: Mapped[str] = mapped_column(String(24))
    meta: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))
    created_at: Mapped[datetime] = now()

    __table_args__ = (
        UniqueConstraint("user_id", "name"),
        one_of("frequency", HabitFrequency),
        Index("idx_habits_user_created", "user_id", text("created_at DESC"), text("id DESC")),
    )

    owner: Mapped[User] = relationship(back_populates="habits", lazy="raise")


class Garden(Base):
    """A person's one garden."""

    __tablename__ = "gardens"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str] = owner(unique=True)
    name: Mapped[str] = mapped_column(String(80))
    theme: Mapped[str | None] = mapped_column(String(40))
    created_at: Mapped[datetime] = now()

    owner: Mapped[User] = relationship(back_populates="garden", lazy="raise")


class UserFeatures(Base):
    """A person's feature vector, a JSON array of numbers, for matching."""

    __tablename__ = "user_features"

    user_id: Mapped[str] = owner(primary_key=True)
    vector: Mapped[list[float]] = mapped_column(JSONB)
    version: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    updated_at: Mapped[datetime] = now()

    __table_args__ = (
        Index("idx_user_features_updated", "updated_at"),
        Index("idx_user_features_version", "version"),
    )

    user: Mapped[User] = relationship(back_populates="features", lazy="raise")


class MatchResult(Base):
    """A line of a match batch: how well ``target`` suits ``user``; ``created_at`` is the batch."""

    __tablename__ = "match_results"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str] = owner()
    target_user_id: Mapped[str] = owner()
    score: Mapped[float] = mapped_column(Double)
    created_at: Mapped[datetime] = now()

    __table_args__ = (
        UniqueConstraint("user_id", "target_user_id", "created_at"),
        CheckConstraint("score >= 0 AND score <= 1", name="score"),
        Index("idx_match_results_target", "target_user_id"),
        Index(
            "idx_match_results_batch",
            "user_id",
            text("created_at DESC"),
            text("score DESC"),
            text("id DESC"),
        ),
    )

    target: Mapped[User] = relationship(foreign_keys=target_user_id, lazy="raise")
    shared_tags: Mapped[list[Tag]] = relationship(
        secondary=lambda: common_tags(),
        primaryjoin=lambda: _with_other(common_tags()),
        secondaryjoin=lambda: Tag.id == foreign(common_tags().c.tag_id),
        viewonly=True,
        lazy="raise",
    )
    shared_themes: Mapped[list[Tag]] = relationship(
        secondary=lambda: common_themes(),
        primaryjoin=lambda: _with_other(common_themes()),
        secondaryjoin=lambda: Tag.id == foreign(common_themes().c.tag_id),
        viewonly=True,
        lazy="raise",
    )
    shared_habits: Mapped[list[Habit]] = relationship(
        secondary=lambda: common_habits(),
        primaryjoin=lambda: and_(
            MatchResult.user_id == foreign(common_habits().c.user_id),
            _with_other(common_habits()),
        ),
        secondaryjoin=lambda: Habit.id == foreign(common_habits().c.habit_id),
        viewonly=True,
        lazy="raise",
    )


def _with_other(common: Any) -> Any:
    # Matches are their owner's alone: whoever sees one is its ``user_id``.
    return MatchResult.target_user_id == foreign(common.c.other_id)


def _newest_batch() -> Any:
    newest = aliased(MatchResult, name="newest")
    return (
        # unscoped: joins matches to their own newest batch, and those matches have a rule
        select(func.max(newest.created_at))
        .where(newest.user_id == User.auth0_sub)
        .correlate(User)
        .scalar_subquery()
    )
