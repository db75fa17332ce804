"""The end of an account."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import String, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert

from community_gql.actions.locks import lock_own
from community_gql.actions.match_rows import lock_match_rows
from community_gql.actions.rows import change_values, deletion_of
from community_gql.actions.validation import Problems
from community_gql.db import models as m
from community_gql.db.database import Transaction
from community_gql.db.texts import Fixed
from community_gql.graph.visibility import Viewer, visible


async def delete(session: Transaction, viewer: Viewer, *, id: UUID | None) -> UUID:
    """Delete the viewer's account and, through the cascades, everything of theirs.

    ``id`` must be the viewer's own, as a confirmation. Tokens issued before do not bring the
    account back (``deleted_accounts``).
    """
    problems = Problems()
    # Whoever writes lists of matches locks people, and the cascade locks the rows of lists.
    await lock_match_rows(session)
    # People are last in the lock order. A write of this account that is under way either commits
    # before this lock, or finds the account gone.
    for lock in _LOCKS:
        await session.run(lock, viewer.binds())
    person = await lock_own(
        session, viewer, problems, m.User, id, m.User.auth0_sub, m.User.public_id, deleting=True
    )
    problems.stop()
    await session.run(_GRAVE, {"gone": sub_hash(person.auth0_sub)})
    await session.run(deletion_of(m.User), change_values(person.auth0_sub))
    return UUID(str(person.public_id))


def _locked(model: type[m.Story] | type[m.UserProfile], key: Any) -> Fixed:
    rows = visible(model, key).where(model.user_id == m.VIEWER).order_by(key).with_for_update()
    # unscoped: locks visible rows, tells how many
    return Fixed(select(func.count()).select_from(rows.subquery()))


_LOCKS = _locked(m.Story, m.Story.id), _locked(m.UserProfile, m.UserProfile.user_id)
_now = func.clock_timestamp()
_GRAVE = Fixed(
    insert(m.deleted_accounts)
    .values(sub_hash=bindparam("gone", type_=String()), deleted_at=_now)
    .on_conflict_do_update(index_elements=["sub_hash"], set_={"deleted_at": _now})
)


@lru_cache(maxsize=10_000)
@lru_cache(maxsize=10_000)
def sub_hash(sub: str) -> str:
    """What ``deleted_accounts`` remembers of a ``sub``: its SHA-256 in hexadecimal."""
    return hashlib.sha256(sub.encode()).hexdigest()
