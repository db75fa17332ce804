"""What vectors are made of reads the same for everybody at once as for some people at a time."""

from __future__ import annotations

import random

import asyncpg
import pytest

from community_gql.matching import sql
from community_gql.matching.material import Material, blocks
from tests.matching.conftest import community


@pytest.mark.parametrize("size", [1, 7, 100])
async def test_tags_are_read_once_for_all(db: asyncpg.Connection, size: int) -> None:
    people, _ = await community(db, 40, random.Random(4))
    # Some are not marked, some take no part, and names do not come in the order of the alphabet.
    await db.execute("SELECT mark_stale_features(array_agg(auth0_sub)) FROM users")
    await db.execute(
        "DELETE FROM stale_features WHERE user_id = ANY ($1)", [one.sub for one in people[:9:3]]
    )
    await db.execute("INSERT INTO match_choices VALUES ($1, false, false)", people[5].sub)
    ((until, total),) = await db.fetch(sql.MARKED_FEATURES)

    async def read(total: int | None) -> dict[str, Material]:
        found: dict[str, Material] = {}
        marked: list[str] = []
        async for marks, made_of in blocks(db, until, size, total):
            assert 0 < len(marks) <= size
            marked += [sub for sub, _ in marks]
            found |= made_of
        assert len(marked) == len(set(marked)) == 37
        return found

    some = await read(None)
    assert len(some) == 36
    assert sum(len(one.made.tags) for one in some.values()) > 36
    assert await read(total) == some
