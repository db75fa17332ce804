"""The end of an account."""

from __future__ import annotations

import hashlib
from uuid import UUID

from sqlalchemy import delete as delete_from
from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert

from community_gql import models as m
from community_gql.database import Transaction
from community_gql.errors import Code, Rejected, UserError
from community_gql.visibility import Viewer, not_found, visible


async def delete(session: Transaction, viewer: Viewer, *, id: UUID | None) -> UUID:
    """Delete the viewer's account and, through the cascades, everything of theirs.

    ``id`` must be the viewer's own, as a confirmation. Tokens issued before do not bring the
    account back (``deleted_accounts``).
    """
    person = None
    if id is not None:
        # FOR UPDATE, so that what the account is just writing is through or sees it gone.
        person = await session.first(
            visible(m.User, m.User.auth0_sub, m.User.public_id)
            .where(m.User.public_id == id)
            .with_for_update(of=m.User),
            viewer.binds(),
        )
    if person is None:
        raise Rejected(not_found())
    if person.auth0_sub != viewer.sub:
        raise Rejected(UserError(Code.FORBIDDEN, "This is someone else's account.", ("id",)))
    grave = insert(m.deleted_accounts).values(sub_hash=sub_hash(person.auth0_sub))
    await session.run(
        grave.on_conflict_do_update(
            index_elements=["sub_hash"], set_={"deleted_at": func.clock_timestamp()}
        )
    )
    await session.run(delete_from(m.User).where(m.User.auth0_sub == person.auth0_sub))
    return UUID(str(person.public_id))


def sub_hash(sub: str) -> str:
    """What ``deleted_accounts`` remembers of a ``sub``: its SHA-256 in hexadecimal."""
    return hashlib.sha256(sub.encode()).hexdigest()
