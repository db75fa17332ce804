"""add ml features and results

The seed's sample SQL as it stands.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE user_features (
          user_id VARCHAR(64) PRIMARY KEY REFERENCES users(auth0_sub) ON DELETE CASCADE,
          vector JSONB NOT NULL,
          version INTEGER DEFAULT 1,
          updated_at TIMESTAMPTZ DEFAULT now()
        )
    """)
    op.execute("CREATE INDEX idx_user_features_updated ON user_features(updated_at)")
    op.execute("""
        CREATE TABLE match_results (
          id BIGSERIAL PRIMARY KEY,
          user_id VARCHAR(64) REFERENCES users(auth0_sub) ON DELETE CASCADE,
          target_user_id VARCHAR(64) REFERENCES users(auth0_sub) ON DELETE CASCADE,
          score DOUBLE PRECISION NOT NULL,
          created_at TIMESTAMPTZ DEFAULT now(),
          UNIQUE (user_id, target_user_id, created_at)
        )
    """)
    op.execute("CREATE INDEX idx_match_results_user_score ON match_results(user_id, score DESC)")


def downgrade() -> None:
    op.execute("DROP TABLE match_results")
    op.execute("DROP TABLE user_features")
