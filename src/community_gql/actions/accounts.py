"""The end of an account."""

from __future__ import annotations

import hashlib
from uuid import UUID

from sqlalchemy import delete as delete_from
from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert

from community_gql import models as m
from community_gql.checks import Problems
from community_gql.database import Transaction
from community_gql.visibility import Viewer, lock_own


async def delete(session: Transaction, viewer: Viewer, *, id: UUID | None) -> UUID:
    """Delete the viewer's account and, through the cascades, everything of theirs.

    ``id`` must be the viewer's own, as a confirmation. Tokens issued before do not bring the
    account back (``deleted_accounts``).
    """
    problems = Problems()
    # What the account is just writing is through before, or finds it gone.
    person = await lock_own(
        session, viewer, problems, m.User, id, m.User.auth0_sub, m.User.public_id, deleting=True
    )
    problems.stop()
    now = func.clock_timestamp()
    grave = insert(m.deleted_accounts).values(sub_hash=sub_hash(person.auth0_sub), deleted_at=now)
    await session.run(
        grave.on_conflict_do_update(index_elements=["sub_hash"], set_={"deleted_at": now})
    )
    await session.run(delete_from(m.User).where(m.User.auth0_sub == person.auth0_sub))
    return UUID(str(person.public_id))


def sub_hash(sub: str) -> str:
    """What ``deleted_accounts`` remembers of a ``sub``: its SHA-256 in hexadecimal."""
    return hashlib.sha256(sub.encode()).hexdigest()
