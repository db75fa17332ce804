"""words and tags together

One index of the words and the tags of stories in the place of two. Where a search asks for both,
PostgreSQL made a bitmap of all stories with the word and one of all with the tag; the one index
goes through both lists at once, and skips in the longer what the shorter one lacks.
"""

from __future__ import annotations

from community_gql.db.concurrently import create_indexes, drop_indexes

revision = "0014"
down_revision: str | None = "0013"
branch_labels = None
depends_on = None

NEW = {"idx_stories_words_tags": "stories USING gin (search, tags_cached)"}
OLD = {
    "idx_stories_search": "stories USING gin (search)",
    "idx_stories_tags": "stories USING gin (tags_cached)",
}


def upgrade() -> None:
    create_indexes(NEW)
    drop_indexes(OLD)


def downgrade() -> None:
    create_indexes(OLD)
    drop_indexes(NEW)
