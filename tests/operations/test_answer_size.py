"""An answer is bounded in bytes, whoever makes it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import asyncpg
import pytest

from community_gql.identity.development import DevelopmentIssuer
from tests.support import factories as make
from tests.support.client import serving

pytestmark = pytest.mark.both_ways

STORIES = "{ stories { nodes { content } } }"
MEMORY = ("VmHWM", "RssShmem", "RssFile")


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


async def test_what_an_answer_cannot_hold_is_not_read(
    database_url: str, issuer: DevelopmentIssuer, db: asyncpg.Connection, pushdown: str
) -> None:
    ada = await make.person(db)
    texts = [f"{i:05}" * 20_000 for i in range(100)]
    for text in texts:
        await make.story(db, ada, content=text)

    options = {"pushdown": pushdown, "max_answer_bytes": 2**20, "database_pool_size": 1}
    async with serving(database_url, issuer, **options) as api:
        assert (await api("{ viewer { user { id } } }", ada)).status == 200
        answer = await api("{ stories(first: 100) { nodes { content } } }")
        assert (answer.status, answer.codes) == (422, ["ANSWER_TOO_LARGE"])
        assert "text_bytes" in "".join(answer.statements)
        most = await _most_memory(db)
        # Nobody asks for the texts, however many objects there could be.
        shown = "id title author { stories(first: 50) { nodes { id } } }"
        answer = await api(f"{{ stories(first: 100) {{ nodes {{ {shown} }} }} }}")
        assert (answer.status, len(answer.data["stories"]["nodes"])) == (200, 100)
        most |= await _most_memory(db)
    # Over 100,000 when all are read; a session that read none has some 10,000.
    assert max(most.values()) < 50_000, most


async def _most_memory(db: asyncpg.Connection) -> dict[int, int]:
    """The most memory that each session of a server had of its own, in KiB, by process."""
    pids = await db.fetch(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'community-gql'"
    )
    found = {}
    for (pid,) in pids:
        with contextlib.suppress(FileNotFoundError):  # it has just ended
            found[pid] = _high_water(pid)
    return found


def _high_water(pid: int) -> int:
    """Less what it sees of the shared buffers now, which other tests may have filled."""
    status = Path(f"/proc/{pid}/status").read_text()
    size = {key: int(status.split(f"{key}:")[1].split()[0]) for key in MEMORY}
    return size["VmHWM"] - size["RssShmem"] - size["RssFile"]
