"""The operations that the generators are given: they cover the roots, and the server takes them."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest
from graphql import parse, validate

from community_gql.schema.executable import core
from tests.clients.operations import documents
from tests.support.client import Client
from tests.support.writing import EXAMPLES, Scene, scene

DOCUMENTS = {name: text for name, text, _ in documents()}
FIELDS = {name: fields for name, _, fields in documents()}

VARIABLES: dict[str, Any] = {
    "ReadViewerQuery": lambda s: {},
    "ReadMomentQuery": lambda s: {},
    "ReadNodeQuery": lambda s: {"id": s.story.id},
    "ReadNodesQuery": lambda s: {"ids": [s.moss.id, s.garden.id]},
    "ReadStoryQuery": lambda s: {"id": s.story.id},
    "ReadStoriesQuery": lambda s: {"filter": {"tagsAny": ["moss"]}, "orderBy": "NEWEST"},
    "ReadUserQuery": lambda s: {"id": s.ada.id, "stories": {"visibility": "PUBLIC"}},
    "ReadUsersQuery": lambda s: {"last": 3, "filter": {"search": "a"}},
    "ReadTagQuery": lambda s: {"name": "moss"},
    "ReadTagsQuery": lambda s: {"prefix": "m"},
}


def variables(name: str, things: Scene) -> dict[str, Any]:
    """What an operation is run with."""
    if name in VARIABLES:
        found: dict[str, Any] = VARIABLES[name](things)
        return found
    (field,) = FIELDS[name]
    return {"input": EXAMPLES[field](things)}


def test_every_root_field_has_an_operation() -> None:
    assert core.query_type is not None
    assert core.mutation_type is not None
    asked = set().union(*FIELDS.values())
    assert asked == {*core.query_type.fields, *core.mutation_type.fields}


@pytest.mark.parametrize("name", DOCUMENTS)
async def test_the_server_takes_it(name: str, api: Client, db: asyncpg.Connection) -> None:
    assert validate(core, parse(DOCUMENTS[name])) == []
    things = await scene(db)
    (field,) = FIELDS[name]
    if field == "createGarden":
        await db.execute("DELETE FROM gardens")
    who = things.actor(field)
    data = (await api(DOCUMENTS[name], who, **variables(name, things))).data
    assert data[field]
    assert (
        data[field].get("userErrors", []) == []
        if isinstance(data[field], dict)
        else all(data[field])
    )
