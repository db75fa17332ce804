"""Stories and their tags. Lock order: tags by id first, then the story (decision 33)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete as delete_from
from sqlalchemy import func, literal_column, text
from sqlalchemy import update as change
from sqlalchemy.dialects.postgresql import insert

from community_gql.actions.locks import lock_own, lock_tags, lock_viewer
from community_gql.actions.validation import (
    ABSENT,
    MAX_CONTENT_CHARACTERS,
    MAX_IDEMPOTENCY_KEY_CHARACTERS,
    MAX_TAGS_PER_STORY,
    Patch,
    Problems,
)
from community_gql.db import models as m
from community_gql.db.database import Transaction
from community_gql.errors import Code
from community_gql.graph.visibility import Viewer

_LATER = func.greatest(
    func.clock_timestamp(), m.Story.updated_at + text("interval '1 microsecond'")
)
"""What the trigger on stories sets when their own columns change; it does not see their tags."""


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
    """Create a story. If ``idempotency_key`` was used within a day, return that story instead."""
    problems = Problems()
    values = {
        "title": problems.text("title", title, m.Story.title),
        "content": problems.text("content", content, MAX_CONTENT_CHARACTERS),
        "visibility": visibility.value,
    }
    key = problems.optional_text("idempotencyKey", idempotency_key, MAX_IDEMPOTENCY_KEY_CHARACTERS)
    names = problems.tag_names("tags", tags, MAX_TAGS_PER_STORY)
    good = not problems.errors
    tag_ids = await lock_tags(session, names, problems)
    if key is not None and good:
        written = await _claim(session, viewer, key, problems)
        if written is not None:
            return written  # whether or not the tags are still there
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


async def _claim(session: Transaction, viewer: Viewer, key: str, problems: Problems) -> int | None:
    """The story that ``key`` made within a day; None if the key is free and now reserved.

    Notes NOT_FOUND if that story was deleted. A second caller waits here until the first one has
    committed or failed. Also deletes the viewer's keys that are older than a day.
    """
    await lock_viewer(session, viewer, shared=True)
    request = m.story_requests.c
    mine = request.user_id == viewer.sub
    old = request.created_at < func.now() - text("interval '1 day'")
    await session.run(delete_from(m.story_requests).where(mine, old))
    while True:
        claimed = await session.first(
            insert(m.story_requests)
            .values(user_id=viewer.sub, key=key)
            .on_conflict_do_nothing()
            .returning(literal_column("1"))
        )
        if claimed is not None:
            return None
        found = await session.first(
            # unscoped: the viewer's own request
            m.story_requests.select().where(mine, request.key == key)
        )
        if found is not None:  # else another caller has just deleted it
            break
    if found.story_id is None:
        problems.add(
            Code.NOT_FOUND, "The story that this key made has been deleted.", "idempotencyKey"
        )
        return None
    return int(found.story_id)


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
    """Change one of the viewer's stories; ``tags`` replaces all its tags, none clears them.

    New tags count as a change of the story (``updated_at``) like any other change.
    """
    problems = Problems()
    names = problems.tag_names(
        "tags", () if tags is ABSENT or tags is None else tags, MAX_TAGS_PER_STORY
    )
    tag_ids = await lock_tags(session, names, problems)
    story = await lock_own(session, viewer, problems, m.Story, id, m.Story.id, m.Story.updated_at)
    if story is not None:
        problems.unchanged(expected_updated_at, story.updated_at)
    changes: dict[str, Any] = {}
    if title is not ABSENT:
        changes["title"] = problems.text("title", title, m.Story.title)
    if content is not ABSENT:
        changes["content"] = problems.text("content", content, MAX_CONTENT_CHARACTERS)
    if visibility is not ABSENT:
        changes["visibility"] = problems.required("visibility", visibility)
    problems.stop()
    if tags is not ABSENT:
        link = m.story_tags.c
        gone = await session.run(
            delete_from(m.story_tags)
            .where(link.story_id == story.id, link.tag_id.not_in(tag_ids.values()))
            .returning(link.tag_id)
        )
        if await _tag(session, story.id, tag_ids) or gone:
            changes["updated_at"] = _LATER
    if changes:
        await session.run(change(m.Story).where(m.Story.id == story.id).values(**changes))
    return int(story.id)


async def delete(session: Transaction, viewer: Viewer, *, id: int | None) -> int:
    """Delete one of the viewer's stories."""
    problems = Problems()
    story = await lock_own(session, viewer, problems, m.Story, id, m.Story.id, deleting=True)
    problems.stop()
    await session.run(delete_from(m.Story).where(m.Story.id == story.id))
    return int(story.id)


async def _tag(session: Transaction, story_id: int, tag_ids: Mapping[str, int]) -> Sequence[Any]:
    """Add tags to a story; return those that it did not have."""
    if not tag_ids:
        return ()
    rows = [{"story_id": story_id, "tag_id": tag_id} for tag_id in tag_ids.values()]
    return await session.run(
        insert(m.story_tags).values(rows).on_conflict_do_nothing().returning(m.story_tags.c.tag_id)
    )
