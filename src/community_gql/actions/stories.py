"""Stories and their tags. Lock order: tags by id first, then the story (decision 33)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    DateTime,
    Integer,
    all_,
    bindparam,
    case,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
)
from sqlalchemy import delete as delete_from
from sqlalchemy import update as change
from sqlalchemy.dialects.postgresql import insert

from community_gql.actions.locks import (
    NAMED,
    found_tags,
    lock_own,
    lock_tags,
    lock_viewer,
    own_row,
    with_tags,
)
from community_gql.actions.rows import change_values, deletion_of, new
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
from community_gql.db.texts import Fixed
from community_gql.errors import Code
from community_gql.graph.visibility import Viewer, own

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
    writing = {f"new_{name}": value for name, value in values.items()} | viewer.binds()
    if key is None and good:
        made = await session.only(_CREATE, {**writing, "names": list(names), "count": len(names)})
        if made is not None:
            return int(made.id)
    # A tag is missing, or there is more to do.
    tag_ids = await lock_tags(session, names, problems)
    if key is not None and good:
        written = await _claim(session, viewer, key, problems)
        if written is not None:
            return written  # whether or not the tags are still there
    problems.stop()
    made = await session.first(_CREATE, {**writing, "names": list(tag_ids), "count": len(tag_ids)})
    story_id = int(made.id)
    if key is not None:
        await session.run(_KEEP_KEY, {**viewer.binds(), "key_given": key, "story": story_id})
    return story_id


_COLUMNS = ("title", "content", "visibility")
# unscoped: counts the tags of NAMED
_count = select(func.count()).select_from(NAMED).scalar_subquery()
_story = (
    insert(m.Story)
    .from_select(
        ["user_id", *_COLUMNS],
        # unscoped: the row to write
        select(m.VIEWER, *(new(getattr(m.Story, name)) for name in _COLUMNS)).where(
            _count == bindparam("count", type_=Integer())
        ),
    )
    .returning(m.Story.id)
    .cte("story")
)
_links = (
    insert(m.story_tags)
    .from_select(["story_id", "tag_id"], select(_story.c.id, NAMED.c.id))  # unscoped: to write
    .cte("links")
)
_CREATE = Fixed(select(_story.c.id).add_cte(_links))  # unscoped: what was written
"""Writes a story if all its tags are there, which it locks before."""


async def _claim(session: Transaction, viewer: Viewer, key: str, problems: Problems) -> int | None:
    """The story that ``key`` made within a day; None if the key is free and now reserved.

    Notes NOT_FOUND if that story was deleted. A second caller waits here until the first one has
    committed or failed. Also deletes the viewer's keys that are older than a day.
    """
    await lock_viewer(session, viewer, shared=True)
    given = {**viewer.binds(), "key_given": key}
    await session.run(_FORGET_KEYS, given)
    while True:
        claimed = await session.first(_CLAIM_KEY, given)
        if claimed is not None:
            return None
        found = await session.first(_FIND_KEY, given)
        if found is not None:  # else another caller has just deleted it
            break
    if found.story_id is None:
        problems.add(
            Code.NOT_FOUND, "The story that this key made has been deleted.", "idempotencyKey"
        )
        return None
    return int(found.story_id)


_request = m.story_requests.c
_mine = _request.user_id == m.VIEWER
_this = _request.key == bindparam("key_given", type_=_request.key.type)
_FORGET_KEYS = Fixed(
    delete_from(m.story_requests).where(
        _mine, _request.created_at < func.now() - text("interval '1 day'")
    )
)
_CLAIM_KEY = Fixed(
    insert(m.story_requests)
    .values(user_id=m.VIEWER, key=bindparam("key_given", type_=_request.key.type))
    .on_conflict_do_nothing()
    .returning(literal_column("1"))
)
# unscoped: the viewer's own request
_FIND_KEY = Fixed(m.story_requests.select().where(_mine, _this))
_KEEP_KEY = Fixed(
    change(m.story_requests)
    .where(_mine, _this)
    .values(story_id=bindparam("story", type_=BigInteger()))
)


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
    changes: dict[str, Any] = {}
    own_problems = Problems()
    if title is not ABSENT:
        changes["title"] = own_problems.text("title", title, m.Story.title)
    if content is not ABSENT:
        changes["content"] = own_problems.text("content", content, MAX_CONTENT_CHARACTERS)
    if visibility is not ABSENT:
        changes["visibility"] = own_problems.required("visibility", visibility)
    given = {f"new_{name}": value for name, value in changes.items()} | viewer.binds()
    given |= {"key": id, "expected": expected_updated_at}
    if changes and tags is ABSENT and id is not None and not own_problems.errors:
        changed = await session.only(_change(tuple(changes)), given)
        if changed is not None:
            return int(changed.id)
    story, tag_ids = await _lock(session, viewer, problems, id, names)
    if story is not None:
        problems.unchanged(expected_updated_at, story.updated_at)
    problems.errors += own_problems.errors
    problems.stop()
    if tags is not ABSENT:
        await session.run(_retag(tuple(changes)), given | {"tags": list(tag_ids.values())})
    elif changes:
        await session.run(_change(tuple(changes)), given)
    return int(story.id)


async def _lock(
    session: Transaction, viewer: Viewer, problems: Problems, id: int | None, names: dict[str, int]
) -> tuple[Any, dict[str, int]]:
    """Lock tags and then the story; returns the story and the keys of the tags by name."""
    columns = m.Story.id, m.Story.updated_at
    if id is not None and names:
        row = await session.first(_LOCK, {**viewer.binds(), "key": id, "names": list(names)})
        if row is not None:
            ids = dict(zip(row.names or (), row.ids or (), strict=True))
            return row, found_tags(names, ids, problems)
    tag_ids = await lock_tags(session, names, problems)
    return await lock_own(session, viewer, problems, m.Story, id, *columns), tag_ids


_LOCK = Fixed(
    with_tags(
        own_row(m.Story, m.Story.id, m.Story.updated_at).with_for_update(key_share=True, of=m.Story)
    )
)
_key = bindparam("key", type_=BigInteger())
_expected = bindparam("expected", type_=DateTime(timezone=True))


def _new(columns: tuple[str, ...]) -> dict[str, Any]:
    return {name: new(getattr(m.Story, name)) for name in columns}


@lru_cache
def _change(columns: tuple[str, ...]) -> Fixed:
    """Changes these columns of the viewer's story, if it is the expected version."""
    expected = or_(_expected.is_(None), m.Story.updated_at == _expected)
    return Fixed(
        change(m.Story)
        .where(m.Story.id == _key, own(m.Story), expected)
        .values(_new(columns))
        .returning(m.Story.id)
    )


@lru_cache
def _retag(columns: tuple[str, ...]) -> Fixed:
    """Gives a locked story these tags and columns. New tags count as a change of it."""
    link, tags = m.story_tags.c, bindparam("tags", type_=ARRAY(BigInteger))
    gone = (
        delete_from(m.story_tags)
        .where(link.story_id == _key, link.tag_id != all_(tags))
        .returning(link.tag_id)
        .cte("gone")
    )
    came = (
        insert(m.story_tags)
        .from_select(["story_id", "tag_id"], select(_key, func.unnest(tags)))  # unscoped: to write
        .on_conflict_do_nothing()
        .returning(link.tag_id)
        .cte("came")
    )
    fewer = select(literal(1)).select_from(gone).exists()  # unscoped: whether there are any
    more = select(literal(1)).select_from(came).exists()  # unscoped: the same
    retagged = or_(fewer, more)
    later = case((retagged, _LATER), else_=m.Story.updated_at)
    story = change(m.Story).where(m.Story.id == _key)
    if not columns:
        story = story.where(retagged)
    return Fixed(story.values({**_new(columns), "updated_at": later}).returning(m.Story.id))


async def delete(session: Transaction, viewer: Viewer, *, id: int | None) -> int:
    """Delete one of the viewer's stories."""
    problems = Problems()
    story = await lock_own(session, viewer, problems, m.Story, id, m.Story.id, deleting=True)
    problems.stop()
    await session.run(deletion_of(m.Story), change_values(story.id))
    return int(story.id)
