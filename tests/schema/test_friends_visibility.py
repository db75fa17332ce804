"""What friends may see follows the friendship at once, along every path of the truth table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.graph import test_visibility as truth
from tests.graph.test_visibility import PATHS, VISIBLE, World
from tests.support.client import Client
from tests.support.writing import change

world = truth.world

CHANGES = {
    "asked": ("asked", "acceptFriendship", "befriended", "author"),
    "asking": ("author", "requestFriendship", "friend", "asking"),
}
"""For someone whose friendship waits for an answer: who accepts and how, whose place in the truth
table they then have, and who ends it."""


# Friends are not among each other's matches.
@pytest.mark.parametrize("path", [path for path in PATHS if "Match." not in path])
@pytest.mark.parametrize("who", CHANGES)
async def test_what_is_seen_follows_the_friendship(world: World, who: str, path: str) -> None:
    accepting, mutation, becomes, ending = CHANGES[who]
    person, author = world.viewers[who], world.author
    assert person is not None

    async def seen_as(place: str) -> None:
        swapped = replace(world, viewers={**world.viewers, place: person})
        found = await PATHS[path](swapped, place)
        if found is not None:
            assert found == [VISIBLE[place]] * len(found)

    between = "query($id: ID!) { user(id: $id) { viewerFriendship { id } } }"
    friendship = (await world.ask(who, between, id=author.id))["user"]["viewerFriendship"]
    await seen_as(who)
    given = {"userId": person.id} if mutation == "requestFriendship" else friendship
    await change(world.api, world.viewers[accepting], mutation, **given)
    await seen_as(becomes)
    await change(world.api, world.viewers[ending], "endFriendship", **friendship)
    await seen_as("stranger")


async def test_the_payload_shows_it_already(world: World) -> None:
    api, asked, author = world.api, world.viewers["asked"], world.author
    stories = "stories(orderBy: OLDEST) { nodes { title } }"
    between = "query($id: ID!) { user(id: $id) { viewerFriendship { id } } }"
    friendship = (await world.ask("asked", between, id=author.id))["user"]["viewerFriendship"]

    accepted = await change(
        api, asked, "acceptFriendship", f"friendship {{ requester {{ {stories} }} }}", **friendship
    )
    ended = await change(
        api,
        asked,
        "endFriendship",
        f'query {{ user(id: "{author.id}") {{ {stories} }} }}',
        **friendship,
    )

    def titles(person: Any) -> list[str]:
        return [node["title"] for node in person["stories"]["nodes"]]

    assert titles(accepted["friendship"]["requester"]) == ["friends", "public"]
    assert titles(ended["query"]["user"]) == ["public"]


async def test_a_story_that_changes_hands_of_visibility(world: World, api: Client) -> None:
    """Made private it is gone for friends at once, also for those who hold its id."""
    story = world.stories["public"].id
    for visibility, seeing in (
        ("FRIENDS", {"friend", "befriended", "author"}),
        ("PRIVATE", {"author"}),
        ("PUBLIC", set(VISIBLE)),
    ):
        await change(api, world.author, "updateStory", id=story, visibility=visibility)
        found = {
            viewer
            for viewer in VISIBLE
            if (await world.ask(viewer, "query($id: ID!) { story(id: $id) { id } }", id=story))[
                "story"
            ]
        }
        assert found == seeing
