"""What a person chooses about being matched: whether, by what, and with whom not."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import delete as delete_from
from sqlalchemy.dialects.postgresql import insert

from community_gql.actions.locks import lock_other
from community_gql.actions.match_rows import (
    lock_match_rows,
    mark_features,
    mark_lists,
    take_out_everywhere,
    take_out_one,
)
from community_gql.actions.validation import ABSENT, Patch, Problems
from community_gql.db import models as m
from community_gql.db.database import Transaction
from community_gql.graph.visibility import Viewer, own, visible

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
    choice = m.MatchChoice
    before = await session.first(
        visible(choice, choice.wanted, choice.habits).where(own(choice)), viewer.binds()
    )
    wanted_before, habits_before = (before.wanted, before.habits) if before else (True, False)
    wanted_now = changes.get("wanted", wanted_before)
    habits_now = changes.get("habits", habits_before)
    save = insert(choice).values(user_id=viewer.sub, wanted=wanted_now, habits=habits_now)
    await session.run(
        save.on_conflict_do_update(
            index_elements=["user_id"],
            set_={"wanted": wanted_now, "habits": habits_now},
        )
    )
    if (wanted_before and not wanted_now) or (habits_before and not habits_now):
        await take_out_everywhere(session, viewer.sub)
    if wanted_now and (wanted_before, habits_before) != (wanted_now, habits_now):
        await mark_features(session, viewer.sub)
    return viewer.sub


async def dismiss(session: Transaction, viewer: Viewer, *, user_id: UUID | None) -> int | None:
    """Take a person out of the viewer's list for good. Returns the key of the match, if any.

    The other's list stays as it is: they can't notice.
    """
    problems = Problems()
    await lock_match_rows(session)
    person = await lock_other(session, viewer, problems, user_id, _ONESELF)
    problems.stop()
    assert viewer.sub is not None
    dismissed = insert(m.MatchDismissal).values(user_id=viewer.sub, target_user_id=person.auth0_sub)
    await session.run(dismissed.on_conflict_do_nothing())
    return await take_out_one(session, viewer.sub, person.auth0_sub)


async def restore(session: Transaction, viewer: Viewer, *, user_id: UUID | None) -> str:
    """Let a dismissed person come back into the viewer's list. Returns the person's key."""
    problems = Problems()
    person = await lock_other(session, viewer, problems, user_id, _ONESELF)
    problems.stop()
    assert viewer.sub is not None
    dismissal = m.MatchDismissal
    await session.run(
        delete_from(dismissal).where(
            dismissal.user_id == viewer.sub, dismissal.target_user_id == person.auth0_sub
        )
    )
    await mark_lists(session, viewer.sub)
    return str(person.auth0_sub)
