"""story requests

The idempotency keys of `createStory`, and an index by which a batch of features finds the length
that vectors of its version have.
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE story_requests (
          user_id VARCHAR(64) REFERENCES users(auth0_sub) ON DELETE CASCADE,
          key VARCHAR(64),
          story_id BIGINT REFERENCES stories(id) ON DELETE CASCADE,
          created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
          PRIMARY KEY (user_id, key)
        )
    """)
    op.execute("CREATE INDEX idx_story_requests_story ON story_requests (story_id)")
    op.execute("CREATE INDEX idx_user_features_version ON user_features (version)")


def downgrade() -> None:
    op.execute("DROP INDEX idx_user_features_version")
    op.execute("DROP TABLE story_requests")
