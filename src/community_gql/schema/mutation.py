"""The root of every change: each field runs one action in a transaction of its own.

The fields are nullable, so that a failed one does not hide what the others committed.
"""

from __future__ import annotations

from datetime import datetime

import strawberry

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
from community_gql.schema import inputs
from community_gql.schema.fields import derived, described_type, result, result_edge
from community_gql.schema.ids import write_id
from community_gql.schema.payloads import Payload, deleted_id, mutation
from community_gql.schema.types import (
    Edge,
    Friendship,
    Garden,
    Habit,
    Story,
    Tag,
    User,
    Viewer,
)


@described_type
class UpdateProfilePayload(Payload):
    """The person whose profile was saved."""

    user: User | None = result("The viewer with the saved profile; null when it was refused.")


@described_type
class CreateStoryPayload(Payload):
    """The story that was written."""

    story: Story | None = result("The new story; null when it was refused.")
    story_edge: Edge[Story] | None = result_edge(
        User,
        "stories",
        "The new story as an edge of its owner's `stories`, in default order without a filter.",
    )


@described_type
class UpdateStoryPayload(Payload):
    """The story as it is now."""

    story: Story | None = result("The changed story; null when it was refused.")


@described_type
class DeleteStoryPayload(Payload):
    """The story that was deleted."""

    deleted_id: strawberry.ID | None = deleted_id(Story)


@described_type
class CreateHabitPayload(Payload):
    """The habit that was added."""

    habit: Habit | None = result("The new habit; null when it was refused.")
    habit_edge: Edge[Habit] | None = result_edge(
        User,
        "habits",
        "The new habit as an edge of its owner's `habits`, in default order without a filter.",
    )


@described_type
class UpdateHabitPayload(Payload):
    """The habit as it is now."""

    habit: Habit | None = result("The changed habit; null when it was refused.")


@described_type
class DeleteHabitPayload(Payload):
    """The habit that was deleted."""

    deleted_id: strawberry.ID | None = deleted_id(Habit)


@described_type
class CreateGardenPayload(Payload):
    """The garden that was planted."""

    garden: Garden | None = result("The new garden; null when it was refused.")


@described_type
class UpdateGardenPayload(Payload):
    """The garden as it is now."""

    garden: Garden | None = result("The changed garden; null when it was refused.")


@described_type
class DeleteGardenPayload(Payload):
    """The garden that was deleted."""

    deleted_id: strawberry.ID | None = deleted_id(Garden)


@described_type
class AddTagsPayload(Payload):
    """The person with the tags that they have now."""

    user: User | None = result("The viewer with their tags; null when it was refused.")


@described_type
class RemoveTagsPayload(Payload):
    """The person with the tags that they have left."""

    user: User | None = result("The viewer with their tags; null when it was refused.")


@described_type
class CreateTagPayload(Payload):
    """The tag that was added to the vocabulary."""

    tag: Tag | None = result("The new tag; null when it was refused.")


@described_type
class RenameTagPayload(Payload):
    """The tag with its new name."""

    tag: Tag | None = result("The renamed tag; null when it was refused.")


@described_type
class MergeTagsPayload(Payload):
    """The tag that stayed."""

    tag: Tag | None = result("The tag that remains; null when it was refused.")


@described_type
class DeleteTagPayload(Payload):
    """The tag that was deleted."""

    deleted_id: strawberry.ID | None = deleted_id(Tag)


@described_type
class RequestFriendshipPayload(Payload):
    """The friendship that was asked for."""

    friendship: Friendship | None = result(
        "The friendship: pending, or accepted when both have asked; null when it was refused."
    )


@described_type
class AcceptFriendshipPayload(Payload):
    """The friendship that was accepted."""

    friendship: Friendship | None = result("The friendship; null when it was refused.")


@described_type
class EndFriendshipPayload(Payload):
    """The friendship that has ended."""

    deleted_id: strawberry.ID | None = deleted_id(Friendship)


@described_type
class DeleteAccountPayload(Payload):
    """The account that was deleted."""

    deleted_id: strawberry.ID | None = deleted_id(User)


@described_type
class UpdateMatchingPayload(Payload):
    """The viewer with their choices."""

    viewer: Viewer | None = result("The viewer; null when it was refused.")


@described_type
class DismissMatchPayload(Payload):
    """The match that is gone."""

    deleted_match_id: strawberry.ID | None = derived(
        lambda outcome: None if outcome.key is None else write_id("Match", outcome.key),
        "The global id that the match had; null when it was refused or there was no match.",
    )


@described_type
class RestoreMatchPayload(Payload):
    """The person who may come back."""

    user: User | None = result("The person; null when it was refused.")


@described_type
class PutFeaturesPayload(Payload):
    """The batch that was saved."""

    count: int | None = derived(
        lambda outcome: outcome.key and outcome.key.count,
        "How many vectors were saved; null when it was refused.",
    )
    skipped: int | None = derived(
        lambda outcome: outcome.key and outcome.key.skipped,
        "How many were left out because the person does not want to be matched; null when "
        "it was refused.",
    )


@described_type
class PutMatchesPayload(Payload):
    """The batch that was saved."""

    created_at: datetime | None = derived(
        lambda outcome: outcome.key and outcome.key.created_at,
        "The `createdAt` of all these matches; null when it was refused.",
    )
    skipped: int | None = derived(
        lambda outcome: outcome.key and outcome.key.skipped,
        "How many were left out because the pair must not match; null when it was refused.",
    )


@described_type
class Mutation:
    """Everything that can be changed. Fields run in order, each in a transaction of its own."""

    update_profile: UpdateProfilePayload | None = mutation(
        inputs.UpdateProfileInput,
        profiles.update,
        "Save the viewer's profile; the first time makes it.",
    )
    create_story: CreateStoryPayload | None = mutation(
        inputs.CreateStoryInput,
        stories.create,
        "Write a story.",
    )
    update_story: UpdateStoryPayload | None = mutation(
        inputs.UpdateStoryInput,
        stories.update,
        "Change one of the viewer's stories.",
    )
    delete_story: DeleteStoryPayload | None = mutation(
        inputs.DeleteStoryInput,
        stories.delete,
        "Delete one of the viewer's stories.",
    )
    create_habit: CreateHabitPayload | None = mutation(
        inputs.CreateHabitInput,
        habits.create,
        "Add a habit.",
    )
    update_habit: UpdateHabitPayload | None = mutation(
        inputs.UpdateHabitInput,
        habits.update,
        "Change one of the viewer's habits.",
    )
    delete_habit: DeleteHabitPayload | None = mutation(
        inputs.DeleteHabitInput,
        habits.delete,
        "Delete one of the viewer's habits.",
    )
    create_garden: CreateGardenPayload | None = mutation(
        inputs.CreateGardenInput,
        gardens.create,
        "Plant the viewer's garden; everyone has at most one.",
    )
    update_garden: UpdateGardenPayload | None = mutation(
        inputs.UpdateGardenInput,
        gardens.update,
        "Change the viewer's garden.",
    )
    delete_garden: DeleteGardenPayload | None = mutation(
        inputs.DeleteGardenInput,
        gardens.delete,
        "Remove the viewer's garden.",
    )
    add_tags: AddTagsPayload | None = mutation(
        inputs.AddTagsInput,
        tags.add,
        "Choose tags for the viewer.",
    )
    remove_tags: RemoveTagsPayload | None = mutation(
        inputs.RemoveTagsInput,
        tags.remove,
        "Remove tags from the viewer.",
    )
    create_tag: CreateTagPayload | None = mutation(
        inputs.CreateTagInput,
        tags.create,
        "Add a tag to the vocabulary. Needs `manage:tags`.",
    )
    rename_tag: RenameTagPayload | None = mutation(
        inputs.RenameTagInput,
        tags.rename,
        "Rename a tag everywhere. Needs `manage:tags`.",
    )
    merge_tags: MergeTagsPayload | None = mutation(
        inputs.MergeTagsInput,
        tags.merge,
        "Replace a tag with another everywhere. Needs `manage:tags`.",
    )
    delete_tag: DeleteTagPayload | None = mutation(
        inputs.DeleteTagInput,
        tags.delete,
        "Remove a tag everywhere. Needs `manage:tags`.",
    )
    request_friendship: RequestFriendshipPayload | None = mutation(
        inputs.RequestFriendshipInput,
        friendships.request,
        "Ask a person for friendship; accepts when they have asked already.",
    )
    accept_friendship: AcceptFriendshipPayload | None = mutation(
        inputs.AcceptFriendshipInput,
        friendships.accept,
        "Accept a friendship that the viewer was asked for.",
    )
    end_friendship: EndFriendshipPayload | None = mutation(
        inputs.EndFriendshipInput,
        friendships.end,
        "End a friendship, decline a request or take one back.",
    )
    delete_account: DeleteAccountPayload | None = mutation(
        inputs.DeleteAccountInput,
        accounts.delete,
        "Delete the viewer's account with everything in it, for good.",
    )
    update_matching: UpdateMatchingPayload | None = mutation(
        inputs.UpdateMatchingInput,
        match_choices.update,
        "Change the viewer's choices about being matched.",
    )
    dismiss_match: DismissMatchPayload | None = mutation(
        inputs.DismissMatchInput,
        match_choices.dismiss,
        "Take a person out of the viewer's matches, for good.",
    )
    restore_match: RestoreMatchPayload | None = mutation(
        inputs.RestoreMatchInput,
        match_choices.restore,
        "Let a dismissed person come back among the viewer's matches.",
    )
    put_features: PutFeaturesPayload | None = mutation(
        inputs.PutFeaturesInput,
        matching.put_features,
        "Save feature vectors. For machines: needs `write:features`.",
    )
    put_matches: PutMatchesPayload | None = mutation(
        inputs.PutMatchesInput,
        matching.put_matches,
        "Save a batch of matches. For machines: needs `write:matches`.",
    )
