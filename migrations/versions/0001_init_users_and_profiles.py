"""init users and profiles

The seed's sample SQL as it stands, so that a database made from it can be stamped.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS citext")
    op.execute("""
        CREATE TABLE users (
          auth0_sub VARCHAR(64) PRIMARY KEY,
          email CITEXT UNIQUE NOT NULL,
          created_at TIMESTAMPTZ DEFAULT now()
        )
    """)
    op.execute("CREATE INDEX idx_users_email ON users(email)")
    op.execute("""
        CREATE TABLE user_profiles (
          user_id VARCHAR(64) PRIMARY KEY REFERENCES users(auth0_sub) ON DELETE CASCADE,
          display_name VARCHAR(80),
          bio TEXT,
          journaling_frequency INTEGER CHECK (journaling_frequency >= 0),
          updated_at TIMESTAMPTZ DEFAULT now()
        )
    """)


def downgrade() -> None:
    op.execute("DROP TABLE user_profiles")
    op.execute("DROP TABLE users")
    # The extension goes only when it is ours to drop and nothing else in the database uses it.
    op.execute("""
        DO $$
        BEGIN
          IF EXISTS (SELECT FROM pg_catalog.pg_extension
                     WHERE extname = 'citext' AND pg_has_role(extowner, 'USAGE')) THEN
            DROP EXTENSION citext;
          END IF;
        EXCEPTION WHEN dependent_objects_still_exist THEN
          NULL;
        END
        $$
    """)
