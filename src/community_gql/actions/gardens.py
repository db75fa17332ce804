"""Gardens: each person has at most one, also when requests run at the same time."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete as delete_from
from sqlalchemy import update as change
from sqlalchemy.dialects.postgresql import insert

from community_gql.actions.locks import lock_own
from community_gql.actions.validation import ABSENT, Patch, Problems
from community_gql.db import models as m
from community_gql.db.database import Transaction
from community_gql.errors import Code, Rejected, UserError
from community_gql.graph.visibility import Viewer


async def create(
    session: Transaction, viewer: Viewer, *, name: str, theme: str | None = None
) -> int:
    """Plant the viewer's garden. Notes GARDEN_ALREADY_EXISTS if they have one."""
    problems = Problems()
    values = {
        "name": problems.text("name", name, m.Garden.name),
        "theme": problems.optional_text("theme", theme, m.Garden.theme),
    }
    problems.stop()
    planted = await session.first(
        insert(m.Garden)
        .values(user_id=viewer.sub, **values)
        .on_conflict_do_nothing(index_elements=["user_id"])
        .returning(m.Garden.id)
    )
    if planted is None:
        raise Rejected(
            UserError(
                Code.GARDEN_ALREADY_EXISTS,
                "You have a garden already. Change it with updateGarden, or delete it first.",
            )
        )
    return int(planted.id)


async def update(
    session: Transaction,
    viewer: Viewer,
    *,
    id: int | None,
    name: Patch[str] = ABSENT,
    theme: Patch[str] = ABSENT,
) -> int:
    """Change the viewer's garden."""
    problems = Problems()
    changes: dict[str, Any] = {}
    if name is not ABSENT:
        changes["name"] = problems.text("name", name, m.Garden.name)
    if theme is not ABSENT:
        changes["theme"] = problems.optional_text("theme", theme, m.Garden.theme)
    garden = await lock_own(session, viewer, problems, m.Garden, id, m.Garden.id)
    problems.stop()
    if changes:
        await session.run(change(m.Garden).where(m.Garden.id == garden.id).values(**changes))
    return int(garden.id)


async def delete(session: Transaction, viewer: Viewer, *, id: int | None) -> int:
    """Remove the viewer's garden."""
    problems = Problems()
    garden = await lock_own(session, viewer, problems, m.Garden, id, m.Garden.id, deleting=True)
    problems.stop()
    await session.run(delete_from(m.Garden).where(m.Garden.id == garden.id))
    return int(garden.id)
