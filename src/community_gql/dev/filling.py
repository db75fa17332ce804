"""A made-up community with its matches: seeded, then computed like those of any community."""

from __future__ import annotations

from dataclasses import replace

from community_gql.dev import seeding
from community_gql.dev.seeding import SeedReport
from community_gql.dev.seeding.loading import Progress
from community_gql.matching import running


async def fill(
    url: str,
    *,
    people: int = 200,
    seed: int = 1,
    progress: Progress,
) -> SeedReport:
    """Fill a migrated database that has no people; see ``seeding.seed``.

    Needs numpy. Raises SeedError and MatchingError; after the latter everything is there but some
    matches, which ``matching run`` then computes.
    """
    report = await seeding.seed(url, people=people, seed=seed, progress=progress)
    matched = await running.run(url, "built-in", progress)
    rows = {**report.rows, "user_features": matched.vectors, "match_results": matched.matches}
    return replace(report, rows=rows, seconds=report.seconds + matched.seconds)
