"""changes

What has changed, for those who follow along: a row in `changes` for each row that was written,
made by triggers in the writer's own transaction, whoever writes. docs/operations.md says what is in
it.

Nothing here waits for the application or keeps it waiting: each trigger is made in a transaction
of its own, and an interrupted run is continued by the next. Going back forgets the changes.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TABLE = """
    CREATE TABLE IF NOT EXISTS changes (
      xid BIGINT DEFAULT pg_current_xact_id()::text::bigint,
      id BIGINT GENERATED ALWAYS AS IDENTITY,
      entity VARCHAR(32) NOT NULL,
      key VARCHAR(64) NOT NULL,
      people VARCHAR(64)[] NOT NULL,
      user_id VARCHAR(64),
      visibility VARCHAR(16),
      tags_cached VARCHAR[],
      created_at TIMESTAMPTZ,
      text_changed BOOLEAN,
      friends_changed BOOLEAN,
      at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
      PRIMARY KEY (xid, id)
    )
"""

# A story's line holds what it was; NULL for a new one. Keys never change, so a join by the key
# finds the same row before and after. {schema} is the schema of the tables.

STORIES = """
    IF TG_OP = 'INSERT' THEN
      INSERT INTO changes (entity, key, people)
      SELECT 'stories', id, ARRAY[user_id] FROM new_rows;
    ELSIF TG_OP = 'UPDATE' THEN
      INSERT INTO changes
        (entity, key, people, user_id, visibility, tags_cached, created_at, text_changed)
      SELECT 'stories', n.id,
        CASE WHEN o.user_id = n.user_id THEN ARRAY[n.user_id] ELSE ARRAY[o.user_id, n.user_id] END,
        o.user_id, o.visibility, o.tags_cached, o.created_at,
        o.title <> n.title OR o.content <> n.content
      FROM old_rows o JOIN new_rows n USING (id);
    ELSE
      INSERT INTO changes
        (entity, key, people, user_id, visibility, tags_cached, created_at, text_changed)
      SELECT 'stories', id, ARRAY[user_id], user_id, visibility, tags_cached, created_at, true
      FROM old_rows;
    END IF;
"""

# Two people become friends, or cease to be, when an accepted friendship comes or goes.
FRIENDSHIPS = """
    IF TG_OP = 'INSERT' THEN
      INSERT INTO changes (entity, key, people, friends_changed)
      SELECT 'friendships', id, ARRAY[requester_id, addressee_id], status = 'accepted'
      FROM new_rows;
    ELSIF TG_OP = 'UPDATE' THEN
      INSERT INTO changes (entity, key, people, friends_changed)
      SELECT 'friendships', n.id,
        CASE WHEN (o.requester_id, o.addressee_id) = (n.requester_id, n.addressee_id)
          THEN ARRAY[n.requester_id, n.addressee_id]
          ELSE ARRAY[o.requester_id, o.addressee_id, n.requester_id, n.addressee_id] END,
        (o.status = 'accepted') <> (n.status = 'accepted')
          OR (o.requester_id, o.addressee_id) <> (n.requester_id, n.addressee_id)
      FROM old_rows o JOIN new_rows n USING (id);
    ELSE
      INSERT INTO changes (entity, key, people, friends_changed)
      SELECT 'friendships', id, ARRAY[requester_id, addressee_id], status = 'accepted'
      FROM old_rows;
    END IF;
"""

TAGS = """
    IF TG_OP = 'UPDATE' THEN
      INSERT INTO changes (entity, key, people)
      SELECT 'tags', n.id, '{}' FROM old_rows o JOIN new_rows n USING (id) WHERE o.name <> n.name;
    ELSE
      INSERT INTO changes (entity, key, people) SELECT 'tags', id, '{}' FROM old_rows;
    END IF;
"""

USERS_DELETED = """
    INSERT INTO changes (entity, key, people)
    SELECT 'users', public_id, ARRAY[auth0_sub] FROM old_rows;
"""

USER_RENAMED = """
    INSERT INTO changes (entity, key, people)
    VALUES ('users', NEW.public_id, ARRAY[NEW.auth0_sub]);
"""


def owned(key: str) -> str:
    """Return the body for tables whose rows belong to ``user_id``: a line for each ``key``."""
    insert = "INSERT INTO changes (entity, key, people)"
    line = f"SELECT DISTINCT TG_TABLE_NAME, {key}::text, ARRAY[user_id]"
    return f"""
    IF TG_OP = 'DELETE' THEN
      {insert} {line} FROM old_rows;
    ELSIF TG_OP = 'INSERT' THEN
      {insert} {line} FROM new_rows;
    ELSE
      {insert}
      {line} FROM (SELECT * FROM old_rows UNION ALL SELECT * FROM new_rows) AS changed;
    END IF;
"""


# Everything may have changed.
TRUNCATED = "    INSERT INTO changes (entity, key, people) VALUES (TG_TABLE_NAME, '*', '{}');"

BODIES = {
    "stories_recorded": STORIES,
    "friendships_recorded": FRIENDSHIPS,
    "tags_recorded": TAGS,
    "users_recorded": USERS_DELETED,
    "user_recorded": USER_RENAMED,
    "rows_recorded": owned("id"),
    "people_recorded": owned("user_id"),
    "truncation_recorded": TRUNCATED,
}
"""The functions of the triggers, by name."""

FUNCTION = """
    CREATE OR REPLACE FUNCTION {name}() RETURNS trigger
    LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
    BEGIN
    {body}
      RETURN NULL;
    END
    $$
"""

WRITES = ("INSERT", "UPDATE", "DELETE")
TABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "stories": ("stories_recorded", WRITES),
    "user_profiles": ("people_recorded", WRITES),
    "user_tags": ("people_recorded", WRITES),
    "gardens": ("rows_recorded", WRITES),
    "habits": ("rows_recorded", WRITES),
    "friendships": ("friendships_recorded", WRITES),
    "user_features": ("people_recorded", WRITES),
    "match_results": ("people_recorded", WRITES),
    "match_choices": ("people_recorded", WRITES),
    "match_dismissals": ("people_recorded", WRITES),
    "tags": ("tags_recorded", ("UPDATE", "DELETE")),
    "users": ("users_recorded", ("DELETE",)),
}
"""Which function records what of each table."""
TRANSITION = {"INSERT": "NEW", "DELETE": "OLD", "UPDATE": "OLD NEW"}


def triggers() -> list[str]:
    """Return the statements that make the triggers."""
    made = []
    for table, (function, operations) in TABLES.items():
        for operation in operations:
            seen = " ".join(
                f"{name} TABLE AS {name.lower()}_rows" for name in TRANSITION[operation].split()
            )
            made.append(f"""
                CREATE OR REPLACE TRIGGER {table}_recorded_{operation.lower()}
                AFTER {operation} ON {table} REFERENCING {seen}
                FOR EACH STATEMENT EXECUTE FUNCTION {function}()
            """)
        made.append(f"""
            CREATE OR REPLACE TRIGGER {table}_recorded_truncate
            AFTER TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION truncation_recorded()
        """)
    # Of people only the address is told to anyone and stands in no other table: a trigger for
    # rows, so that whoever writes the rest of a person pays nothing.
    made.append("""
        CREATE OR REPLACE TRIGGER users_recorded_update AFTER UPDATE OF email ON users
        FOR EACH ROW WHEN (OLD.email IS DISTINCT FROM NEW.email) EXECUTE FUNCTION user_recorded()
    """)
    return made


def upgrade() -> None:
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    with op.get_context().autocommit_block():
        op.execute(TABLE)
        for name, body in BODIES.items():
            op.get_bind().exec_driver_sql(FUNCTION.format(name=name, schema=schema, body=body))
        for trigger in triggers():
            op.execute(trigger)


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for table, (_, operations) in TABLES.items():
            for operation in (*operations, "TRUNCATE"):
                op.execute(
                    f"DROP TRIGGER IF EXISTS {table}_recorded_{operation.lower()} ON {table}"
                )
        op.execute("DROP TRIGGER IF EXISTS users_recorded_update ON users")
        for name in BODIES:
            op.execute(f"DROP FUNCTION IF EXISTS {name}()")
        op.execute("DROP TABLE IF EXISTS changes")
