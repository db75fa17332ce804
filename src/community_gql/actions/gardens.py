"""Gardens: each person has at most one, also when requests run at the same time."""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects.postgresql import insert

from community_gql.actions.locks import lock_own
from community_gql.actions.rows import change_of, change_values, deletion_of, new
from community_gql.actions.validation import ABSENT, Patch, Problems
from community_gql.db import models as m
from community_gql.db.database import Transaction
from community_gql.db.texts import Fixed
from community_gql.errors import Code, Rejected, UserError
from community_gql.graph.visibility import Viewer


async def create(
    session: Transaction, viewer: Viewer, *, name: str, theme: str | None = None
) -> int:
    """Plant the viewer's garden. Notes GARDEN_ALREADY_EXISTS if they have one."""
    problems = Problems()
    values = {
        "new_name": problems.text("name", name, m.Garden.name),
        "new_theme": problems.optional_text("theme", theme, m.Garden.theme),
    }
    problems.stop()
    planted = await session.only(_CREATE, {**viewer.binds(), **values})
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
        await session.run(change_of(m.Garden, tuple(changes)), change_values(garden.id, changes))
    return int(garden.id)


async def delete(session: Transaction, viewer: Viewer, *, id: int | None) -> int:
    """Remove the viewer's garden."""
    problems = Problems()
    garden = await lock_own(session, viewer, problems, m.Garden, id, m.Garden.id, deleting=True)
    problems.stop()
    await session.run(deletion_of(m.Garden), change_values(garden.id))
    return int(garden.id)


_CREATE = Fixed(
    insert(m.Garden)
    .values(user_id=m.VIEWER, name=new(m.Garden.name), theme=new(m.Garden.theme))
    .on_conflict_do_nothing(index_elements=["user_id"])
    .returning(m.Garden.id)
)
