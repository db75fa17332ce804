"""What the server keeps for itself, beyond the seed. Nobody is shown these tables."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    String,
    Table,
    Text,
    func,
    text,
)

from community_gql.db.base import Base

tag_renames = Table(
    "tag_renames",
    Base.metadata,
    Column("tag_id", BigInteger, ForeignKey("tags.id", ondelete="CASCADE"), primary_key=True),
    Column("into_id", BigInteger, ForeignKey("tags.id", ondelete="CASCADE"), nullable=False),
    Index("idx_tag_renames_into", "into_id"),
)
"""Renames of popular tags that are under way, so that an interrupted command can continue."""

housekeeping = Table(
    "housekeeping",
    Base.metadata,
    Column("job", String(32), primary_key=True),
    Column("done_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("seen", BigInteger),
)
"""When each job of ``db.housekeeping`` last ran, and the state of its source at that time."""

hot_documents = Table(
    "hot_documents",
    Base.metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("text", Text, nullable=False),
    Column("operation", Text),
    Column("payload", Text),
    Column("sample", Text, nullable=False),
    Column("uses", Double, nullable=False),
    Column("used_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
"""The documents that clients ask for most, without anybody's values (``db.hot_documents``)."""

changes = Table(
    "changes",
    Base.metadata,
    Column("xid", BigInteger, primary_key=True,
           server_default=text("pg_current_xact_id()::text::bigint")),
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("entity", String(32), nullable=False),
    Column("key", String(64), nullable=False),
    Column("people", ARRAY(String(64)), nullable=False),
    Column("user_id", String(64)),
    Column("visibility", String(16)),
    Column("tags_cached", ARRAY(String)),
    Column("created_at", DateTime(timezone=True)),
    Column("text_changed", Boolean),
    Column("friends_changed", Boolean),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)  # fmt: skip
"""What has changed of late, written by triggers; see ``db.changes``."""

deleted_accounts = Table(
    "deleted_accounts",
    Base.metadata,
    Column("sub_hash", String(64), primary_key=True),
    Column("deleted_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
"""SHA-256 of the ``sub`` of deleted accounts: a token issued before does not bring one back."""
