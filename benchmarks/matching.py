"""How good and how fast matching is: ``make bench ARGS=--matching``."""

from __future__ import annotations

import asyncio
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import numpy as np

from benchmarks.database import Database
from benchmarks.growth import Case, asking, on_cpu
from benchmarks.planted import chosen_tags_alone, planted, recipe_1
from community_gql.matching import running, stored
from community_gql.matching.evaluating import Quality, measured
from community_gql.matching.lists import Scorer, best_lists

PLANTED, SEEDS = 20_000, (1, 2)
LOOKED_AT = 6000
CHANGED = 1000

Say = Callable[[str], None]

WITHOUT = "matches(first: 20) { nodes { score user { id } } }"
WITH = """matches(first: 20) { nodes { score user { id } reasons {
  tags { name } themes { name } habits { name } journaling } } }"""

WRITE = (
    "WITH story AS (INSERT INTO stories (user_id, title, content, visibility) "
    "VALUES ($1, 'a', 'b', 'public') RETURNING id) SELECT id FROM story",
    "INSERT INTO story_tags SELECT $1, id FROM tags ORDER BY id LIMIT 2",
)


@dataclass
class Part:
    """What some work took."""

    what: str
    wall: float = 0.0
    cpu: float = 0.0
    """Seconds of this process, all threads."""
    about: str = ""


@dataclass
class Found:
    """Everything that was measured."""

    quality: list[tuple[str, Quality]] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    reads: dict[str, float] = field(default_factory=dict)
    writes: dict[str, float] = field(default_factory=dict)
    people: int = 0
    memory: float = 0.0
    """The most that this process had, in MB."""


def measure(database: Database, say: Say) -> Found:
    """Quality in a planted community, and speed in a seeded one."""
    found = Found(people=database.people)
    for seed in SEEDS:
        say(f"quality among {PLANTED:,} planted people, seed {seed}")
        judge(found, seed)
    asyncio.run(time_runs(database, found, say))
    asyncio.run(time_reads(database, found, say))
    say("stories with and without marks")
    asyncio.run(time_writes(database, found))
    found.memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def judge(found: Found, seed: int) -> None:
    """How well the lists find friends that were set aside."""
    community = planted(PLANTED, seed)
    ours = measured(recipe_1(community), community.friends, LOOKED_AT, seed)
    tags = measured(chosen_tags_alone(community), community.friends, LOOKED_AT, seed)
    for name, quality in (
        ("recipe 1", ours.matching),
        ("chosen tags, cosine", tags.matching),
        ("popularity", ours.popularity),
        ("chance", ours.random),
    ):
        found.quality.append((f"{name}, seed {seed}", quality))
    found.shown.append(
        f"seed {seed}: most shown in {ours.most_shown} of {ours.people:,} lists, "
        f"never shown {ours.never_shown:.1%}"
    )


@contextmanager
def timed(found: Found, what: str) -> Iterator[Part]:
    """Note what the block takes."""
    part = Part(what)
    wall, cpu = time.perf_counter(), time.process_time()
    yield part
    part.wall, part.cpu = time.perf_counter() - wall, time.process_time() - cpu
    found.parts.append(part)


async def time_runs(database: Database, found: Found, say: Say) -> None:
    """All lists alone, a first run, and one after a thousand changed people."""

    def progress(what: str, done: int, total: int) -> None:
        pass

    say(f"all lists of {database.people:,} people, without writing")
    async with running.connected(database.url) as connection:
        version = await stored.current(connection)
        assert version is not None
        with timed(found, "loading all vectors"):
            loaded = await stored.load(connection, version)
        with timed(found, "all lists, without writing") as part:
            scorer = Scorer(loaded.vectors)
            best_lists(scorer, np.arange(scorer.people), {}, version.top)
            part.about = f"{version.length} places"
        del scorer, loaded
    say("a first run")
    database.run("TRUNCATE match_results, user_features, match_recipes")
    with timed(found, "a first run") as part:
        report = await running.run(database.url, "built-in", progress)
        part.about = f"{report.vectors:,} vectors, {report.lists:,} lists changed"
    say(f"{CHANGED:,} people choose another tag")
    database.run(f"""
        INSERT INTO user_tags
        SELECT auth0_sub,
          (SELECT id FROM tags ORDER BY hashtext(auth0_sub || id || {time.time_ns()}) LIMIT 1)
        FROM (SELECT auth0_sub FROM users ORDER BY hashtext(auth0_sub) LIMIT {CHANGED}) AS chosen
        ON CONFLICT DO NOTHING
    """)
    with timed(found, f"a run after {CHANGED:,} changes") as part:
        report = await running.run(database.url, "built-in", progress)
        part.about = (
            f"{report.vectors:,} vectors changed, {report.looked_at:,} lists looked at, "
            f"{report.lists:,} changed"
        )


async def time_reads(database: Database, found: Found, say: Say) -> None:
    """What a page of matches costs the database."""
    say("matches with and without reasons")
    async with asking(database) as api:
        for name, selection in (("without reasons", WITHOUT), ("with all reasons", WITH)):
            case = Case(name, f"viewer {{ user {{ {selection} }} }}", True)
            found.reads[name] = statistics.median([await api.ms(case, size=20) for _ in range(9)])


async def time_writes(database: Database, found: Found) -> None:
    """Stories with two tags, each rolled back: ms of the session's processor time for one."""
    triggers = "match_story_tags_changed_insert", "match_story_tags_changed_delete"
    rounds: dict[str, list[float]] = {"without marks": [], "with marks": []}
    people = [row["auth0_sub"] for row in database.rows("SELECT auth0_sub FROM users LIMIT 500")]
    for _ in range(5):
        for name, switch in (("without marks", "DISABLE"), ("with marks", "ENABLE")):
            for trigger in triggers:
                database.run(f"ALTER TABLE story_tags {switch} TRIGGER {trigger}")
            async with running.connected(database.url) as connection:
                await _write(connection, people[:50])  # prepares the statements
                pid = connection.get_server_pid()
                before = on_cpu(pid)
                await _write(connection, people)
                rounds[name].append((on_cpu(pid) - before) / len(people) / 1e6)
    found.writes = {name: float(np.median(times)) for name, times in rounds.items()}


async def _write(connection: asyncpg.Connection, people: Sequence[str]) -> None:
    for person in people:
        transaction = connection.transaction()
        await transaction.start()
        story = await connection.fetchval(WRITE[0], person)
        await connection.execute(WRITE[1], story)
        await transaction.rollback()


def table(found: Found) -> str:
    """The figures as Markdown."""
    rows: list[Any] = [
        "# Matching",
        "",
        f"By `make bench ARGS=--matching`. Quality: a fifth of the friendships of {LOOKED_AT:,}",
        f"of {PLANTED:,} planted people, ranked among all. Speed: `db seed --people "
        f"{found.people}`.",
        "",
        "| ranking | HR@10 | NDCG@10 |",
        "|---|---:|---:|",
        *(f"| {name} | {q.hit_rate:.4f} | {q.ndcg:.4f} |" for name, q in found.quality),
        "",
        *(f"- {line}" for line in found.shown),
        "",
        "| work | wall s | CPU s of the process | |",
        "|---|---:|---:|---|",
        *(f"| {p.what} | {p.wall:.1f} | {p.cpu:.1f} | {p.about} |" for p in found.parts),
        "",
        f"Memory of the process, at most: {found.memory:,.0f} MB (the planted community included).",
        "",
        "| one request or write | ms of the database |",
        "|---|---:|",
        *(f"| `matches(first: 20)` {name} | {ms:.2f} |" for name, ms in found.reads.items()),
        *(f"| a story with two tags, {name} | {ms:.3f} |" for name, ms in found.writes.items()),
    ]
    return "\n".join(rows) + "\n"
