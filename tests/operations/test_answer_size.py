"""An answer is bounded in bytes, whoever makes it."""

from __future__ import annotations

import asyncpg
import pytest

from community_gql.identity.development import DevelopmentIssuer
from tests.support import factories as make
from tests.support.client import serving

pytestmark = pytest.mark.both_ways

STORIES = "{ stories { nodes { content } } }"


async def test_an_answer_of_more_bytes_than_allowed_is_refused(
    database_url: str, issuer: DevelopmentIssuer, db: asyncpg.Connection, pushdown: str
) -> None:
    ada = await make.person(db)
    for _ in range(2):
        await make.story(db, ada, content="\u00fc" * 1000)
    empty = len('{"stories":{"nodes":[{"content":""},{"content":""}]}}')
    fits = empty + 4000  # two for each character; PostgreSQL adds a few blanks

    for limit, codes in ((fits + 20, []), (fits - 1, ["ANSWER_TOO_LARGE"])):
        options = {"pushdown": pushdown, "max_answer_bytes": limit}
        async with serving(database_url, issuer, **options) as api:
            answer = await api(STORIES)
            if codes:
                assert (answer.status, answer.codes) == (422, codes)
                assert f"{limit:,} bytes" in answer.errors[0]["message"]
                assert "data" not in answer.body
            else:
                assert len(answer.data["stories"]["nodes"]) == 2


async def test_what_a_mutation_wrote_is_not_denied(
    database_url: str, issuer: DevelopmentIssuer, db: asyncpg.Connection, pushdown: str
) -> None:
    ada = await make.person(db)
    await make.story(db, ada, content="x" * 2000)
    query = (
        'mutation { updateProfile(input: {bio: "Hi"}) { query { stories { nodes { content } } } } }'
    )
    async with serving(database_url, issuer, pushdown=pushdown, max_answer_bytes=1024) as api:
        answer = await api(query, ada)

    assert (answer.status, answer.codes) == (294, ["ANSWER_TOO_LARGE"])
    assert answer.errors[0]["message"].startswith("What was asked for was done")
    assert await db.fetchval("SELECT bio FROM user_profiles") == "Hi"
