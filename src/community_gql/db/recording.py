"""The triggers that record changes for live updates, for migrations: one word per table."""

from __future__ import annotations

from typing import Any

from alembic import op
from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops

TRANSITIONS = {"INSERT": ("NEW",), "UPDATE": ("OLD", "NEW"), "DELETE": ("OLD",)}


def record_changes(table: str, key: str) -> None:
    """Have ``changes`` get a line for each row of a table that is written.

    ``user_id`` of the row is the person whom it concerns. ``key`` is how its line names it: ``id``,
    or ``user_id`` for a table whose rows have no id. Dropping the table drops the triggers.
    """
    function = {"id": "rows_recorded", "user_id": "people_recorded"}[key]
    for operation, rows in TRANSITIONS.items():
        seen = " ".join(f"{each} TABLE AS {each.lower()}_rows" for each in rows)
        op.execute(f"""
            CREATE OR REPLACE TRIGGER {table}_recorded_{operation.lower()}
            AFTER {operation} ON {table} REFERENCING {seen}
            FOR EACH STATEMENT EXECUTE FUNCTION {function}()
        """)
    op.execute(f"""
        CREATE OR REPLACE TRIGGER {table}_recorded_truncate
        AFTER TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION truncation_recorded()
    """)


class RecordChanges(ops.MigrateOperation):
    """``record_changes`` in a migration that Alembic writes."""

    def __init__(self, table: str, key: str) -> None:
        self.table, self.key = table, key


@renderers.dispatch_for(RecordChanges)
def _render(context: AutogenContext, operation: Any) -> str:
    context.imports.add("from community_gql.db.recording import record_changes")
    return f"record_changes({operation.table!r}, {operation.key!r})"
