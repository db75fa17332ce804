"""page indexes

For pages in their orders, and for finding stories, people and tags. Built while the application
works, and so outside a transaction. An interrupted run may leave invalid indexes; the next run
drops them and builds them again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INDEXES = {
    "idx_users_created": "users (created_at DESC, public_id DESC)",
    "idx_users_name": "users (name_key, public_id)",
    "idx_users_name_words": "users USING gin (to_tsvector('simple', name_key))",
    "idx_tags_name_prefix": "tags (name text_pattern_ops)",
    "idx_stories_created": "stories (created_at DESC, id DESC)",
    "idx_stories_public_created": (
        "stories (created_at DESC, id DESC) WHERE visibility = 'public'"
    ),
    "idx_stories_search": "stories USING gin (search)",
    "idx_stories_tags": "stories USING gin (tags_cached)",
    "idx_habits_user_created": "habits (user_id, created_at DESC, id DESC)",
    "idx_match_results_batch": "match_results (user_id, created_at DESC, score DESC, id DESC)",
}

INVALID = sa.text("""
    SELECT count(*) FROM pg_index
    WHERE NOT indisvalid AND indexrelid = to_regclass(quote_ident(:name))
""")


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for name, definition in INDEXES.items():
            if op.get_bind().scalar(INVALID, {"name": name}):
                op.execute(f"DROP INDEX CONCURRENTLY {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {definition}")
        # Migration 4 rewrote tables, which does not make autovacuum look at them again.
        op.execute("ANALYZE users, tags, stories, story_tags, habits, match_results")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for name in reversed(INDEXES):
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
