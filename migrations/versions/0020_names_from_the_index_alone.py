"""names from the index alone

The people of a tag in the order of their names, who chose another tag too, are met in the index
alone: it has what the other tag is asked with. Each was read in the table before.
"""

from __future__ import annotations

from alembic import op

from community_gql.db.concurrently import create_indexes, drop_indexes

revision = "0020"
down_revision: str | None = "0019"
branch_labels = None
depends_on = None

KEYS = "user_tags (tag_id, (user_name_key = ''), user_name_key, user_public_id)"
NEW = {"idx_user_tags_by_name": f"{KEYS} INCLUDE (user_created_at)"}
OLD = {"idx_user_tags_named_first": KEYS}


def upgrade() -> None:
    create_indexes(NEW)
    op.execute("ANALYZE user_tags")  # an index of an expression has statistics of its own
    drop_indexes(OLD)


def downgrade() -> None:
    create_indexes(OLD)
    op.execute("ANALYZE user_tags")
    drop_indexes(NEW)
