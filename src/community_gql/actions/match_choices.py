"""What a person chooses about being matched: whether, by what, and with whom not."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import String, bindparam
from sqlalchemy import delete as delete_from
from sqlalchemy.dialects.postgresql import insert

from community_gql.actions.locks import OTHER, lock_other
from community_gql.actions.match_rows import (
    lock_match_rows,
    mark_features,
    mark_lists,
    take_out_everywhere,
    take_out_one,
    under_match_rows,
)
from community_gql.actions.rows import new
from community_gql.actions.validation import ABSENT, Patch, Problems
from community_gql.db import models as m
from community_gql.db.database import Transaction
from community_gql.db.texts import Fixed
from community_gql.graph.visibility import Viewer, own, visible

_LOCK_OTHER = under_match_rows(OTHER)
_ONESELF = "You are never among your own matches."


async def update(
    session: Transaction,
    viewer: Viewer,
    *,
    wanted: Patch[bool] = ABSENT,
    habits: Patch[bool] = ABSENT,
) -> str:
    """Change the viewer's choices.

    Leaving takes the viewer out of everybody's list at once. So does taking back that their habits
    count: they come back without them.
    """
    problems = Problems()
    changes: dict[str, Any] = {}
    for name, value in (("wanted", wanted), ("habits", habits)):
        if value is not ABSENT:
            changes[name] = problems.required(name, value)
    problems.stop()
    assert viewer.sub is not None
    await lock_match_rows(session)
    before = await session.first(_CHOICE, viewer.binds())
    wanted_before, habits_before = (before.wanted, before.habits) if before else (True, False)
    wanted_now = changes.get("wanted", wanted_before)
    habits_now = changes.get("habits", habits_before)
    now = {"new_wanted": wanted_now, "new_habits": habits_now}
    await session.run(_SAVE, {**viewer.binds(), **now})
    if (wanted_before and not wanted_now) or (habits_before and not habits_now):
        await take_out_everywhere(session, viewer.sub)
    if wanted_now and (wanted_before, habits_before) != (wanted_now, habits_now):
        await mark_features(session, viewer.sub)
    return viewer.sub


_choice = m.MatchChoice
_CHOICE = Fixed(visible(_choice, _choice.wanted, _choice.habits).where(own(_choice)))
_values = {"wanted": new(_choice.wanted), "habits": new(_choice.habits)}
_SAVE = Fixed(
    insert(_choice)
    .values(user_id=m.VIEWER, **_values)
    .on_conflict_do_update(index_elements=["user_id"], set_=_values)
)


async def dismiss(session: Transaction, viewer: Viewer, *, user_id: UUID | None) -> int | None:
    """Take a person out of the viewer's list for good. Returns the key of the match, if any.

    The other's list stays as it is: they can't notice.
    """
    problems = Problems()
    person = await lock_other(session, viewer, problems, user_id, _ONESELF, lock=_LOCK_OTHER)
    problems.stop()
    assert viewer.sub is not None
    await session.run(_DISMISS, {**viewer.binds(), "person": person.auth0_sub})
    return await take_out_one(session, viewer.sub, person.auth0_sub)


async def restore(session: Transaction, viewer: Viewer, *, user_id: UUID | None) -> str:
    """Let a dismissed person come back into the viewer's list. Returns the person's key."""
    problems = Problems()
    person = await lock_other(session, viewer, problems, user_id, _ONESELF)
    problems.stop()
    assert viewer.sub is not None
    await session.run(_RESTORE, {**viewer.binds(), "person": person.auth0_sub})
    await mark_lists(session, viewer.sub)
    return str(person.auth0_sub)


_dismissal, _person = m.MatchDismissal, bindparam("person", type_=String())
_DISMISS = Fixed(
    insert(_dismissal).values(user_id=m.VIEWER, target_user_id=_person).on_conflict_do_nothing()
)
_RESTORE = Fixed(
    delete_from(_dismissal).where(own(_dismissal), _dismissal.target_user_id == _person)
)
