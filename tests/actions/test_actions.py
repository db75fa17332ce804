"""Every action gives a row or says why not (what the API makes of it is in tests/api)."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import asyncpg
import pytest

import community_gql.actions
from community_gql.actions import (
    friendships,
    gardens,
    profiles,
    stories,
    tags,
)
from community_gql.errors import AccountGone, Rejected
from tests.support import factories as make
from tests.support import writing
from tests.support.mutations import TABLE, Mutation
from tests.support.writing import Scene

from .conftest import Writer


@pytest.fixture
async def scene(db: asyncpg.Connection) -> Scene:
    return await writing.scene(db)


ACTIONS = [mutation.action for mutation in TABLE.values()]


def test_every_action_is_here() -> None:
    modules = [
        importlib.import_module(f"community_gql.actions.{found.name}")
        for found in pkgutil.iter_modules(community_gql.actions.__path__)
        if found.name != "locks"
    ]
    taking_a_viewer = {
        function
        for module in modules
        for name, function in inspect.getmembers(module, inspect.iscoroutinefunction)
        if function.__module__ == module.__name__
        and not name.startswith("_")
        and list(inspect.signature(function).parameters)[:2] == ["session", "viewer"]
        and any(
            parameter.kind is parameter.KEYWORD_ONLY
            for parameter in inspect.signature(function).parameters.values()
        )
    } - {tags.lock_vocabulary}
    assert set(ACTIONS) == taking_a_viewer


@pytest.mark.parametrize(
    "case",
    TABLE.values(),
    ids=[f"{action.__module__.rpartition('.')[2]}.{action.__name__}" for action in ACTIONS],
)
async def test_a_row_or_rejected(
    case: Mutation, act: Writer, db: asyncpg.Connection, scene: Scene
) -> None:
    who = getattr(scene, case.action_by or case.by)
    before = await writing.rows(db)
    with pytest.raises(Rejected) as refused:
        await act(case.action, who, **case.refused(scene))
    assert {error.code for error in refused.value.errors} == case.codes
    assert await writing.rows(db) == before

    assert isinstance(await act(case.action, who, **case.accepted(scene)), case.returns)
    assert await writing.rows(db) != before
    assert act.deadlocks == []


async def test_content_of_many_different_words_can_be_searched(
    act: Writer, db: asyncpg.Connection
) -> None:
    """A tsvector holds 1 MB at most; the longest content stays below, whatever it says."""
    ada = await make.person(db)
    short = " ".join(chr(0x4E00 + n // 200) + chr(0x4E00 + n % 200) for n in range(33_333))
    long = "".join(chr(0x10400 + n % 40) for n in range(100_000))
    for content in (
        short[:100_000],
        long,
        "\n".join(long[n : n + 500] for n in range(0, 99_000, 500)),
    ):
        await act(stories.create, ada, title="🌱" * 140, content=content)


async def test_an_account_that_is_gone(act: Writer, db: asyncpg.Connection, scene: Scene) -> None:
    await db.execute("DELETE FROM users WHERE auth0_sub = $1", scene.ada.sub)
    for action, given in (
        (gardens.create, {"name": "a"}),
        (stories.create, {"title": "a", "content": "b", "idempotency_key": "k"}),
        (profiles.update, {}),
        (tags.add, {"names": []}),
        (tags.remove, {"names": []}),
        (friendships.request, {"user_id": scene.bea.public_id}),
    ):
        with pytest.raises(AccountGone):
            await act(action, scene.ada, **given)
