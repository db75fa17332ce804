"""The shared vocabulary, and the tags that people choose for themselves.

Lock order everywhere: tags by id first, then stories and people.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Table, func, literal, select
from sqlalchemy import delete as delete_from
from sqlalchemy import update as change
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from community_gql import models as m
from community_gql.checks import MAX_TAGS_PER_PERSON, POPULAR, Problems
from community_gql.database import Transaction, constraint
from community_gql.errors import Code, Rejected, Unauthenticated, UserError
from community_gql.visibility import Viewer, lock_tags, not_found, require_permission, visible

MANAGE = "manage:tags"


async def add(session: Transaction, viewer: Viewer, *, names: Sequence[str]) -> str | None:
    """Add tags to the viewer's own. Returns the viewer's ``sub``."""
    problems = Problems()
    wanted = problems.tag_names("names", names, MAX_TAGS_PER_PERSON)
    tag_ids = await lock_tags(session, wanted, problems, "names")
    problems.stop()
    # The person's row is what two callers who both add the 50th tag wait for.
    person = await session.first(
        visible(m.User, m.User.auth0_sub)
        .where(m.User.auth0_sub == m.VIEWER)
        .with_for_update(key_share=True),
        viewer.binds(),
    )
    if person is None:
        raise Unauthenticated("Your account does not exist any more.")
    if tag_ids:
        rows = [{"user_id": viewer.sub, "tag_id": tag_id} for tag_id in tag_ids.values()]
        await session.run(insert(m.user_tags).values(rows).on_conflict_do_nothing())
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
    """Take tags from the viewer's own; those they do not have are no problem.

    Returns the viewer's ``sub``.
    """
    problems = Problems()
    unwanted = problems.tag_names("names", names, MAX_TAGS_PER_PERSON)
    tag_ids = await lock_tags(session, unwanted, problems, "names")
    problems.stop()
    await session.run(
        delete_from(m.user_tags).where(
            m.user_tags.c.user_id == viewer.sub, m.user_tags.c.tag_id.in_(tag_ids.values())
        )
    )
    return viewer.sub


async def create(session: Transaction, viewer: Viewer, *, name: str) -> int:
    """Add a tag to the vocabulary."""
    require_permission(viewer, MANAGE)
    folded = _name(name)
    made = await session.first(
        insert(m.Tag).values(name=folded).on_conflict_do_nothing().returning(m.Tag.id)
    )
    if made is None:
        raise Rejected(_exists(folded))
    return int(made.id)


async def rename(session: Transaction, viewer: Viewer, *, id: int | None, name: str) -> int:
    """Give a tag another name, on every story that has it."""
    require_permission(viewer, MANAGE)
    folded = _name(name)
    (tag,) = await _lock(session, viewer, {"id": id})
    await _refuse_popular(session, tag)
    with _name_is_free(folded):
        await session.run(change(m.Tag).where(m.Tag.id == tag).values(name=folded))
    return tag


async def merge(
    session: Transaction, viewer: Viewer, *, from_id: int | None, into_id: int | None
) -> int:
    """Replace one tag by another everywhere, and delete it. Returns the key of the one left."""
    require_permission(viewer, MANAGE)
    if from_id is not None and from_id == into_id:
        raise Rejected(UserError(Code.INVALID, "A tag cannot be merged into itself.", ("intoId",)))
    source, target = await _lock(session, viewer, {"fromId": from_id, "intoId": into_id})
    await _refuse_popular(session, source)
    await move(session, source, target)
    await session.run(delete_from(m.Tag).where(m.Tag.id == source))
    return target


async def delete(session: Transaction, viewer: Viewer, *, id: int | None) -> int:
    """Remove a tag from the vocabulary, and from every story and person that has it."""
    require_permission(viewer, MANAGE)
    (tag,) = await _lock(session, viewer, {"id": id})
    await _refuse_popular(session, tag)
    await session.run(delete_from(m.Tag).where(m.Tag.id == tag))
    return tag


async def move(session: Transaction, source: int, target: int) -> None:
    """Put ``target`` wherever ``source`` is, on stories and on people."""
    await move_on(session, m.story_tags, "story_id", source, target)
    await move_on(session, m.user_tags, "user_id", source, target)


async def move_on(
    session: Transaction,
    links: Table,
    owner: str,
    source: int,
    target: int,
    owners: Sequence[Any] | None = None,
) -> None:
    """Put ``target`` wherever ``source`` is in one table of links, or for these owners only."""
    having = links.c.tag_id == source
    if owners is not None:
        having &= links.c[owner].in_(owners)
    # unscoped: a merge moves everyone's links and shows none
    moved = select(links.c[owner], literal(target, m.Tag.id.type)).where(having)
    await session.run(insert(links).from_select([owner, "tag_id"], moved).on_conflict_do_nothing())
    await session.run(delete_from(links).where(having))


def _name(name: str) -> str:
    problems = Problems()
    (folded,) = problems.tag_names("name", [name], 1) or ("",)
    problems.errors = [UserError(e.code, e.message, ("name",)) for e in problems.errors]
    if folded:
        problems.text("name", folded, m.Tag.name)
    problems.stop()
    return folded


async def _lock(session: Transaction, viewer: Viewer, wanted: dict[str, Any]) -> list[int]:
    """Lock tags against renaming, by id. NOT_FOUND names every one that is not there."""
    keys = sorted(key for key in wanted.values() if key is not None)
    found = await session.run(
        visible(m.Tag, m.Tag.id)
        .where(m.Tag.id.in_(keys))
        .order_by(m.Tag.id)
        .with_for_update(of=m.Tag),
        viewer.binds(),
    )
    there = {row.id for row in found}
    missing = [not_found(path) for path, key in wanted.items() if key not in there]
    if missing:
        raise Rejected(*missing)
    return list(wanted.values())


async def _refuse_popular(session: Transaction, tag: int) -> None:
    # unscoped: counts all stories for someone with manage:tags, up to the limit
    tagged = select(m.story_tags.c.story_id).where(m.story_tags.c.tag_id == tag)
    counted = await session.first(
        # unscoped: of the same
        select(func.count()).select_from(tagged.limit(POPULAR + 1).subquery())
    )
    if counted[0] > POPULAR:
        raise Rejected(
            UserError(
                Code.TAG_TOO_POPULAR,
                f"The tag is on more than {POPULAR:,} stories. Whoever operates the server can "
                "change it in batches: community-gql tags --help",
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
    return UserError(Code.TAG_ALREADY_EXISTS, f"There is a tag {name!r} already.", ("name",))
