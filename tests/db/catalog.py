"""What a database is made of, read from PostgreSQL's catalogs in a form that can be compared."""

from __future__ import annotations

import asyncpg

OBJECTS = """
WITH ours AS (SELECT oid FROM pg_namespace WHERE nspname = 'public'),
foreign_to_us AS (SELECT objid FROM pg_depend WHERE deptype = 'e')
SELECT 'extension ' || extname, '' FROM pg_extension
UNION ALL
SELECT 'table ' || relname, relkind::text || ' ' || relpersistence::text
FROM pg_class WHERE relnamespace IN (SELECT oid FROM ours) AND relkind NOT IN ('i', 'S')
UNION ALL
SELECT 'column ' || relname || '.' || attname,
  'no. ' || row_number() OVER (PARTITION BY c.oid ORDER BY attnum)
  || ' ' || format_type(atttypid, atttypmod)
  || CASE WHEN attcollation <> 0 THEN ' collate ' || attcollation::regcollation ELSE '' END
  || CASE WHEN attnotnull THEN ' not null' ELSE '' END
  || CASE WHEN attidentity <> '' THEN ' identity ' || attidentity::text ELSE '' END
  || CASE WHEN attgenerated <> '' THEN ' generated ' || attgenerated::text ELSE '' END
  || coalesce(' default ' || pg_get_expr(adbin, adrelid), '')
FROM pg_class c JOIN pg_attribute a ON attrelid = c.oid
LEFT JOIN pg_attrdef ON adrelid = c.oid AND adnum = attnum
WHERE relnamespace IN (SELECT oid FROM ours) AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'constraint ' || conrelid::regclass || '.' || conname,
  pg_get_constraintdef(oid) || CASE WHEN convalidated THEN '' ELSE ' (not validated)' END
FROM pg_constraint
-- PostgreSQL 18 has NOT NULL here too ('n'); the columns above say it for every release.
WHERE connamespace IN (SELECT oid FROM ours) AND conrelid <> 0 AND contype <> 'n'
UNION ALL
SELECT 'index ' || indrelid::regclass || '.' || relname,
  pg_get_indexdef(indexrelid) || CASE WHEN indisvalid THEN '' ELSE ' (invalid)' END
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE relnamespace IN (SELECT oid FROM ours)
UNION ALL
SELECT 'sequence ' || c.relname, format_type(seqtypid, NULL) || coalesce(' owned by ' ||
  (SELECT refobjid::regclass || '.' || attname FROM pg_depend d
   JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
   WHERE d.objid = c.oid AND d.deptype = 'a'), '')
FROM pg_class c JOIN pg_sequence ON seqrelid = c.oid WHERE relnamespace IN (SELECT oid FROM ours)
UNION ALL
SELECT 'trigger ' || tgrelid::regclass || '.' || tgname, pg_get_triggerdef(oid)
FROM pg_trigger WHERE NOT tgisinternal
UNION ALL
SELECT 'function ' || oid::regprocedure, pg_get_functiondef(oid)
FROM pg_proc
WHERE pronamespace IN (SELECT oid FROM ours) AND oid NOT IN (SELECT objid FROM foreign_to_us)
UNION ALL
SELECT 'type ' || typname, typtype::text
FROM pg_type
WHERE typnamespace IN (SELECT oid FROM ours) AND typrelid = 0 AND typelem = 0
  AND oid NOT IN (SELECT objid FROM foreign_to_us)
"""

Catalog = dict[str, str]


async def catalog(connection: asyncpg.Connection) -> Catalog:
    """Return each object of the database with its definition, Alembic's own table aside.

    A column's place counts the columns that are there: a dropped one leaves no gap.
    """
    rows = await connection.fetch(OBJECTS)
    found = {name: definition for name, definition in rows if "alembic_version" not in name}
    assert len(found) == len([name for name, _ in rows if "alembic_version" not in name])
    return found


def differences(before: Catalog, after: Catalog) -> dict[str, tuple[str | None, str | None]]:
    """Return what differs: for each object its definition before and after, None where absent."""
    return {
        name: (before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }
