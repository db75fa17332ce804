"""people in order

A page of a tag's people, and of people by a word of their name, reads the entries of an index that
it shows, and no others. `user_tags` has what its people are ordered by, and `name_words` has a row
for each word of each name: among all people, and among those of each of their tags. Triggers keep
both.

Nothing waits: the columns come without a rewrite, each trigger is made in a transaction of its own,
rows are filled in batches that each commit, indexes are built CONCURRENTLY, and an interrupted run
is continued by the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

from community_gql.db.concurrently import create_indexes, drop_indexes

revision = "0018"
down_revision: str | None = "0017"
branch_labels = None
depends_on = None

BATCH = 1_000

COLUMNS = """
    ALTER TABLE user_tags
      ADD COLUMN IF NOT EXISTS user_created_at TIMESTAMPTZ,
      ADD COLUMN IF NOT EXISTS user_public_id UUID,
      ADD COLUMN IF NOT EXISTS user_name_key VARCHAR
"""
COPIES = {
    "user_created_at": "created_at",
    "user_public_id": "public_id",
    "user_name_key": "name_key",
}

# The words are compared byte by byte, so that those that begin alike are neighbours in the index.
WORDS = """
    CREATE TABLE IF NOT EXISTS name_words (
      tag_id BIGINT NOT NULL,
      word VARCHAR COLLATE "C" NOT NULL,
      public_id UUID NOT NULL,
      previous VARCHAR COLLATE "C" NOT NULL,
      created_at TIMESTAMPTZ NOT NULL,
      name_key VARCHAR NOT NULL,
      CONSTRAINT name_words_pkey PRIMARY KEY (tag_id, word, public_id)
        INCLUDE (previous, created_at, name_key)
    )
"""

INDEXES = {
    "idx_user_tags_newest": "user_tags (tag_id, user_created_at DESC, user_public_id DESC)",
    "idx_user_tags_named_first": (
        "user_tags (tag_id, (user_name_key = ''), user_name_key, user_public_id)"
    ),
}


WORDS_OF = """
    SELECT word, coalesce(lag(word) OVER (ORDER BY word), '') AS previous
    FROM unnest(tsvector_to_array(to_tsvector('simple', {name})) COLLATE "C") AS words (word)
"""


def put(tags: str, row: str) -> str:
    """Return the statement that writes the words of a row of ``users`` for each of ``tags``."""
    return f"""
      INSERT INTO name_words (tag_id, word, public_id, previous, created_at, name_key)
      SELECT tag_id, word, {row}public_id, previous, {row}created_at, {row}name_key
      FROM ({WORDS_OF.format(name=f"{row}name_key")}) AS w CROSS JOIN unnest({tags}) AS t (tag_id)
      ON CONFLICT DO NOTHING
    """


def drop(tags: str, row: str) -> str:
    """Return the statement that removes the words, as ``put`` wrote them."""
    return f"""
      DELETE FROM name_words n
      USING unnest(tsvector_to_array(to_tsvector('simple', {row}name_key))) AS w (word)
      CROSS JOIN unnest({tags}) AS t (tag_id)
      WHERE n.tag_id = t.tag_id AND n.word = w.word AND n.public_id = {row}public_id
    """


EVERYONE = "ARRAY[0::bigint]"
# A session plans these statements once, maybe while the tables are empty.
BY_INDEX = "SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off"

# {schema} is the schema of the tables: no function trusts a caller's search_path.
FUNCTIONS = {
    # The person is locked, so that nobody renames them between what the row is filled with and its
    # commit. The foreign key would let in who is deleted and comes again at this moment.
    "user_tags_filled()": f"""
        CREATE OR REPLACE FUNCTION user_tags_filled() RETURNS trigger
        LANGUAGE plpgsql SET search_path = {{schema}}, pg_temp {BY_INDEX} AS $$
        BEGIN
          SELECT created_at, public_id, name_key
          INTO NEW.user_created_at, NEW.user_public_id, NEW.user_name_key
          FROM users WHERE auth0_sub = NEW.user_id FOR NO KEY UPDATE;
          IF NOT FOUND THEN
            RAISE EXCEPTION USING
              MESSAGE = 'insert or update on table "user_tags" violates foreign key constraint '
                '"user_tags_user_id_fkey"',
              DETAIL = format('Key (user_id)=(%s) is not present in table "users".', NEW.user_id),
              ERRCODE = 'foreign_key_violation', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME,
              CONSTRAINT = 'user_tags_user_id_fkey';
          END IF;
          -- Before the row: who has it already, has the words as well.
          IF TG_OP = 'INSERT' THEN
            {put("ARRAY[NEW.tag_id]", "NEW.user_")};
          END IF;
          RETURN NEW;
        END
        $$
    """,
    "user_tags_kept()": f"""
        CREATE OR REPLACE FUNCTION user_tags_kept() RETURNS trigger
        LANGUAGE plpgsql SET search_path = {{schema}}, pg_temp {BY_INDEX} AS $$
        BEGIN
          IF TG_OP = 'TRUNCATE' THEN
            DELETE FROM name_words WHERE tag_id <> 0;
            RETURN NULL;
          END IF;
          {drop("ARRAY[OLD.tag_id]", "OLD.user_")};
          IF TG_OP = 'UPDATE' THEN
            {put("ARRAY[NEW.tag_id]", "NEW.user_")};
          END IF;
          RETURN NULL;
        END
        $$
    """,
    "user_tags_recorded()": """
        CREATE OR REPLACE FUNCTION user_tags_recorded() RETURNS trigger
        LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
        BEGIN
          INSERT INTO changes (entity, key, people)
          SELECT DISTINCT 'user_tags', user_id, ARRAY[user_id]
          FROM (
            (SELECT user_id, tag_id FROM old_rows EXCEPT SELECT user_id, tag_id FROM new_rows)
            UNION ALL
            (SELECT user_id, tag_id FROM new_rows EXCEPT SELECT user_id, tag_id FROM old_rows)
          ) AS changed;
          RETURN NULL;
        END
        $$
    """,
    # First the rows of the tags, which waits for whoever is taking some away, then their words.
    "users_named()": f"""
        CREATE OR REPLACE FUNCTION users_named() RETURNS trigger
        LANGUAGE plpgsql SET search_path = {{schema}}, pg_temp {BY_INDEX} AS $$
        DECLARE
          tags bigint[] := {EVERYONE};
        BEGIN
          IF TG_OP = 'INSERT' THEN
            {put("tags", "NEW.")};
          ELSIF TG_OP = 'UPDATE' THEN
            WITH kept AS (
              UPDATE user_tags
              SET user_created_at = NEW.created_at, user_public_id = NEW.public_id,
                user_name_key = NEW.name_key
              WHERE user_id = NEW.auth0_sub
              RETURNING tag_id
            )
            SELECT tags || array_agg(tag_id) INTO tags FROM kept;
            {drop("tags", "OLD.")};
            {put("tags", "NEW.")};
          ELSIF TG_OP = 'DELETE' THEN
            {drop("tags", "OLD.")};
          ELSE
            DELETE FROM name_words;
          END IF;
          RETURN NULL;
        END
        $$
    """,
}

# Depth 0 is a statement of a writer; what users_named() writes, it has written in name_words too.
BY_WRITER = "pg_trigger_depth() = 0"
NAMED = " OR ".join(f"OLD.{name} <> NEW.{name}" for name in COPIES.values())
TRIGGERS = (
    """
    CREATE OR REPLACE TRIGGER user_tags_filled_insert BEFORE INSERT ON user_tags
    FOR EACH ROW EXECUTE FUNCTION user_tags_filled()
    """,
    f"""
    CREATE OR REPLACE TRIGGER user_tags_filled_update BEFORE UPDATE ON user_tags
    FOR EACH ROW WHEN ({BY_WRITER}) EXECUTE FUNCTION user_tags_filled()
    """,
    f"""
    CREATE OR REPLACE TRIGGER user_tags_kept_update AFTER UPDATE ON user_tags
    FOR EACH ROW WHEN ({BY_WRITER}) EXECUTE FUNCTION user_tags_kept()
    """,
    """
    CREATE OR REPLACE TRIGGER user_tags_kept_delete AFTER DELETE ON user_tags
    FOR EACH ROW EXECUTE FUNCTION user_tags_kept()
    """,
    """
    CREATE OR REPLACE TRIGGER user_tags_kept_truncate AFTER TRUNCATE ON user_tags
    FOR EACH STATEMENT EXECUTE FUNCTION user_tags_kept()
    """,
    """
    CREATE OR REPLACE TRIGGER users_named_insert AFTER INSERT ON users
    FOR EACH ROW WHEN (NEW.name_key <> '') EXECUTE FUNCTION users_named()
    """,
    f"""
    CREATE OR REPLACE TRIGGER users_named_update AFTER UPDATE ON users
    FOR EACH ROW WHEN ({NAMED}) EXECUTE FUNCTION users_named()
    """,
    """
    CREATE OR REPLACE TRIGGER users_named_delete AFTER DELETE ON users
    FOR EACH ROW WHEN (OLD.name_key <> '') EXECUTE FUNCTION users_named()
    """,
    """
    CREATE OR REPLACE TRIGGER users_named_truncate AFTER TRUNCATE ON users
    FOR EACH STATEMENT EXECUTE FUNCTION users_named()
    """,
)


def recorded(function: str, when: str = "") -> str:
    """Return the trigger that records updates of user_tags."""
    return f"""
        CREATE OR REPLACE TRIGGER user_tags_recorded_update AFTER UPDATE ON user_tags
        REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
        FOR EACH STATEMENT {when} EXECUTE FUNCTION {function}()
    """


# When a trigger writes what a person is ordered by, nothing has changed that matching or a follower
# would know of.
OTHERS = (
    "DROP TRIGGER IF EXISTS match_tags_changed_update ON user_tags",
    """
    CREATE OR REPLACE TRIGGER match_row_changed_update AFTER UPDATE ON user_tags
    FOR EACH ROW WHEN (OLD.user_id <> NEW.user_id OR OLD.tag_id <> NEW.tag_id)
    EXECUTE FUNCTION match_row_changed()
    """,
    recorded("user_tags_recorded", f"WHEN ({BY_WRITER})"),
)
OTHERS_BEFORE = (
    "DROP TRIGGER IF EXISTS match_row_changed_update ON user_tags",
    """
    CREATE OR REPLACE TRIGGER match_tags_changed_update AFTER UPDATE ON user_tags
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION match_tags_changed()
    """,
    recorded("people_recorded"),
)


def run(statement: str, **values: Any) -> sa.CursorResult[Any]:
    """Run a statement that commits by itself."""
    return op.get_bind().execute(sa.text(statement), values)


def batches() -> Iterator[dict[str, str]]:
    """Yield the bounds of the keys of people, so many at a time: above one, up to another."""
    after = ""
    while upto := run(
        "SELECT max(auth0_sub) FROM (SELECT auth0_sub FROM users WHERE auth0_sub > :after "
        "ORDER BY auth0_sub LIMIT :most) AS batch",
        after=after, most=BATCH,
    ).scalar():  # fmt: skip
        yield {"after": after, "upto": upto}
        after = upto


def fill() -> None:
    """Write the columns and the words of those who were there before the triggers."""
    for bounds in batches():
        within = "auth0_sub > :after AND auth0_sub <= :upto"
        run(
            "UPDATE user_tags SET user_created_at = NULL "
            "WHERE user_id > :after AND user_id <= :upto AND user_created_at IS NULL",
            **bounds,
        )
        run(
            f"""
            WITH locked AS (
              SELECT public_id, created_at, name_key FROM users
              WHERE {within} AND name_key <> '' ORDER BY auth0_sub FOR NO KEY UPDATE
            )
            INSERT INTO name_words (tag_id, word, public_id, previous, created_at, name_key)
            SELECT 0, word, public_id, previous, created_at, name_key
            FROM locked CROSS JOIN LATERAL ({WORDS_OF.format(name="name_key")}) AS w
            ON CONFLICT DO NOTHING
            """,
            **bounds,
        )


def require() -> None:
    """Have the columns NOT NULL, without a lock that waits until all rows are looked at."""
    there = " AND ".join(f"{name} IS NOT NULL" for name in COPIES)
    op.execute("ALTER TABLE user_tags DROP CONSTRAINT IF EXISTS user_tags_filled")
    op.execute(f"ALTER TABLE user_tags ADD CONSTRAINT user_tags_filled CHECK ({there}) NOT VALID")
    op.execute("ALTER TABLE user_tags VALIDATE CONSTRAINT user_tags_filled")
    alter = ", ".join(f"ALTER COLUMN {name} SET NOT NULL" for name in COPIES)
    op.execute(f"ALTER TABLE user_tags {alter}, DROP CONSTRAINT user_tags_filled")


def upgrade() -> None:
    with op.get_context().autocommit_block():
        schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
        for statement in (COLUMNS, WORDS):
            op.execute(statement)
        for function in FUNCTIONS.values():
            op.get_bind().exec_driver_sql(function.format(schema=schema))
        for trigger in (*OTHERS, *TRIGGERS):
            op.execute(trigger)
        fill()
    create_indexes(INDEXES)
    with op.get_context().autocommit_block():
        require()
        op.execute("ANALYZE user_tags, name_words")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for trigger in OTHERS_BEFORE:
            op.execute(trigger)
        for function in reversed(FUNCTIONS):
            op.execute(f"DROP FUNCTION IF EXISTS {function} CASCADE")  # with its triggers
    drop_indexes(INDEXES)
    with op.get_context().autocommit_block():
        op.execute("DROP TABLE IF EXISTS name_words")
        gone = ", ".join(f"DROP COLUMN IF EXISTS {name}" for name in COPIES)
        op.execute(f"ALTER TABLE user_tags {gone}")
