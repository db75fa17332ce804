"""What PostgreSQL has counted: the operations that take its time, dead rows, unused indexes."""

from __future__ import annotations

from typing import Any

import asyncpg

from community_gql.db.labels import LABEL_IN_SQL

Rows = list[dict[str, Any]]

# unscoped: PostgreSQL's statistics, for whoever runs the server
_EXTENSION = """
    SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'pg_stat_statements'
"""
# unscoped: PostgreSQL's statistics, for whoever runs the server
_OPERATIONS = """
    SELECT coalesce(substring(query FROM $1), '(other statements)') AS operation,
      sum(calls)::bigint AS calls,
      round((sum(total_exec_time) / sum(calls))::numeric, 2)::float8 AS mean_ms,
      round(max(max_exec_time)::numeric, 2)::float8 AS max_ms,
      round(sum(total_exec_time)::numeric, 1)::float8 AS total_ms,
      sum(rows)::bigint AS rows,
      sum(shared_blks_read)::bigint AS blocks_read
    FROM {schema}.pg_stat_statements
    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    GROUP BY 1 ORDER BY 5 DESC LIMIT $2
"""
# unscoped: PostgreSQL's statistics, for whoever runs the server
_DEAD_ROWS = """
    SELECT relname AS table, n_live_tup AS live, n_dead_tup AS dead,
      round(100.0 * n_dead_tup / greatest(n_live_tup + n_dead_tup, 1), 1)::float8 AS percent,
      greatest(last_vacuum, last_autovacuum) AS vacuumed
    FROM pg_stat_user_tables WHERE n_dead_tup > 0 ORDER BY n_dead_tup DESC LIMIT $1
"""
# unscoped: PostgreSQL's statistics, for whoever runs the server
_UNUSED_INDEXES = """
    SELECT used.relname AS table, used.indexrelname AS index,
      pg_relation_size(used.indexrelid) AS bytes
    FROM pg_stat_user_indexes AS used JOIN pg_index USING (indexrelid)
    WHERE used.idx_scan = 0 AND NOT pg_index.indisunique
    ORDER BY 3 DESC LIMIT $1
"""
# unscoped: PostgreSQL's statistics, for whoever runs the server
_SINCE = """
    SELECT coalesce(stats_reset, pg_postmaster_start_time())
    FROM pg_stat_database WHERE datname = current_database()
"""


class NotThere(Exception):
    """``pg_stat_statements`` cannot be read; the text says what to do."""


async def operations(connection: asyncpg.Connection, limit: int) -> Rows:
    """The operations whose statements took the most time, by the label in them.

    Statements of the same form in several operations count for the one that ran first. Raises
    NotThere.
    """
    schema = await connection.fetchval(_EXTENSION)  # unscoped: as above
    if schema is None:
        raise NotThere(
            "pg_stat_statements is not in this database. Load it (shared_preload_libraries), "
            "restart PostgreSQL, and run: CREATE EXTENSION pg_stat_statements"
        )
    try:
        text = _OPERATIONS.format(schema=schema)
        return _dicts(await connection.fetch(text, LABEL_IN_SQL, limit))  # unscoped: as above
    except asyncpg.ObjectNotInPrerequisiteStateError:
        raise NotThere(
            "pg_stat_statements is not loaded: add it to shared_preload_libraries and restart "
            "PostgreSQL."
        ) from None


async def dead_rows(connection: asyncpg.Connection, limit: int) -> Rows:
    """The tables with the most rows that VACUUM has yet to remove."""
    return _dicts(await connection.fetch(_DEAD_ROWS, limit))  # unscoped: as above


async def unused_indexes(connection: asyncpg.Connection, limit: int) -> Rows:
    """Indexes that no query has used, the largest first; those that hold a rule are not listed."""
    return _dicts(await connection.fetch(_UNUSED_INDEXES, limit))  # unscoped: as above


async def since(connection: asyncpg.Connection) -> Any:
    """The moment from which dead rows and indexes were counted."""
    return await connection.fetchval(_SINCE)  # unscoped: as above


def _dicts(rows: list[asyncpg.Record]) -> Rows:
    return [dict(row) for row in rows]
