"""one index of scores less

``idx_match_results_user_score``: a person has twenty matches, which the index of batches finds by
the person as well. Every row that a batch writes was put into both.
"""

from __future__ import annotations

from community_gql.db.concurrently import create_indexes, drop_indexes

revision = "0015"
down_revision: str | None = "0014"
branch_labels = None
depends_on = None

INDEXES = {"idx_match_results_user_score": "match_results (user_id, score DESC)"}


def upgrade() -> None:
    drop_indexes(INDEXES)


def downgrade() -> None:
    create_indexes(INDEXES)
