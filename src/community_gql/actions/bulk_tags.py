"""Tags that are on too many stories for one request, changed batch by batch.

Each batch is a transaction, after which ``stories.tags_cached`` is correct. After an interruption
the same call continues. A change that is small enough runs in one transaction, as in the API.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import delete as delete_from
from sqlalchemy import func, literal, select
from sqlalchemy.dialects.postgresql import insert

from community_gql.actions import tags
from community_gql.actions.permissions import MANAGE_TAGS
from community_gql.actions.validation import Problems
from community_gql.db import models as m
from community_gql.db.database import Database, Transaction
from community_gql.errors import Code, Rejected
from community_gql.graph.search import fold_tag
from community_gql.graph.visibility import Viewer
from community_gql.settings import OperatorError

BATCH = 1_000
"""Stories or people per transaction."""

Progress = Callable[[int, int], None]
"""Called with how many stories and people are done, and how many there are."""

_OPERATOR = Viewer(permissions=frozenset({MANAGE_TAGS}))


class ModerationError(OperatorError):
    """This change of the vocabulary is refused; the text says why and what to do."""


async def rename(database: Database, old: str, new: str, progress: Progress) -> None:
    """Give a tag another name.

    For a popular tag, a new tag with that name (and another id) is made, and the old one is merged
    into it. Raises ModerationError; what was moved before the error stays moved.
    """
    source = await _find(database, old)
    target = await _under_way(database, source, old, new)
    if target is None:
        try:
            await database.write(
                lambda session: tags.rename(session, _OPERATOR, id=source, name=new)
            )
            return
        except Rejected as rejected:
            if _codes(rejected) == {Code.TAG_ALREADY_EXISTS}:
                raise _exists(old, new) from None
            _go_on_if_popular(rejected)
        target = await database.write(lambda session: _begin_rename(session, source, old, new))
    await _replace(database, source, target, progress)


async def merge(database: Database, old: str, into: str, progress: Progress) -> None:
    """Replace a tag by another everywhere, and delete it. Raises ModerationError."""
    source, target = await _find(database, old), await _find(database, into)
    try:
        await database.write(
            lambda session: tags.merge(session, _OPERATOR, from_id=source, into_id=target)
        )
    except Rejected as rejected:
        _go_on_if_popular(rejected)
        await _replace(database, source, target, progress)


async def delete(database: Database, name: str, progress: Progress) -> None:
    """Remove a tag from everything that has it, and delete it. Raises ModerationError."""
    source = await _find(database, name)
    try:
        await database.write(lambda session: tags.delete(session, _OPERATOR, id=source))
    except Rejected as rejected:
        _go_on_if_popular(rejected)
        await _replace(database, source, None, progress)


async def _find(database: Database, name: str) -> int:
    async def find(session: Transaction) -> Any:
        return await session.first(select(m.Tag.id).where(m.Tag.name == fold_tag(name)))

    found = await database.write(find)
    if found is None:
        raise ModerationError(f'there is no tag "{fold_tag(name)}".')
    return int(found[0])


async def _under_way(database: Database, source: int, old: str, new: str) -> int | None:
    """The tag by which an interrupted rename began to replace ``source``, if there is one."""
    begun = m.tag_renames.c
    query = (
        select(m.Tag.id, m.Tag.name).join(m.tag_renames, begun.into_id == m.Tag.id)
    ).where(begun.tag_id == source)  # fmt: skip
    found = await database.write(lambda session: session.first(query))
    if found is None:
        return None
    if found.name != fold_tag(new):
        raise ModerationError(
            f'"{old}" is on its way to the name "{found.name}". Finish that first: '
            f'community-gql tags rename "{old}" "{found.name}"'
        )
    return int(found.id)


async def _begin_rename(session: Transaction, source: int, old: str, new: str) -> int:
    await _lock(session, source, None)
    same_age = select(literal(fold_tag(new)), m.Tag.created_at).where(m.Tag.id == source)
    made = await session.first(
        insert(m.Tag)
        .from_select(["name", "created_at"], same_age)
        .on_conflict_do_nothing()
        .returning(m.Tag.id)
    )
    if made is None:
        raise _exists(old, new)
    await session.run(insert(m.tag_renames).values(tag_id=source, into_id=made.id))
    return int(made.id)


def _exists(old: str, new: str) -> ModerationError:
    return ModerationError(
        f'there is a tag "{fold_tag(new)}" already. To put the other into it: '
        f'community-gql tags merge "{old}" "{new}"'
    )


async def _replace(database: Database, source: int, target: int | None, progress: Progress) -> None:
    done, total = 0, await database.write(lambda session: _count(session, source))
    progress(done, total)
    for links in tags.LINKS:
        batch = partial(_batch, links=links, source=source, target=target)
        while moved := await database.write(batch):
            done += moved
            progress(done, max(done, total))
    await database.write(lambda session: _finish(session, source, target))
    progress(total, total)


async def _count(session: Transaction, source: int) -> int:
    counts = [
        select(func.count()).where(links.table.c.tag_id == source).scalar_subquery()
        for links in tags.LINKS
    ]
    return sum(await session.first(select(*counts)))


async def _batch(session: Transaction, links: tags.Links, source: int, target: int | None) -> int:
    await _lock(session, source, target)
    return await tags.move(session, links, source, target, BATCH)


async def _finish(session: Transaction, source: int, target: int | None) -> None:
    """Move what was tagged since the last batch and delete the tag, locked against all use."""
    await _lock(session, source, target, shared=False)
    for links in tags.LINKS:
        while await tags.move(session, links, source, target):
            pass
    await session.run(delete_from(m.Tag).where(m.Tag.id == source))


async def _lock(
    session: Transaction, source: int, target: int | None, *, shared: bool = True
) -> None:
    wanted = {"source": source} | ({} if target is None else {"target": target})
    problems = Problems()
    await tags.lock_vocabulary(session, _OPERATOR, problems, wanted, shared=shared)
    if problems.errors:
        raise ModerationError("somebody else has just deleted or merged the tag.")


def _codes(rejected: Rejected) -> set[Code]:
    return {error.code for error in rejected.errors}


def _go_on_if_popular(rejected: Rejected) -> None:
    if _codes(rejected) != {Code.TAG_TOO_POPULAR}:
        raise ModerationError(" ".join(error.message for error in rejected.errors)) from None
