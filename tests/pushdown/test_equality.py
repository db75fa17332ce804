"""Both ways of running a query give the same answer: random operations, viewers and data."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

import factories as make
from client import Answer, Client, serving
from community_gql.api.ids import write_id
from community_gql.identity.development import DevelopmentIssuer
from factories import Person, day
from pushdown.operations import Generator, Operation, Words

CASES = int(os.environ.get("FUZZ_CASES", "300"))
SEED = os.environ.get("FUZZ_SEED", "community")
BATCHES = 3
"""Each with data of its own."""

UNLIMITED = {"cost_per_minute": 10**9, "cost_limit": 10**9}

TEXTS = (
    "moss", "rain", "zen", "moss rain", '"spring rain" -snow', "or", "", " ", "A", "ada", "p",
    "%", "_", "\\", "'", '"', "é", "ß", "moss ", "MOSS", "🌱", "a\nb", "\t", "~", "x" * 200,
)  # fmt: skip


@dataclass
class Ways:
    compiled: Client
    loaders: Client


@pytest.fixture
async def ways(database_url: str, issuer: DevelopmentIssuer) -> AsyncIterator[Ways]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        ways = Ways(
            await enter(serving(database_url, issuer, pushdown="always", **UNLIMITED)),
            await enter(serving(database_url, issuer, pushdown="off", **UNLIMITED)),
        )
        ways.loaders.tokens = ways.compiled.tokens  # which say when they end
        yield ways


def told(answer: Answer) -> tuple[int, Any]:
    """What a client makes of an answer; a fault has another id each time."""
    body = answer.body
    for error in body.get("errors", ()):
        error["extensions"].pop("errorId", None)
    return answer.status, body


async def both(ways: Ways, operation: Operation, viewer: Person | None) -> Answer:
    """The compiled answer, which must be that of the loaders."""
    compiled = await ways.compiled(operation.text, viewer, **operation.variables)
    loaders = await ways.loaders(operation.text, viewer, **operation.variables)
    if told(compiled) != told(loaders):
        found = "\n".join(differences("answer", told(compiled), told(loaders)))
        pytest.fail(f"{found}\n{operation.text}\n{operation.variables}\n{viewer}", pytrace=False)
    return compiled


def differences(path: str, one: Any, other: Any) -> Iterator[str]:
    """Where two JSON values differ, and how."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            yield from differences(f"{path}.{key}", one.get(key, "-"), other.get(key, "-"))
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
        for n, (a, b) in enumerate(itertools.zip_longest(one, other, fillvalue="-")):
            yield from differences(f"{path}[{n}]", a, b)
    elif one != other:
        yield f"{path}: compiled {one!r}, loaders {other!r}"


async def community(db: asyncpg.Connection, chance: random.Random) -> tuple[list[Person], Words]:
    """Random people with random things; moments and scores repeat, so that ties are broken."""

    def moment() -> datetime:
        return day(chance.randint(0, 6)) + timedelta(microseconds=chance.choice((0, 0, 1, 123456)))

    def some(items: Any, most: int) -> Any:
        return chance.sample(items, chance.randint(0, min(most, len(items))))

    def text() -> str:
        return " ".join(chance.choices(TEXTS, k=chance.randint(1, 4)))[:80]

    names = ["moss", "rain", "zen", "a~b", "é", "50%", "sn_w", "🌱"]
    tags = [await make.tag(db, name, created_at=moment()) for name in names]
    people = []
    for n in range(10):
        given: dict[str, Any] = {
            "bio": chance.choice((None, "", text(), 'a "quoted"\\ \u2028 line\u0001')),
            "journaling_frequency": chance.choice((None, 0, 7)),
        }
        name = chance.choice((None, "", text(), f"Ada {n % 3}"))
        people.append(
            await make.person(
                db, name, created_at=moment(), profile_updated_at=moment(),
                tags=some(tags, 5), **given,
            )
        )  # fmt: skip
    ids = [person.id for person in people] + [tag.id for tag in tags]
    keys = [tag.key for tag in tags]
    for who in people:
        rows: list[Any] = []
        for _ in range(chance.randint(0, 6)):
            rows.append(
                await make.story(
                    db, who, text() or "x", content=text() * chance.choice((1, 1, 30)),
                    visibility=chance.choice(("public", "friends", "private")),
                    tags=some(tags, 3), created_at=moment(),
                )
            )  # fmt: skip
        for n in range(chance.randint(0, 4)):
            habit = await make.habit(db, who, f"habit {n}", created_at=moment())
            await db.execute(
                "UPDATE habits SET frequency = $2, meta = $3::text::jsonb WHERE id = $1",
                habit.key,
                chance.choice(("daily", "weekly", "monthly", "custom")),
                chance.choice(
                    (
                        "{}",
                        '{"a": [1, 1.50, -3e10, null, true, {"é": "\\u0001\\"🌱"}]}',
                        "[]",
                        '"x"',
                    )
                ),
            )
            rows.append(habit)
        if chance.random() < 0.7:
            rows.append(await make.garden(db, who, text() or "x", created_at=moment()))
        if chance.random() < 0.5:
            await make.features(db, who, chance.choice(([], [0.5, 1.0, -1e-7], [1.0] * 40)))
        for _ in range(chance.randint(0, 2)):
            others = {o: chance.choice((0.0, 0.25, 0.5, 1.0)) for o in some(people, 6) if o != who}
            batch = chance.choice((day(1), day(2), day(3)))
            with suppress(asyncpg.UniqueViolationError):  # twice the same target in one batch
                rows += await make.match_batch(db, who, others, batch)
        ids += [row.id for row in rows]
        keys += [row.key for row in rows]
    for n, one in enumerate(people):
        for other in people[n + 1 :]:
            if chance.random() < 0.35:
                pair = (one, other) if chance.random() < 0.5 else (other, one)
                row = await make.friendship(
                    db, *pair, accepted=chance.random() < 0.6, created_at=moment()
                )
                ids.append(row.id)
                keys.append(row.key)
    ids += ["", "nonsense", write_id("User", 7), write_id("Story", 2**62)]
    moments = [day(n / 2) for n in range(-1, 14)]
    return people, Words(ids, TEXTS + tuple(names), moments, keys, [p.public_id for p in people])


LOADERS = {"loaders wrong arguments", "loaders wrong variables"}
"""Why a query of the generator may be left to the loaders: to report what is wrong with it."""


@pytest.mark.parametrize("batch", range(BATCHES))
async def test_random_operations_have_one_answer(
    ways: Ways, db: asyncpg.Connection, batch: int
) -> None:
    chance = random.Random(f"{SEED}-{batch}")
    people, words = await community(db, chance)
    generator = Generator(chance, words)
    compiled = 0

    for _ in range(CASES // BATCHES):
        operation = generator.operation()
        answer = await both(ways, operation, chance.choice([None, *people]))
        if "data" in answer.body:
            assert answer.way in LOADERS | {"compiled"}, operation.text
            compiled += answer.way == "compiled"

    assert compiled > CASES // BATCHES * 0.3, "too few of the operations were worth comparing"
