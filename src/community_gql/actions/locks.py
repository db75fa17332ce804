"""What a writer locks before it writes, and what it must be allowed to do.

The lock order, everywhere: tags, stories, all other rows, people last (decision 33).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, String, any_, bindparam, literal_column, not_

from community_gql.actions.validation import Problems
from community_gql.db import models as m
from community_gql.db.database import Transaction
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
        this = getattr(model, model.__global_key__) == key
        mine = visible(model, *columns).where(this, own(model))
        row = await session.first(
            mine.with_for_update(key_share=not deleting, of=model), viewer.binds()
        )
        if row is not None:
            return row
        seen = visible(model, literal_column("1")).where(this, not_(own(model)))
        if await session.first(seen, viewer.binds()) is not None:
            problems.add(Code.FORBIDDEN, "It belongs to someone else.", "id")
            return None
    problems.not_found("id")
    return None


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
    account = visible(m.User, m.User.auth0_sub).where(own(m.User))
    lock = account.with_for_update(read=shared, key_share=True)
    if await session.first(lock, viewer.binds()) is None:
        raise AccountGone


async def lock_tags(
    session: Transaction, names: Mapping[str, int], problems: Problems, path: str = "tags"
) -> dict[str, int]:
    """Lock the tags of these folded names against deletion and renaming; return their ids by name.

    Locked by id, before any story is locked (the lock order). Notes TAG_NOT_FOUND for each name
    that is not in the vocabulary, at its place in the input.
    """
    if not names:
        return {}
    wanted = bindparam("names", type_=ARRAY(String))
    rows = await session.run(
        visible(m.Tag, m.Tag.id, m.Tag.name)
        .where(m.Tag.name == any_(wanted))
        .order_by(m.Tag.id)
        .with_for_update(read=True, key_share=True, of=m.Tag),
        {"names": list(names)},
    )
    found = {row.name: row.id for row in rows}
    for name, place in names.items():
        if name not in found:
            problems.add(Code.TAG_NOT_FOUND, f'There is no tag "{name}".', path, place)
    return found


async def lock_other(
    session: Transaction, viewer: Viewer, problems: Problems, user_id: UUID | None, mistake: str
) -> Any:
    """Keep another person from being deleted meanwhile; returns the row with their ``auth0_sub``.

    Notes in ``problems`` that there is no such person, and ``mistake`` for the viewer's own id.
    """
    person = None
    if user_id is not None:
        person = await session.first(
            visible(m.User, m.User.auth0_sub)
            .where(m.User.public_id == user_id)
            .with_for_update(read=True, key_share=True),
            viewer.binds(),
        )
    if person is None:
        problems.not_found("userId", what="person")
    elif person.auth0_sub == viewer.sub:
        problems.add(Code.INVALID, mistake, "userId")
    return person
