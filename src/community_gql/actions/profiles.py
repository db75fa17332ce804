"""A person's profile: what they say about themselves."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy.dialects.postgresql import insert

from community_gql.actions.rows import new
from community_gql.actions.validation import (
    ABSENT,
    MAX_BIO_CHARACTERS,
    MAX_JOURNALING_FREQUENCY,
    Patch,
    Problems,
)
from community_gql.db import models as m
from community_gql.db.database import Transaction
from community_gql.db.texts import Fixed
from community_gql.graph.visibility import Viewer, visible


async def update(
    session: Transaction,
    viewer: Viewer,
    *,
    display_name: Patch[str] = ABSENT,
    bio: Patch[str] = ABSENT,
    journaling_frequency: Patch[int] = ABSENT,
    expected_updated_at: datetime | None = None,
) -> str | None:
    """Save the viewer's profile; the first save creates it. Returns the viewer's ``sub``."""
    problems = Problems()
    changes: dict[str, Any] = {}
    if display_name is not ABSENT:
        changes["display_name"] = problems.optional_text(
            "displayName", display_name, m.UserProfile.display_name
        )
    if bio is not ABSENT:
        changes["bio"] = problems.optional_text("bio", bio, MAX_BIO_CHARACTERS)
    if journaling_frequency is not ABSENT:
        changes["journaling_frequency"] = problems.whole(
            "journalingFrequency", journaling_frequency, 0, MAX_JOURNALING_FREQUENCY
        )
    given = {**viewer.binds(), **{f"new_{name}": value for name, value in changes.items()}}
    if expected_updated_at is not None:
        profile = await session.first(_LOCK, given)
        problems.unchanged(expected_updated_at, profile.updated_at if profile else None)
    problems.stop()
    await session.only(_save(tuple(changes)), given)
    return viewer.sub


_LOCK = Fixed(
    visible(m.UserProfile, m.UserProfile.updated_at)
    .where(m.UserProfile.user_id == m.VIEWER)
    .with_for_update(key_share=True)
)


@lru_cache
def _save(columns: tuple[str, ...]) -> Fixed:
    values = {name: new(getattr(m.UserProfile, name)) for name in columns}
    save = insert(m.UserProfile).values(user_id=m.VIEWER, **values)
    saved = (
        save.on_conflict_do_update(index_elements=["user_id"], set_=values)
        if values
        else save.on_conflict_do_nothing()
    )
    return Fixed(saved.returning(m.UserProfile.user_id))
