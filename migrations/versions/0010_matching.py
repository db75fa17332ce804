"""matching

What people chose about being matched, how vectors are made, and marks: whose vector and whose list
may have changed. Triggers make the marks, for every writer, also from SQL.

All of it is new and empty, so nothing waits: each trigger needs its table for a moment.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE match_choices (
      user_id VARCHAR(64) PRIMARY KEY REFERENCES users(auth0_sub) ON DELETE CASCADE,
      wanted BOOLEAN NOT NULL DEFAULT true,
      habits BOOLEAN NOT NULL DEFAULT false,
      updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE match_dismissals (
      user_id VARCHAR(64) REFERENCES users(auth0_sub) ON DELETE CASCADE,
      target_user_id VARCHAR(64) REFERENCES users(auth0_sub) ON DELETE CASCADE,
      created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
      PRIMARY KEY (user_id, target_user_id)
    )
    """,
    "CREATE INDEX idx_match_dismissals_target ON match_dismissals (target_user_id)",
    """
    CREATE TABLE match_recipes (
      version INTEGER PRIMARY KEY,
      recipe INTEGER NOT NULL,
      places JSONB NOT NULL,
      people INTEGER,
      created_at TIMESTAMPTZ NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE stale_features (
      user_id VARCHAR(64) PRIMARY KEY REFERENCES users(auth0_sub) ON DELETE CASCADE,
      at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
    )
    """,
    """
    CREATE TABLE stale_lists (
      user_id VARCHAR(64) PRIMARY KEY REFERENCES users(auth0_sub) ON DELETE CASCADE,
      at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
      vector_changed BOOLEAN NOT NULL DEFAULT false
    )
    """,
)

WRITERS = """
    SELECT s.user_id FROM {} t JOIN stories s ON s.id = t.story_id WHERE s.visibility = 'public'
"""


def marking(people: str) -> str:
    """Return the statement that marks the ``people`` of a SELECT; one, as it is part of writes."""
    return f"""
        INSERT INTO stale_features (user_id, at)
        SELECT auth0_sub, clock_timestamp() FROM users WHERE auth0_sub IN ({people})
        ORDER BY auth0_sub
        ON CONFLICT (user_id) DO UPDATE SET at = excluded.at
    """


# Marks come after stories and before people in the order of locks, and in the order of people among
# themselves. Whoever is just being deleted with all that is theirs gets none: the join sees to it.
FUNCTIONS = {
    "mark_stale_features(varchar[])": """
        CREATE FUNCTION mark_stale_features(people varchar[]) RETURNS void
        LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
        BEGIN
          INSERT INTO stale_features (user_id, at)
          SELECT auth0_sub, clock_timestamp() FROM users WHERE auth0_sub = ANY (people)
          ORDER BY auth0_sub
          ON CONFLICT (user_id) DO UPDATE SET at = excluded.at;
        END
        $$
    """,
    "match_tags_changed()": f"""
        CREATE FUNCTION match_tags_changed() RETURNS trigger
        LANGUAGE plpgsql SET search_path = {{schema}}, pg_temp AS $$
        BEGIN
          IF TG_OP <> 'DELETE' THEN
            {marking("SELECT user_id FROM new_rows")};
          END IF;
          IF TG_OP <> 'INSERT' THEN
            {marking("SELECT user_id FROM old_rows")};
          END IF;
          RETURN NULL;
        END
        $$
    """,
    "match_story_tags_changed()": f"""
        CREATE FUNCTION match_story_tags_changed() RETURNS trigger
        LANGUAGE plpgsql SET search_path = {{schema}}, pg_temp AS $$
        BEGIN
          IF TG_OP <> 'DELETE' THEN
            {marking(WRITERS.format("new_rows"))};
          END IF;
          IF TG_OP <> 'INSERT' THEN
            {marking(WRITERS.format("old_rows"))};
          END IF;
          RETURN NULL;
        END
        $$
    """,
    "match_row_changed()": """
        CREATE FUNCTION match_row_changed() RETURNS trigger
        LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
        BEGIN
          IF TG_OP = 'INSERT' THEN
            PERFORM mark_stale_features(ARRAY[NEW.user_id]);
          ELSIF TG_OP = 'DELETE' THEN
            PERFORM mark_stale_features(ARRAY[OLD.user_id]);
          ELSE
            PERFORM mark_stale_features(ARRAY[OLD.user_id, NEW.user_id]);
          END IF;
          RETURN NULL;
        END
        $$
    """,
    "match_habits_changed()": """
        CREATE FUNCTION match_habits_changed() RETURNS trigger
        LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
        DECLARE
          people varchar[];
        BEGIN
          IF TG_OP = 'INSERT' THEN
            people := ARRAY(SELECT DISTINCT user_id FROM new_rows);
          ELSIF TG_OP = 'DELETE' THEN
            people := ARRAY(SELECT DISTINCT user_id FROM old_rows);
          ELSE
            people := ARRAY(
              (SELECT user_id FROM (SELECT user_id, name FROM old_rows
                EXCEPT SELECT user_id, name FROM new_rows) AS gone)
              UNION
              (SELECT user_id FROM (SELECT user_id, name FROM new_rows
                EXCEPT SELECT user_id, name FROM old_rows) AS came)
            );
          END IF;
          people := ARRAY(
            SELECT user_id FROM match_choices WHERE user_id = ANY (people) AND habits
          );
          IF people <> '{{}}' THEN
            PERFORM mark_stale_features(people);
          END IF;
          RETURN NULL;
        END
        $$
    """,
    # Before the cascade takes them out of the lists of others.
    "match_user_goes()": """
        CREATE FUNCTION match_user_goes() RETURNS trigger
        LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
        BEGIN
          INSERT INTO stale_lists (user_id, at)
          SELECT auth0_sub, clock_timestamp() FROM users
          WHERE auth0_sub IN (
            SELECT user_id FROM match_results WHERE target_user_id = OLD.auth0_sub
          )
          ORDER BY auth0_sub
          ON CONFLICT (user_id) DO UPDATE SET at = excluded.at;
          RETURN OLD;
        END
        $$
    """,
}


def of_statement(table: str, function: str) -> list[str]:
    """Return triggers that call ``function`` after each statement, with the rows it changed."""
    seen = {"INSERT": "NEW", "DELETE": "OLD", "UPDATE": "OLD NEW"}
    made = []
    for operation, names in seen.items():
        tables = " ".join(f"{name} TABLE AS {name.lower()}_rows" for name in names.split())
        made.append(f"""
            CREATE TRIGGER {function}_{operation.lower()} AFTER {operation} ON {table}
            REFERENCING {tables} FOR EACH STATEMENT EXECUTE FUNCTION {function}()
        """)
    return made


def of_row(table: str, operation: str, condition: str) -> str:
    """Return a trigger that marks the owner of each row for which ``condition`` holds."""
    return f"""
        CREATE TRIGGER match_row_changed_{operation.lower()} AFTER {operation} ON {table}
        FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION match_row_changed()
    """


# A story gets its tags after it is made, and loses them with it: story_tags sees the former only.
TRIGGERS = (
    *of_statement("user_tags", "match_tags_changed"),
    *of_statement("story_tags", "match_story_tags_changed"),
    *of_statement("habits", "match_habits_changed"),
    of_row(
        "stories",
        "UPDATE",
        "(OLD.visibility = 'public') <> (NEW.visibility = 'public') OR OLD.user_id <> NEW.user_id",
    ),
    of_row("stories", "DELETE", "OLD.visibility = 'public'"),
    of_row("user_profiles", "INSERT", "NEW.journaling_frequency IS NOT NULL"),
    of_row("user_profiles", "DELETE", "OLD.journaling_frequency IS NOT NULL"),
    of_row(
        "user_profiles",
        "UPDATE",
        "OLD.journaling_frequency IS DISTINCT FROM NEW.journaling_frequency"
        " OR OLD.user_id <> NEW.user_id",
    ),
    """
    CREATE TRIGGER match_choices_set_updated_at BEFORE UPDATE ON match_choices
    FOR EACH ROW WHEN (
      OLD.user_id IS DISTINCT FROM NEW.user_id OR OLD.wanted IS DISTINCT FROM NEW.wanted
      OR OLD.habits IS DISTINCT FROM NEW.habits
    ) EXECUTE FUNCTION set_updated_at()
    """,
    """
    CREATE TRIGGER match_user_goes BEFORE DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION match_user_goes()
    """,
)


def upgrade() -> None:
    for statement in TABLES:
        op.execute(statement)
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    for function in FUNCTIONS.values():
        op.execute(function.format(schema=schema))
    for trigger in TRIGGERS:
        op.execute(trigger)


def downgrade() -> None:
    for function in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION {function} CASCADE")  # with its triggers
    for table in ("stale_lists", "stale_features", "match_recipes", "match_dismissals"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP TABLE match_choices")
