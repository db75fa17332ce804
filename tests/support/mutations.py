"""One table of all mutations: what the generic tests must know of each.

A new mutation is an entry here; tests fail until it has one. What it does is tested where the
effects of all are, in ``tests/schema/test_mutation_effects.py``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from community_gql.actions import (
    accounts,
    friendships,
    gardens,
    habits,
    match_choices,
    matching,
    profiles,
    stories,
    tags,
)
from community_gql.db import models as m
from community_gql.errors import Code

if TYPE_CHECKING:
    from tests.support.writing import Scene

T = TypeVar("T")
Action = Callable[..., Awaitable[Any]]
Given = Callable[["Scene"], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """A mutation of the schema, and the action behind it. Members are named by their paths."""

    example: Given
    """An ``input`` that succeeds in the scene, with every member."""
    by: str = "ada"
    """Who of the scene may do it."""
    needs: str | None = None
    """The permission it needs."""
    ids: Mapping[str, str] = field(default_factory=dict)
    """Its ids, and the type that each must be of."""
    to_strangers: str | None = None
    """The code that someone hears who does not own the thing."""
    longest: Mapping[str, int] = field(default_factory=dict)
    """Its texts that are stored: the most characters of each."""
    may_be_empty: frozenset[str] = frozenset()
    """Those of them that may be empty."""
    tag_names: frozenset[str] = frozenset()
    """Its texts that are looked up and not stored."""
    shows: str | None = None
    """Of an update: a selection of all that it may change."""
    not_cleared: frozenset[str] = frozenset()
    """Of an update: the members that null cannot clear."""
    statements: int
    """How many run between begin and commit, without an ``idempotencyKey``."""

    action: Action
    action_by: str | None = None
    """Who does it with ``accepted`` and ``refused``, where it is not ``by``."""
    accepted: Given
    """Arguments of the action that succeed."""
    returns: type
    """What the action returns."""
    refused: Given
    """Arguments that are refused."""
    codes: frozenset[Code]
    """The reasons why ``refused`` is."""


def by_place(of: Callable[[Mutation], Mapping[str, T]]) -> dict[str, T]:
    """What the table says of members, by the mutation's name and the member's path."""
    return {
        f"{name} {member}": value
        for name, mutation in TABLE.items()
        for member, value in of(mutation).items()
    }


def places(of: Callable[[Mutation], frozenset[str]]) -> set[str]:
    """Members that the table lists, by the mutation's name and the member's path."""
    return {f"{name} {member}" for name, mutation in TABLE.items() for member in of(mutation)}


TABLE: dict[str, Mutation] = {
    "updateProfile": Mutation(
        example=lambda s: {"displayName": "Ada L.", "bio": "Moss.", "journalingFrequency": 3},
        longest={"displayName": 80, "bio": 2000},
        may_be_empty=frozenset(["bio", "displayName"]),
        shows="user { profile { displayName bio journalingFrequency } }",
        statements=1,
        action=profiles.update,
        accepted=lambda s: {"bio": "x"},
        returns=str,
        refused=lambda s: {"bio": "x" * 2001},
        codes=frozenset({Code.TOO_LONG}),
    ),
    "createStory": Mutation(
        example=lambda s: {
            "title": "New",
            "content": "Rain.",
            "visibility": "FRIENDS",
            "tags": ["moss", "fern"],
            "idempotencyKey": "once",
        },
        longest={"title": 140, "content": 100000, "idempotencyKey": 64},
        may_be_empty=frozenset(["idempotencyKey"]),
        tag_names=frozenset(["tags 0"]),
        statements=1,
        action=stories.create,
        accepted=lambda s: {"title": "a", "content": "🌱" * 100_000},
        returns=int,
        refused=lambda s: {"title": "a", "content": "🌱" * 100_001},
        codes=frozenset({Code.TOO_LONG}),
    ),
    "updateStory": Mutation(
        example=lambda s: {
            "id": s.story.id,
            "title": "Other",
            "content": "Sun.",
            "visibility": "PRIVATE",
            "tags": ["fern"],
        },
        ids={"id": "Story"},
        to_strangers="FORBIDDEN",
        longest={"title": 140, "content": 100000},
        tag_names=frozenset(["tags 0"]),
        shows="story { title content visibility tagNames }",
        not_cleared=frozenset(["content", "title", "visibility"]),
        statements=2,
        action=stories.update,
        accepted=lambda s: {"id": s.story.key, "content": "🌱" * 100_000},
        returns=int,
        refused=lambda s: {"id": s.story.key, "content": "🌱" * 100_001},
        codes=frozenset({Code.TOO_LONG}),
    ),
    "deleteStory": Mutation(
        example=lambda s: {"id": s.story.id},
        ids={"id": "Story"},
        to_strangers="FORBIDDEN",
        statements=2,
        action=stories.delete,
        accepted=lambda s: {"id": s.story.key},
        returns=int,
        refused=lambda s: {"id": None},
        codes=frozenset({Code.NOT_FOUND}),
    ),
    "createHabit": Mutation(
        example=lambda s: {"name": "read", "frequency": "WEEKLY", "meta": {"pages": 10}},
        longest={"name": 80},
        statements=1,
        action=habits.create,
        accepted=lambda s: {"name": "a", "frequency": m.HabitFrequency.DAILY},
        returns=int,
        refused=lambda s: {"name": "walk", "frequency": m.HabitFrequency.DAILY},
        codes=frozenset({Code.HABIT_ALREADY_EXISTS}),
    ),
    "updateHabit": Mutation(
        example=lambda s: {
            "id": s.habit.id,
            "name": "run",
            "frequency": "CUSTOM",
            "meta": {"km": 5.5},
        },
        ids={"id": "Habit"},
        to_strangers="NOT_FOUND",
        longest={"name": 80},
        shows="habit { name frequency meta }",
        not_cleared=frozenset(["frequency", "name"]),
        statements=2,
        action=habits.update,
        accepted=lambda s: {"id": s.habit.key, "meta": {"a": 1}},
        returns=int,
        refused=lambda s: {"id": s.habit.key, "meta": [], "name": ""},
        codes=frozenset({Code.INVALID, Code.REQUIRED}),
    ),
    "deleteHabit": Mutation(
        example=lambda s: {"id": s.habit.id},
        ids={"id": "Habit"},
        to_strangers="NOT_FOUND",
        statements=2,
        action=habits.delete,
        accepted=lambda s: {"id": s.habit.key},
        returns=int,
        refused=lambda s: {"id": s.habit.key + 1},
        codes=frozenset({Code.NOT_FOUND}),
    ),
    "createGarden": Mutation(
        # The scene's garden goes first: everyone has at most one.
        example=lambda s: {"name": "Second", "theme": "zen"},
        longest={"name": 80, "theme": 40},
        may_be_empty=frozenset(["theme"]),
        statements=1,
        action=gardens.create,
        action_by="bea",
        accepted=lambda s: {"name": "a"},
        returns=int,
        refused=lambda s: {"name": " "},
        codes=frozenset({Code.REQUIRED}),
    ),
    "updateGarden": Mutation(
        example=lambda s: {"id": s.garden.id, "name": "Moss garden", "theme": "wild"},
        ids={"id": "Garden"},
        to_strangers="FORBIDDEN",
        longest={"name": 80, "theme": 40},
        may_be_empty=frozenset(["theme"]),
        shows="garden { name theme }",
        not_cleared=frozenset(["name"]),
        statements=2,
        action=gardens.update,
        accepted=lambda s: {"id": s.garden.key, "theme": "zen"},
        returns=int,
        refused=lambda s: {"id": s.garden.key, "name": None},
        codes=frozenset({Code.REQUIRED}),
    ),
    "deleteGarden": Mutation(
        example=lambda s: {"id": s.garden.id},
        ids={"id": "Garden"},
        to_strangers="FORBIDDEN",
        statements=2,
        action=gardens.delete,
        accepted=lambda s: {"id": s.garden.key},
        returns=int,
        refused=lambda s: {"id": s.garden.key + 1},
        codes=frozenset({Code.NOT_FOUND}),
    ),
    "addTags": Mutation(
        example=lambda s: {"names": ["fern"]},
        tag_names=frozenset(["names 0"]),
        statements=2,
        action=tags.add,
        accepted=lambda s: {"names": ["fern"]},
        returns=str,
        refused=lambda s: {"names": ["x", ""]},
        codes=frozenset({Code.TAG_NOT_FOUND, Code.REQUIRED}),
    ),
    "removeTags": Mutation(
        example=lambda s: {"names": ["moss"]},
        tag_names=frozenset(["names 0"]),
        statements=2,
        action=tags.remove,
        accepted=lambda s: {"names": ["moss"]},
        returns=str,
        refused=lambda s: {"names": ["x"]},
        codes=frozenset({Code.TAG_NOT_FOUND}),
    ),
    "createTag": Mutation(
        example=lambda s: {"name": "Lichen"},
        by="moderator",
        needs="manage:tags",
        longest={"name": 64},
        statements=2,
        action=tags.create,
        accepted=lambda s: {"name": "New"},
        returns=int,
        refused=lambda s: {"name": "MOSS"},
        codes=frozenset({Code.TAG_ALREADY_EXISTS}),
    ),
    "renameTag": Mutation(
        example=lambda s: {"id": s.moss.id, "name": "Lichen"},
        by="moderator",
        needs="manage:tags",
        ids={"id": "Tag"},
        longest={"name": 64},
        statements=4,
        action=tags.rename,
        accepted=lambda s: {"id": s.moss.key, "name": "New"},
        returns=int,
        refused=lambda s: {"id": None, "name": ""},
        codes=frozenset({Code.NOT_FOUND, Code.REQUIRED}),
    ),
    "mergeTags": Mutation(
        example=lambda s: {"fromId": s.moss.id, "intoId": s.fern.id},
        by="moderator",
        needs="manage:tags",
        ids={"fromId": "Tag", "intoId": "Tag"},
        statements=13,
        action=tags.merge,
        accepted=lambda s: {"from_id": s.moss.key, "into_id": s.fern.key},
        returns=int,
        refused=lambda s: {"from_id": s.moss.key, "into_id": s.moss.key},
        codes=frozenset({Code.INVALID}),
    ),
    "deleteTag": Mutation(
        example=lambda s: {"id": s.moss.id},
        by="moderator",
        needs="manage:tags",
        ids={"id": "Tag"},
        statements=7,
        action=tags.delete,
        accepted=lambda s: {"id": s.moss.key},
        returns=int,
        refused=lambda s: {"id": 0},
        codes=frozenset({Code.NOT_FOUND}),
    ),
    "requestFriendship": Mutation(
        example=lambda s: {"userId": s.bea.id},
        ids={"userId": "User"},
        statements=2,
        action=friendships.request,
        accepted=lambda s: {"user_id": s.bea.public_id},
        returns=int,
        refused=lambda s: {"user_id": s.ada.public_id},
        codes=frozenset({Code.INVALID}),
    ),
    "acceptFriendship": Mutation(
        example=lambda s: {"id": s.asked_by_bea.id},
        ids={"id": "Friendship"},
        to_strangers="NOT_FOUND",
        statements=4,
        action=friendships.accept,
        accepted=lambda s: {"id": s.asked_by_bea.key},
        returns=int,
        refused=lambda s: {"id": 0},
        codes=frozenset({Code.NOT_FOUND}),
    ),
    "endFriendship": Mutation(
        example=lambda s: {"id": s.asked_by_bea.id},
        ids={"id": "Friendship"},
        to_strangers="NOT_FOUND",
        statements=3,
        action=friendships.end,
        action_by="bea",
        accepted=lambda s: {"id": s.asked_by_bea.key},
        returns=int,
        refused=lambda s: {"id": None},
        codes=frozenset({Code.NOT_FOUND}),
    ),
    "deleteAccount": Mutation(
        example=lambda s: {"id": s.ada.id},
        ids={"id": "User"},
        to_strangers="FORBIDDEN",
        statements=6,
        action=accounts.delete,
        accepted=lambda s: {"id": s.ada.public_id},
        returns=UUID,
        refused=lambda s: {"id": s.bea.public_id},
        codes=frozenset({Code.FORBIDDEN}),
    ),
    "updateMatching": Mutation(
        example=lambda s: {"wanted": False, "habits": True},
        shows="viewer { matching { wanted habits } }",
        not_cleared=frozenset(["habits", "wanted"]),
        statements=6,
        action=match_choices.update,
        accepted=lambda s: {"habits": True},
        returns=str,
        refused=lambda s: {"wanted": None},
        codes=frozenset({Code.REQUIRED}),
    ),
    "dismissMatch": Mutation(
        example=lambda s: {"userId": s.bea.id},
        ids={"userId": "User"},
        statements=3,
        action=match_choices.dismiss,
        accepted=lambda s: {"user_id": s.bea.public_id},
        returns=int,
        refused=lambda s: {"user_id": s.ada.public_id},
        codes=frozenset({Code.INVALID}),
    ),
    "restoreMatch": Mutation(
        example=lambda s: {"userId": s.bea.id},
        ids={"userId": "User"},
        statements=3,
        action=match_choices.restore,
        accepted=lambda s: {"user_id": s.bea.public_id},
        returns=str,
        refused=lambda s: {"user_id": None},
        codes=frozenset({Code.NOT_FOUND}),
    ),
    "putFeatures": Mutation(
        example=lambda s: {"features": [{"userId": s.ada.id, "vector": [0.5, 1], "version": 2}]},
        by="machine",
        needs="write:features",
        ids={"features 0 userId": "User"},
        statements=4,
        action=matching.put_features,
        accepted=lambda s: {"features": [matching.Features(s.ada.public_id, [1.0])]},
        returns=matching.SavedFeatures,
        refused=lambda s: {"features": [matching.Features(None, [float("nan")])]},
        codes=frozenset({Code.NOT_FOUND, Code.INVALID}),
    ),
    "putMatches": Mutation(
        example=lambda s: {
            "matches": [{"userId": s.ada.id, "targetUserId": s.bea.id, "score": 0.25}]
        },
        by="machine",
        needs="write:matches",
        ids={"matches 0 userId": "User", "matches 0 targetUserId": "User"},
        statements=2,
        action=matching.put_matches,
        accepted=lambda s: {"matches": [matching.Match(s.ada.public_id, s.bea.public_id, 1.0)]},
        returns=matching.SavedMatches,
        refused=lambda s: {
            "matches": [matching.Match(s.ada.public_id, s.ada.public_id, float("nan"))]
        },
        codes=frozenset({Code.INVALID}),
    ),
}
