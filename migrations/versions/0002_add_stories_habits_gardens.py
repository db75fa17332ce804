"""add stories habits gardens

The seed's sample SQL as it stands: tags, user tags, stories, habits and gardens.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE tags (
          id BIGSERIAL PRIMARY KEY,
          name VARCHAR(64) UNIQUE NOT NULL,
          created_at TIMESTAMPTZ DEFAULT now()
        )
    """)
    op.execute("""
        CREATE TABLE user_tags (
          user_id VARCHAR(64) REFERENCES users(auth0_sub) ON DELETE CASCADE,
          tag_id BIGINT REFERENCES tags(id) ON DELETE CASCADE,
          PRIMARY KEY (user_id, tag_id)
        )
    """)
    op.execute("CREATE INDEX idx_user_tags_tag_id ON user_tags(tag_id)")
    op.execute("""
        CREATE TABLE stories (
          id BIGSERIAL PRIMARY KEY,
          user_id VARCHAR(64) REFERENCES users(auth0_sub) ON DELETE CASCADE,
          title VARCHAR(140) NOT NULL,
          content TEXT NOT NULL,
          visibility VARCHAR(16) DEFAULT 'private'
            CHECK (visibility IN ('private','public','friends')),
          tags_cached VARCHAR[],
          created_at TIMESTAMPTZ DEFAULT now(),
          updated_at TIMESTAMPTZ DEFAULT now()
        )
    """)
    op.execute("CREATE INDEX idx_stories_user_created ON stories(user_id, created_at DESC)")
    op.execute("CREATE INDEX idx_stories_visibility ON stories(visibility)")
    op.execute("""
        CREATE TABLE habits (
          id BIGSERIAL PRIMARY KEY,
          user_id VARCHAR(64) REFERENCES users(auth0_sub) ON DELETE CASCADE,
          name VARCHAR(80) NOT NULL,
          frequency VARCHAR(24) CHECK (frequency IN ('daily','weekly','monthly','custom')),
          meta JSONB DEFAULT '{}'::jsonb,
          created_at TIMESTAMPTZ DEFAULT now(),
          UNIQUE (user_id, name)
        )
    """)
    op.execute("""
        CREATE TABLE gardens (
          id BIGSERIAL PRIMARY KEY,
          user_id VARCHAR(64) UNIQUE REFERENCES users(auth0_sub) ON DELETE CASCADE,
          name VARCHAR(80) NOT NULL,
          theme VARCHAR(40),
          created_at TIMESTAMPTZ DEFAULT now()
        )
    """)


def downgrade() -> None:
    op.execute("DROP TABLE gardens")
    op.execute("DROP TABLE habits")
    op.execute("DROP TABLE stories")
    op.execute("DROP TABLE user_tags")
    op.execute("DROP TABLE tags")
