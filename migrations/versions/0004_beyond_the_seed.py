"""beyond the seed

What the project adds to the seed, and where it is stricter. One transaction, so that a refusal or a
fault leaves the database as it was; nothing else can use the tables meanwhile. That is also why
no constraint is added NOT VALID first: it would save nothing while this transaction holds the
tables anyway. A table of stories is rewritten: docs/operations.md gives the time.

The migration refuses rows that it cannot mend without inventing something; everything else is
filled in or kept. Going back removes friendships, public ids and the memory of deleted accounts.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TAG_LENGTH = 64

LOCK = """
    LOCK TABLE users, user_profiles, tags, user_tags, stories, habits, gardens, user_features,
      match_results IN ACCESS EXCLUSIVE MODE
"""

OWNERS = (
    ("stories", "user_id"),
    ("habits", "user_id"),
    ("gardens", "user_id"),
    ("match_results", "user_id"),
    ("match_results", "target_user_id"),
)


def fold(name: str) -> str:
    """Return a tag's name as the API writes it. A copy: a migration must not change later."""
    return " ".join(name.split()).lower()


def refuse_what_cannot_be_mended() -> None:
    """Raise CommandError with a line for each kind of row that only a person can decide about."""
    bind = op.get_bind()
    found: list[str] = []
    for table, column in OWNERS:
        count = bind.scalar(sa.text(f"SELECT count(*) FROM {table} WHERE {column} IS NULL"))
        if count:
            found.append(
                f"{table}.{column} is NULL in {count} rows, which then belong to nobody. Give "
                f"them an owner, or remove them: DELETE FROM {table} WHERE {column} IS NULL"
            )
    count = bind.scalar(
        sa.text("SELECT count(*) FROM match_results WHERE NOT score BETWEEN 0 AND 1")
    )
    if count:
        found.append(
            f"match_results.score is not between 0 and 1 in {count} rows. Correct them, or remove "
            "them: DELETE FROM match_results WHERE NOT score BETWEEN 0 AND 1"
        )
    if found:
        raise CommandError("The database stays as it is, at 0003:\n- " + "\n- ".join(found))


def fold_tag_names() -> None:
    """Fold the vocabulary, merging tags that become the same, and give each cached name a tag."""
    bind = op.get_bind()
    names = bind.scalars(
        sa.text("SELECT name FROM tags UNION SELECT unnest(tags_cached) FROM stories")
    )
    folded = {name: fold(name) for name in names if name is not None}
    long = sorted(name for name, short in folded.items() if len(short) > TAG_LENGTH)
    if long:
        raise CommandError(
            f"The database stays as it is, at 0003:\n- stories.tags_cached holds {len(long)} names "
            f"longer than the {TAG_LENGTH} characters of a tag, such as {long[0]!r}. Shorten them."
        )
    bind.execute(sa.text("CREATE TABLE tag_folding (raw text PRIMARY KEY, folded text NOT NULL)"))
    bind.execute(
        sa.text("INSERT INTO tag_folding SELECT * FROM unnest(CAST(:raw AS text[]), :folded)")
        .bindparams(sa.bindparam("folded", type_=sa.ARRAY(sa.Text))),
        {"raw": list(folded), "folded": list(folded.values())},
    )  # fmt: skip
    op.execute("""
        CREATE TABLE tag_merging AS
        SELECT t.id, min(t.id) OVER same AS into_id, f.folded, min(t.created_at) OVER same AS since
        FROM tags t JOIN tag_folding f ON f.raw = t.name
        WINDOW same AS (PARTITION BY f.folded)
    """)
    op.execute("""
        INSERT INTO user_tags
        SELECT DISTINCT u.user_id, m.into_id
        FROM user_tags u JOIN tag_merging m ON m.id = u.tag_id
        WHERE m.id <> m.into_id
        ON CONFLICT DO NOTHING
    """)
    op.execute("DELETE FROM tags t USING tag_merging m WHERE t.id = m.id AND m.id <> m.into_id")
    op.execute("""
        UPDATE tags t SET name = m.folded, created_at = coalesce(m.since, now())
        FROM tag_merging m
        WHERE t.id = m.id
          AND (t.name, t.created_at) IS DISTINCT FROM (m.folded, coalesce(m.since, now()))
    """)
    op.execute("""
        INSERT INTO tags (name)
        SELECT DISTINCT f.folded FROM tag_folding f
        WHERE f.folded <> '' AND NOT EXISTS (SELECT FROM tags t WHERE t.name = f.folded)
        ORDER BY f.folded
    """)


def link_stories_to_tags() -> None:
    """Make story_tags out of tags_cached, and complete the rows of stories."""
    op.execute("CREATE TABLE story_tags (story_id BIGINT NOT NULL, tag_id BIGINT NOT NULL)")
    op.execute("""
        INSERT INTO story_tags
        SELECT DISTINCT s.id, t.id
        FROM stories s
        CROSS JOIN unnest(s.tags_cached) AS cached (name)
        JOIN tag_folding f ON f.raw = cached.name
        JOIN tags t ON t.name = f.folded
    """)
    op.execute("DROP TABLE tag_folding")
    op.execute("DROP TABLE tag_merging")
    op.execute("""
        ALTER TABLE story_tags
          ADD CONSTRAINT story_tags_pkey PRIMARY KEY (story_id, tag_id),
          ADD CONSTRAINT story_tags_story_id_fkey
            FOREIGN KEY (story_id) REFERENCES stories (id) ON DELETE CASCADE,
          ADD CONSTRAINT story_tags_tag_id_fkey
            FOREIGN KEY (tag_id) REFERENCES tags (id) ON DELETE CASCADE
    """)
    op.execute("CREATE INDEX idx_story_tags_tag_id ON story_tags (tag_id, story_id)")
    op.execute("""
        UPDATE stories s SET
          tags_cached = filled.tags_cached,
          visibility = filled.visibility,
          created_at = filled.created_at,
          updated_at = filled.updated_at
        FROM (
          SELECT id, coalesce(names, '{}') AS tags_cached,
            coalesce(visibility, 'private') AS visibility,
            coalesce(created_at, now()) AS created_at,
            coalesce(updated_at, now()) AS updated_at
          FROM stories
          LEFT JOIN (
            SELECT st.story_id AS id, array_agg(t.name ORDER BY t.name) AS names
            FROM story_tags st JOIN tags t ON t.id = st.tag_id
            GROUP BY st.story_id
          ) AS tagged USING (id)
        ) AS filled
        WHERE s.id = filled.id
          AND (s.tags_cached IS DISTINCT FROM filled.tags_cached
            OR s.visibility IS NULL OR s.created_at IS NULL OR s.updated_at IS NULL)
    """)


# A row whose batch is unknown must not become the newest batch, which is the one that people see.
# The microseconds keep rows of one pair apart, as the unique constraint wants.
BACKFILL_MATCHES = """
    UPDATE match_results m SET created_at = filled.created_at
    FROM (
      SELECT id, least(now(), min(created_at) OVER (PARTITION BY user_id))
        - interval '1 microsecond' * row_number() OVER (
            PARTITION BY user_id, target_user_id, created_at IS NULL ORDER BY id
          ) AS created_at
      FROM match_results
    ) AS filled
    WHERE m.id = filled.id AND m.created_at IS NULL
"""

ALTER = (
    """
    ALTER TABLE users
      ALTER COLUMN created_at SET NOT NULL,
      ADD COLUMN public_id UUID NOT NULL DEFAULT gen_random_uuid(),
      ADD COLUMN name_key VARCHAR NOT NULL DEFAULT '',
      ADD CONSTRAINT users_public_id_key UNIQUE (public_id)
    """,
    "ALTER TABLE user_profiles ALTER COLUMN updated_at SET NOT NULL",
    "ALTER TABLE tags ALTER COLUMN created_at SET NOT NULL",
    # One command, so that the table is rewritten and read only once.
    """
    ALTER TABLE stories
      ALTER COLUMN user_id SET NOT NULL,
      ALTER COLUMN visibility SET NOT NULL,
      ALTER COLUMN tags_cached SET DEFAULT '{}',
      ALTER COLUMN tags_cached SET NOT NULL,
      ALTER COLUMN created_at SET NOT NULL,
      ALTER COLUMN updated_at SET NOT NULL,
      ADD COLUMN search TSVECTOR NOT NULL GENERATED ALWAYS AS (
        setweight(to_tsvector('english', title), 'A')
        || setweight(to_tsvector('english', left(content, 100000)), 'B')
      ) STORED
    """,
    """
    ALTER TABLE habits
      ALTER COLUMN user_id SET NOT NULL,
      ALTER COLUMN frequency SET NOT NULL,
      ALTER COLUMN meta SET NOT NULL,
      ALTER COLUMN created_at SET NOT NULL
    """,
    """
    ALTER TABLE gardens
      ALTER COLUMN user_id SET NOT NULL,
      ALTER COLUMN created_at SET NOT NULL
    """,
    """
    ALTER TABLE user_features
      ALTER COLUMN version SET NOT NULL,
      ALTER COLUMN updated_at SET NOT NULL
    """,
    """
    ALTER TABLE match_results
      ALTER COLUMN user_id SET NOT NULL,
      ALTER COLUMN target_user_id SET NOT NULL,
      ALTER COLUMN created_at SET NOT NULL,
      ADD CONSTRAINT match_results_score_check CHECK (score >= 0 AND score <= 1)
    """,
    "DROP INDEX idx_users_email",  # the unique constraint on email has the same index
)

CREATE = (
    """
    CREATE TABLE friendships (
      id BIGSERIAL PRIMARY KEY,
      requester_id VARCHAR(64) NOT NULL REFERENCES users (auth0_sub) ON DELETE CASCADE,
      addressee_id VARCHAR(64) NOT NULL REFERENCES users (auth0_sub) ON DELETE CASCADE,
      status VARCHAR(16) NOT NULL DEFAULT 'pending',
      created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
      accepted_at TIMESTAMPTZ,
      CONSTRAINT friendships_status_check CHECK (status IN ('pending','accepted')),
      CONSTRAINT friendships_no_self_check CHECK (requester_id <> addressee_id),
      CONSTRAINT friendships_accepted_at_check
        CHECK ((status = 'accepted') = (accepted_at IS NOT NULL))
    )
    """,
    """
    CREATE UNIQUE INDEX uq_friendships_pair
      ON friendships (least(requester_id, addressee_id), greatest(requester_id, addressee_id))
    """,
    """
    CREATE INDEX idx_friendships_requester ON friendships (requester_id, status, addressee_id)
    """,
    """
    CREATE INDEX idx_friendships_addressee ON friendships (addressee_id, status, requester_id)
    """,
    """
    CREATE TABLE deleted_accounts (
      sub_hash VARCHAR(64) PRIMARY KEY,
      deleted_at TIMESTAMPTZ NOT NULL DEFAULT now()
    )
    """,
)

# The order in which locks are taken, by these triggers and by whoever writes: tags, then stories,
# each by id, then all other rows, users last. Users are last because a foreign key's check locks
# them after the row that was written; docs/operations.md says what the order asks of a writer.
# {schema} is the schema of the tables: no function trusts a caller's search_path.

FUNCTIONS = {
    # Lock in one statement and compute in the next: under READ COMMITTED the second one then sees
    # what others had committed when the locks were granted.
    "refresh_tags_cached(bigint[])": """
        CREATE FUNCTION refresh_tags_cached(story_ids bigint[]) RETURNS void
        LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
        BEGIN
          PERFORM FROM stories WHERE id = ANY (story_ids) ORDER BY id FOR NO KEY UPDATE;
          -- One aggregate: a subquery per story may, without statistics, read all tags each time.
          UPDATE stories s SET tags_cached = now_true.names
          FROM (
            SELECT changed.id,
              coalesce(array_agg(t.name ORDER BY t.name) FILTER (WHERE t.id IS NOT NULL), '{{}}')
                AS names
            FROM unnest(story_ids) AS changed (id)
            LEFT JOIN story_tags st ON st.story_id = changed.id
            LEFT JOIN tags t ON t.id = st.tag_id
            GROUP BY changed.id
          ) AS now_true
          WHERE s.id = now_true.id AND s.tags_cached IS DISTINCT FROM now_true.names;
        END
        $$
    """,
    "story_tags_changed()": """
        CREATE FUNCTION story_tags_changed() RETURNS trigger
        LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
        BEGIN
          IF TG_OP = 'INSERT' THEN
            PERFORM refresh_tags_cached(ARRAY(SELECT DISTINCT story_id FROM new_rows));
          ELSIF TG_OP = 'DELETE' THEN
            PERFORM refresh_tags_cached(ARRAY(SELECT DISTINCT story_id FROM old_rows));
          ELSIF TG_OP = 'UPDATE' THEN
            PERFORM refresh_tags_cached(ARRAY(
              SELECT story_id FROM old_rows UNION SELECT story_id FROM new_rows
            ));
          ELSE
            UPDATE stories SET tags_cached = '{{}}' WHERE tags_cached <> '{{}}';
          END IF;
          RETURN NULL;
        END
        $$
    """,
    "tags_renamed()": """
        CREATE FUNCTION tags_renamed() RETURNS trigger
        LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
        BEGIN
          PERFORM refresh_tags_cached(ARRAY(
            SELECT DISTINCT st.story_id FROM story_tags st
            WHERE st.tag_id IN (
              SELECT id FROM (SELECT id, name FROM new_rows EXCEPT SELECT id, name FROM old_rows)
                AS renamed
            )
          ));
          RETURN NULL;
        END
        $$
    """,
    # The cascade locks the rows of story_tags first and their stories after. Whoever untags or
    # deletes a story goes the other way, so the stories are locked before the cascade begins.
    "tag_lock_stories()": """
        CREATE FUNCTION tag_lock_stories() RETURNS trigger
        LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
        BEGIN
          PERFORM FROM stories
          WHERE id IN (SELECT story_id FROM story_tags WHERE tag_id = OLD.id)
          ORDER BY id FOR NO KEY UPDATE;
          RETURN OLD;
        END
        $$
    """,
    "tags_cached_is_kept()": """
        CREATE FUNCTION tags_cached_is_kept() RETURNS trigger
        LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
        BEGIN
          RAISE EXCEPTION 'stories.tags_cached is kept by triggers: write story_tags instead'
            USING ERRCODE = 'generated_always';
        END
        $$
    """,
    "profiles_changed()": """
        CREATE FUNCTION profiles_changed() RETURNS trigger
        LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
        DECLARE
          changed varchar[];
        BEGIN
          IF TG_OP = 'INSERT' THEN
            changed := ARRAY(SELECT user_id FROM new_rows WHERE display_name IS NOT NULL);
          ELSIF TG_OP = 'DELETE' THEN
            changed := ARRAY(SELECT user_id FROM old_rows WHERE display_name IS NOT NULL);
          ELSIF TG_OP = 'UPDATE' THEN
            changed := ARRAY(
              (SELECT user_id FROM (SELECT user_id, display_name FROM old_rows
                EXCEPT SELECT user_id, display_name FROM new_rows) AS gone)
              UNION
              (SELECT user_id FROM (SELECT user_id, display_name FROM new_rows
                EXCEPT SELECT user_id, display_name FROM old_rows) AS came)
            );
          ELSE
            UPDATE users SET name_key = '' WHERE name_key <> '';
            RETURN NULL;
          END IF;
          PERFORM FROM users WHERE auth0_sub = ANY (changed) ORDER BY auth0_sub FOR NO KEY UPDATE;
          UPDATE users u SET name_key = now_true.name_key
          FROM (
            SELECT c.user_id, lower(coalesce(trim(p.display_name), '')) AS name_key
            FROM unnest(changed) AS c (user_id) LEFT JOIN user_profiles p USING (user_id)
          ) AS now_true
          WHERE u.auth0_sub = now_true.user_id AND u.name_key IS DISTINCT FROM now_true.name_key;
          RETURN NULL;
        END
        $$
    """,
    # Always later than before, even when the clock is set back: clients send it as the version
    # they have read.
    "set_updated_at()": """
        CREATE FUNCTION set_updated_at() RETURNS trigger
        LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
        BEGIN
          NEW.updated_at := greatest(clock_timestamp(), OLD.updated_at + interval '1 microsecond');
          RETURN NEW;
        END
        $$
    """,
}

MEANINGFUL = {
    "stories": ("user_id", "title", "content", "visibility"),
    "user_profiles": ("user_id", "display_name", "bio", "journaling_frequency"),
    "user_features": ("user_id", "vector", "version"),
}


def after_statement(table: str, function: str, *operations: str) -> list[str]:
    """Return triggers that call ``function`` with the transition tables each operation has."""
    tables = {"INSERT": "NEW", "DELETE": "OLD", "UPDATE": "OLD NEW", "TRUNCATE": ""}
    made = []
    for operation in operations:
        seen = [f"{name} TABLE AS {name.lower()}_rows" for name in tables[operation].split()]
        referencing = f"REFERENCING {' '.join(seen)}" if seen else ""
        made.append(f"""
            CREATE TRIGGER {function}_{operation.lower()} AFTER {operation} ON {table}
            {referencing} FOR EACH STATEMENT EXECUTE FUNCTION {function}()
        """)
    return made


def set_updated_at(table: str) -> str:
    """Return the trigger that sets ``updated_at`` when a meaningful column changes."""
    changed = " OR ".join(f"OLD.{name} IS DISTINCT FROM NEW.{name}" for name in MEANINGFUL[table])
    return f"""
        CREATE TRIGGER {table}_set_updated_at BEFORE UPDATE ON {table}
        FOR EACH ROW WHEN ({changed}) EXECUTE FUNCTION set_updated_at()
    """


TRIGGERS = (
    *after_statement("story_tags", "story_tags_changed", "INSERT", "UPDATE", "DELETE", "TRUNCATE"),
    *after_statement("tags", "tags_renamed", "UPDATE"),
    *after_statement("user_profiles", "profiles_changed", "INSERT", "UPDATE", "DELETE", "TRUNCATE"),
    """
    CREATE TRIGGER tag_lock_stories BEFORE DELETE ON tags
    FOR EACH ROW EXECUTE FUNCTION tag_lock_stories()
    """,
    """
    CREATE TRIGGER tags_cached_is_kept_insert BEFORE INSERT ON stories
    FOR EACH ROW WHEN (NEW.tags_cached <> '{}') EXECUTE FUNCTION tags_cached_is_kept()
    """,
    # Depth 0 is a statement of the application; the triggers above run at depth 1 and more.
    """
    CREATE TRIGGER tags_cached_is_kept_update BEFORE UPDATE ON stories
    FOR EACH ROW
    WHEN (OLD.tags_cached IS DISTINCT FROM NEW.tags_cached AND pg_trigger_depth() = 0)
    EXECUTE FUNCTION tags_cached_is_kept()
    """,
    *(set_updated_at(table) for table in MEANINGFUL),
)


def upgrade() -> None:
    op.execute(LOCK)
    refuse_what_cannot_be_mended()
    op.execute("UPDATE users SET created_at = now() WHERE created_at IS NULL")
    op.execute("UPDATE user_profiles SET updated_at = now() WHERE updated_at IS NULL")
    op.execute("""
        UPDATE habits SET
          frequency = coalesce(frequency, 'custom'),
          meta = coalesce(meta, '{}'),
          created_at = coalesce(created_at, now())
        WHERE frequency IS NULL OR meta IS NULL OR created_at IS NULL
    """)
    op.execute("UPDATE gardens SET created_at = now() WHERE created_at IS NULL")
    op.execute("""
        UPDATE user_features SET
          version = coalesce(version, 1),
          updated_at = coalesce(updated_at, now())
        WHERE version IS NULL OR updated_at IS NULL
    """)
    op.execute(BACKFILL_MATCHES)
    fold_tag_names()
    link_stories_to_tags()
    for statement in (*ALTER, *CREATE):
        op.execute(statement)
    op.execute("""
        UPDATE users SET name_key = lower(trim(display_name))
        FROM user_profiles
        WHERE user_id = auth0_sub AND trim(display_name) <> ''
    """)
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    for function in FUNCTIONS.values():
        op.execute(function.format(schema=schema))
    for trigger in TRIGGERS:
        op.execute(trigger)


def downgrade() -> None:
    op.execute(LOCK)
    op.execute("DROP TABLE story_tags")
    op.execute("DROP TABLE friendships")
    op.execute("DROP TABLE deleted_accounts")
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function} CASCADE")  # with its triggers
    op.execute("""
        ALTER TABLE users
          ALTER COLUMN created_at DROP NOT NULL,
          DROP COLUMN public_id,
          DROP COLUMN name_key
    """)
    op.execute("CREATE INDEX idx_users_email ON users(email)")
    op.execute("ALTER TABLE user_profiles ALTER COLUMN updated_at DROP NOT NULL")
    op.execute("ALTER TABLE tags ALTER COLUMN created_at DROP NOT NULL")
    op.execute("""
        ALTER TABLE stories
          DROP COLUMN search,
          ALTER COLUMN user_id DROP NOT NULL,
          ALTER COLUMN visibility DROP NOT NULL,
          ALTER COLUMN tags_cached DROP DEFAULT,
          ALTER COLUMN tags_cached DROP NOT NULL,
          ALTER COLUMN created_at DROP NOT NULL,
          ALTER COLUMN updated_at DROP NOT NULL
    """)
    op.execute("""
        ALTER TABLE habits
          ALTER COLUMN user_id DROP NOT NULL,
          ALTER COLUMN frequency DROP NOT NULL,
          ALTER COLUMN meta DROP NOT NULL,
          ALTER COLUMN created_at DROP NOT NULL
    """)
    op.execute("""
        ALTER TABLE gardens
          ALTER COLUMN user_id DROP NOT NULL,
          ALTER COLUMN created_at DROP NOT NULL
    """)
    op.execute("""
        ALTER TABLE user_features
          ALTER COLUMN version DROP NOT NULL,
          ALTER COLUMN updated_at DROP NOT NULL
    """)
    op.execute("""
        ALTER TABLE match_results
          DROP CONSTRAINT match_results_score_check,
          ALTER COLUMN user_id DROP NOT NULL,
          ALTER COLUMN target_user_id DROP NOT NULL,
          ALTER COLUMN created_at DROP NOT NULL
    """)
