"""Feature vectors and match batches, as the machines that compute them send them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import (
    ARRAY,
    Double,
    Integer,
    String,
    Text,
    Uuid,
    any_,
    bindparam,
    func,
    select,
    text,
)

from community_gql.actions.locks import lock_writer
from community_gql.actions.match_rows import under_match_rows
from community_gql.actions.permissions import (
    WRITE_FEATURES,
    WRITE_MATCHES,
    require_permission,
)
from community_gql.actions.validation import MAX_VECTOR_LENGTH, MAX_VERSION, Problems
from community_gql.db import models as m
from community_gql.db.database import Transaction
from community_gql.db.texts import Fixed
from community_gql.errors import Code
from community_gql.graph.exclusions import EXCLUDED, PUT_MATCHES
from community_gql.graph.visibility import Viewer, visible

_BATCHES_OF_FEATURES = 4711  # the advisory lock under which they run one at a time


@dataclass(frozen=True, slots=True)
class Features:
    """A person's vector of finite numbers, and the version of the recipe that made it."""

    user_id: UUID | None
    vector: Sequence[float]
    version: int = 1


@dataclass(frozen=True, slots=True)
class Match:
    """How well ``target_user_id`` suits ``user_id``, from 0 to 1."""

    user_id: UUID | None
    target_user_id: UUID | None
    score: float


@dataclass(frozen=True, slots=True)
class SavedFeatures:
    """How many vectors were saved, and how many left out: of people who are not to be matched."""

    count: int
    skipped: int


@dataclass(frozen=True, slots=True)
class SavedMatches:
    """The batch, and how many matches were left out: of pairs that must not match."""

    created_at: datetime
    skipped: int


async def put_features(
    session: Transaction, viewer: Viewer, *, features: Sequence[Features]
) -> SavedFeatures:
    """Save a batch of vectors, all or none, but for people who are not to be matched.

    All vectors of one version have the same length, in this batch and in the database.
    """
    require_permission(viewer, WRITE_FEATURES)
    problems = Problems()
    problems.batch("features", features)
    people: dict[UUID, int] = {}
    for place, item in enumerate(features):
        _check_vector(problems, place, item)
        if item.user_id is not None and people.setdefault(item.user_id, place) != place:
            problems.add(
                Code.INVALID, "This person is in the batch already.", "features", place, "userId"
            )
    named = [(item.user_id, ("features", i, "userId")) for i, item in enumerate(features)]
    subs = await _subs(session, viewer, problems, named)
    await lock_writer(session, viewer)
    await session.run(_ONE_BY_ONE)  # after the locks on people (the lock order)
    lengths = await _lengths(session, {item.version for item in features})
    for place, item in enumerate(features):
        if not 0 < len(item.vector) <= MAX_VECTOR_LENGTH:
            continue  # already noted
        length = lengths.setdefault(item.version, len(item.vector))
        if len(item.vector) != length:
            problems.add(
                Code.INVALID,
                f"Vectors of version {item.version} have {length:,} numbers; this one has "
                f"{len(item.vector):,}.",
                "features", place, "vector",
            )  # fmt: skip
    problems.stop()
    vectors = [(subs[item.user_id], item) for item in features]
    # unscoped: the person's choice decides, and is not shown
    saved = await session.run(
        _SAVE_FEATURES,
        {
            "people": [sub for sub, _ in vectors],
            "vectors": [orjson.dumps(list(item.vector)).decode() for _, item in vectors],
            "versions": [item.version for _, item in vectors],
        },
    )
    return SavedFeatures(len(saved), len(features) - len(saved))


async def put_matches(
    session: Transaction, viewer: Viewer, *, matches: Sequence[Match]
) -> SavedMatches:
    """Save the lists of some people as a batch, all or none, in the place of their older ones.

    Left out are pairs that must not match: friends, whom someone asked or dismissed, and those who
    are not to be matched.
    """
    require_permission(viewer, WRITE_MATCHES)
    problems = Problems()
    problems.batch("matches", matches)
    pairs: dict[tuple[UUID | None, UUID | None], int] = {}
    named: list[tuple[UUID | None, tuple[str | int, ...]]] = []
    for place, item in enumerate(matches):
        at = ("matches", place)
        if not 0 <= item.score <= 1:
            problems.add(Code.INVALID, "A score lies between 0 and 1.", *at, "score")
        if item.user_id is not None and item.user_id == item.target_user_id:
            problems.add(Code.INVALID, "A person cannot match themselves.", *at, "targetUserId")
        known = item.user_id is not None and item.target_user_id is not None
        if known and pairs.setdefault((item.user_id, item.target_user_id), place) != place:
            problems.add(Code.INVALID, "This pair is in the batch already.", *at)
        named += [(item.user_id, (*at, "userId")), (item.target_user_id, (*at, "targetUserId"))]
    subs = await _subs(session, viewer, problems, named)
    await lock_writer(session, viewer)
    problems.stop()
    owners = [subs[item.user_id] for item in matches]
    saved = await session.first(
        _SAVE_MATCHES,
        {
            "people": sorted(set(owners)),
            "owners": owners,
            "targets": [subs[item.target_user_id] for item in matches],
            "scores": [item.score for item in matches],
        },
    )
    return SavedMatches(saved.moment, len(matches) - saved.count)


_WANTED = "NOT EXISTS (SELECT FROM match_choices c WHERE c.user_id = {} AND NOT c.wanted)"
# Marks are taken away in the order in which others make them (the lock order).
_UNMARKED = """
  DELETE FROM stale_features WHERE user_id IN (
    SELECT user_id FROM stale_features WHERE user_id {} ORDER BY user_id FOR UPDATE
  )
"""
_SAVE_FEATURES = Fixed(
    # unscoped: writes for those who are to be matched; tells only of how many
    text(f"""
    WITH saved AS (
      INSERT INTO user_features AS stored (user_id, vector, version, updated_at)
      SELECT user_id, vector::jsonb, version, clock_timestamp()
      FROM unnest(:people, :vectors, :versions) AS given (user_id, vector, version)
      WHERE {_WANTED.format("given.user_id")}
      ON CONFLICT (user_id) DO UPDATE SET
        vector = excluded.vector, version = excluded.version, updated_at = excluded.updated_at
      RETURNING user_id
    ), known AS (
      {_UNMARKED.format("IN (SELECT user_id FROM saved)")}
    ), marked AS (
      INSERT INTO stale_lists (user_id, at, vector_changed)
      SELECT user_id, clock_timestamp(), true FROM saved ORDER BY user_id
      ON CONFLICT (user_id) DO UPDATE SET at = excluded.at, vector_changed = true
    )
    SELECT user_id FROM saved
""").bindparams(
        bindparam("people", type_=ARRAY(String)),
        bindparam("vectors", type_=ARRAY(Text)),
        bindparam("versions", type_=ARRAY(Integer)),
    )
)
# The older lists of these people go first: one moment names the new ones. That a program puts
# lists is noted once, for `matching run`, which would write over them.
_SAVE_MATCHES = Fixed(
    # unscoped: writes for those who may match; tells only of how many
    text(f"""
    WITH noted AS (
      INSERT INTO housekeeping (job) VALUES ('{PUT_MATCHES}') ON CONFLICT DO NOTHING
    ),
    batch AS MATERIALIZED (SELECT clock_timestamp() AS moment),
    gone AS (DELETE FROM match_results WHERE user_id = ANY (:people)),
    features AS ({_UNMARKED.format("= ANY (:people)")}),
    lists AS (DELETE FROM stale_lists WHERE user_id = ANY (:people) AND NOT vector_changed),
    saved AS (
      INSERT INTO match_results (user_id, target_user_id, score, created_at)
      SELECT user_id, target_user_id, score, moment
      FROM batch, unnest(:owners, :targets, :scores) WITH ORDINALITY
        AS given (user_id, target_user_id, score, place)
      WHERE {_WANTED.format("given.user_id")} AND {_WANTED.format("given.target_user_id")}
        AND NOT EXISTS (
          SELECT FROM {EXCLUDED}
          WHERE excluded.user_id = given.user_id AND excluded.other_id = given.target_user_id
        )
      ORDER BY place
      RETURNING id
    )
    SELECT moment, (SELECT count(*) FROM saved) AS count FROM batch
""").bindparams(
        bindparam("people", type_=ARRAY(String)),
        bindparam("owners", type_=ARRAY(String)),
        bindparam("targets", type_=ARRAY(String)),
        bindparam("scores", type_=ARRAY(Double)),
    )
)
_ONE_BY_ONE = Fixed(select(func.pg_advisory_xact_lock(_BATCHES_OF_FEATURES)))  # unscoped: a lock


def _check_vector(problems: Problems, place: int, item: Features) -> None:
    at = ("features", place)
    if not 0 < len(item.vector) <= MAX_VECTOR_LENGTH:
        problems.add(
            Code.INVALID, f"A vector has 1 to {MAX_VECTOR_LENGTH:,} numbers.", *at, "vector"
        )
    if not all(map(math.isfinite, item.vector)):
        problems.add(Code.INVALID, "A vector holds finite numbers.", *at, "vector")
    if not 0 < item.version <= MAX_VERSION:
        problems.add(Code.INVALID, "A version is a whole number from 1.", *at, "version")


async def _lengths(session: Transaction, versions: set[int]) -> dict[int, int]:
    """The length of the stored vectors, by version."""
    wanted = sorted(version for version in versions if 0 < version <= MAX_VERSION)
    rows = await session.run(_LENGTHS, {"versions": wanted})
    return {version: length for version, length in rows if length is not None}


_wanted = func.unnest(bindparam("versions", type_=ARRAY(Integer))).column_valued("wanted")
_length = (
    select(func.jsonb_array_length(m.UserFeatures.vector))  # unscoped: tells nothing of anyone
    .where(m.UserFeatures.version == _wanted)
    .limit(1)  # they are all alike
    .scalar_subquery()
)
_LENGTHS = Fixed(select(_wanted, _length))  # unscoped: as above


async def _subs(
    session: Transaction,
    viewer: Viewer,
    problems: Problems,
    named: Sequence[tuple[UUID | None, tuple[str | int, ...]]],
) -> dict[Any, str]:
    """The people with these public ids, locked against deletion; NOT_FOUND for each unknown id.

    The rows of matches are locked before them, for writing lists.
    """
    wanted = {public_id for public_id, _ in named if public_id is not None}
    rows = await session.run(_LOCK_PEOPLE, {**viewer.binds(), "wanted": sorted(wanted)})
    subs = {row.public_id: row.auth0_sub for row in rows}
    for public_id, path in named:
        if public_id not in subs:
            problems.not_found(*path, what="person")
    return subs


_LOCK_PEOPLE = under_match_rows(
    visible(m.User, m.User.public_id, m.User.auth0_sub)
    .where(m.User.public_id == any_(bindparam("wanted", type_=ARRAY(Uuid))))
    .order_by(m.User.auth0_sub)
    .with_for_update(read=True, key_share=True, of=m.User),
    shared=True,
)
