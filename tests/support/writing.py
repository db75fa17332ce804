"""Mutations for tests: asking for one, the scene it acts on, and the whole database to compare."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    get_named_type,
)

from community_gql.schema.executable import core
from tests.support import factories as make
from tests.support.client import Answer, Client
from tests.support.factories import Person, Row
from tests.support.mutations import TABLE


def fields() -> dict[str, GraphQLField]:
    """The fields of Mutation."""
    assert core.mutation_type is not None
    found: dict[str, GraphQLField] = core.mutation_type.fields
    return found


MUTATIONS = sorted(fields())


async def send(
    api: Client, viewer: Person | None, name: str, selection: str = "", /, **given: Any
) -> Answer:
    """The answer to one mutation with this input."""
    type_ = f"{name[0].upper()}{name[1:]}Input"
    return await api(
        f"mutation($input: {type_}!) {{ {name}(input: $input) "
        f"{{ {selection} userErrors {{ code path message }} }} }}",
        viewer,
        input=given,
    )


async def change(
    api: Client, viewer: Person | None, name: str, selection: str = "", /, **given: Any
) -> Any:
    """The payload of a mutation that must succeed, without its ``userErrors``."""
    payload = (await send(api, viewer, name, selection, **given)).data[name]
    assert payload.pop("userErrors") == []
    return payload


async def refusal(
    api: Client, viewer: Person | None, name: str, /, **given: Any
) -> list[tuple[str, list[str]]]:
    """Why a mutation is refused, as (code, path); nothing else may be in its payload."""
    selection = f"query {{ __typename }} {everything_in(name)}"
    payload = (await send(api, viewer, name, selection, **given)).data[name]
    errors = payload.pop("userErrors")
    assert payload.pop("query") == {"__typename": "Query"}
    assert all(value is None for value in payload.values()), payload
    assert all(error["message"].endswith(".") for error in errors), errors
    return [(error["code"], error["path"]) for error in errors]


async def rows(db: asyncpg.Connection) -> dict[str, list[Any]]:
    """Every row of every table, to see what a mutation left behind."""
    tables = await db.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
        "AND relkind = 'r' AND relname <> 'alembic_version' ORDER BY relname"
    )
    return {
        name: [tuple(row) for row in await db.fetch(f"SELECT * FROM {name} AS t ORDER BY t::text")]
        for (name,) in tables
    }


async def waiting(db: asyncpg.Connection, count: int = 1) -> None:
    """Return once this many statements wait for a lock of another transaction."""
    deadline = time.monotonic() + 60
    while True:
        assert time.monotonic() < deadline, "nothing waits for a lock"
        await db.execute(
            "SELECT pg_stat_clear_snapshot()"
        )  # the connection's transaction keeps one
        found = await db.fetchval(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        if found >= count:
            return
        await asyncio.sleep(0.005)


async def settled(db: asyncpg.Connection) -> None:
    """Return once all transactions have ended that run now, those of other tests too.

    A snapshot knows of the transactions of every database of the server, and what is forgotten
    of the changes waits for them.
    """
    now = await db.fetchval("SELECT pg_current_xact_id()::text::bigint")
    deadline = time.monotonic() + 60
    oldest = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
    while await db.fetchval(oldest) <= now:
        assert time.monotonic() < deadline, "a transaction does not end"
        await asyncio.sleep(0.02)


def input_type(name: str) -> GraphQLInputObjectType:
    """The type of a mutation's ``input``."""
    found = get_named_type(fields()[name].args["input"].type)
    assert isinstance(found, GraphQLInputObjectType)
    return found


def members(type_: GraphQLInputObjectType, *, of: str) -> Iterator[tuple[str | int, ...]]:
    """The paths to all members of an input that have the named type, at 0 of each list."""
    for name, field in type_.fields.items():
        inner = field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type
        path: tuple[str | int, ...] = (name, 0) if isinstance(inner, GraphQLList) else (name,)
        named = get_named_type(field.type)
        if isinstance(named, GraphQLInputObjectType):
            yield from ((*path, *rest) for rest in members(named, of=of))
        elif named.name == of:
            yield path


def with_value(given: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """An input like ``given`` but for the member at ``path``."""
    if not path:
        return value
    if isinstance(given, list):
        return [with_value(item, path[1:], value) for item in given[:1]] or [
            with_value({}, path[1:], value) if len(path) > 1 else value
        ]
    if isinstance(path[0], int):
        return [with_value({}, path[1:], value)]
    return {**given, path[0]: with_value(given.get(path[0], {}), path[1:], value)}


def doubles(value: Any) -> Any:
    """A JSON value as clients read it whose numbers are doubles.

    PostgreSQL spells 1.5e300 with all its digits, which Python takes for a whole number.
    """
    if isinstance(value, dict):
        return {key: doubles(item) for key, item in value.items()}
    if isinstance(value, list):
        return [doubles(item) for item in value]
    is_long = type(value) is int and not -(2**63) <= value < 2**63
    return float(value) if is_long else value


def everything_in(name: str) -> str:
    """A selection of everything in a mutation's payload, two levels deep."""
    payload = get_named_type(fields()[name].type)
    assert isinstance(payload, GraphQLObjectType)
    return " ".join(
        f"{field} {_leaves(get_named_type(value.type))}"
        for field, value in payload.fields.items()
        if field not in ("userErrors", "query")
    )


def _leaves(type_: Any) -> str:
    if not isinstance(type_, GraphQLObjectType):
        return ""
    inner = []
    for name, field in type_.fields.items():
        named = get_named_type(field.type)
        if isinstance(named, GraphQLScalarType | GraphQLEnumType):
            inner.append(name)
        elif name == "node":
            inner.append("node { __typename id }")
    return f"{{ {' '.join(inner)} }}"


@dataclass
class Scene:
    """Two people, what each has, a moderator and a machine."""

    ada: Person
    bea: Person
    moderator: Person
    machine: Person
    story: Row
    habit: Row
    garden: Row
    moss: Row
    fern: Row
    asked_by_bea: Row
    """The friendship that Bea asked Ada for."""
    match: Row
    owned: list[Row]
    """Of Ada's, a row of each type of OWNED that is not above."""

    def ids(self) -> dict[str, str]:
        """A global id of every type that has ids, of rows that Ada owns or sees."""
        of = (self.story, self.habit, self.garden, self.moss, self.asked_by_bea, self.match)
        return {row.type_name: row.id for row in (*of, *self.owned)} | {"User": self.ada.id}

    def actor(self, name: str) -> Person:
        """Who may do this: for what is no mutation, Ada."""
        found: Person = getattr(self, TABLE[name].by) if name in TABLE else self.ada
        return found


async def scene(db: asyncpg.Connection) -> Scene:
    """The scene, in the database."""
    moss, fern = await make.tag(db, "moss"), await make.tag(db, "fern")
    ada = await make.person(db, "Ada", tags=[moss])
    bea = await make.person(db, "Bea")
    (match,) = await make.match_batch(db, ada, {bea: 0.5})
    return Scene(
        ada,
        bea,
        await make.person(db, permissions=["manage:tags"]),
        make.machine("write:features", "write:matches"),
        await make.story(db, ada, "Moss", tags=[moss]),
        await make.habit(db, ada, "walk"),
        await make.garden(db, ada),
        moss,
        fern,
        await make.friendship(db, bea, ada, accepted=False),
        match,
        [
            await owned(db, ada)
            for name, owned in make.OWNED.items()
            if name not in ("Story", "Habit", "Garden")
        ],
    )


EXAMPLES = {name: mutation.example for name, mutation in TABLE.items()}
