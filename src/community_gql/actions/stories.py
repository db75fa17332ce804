"""Stories and their tags. Lock order: tags by id first, then the story (design/architecture.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete as delete_from
from sqlalchemy import func, literal_column, text
from sqlalchemy import update as change
from sqlalchemy.dialects.postgresql import insert

from community_gql import models as m
from community_gql.checks import (
    ABSENT,
    MAX_CONTENT_CHARACTERS,
    MAX_IDEMPOTENCY_KEY_CHARACTERS,
    MAX_TAGS_PER_STORY,
    Patch,
    Problems,
)
from community_gql.database import Transaction
from community_gql.visibility import Viewer, lock_own, lock_tags


async def create(
    session: Transaction,
    viewer: Viewer,
    *,
    title: str,
    content: str,
    visibility: m.StoryVisibility = m.StoryVisibility.PRIVATE,
    tags: Sequence[str] = (),
    idempotency_key: str | None = None,
) -> int:
    """Write a story. The same ``idempotency_key`` within a day gives the story it made first."""
    problems = Problems()
    values = {
        "title": problems.text("title", title, m.Story.title),
        "content": problems.text("content", content, MAX_CONTENT_CHARACTERS),
        "visibility": visibility.value,
    }
    key = problems.optional_text("idempotencyKey", idempotency_key, MAX_IDEMPOTENCY_KEY_CHARACTERS)
    names = problems.tag_names("tags", tags, MAX_TAGS_PER_STORY)
    if key is not None:
        written = await _claim(session, viewer, key)
        if written is not None:
            return written
    tag_ids = await lock_tags(session, names, problems)
    problems.stop()
    made = await session.first(
        insert(m.Story).values(user_id=viewer.sub, **values).returning(m.Story.id)
    )
    story_id = int(made.id)
    await _tag(session, story_id, tag_ids)
    if key is not None:
        await session.run(
            change(m.story_requests)
            .where(m.story_requests.c.user_id == viewer.sub, m.story_requests.c.key == key)
            .values(story_id=story_id)
        )
    return story_id


async def _claim(session: Transaction, viewer: Viewer, key: str) -> int | None:
    """The story that ``key`` made within a day; None when the key is now ours to use.

    A second caller waits here until the first has committed or gone.
    """
    request = m.story_requests.c
    claimed = await session.first(
        insert(m.story_requests)
        .values(user_id=viewer.sub, key=key)
        .on_conflict_do_update(
            index_elements=["user_id", "key"],
            set_={"created_at": func.now(), "story_id": None},
            where=request.created_at < func.now() - text("interval '1 day'"),
        )
        .returning(literal_column("1"))
    )
    if claimed is not None:
        return None
    found = await session.first(
        # unscoped: the viewer's own request
        m.story_requests.select().where(request.user_id == viewer.sub, request.key == key)
    )
    return None if found is None else int(found.story_id)


async def update(
    session: Transaction,
    viewer: Viewer,
    *,
    id: int | None,
    title: Patch[str] = ABSENT,
    content: Patch[str] = ABSENT,
    visibility: Patch[m.StoryVisibility] = ABSENT,
    tags: Patch[Sequence[str]] = ABSENT,
    expected_updated_at: datetime | None = None,
) -> int:
    """Change one of the viewer's stories; ``tags`` replaces all its tags, none clears them."""
    problems = Problems()
    names = problems.tag_names(
        "tags", () if tags is ABSENT or tags is None else tags, MAX_TAGS_PER_STORY
    )
    tag_ids = await lock_tags(session, names, problems)
    story = await lock_own(session, viewer, m.Story, id, m.Story.id, m.Story.updated_at)
    problems.unchanged(expected_updated_at, story.updated_at)
    changes: dict[str, Any] = {}
    if title is not ABSENT:
        changes["title"] = problems.text("title", title, m.Story.title)
    if content is not ABSENT:
        changes["content"] = problems.text("content", content, MAX_CONTENT_CHARACTERS)
    if visibility is not ABSENT:
        changes["visibility"] = problems.required("visibility", visibility)
    problems.stop()
    if changes:
        await session.run(change(m.Story).where(m.Story.id == story.id).values(**changes))
    if tags is not ABSENT:
        link = m.story_tags.c
        await session.run(
            delete_from(m.story_tags).where(
                link.story_id == story.id, link.tag_id.not_in(tag_ids.values())
            )
        )
        await _tag(session, story.id, tag_ids)
    return int(story.id)


async def delete(session: Transaction, viewer: Viewer, *, id: int | None) -> int:
    """Delete one of the viewer's stories."""
    story = await lock_own(session, viewer, m.Story, id, m.Story.id)
    await session.run(delete_from(m.Story).where(m.Story.id == story.id))
    return int(story.id)


async def _tag(session: Transaction, story_id: int, tag_ids: Mapping[str, int]) -> None:
    if tag_ids:
        rows = [{"story_id": story_id, "tag_id": tag_id} for tag_id in tag_ids.values()]
        await session.run(insert(m.story_tags).values(rows).on_conflict_do_nothing())
