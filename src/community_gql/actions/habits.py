"""Habits: names are unique per person, case-sensitive as in the seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from asyncpg import IntegrityConstraintViolationError
from sqlalchemy.dialects.postgresql import insert

from community_gql.actions.locks import lock_own
from community_gql.actions.rows import change_of, change_values, deletion_of, new
from community_gql.actions.validation import ABSENT, Patch, Problems
from community_gql.db import models as m
from community_gql.db.database import Transaction, constraint
from community_gql.db.texts import Fixed
from community_gql.errors import Code, Rejected, UserError
from community_gql.graph.visibility import Viewer


async def create(
    session: Transaction,
    viewer: Viewer,
    *,
    name: str,
    frequency: m.HabitFrequency,
    meta: Any = None,
) -> int:
    """Create a habit. Notes HABIT_ALREADY_EXISTS if a habit of the viewer has the name."""
    problems = Problems()
    values = {
        "new_name": problems.text("name", name, m.Habit.name),
        "new_meta": problems.json_object("meta", {} if meta is None else meta),
        "new_frequency": frequency.value,
    }
    problems.stop()
    with _name_is_free():
        made = await session.only(_CREATE, {**viewer.binds(), **values})
    return int(made.id)


async def update(
    session: Transaction,
    viewer: Viewer,
    *,
    id: int | None,
    name: Patch[str] = ABSENT,
    frequency: Patch[m.HabitFrequency] = ABSENT,
    meta: Patch[Any] = ABSENT,
) -> int:
    """Change one of the viewer's habits; clearing ``meta`` empties it."""
    problems = Problems()
    changes: dict[str, Any] = {}
    if name is not ABSENT:
        changes["name"] = problems.text("name", name, m.Habit.name)
    if frequency is not ABSENT:
        changes["frequency"] = problems.required("frequency", frequency)
    if meta is not ABSENT:
        changes["meta"] = problems.json_object("meta", {} if meta is None else meta)
    habit = await lock_own(session, viewer, problems, m.Habit, id, m.Habit.id)
    problems.stop()
    if changes:
        with _name_is_free():
            await session.run(change_of(m.Habit, tuple(changes)), change_values(habit.id, changes))
    return int(habit.id)


async def delete(session: Transaction, viewer: Viewer, *, id: int | None) -> int:
    """Delete one of the viewer's habits."""
    problems = Problems()
    habit = await lock_own(session, viewer, problems, m.Habit, id, m.Habit.id, deleting=True)
    problems.stop()
    await session.run(deletion_of(m.Habit), change_values(habit.id))
    return int(habit.id)


_CREATE = Fixed(
    insert(m.Habit)
    .values(
        user_id=m.VIEWER,
        name=new(m.Habit.name),
        meta=new(m.Habit.meta),
        frequency=new(m.Habit.frequency),
    )
    .returning(m.Habit.id)
)


@contextmanager
def _name_is_free() -> Iterator[None]:
    try:
        yield
    except IntegrityConstraintViolationError as error:
        if constraint(error) != "habits_user_id_name_key":
            raise
        raise Rejected(
            UserError(Code.HABIT_ALREADY_EXISTS, "You have a habit of this name.", ("name",))
        ) from None
