"""Tables that have no class: what links two entities, and what only statements read.

``models`` has them as well, under the same names.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    String,
    Table,
    Uuid,
    func,
    text,
)

from community_gql.db.base import Base, copy_of

user_tags = Table(
    "user_tags",
    Base.metadata,
    Column(
        "user_id", String(64), ForeignKey("users.auth0_sub", ondelete="CASCADE"), primary_key=True
    ),
    Column("tag_id", BigInteger, ForeignKey("tags.id", ondelete="CASCADE"), primary_key=True),
    Column("user_created_at", DateTime(timezone=True), nullable=False, info=copy_of("created_at")),
    Column("user_public_id", Uuid, nullable=False, info=copy_of("public_id")),
    Column("user_name_key", String, nullable=False, info=copy_of("name_key")),
    Index("idx_user_tags_tag_id", "tag_id"),
    Index(
        "idx_user_tags_newest",
        "tag_id",
        text("user_created_at DESC"),
        text("user_public_id DESC"),
    ),
    Index(
        "idx_user_tags_by_name",
        "tag_id",
        text("(user_name_key = '')"),
        "user_name_key",
        "user_public_id",
        postgresql_include=["user_created_at"],
    ),
)
"""Who chose which tag. Beyond the seed, and kept by triggers: what people are ordered by, so that a
page of those who chose a tag is read in its order. Who chose another tag too is looked for by the
keys of the newest."""

name_words = Table(
    "name_words",
    Base.metadata,
    Column("tag_id", BigInteger, nullable=False, autoincrement=False),
    Column("word", String(collation="C"), nullable=False),
    Column("public_id", Uuid, nullable=False),
    Column("previous", String(collation="C"), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("name_key", String, nullable=False),
    PrimaryKeyConstraint(
        "tag_id", "word", "public_id", postgresql_include=["previous", "created_at", "name_key"]
    ),
)
"""Beyond the seed, and kept by triggers: the words of people's names, among those who chose a tag,
and among all people (``tag_id`` 0). ``previous`` is the same person's word before it in the
alphabet, so that one entry of those that begin alike is their first."""
EVERYONE = 0
"""The ``tag_id`` of what stands in ``name_words`` for all people."""

story_tags = Table(
    "story_tags",
    Base.metadata,
    Column("story_id", BigInteger, ForeignKey("stories.id", ondelete="CASCADE"), primary_key=True),
    Column("tag_id", BigInteger, ForeignKey("tags.id", ondelete="CASCADE"), primary_key=True),
    Index("idx_story_tags_tag_id", "tag_id", "story_id"),
)
"""The n-m arrow between stories and tags in the seed's ERD; ``stories.tags_cached`` caches it."""

story_requests = Table(
    "story_requests",
    Base.metadata,
    Column(
        "user_id", String(64), ForeignKey("users.auth0_sub", ondelete="CASCADE"), primary_key=True
    ),
    Column("key", String(64), primary_key=True),
    Column("story_id", BigInteger, ForeignKey("stories.id", ondelete="SET NULL")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index("idx_story_requests_story", "story_id"),
)
"""The idempotency keys of ``createStory``, and the story that each made, NULL once deleted."""
