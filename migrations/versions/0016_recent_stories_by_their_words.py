"""recent stories by their words

The index of words and tags knows the day and the fortnight of each story as well. Stories with a
frequent word are many: whoever wants to know whether there are more than a thousand goes through
those of the last days, and no longer makes a bitmap of all.
"""

from __future__ import annotations

from community_gql.db.concurrently import create_indexes, drop_indexes

revision = "0016"
down_revision: str | None = "0015"
branch_labels = None
depends_on = None

BINS = ", ".join(
    f"date_bin('{hours}:00:00'::interval, created_at, '2000-01-01 00:00:00+00'::timestamptz)"
    for hours in (24, 336)
)
NEW = {"idx_stories_words_tags_time": f"stories USING gin (search, tags_cached, (ARRAY[{BINS}]))"}
OLD = {"idx_stories_words_tags": "stories USING gin (search, tags_cached)"}


def upgrade() -> None:
    create_indexes(NEW)
    drop_indexes(OLD)


def downgrade() -> None:
    create_indexes(OLD)
    drop_indexes(NEW)
