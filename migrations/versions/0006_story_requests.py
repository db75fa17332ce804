"""story requests

What writes need: the idempotency keys of `createStory`, the renames of popular tags that are under
way, an index by which a batch of features finds the length that vectors of its version have, and
one for the cascade from a deleted account to the matches of others.
"""

from __future__ import annotations

from alembic import op

from community_gql.db.concurrently import create_indexes, drop_indexes

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


INDEXES = {
    "idx_user_features_version": "user_features (version)",
    "idx_match_results_target": "match_results (target_user_id)",
}


def upgrade() -> None:
    create_indexes(INDEXES)
    op.execute("""
        CREATE TABLE story_requests (
          user_id VARCHAR(64) REFERENCES users(auth0_sub) ON DELETE CASCADE,
          key VARCHAR(64),
          story_id BIGINT REFERENCES stories(id) ON DELETE SET NULL,
          created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
          PRIMARY KEY (user_id, key)
        )
    """)
    op.execute("CREATE INDEX idx_story_requests_story ON story_requests (story_id)")
    op.execute("""
        CREATE TABLE tag_renames (
          tag_id BIGINT PRIMARY KEY REFERENCES tags(id) ON DELETE CASCADE,
          into_id BIGINT NOT NULL REFERENCES tags(id) ON DELETE CASCADE
        )
    """)
    op.execute("CREATE INDEX idx_tag_renames_into ON tag_renames (into_id)")


def downgrade() -> None:
    drop_indexes(INDEXES)
    op.execute("DROP TABLE tag_renames")
    op.execute("DROP TABLE story_requests")
