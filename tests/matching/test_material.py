"""What vectors are made of reads the same for everybody at once as for some people at a time."""

from __future__ import annotations

import random

import asyncpg
import pytest

from community_gql.matching.material import Everybody, Material, holders_of, material
from community_gql.matching.recipe import Key
from tests.matching.conftest import community
from tests.support import factories as make


def read(found: Material) -> dict[str, tuple[bool, dict[int, tuple[bool, int]], set[str], object]]:
    """By person."""
    made = found.made
    assert len(made) == len(found.people) == len(found.shares) == len(made.journaling)
    tags: list[dict[int, tuple[bool, int]]] = [{} for _ in found.people]
    for row, tag, chosen, stories in zip(
        made.rows.tolist(), made.tags.tolist(), made.chosen.tolist(), made.stories.tolist(),
        strict=True,
    ):  # fmt: skip
        assert tag not in tags[row]
        tags[row][tag] = (chosen, stories)
    habits = [set(names) for names in made.habits]
    each = zip(found.shares, tags, habits, made.journaling, strict=True)
    return dict(zip(found.people, each, strict=True))


@pytest.mark.parametrize("size", [1, 7, 100])
async def test_everybody_at_once_is_as_some_at_a_time(db: asyncpg.Connection, size: int) -> None:
    people, words = await community(db, 40, random.Random(4))
    # Some take no part, whatever they have, and one has several stories with a tag they chose.
    for sub in (people[5].sub, people[6].sub):
        await db.execute(
            "INSERT INTO match_choices VALUES ($1, false, true) "
            "ON CONFLICT (user_id) DO UPDATE SET wanted = false",
            sub,
        )
    await make.choose(db, people[5], words[0])
    await make.choose(db, people[7], await make.tag(db))
    await make.habit(db, people[6], "Walk")
    for _ in range(3):
        await make.story(db, people[8], tags=words[:2])
        await make.story(db, people[8], tags=words, visibility="private")
    subs = [one.sub for one in people]
    everybody = await Everybody.read(db)
    some: dict[str, object] = {}
    for first in range(0, len(subs), size):
        part = read(await material(db, subs[first : first + size]))
        assert read(everybody.of(subs[first : first + size])) == part
        some |= part
    assert len(some) == everybody.people == 38
    assert read(everybody.of(subs)) == some
    assert read(everybody.of(subs[::-3])).items() <= some.items()
    keys = everybody.holders.keys()
    tags = [key for key in keys if isinstance(key, int)]
    habits = [key for key in keys if isinstance(key, str)]
    assert len(tags) > 20
    assert len(habits) > 2
    assert await holders_of(db, tags, habits) == everybody.holders


async def test_nobody_has_anything(db: asyncpg.Connection) -> None:
    ada = await make.person(db)
    everybody = await Everybody.read(db)
    nothing: dict[Key, int] = {}
    assert (everybody.people, everybody.holders) == (1, nothing)
    assert read(everybody.of([ada.sub])) == {ada.sub: (False, {}, set(), None)}
    assert read(everybody.of([])) == {}
