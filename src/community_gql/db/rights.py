"""Work beside the requests that the role may not do: said once, with the GRANT that allows it."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import orjson

from community_gql.db.database import Database, sqlstate
from community_gql.errors import Unavailable

REFUSED = "42501"
NO_TABLE = "42P01"
EVERYTHING = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"
"""What a role that does not own the tables needs to serve."""
# unscoped: what the role may do
_LACKING = """
    SELECT json_build_array(quote_ident(current_user), array(
      SELECT 'GRANT ' || string_agg(right_, ', ') || ' ON ' || table_ || ' TO '
        || quote_ident(current_user) || ';'
      FROM unnest($1::text[], $2::text[]) AS needs(table_, right_)
      WHERE NOT has_table_privilege(table_, right_)
      GROUP BY table_ ORDER BY table_
    ))::text
"""


class Rights:
    """Tells which rights are missing; each thing once, as it is tried again and again."""

    def __init__(self, database: Database, log: logging.Logger) -> None:
        self._database, self._log = database, log
        self._told: set[str] = set()

    async def explains(self, error: Exception, what: str, needs: Mapping[str, str]) -> bool:
        """Whether the role is refused what it needs, or the tables are not there yet.

        ``what`` says in the log what is not done, ``needs`` which rights it takes, by table.
        """
        state = sqlstate(error)
        if state == NO_TABLE:
            self._tell(f"{what}: a table is missing. Run: community-gql db upgrade")
            return True
        if state != REFUSED:
            return False
        pairs = [(table, right) for table, all_ in needs.items() for right in all_.split(", ")]
        tables, rights = (list(column) for column in zip(*pairs, strict=True))
        try:
            role, grants = orjson.loads(await self._database.value(_LACKING, [tables, rights]))
        except Unavailable:
            return True  # the next time tells it
        # A trigger may need what is not in ``needs``.
        grants = grants or [f"{EVERYTHING} TO {role};"]
        self._tell(
            f"{what}: the role {role} lacks rights. Run as the owner of the tables: "
            + " ".join(grants)
        )
        return True

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._log.warning("%s", text)
