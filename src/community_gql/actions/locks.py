"""What a writer locks before it writes, and what it must be allowed to do.

The lock order, everywhere: tags, stories, all other rows, people last (decision 33).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
    Select,
    String,
    any_,
    bindparam,
    func,
    literal_column,
    not_,
    select,
)

from community_gql.actions.validation import Problems
from community_gql.db import models as m
from community_gql.db.database import Transaction
from community_gql.db.texts import Fixed
from community_gql.errors import AccountGone, Code
from community_gql.graph.visibility import Viewer, is_machine, own, visible


async def lock_own(
    session: Transaction,
    viewer: Viewer,
    problems: Problems,
    model: type[m.Base],
    key: Any,
    *columns: Any,
    deleting: bool = False,
) -> Any:
    """Lock the viewer's row of ``model`` whose public key is ``key``; returns its ``columns``.

    Otherwise returns None and notes at ``id``: NOT_FOUND if the viewer may not see the row (or
    ``key`` is None: an id that names nothing), FORBIDDEN if they may see the row but do not own
    it. Rows of others are never locked.
    """
    if key is not None:
        values = {**viewer.binds(), "key": key}
        row = await session.first(_own(model, columns, deleting), values)
        if row is not None:
            return row
        if await session.first(_of_others(model), values) is not None:
            problems.add(Code.FORBIDDEN, "It belongs to someone else.", "id")
            return None
    problems.not_found("id")
    return None


def _this(model: type[m.Base]) -> Any:
    column = getattr(model, model.__global_key__)
    return column == bindparam("key", type_=column.type)


def own_row(model: type[m.Base], *columns: Any) -> Select[Any]:
    """The viewer's row of ``model`` whose public key is the bind ``key``."""
    return visible(model, *columns).where(_this(model), own(model))


@lru_cache
def _own(model: type[m.Base], columns: tuple[Any, ...], deleting: bool) -> Fixed:
    row = own_row(model, *columns)
    return Fixed(row.with_for_update(key_share=not deleting, of=model))


@lru_cache
def _of_others(model: type[m.Base]) -> Fixed:
    return Fixed(visible(model, literal_column("1")).where(_this(model), not_(own(model))))


async def lock_writer(session: Transaction, viewer: Viewer) -> None:
    """Lock the account of a viewer who writes by a permission, against deletion; people last.

    Machines and the operator at the command line have no account. Raises AccountGone if the
    account was deleted.
    """
    if viewer.sub is not None and not is_machine(viewer.sub):
        await lock_viewer(session, viewer, shared=True)


async def lock_viewer(session: Transaction, viewer: Viewer, *, shared: bool = False) -> None:
    """Lock the viewer's account, after tags and stories: the lock order.

    ``shared`` locks it against deletion only. Raises AccountGone if it was deleted.
    """
    lock = _VIEWER_SHARED if shared else _VIEWER
    if await session.first(lock, viewer.binds()) is None:
        raise AccountGone


_ACCOUNT = visible(m.User, m.User.auth0_sub).where(own(m.User))
_VIEWER = Fixed(_ACCOUNT.with_for_update(key_share=True))
_VIEWER_SHARED = Fixed(_ACCOUNT.with_for_update(read=True, key_share=True))

_NAMED = (
    visible(m.Tag, m.Tag.id, m.Tag.name)
    .where(m.Tag.name == any_(bindparam("names", type_=ARRAY(String))))
    .order_by(m.Tag.id)
    .with_for_update(read=True, key_share=True, of=m.Tag)
)
NAMED: CTE = _NAMED.cte("named")
"""The tags with the folded names of the bind ``names``, locked as by ``lock_tags``.

A statement that counts them before it locks anything else keeps the lock order.
"""
_TAGS = Fixed(_NAMED)


def with_tags(row: Select[Any]) -> Select[Any]:
    """Lock NAMED, and then what ``row`` locks; beside its columns the tags' ``names``, ``ids``."""
    # unscoped: of the tags above
    counted = select(func.count()).select_from(NAMED).scalar_subquery()
    return row.add_columns(
        select(func.array_agg(NAMED.c.name)).scalar_subquery().label("names"),  # unscoped: the same
        select(func.array_agg(NAMED.c.id)).scalar_subquery().label("ids"),  # unscoped: the same
    ).where(counted >= 0)


async def lock_tags(
    session: Transaction, names: Mapping[str, int], problems: Problems
) -> dict[str, int]:
    """Lock the tags of these folded names against deletion and renaming; return their ids by name.

    Locked by id, before any story is locked (the lock order). Notes TAG_NOT_FOUND for each name
    that is not in the vocabulary, at its place in the input.
    """
    if not names:
        return {}
    rows = await session.run(_TAGS, {"names": list(names)})
    return found_tags(names, {row.name: row.id for row in rows}, problems)


def found_tags(
    names: Mapping[str, int], found: dict[str, int], problems: Problems, path: str = "tags"
) -> dict[str, int]:
    """Note TAG_NOT_FOUND for each of the names that was not found; return what was."""
    for name, place in names.items():
        if name not in found:
            problems.add(Code.TAG_NOT_FOUND, f'There is no tag "{name}".', path, place)
    return found


async def lock_other(
    session: Transaction,
    viewer: Viewer,
    problems: Problems,
    user_id: UUID | None,
    mistake: str,
    lock: Fixed | None = None,
) -> Any:
    """Keep another person from being deleted meanwhile; returns the row with their ``auth0_sub``.

    Notes in ``problems`` that there is no such person, and ``mistake`` for the viewer's own id.
    ``lock`` is another statement that does it, and more.
    """
    person = None
    if user_id is not None:
        person = await session.first(lock or _OTHER, {**viewer.binds(), "other": user_id})
    if person is None:
        problems.not_found("userId", what="person")
    elif person.auth0_sub == viewer.sub:
        problems.add(Code.INVALID, mistake, "userId")
    return person


OTHER = (
    visible(m.User, m.User.auth0_sub)
    .where(m.User.public_id == bindparam("other", type_=m.User.public_id.type))
    .with_for_update(read=True, key_share=True, of=m.User)
)
"""Another person by the bind ``other``, locked against deletion."""
_OTHER = Fixed(OTHER)
