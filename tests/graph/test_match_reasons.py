"""Reasons name only what the viewer may see at the moment of reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from tests.support import factories as make
from tests.support.client import Client
from tests.support.factories import Person, Row

pytestmark = pytest.mark.both_ways

REASONS = """{ viewer { user { matches { nodes { user { id } reasons {
  tags { name } themes { name } habits { name owner { id } } journaling
} } } } } }"""


@dataclass
class Pair:
    """Someone who reads, and their match."""

    api: Client
    db: asyncpg.Connection
    viewer: Person
    other: Person
    tag: Row

    async def reasons(self) -> dict[str, Any]:
        data = (await self.api(REASONS, self.viewer)).data
        (node,) = data["viewer"]["user"]["matches"]["nodes"]
        assert all(habit["owner"]["id"] == self.viewer.id for habit in node["reasons"]["habits"])
        return {
            name: [item["name"] for item in found] if isinstance(found, list) else found
            for name, found in node["reasons"].items()
        }

    async def share(self, who: Person, wanted: bool = True) -> None:
        await self.db.execute("INSERT INTO match_choices VALUES ($1, $2, true)", who.sub, wanted)


@pytest.fixture
async def pair(api: Client, db: asyncpg.Connection) -> Pair:
    viewer, other = await make.person(db), await make.person(db)
    await make.match_batch(db, viewer, {other: 0.5})
    return Pair(api, db, viewer, other, await make.tag(db, "moss"))


NOTHING: dict[str, Any] = {"tags": [], "themes": [], "habits": [], "journaling": None}


@pytest.mark.parametrize("mine", ["chosen", "public", "friends", "private", "not"])
@pytest.mark.parametrize("theirs", ["chosen", "public", "friends", "private", "not"])
async def test_tags_and_themes(pair: Pair, mine: str, theirs: str) -> None:
    """By how each of the two has a tag. Stories that are not public count for nobody."""
    for who, how in ((pair.viewer, mine), (pair.other, theirs)):
        if how == "chosen":
            await make.choose(pair.db, who, pair.tag)
        elif how != "not":
            await make.story(pair.db, who, visibility=how, tags=[pair.tag])
            await make.story(pair.db, who, visibility=how, tags=[pair.tag])
    counts = {"chosen", "public"}
    expected = dict(NOTHING)
    if (mine, theirs) == ("chosen", "chosen"):
        expected["tags"] = ["moss"]
    elif {mine, theirs} <= counts:
        expected["themes"] = ["moss"]
    assert await pair.reasons() == expected
    # A story that is made public shows at once, and is gone at once when it is hidden.
    await pair.db.execute("UPDATE stories SET visibility = 'private'")
    if {mine, theirs} != {"chosen"}:
        assert await pair.reasons() == NOTHING


async def test_even_friends_stories_are_no_reason(pair: Pair) -> None:
    await make.friendship(pair.db, pair.viewer, pair.other)
    await make.choose(pair.db, pair.viewer, pair.tag)
    await make.story(pair.db, pair.other, visibility="friends", tags=[pair.tag])
    assert await pair.reasons() == NOTHING


@pytest.mark.parametrize("mine", [True, False])
@pytest.mark.parametrize("theirs", [True, False])
async def test_habits_only_where_both_share_them(pair: Pair, mine: bool, theirs: bool) -> None:
    for name in ("Walk", "sing"):
        await make.habit(pair.db, pair.viewer, name)
    for name in ("walk", "WALK", "swim"):
        await make.habit(pair.db, pair.other, name)
    for who, shares in ((pair.viewer, mine), (pair.other, theirs)):
        if shares:
            await pair.share(who)
    habits = ["Walk"] if mine and theirs else []
    assert await pair.reasons() == NOTHING | {"habits": habits}


async def test_habits_of_someone_who_left_are_no_reason(pair: Pair) -> None:
    for who in (pair.viewer, pair.other):
        await make.habit(pair.db, who, "walk")
    await pair.share(pair.viewer)
    await pair.share(pair.other, wanted=False)
    assert await pair.reasons() == NOTHING


@pytest.mark.parametrize(
    ("mine", "theirs", "both"), [(3, 3, 3), (0, 0, 0), (3, 4, None), (None, None, None)]
)
async def test_journaling(
    pair: Pair, mine: int | None, theirs: int | None, both: int | None
) -> None:
    for who, days in ((pair.viewer, mine), (pair.other, theirs)):
        await pair.db.execute(
            "INSERT INTO user_profiles (user_id, journaling_frequency) VALUES ($1, $2)",
            who.sub,
            days,
        )
    assert await pair.reasons() == NOTHING | {"journaling": both}


async def test_nobody_reads_the_reasons_of_others(pair: Pair) -> None:
    for who in (pair.viewer, pair.other):
        await make.choose(pair.db, who, pair.tag)
    query = """query($id: ID!) { user(id: $id) { matches { nodes { reasons { journaling } } } } }"""
    for reader in (pair.other, None):
        data = (await pair.api(query, reader, id=pair.viewer.id)).data
        assert data == {"user": {"matches": {"nodes": []}}}


async def test_at_most_fifty_themes_by_name(pair: Pair) -> None:
    tags = [await make.tag(pair.db, f"tag {n:02}") for n in range(60)]
    for who in (pair.viewer, pair.other):
        for part in (tags[:20], tags[20:40], tags[40:]):
            await make.story(pair.db, who, tags=part)
    found = await pair.reasons()
    assert found["themes"] == [f"tag {n:02}" for n in range(50)]


NESTED = """{ viewer { user { matches { nodes { score user {
  id tags { name } matches { nodes { reasons { tags { name } } } }
  stories(first: 2) { nodes { title author { id } } }
} reasons { tags { name stories(first: 1) { totalCount } } themes { name } habits { name }
  journaling } } } } } }"""


async def test_reasons_are_nested_at_will_in_one_statement(pair: Pair, pushdown: str) -> None:
    for who in (pair.viewer, pair.other):
        await make.choose(pair.db, who, pair.tag)
        await make.story(pair.db, who, tags=[pair.tag])
        await pair.share(who)
        await make.habit(pair.db, who, "Walk")
    answer = await pair.api(NESTED, pair.viewer)
    (node,) = answer.data["viewer"]["user"]["matches"]["nodes"]
    assert [habit["name"] for habit in node["reasons"]["habits"]] == ["Walk"]
    (tag,) = node["reasons"]["tags"]
    assert (tag["name"], tag["stories"]["totalCount"]) == ("moss", 2)
    (story,) = node["user"]["stories"]["nodes"]
    assert story["author"] == {"id": pair.other.id}
    assert node["user"]["matches"] == {"nodes": []}  # which are theirs alone
    if pushdown == "always":
        assert len(answer.statements) == 1
