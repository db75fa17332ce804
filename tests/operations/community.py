"""A small community with random people and things, for random operations."""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from community_gql.schema.ids import write_id
from tests.operations.operations import Words
from tests.support import factories as make
from tests.support.factories import Person, day

TEXTS = (
    "moss", "rain", "zen", "moss rain", '"spring rain" -snow', "or", "", " ", "A", "ada", "p",
    "%", "_", "\\", "'", '"', "é", "e\u0301", "ß", "moss ", "MOSS", "🌱", "a\nb", "\t", "~",
    "x" * 200, "\u0001\u001f", "\u007f\u0085", "\u2028\u2029", "\ufeff", "\uffff", "\u202eabc",
    "</script>", "\\u0041", "$1", "%s", "{}", "null", "İı", "-moss", "moss:*", "a & b", "(",
)  # fmt: skip

METAS = (
    "{}",
    '{"a": [1, 1.50, -3e10, null, true, {"é": "\\u0001\\"🌱"}]}',
    '{"b": 1, "a": 2, "aa": {"": []}}',
    "[]",
    '"x"',
    "0.1",
    "false",
)

NONSENSE = (
    "", "nonsense", "VXNlcjo", "U3Rvcnk6MQ==", "=", "Story:1", "\u00e9",
    *(write_id("Story", key) for key in (2**62, 2**63, 10**30, -1, "01", "+1", "1 ", "\u0661")),
    *(write_id("User", key) for key in (7, "", "X", "AAAAAAAA-AAAA-4AAA-8AAA-AAAAAAAAAAAA")),
    write_id("Nothing", 1), write_id("Profile", 1), write_id("Node", 1), write_id("", ""),
)  # fmt: skip


async def community(db: asyncpg.Connection, chance: random.Random) -> tuple[list[Person], Words]:
    """Random people with random things; moments and scores repeat, so that ties are broken."""

    def moment() -> datetime:
        return day(chance.randint(0, 6)) + timedelta(microseconds=chance.choice((0, 0, 1, 123456)))

    def some(items: Any, most: int) -> Any:
        return chance.sample(items, chance.randint(0, min(most, len(items))))

    def text(longest: int = 80) -> str:
        return " ".join(chance.choices(TEXTS, k=chance.randint(1, 4)))[:longest]

    names = ["moss", "rain", "zen", "a~b", "é", "50%", "sn_w", "🌱", "a\\b"]
    tags = [await make.tag(db, name, created_at=moment()) for name in names]
    people = []
    for n in range(12):
        given: dict[str, Any] = {
            "bio": chance.choice((None, "", text(), 'a "quoted"\\ \u2028 line\u0001')),
            "journaling_frequency": chance.choice((None, 0, 7)),
        }
        name = chance.choice((None, "", text(), f"Ada {n % 3}"))
        people.append(
            await make.person(
                db, name, created_at=moment(), profile_updated_at=moment(),
                tags=some(tags, 5), permissions=chance.choice(((), ("manage:tags", "é\"\\"))),
                **given,
            )
        )  # fmt: skip
    rows: list[Any] = [*tags]
    for who in people:
        for _ in range(chance.choice((0, 1, 2, 3, 6, 12))):
            rows.append(
                await make.story(
                    db, who, text() or "x", content=text() * chance.choice((1, 1, 30)),
                    visibility=chance.choice(("public", "friends", "private")),
                    tags=some(tags, 3), created_at=moment(),
                )
            )  # fmt: skip
        for n in range(chance.randint(0, 4)):
            habit = await make.habit(
                db, who, f"habit {n}", created_at=moment(),
                frequency=chance.choice(("daily", "weekly", "monthly", "custom")),
            )  # fmt: skip
            await db.execute(
                "UPDATE habits SET meta = $2::text::jsonb WHERE id = $1",
                habit.key,
                chance.choice(METAS),
            )
            rows.append(habit)
        if chance.random() < 0.7:
            theme = chance.choice((None, "zen"))
            rows.append(await make.garden(db, who, text() or "x", theme=theme, created_at=moment()))
        for type_name, owned in make.OWNED.items():
            if type_name not in ("Story", "Habit", "Garden"):
                rows += [await owned(db, who) for _ in range(chance.randint(0, 2))]
        if chance.random() < 0.5:
            await make.features(db, who, chance.choice(([], [0.5, 1.0, -1e-7], [1.0] * 40)))
        for _ in range(chance.randint(0, 2)):
            others = {
                o: chance.choice((0.0, 0.25, 0.1, 1 / 3, 1.0)) for o in some(people, 6) if o != who
            }
            batch = chance.choice((day(1), day(2), day(3)))
            with suppress(asyncpg.UniqueViolationError):  # twice the same target in one batch
                rows += await make.match_batch(db, who, others, batch)
    for n, one in enumerate(people):
        for other in people[n + 1 :]:
            if chance.random() < 0.35:
                pair = (one, other) if chance.random() < 0.5 else (other, one)
                rows.append(
                    await make.friendship(
                        db, *pair, accepted=chance.random() < 0.6, created_at=moment()
                    )
                )
    words = Words(
        ids=[*(person.id for person in people), *(row.id for row in rows), *NONSENSE],
        texts=TEXTS + tuple(names),
        moments=[day(n / 2) for n in range(-1, 14)],
        keys=[row.key for row in rows],
        uuids=[p.public_id for p in people],
        rows=[
            *((row.created_at, row.key) for row in rows),
            *((row.name, row.key) for row in rows if row.name),
            *((person.created_at, person.public_id) for person in people),
            *(((person.name or "").lower(), person.public_id) for person in people),
        ],
    )
    return people, words


async def spoil(db: asyncpg.Connection) -> None:
    """Make values that the schema does not allow."""
    await db.execute("UPDATE habits SET meta = 'null' WHERE id % 2 = 0")
    vectors = ("[0.5, null]", '["x"]', '{"a": 1}', "7", "null", "[[1]]", "[true]")
    owners = await db.fetch("SELECT user_id FROM user_features ORDER BY user_id")
    for n, owner in enumerate(owners):
        await db.execute(
            "UPDATE user_features SET vector = $2::text::jsonb WHERE user_id = $1",
            owner[0],
            vectors[n % len(vectors)],
        )
