"""The inputs of the mutations. Lengths and limits: ``actions/validation.py`` and the columns."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import strawberry
from strawberry import UNSET, Maybe

from community_gql.actions import matching, validation
from community_gql.db import models as m
from community_gql.schema.fields import described_input
from community_gql.schema.scalars import JSON

_EXPECTED = (
    "The `updatedAt` that the change is based on. If it is another one by now, "
    "nothing is written and the error is CONFLICT."
)


def _member(description: str, default: Any = None, *, required: bool = False) -> Any:
    if required:
        return strawberry.field(description=description)
    return strawberry.field(description=description, default=UNSET if default is None else default)


def _needed(description: str) -> Any:
    return _member(description, required=True)


def _patch(description: str) -> Any:
    return strawberry.field(description=f"{description} Absent leaves it as it is.")


def _id(node: str, description: str | None = None) -> Any:
    return strawberry.field(
        description=description or f"The {node.lower()}'s global id.", metadata={"node": node}
    )


@described_input
class UpdateProfileInput:
    """What to change of the viewer's profile. What is absent stays as it is; null clears."""

    display_name: Maybe[str | None] = _patch("The name that others see; at most 80 characters.")
    bio: Maybe[str | None] = _patch(
        f"A few words; at most {validation.MAX_BIO_CHARACTERS:,} characters."
    )
    journaling_frequency: Maybe[int | None] = _patch(
        f"Days a week, 0 to {validation.MAX_JOURNALING_FREQUENCY}."
    )
    expected_updated_at: datetime | None = _member(_EXPECTED)


@described_input
class CreateStoryInput:
    """A new story."""

    title: str = _needed("The title; at most 140 characters.")
    content: str = _needed(
        f"The text, in Markdown; at most {validation.MAX_CONTENT_CHARACTERS:,} characters."
    )
    visibility: m.StoryVisibility = _member("Who may read it.", m.StoryVisibility.PRIVATE)
    tags: list[str] = strawberry.field(
        description=f"Names of tags of the vocabulary; at most {validation.MAX_TAGS_PER_STORY}.",
        default_factory=list,
    )
    idempotency_key: str | None = _member(
        "A text that you make up, such as a UUID. If the same person sends the same key "
        "again within a day, nothing is written, and the answer is the story that the "
        "first request made."
    )


@described_input
class UpdateStoryInput:
    """What to change of a story. What is absent stays as it is."""

    id: strawberry.ID = _id("Story")
    title: Maybe[str | None] = _patch("The title; cannot be cleared.")
    content: Maybe[str | None] = _patch("The text; cannot be cleared.")
    visibility: Maybe[m.StoryVisibility | None] = _patch("Who may read it; cannot be cleared.")
    tags: Maybe[list[str] | None] = _patch("All its tags by name; null removes them all.")
    expected_updated_at: datetime | None = _member(_EXPECTED)


@described_input
class DeleteStoryInput:
    """Which story to delete."""

    id: strawberry.ID = _id("Story")


@described_input
class CreateHabitInput:
    """A new habit."""

    name: str = _needed("What to do; at most 80 characters, unique among the viewer's habits.")
    frequency: m.HabitFrequency = _needed("How often.")
    meta: JSON | None = _member(
        f"A JSON object to keep with it; at most {validation.MAX_META_BYTES // 1024} KB and "
        f"{validation.MAX_META_DEPTH} levels deep. Empty when absent."
    )


@described_input
class UpdateHabitInput:
    """What to change of a habit. What is absent stays as it is."""

    id: strawberry.ID = _id("Habit")
    name: Maybe[str | None] = _patch("What to do; cannot be cleared.")
    frequency: Maybe[m.HabitFrequency | None] = _patch("How often; cannot be cleared.")
    meta: Maybe[JSON | None] = _patch("The JSON object to keep with it; null empties it.")


@described_input
class DeleteHabitInput:
    """Which habit to delete."""

    id: strawberry.ID = _id("Habit")


@described_input
class CreateGardenInput:
    """A new garden. Everyone has at most one."""

    name: str = _needed("Its name; at most 80 characters.")
    theme: str | None = _member("How it looks; at most 40 characters.")


@described_input
class UpdateGardenInput:
    """What to change of a garden. What is absent stays as it is; null clears."""

    id: strawberry.ID = _id("Garden")
    name: Maybe[str | None] = _patch("Its name; cannot be cleared.")
    theme: Maybe[str | None] = _patch("How it looks.")


@described_input
class DeleteGardenInput:
    """Which garden to remove."""

    id: strawberry.ID = _id("Garden")


@described_input
class AddTagsInput:
    """Tags for the viewer to choose."""

    names: list[str] = _needed(
        f"Names of tags of the vocabulary. A person has at most {validation.MAX_TAGS_PER_PERSON}."
    )


@described_input
class RemoveTagsInput:
    """Tags to remove from the viewer."""

    names: list[str] = _needed("Names of tags of the vocabulary.")


@described_input
class CreateTagInput:
    """A new word for the vocabulary. Needs the permission `manage:tags`."""

    name: str = _needed("The word; it is trimmed and put in lower case. At most 64 characters.")


@described_input
class RenameTagInput:
    """A new name for a tag. Needs the permission `manage:tags`."""

    id: strawberry.ID = _id("Tag")
    name: str = _needed("The new name; it is trimmed and put in lower case.")


@described_input
class MergeTagsInput:
    """Which tag to replace with which. Needs the permission `manage:tags`."""

    from_id: strawberry.ID = _id("Tag", "The global id of the tag that goes.")
    into_id: strawberry.ID = _id("Tag", "The global id of the tag that stays.")


@described_input
class DeleteTagInput:
    """Which tag to remove from the vocabulary. Needs the permission `manage:tags`."""

    id: strawberry.ID = _id("Tag")


@described_input
class RequestFriendshipInput:
    """Whom to ask for friendship."""

    user_id: strawberry.ID = _id("User", "The person's global id.")


@described_input
class AcceptFriendshipInput:
    """Which request to accept."""

    id: strawberry.ID = _id("Friendship")


@described_input
class EndFriendshipInput:
    """Which friendship to end, decline or take back."""

    id: strawberry.ID = _id("Friendship")


@described_input
class DeleteAccountInput:
    """The confirmation that the viewer means it."""

    id: strawberry.ID = _id("User", "The viewer's own global id (`viewer.user.id`).")


@described_input
class UpdateMatchingInput:
    """What to change of the viewer's choices about being matched. What is absent stays."""

    wanted: Maybe[bool | None] = _patch(
        "Whether to be matched. False takes the viewer out of everybody's list at once; cannot be "
        "cleared."
    )
    habits: Maybe[bool | None] = _patch(
        "Whether the viewer's habits count, among others who want that too; cannot be cleared."
    )


@described_input
class DismissMatchInput:
    """Which person to take out of the viewer's matches. That person cannot find out."""

    user_id: strawberry.ID = _id("User", "The person's global id.")


@described_input
class RestoreMatchInput:
    """Whom the viewer may match again."""

    user_id: strawberry.ID = _id("User", "The person's global id.")


@described_input
class FeaturesInput:
    """A person's feature vector."""

    made = matching.Features
    user_id: strawberry.ID = _id("User", "The person's global id.")
    vector: list[float] = _needed(
        "Finite numbers. All vectors of one version have the same length."
    )
    version: int = _member("The version of the recipe that made the vector; 1 or more.", 1)


@described_input
class PutFeaturesInput:
    """A batch of feature vectors, saved all or none. Needs the permission `write:features`.

    People who do not want to be matched are left out.
    """

    features: list[FeaturesInput] = _needed(
        f"At most {validation.MAX_BATCH:,}; one for each person."
    )


@described_input
class MatchInput:
    """How well one person suits another."""

    made = matching.Match
    user_id: strawberry.ID = _id("User", "The global id of the person whose match it is.")
    target_user_id: strawberry.ID = _id("User", "The global id of the person who suits them.")
    score: float = _needed("How well, from 0 to 1.")


@described_input
class PutMatchesInput:
    """A batch of matches, saved all or none. Needs the permission `write:matches`.

    It replaces the matches that these people have, so send all matches of a person in one. Pairs
    that must not match are left out: friends, people whom someone asked for friendship or
    dismissed, and people who do not want to be matched.
    """

    matches: list[MatchInput] = _needed(f"At most {validation.MAX_BATCH:,}; each pair once.")
