"""Migration 8: what was written before texts were composed."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg

from community_gql.db import migrate
from community_gql.graph.search import fold_tag
from tests.db.test_triggers import WRONG, WRONG_NAME

Make = Callable[..., Awaitable[str]]
Connect = Callable[[str], Awaitable[asyncpg.Connection]]

VERSIONS = Path(__file__).parents[2] / "migrations/versions"
(FILE,) = VERSIONS.glob("*_one_form_of_text.py")
THIS = FILE.name[:4]
BEFORE = sorted(file.name[:4] for file in VERSIONS.glob("0*.py") if file.name[:4] < THIS)[-1]

ROWS = """
    INSERT INTO users (auth0_sub, email, created_at)
      SELECT 'p' || n, n || '@example.com', '2024-01-01' FROM generate_series(1, 2500) AS n;
    INSERT INTO tags (id, name) VALUES
      (1, U&'cafe\\0301'), (2, U&'caf\\00e9'), (3, U&'re\\0301sume\\0301'),
      (4, U&'r\\00e9sume\\0301'), (5, U&'i\\0307stanbul'), (6, 'istanbul'), (7, 'moss');
    INSERT INTO user_tags SELECT 'p' || n, 1 FROM generate_series(1, 2100) AS n;
    INSERT INTO user_tags VALUES ('p1', 2), ('p2', 4), ('p3', 3), ('p3', 4), ('p4', 7), ('p5', 5);
    INSERT INTO stories (id, user_id, title, content, created_at, updated_at)
      SELECT n, 'p' || n, 'Title', 'Content', '2024-01-01', '2024-01-01'
      FROM generate_series(1, 2500) AS n;
    UPDATE stories SET content = U&'Cafe\\0301' WHERE id IN (1, 1500, 2500);
    UPDATE stories SET title = U&'Cafe\\0301' WHERE id = 2;
    UPDATE stories SET title = repeat(U&'\\0958', 140) WHERE id = 3;
    INSERT INTO story_tags SELECT n, 1 FROM generate_series(1, 1100) AS n;
    INSERT INTO story_tags VALUES (1, 2), (2, 3), (2, 4), (3, 7);
    INSERT INTO user_profiles (user_id, display_name, bio) VALUES
      ('p1', U&' Nata\\0301lia', U&'Cafe\\0301'), ('p2', U&'Nat\\00e1lia', NULL), ('p3', NULL, 'b'),
      ('p2400', U&'\\0130pek', NULL);
    INSERT INTO gardens (user_id, name, theme) VALUES ('p1', U&'Cafe\\0301', U&'e\\0301');
    INSERT INTO habits (user_id, name, frequency) VALUES
      ('p1', U&'cafe\\0301', 'daily'), ('p1', U&'caf\\00e9', 'daily'),
      ('p2', U&'cafe\\0301', 'daily');
    UPDATE stories SET updated_at = '2024-01-01';
"""


async def test_what_was_there_is_composed(make: Make, connect: Connect) -> None:
    url = await make(BEFORE)
    connection = await connect(url)
    await connection.execute(ROWS)
    await asyncio.to_thread(migrate.upgrade, url, THIS)

    async def rows(sql: str) -> list[tuple[object, ...]]:
        return [tuple(row) for row in await connection.fetch(sql)]

    # Into the one that has the name already, else into the oldest.
    assert await rows("SELECT id, name FROM tags ORDER BY id") == [
        (2, "café"), (3, "résumé"), (6, "istanbul"), (7, "moss"),
    ]  # fmt: skip
    assert await rows("SELECT tag_id, count(*) FROM user_tags GROUP BY 1 ORDER BY 1") == [
        (2, 2100), (3, 2), (6, 1), (7, 1),
    ]  # fmt: skip
    assert await rows("SELECT tag_id, count(*) FROM story_tags GROUP BY 1 ORDER BY 1") == [
        (2, 1100), (3, 1), (7, 1),
    ]  # fmt: skip
    assert await rows(WRONG) == []
    assert await rows(WRONG_NAME) == []
    assert await rows("SELECT auth0_sub, name_key FROM users WHERE name_key <> '' ORDER BY 1") == [
        ("p1", "natalia"), ("p2", "natalia"), ("p2400", "ipek"),
    ]  # fmt: skip
    assert await rows("SELECT id FROM stories WHERE content = 'Café' ORDER BY 1") == [
        (1,), (1500,), (2500,),
    ]  # fmt: skip
    found = "SELECT id FROM stories WHERE search @@ to_tsquery('english', 'café') ORDER BY 1"
    assert await rows(found) == [(1,), (2,), (1500,), (2500,)]
    assert await rows("SELECT display_name, bio FROM user_profiles ORDER BY user_id") == [
        (" Natália", "Café"), ("Natália", None), ("İpek", None), (None, "b"),
    ]  # fmt: skip
    assert await rows("SELECT name, theme FROM gardens") == [("Café", "é")]
    # A person has to decide which of the two habits goes; a title too long when composed stays.
    assert await rows("SELECT user_id, name FROM habits ORDER BY id") == [
        ("p1", "cafe\u0301"), ("p1", "café"), ("p2", "café"),
    ]  # fmt: skip
    assert await rows("SELECT title FROM stories WHERE id IN (2, 3) ORDER BY id") == [
        ("Café",), ("\u0958" * 140,),
    ]  # fmt: skip
    moved = "SELECT id FROM stories WHERE updated_at > '2025-01-01' ORDER BY id"
    assert await rows(moved) == [(1,), (2,), (1500,), (2500,)]

    # Once more changes nothing, and back everything else is as it was.
    tables = ("tags", "user_tags", "story_tags", "stories", "user_profiles", "habits", "users")
    kept = {name: await rows(f"SELECT * FROM {name} ORDER BY 1, 2") for name in tables}
    await asyncio.to_thread(migrate.downgrade, url, BEFORE)
    assert await rows("SELECT name_key FROM users WHERE name_key <> '' ORDER BY 1") != [
        ("ipek",), ("natalia",), ("natalia",),
    ]  # fmt: skip
    await asyncio.to_thread(migrate.upgrade, url, THIS)
    assert kept == {name: await rows(f"SELECT * FROM {name} ORDER BY 1, 2") for name in tables}


async def test_what_was_begun_is_finished(make: Make, connect: Connect) -> None:
    """Stopped between two statements: each has committed, and the next run goes on."""
    url = await make(BEFORE)
    connection = await connect(url)
    await connection.execute(ROWS)
    # Half of the owners of the first tag have been moved, and no more.
    await connection.execute(
        "INSERT INTO user_tags SELECT user_id, 2 FROM user_tags WHERE tag_id = 1 "
        "ORDER BY 1 LIMIT 1000 ON CONFLICT DO NOTHING"
    )
    await asyncio.to_thread(migrate.upgrade, url, THIS)
    assert await connection.fetchval("SELECT count(*) FROM user_tags WHERE tag_id = 2") == 2100
    assert await connection.fetch(WRONG) == []


def test_the_copy_folds_as_the_api_does() -> None:
    spec = importlib.util.spec_from_file_location("one_form", FILE)
    assert spec
    assert spec.loader
    migration = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(migration)
    for name in (
        "  CAFE\u0301 x",
        "İstanbul",
        "i\u0307",
        "ΟΔΌΣ",
        "Straße",
        "A\u030a",
        "",
        "\u3164",
    ):
        assert migration.fold(name) == fold_tag(name)
