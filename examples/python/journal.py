"""Print a person's stories by month, and take up a habit in their name.

    TOKEN=$(community-gql token ada@example.com) python journal.py [HABIT]

The package `community` is written by `ariadne-codegen` (see pyproject.toml). `make example-script`
does all of it.
"""

import os
import sys
from collections.abc import Iterator
from typing import cast

import httpx
from community import Community, CreateHabitInput, HabitFrequency
from community.exceptions import GraphQLClientGraphQLMultiError, GraphQLClientHttpError
from community.stories_of import StoriesOfUserStoriesNodes

API = os.environ.get("API", "http://127.0.0.1:8000")


def stories(api: Community, user_id: str) -> Iterator[StoriesOfUserStoriesNodes]:
    """All stories, page by page, the oldest first."""
    after = None
    while True:
        user = api.stories_of(id=user_id, after=after).user
        if user is None:  # gone, or not for us: the API does not tell
            return
        yield from user.stories.nodes
        if not user.stories.page_info.has_next_page:
            return
        after = user.stories.page_info.end_cursor


def main(api: Community, habit: str) -> None:
    viewer = api.viewer().viewer
    if viewer is None:
        sys.exit("Nobody is signed in: set TOKEN to what `community-gql token EMAIL` prints.")
    name = viewer.user.profile.display_name if viewer.user.profile else None
    print(f"{name or viewer.email}")

    month = ""
    for story in stories(api, viewer.user.id):
        if (this := f"{story.created_at:%B %Y}") != month:
            month = this
            print(f"\n{month}")
        print(f"  {story.title} ({story.visibility.value.lower()})", *story.tag_names)

    wanted = CreateHabitInput(name=habit, frequency=HabitFrequency.DAILY, meta={"minutes": 10})
    done = api.take_up(input=wanted).create_habit
    if done is not None and done.habit is not None:
        print(f"\nTaken up: {done.habit.name} ({done.habit.frequency.value.lower()})")
    elif done is not None:
        for error in done.user_errors:
            print(f"\nRefused: {error.message} [{error.code.value} at {'.'.join(error.path)}]")


if __name__ == "__main__":
    token = os.environ.get("TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with Community(url=f"{API}/graphql", headers=headers) as client:
        try:
            main(client, " ".join(sys.argv[1:]) or "Write a page")
        except httpx.ConnectError:
            sys.exit(f"Nothing answers at {API}: start the server with `make run`.")
        except GraphQLClientHttpError as error:  # 401, 422, 429, 503: nothing ran
            response = cast(httpx.Response, error.response)
            wait = response.headers.get("Retry-After")
            said = response.json()["errors"][0]["message"]
            sys.exit(f"{error.status_code}: {said}" + (f" Try again in {wait} s." if wait else ""))
        except GraphQLClientGraphQLMultiError as error:  # part of the answer is missing
            sys.exit(f"The answer has errors: {error}")
