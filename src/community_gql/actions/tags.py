"""The shared vocabulary, and the tags that people choose for themselves.

Lock order everywhere: tags, then stories, each by id, then all other rows, people last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ARRAY, Table, any_, bindparam, func, literal, select
from sqlalchemy import delete as delete_from
from sqlalchemy import update as change
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import IntegrityError

from community_gql.actions.locks import lock_tags, lock_viewer, lock_writer
from community_gql.actions.permissions import MANAGE_TAGS, require_permission
from community_gql.actions.validation import MAX_TAGS_PER_PERSON, POPULAR, Problems
from community_gql.db import models as m
from community_gql.db.database import Transaction, constraint
from community_gql.errors import Code, Rejected, UserError
from community_gql.graph.visibility import Viewer, visible


async def add(session: Transaction, viewer: Viewer, *, names: Sequence[str]) -> str | None:
    """Add tags to the viewer's own. Returns the viewer's ``sub``."""
    problems = Problems()
    wanted = problems.tag_names("names", names, MAX_TAGS_PER_PERSON)
    tag_ids = await lock_tags(session, wanted, problems, "names")
    problems.stop()
    await lock_viewer(session, viewer)  # two callers who both add the 50th tag wait here
    if tag_ids:
        rows = [{"user_id": viewer.sub, "tag_id": tag_id} for tag_id in tag_ids.values()]
        await session.run(postgresql.insert(m.user_tags).values(rows).on_conflict_do_nothing())
    worn = await session.first(
        select(func.count()).where(m.user_tags.c.user_id == viewer.sub)  # unscoped: public rows
    )
    if worn[0] > MAX_TAGS_PER_PERSON:
        problems.add(
            Code.TOO_MANY,
            f"You may have at most {MAX_TAGS_PER_PERSON} tags; this would make {worn[0]}.",
            "names",
        )
        problems.stop()
    return viewer.sub


async def remove(session: Transaction, viewer: Viewer, *, names: Sequence[str]) -> str | None:
    """Remove tags from the viewer's own; tags that they do not have are ignored.

    Returns the viewer's ``sub``.
    """
    problems = Problems()
    unwanted = problems.tag_names("names", names, MAX_TAGS_PER_PERSON)
    tag_ids = await lock_tags(session, unwanted, problems, "names")
    problems.stop()
    await lock_viewer(session, viewer)
    await session.run(
        delete_from(m.user_tags).where(
            m.user_tags.c.user_id == viewer.sub, m.user_tags.c.tag_id.in_(tag_ids.values())
        )
    )
    return viewer.sub


async def create(session: Transaction, viewer: Viewer, *, name: str) -> int:
    """Add a tag to the vocabulary."""
    require_permission(viewer, MANAGE_TAGS)
    problems = Problems()
    folded = problems.new_tag_name("name", name, m.Tag.name)
    problems.stop()
    made = await session.first(
        postgresql.insert(m.Tag).values(name=folded).on_conflict_do_nothing().returning(m.Tag.id)
    )
    await lock_writer(session, viewer)
    if made is None:
        raise Rejected(_exists(folded))
    return int(made.id)


async def rename(session: Transaction, viewer: Viewer, *, id: int | None, name: str) -> int:
    """Give a tag another name, on every story that has it."""
    require_permission(viewer, MANAGE_TAGS)
    problems = Problems()
    folded = problems.new_tag_name("name", name, m.Tag.name)
    (tag,) = await lock_vocabulary(session, viewer, problems, {"id": id})
    problems.stop()
    await _refuse_popular(session, tag)
    with _name_is_free(folded):
        await session.run(change(m.Tag).where(m.Tag.id == tag).values(name=folded))
    await lock_writer(session, viewer)
    return int(tag)


async def merge(
    session: Transaction, viewer: Viewer, *, from_id: int | None, into_id: int | None
) -> int:
    """Replace one tag by another everywhere, and delete it. Returns the key of the other tag."""
    require_permission(viewer, MANAGE_TAGS)
    problems = Problems()
    source, target = await lock_vocabulary(
        session, viewer, problems, {"fromId": from_id, "intoId": into_id}
    )
    if source is not None and source == target:
        problems.add(Code.INVALID, "A tag cannot be merged into itself.", "intoId")
    problems.stop()
    await _refuse_popular(session, source)
    for links in LINKS:
        await move(session, links, source, target)
    await session.run(delete_from(m.Tag).where(m.Tag.id == source))
    await lock_writer(session, viewer)
    return int(target)


async def delete(session: Transaction, viewer: Viewer, *, id: int | None) -> int:
    """Remove a tag from the vocabulary, and from every story and person that has it."""
    require_permission(viewer, MANAGE_TAGS)
    problems = Problems()
    (tag,) = await lock_vocabulary(session, viewer, problems, {"id": id})
    problems.stop()
    await _refuse_popular(session, tag)
    await session.run(delete_from(m.Tag).where(m.Tag.id == tag))
    await lock_writer(session, viewer)
    return int(tag)


@dataclass(frozen=True, slots=True)
class Links:
    """A table of links between tags and what has them (``owner``, by the column ``key``)."""

    table: Table
    key: str
    owner: Any
    shared: bool
    """Whether to lock owners against deletion only: true for people, who stay taggable."""


LINKS = (
    Links(m.story_tags, "story_id", m.Story.id, shared=False),
    Links(m.user_tags, "user_id", m.User.auth0_sub, shared=True),
)
"""The tables of links, in the lock order of their owners."""


async def move(
    session: Transaction, links: Links, source: int, target: int | None, most: int = POPULAR
) -> int:
    """Put ``target`` in the place of ``source`` on ``most`` owners; None only removes ``source``.

    Returns the number of owners. The caller has locked both tags.
    """
    owner, having = links.table.c[links.key], links.table.c.tag_id == source
    # Owners are locked before their links change, so that nobody deletes them meanwhile. Every
    # other change of a story's tags locks the story first as well.
    tagged = select(owner).where(having)  # unscoped: moderation moves all links and shows none
    locked = select(links.owner).where(links.owner.in_(tagged))  # unscoped: their owners
    rows = await session.run(
        locked.order_by(links.owner).limit(most).with_for_update(read=links.shared, key_share=True)
    )
    if not rows:
        return 0
    these = {"owners": [row[0] for row in rows]}
    having &= owner == any_(bindparam("owners", type_=ARRAY(owner.type)))
    if target is not None:
        moved = select(owner, literal(target, m.Tag.id.type)).where(having)  # unscoped: as above
        put = postgresql.insert(links.table).from_select([links.key, "tag_id"], moved)
        await session.run(put.on_conflict_do_nothing(), these)
    await session.run(delete_from(links.table).where(having), these)
    return len(rows)


async def lock_vocabulary(
    session: Transaction,
    viewer: Viewer,
    problems: Problems,
    wanted: dict[str, Any],
    *,
    shared: bool = False,
) -> list[Any]:
    """Lock tags by id: against all use, or if ``shared`` against renaming and deletion only.

    Returns the keys in ``wanted``, with None (and a noted NOT_FOUND) for each missing one.
    """
    keys = sorted({key for key in wanted.values() if key is not None})
    found = await session.run(
        visible(m.Tag, m.Tag.id)
        .where(m.Tag.id.in_(keys))
        .order_by(m.Tag.id)
        .with_for_update(of=m.Tag, read=shared, key_share=shared),
        viewer.binds(),
    )
    there = {row.id for row in found}
    for path, key in wanted.items():
        if key not in there:
            problems.not_found(path, what="tag")
    return [key if key in there else None for key in wanted.values()]


async def _refuse_popular(session: Transaction, tag: int) -> None:
    counts = [
        # unscoped: how many of all, up to the limit, for someone with manage:tags
        select(func.count())
        .select_from(
            select(links.table.c.tag_id)  # unscoped: of the same
            .where(links.table.c.tag_id == tag)
            .limit(POPULAR + 1)
            .subquery()
        )
        .scalar_subquery()
        for links in LINKS
    ]
    counted = await session.first(select(*counts))  # unscoped: numbers only
    if max(counted) > POPULAR:
        raise Rejected(
            UserError(
                Code.TAG_TOO_POPULAR,
                f"The tag is on more than {POPULAR:,} stories or people. Whoever operates the "
                "server can change it in batches: community-gql tags --help",
            )
        )


@contextmanager
def _name_is_free(name: str) -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        if constraint(error) != "tags_name_key":
            raise
        raise Rejected(_exists(name)) from None


def _exists(name: str) -> UserError:
    return UserError(Code.TAG_ALREADY_EXISTS, f'There is a tag "{name}" already.', ("name",))
