"""The endpoint that everything is compared with: one SQL statement per request, by hand.

Starlette and asyncpg; a statement gives the JSON text of the answer, which goes out as it is. The
tokens are verified by this project's own verifier, so that only the work of GraphQL makes the
difference. Of several forms of a page the one that took the least processor time is here: scalar
subselects rather than joins, row_to_json rather than json_build_object, a materialized page.

    python -m benchmarks.peers.handwritten     (DATABASE_URL, OIDC_ISSUER, ... in the environment)
"""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.peers.handwritten_writes import Writes
from community_gql.errors import Unauthenticated
from community_gql.identity.keys import ProviderKeys
from community_gql.identity.provider import Provider
from community_gql.identity.tokens import Identity, TokenVerifier

# $1 is the viewer, NULL when nobody is signed in. The array is made once per statement.
VISIBLE = """(
  s.visibility = 'public' OR s.user_id = $1
  OR s.visibility = 'friends' AND s.user_id = ANY (ARRAY(
    SELECT addressee_id FROM friendships WHERE requester_id = $1 AND status = 'accepted'
    UNION ALL
    SELECT requester_id FROM friendships WHERE addressee_id = $1 AND status = 'accepted'
  ))
)"""
NAME = """(SELECT row_to_json(o) FROM (
    SELECT display_name AS "displayName" FROM user_profiles WHERE user_id = {person}
  ) o)"""
AUTHOR = f"""(SELECT row_to_json(o) FROM (
  SELECT {NAME.format(person="s.user_id")} AS profile
) o)"""
TAGS = """coalesce((SELECT json_agg(o) FROM (
  SELECT t.id, t.name FROM story_tags st JOIN tags t ON t.id = st.tag_id
  WHERE st.story_id = s.id ORDER BY t.name
) o), '[]')"""
STORY = 's.id, s.title, s.visibility, s.created_at AS "createdAt"'
STORIES = "SELECT s.id, s.title, s.visibility, s.created_at, s.user_id FROM stories s"
NEWEST = "ORDER BY s.created_at DESC, s.id DESC LIMIT"

PERSON = """
SELECT row_to_json(r) FROM (
  SELECT u.public_id AS id, u.created_at AS "createdAt",
    (SELECT row_to_json(o) FROM (
      SELECT display_name AS "displayName", bio FROM user_profiles WHERE user_id = u.auth0_sub
    ) o) AS profile,
    (SELECT row_to_json(o) FROM (
      SELECT name, theme FROM gardens WHERE user_id = u.auth0_sub
    ) o) AS garden
  FROM users u WHERE u.public_id = $1
) r
"""


def page(rows: str, item: str, alias: str, key: str, size: int) -> str:
    """A page as JSON; ``rows`` are one too many, so that it is known whether more follow."""
    return f"""
SELECT row_to_json(r) FROM (
  WITH page AS MATERIALIZED ({rows} {size + 1})
  SELECT
    coalesce((
      SELECT json_agg(i) FROM (SELECT {item} FROM page {alias} LIMIT {size}) i
    ), '[]') AS nodes,
    (
      SELECT row_to_json(o) FROM (SELECT
        (SELECT count(*) > {size} FROM page) AS "hasNextPage",
        (SELECT created_at || '~' || {key} FROM page
          OFFSET (SELECT greatest(least(count(*), {size}) - 1, 0) FROM page) LIMIT 1) AS "endCursor"
      ) o
    ) AS "pageInfo"
) r
"""


def stories(item: str, size: int, condition: str = "", after: str = "") -> str:
    """A page of the stories that the viewer may see; ``after`` are the cursor's parameters."""
    beyond = f"AND (s.created_at, s.id) < ({after})" if after else ""
    rows = f"{STORIES} WHERE {VISIBLE} {condition} {beyond} {NEWEST}"
    return page(rows, item, "s", "id", size)


def both(statement: Callable[[str], str], parameters: str) -> tuple[str, str]:
    """A statement for a first page and one for a page after a cursor."""
    return statement(""), statement(parameters)


def nested(after: str) -> str:
    """20 people with profile, garden and stories."""
    beyond = f"WHERE (u.created_at, u.public_id) < ({after})" if after else ""
    return page(
        f"""
        SELECT u.auth0_sub, u.public_id, u.created_at FROM users u {beyond}
        ORDER BY u.created_at DESC, u.public_id DESC LIMIT""",
        f"""
        u.public_id AS id, {NAME.format(person="u.auth0_sub")} AS profile,
        (SELECT row_to_json(o) FROM (
          SELECT name, theme FROM gardens WHERE user_id = u.auth0_sub
        ) o) AS garden,
        coalesce((SELECT json_agg(o) FROM (
          SELECT {STORY}, s.tags_cached AS "tagNames" FROM stories s
          WHERE s.user_id = u.auth0_sub AND {VISIBLE} {NEWEST} 5
        ) o), '[]') AS stories""",
        "u",
        "public_id",
        20,
    )


def graph(after: str) -> str:
    """10 stories with tags, author and the author's stories; and the viewer's matches."""
    found = stories(
        f"""
        s.id, s.title, {TAGS} AS tags,
        (SELECT row_to_json(o) FROM (
          SELECT u.public_id AS id, {NAME.format(person="u.auth0_sub")} AS profile,
            coalesce((SELECT json_agg(o) FROM (
              SELECT s.id, s.title, {TAGS} AS tags FROM stories s
              WHERE s.user_id = u.auth0_sub AND {VISIBLE} {NEWEST} 3
            ) o), '[]') AS stories
          FROM users u WHERE u.auth0_sub = s.user_id
        ) o) AS author""",
        10,
        after=after,
    )
    return f"""
SELECT row_to_json(g) FROM (SELECT
  ({found}) AS stories,
  CASE WHEN $1::varchar IS NOT NULL THEN coalesce((SELECT json_agg(o) FROM (
    SELECT m.score, (SELECT row_to_json(o) FROM (
      SELECT u.public_id AS id, {NAME.format(person="u.auth0_sub")} AS profile
      FROM users u WHERE u.auth0_sub = m.target_user_id
    ) o) AS user
    FROM match_results m
    WHERE m.user_id = $1
      AND m.created_at = (SELECT max(created_at) FROM match_results WHERE user_id = $1)
    ORDER BY m.score DESC, m.id DESC LIMIT 5
  ) o), '[]') END AS matches
) g
"""


NESTED = both(nested, "$2, $3")
GRAPH = both(graph, "$2, $3")
LIST = both(lambda after: stories(f"{STORY}, {AUTHOR} AS author", 100, after=after), "$2, $3")
PAGE = both(
    lambda after: stories('s.id, s.title, s.created_at AS "createdAt"', 5, after=after), "$2, $3"
)
FEED = page(
    f"""
    SELECT s.id, s.title, s.content, s.tags_cached, s.created_at, s.user_id FROM stories s
    WHERE {VISIBLE} AND s.tags_cached && $2 AND s.search @@ websearch_to_tsquery('english', $3)
    {NEWEST}""",
    f"""
    s.id, s.title, s.created_at AS "createdAt", s.tags_cached AS "tagNames", {AUTHOR} AS author,
    CASE WHEN char_length(s.content) <= 200 THEN s.content
      ELSE rtrim(left(s.content, 199)) || '…' END AS excerpt""",
    "s",
    "id",
    20,
)
# An unknown tag makes no row, and so the answer 422. The tags are locked as the product does.
CREATE = """
WITH tag AS MATERIALIZED (
  SELECT id, name FROM tags WHERE name = ANY ($5) ORDER BY id FOR KEY SHARE
), story AS (
  INSERT INTO stories (user_id, title, content, visibility)
  SELECT $1, $2, $3, $4 WHERE (SELECT count(*) FROM tag) = cardinality($5)
  RETURNING id, title, visibility, created_at
), linked AS (
  INSERT INTO story_tags SELECT story.id, tag.id FROM story, tag
)
SELECT row_to_json(r) FROM (
  SELECT id, title, visibility, created_at AS "createdAt",
    ARRAY(SELECT name FROM tag ORDER BY name) AS "tagNames"
  FROM story
) r
"""


class Endpoint:
    """The routes, over one pool of connections."""

    def __init__(self) -> None:
        issuer, audience = os.environ["OIDC_ISSUER"], os.environ["AUTH0_AUDIENCE"]
        self.provider = Provider(issuer)
        self.keys = ProviderKeys(self.provider)
        self.verifier = TokenVerifier(self.keys, issuer, audience)
        self.pool: Any = None
        self.searching: Any = None

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Open the pool, and fetch the keys."""
        size = int(os.environ["DATABASE_POOL_SIZE"])
        # Else PostgreSQL plans most of these statements anew each time, which costs up to as much
        # as running them. What FEED needs is the contrary.
        async with (
            pooled(size, "force_generic_plan") as self.pool,
            pooled(size, "force_custom_plan") as self.searching,
        ):
            await self.keys.start()
            gc.collect()
            gc.freeze()
            yield
            await self.keys.close()
            await self.provider.close()

    async def viewer(self, request: Request) -> str | None:
        """The ``sub`` of whoever asks. Raises Unauthenticated."""
        return (
            None if "authorization" not in request.headers else (await self.identity(request)).sub
        )

    async def identity(self, request: Request) -> Identity:
        """What the token says. Raises Unauthenticated, also when there is none."""
        if (header := request.headers.get("authorization")) is None:
            raise Unauthenticated("Sign in first.")
        return await self.verifier.verify(header.removeprefix("Bearer "))

    async def answer(self, statement: str, *values: Any, pool: Any = None) -> Response:
        """The JSON of a statement."""
        found = await (pool or self.pool).fetchval(statement, *values)
        if found is None:
            return Response(status_code=404)
        return Response(found, media_type="application/json")

    async def person(self, request: Request) -> Response:
        """One person. Everyone may see them, but a bad token is refused all the same."""
        await self.viewer(request)
        return await self.answer(PERSON, UUID(request.path_params["key"]))

    def paged(self, statements: tuple[str, str], key: Callable[[str], Any]) -> Any:
        """A route to a list that is read page by page."""

        async def route(request: Request) -> Response:
            viewer = await self.viewer(request)
            after = request.query_params.get("after")
            if after is None:
                return await self.answer(statements[0], viewer)
            moment, _, last = after.partition("~")
            return await self.answer(
                statements[1], viewer, datetime.fromisoformat(moment), key(last)
            )

        return route

    async def feed(self, request: Request) -> Response:
        """Stories with one of some tags and words."""
        viewer, given = await self.viewer(request), request.query_params
        values = viewer, given.getlist("tags"), given["search"]
        return await self.answer(FEED, *values, pool=self.searching)

    async def create(self, request: Request) -> Response:
        """Write a story."""
        viewer = await self.viewer(request)
        if viewer is None:
            return Response(status_code=401)
        given = orjson.loads(await request.body())
        title, content, tags = given["title"].strip(), given["content"].strip(), given["tags"]
        if not 0 < len(title) <= 140 or not 0 < len(content) <= 100_000 or len(tags) > 20:
            return Response(status_code=422)
        return await self.answer(CREATE, viewer, title, content, given["visibility"], tags)


def pooled(size: int, plans: str) -> Any:
    """A pool of connections that plan their statements so."""
    return asyncpg.create_pool(
        os.environ["DATABASE_URL"],
        min_size=size,
        max_size=size,
        init=as_bytes,
        reset=leave,
        server_settings={"plan_cache_mode": plans},
    )


async def as_bytes(connection: asyncpg.Connection) -> None:
    """Have JSON arrive as the bytes that go out."""
    await connection.set_type_codec(
        "json", schema="pg_catalog", encoder=str, decoder=bytes, format="binary"
    )


async def leave(_: asyncpg.Connection) -> None:
    """Do not reset a connection that comes back: no route changes anything about it."""


async def refused(_: Request, error: Exception) -> Response:
    """The answer to a bad token."""
    return Response(str(error), status_code=401)


def create_app() -> Starlette:
    """The application."""
    endpoint = Endpoint()
    return Starlette(
        routes=[
            Route("/people/{key}", endpoint.person),
            Route("/people", endpoint.paged(NESTED, UUID)),
            Route("/graph", endpoint.paged(GRAPH, int)),
            Route("/stories", endpoint.paged(LIST, int)),
            Route("/stories", endpoint.create, methods=["POST"]),
            Route("/feed", endpoint.feed),
            Route("/page", endpoint.paged(PAGE, int)),
            *Writes(endpoint).routes(),
        ],
        exception_handlers={Unauthenticated: refused},
        lifespan=endpoint.lifespan,
    )


def main() -> None:
    """Serve on PORT."""
    uvicorn.run(
        create_app(),
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
    )


if __name__ == "__main__":
    main()
