"""named people first

The order of people by name, with those without a name last. A version of the application from
before this migration sorts people by name without an index, until the new one is started.
"""

from __future__ import annotations

from community_gql.db.concurrently import create_indexes, drop_indexes

revision = "0009"
down_revision: str | None = "0008"
branch_labels = None
depends_on = None

NEW = {"idx_users_named_first": "users ((name_key = ''), name_key, public_id)"}
OLD = {"idx_users_name": "users (name_key, public_id)"}


def upgrade() -> None:
    create_indexes(NEW)
    drop_indexes(OLD)


def downgrade() -> None:
    create_indexes(OLD)
    drop_indexes(NEW)
