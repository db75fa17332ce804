"""What people choose about being matched, and what it does at once."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from tests.support import factories as make
from tests.support.client import Client
from tests.support.factories import Person
from tests.support.writing import Scene, change, scene

pytestmark = pytest.mark.both_ways

MATCHING = "{ viewer { matching { wanted habits state listedAt } } }"


@pytest.fixture(name="scene")
async def _scene(db: asyncpg.Connection) -> Scene:
    made = await scene(db)
    await make.features(db, made.ada)
    await make.features(db, made.bea)
    await make.match_batch(db, made.bea, {made.ada: 0.5})
    await make.match_batch(db, made.moderator, {made.ada: 0.25})
    await db.execute("DELETE FROM stale_features")
    return made


async def state(api: Client, who: Person) -> Any:
    return (await api(MATCHING, who)).data["viewer"]["matching"]


async def listed(db: asyncpg.Connection) -> set[tuple[str, str]]:
    rows = await db.fetch("SELECT user_id, target_user_id FROM match_results")
    return {(owner, target) for owner, target in rows}


async def marked(db: asyncpg.Connection) -> tuple[set[str], set[str]]:
    """Whose vector is marked, and whose list."""
    features = {row[0] for row in await db.fetch("SELECT user_id FROM stale_features")}
    return features, {row[0] for row in await db.fetch("SELECT user_id FROM stale_lists")}


async def has_features(db: asyncpg.Connection) -> set[str]:
    return {row[0] for row in await db.fetch("SELECT user_id FROM user_features")}


async def test_states(api: Client, db: asyncpg.Connection, scene: Scene) -> None:
    unset = {"wanted": True, "habits": False}
    assert await state(api, scene.ada) == {
        **unset, "state": "READY", "listedAt": "2026-01-02T09:00:00.000000Z"
    }  # fmt: skip
    cleo = await make.person(db)
    assert await state(api, cleo) == {**unset, "state": "NOTHING_TO_GO_BY", "listedAt": None}
    await make.choose(db, cleo, scene.moss)
    assert await state(api, cleo) == {**unset, "state": "WAITING", "listedAt": None}
    await change(api, cleo, "updateMatching", wanted=False)
    assert (await state(api, cleo))["state"] == "OFF"


async def test_leaving_takes_one_out_of_all_lists_at_once(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    ada, bea, moderator = scene.ada, scene.bea, scene.moderator
    payload = await change(
        api, ada, "updateMatching", "viewer { matching { wanted habits state listedAt } }",
        wanted=False,
    )  # fmt: skip
    off = {"wanted": False, "habits": False, "state": "OFF", "listedAt": None}
    assert payload == {"viewer": {"matching": off}}
    assert await listed(db) == set()
    assert await has_features(db) == {bea.sub}
    assert await marked(db) == (set(), {bea.sub, moderator.sub})
    await change(api, ada, "updateMatching", wanted=True)
    assert await marked(db) == ({ada.sub}, {bea.sub, moderator.sub})


async def test_taking_back_habits_does_so_too_and_one_comes_back_without(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    ada, bea, moderator = scene.ada, scene.bea, scene.moderator
    before = await listed(db)
    await change(api, ada, "updateMatching", habits=True)
    assert await listed(db) == before
    assert await marked(db) == ({ada.sub}, set())
    await change(api, ada, "updateMatching", habits=False)
    assert await listed(db) == set()
    assert await has_features(db) == {bea.sub}
    assert await marked(db) == ({ada.sub}, {bea.sub, moderator.sub})


async def test_the_same_again_changes_nothing(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    before = await listed(db)
    await change(api, scene.ada, "updateMatching", wanted=True, habits=False)
    await change(api, scene.ada, "updateMatching")
    assert await listed(db) == before
    assert await marked(db) == (set(), set())


async def test_a_dismissed_match_is_gone_for_the_viewer_alone(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    ada, bea = scene.ada, scene.bea
    others = await listed(db) - {(ada.sub, bea.sub)}

    async def dismissed() -> list[str]:
        data = (await api("{ viewer { notInterested { nodes { id } totalCount } } }", ada)).data
        return [node["id"] for node in data["viewer"]["notInterested"]["nodes"]]

    payload = await change(api, ada, "dismissMatch", "deletedMatchId", userId=bea.id)
    assert payload == {"deletedMatchId": scene.match.id}
    assert await listed(db) == others
    assert await marked(db) == (set(), {ada.sub})
    assert await dismissed() == [bea.id]
    # Once more is no error, and there is no match to delete.
    payload = await change(api, ada, "dismissMatch", "deletedMatchId", userId=bea.id)
    assert payload == {"deletedMatchId": None}
    payload = await change(api, ada, "restoreMatch", "user { id }", userId=bea.id)
    assert payload == {"user": {"id": bea.id}}
    assert await dismissed() == []


@pytest.mark.parametrize("how", ["request", "accept"])
async def test_friends_do_not_match(
    api: Client, db: asyncpg.Connection, scene: Scene, how: str
) -> None:
    ada, bea = scene.ada, scene.bea
    rest = await listed(db) - {(ada.sub, bea.sub), (bea.sub, ada.sub)}
    if how == "request":
        await change(api, ada, "requestFriendship", "friendship { id }", userId=bea.id)
    else:
        await change(api, ada, "acceptFriendship", id=scene.asked_by_bea.id)
    assert await listed(db) == rest
    assert await marked(db) == (set(), {ada.sub, bea.sub})
    await change(api, ada, "endFriendship", id=scene.asked_by_bea.id)
    assert await marked(db) == (set(), {ada.sub, bea.sub})


async def test_who_was_asked_leaves_the_list_of_whoever_asked(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    ada, moderator = scene.ada, scene.moderator
    await make.match_batch(db, ada, {moderator: 0.75}, make.day(1))
    await change(api, ada, "requestFriendship", userId=moderator.id)
    assert (ada.sub, moderator.sub) not in await listed(db)
    assert (moderator.sub, ada.sub) in await listed(db)


async def test_machines_leave_out_whom_they_must(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    ada, bea, machine = scene.ada, scene.bea, scene.machine
    cleo, dan = await make.person(db), await make.person(db)
    await make.friendship(db, cleo, ada)
    await db.execute("INSERT INTO match_choices VALUES ($1, false, false)", dan.sub)
    await change(api, bea, "dismissMatch", userId=cleo.id)
    people = (ada, bea, cleo, dan)
    features = [{"userId": who.id, "vector": [1, 2]} for who in people]
    await db.execute("DELETE FROM user_features")
    await db.execute("SELECT mark_stale_features(array_agg(auth0_sub)) FROM users")
    payload = await change(api, machine, "putFeatures", "count skipped", features=features)
    assert payload == {"count": 3, "skipped": 1}
    assert await has_features(db) == {ada.sub, bea.sub, cleo.sub}
    stale, lists = await marked(db)
    assert stale == {dan.sub, scene.moderator.sub}
    assert lists >= {ada.sub, bea.sub, cleo.sub}
    pairs = [(one, other) for one in people for other in people if one != other]
    matches = [{"userId": a.id, "targetUserId": b.id, "score": 0.5} for a, b in pairs]
    payload = await change(api, machine, "putMatches", "skipped", matches=matches)
    moderators = {pair for pair in await listed(db) if pair[0] == scene.moderator.sub}
    # Bea asked Ada and dismissed Cleo; Cleo and Ada are friends.
    assert await listed(db) - moderators == {
        (ada.sub, bea.sub), (cleo.sub, bea.sub)
    }  # fmt: skip
    assert payload == {"skipped": 10}


async def test_a_choice_is_the_persons_own(
    api: Client, db: asyncpg.Connection, scene: Scene
) -> None:
    await change(api, scene.bea, "updateMatching", wanted=False)
    assert (await state(api, scene.ada))["wanted"] is True
    assert (await state(api, scene.bea))["wanted"] is False
