"""An index of pgvector over the vectors, for those who look for neighbours in SQL of their own.

The JSON array of the seed stays what is stored: the index is over an expression of it. Lists of
matches do not need it (``lists`` is exact).
"""

from __future__ import annotations

import asyncpg

from community_gql.matching import stored
from community_gql.matching.running import MatchingError

PREFIX = "idx_user_features_neighbours_"
MOST_NUMBERS = 4000
"""What pgvector's index of half-precision vectors holds."""

INDEXES = """
    SELECT indexrelid::regclass::text, indisvalid FROM pg_index
    WHERE indrelid = 'user_features'::regclass
      AND starts_with(indexrelid::regclass::text, $1)
"""
EXAMPLE = """\
SELECT other.user_id, -(other.near <#> own.near) AS score
FROM (SELECT vector::text::halfvec({length}) AS near FROM user_features WHERE user_id = $1) AS own
CROSS JOIN LATERAL (
  SELECT user_id, vector::text::halfvec({length}) AS near FROM user_features
  WHERE version = {version} ORDER BY vector::text::halfvec({length}) <#> own.near LIMIT 21
) AS other
WHERE other.user_id <> $1"""
"""Who is near to the person ``$1``: a statement that uses the index."""


async def build(connection: asyncpg.Connection) -> str:
    """Build the index over the vectors of now, beside others' work; an example of its use.

    Indexes of older versions are dropped. Raises MatchingError.
    """
    version = await stored.current(connection)
    length = None
    if version is not None:
        length = await connection.fetchval(
            "SELECT jsonb_array_length(vector) FROM user_features WHERE version = $1 LIMIT 1",
            version.version,
        )
    if version is None or length is None:
        raise MatchingError("there are no vectors yet. First: community-gql matching run")
    if length > MOST_NUMBERS:
        raise MatchingError(
            f"the vectors have {length:,} numbers, but an index of pgvector holds "
            f"{MOST_NUMBERS:,} at most."
        )
    await _need_pgvector(connection)
    name = f"{PREFIX}{version.version}"
    for found, valid in await connection.fetch(INDEXES, PREFIX):
        if found != name or not valid:
            await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {found}")
    await connection.execute(
        f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON user_features "
        f"USING hnsw ((vector::text::halfvec({length})) halfvec_ip_ops) "
        f"WHERE version = {version.version}"
    )
    return EXAMPLE.format(length=length, version=version.version)


async def drop(connection: asyncpg.Connection) -> int:
    """Drop the indexes; how many there were. The extension stays."""
    found = await connection.fetch(INDEXES, PREFIX)
    for name, _ in found:
        await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
    return len(found)


async def _need_pgvector(connection: asyncpg.Connection) -> None:
    row = await connection.fetchrow(
        "SELECT installed_version FROM pg_available_extensions WHERE name = 'vector'"
    )
    if row is None:
        raise MatchingError(
            "this PostgreSQL has no pgvector. Install it there (Debian 13: apt install "
            "postgresql-17-pgvector); matching itself does not need it."
        )
    if row["installed_version"] is None:
        try:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except asyncpg.InsufficientPrivilegeError as error:
            raise MatchingError(
                "the extension vector is not in this database, and only a superuser may create "
                "it: CREATE EXTENSION vector"
            ) from error
