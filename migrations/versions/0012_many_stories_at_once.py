"""many stories at once

A statement that changes more than 1,000 stories leaves one line in `changes`, which says that any
story may have changed: whoever follows stories is told to read them again for as many anyway. So a
tag on many stories is renamed faster, and nobody has to read a line for each.

The function is replaced; nothing waits.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

MOST = 1_000
"""More stories than this, changed by one statement, are not recorded one by one."""

MANY = f"""
    IF TG_OP = 'UPDATE' THEN
      IF (SELECT count(*) FROM (SELECT FROM new_rows LIMIT {MOST + 1}) AS many) > {MOST} THEN
        INSERT INTO changes (entity, key, people) VALUES ('stories', '*', '{{}}');
        RETURN NULL;
      END IF;
    END IF;
"""
# As before: migration 0011.
EACH = """
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

FUNCTION = """
    CREATE OR REPLACE FUNCTION stories_recorded() RETURNS trigger
    LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
    BEGIN
    {body}
      RETURN NULL;
    END
    $$
"""


def _replace(body: str) -> None:
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    op.get_bind().exec_driver_sql(FUNCTION.format(schema=schema, body=body))


def upgrade() -> None:
    _replace(MANY + EACH)


def downgrade() -> None:
    _replace(EACH)
