"""Indexes that are built while the application works, for migrations."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from alembic import op

# unscoped: PostgreSQL's own catalog, for migrations
_INVALID = sa.text("""
    SELECT count(*) FROM pg_index
    WHERE NOT indisvalid AND indexrelid = to_regclass(quote_ident(:name))
""")


def create_indexes(indexes: Mapping[str, str]) -> None:
    """Create each index by its name and definition, such as ``users (created_at DESC)``.

    Outside a transaction: what the migration did before is committed, so call this first. An
    interrupted run may leave indexes that are there but invalid; those are made again.
    """
    with op.get_context().autocommit_block():
        # Whoever comes after a concurrent build does not wait behind it, however long it waits.
        before = op.get_bind().scalar(sa.text("SHOW lock_timeout"))
        op.execute("SET lock_timeout = 0")
        for name, definition in indexes.items():
            if op.get_bind().scalar(_INVALID, {"name": name}):
                op.execute(f"DROP INDEX CONCURRENTLY {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {definition}")
        op.execute(f"SET lock_timeout = '{before}'")


def drop_indexes(indexes: Mapping[str, str]) -> None:
    """Drop each index, as it was created."""
    with op.get_context().autocommit_block():
        for name in reversed(list(indexes)):
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
