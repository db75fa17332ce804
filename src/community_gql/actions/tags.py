"""The shared vocabulary, and the tags that people choose for themselves.

Lock order everywhere: tags, then stories, each by id, then all other rows, people last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from asyncpg import IntegrityConstraintViolationError
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Integer,
    Table,
    any_,
    bindparam,
    func,
    literal,
    select,
    text,
)
from sqlalchemy import delete as delete_from
from sqlalchemy.dialects import postgresql

from community_gql.actions.locks import found_tags, lock_writer, with_tags
from community_gql.actions.permissions import MANAGE_TAGS, require_permission
from community_gql.actions.rows import change_of, change_values, deletion_of, new
from community_gql.actions.validation import MAX_TAGS_PER_PERSON, POPULAR, Problems
from community_gql.db import models as m
from community_gql.db.database import Transaction, constraint
from community_gql.db.texts import Fixed
from community_gql.errors import AccountGone, Code, Rejected, UserError
from community_gql.graph.visibility import Viewer, own, visible


async def add(session: Transaction, viewer: Viewer, *, names: Sequence[str]) -> str | None:
    """Add tags to the viewer's own. Returns the viewer's ``sub``."""
    problems = Problems()
    wanted = problems.tag_names("names", names, MAX_TAGS_PER_PERSON)
    tag_ids = await _lock_both(session, viewer, problems, wanted)
    (worn,) = await session.first(_ADD, {**viewer.binds(), "tags": list(tag_ids.values())})
    if worn > MAX_TAGS_PER_PERSON:
        problems.add(
            Code.TOO_MANY,
            f"You may have at most {MAX_TAGS_PER_PERSON} tags; this would make {worn}.",
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
    tag_ids = await _lock_both(session, viewer, problems, unwanted)
    await session.run(_REMOVE, {**viewer.binds(), "tags": list(tag_ids.values())})
    return viewer.sub


async def _lock_both(
    session: Transaction, viewer: Viewer, problems: Problems, names: dict[str, int]
) -> dict[str, int]:
    """Lock tags, and then the viewer: two who both add their 50th tag wait for each other.

    Returns the keys of the tags. Raises Rejected for what ``problems`` hold, and AccountGone.
    """
    account = await session.first(_LOCK, {**viewer.binds(), "names": list(names)})
    if account is None:
        raise AccountGone
    ids = dict(zip(account.names or (), account.ids or (), strict=True))
    found = found_tags(names, ids, problems, "names")
    problems.stop()
    return found


_LOCK = Fixed(
    with_tags(
        visible(m.User, m.User.auth0_sub)
        .where(own(m.User))
        .with_for_update(key_share=True, of=m.User)
    )
)
_links, _tags = m.user_tags.c, bindparam("tags", type_=ARRAY(BigInteger))
_came = (
    postgresql.insert(m.user_tags)
    .from_select(["user_id", "tag_id"], select(m.VIEWER, func.unnest(_tags)))  # unscoped: to write
    .on_conflict_do_nothing()
    .returning(_links.tag_id)
    .cte("came")
)
# The statement does not see the rows that it adds.
# unscoped: the viewer's own
_worn = select(func.count()).where(_links.user_id == m.VIEWER).scalar_subquery()
_ADD = Fixed(select(_worn + func.count()).select_from(_came))  # unscoped: how many there are now
_REMOVE = Fixed(
    delete_from(m.user_tags).where(_links.user_id == m.VIEWER, _links.tag_id == any_(_tags))
)


async def create(session: Transaction, viewer: Viewer, *, name: str) -> int:
    """Add a tag to the vocabulary."""
    require_permission(viewer, MANAGE_TAGS)
    problems = Problems()
    folded = problems.new_tag_name("name", name, m.Tag.name)
    problems.stop()
    made = await session.first(_CREATE, {"new_name": folded})
    await lock_writer(session, viewer)
    if made is None:
        raise Rejected(_exists(folded))
    return int(made.id)


_CREATE = Fixed(
    postgresql.insert(m.Tag)
    .values(name=new(m.Tag.name))
    .on_conflict_do_nothing()
    .returning(m.Tag.id)
)


async def rename(session: Transaction, viewer: Viewer, *, id: int | None, name: str) -> int:
    """Give a tag another name, on every story that has it."""
    require_permission(viewer, MANAGE_TAGS)
    problems = Problems()
    folded = problems.new_tag_name("name", name, m.Tag.name)
    (tag,) = await lock_vocabulary(session, viewer, problems, {"id": id})
    problems.stop()
    await _refuse_popular(session, tag)
    with _name_is_free(folded):
        await session.run(change_of(m.Tag, ("name",)), change_values(tag, {"name": folded}))
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
    await _lock_having(session, source)
    for links in LINKS:
        await move(session, links, source, target)
    await session.run(deletion_of(m.Tag), change_values(source))
    await lock_writer(session, viewer)
    return int(target)


async def delete(session: Transaction, viewer: Viewer, *, id: int | None) -> int:
    """Remove a tag from the vocabulary, and from every story and person that has it."""
    require_permission(viewer, MANAGE_TAGS)
    problems = Problems()
    (tag,) = await lock_vocabulary(session, viewer, problems, {"id": id})
    problems.stop()
    await _refuse_popular(session, tag)
    await _lock_having(session, tag)
    await session.run(deletion_of(m.Tag), change_values(tag))
    await lock_writer(session, viewer)
    return int(tag)


@dataclass(frozen=True, slots=True)
class Links:
    """A table of links between tags and what has them (``owner``, by the column ``key``)."""

    table: Table
    key: str
    owner: Any


LINKS = (
    Links(m.story_tags, "story_id", m.Story.id),
    Links(m.user_tags, "user_id", m.User.auth0_sub),
)
"""The tables of links, in the lock order of their owners."""


async def move(
    session: Transaction, links: Links, source: int, target: int | None, most: int = POPULAR
) -> int:
    """Put ``target`` in the place of ``source`` on ``most`` owners; None only removes ``source``.

    Returns the number of owners. The caller has locked both tags.
    """
    locking, moving, removing = _moving(links)
    given: dict[str, Any] = {"source": source, "target": target, "most": most}
    rows = await session.run(locking, given)
    if not rows:
        return 0
    given["owners"] = [row[0] for row in rows]
    if target is not None:
        await session.run(moving, given)
    await session.run(removing, given)
    return len(rows)


async def _lock_having(session: Transaction, tag: int) -> None:
    """Lock everything that has the tag, and then the marks of those whose vectors it is part of.

    The marks together, in the order of people: what is done then marks story by story and person by
    person. The caller has locked the tag.
    """
    for links in LINKS:
        locking, *_ = _moving(links)
        await session.run(locking, {"source": tag, "target": None, "most": POPULAR})
    await session.run(_MARKED, {"tag": tag})


_MARKED = Fixed(
    # unscoped: writes marks, and shows nothing
    text("""
    SELECT mark_stale_features(ARRAY(
      SELECT user_id FROM user_tags WHERE tag_id = :tag
      UNION
      SELECT s.user_id FROM story_tags t JOIN stories s ON s.id = t.story_id WHERE t.tag_id = :tag
    ))
""").bindparams(bindparam("tag", type_=BigInteger))
)


@lru_cache
def _moving(links: Links) -> tuple[Fixed, Fixed, Fixed]:
    """Locking owners, giving them the bind ``target``, and taking ``source`` from them.

    Owners are locked before their links change, so that nobody deletes them meanwhile, and in one
    order. Every other change of a story's or a person's tags locks these first as well.
    """
    owner, source = links.table.c[links.key], bindparam("source", type_=BigInteger())
    having = links.table.c.tag_id == source
    tagged = select(owner).where(having)  # unscoped: moderation moves all links and shows none
    locked = select(links.owner).where(links.owner.in_(tagged))  # unscoped: their owners
    most = bindparam("most", type_=Integer())
    locking = locked.order_by(links.owner).limit(most).with_for_update(key_share=True)
    having &= owner == any_(bindparam("owners", type_=ARRAY(owner.type)))
    target = bindparam("target", type_=BigInteger())
    moved = select(owner, target).where(having)  # unscoped: as above
    put = postgresql.insert(links.table).from_select([links.key, "tag_id"], moved)
    removing = delete_from(links.table).where(having)
    return Fixed(locking), Fixed(put.on_conflict_do_nothing()), Fixed(removing)


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
    lock = _LOCK_SHARED if shared else _LOCK_ALONE
    found = await session.run(lock, {**viewer.binds(), "keys": keys})
    there = {row.id for row in found}
    for path, key in wanted.items():
        if key not in there:
            problems.not_found(path, what="tag")
    return [key if key in there else None for key in wanted.values()]


_these = (
    visible(m.Tag, m.Tag.id)
    .where(m.Tag.id == any_(bindparam("keys", type_=ARRAY(BigInteger))))
    .order_by(m.Tag.id)
)
_LOCK_ALONE = Fixed(_these.with_for_update(of=m.Tag))
_LOCK_SHARED = Fixed(_these.with_for_update(of=m.Tag, read=True, key_share=True))


async def _refuse_popular(session: Transaction, tag: int) -> None:
    if max(await session.first(_COUNT, {"tag": tag})) > POPULAR:
        raise Rejected(
            UserError(
                Code.TAG_TOO_POPULAR,
                f"The tag is on more than {POPULAR:,} stories or people. Whoever operates the "
                "server can change it in batches: community-gql tags --help",
            )
        )


# unscoped: how many of all, up to the limit, for someone with manage:tags
_COUNT = Fixed(
    select(  # unscoped: numbers only
        *(
            select(func.count())  # unscoped: the same
            .select_from(
                select(links.table.c.tag_id)  # unscoped: the same
                .where(links.table.c.tag_id == bindparam("tag", type_=BigInteger()))
                .limit(literal(POPULAR + 1))
                .subquery()
            )
            .scalar_subquery()
            for links in LINKS
        )
    )
)


@contextmanager
def _name_is_free(name: str) -> Iterator[None]:
    try:
        yield
    except IntegrityConstraintViolationError as error:
        if constraint(error) != "tags_name_key":
            raise
        raise Rejected(_exists(name)) from None


def _exists(name: str) -> UserError:
    return UserError(Code.TAG_ALREADY_EXISTS, f'There is a tag "{name}" already.', ("name",))
