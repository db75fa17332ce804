"""A small community to match, and what its lists are."""

from __future__ import annotations

import random

import asyncpg
import pytest

from community_gql.matching import batches, features, running
from community_gql.matching.batches import Report
from community_gql.matching.running import Mode
from tests.actions.conftest import act as act
from tests.support import factories as make
from tests.support.factories import Person, Row

Lists = dict[str, list[tuple[str, float]]]
"""By person, whom their list holds with what score, best first."""


def quiet(what: str, done: int, total: int) -> None:
    pass


async def lists(db: asyncpg.Connection) -> Lists:
    """All lists as clients read them; each must be of one batch."""
    rows = await db.fetch(
        "SELECT user_id, target_user_id, score, created_at FROM match_results "
        "ORDER BY user_id, score DESC, id DESC"
    )
    found: Lists = {}
    for owner, target, score, _ in rows:
        found.setdefault(owner, []).append((target, score))
    assert len({(row[0], row[3]) for row in rows}) == len(found), "a list is of several batches"
    assert all(len({who for who, _ in one}) == len(one) for one in found.values())
    return found


async def matched(url: str, mode: Mode = "built-in", *, top: int | None = None) -> Report:
    """Bring all lists up to date."""
    return await running.run(url, mode, quiet, top=top)


async def made_anew(db: asyncpg.Connection, url: str, mode: Mode = "built-in") -> Lists:
    """All lists as a full batch makes them, of the same version."""
    await db.execute("DELETE FROM match_results")
    if mode == "built-in":
        await db.execute("DELETE FROM user_features")
        await db.execute("DELETE FROM stale_lists")
        await db.execute("SELECT mark_stale_features(array_agg(auth0_sub)) FROM users")
    else:
        await db.execute(
            "INSERT INTO stale_lists (user_id, vector_changed) SELECT user_id, true "
            "FROM user_features ON CONFLICT (user_id) DO UPDATE SET vector_changed = true"
        )
    await matched(url, mode)
    return await lists(db)


async def community(
    db: asyncpg.Connection, people: int, chance: random.Random, *, tags: int = 25
) -> tuple[list[Person], list[Row]]:
    """People with tags, public stories and shared habits; a few have nothing."""
    words = [await make.tag(db) for _ in range(tags)]
    made = []
    for number in range(people):
        chosen = chance.sample(words, chance.choice((0, 1, 2, 3, 4)))
        frequency = chance.choice((None, 1, 4))
        who = await make.person(db, tags=chosen, journaling_frequency=frequency)
        made.append(who)
        if number % 2:
            await make.story(db, who, tags=chance.sample(words, 2))
        if number % 3 == 0:
            await db.execute("INSERT INTO match_choices VALUES ($1, true, true)", who.sub)
            await make.habit(db, who, chance.choice(("Walk", "walk", "Sing", "Swim", "Knit")))
    return made, words


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few people a transaction that a small community takes many."""
    monkeypatch.setattr(features, "PEOPLE", 7)
    monkeypatch.setattr(batches, "LISTS", 5)
