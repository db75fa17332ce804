"""hot documents

The documents that clients ask for most, so that a process compiles them when it starts. They hold
nobody's values.
"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE hot_documents (
          key BYTEA PRIMARY KEY,
          text TEXT NOT NULL,
          operation TEXT,
          payload TEXT,
          sample TEXT NOT NULL,
          uses DOUBLE PRECISION NOT NULL,
          used_at TIMESTAMPTZ NOT NULL DEFAULT now()
        )
    """)


def downgrade() -> None:
    op.execute("DROP TABLE hot_documents")
