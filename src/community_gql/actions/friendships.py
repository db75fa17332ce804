"""Friendships: requested by one, accepted by the other, ended by either."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, String, and_, bindparam, func, or_, select
from sqlalchemy import update as change
from sqlalchemy.dialects.postgresql import insert

from community_gql.actions.locks import OTHER, lock_other
from community_gql.actions.match_rows import (
    lock_match_rows,
    mark_lists,
    take_out_pair,
    taken_out,
    under_match_rows,
)
from community_gql.actions.rows import change_values, deletion_of
from community_gql.actions.validation import Problems
from community_gql.db import models as m
from community_gql.db.database import Transaction
from community_gql.db.texts import Fixed
from community_gql.errors import Code
from community_gql.graph.visibility import Viewer, visible

_ACCEPTED = {"status": m.FriendshipStatus.ACCEPTED.value, "accepted_at": func.clock_timestamp()}


async def request(session: Transaction, viewer: Viewer, *, user_id: UUID | None) -> int:
    """Ask a person for friendship.

    If that person has asked already, this accepts their request. Asking again changes nothing.
    Whoever was asked is no longer among the viewer's matches.
    """
    problems = Problems()
    mistake = "You cannot befriend yourself."
    person = await lock_other(session, viewer, problems, user_id, mistake, lock=_LOCK_OTHER)
    problems.stop()
    given = {**viewer.binds(), "person": person.auth0_sub}
    made = await session.first(_REQUEST, given) or await session.first(_FIND, given)
    return int(made.id)


_LOCK_OTHER = under_match_rows(OTHER)
_person = bindparam("person", type_=String())
_pair = m.Friendship
_added = insert(_pair).values(requester_id=m.VIEWER, addressee_id=_person)
_made = (
    _added.on_conflict_do_update(
        index_elements=[
            func.least(_pair.requester_id, _pair.addressee_id),
            func.greatest(_pair.requester_id, _pair.addressee_id),
        ],
        set_=_ACCEPTED,
        where=and_(
            _pair.status == m.constant(m.FriendshipStatus.PENDING),
            _pair.requester_id == _added.excluded.addressee_id,
        ),
    )
    .returning(_pair.id, _pair.status)
    .cte("made")
)
# Both lists if it is accepted now, else the viewer's own.
_REQUEST = Fixed(
    # unscoped: what was written
    select(_made.c.id).add_cte(
        *taken_out(
            _made,
            or_(
                and_(m.MatchResult.user_id == m.VIEWER, m.MatchResult.target_user_id == _person),
                and_(
                    _made.c.status == m.constant(m.FriendshipStatus.ACCEPTED),
                    m.MatchResult.user_id == _person,
                    m.MatchResult.target_user_id == m.VIEWER,
                ),
            ),
        )
    )
)
_FIND = Fixed(
    visible(_pair, _pair.id).where(
        or_(_pair.requester_id == _person, _pair.addressee_id == _person)
    )
)


async def accept(session: Transaction, viewer: Viewer, *, id: int | None) -> int:
    """Accept a friendship that the viewer was asked for.

    The two are no longer among each other's matches.
    """
    problems = Problems()
    await lock_match_rows(session)
    friendship = await _lock(session, viewer, problems, id, _LOCK)
    if friendship.addressee_id != viewer.sub:
        problems.add(Code.FORBIDDEN, "Only the person who was asked can accept.", "id")
    problems.stop()
    if friendship.status == m.FriendshipStatus.PENDING:
        await session.run(_ACCEPT, change_values(friendship.id))
        await take_out_pair(session, friendship.requester_id, friendship.addressee_id)
    return int(friendship.id)


async def end(session: Transaction, viewer: Viewer, *, id: int | None) -> int:
    """End a friendship, decline one or take a request back.

    The two may match each other again.
    """
    # Under the lock of matches: whoever deletes an account marks the same lists, and has locked the
    # person whom a mark here refers to.
    friendship = await _lock(session, viewer, Problems(), id, _LOCK_TO_END)
    await session.run(deletion_of(m.Friendship), change_values(friendship.id))
    await mark_lists(session, friendship.requester_id, friendship.addressee_id)
    return int(friendship.id)


async def _lock(
    session: Transaction, viewer: Viewer, problems: Problems, id: int | None, lock: Fixed
) -> Any:
    friendship = None
    if id is not None:
        friendship = await session.first(lock, {**viewer.binds(), **change_values(id)})
    if friendship is None:
        problems.not_found("id")
        problems.stop()
    return friendship


_this = _pair.id == bindparam("row", type_=BigInteger())
_ACCEPT = Fixed(change(_pair).where(_this).values(**_ACCEPTED))
_found = (
    visible(_pair, _pair.id, _pair.requester_id, _pair.addressee_id, _pair.status)
    .where(_this)
    .with_for_update(key_share=True)
)
_LOCK, _LOCK_TO_END = Fixed(_found), under_match_rows(_found)
