"""Rows of lists that are written without asking for both people of each row.

The two foreign keys of ``match_results`` lock each person by a statement of their own: 10 of the
16 microseconds that a row costs. Here one statement locks all people of a batch in the same way,
and the rows are written while triggers are off. So the keys hold as if they had been asked. What
the trigger for live updates would have recorded is recorded by a statement as well.

Only a role that may set ``session_replication_role`` can do so, and only where no trigger or key
stands on the table that is not known here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg

KNOWN = [
    "match_results_recorded_insert",
    "match_results_target_user_id_fkey",
    "match_results_user_id_fkey",
]
"""What looks at rows that are inserted."""
FOUND = """
    SELECT array_agg(DISTINCT coalesce(c.conname, t.tgname)::text) FILTER (WHERE tgtype & 4 <> 0),
      bool_and(tgenabled = 'O')
    FROM pg_trigger t LEFT JOIN pg_constraint c ON c.oid = t.tgconstraint
    WHERE t.tgrelid = 'match_results'::regclass
"""
MAY_WRITE = """
    SELECT has_any_column_privilege('users', 'UPDATE') AND has_table_privilege('changes', 'INSERT')
"""
MAY_SET = "SELECT has_parameter_privilege('session_replication_role', 'SET')"
MAY_SET_14 = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
# As a foreign key locks them: whoever deletes one waits until the transaction ends, and then
# finds the rows. In no order of ours: that would take twice the time, and such locks do not wait
# for each other.
LOCKED = """
    SELECT count(*) FROM (
      SELECT FROM users WHERE auth0_sub = ANY ($1::varchar[]) FOR KEY SHARE
    ) AS locked
"""
OFF = "SET LOCAL session_replication_role = replica"
ON = "SET LOCAL session_replication_role = origin"
RECORD = """
    INSERT INTO changes (entity, key, people)
    SELECT 'match_results', sub, ARRAY[sub] FROM unnest($1::varchar[]) AS sub
"""


class PersonDeleted(Exception):
    """A person of a list was deleted meanwhile; once more, the list is made without them."""


async def allowed(connection: asyncpg.Connection) -> bool:
    """Whether this role may write so, into this table."""
    may_set = MAY_SET if connection.get_server_version() >= (15,) else MAY_SET_14
    for statement in (may_set, MAY_WRITE):
        if not await connection.fetchval(statement):
            return False
    known, as_usual = tuple(await connection.fetchrow(FOUND) or ((), False))
    return bool(as_usual) and sorted(known or ()) == KNOWN


async def copied(
    connection: asyncpg.Connection,
    copying: Callable[[], Awaitable[Any]],
    written: Sequence[tuple[Any, ...]],
) -> None:
    """Have ``copying`` insert the rows ``written``, each of an owner and another person first.

    Raises PersonDeleted.
    """
    owners = list({row[0] for row in written})
    people = list({row[1] for row in written}.union(owners))
    if await connection.fetchval(LOCKED, people) != len(people):
        raise PersonDeleted
    await connection.execute(OFF)
    await copying()
    await connection.execute(ON)
    await connection.execute(RECORD, owners)
