"""The triggers that set ``updated_at``, for migrations: which columns' changes move it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alembic import op
from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops


def move_updated_at(table: str, columns: Sequence[str]) -> None:
    """Have a change of one of these columns set ``updated_at`` of its row, and no other change."""
    changed = " OR ".join(f"OLD.{name} IS DISTINCT FROM NEW.{name}" for name in columns)
    op.execute(f"""
        CREATE OR REPLACE TRIGGER {table}_set_updated_at BEFORE UPDATE ON {table}
        FOR EACH ROW WHEN ({changed}) EXECUTE FUNCTION set_updated_at()
    """)


class MoveUpdatedAt(ops.MigrateOperation):
    """``move_updated_at`` in a migration that Alembic writes."""

    def __init__(self, table: str, columns: Sequence[str]) -> None:
        self.table, self.columns = table, list(columns)


@renderers.dispatch_for(MoveUpdatedAt)
def _render(context: AutogenContext, operation: Any) -> str:
    context.imports.add("from community_gql.db.updated_at import move_updated_at")
    return f"move_updated_at({operation.table!r}, {operation.columns!r})"
