"""The indexes of the migrations serve what they were made for, on tables big enough to matter."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import Integer, literal_column, select
from sqlalchemy.dialects import postgresql

from community_gql.db.models import Story
from community_gql.graph.marks import BINS_OF_STORIES

Make = Callable[..., Awaitable[str]]
Connect = Callable[[str], Awaitable[asyncpg.Connection]]

ROWS = """
    INSERT INTO users (auth0_sub, email, created_at)
    SELECT 'u' || n, 'u' || n || '@example.com', now() - n * interval '1 minute'
    FROM generate_series(1, 20000) AS n;
    INSERT INTO user_profiles (user_id, display_name)
    SELECT 'u' || n, 'Maya ' || md5(n::text) FROM generate_series(1, 20000) AS n;
    INSERT INTO tags (name) SELECT md5(n::text) FROM generate_series(1, 20000) AS n;
    INSERT INTO tags (name) VALUES ('growth'), ('growing'), ('gratitude');
    INSERT INTO user_tags SELECT 'u' || n, 1 + n % 50 FROM generate_series(1, 20000) AS n;
    INSERT INTO stories (user_id, title, content, visibility, created_at)
    SELECT 'u' || n, md5(n::text), 'c', (ARRAY['public','private'])[1 + n % 2],
      now() - n * interval '1 minute'
    FROM generate_series(1, 20000) AS n;
    INSERT INTO story_tags SELECT id, 1 + id % 1000 FROM stories;
    INSERT INTO habits (user_id, name, frequency)
    SELECT 'u' || n % 500, n, 'daily' FROM generate_series(1, 20000) AS n
    WHERE n % 500 > 0;
    INSERT INTO match_results (user_id, target_user_id, score, created_at)
    SELECT 'u' || 1 + n % 50, 'u' || n, 0.5, '2025-01-01' FROM generate_series(1, 20000) AS n;
    VACUUM ANALYZE;
"""

HOURS, FIRST, LAST = (literal_column(str(number), Integer) for number in (48, 1, 3))
IN_BINS = str(
    select(literal_column("1"))
    .where(BINS_OF_STORIES.predicate(None, Story, HOURS, FIRST, LAST))
    .compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]
)
"""The expressions of the index are those that the product asks for."""

PLANS = [
    (
        "idx_users_named_first",
        "SELECT * FROM users ORDER BY name_key = '', name_key, public_id LIMIT 21",
    ),
    (
        "idx_users_named_first",
        "SELECT * FROM users "
        f"WHERE (name_key = '', name_key, public_id) < (false, 'maya c', '{UUID(int=9)}') "
        "ORDER BY (name_key = '') DESC, name_key DESC, public_id DESC LIMIT 21",
    ),
    (
        "idx_users_name_words",
        "SELECT * FROM users "
        "WHERE to_tsvector('simple', name_key) @@ to_tsquery('simple', 'maya & c4ca:*')",
    ),
    (
        "idx_user_tags_newest",
        "SELECT user_public_id FROM user_tags WHERE tag_id = 7 "
        "ORDER BY user_created_at DESC, user_public_id DESC LIMIT 21",
    ),
    (
        "idx_user_tags_by_name",
        "SELECT user_public_id FROM user_tags WHERE tag_id = 7 "
        f"AND (user_name_key = '', user_name_key, user_public_id) > (false, 'm', '{UUID(int=9)}') "
        "ORDER BY user_name_key = '', user_name_key, user_public_id LIMIT 21",
    ),
    (
        "name_words_pkey",
        "SELECT public_id FROM name_words WHERE tag_id = 7 AND word >= 'c4' AND word < 'c5'",
    ),
    ("idx_users_created", "SELECT * FROM users ORDER BY created_at DESC, public_id DESC LIMIT 21"),
    # Where the database sorts by code point, the unique index serves prefixes as well.
    (
        "idx_tags_name_prefix|tags_name_key",
        "SELECT * FROM tags WHERE name LIKE 'gro%' ORDER BY name LIMIT 21",
    ),
    ("idx_stories_created", "SELECT * FROM stories ORDER BY created_at DESC, id DESC LIMIT 21"),
    (
        "idx_stories_created",
        "SELECT * FROM stories WHERE (created_at, id) < (now() - interval '1 day', 5) "
        "ORDER BY created_at DESC, id DESC LIMIT 21",
    ),
    (
        "idx_stories_public_created",
        "SELECT id FROM stories WHERE visibility = 'public' "
        "ORDER BY created_at DESC, id DESC LIMIT 21",
    ),
    (
        "idx_stories_marks_words_tags",
        "SELECT * FROM stories WHERE search @@ websearch_to_tsquery('english', 'c4ca4238a0b92382')",
    ),
    ("idx_stories_marks_words_tags", "SELECT * FROM stories WHERE tags_cached @> '{growth}'"),
    ("idx_stories_marks_words_tags", IN_BINS),
    (
        "idx_story_tags_tag_id",
        "SELECT story_id FROM story_tags WHERE tag_id = 7 ORDER BY story_id DESC LIMIT 21",
    ),
    (
        "idx_habits_user_created",
        "SELECT id FROM habits WHERE user_id = 'u7' ORDER BY created_at DESC, id DESC LIMIT 21",
    ),
    (
        "idx_match_results_batch",
        "SELECT * FROM match_results WHERE user_id = 'u7' AND created_at = '2025-01-01' "
        "ORDER BY score DESC, id DESC LIMIT 21",
    ),
]


ALONE = {
    "idx_user_tags_newest": """
        SELECT user_public_id, user_created_at FROM user_tags WHERE tag_id = 7
        ORDER BY user_created_at DESC, user_public_id DESC LIMIT 21
    """,
    "idx_user_tags_by_name": """
        SELECT user_public_id, user_created_at FROM user_tags WHERE tag_id = 7
        ORDER BY user_name_key = '', user_name_key, user_public_id LIMIT 21
    """,
}
"""What an index has without its table: whoever is met in it is asked for another tag by these."""


async def test_each_index_serves_its_query(make: Make, connect: Connect) -> None:
    connection = await connect(await make("head"))
    for statement in ROWS.strip().split(";\n"):
        await connection.execute(statement)
    missed = []
    for index, query in PLANS:
        rows = await connection.fetch(f"EXPLAIN (COSTS OFF) {query}")
        plan = "\n".join(row[0] for row in rows)
        if not re.search(rf"(using|on) ({index})\b", plan) or "Seq Scan" in plan:
            missed.append((index, plan))
    assert missed == []
    # PostgreSQL guesses how much of a table it need not look at, by what other sessions do.
    for others in ("seqscan", "bitmapscan", "indexscan"):
        await connection.execute(f"SET enable_{others} = off")
    for index, query in ALONE.items():
        rows = await connection.fetch(f"EXPLAIN (COSTS OFF) {query}")
        plan = "\n".join(row[0] for row in rows)
        assert f"Index Only Scan using {index}" in plan, plan
        assert "Sort" not in plan, plan


@pytest.mark.parametrize("unit", ["{a}-{b} ", "{a}-{b}-{c} ", "x.co/{a}{b}{c} ", "{a} ", "{a}{b}"])
async def test_no_story_is_too_long_for_its_search(make: Make, connect: Connect, unit: str) -> None:
    """A tsvector holds 1 MB; these contents make the most of the 100,000 characters."""
    connection = await connect(await make("head"))
    await connection.execute("INSERT INTO users (auth0_sub, email) VALUES ('u', 'u@example.com')")
    pieces = (
        unit.format(
            a=chr(0x20000 + n % 20000),
            b=chr(0x20000 + n * 7 % 19997),
            c=chr(0x20000 + n * 11 % 19993),
        )
        for n in range(400_000 // len(unit.format(a="a", b="b", c="c")))
    )
    await connection.execute(
        "INSERT INTO stories (user_id, title, content) VALUES ('u', $1, $2)",
        chr(0x20000) * 140,
        "".join(pieces),
    )
    assert await connection.fetchval("SELECT length(search) > 0 FROM stories")
