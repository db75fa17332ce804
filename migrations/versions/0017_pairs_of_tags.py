"""pairs of tags

The index of words and tags holds marks of each story in the place of its day and fortnight: for
four lengths of time, for each tag, for each pair of tags, and for each tag in a fortnight and in
112 days. So what few stories have of
two frequent tags is found at once, and whether the last weeks of a tag have more than a thousand
stories is known without a bitmap of all.
"""

from __future__ import annotations

from alembic import op

from community_gql.db.concurrently import create_indexes, drop_indexes

revision = "0017"
down_revision: str | None = "0016"
branch_labels = None
depends_on = None

# A mark is the sum of two hashes, and so the same for (a, b) and (b, a); `graph/marks.py` has it
# for queries. A story with more than eight tags has no pairs, which would be many: it has the mark
# 0, with which every query for a pair finds it as well.
FUNCTION = """
    CREATE OR REPLACE FUNCTION story_marks(tags varchar[], written timestamptz) RETURNS bigint[]
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 10000 SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
      hour numeric := floor(extract(epoch FROM written) / 3600);
      fortnight bigint := hashtextextended('336/' || floor(hour / 336), 0) >> 2;
      season bigint := hashtextextended('2688/' || floor(hour / 2688), 0) >> 2;
      many bigint := hashtextextended('', 0) >> 2;
      marks bigint[] := ARRAY[
        (hashtextextended('6/' || floor(hour / 6), 0) >> 2) * 2,
        (hashtextextended('48/' || floor(hour / 48), 0) >> 2) * 2,
        fortnight * 2,
        season * 2
      ];
      has_pairs boolean := cardinality(tags) <= 8;
      before bigint[] := '{}';
      tag varchar;
      one bigint;
      other bigint;
    BEGIN
      FOREACH tag IN ARRAY tags LOOP
        one := hashtextextended(tag, 0) >> 2;
        marks := marks || ARRAY[one * 2, one + fortnight, one + season];
        IF has_pairs THEN
          FOREACH other IN ARRAY before LOOP
            marks := marks || (one + other);
          END LOOP;
          before := before || one;
        ELSE
          marks := marks || (one + many);
        END IF;
      END LOOP;
      RETURN marks;
    END
    $$
"""

BINS = ", ".join(
    f"date_bin('{hours}:00:00'::interval, created_at, '2000-01-01 00:00:00+00'::timestamptz)"
    for hours in (24, 336)
)
# Conditions are tried in the order of the columns, so what leaves least comes first.
NEW = {
    "idx_stories_marks_words_tags": (
        "stories USING gin (story_marks(tags_cached, created_at), search, tags_cached)"
    )
}
OLD = {"idx_stories_words_tags_time": f"stories USING gin (search, tags_cached, (ARRAY[{BINS}]))"}


def upgrade() -> None:
    op.get_bind().exec_driver_sql(FUNCTION)
    create_indexes(NEW)
    op.execute("ANALYZE stories")  # an index of an expression has statistics of its own
    drop_indexes(OLD)


def downgrade() -> None:
    create_indexes(OLD)
    drop_indexes(NEW)
    op.execute("DROP FUNCTION story_marks(varchar[], timestamptz)")
