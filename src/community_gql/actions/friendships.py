"""Friendships: requested by one, accepted by the other, ended by either."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, or_
from sqlalchemy import delete as delete_from
from sqlalchemy import update as change
from sqlalchemy.dialects.postgresql import insert

from community_gql.actions.locks import lock_other
from community_gql.actions.match_rows import (
    lock_match_rows,
    mark_lists,
    take_out_one,
    take_out_pair,
)
from community_gql.actions.validation import Problems
from community_gql.db import models as m
from community_gql.db.database import Transaction
from community_gql.errors import Code
from community_gql.graph.visibility import Viewer, visible

_ACCEPTED = {"status": m.FriendshipStatus.ACCEPTED.value, "accepted_at": func.clock_timestamp()}


async def request(session: Transaction, viewer: Viewer, *, user_id: UUID | None) -> int:
    """Ask a person for friendship.

    If that person has asked already, this accepts their request. Asking again changes nothing.
    Whoever was asked is no longer among the viewer's matches.
    """
    problems = Problems()
    await lock_match_rows(session)
    person = await lock_other(session, viewer, problems, user_id, "You cannot befriend yourself.")
    problems.stop()
    friendship = m.Friendship
    added = insert(friendship).values(requester_id=viewer.sub, addressee_id=person.auth0_sub)
    made = await session.first(
        added.on_conflict_do_update(
            index_elements=[
                func.least(friendship.requester_id, friendship.addressee_id),
                func.greatest(friendship.requester_id, friendship.addressee_id),
            ],
            set_=_ACCEPTED,
            where=and_(
                friendship.status == m.constant(m.FriendshipStatus.PENDING),
                friendship.requester_id == added.excluded.addressee_id,
            ),
        ).returning(friendship.id, friendship.status)
    )
    assert viewer.sub is not None
    if made is None:
        made = await session.first(
            visible(friendship, friendship.id).where(
                or_(
                    friendship.requester_id == person.auth0_sub,
                    friendship.addressee_id == person.auth0_sub,
                )
            ),
            viewer.binds(),
        )
    elif made.status == m.FriendshipStatus.ACCEPTED:
        await take_out_pair(session, viewer.sub, person.auth0_sub)
    else:
        await take_out_one(session, viewer.sub, person.auth0_sub)
    return int(made.id)


async def accept(session: Transaction, viewer: Viewer, *, id: int | None) -> int:
    """Accept a friendship that the viewer was asked for.

    The two are no longer among each other's matches.
    """
    problems = Problems()
    await lock_match_rows(session)
    friendship = await _lock(session, viewer, problems, id)
    if friendship.addressee_id != viewer.sub:
        problems.add(Code.FORBIDDEN, "Only the person who was asked can accept.", "id")
    problems.stop()
    if friendship.status == m.FriendshipStatus.PENDING:
        await session.run(
            change(m.Friendship).where(m.Friendship.id == friendship.id).values(**_ACCEPTED)
        )
        await take_out_pair(session, friendship.requester_id, friendship.addressee_id)
    return int(friendship.id)


async def end(session: Transaction, viewer: Viewer, *, id: int | None) -> int:
    """End a friendship, decline one or take a request back.

    The two may match each other again.
    """
    friendship = await _lock(session, viewer, Problems(), id)
    await session.run(delete_from(m.Friendship).where(m.Friendship.id == friendship.id))
    await mark_lists(session, friendship.requester_id, friendship.addressee_id)
    return int(friendship.id)


async def _lock(session: Transaction, viewer: Viewer, problems: Problems, id: int | None) -> Any:
    friendship, row = None, m.Friendship
    if id is not None:
        friendship = await session.first(
            visible(row, row.id, row.requester_id, row.addressee_id, row.status)
            .where(row.id == id)
            .with_for_update(key_share=True),
            viewer.binds(),
        )
    if friendship is None:
        problems.not_found("id")
        problems.stop()
    return friendship
