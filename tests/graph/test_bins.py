"""Looking in steps of time, and by the marks of stories, finds what a plain query finds."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from community_gql.db.database import opened
from community_gql.graph.visibility import Viewer
from community_gql.operations.pipeline import Operations
from community_gql.operations.prepared import Params
from tests.support import factories as make
from tests.support.client import Client
from tests.support.factories import Person, day

pytestmark = pytest.mark.both_ways

STORIES = 4400
"""One each ten minutes: in four weeks more than a thousand have a frequent word or tag."""
FILLED = """
    INSERT INTO stories (user_id, title, content, visibility, created_at)
    SELECT $1, 't',
      repeat('moss ', n % 2 * (1 + n % 13)) || CASE n % 100 WHEN 0 THEN 'rare' ELSE '' END,
      CASE WHEN n % 3 = 0 THEN 'private' ELSE 'public' END,
      $2::timestamptz - n * '10 min'::interval
    FROM generate_series(0, $3::int) AS n
"""
TAGGED = """
    INSERT INTO story_tags
    SELECT s.id, t.id FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM stories) AS s
    JOIN tags t ON t.name = 'fern' AND s.n % 2 = 0 OR t.name = 'oak' AND s.n % 3 < 2
      OR t.name = 'elm' AND s.n % 70 < 2 OR t.name LIKE 'many %' AND s.n % 40 < 3
      OR t.name LIKE '%/%' AND s.n % 90 = 0
      OR t.name = 'short' AND s.n % 4 = 0 AND s.n <= 4000 OR t.name = 'long' AND s.n % 4 = 1
"""


NEWEST_HOUR = int(day(200).timestamp()) // 3600
A_TIME, NO_TAG = f"336/{NEWEST_HOUR // 336}", f"2688/{NEWEST_HOUR // 2688}"
"""Names that have the same marks as the times of many stories: a tag of a few stories, of all ages,
and one that nobody made."""


@pytest.fixture
async def people(db: asyncpg.Connection) -> list[Person]:
    """Who wrote all stories, and somebody else."""
    ada, ben = await make.people(db, 2)
    for name in ("fern", "oak", "elm", "short", "long", A_TIME, *(f"many {n}" for n in range(8))):
        await make.tag(db, name)
    await db.execute(FILLED, ada.sub, day(200), STORIES)
    await db.execute(TAGGED)
    return [ada, ben]


@dataclass(frozen=True)
class Asked:
    """A filter as clients write it, and the words and tags that it demands."""

    written: str
    word: str | None = None
    every: frozenset[str] = frozenset()
    some: frozenset[str] = frozenset()

    def admits(self, story: asyncpg.Record) -> bool:
        """Whether it leaves the story."""
        tags = {*story["tags_cached"]}
        has_word = self.word is None or story[self.word] > 0
        return has_word and self.every <= tags and (not self.some or bool(self.some & tags))


FILTERS = {
    "word": Asked('search: "moss"', "moss"),
    "rare": Asked('search: "rare"', "rare"),
    "wordAndTag": Asked('search: "moss", tagsAny: ["oak"]', "moss", some=frozenset(["oak"])),
    "one": Asked('tagsAll: ["oak"]', every=frozenset(["oak"])),
    "two": Asked('tagsAll: ["oak", "elm"]', every=frozenset(["oak", "elm"])),
    "three": Asked('tagsAll: ["elm", "fern", "oak"]', every=frozenset(["elm", "fern", "oak"])),
    "many": Asked('tagsAll: ["many 1", "oak"]', every=frozenset(["many 1", "oak"])),
    "any": Asked('tagsAny: ["elm", "many 3"]', some=frozenset(["elm", "many 3"])),
    "time": Asked(f'tagsAll: ["oak", "{A_TIME}"]', every=frozenset([A_TIME, "oak"])),
    "noTag": Asked(f'tagsAll: ["{NO_TAG}", "oak"]', every=frozenset([NO_TAG, "oak"])),
    "all": Asked(""),
}
LISTS = {
    None: FILTERS,
    "fern": FILTERS,
    "short": {name: FILTERS[name] for name in ("word", "two", "all")},
    "long": {name: FILTERS[name] for name in ("word", "two", "all")},
}
"""Of all stories, and of tags: ``short`` has as many stories as a short list has at most."""
IDS = "nodes { id }"
WINDOWS = [(None, None), (27 * 24 * 6, None), (500, 100), (None, 100), (-10, None), (None, STORIES)]
"""How many stories before the newest one a window begins, and ends."""


def moment(ago: int | None) -> datetime | None:
    """When the story was written."""
    return None if ago is None else day(200) - ago * timedelta(minutes=10)


def document(tag: str | None) -> str:
    """Every filter of a list: counted, in order, and ranked from both ends."""
    parts = []
    for name, asked in LISTS[tag].items():
        given = f"filter: {{{asked.written} createdAfter: $after, createdBefore: $before}}"
        parts.append(f"{name}: stories({given}, first: 3) {{ totalCount totalCountIsExact {IDS} }}")
        if asked.word:
            for end in ("first", "last"):
                ranked = f"{given}, orderBy: RELEVANCE, {end}: 3"
                parts.append(f"{end}{name}: stories({ranked}) {{ {IDS} }}")
    lists = " ".join(parts)
    if tag is not None:
        lists = f'tag(name: "{tag}") {{ {lists} }}'
    return f"query ($after: DateTime, $before: DateTime) {{ {lists} }}"


async def test_steps_and_marks_find_what_is_there(
    api: Client, db: asyncpg.Connection, people: list[Person]
) -> None:
    ranks = ", ".join(f"ts_rank(search, '{word}')::float8 AS {word}" for word in ("moss", "rare"))
    stories = await db.fetch(
        f"SELECT id, created_at, tags_cached, visibility, {ranks} FROM stories "
        "ORDER BY created_at DESC, id DESC"
    )
    assert max(len(story["tags_cached"]) for story in stories) > 8
    counts = set()
    for viewer, (after, before) in itertools.product(people, WINDOWS):
        since, until = moment(after), moment(before)
        inside = [
            story
            for story in stories
            if (viewer is people[0] or story["visibility"] == "public")
            and (since is None or story["created_at"] > since)
            and (until is None or story["created_at"] < until)
        ]
        times = {"after": since and since.isoformat(), "before": until and until.isoformat()}
        for tag, filters in LISTS.items():
            data = (await api(document(tag), viewer, **times)).data
            for name, asked in filters.items():
                found = [
                    story
                    for story in inside
                    if asked.admits(story) and (not tag or tag in story["tags_cached"])
                ]
                expected: dict[str, Any] = {
                    name: {
                        "totalCount": min(len(found), 1000),
                        "totalCountIsExact": len(found) <= 1000,
                        **ids(found[:3]),
                    }
                }
                if asked.word:
                    word = asked.word
                    best = sorted(found[:1000], key=lambda s: (-s[word], -s["id"]))
                    expected |= {f"first{name}": ids(best[:3]), f"last{name}": ids(best[-3:])}
                lists = data["tag"] if tag else data
                assert {key: lists[key] for key in expected} == expected, (name, times, tag)
                counts.add(len(found) > 1000)
    assert counts == {True, False}


def ids(stories: list[asyncpg.Record]) -> dict[str, list[dict[str, str]]]:
    """A list of stories as the API answers it."""
    return {"nodes": [{"id": f"Story_{story['id']}"} for story in stories]}


SCARCE = [
    '{ tag(name: "many 0") { stories(first: 20) { totalCount nodes { id } } } }',
    '{ tag(name: "nobody\'s") { stories(first: 20) { totalCount nodes { id } } } }',
    '{ tag(name: "nobody\'s") { stories(first: 20, orderBy: OLDEST) { nodes { id } } } }',
    '{ stories(first: 20, filter: {search: "xylophonist"}) { totalCount nodes { id } } }',
]


async def test_what_few_stories_have_is_not_looked_for_in_all(
    database_url: str, db: asyncpg.Connection, people: list[Person]
) -> None:
    """PostgreSQL says how many pages it reads; all stories by the index of time are 900.

    It plans as if there were a million: for few it would take the right index by itself.
    """
    await make.tag(db, "nobody's")
    await db.execute("VACUUM ANALYZE stories, story_tags, tags")
    await db.execute("UPDATE pg_class SET reltuples = 1e6 WHERE oid = 'stories'::regclass")
    pages: dict[str, int] = {}
    async with opened(database_url) as database:
        operations = Operations(database, pushdown="always")
        for query in SCARCE:
            plans: list[str] = []
            prepared = operations.prepare(Params(query), open_schema=True)
            outcome = await operations.execute(prepared, Viewer(people[0].sub), explained=plans)
            assert outcome.errors == []
            (read,) = [re.search(r"Buffers: shared hit=(\d+)", plan) for plan in plans]
            assert read is not None
            pages[query] = int(read[1])
        operations.close()
    assert max(pages.values()) < 600, pages
