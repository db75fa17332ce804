"""Rows for tests: the one place that makes them.

Each function inserts committed rows and returns what a test needs to name them: the primary key,
the global id and what was chosen for it. Omitted values are filled in, unique where they
must be. ``created_at`` may be given wherever an order depends on it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from community_gql.schema.ids import write_id

_numbers = itertools.count(1)

BEGINNING = datetime(2026, 1, 1, 9, 0, tzinfo=UTC)
"""The first moment in the tests; ``day(n)`` is n days later."""


def day(number: float) -> datetime:
    """The moment that many days after the beginning."""
    return BEGINNING + timedelta(days=number)


@dataclass(frozen=True)
class Person:
    sub: str
    public_id: UUID
    email: str
    name: str | None
    created_at: datetime
    permissions: tuple[str, ...] = ()
    """The permissions of their tokens."""

    @property
    def id(self) -> str:
        return write_id("User", self.public_id)


@dataclass(frozen=True)
class Row:
    """A row with a numeric key; ``id`` is its global id."""

    type_name: str
    key: int
    name: str
    """Its name or title; empty if it has none."""
    created_at: datetime

    @property
    def id(self) -> str:
        return write_id(self.type_name, self.key)


async def person(
    db: asyncpg.Connection,
    name: str | None = None,
    *,
    sub: str | None = None,
    email: str | None = None,
    bio: str | None = None,
    journaling_frequency: int | None = None,
    profile_updated_at: datetime | None = None,
    created_at: datetime | None = None,
    tags: Iterable[Row] = (),
    permissions: Sequence[str] = (),
) -> Person:
    """A person; with a profile when ``name``, ``bio`` or ``journaling_frequency`` is given."""
    number = next(_numbers)
    found = await db.fetchrow(
        "INSERT INTO users (auth0_sub, email, created_at) VALUES ($1, $2, coalesce($3, now())) "
        "RETURNING auth0_sub, public_id, email, created_at",
        sub or f"auth0|person-{number}",
        email or f"person-{number}@example.org",
        created_at,
    )
    assert found is not None
    made = Person(found[0], found[1], found[2], name, found[3], tuple(permissions))
    if (name, bio, journaling_frequency) != (None, None, None):
        await db.execute(
            "INSERT INTO user_profiles (user_id, display_name, bio, journaling_frequency, "
            "updated_at) VALUES ($1, $2, $3, $4, coalesce($5, now()))",
            made.sub,
            name,
            bio,
            journaling_frequency,
            profile_updated_at,
        )
    for chosen in tags:
        await choose(db, made, chosen)
    return made


def machine(*permissions: str) -> Person:
    """A program with a token of its own: it has no account."""
    sub = f"program-{next(_numbers)}@clients"
    return Person(sub, UUID(int=0), "", None, BEGINNING, permissions)


async def people(db: asyncpg.Connection, count: int, **options: Any) -> list[Person]:
    """That many people, named in the order of their creation."""
    return [await person(db, f"Person {n:03}", created_at=day(n), **options) for n in range(count)]


async def tag(db: asyncpg.Connection, name: str | None = None, **given: datetime) -> Row:
    return await _named(db, "Tag", "tags", name or f"tag {next(_numbers)}", {}, given)


async def choose(db: asyncpg.Connection, who: Person, *tags: Row) -> None:
    """The person chooses the tags for themselves."""
    for chosen in tags:
        await db.execute("INSERT INTO user_tags VALUES ($1, $2)", who.sub, chosen.key)


async def story(
    db: asyncpg.Connection,
    author: Person,
    title: str | None = None,
    *,
    content: str = "Moss after rain.",
    visibility: str = "public",
    tags: Iterable[Row] = (),
    **given: datetime,
) -> Row:
    title = title or f"Story {next(_numbers)}"
    columns = {"user_id": author.sub, "content": content, "visibility": visibility}
    made = await _named(db, "Story", "stories", title, columns, given)
    for its in tags:
        await db.execute("INSERT INTO story_tags VALUES ($1, $2)", made.key, its.key)
    return made


async def habit(
    db: asyncpg.Connection,
    owner: Person,
    name: str | None = None,
    *,
    frequency: str = "daily",
    meta: Mapping[str, Any] | None = None,
    **given: datetime,
) -> Row:
    columns = {"user_id": owner.sub, "frequency": frequency, "meta": json.dumps(meta or {})}
    return await _named(db, "Habit", "habits", name or f"habit {next(_numbers)}", columns, given)


async def garden(
    db: asyncpg.Connection,
    owner: Person,
    name: str = "Moss corner",
    *,
    theme: str | None = None,
    **given: datetime,
) -> Row:
    columns = {"user_id": owner.sub, "theme": theme}
    return await _named(db, "Garden", "gardens", name, columns, given)


OWNED: dict[str, Callable[[asyncpg.Connection, Person], Awaitable[Row]]] = {
    "Story": story,
    "Habit": habit,
    "Garden": garden,
}
"""What a person can have, by type, as ``make(db, owner)``: every type of NODES that has an owner.

The tests of all types (of both ways of running queries, of loaders, ids and exports) make rows of
these, so that a new type is tried there as well."""


async def features(
    db: asyncpg.Connection,
    owner: Person,
    vector: Sequence[float] = (0.5, 1.0, 2.25),
    *,
    version: int = 1,
    updated_at: datetime | None = None,
) -> None:
    await db.execute(
        "INSERT INTO user_features VALUES ($1, $2, $3, coalesce($4, now()))",
        owner.sub,
        json.dumps(list(vector)),
        version,
        updated_at,
    )


async def friendship(
    db: asyncpg.Connection,
    requester: Person,
    addressee: Person,
    *,
    accepted: bool = True,
    created_at: datetime | None = None,
    accepted_at: datetime | None = None,
) -> Row:
    """A friendship, or with ``accepted=False`` the request for one."""
    found = await db.fetchrow(
        "INSERT INTO friendships (requester_id, addressee_id, status, created_at, accepted_at) "
        "VALUES ($1, $2, $3, coalesce($4, now()), $5) RETURNING id, created_at",
        requester.sub,
        addressee.sub,
        "accepted" if accepted else "pending",
        created_at,
        (accepted_at or day(1)) if accepted else None,
    )
    assert found is not None
    return Row("Friendship", found[0], "", found[1])


async def match_batch(
    db: asyncpg.Connection,
    owner: Person,
    scores: Mapping[Person, float],
    created_at: datetime | None = None,
) -> list[Row]:
    """A batch of the owner's matches, in the order of ``scores``."""
    moment = created_at or day(1)
    made = []
    for target, score in scores.items():
        key = await db.fetchval(
            "INSERT INTO match_results (user_id, target_user_id, score, created_at) "
            "VALUES ($1, $2, $3, $4) RETURNING id",
            owner.sub,
            target.sub,
            score,
            moment,
        )
        made.append(Row("Match", key, "", moment))
    return made


async def _named(
    db: asyncpg.Connection,
    type_name: str,
    table: str,
    name: str,
    columns: Mapping[str, Any],
    given: Mapping[str, datetime],
) -> Row:
    named = "title" if table == "stories" else "name"
    values = {named: name, **columns, **given}
    places = ", ".join(f"${place}" for place in range(1, len(values) + 1))
    found = await db.fetchrow(
        f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places}) RETURNING id, created_at",
        *values.values(),
    )
    assert found is not None
    return Row(type_name, found[0], name, found[1])
