"""The hand-written endpoint's changes, with the promises of this project's mutations.

Tags are locked before stories and people; what is checked is checked under the lock; all of it is
one transaction; a deadlock or a serialisation failure runs it again; the answer is read after the
commit. As few statements as these promises allow.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import asyncpg
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

ATTEMPTS = 6
MATCH_ROWS = 0x636F6D6D78
"""The advisory lock under which lists of matches change."""

UPDATE_LOCK = """
WITH tag AS MATERIALIZED (
  SELECT id FROM tags WHERE name = ANY ($3) ORDER BY id FOR KEY SHARE
)
SELECT s.updated_at, ARRAY(SELECT id FROM tag) AS tags FROM stories s
WHERE s.id = $1 AND s.user_id = $2 AND (SELECT count(*) FROM tag) >= 0
FOR NO KEY UPDATE OF s
"""
UPDATE = """
WITH gone AS (
  DELETE FROM story_tags WHERE story_id = $1 AND tag_id <> ALL ($4::bigint[]) RETURNING 1
), came AS (
  INSERT INTO story_tags SELECT $1, unnest($4::bigint[]) ON CONFLICT DO NOTHING RETURNING 1
)
UPDATE stories SET title = $2, content = $3, updated_at = CASE
    WHEN EXISTS (SELECT FROM gone) OR EXISTS (SELECT FROM came)
    THEN greatest(clock_timestamp(), updated_at + interval '1 microsecond') ELSE updated_at END
WHERE id = $1
"""
STORY = """
SELECT row_to_json(r) FROM (
  SELECT id, title, visibility, created_at AS "createdAt", tags_cached AS "tagNames"
  FROM stories WHERE id = $1
) r
"""
ADD_LOCK = """
WITH tag AS MATERIALIZED (
  SELECT id FROM tags WHERE name = ANY ($2) ORDER BY id FOR KEY SHARE
)
SELECT ARRAY(SELECT id FROM tag) AS tags FROM users u
WHERE u.auth0_sub = $1 AND (SELECT count(*) FROM tag) >= 0 FOR NO KEY UPDATE OF u
"""
ADD = """
WITH came AS (
  INSERT INTO user_tags SELECT $1, unnest($2::bigint[]) ON CONFLICT DO NOTHING RETURNING 1
)
SELECT (SELECT count(*) FROM user_tags WHERE user_id = $1) + count(*) FROM came
"""
PERSON = """
SELECT row_to_json(r) FROM (
  SELECT public_id AS id, coalesce((SELECT json_agg(o) FROM (
    SELECT t.name FROM user_tags ut JOIN tags t ON t.id = ut.tag_id
    WHERE ut.user_id = u.auth0_sub ORDER BY t.name
  ) o), '[]') AS tags
  FROM users u WHERE auth0_sub = $1
) r
"""
PLANT = """
INSERT INTO gardens (user_id, name, theme) VALUES ($1, $2, $3)
ON CONFLICT (user_id) DO NOTHING RETURNING id
"""
GARDEN = """
SELECT row_to_json(r) FROM (
  SELECT id, name, theme, created_at AS "createdAt" FROM gardens WHERE id = $1
) r
"""
ASK_LOCK = """
WITH held AS MATERIALIZED (SELECT pg_advisory_xact_lock($2))
SELECT auth0_sub FROM users WHERE public_id = $1 AND (SELECT count(*) FROM held) = 1 FOR KEY SHARE
"""
ASK = """
WITH made AS (
  INSERT INTO friendships AS f (requester_id, addressee_id) VALUES ($1, $2)
  ON CONFLICT (least(requester_id, addressee_id), greatest(requester_id, addressee_id))
  DO UPDATE SET status = 'accepted', accepted_at = clock_timestamp()
  WHERE f.status = 'pending' AND f.requester_id = excluded.addressee_id
  RETURNING id, status
), gone AS (
  DELETE FROM match_results m USING made WHERE (m.user_id = $1 AND m.target_user_id = $2)
    OR (made.status = 'accepted' AND m.user_id = $2 AND m.target_user_id = $1)
  RETURNING m.user_id
), marked AS (
  INSERT INTO stale_lists (user_id, at)
  SELECT user_id, clock_timestamp() FROM (SELECT DISTINCT user_id FROM gone) lost ORDER BY user_id
  ON CONFLICT (user_id) DO UPDATE SET at = excluded.at
)
SELECT id FROM made
"""
ASKED = """
SELECT id FROM friendships WHERE (requester_id, addressee_id) IN (($1, $2), ($2, $1))
"""
FRIENDSHIP = """
SELECT row_to_json(r) FROM (
  SELECT id, status, created_at AS "createdAt" FROM friendships WHERE id = $1
) r
"""
PEOPLE_LOCK = """
WITH held AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared($2))
SELECT public_id, auth0_sub FROM users
WHERE public_id = ANY ($1) AND (SELECT count(*) FROM held) = 1 ORDER BY auth0_sub FOR KEY SHARE
"""
MATCHES = """
WITH batch AS MATERIALIZED (SELECT clock_timestamp() AS moment),
gone AS (DELETE FROM match_results WHERE user_id = ANY ($1)),
features AS (DELETE FROM stale_features WHERE user_id = ANY ($1)),
lists AS (DELETE FROM stale_lists WHERE user_id = ANY ($1) AND NOT vector_changed),
saved AS (
  INSERT INTO match_results (user_id, target_user_id, score, created_at)
  SELECT g.user_id, g.other, g.score, moment
  FROM batch, unnest($2::varchar[], $3::varchar[], $4::float8[]) WITH ORDINALITY
    AS g (user_id, other, score, place)
  WHERE NOT EXISTS (
    SELECT FROM match_choices c WHERE c.user_id IN (g.user_id, g.other) AND NOT c.wanted
  ) AND NOT EXISTS (
    SELECT FROM friendships f WHERE f.requester_id = g.user_id AND f.addressee_id = g.other
  ) AND NOT EXISTS (
    SELECT FROM friendships f
    WHERE f.addressee_id = g.user_id AND f.requester_id = g.other AND f.status = 'accepted'
  ) AND NOT EXISTS (
    SELECT FROM match_dismissals d WHERE d.user_id = g.user_id AND d.target_user_id = g.other
  )
  ORDER BY place
  RETURNING 1
)
SELECT row_to_json(r) FROM (
  SELECT moment AS "createdAt", $5 - (SELECT count(*) FROM saved) AS skipped FROM batch
) r
"""


class Asked(Protocol):
    """What the endpoint is to these routes."""

    pool: Any

    async def identity(self, request: Request) -> Any:
        """Who asks: ``sub`` and ``permissions``. Raises Unauthenticated."""


class Refusal(Exception):
    """The change is refused with this status; nothing is written."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class Writes:
    """The routes that change something."""

    def __init__(self, endpoint: Asked) -> None:
        self._endpoint = endpoint

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/stories/{key:int}", self._route(self.update), methods=["PATCH"]),
            Route("/tags", self._route(self.add_tags), methods=["POST"]),
            Route("/gardens", self._route(self.plant), methods=["POST"]),
            Route("/friendships", self._route(self.ask), methods=["POST"]),
            Route("/matches", self._route(self.put_matches), methods=["PUT"]),
        ]

    def _route(self, change: Callable[..., Awaitable[Any]]) -> Any:
        async def route(request: Request) -> Response:
            who = await self._endpoint.identity(request)
            given = orjson.loads(await request.body())
            try:
                found = await change(who, given, **request.path_params)
            except Refusal as refusal:
                return Response(refusal.message, status_code=refusal.status)
            return Response(found, media_type="application/json")

        return route

    async def _transaction(self, change: Callable[[Any], Awaitable[Any]]) -> Any:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._endpoint.pool.acquire() as connection, connection.transaction():
                    return await change(connection)
            except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
                if attempt == ATTEMPTS:
                    raise
                await asyncio.sleep(random.uniform(0, 0.02 * 2**attempt))
        raise AssertionError

    async def update(self, who: Any, given: dict[str, Any], key: int) -> Any:
        """Change a story."""
        title, content = _text(given["title"], 140), _text(given["content"], 100_000)
        tags = _names(given["tags"], 20)
        expected = given.get("expectedUpdatedAt")

        async def change(connection: Any) -> None:
            row = await connection.fetchrow(UPDATE_LOCK, key, who.sub, tags)
            if row is None:
                raise Refusal(404, "There is no such story.")
            if len(row["tags"]) != len(tags):
                raise Refusal(422, "There is no such tag.")
            if expected is not None and datetime.fromisoformat(expected) != row["updated_at"]:
                raise Refusal(409, "It was changed since.")
            await connection.execute(UPDATE, key, title, content, row["tags"])

        await self._transaction(change)
        return await self._endpoint.pool.fetchval(STORY, key)

    async def add_tags(self, who: Any, given: dict[str, Any]) -> Any:
        """Choose tags."""
        names = _names(given["names"], 50)

        async def change(connection: Any) -> None:
            row = await connection.fetchrow(ADD_LOCK, who.sub, names)
            if row is None:
                raise Refusal(401, "The account is gone.")
            if len(row["tags"]) != len(names):
                raise Refusal(422, "There is no such tag.")
            if await connection.fetchval(ADD, who.sub, row["tags"]) > 50:
                raise Refusal(422, "At most 50 tags.")

        await self._transaction(change)
        return await self._endpoint.pool.fetchval(PERSON, who.sub)

    async def plant(self, who: Any, given: dict[str, Any]) -> Any:
        """Plant a garden."""
        name, theme = _text(given["name"], 80), _text(given["theme"], 40)
        made = await self._endpoint.pool.fetchval(PLANT, who.sub, name, theme)
        if made is None:
            raise Refusal(409, "You have a garden already.")
        return await self._endpoint.pool.fetchval(GARDEN, made)

    async def ask(self, who: Any, given: dict[str, Any]) -> Any:
        """Ask a person for friendship."""
        key = UUID(given["userId"])

        async def change(connection: Any) -> Any:
            other = await connection.fetchval(ASK_LOCK, key, MATCH_ROWS)
            if other is None or other == who.sub:
                raise Refusal(422, "There is no such person.")
            made = await connection.fetchval(ASK, who.sub, other)
            return made or await connection.fetchval(ASKED, who.sub, other)

        made = await self._transaction(change)
        return await self._endpoint.pool.fetchval(FRIENDSHIP, made)

    async def put_matches(self, who: Any, given: dict[str, Any]) -> Any:
        """Save a batch of matches."""
        if "write:matches" not in who.permissions:
            raise Refusal(403, "This needs the permission write:matches.")
        pairs = {}
        for item in given["matches"]:
            pair, score = (UUID(item["userId"]), UUID(item["targetUserId"])), item["score"]
            if not 0 <= score <= 1 or pair[0] == pair[1] or pair in pairs:
                raise Refusal(422, "Not a match.")
            pairs[pair] = float(score)
        if not 0 < len(pairs) <= 1000:
            raise Refusal(422, "1 to 1000 matches.")
        wanted = sorted({key for pair in pairs for key in pair})

        async def change(connection: Any) -> Any:
            rows = await connection.fetch(PEOPLE_LOCK, wanted, MATCH_ROWS)
            subs = dict(rows)
            if len(subs) != len(wanted):
                raise Refusal(422, "There is no such person.")
            owners = [subs[owner] for owner, _ in pairs]
            targets = [subs[target] for _, target in pairs]
            return await connection.fetchval(
                MATCHES, sorted(set(owners)), owners, targets, list(pairs.values()), len(pairs)
            )

        return await self._transaction(change)


def _text(value: str, longest: int) -> str:
    text = value.strip()
    if not 0 < len(text) <= longest:
        raise Refusal(422, f"1 to {longest} characters.")
    return text


def _names(value: Sequence[str], most: int) -> list[str]:
    names = list(dict.fromkeys(" ".join(name.lower().split()) for name in value))
    if len(names) > most or not all(names):
        raise Refusal(422, f"At most {most} tags.")
    return names
