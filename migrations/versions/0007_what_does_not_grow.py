"""what does not grow

The number of people who chose a tag stands in its row, so that the order by it has an index, and
`housekeeping` remembers when such numbers were last counted. `stories` is vacuumed after a
twentieth of it has changed, not a fifth, and new pages keep room for a second version of a row.

Nothing here waits for the application or keeps it waiting: the column is added without a rewrite,
indexes are built CONCURRENTLY, and an interrupted run is continued by the next.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

INDEXES = {"idx_tags_popularity": "tags (popularity DESC, id DESC)"}

INVALID = sa.text("""
    SELECT count(*) FROM pg_index
    WHERE NOT indisvalid AND indexrelid = to_regclass(quote_ident(:name))
""")

STORAGE = {
    "fillfactor": "85",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.02",
    "autovacuum_vacuum_insert_scale_factor": "0.02",
}

COUNT = """
    UPDATE tags SET popularity = counted.people
    FROM (SELECT tag_id, count(*) AS people FROM user_tags GROUP BY tag_id) AS counted
    WHERE tags.id = counted.tag_id AND tags.popularity <> counted.people
"""


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE tags ADD COLUMN IF NOT EXISTS popularity BIGINT NOT NULL DEFAULT 0")
        op.execute("""
            CREATE TABLE IF NOT EXISTS housekeeping (
              job VARCHAR(32) PRIMARY KEY,
              done_at TIMESTAMPTZ NOT NULL DEFAULT now(),
              seen BIGINT
            )
        """)
        values = ", ".join(f"{name} = {value}" for name, value in STORAGE.items())
        op.execute(f"ALTER TABLE stories SET ({values})")
        op.execute(COUNT)
        for name, definition in INDEXES.items():
            if op.get_bind().scalar(INVALID, {"name": name}):
                op.execute(f"DROP INDEX CONCURRENTLY {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {definition}")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for name in reversed(INDEXES):
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.execute(f"ALTER TABLE stories RESET ({', '.join(STORAGE)})")
        op.execute("DROP TABLE IF EXISTS housekeeping")
        op.execute("ALTER TABLE tags DROP COLUMN IF EXISTS popularity")
