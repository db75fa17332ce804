"""What docs/operations.md gives a role that serves and does not own the tables is enough."""

from __future__ import annotations

import re
from pathlib import Path

import asyncpg

from community_gql.identity.development import DevelopmentIssuer
from community_gql.settings.checks import plain_address
from tests.support import factories as make
from tests.support.client import serving

GUIDE = Path(__file__).parents[2] / "docs" / "operations.md"
WRITES = (
    'createStory(input: {title: "Moss", content: "x", visibility: PUBLIC, tags: ["moss"]})',
    'updateProfile(input: {bio: "Ferns."})',
    'createHabit(input: {name: "Watering", frequency: DAILY})',
    'createGarden(input: {name: "Shade", theme: "rooftop"})',
)


async def test_a_role_that_does_not_own_the_tables_serves(
    guest: str, guest_url: str, db: asyncpg.Connection, issuer: DevelopmentIssuer
) -> None:
    ada = await make.person(db)
    await make.tag(db, "moss")
    grants = re.findall(r"`(GRANT [^`]*) TO community`", GUIDE.read_text("utf-8"))
    assert len(grants) == 2
    for grant in grants:
        await db.execute(f"{grant} TO {guest}")
    async with serving(plain_address(guest_url), issuer) as api:
        for write in WRITES:
            answer = await api(f"mutation {{ {write} {{ userErrors {{ message }} }} }}", ada)
            (payload,) = answer.data.values()
            assert (answer.status, payload["userErrors"]) == (200, []), write
