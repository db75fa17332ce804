"""Every action gives a row or says why not (what the API makes of it is in tests/api)."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest

import community_gql.actions
from community_gql.actions import (
    accounts,
    friendships,
    gardens,
    habits,
    matching,
    profiles,
    stories,
    tags,
)
from community_gql.db import models as m
from community_gql.errors import AccountGone, Code, Rejected
from tests.support import factories as make
from tests.support import writing
from tests.support.writing import Scene

from .conftest import Writer

Action = Callable[..., Awaitable[Any]]


@pytest.fixture
async def scene(db: asyncpg.Connection) -> Scene:
    return await writing.scene(db)


Given = Callable[[Scene], dict[str, Any]]

CASES: list[tuple[Action, str, Given, type, Given, set[Code]]] = [
    (profiles.update, "ada", lambda s: {"bio": "x"}, str,
     lambda s: {"bio": "x" * 2001}, {Code.TOO_LONG}),
    (stories.create, "ada", lambda s: {"title": "a", "content": "🌱" * 100_000}, int,
     lambda s: {"title": "a", "content": "🌱" * 100_001}, {Code.TOO_LONG}),
    (stories.update, "ada", lambda s: {"id": s.story.key, "content": "🌱" * 100_000}, int,
     lambda s: {"id": s.story.key, "content": "🌱" * 100_001}, {Code.TOO_LONG}),
    (stories.delete, "ada", lambda s: {"id": s.story.key}, int,
     lambda s: {"id": None}, {Code.NOT_FOUND}),
    (habits.create, "ada", lambda s: {"name": "a", "frequency": m.HabitFrequency.DAILY}, int,
     lambda s: {"name": "walk", "frequency": m.HabitFrequency.DAILY}, {Code.HABIT_ALREADY_EXISTS}),
    (habits.update, "ada", lambda s: {"id": s.habit.key, "meta": {"a": 1}}, int,
     lambda s: {"id": s.habit.key, "meta": [], "name": ""}, {Code.INVALID, Code.REQUIRED}),
    (habits.delete, "ada", lambda s: {"id": s.habit.key}, int,
     lambda s: {"id": s.habit.key + 1}, {Code.NOT_FOUND}),
    (gardens.create, "bea", lambda s: {"name": "a"}, int,
     lambda s: {"name": " "}, {Code.REQUIRED}),
    (gardens.update, "ada", lambda s: {"id": s.garden.key, "theme": "zen"}, int,
     lambda s: {"id": s.garden.key, "name": None}, {Code.REQUIRED}),
    (gardens.delete, "ada", lambda s: {"id": s.garden.key}, int,
     lambda s: {"id": s.garden.key + 1}, {Code.NOT_FOUND}),
    (tags.add, "ada", lambda s: {"names": ["fern"]}, str,
     lambda s: {"names": ["x", ""]}, {Code.TAG_NOT_FOUND, Code.REQUIRED}),
    (tags.remove, "ada", lambda s: {"names": ["moss"]}, str,
     lambda s: {"names": ["x"]}, {Code.TAG_NOT_FOUND}),
    (tags.create, "moderator", lambda s: {"name": "New"}, int,
     lambda s: {"name": "MOSS"}, {Code.TAG_ALREADY_EXISTS}),
    (tags.rename, "moderator", lambda s: {"id": s.moss.key, "name": "New"}, int,
     lambda s: {"id": None, "name": ""}, {Code.NOT_FOUND, Code.REQUIRED}),
    (tags.merge, "moderator", lambda s: {"from_id": s.moss.key, "into_id": s.fern.key}, int,
     lambda s: {"from_id": s.moss.key, "into_id": s.moss.key}, {Code.INVALID}),
    (tags.delete, "moderator", lambda s: {"id": s.moss.key}, int,
     lambda s: {"id": 0}, {Code.NOT_FOUND}),
    (friendships.request, "ada", lambda s: {"user_id": s.bea.public_id}, int,
     lambda s: {"user_id": s.ada.public_id}, {Code.INVALID}),
    (friendships.accept, "ada", lambda s: {"id": s.asked_by_bea.key}, int,
     lambda s: {"id": 0}, {Code.NOT_FOUND}),
    (friendships.end, "bea", lambda s: {"id": s.asked_by_bea.key}, int,
     lambda s: {"id": None}, {Code.NOT_FOUND}),
    (accounts.delete, "ada", lambda s: {"id": s.ada.public_id}, UUID,
     lambda s: {"id": s.bea.public_id}, {Code.FORBIDDEN}),
    (matching.put_features, "machine",
     lambda s: {"features": [matching.Features(s.ada.public_id, [1.0])]}, int,
     lambda s: {"features": [matching.Features(None, [float("nan")])]},
     {Code.NOT_FOUND, Code.INVALID}),
    (matching.put_matches, "machine",
     lambda s: {"matches": [matching.Match(s.ada.public_id, s.bea.public_id, 1.0)]}, datetime,
     lambda s: {"matches": [matching.Match(s.ada.public_id, s.ada.public_id, float("nan"))]},
     {Code.INVALID}),
]  # fmt: skip
"""An action, who does it, an input, what it returns, an input that is refused, and why."""


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
    assert {case[0] for case in CASES} == taking_a_viewer


@pytest.mark.parametrize(
    ("action", "who", "good", "kind", "bad", "codes"),
    CASES,
    ids=[f"{case[0].__module__.rpartition('.')[2]}.{case[0].__name__}" for case in CASES],
)
async def test_a_row_or_rejected(
    action: Action,
    who: str,
    good: Given,
    kind: type,
    bad: Given,
    codes: set[Code],
    act: Writer,
    db: asyncpg.Connection,
    scene: Scene,
) -> None:
    before = await writing.rows(db)
    with pytest.raises(Rejected) as refused:
        await act(action, getattr(scene, who), **bad(scene))
    assert {error.code for error in refused.value.errors} == codes
    assert await writing.rows(db) == before

    assert isinstance(await act(action, getattr(scene, who), **good(scene)), kind)
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
