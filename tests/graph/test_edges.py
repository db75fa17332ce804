"""What the edges say of the database, compared with it."""

from __future__ import annotations

import asyncpg
from graphql import GraphQLObjectType
from sqlalchemy import inspect

from community_gql.schema.executable import core
from community_gql.schema.kinds import OneField, declared

UNIQUE_COLUMNS = """
SELECT c.relname AS "table", a.attname AS "column"
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
WHERE i.indisunique AND i.indnkeyatts = 1 AND i.indpred IS NULL
"""


def ones() -> list[OneField]:
    found = [
        field
        for type_ in core.type_map.values()
        if isinstance(type_, GraphQLObjectType)
        for definition in type_.fields.values()
        if isinstance(field := declared(definition), OneField)
    ]
    assert found
    return found


async def test_what_is_found_by_a_key_has_a_unique_index_in_the_database(
    db: asyncpg.Connection,
) -> None:
    """Its statements have no LIMIT: a second row would be an error of PostgreSQL."""
    unique = {(row["table"], row["column"]) for row in await db.fetch(UNIQUE_COLUMNS)}
    checked = []
    for field in ones():
        edge = field.source
        if not edge.is_unique or edge.relationship is None:
            continue
        relation = inspect(edge.parent).mapper.relationships[edge.relationship]
        ((_, remote),) = relation.local_remote_pairs
        assert (remote.table.name, remote.name) in unique, edge.coordinate
        checked.append(edge.coordinate)
    assert {"User.profile", "User.garden", "Story.author"} <= set(checked)


def test_what_lies_in_two_directions_is_not_found_by_a_key() -> None:
    others = {field.source.coordinate for field in ones() if not field.source.is_unique}
    assert others == {"User.viewer_friendship"}
