"""Strawberry as its documentation teaches it: its ASGI view, DataLoaders, ORM entities.

Entities, each with the columns that the queries need; async sessions; a loader per field, a batch
of which is one statement; the rule of visibility in SQL.

    python -m benchmarks.peers.strawberry_orm    (DATABASE_URL, OIDC_ISSUER, ... in the environment)
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import strawberry
import uvicorn
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Double,
    ForeignKey,
    String,
    Text,
    and_,
    any_,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.dataloader import DataLoader
from strawberry.extensions import ParserCache, ValidationCache

from community_gql.identity.keys import ProviderKeys
from community_gql.identity.provider import Provider
from community_gql.identity.tokens import TokenVerifier

# --- the entities ---


class Base(DeclarativeBase):
    """Base of the entities."""

    type_annotation_map = {int: BigInteger, datetime: TIMESTAMP(timezone=True)}


class UserRow(Base):
    """A person."""

    __tablename__ = "users"
    auth0_sub: Mapped[str] = mapped_column(String, primary_key=True)
    public_id: Mapped[UUID]
    created_at: Mapped[datetime]


class ProfileRow(Base):
    """A profile."""

    __tablename__ = "user_profiles"
    user_id: Mapped[str] = mapped_column(ForeignKey("users.auth0_sub"), primary_key=True)
    display_name: Mapped[str | None]
    bio: Mapped[str | None] = mapped_column(Text)


class GardenRow(Base):
    """A garden."""

    __tablename__ = "gardens"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.auth0_sub"))
    name: Mapped[str]
    theme: Mapped[str | None]


class StoryRow(Base):
    """A story."""

    __tablename__ = "stories"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.auth0_sub"))
    title: Mapped[str]
    visibility: Mapped[str]
    tags_cached: Mapped[list[str]] = mapped_column(ARRAY(String))
    created_at: Mapped[datetime]


class TagRow(Base):
    """A tag."""

    __tablename__ = "tags"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class StoryTagRow(Base):
    """A tag of a story."""

    __tablename__ = "story_tags"
    story_id: Mapped[int] = mapped_column(ForeignKey("stories.id"), primary_key=True)
    tag_id: Mapped[int] = mapped_column(ForeignKey("tags.id"), primary_key=True)


class FriendshipRow(Base):
    """A friendship."""

    __tablename__ = "friendships"
    id: Mapped[int] = mapped_column(primary_key=True)
    requester_id: Mapped[str]
    addressee_id: Mapped[str]
    status: Mapped[str]


class MatchRow(Base):
    """A match."""

    __tablename__ = "match_results"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str]
    target_user_id: Mapped[str]
    score: Mapped[float] = mapped_column(Double)
    created_at: Mapped[datetime]


def visible(story: Any, viewer: str | None) -> ColumnElement[bool]:
    """Whether the viewer may see the story."""
    accepted = FriendshipRow.status == "accepted"
    friends = func.array(
        union_all(
            select(FriendshipRow.addressee_id).where(
                FriendshipRow.requester_id == viewer, accepted
            ),
            select(FriendshipRow.requester_id).where(
                FriendshipRow.addressee_id == viewer, accepted
            ),
        ).scalar_subquery()
    )
    return or_(
        story.visibility == "public",
        story.user_id == viewer,
        and_(story.visibility == "friends", story.user_id == any_(friends)),
    )


# --- the loaders ---

engine = create_async_engine(
    os.environ.get("DATABASE_URL", "postgresql:///").replace("://", "+asyncpg://", 1),
    pool_size=int(os.environ.get("DATABASE_POOL_SIZE", "10")),
    max_overflow=0,
)
sessions = async_sessionmaker(engine, expire_on_commit=False)


async def entities(statement: Any) -> Sequence[Any]:
    """The entities that a statement selects."""
    async with sessions() as session:
        return (await session.scalars(statement)).all()


def one_by(entity: Any, column: Any) -> Callable[[list[str]], Awaitable[list[Any]]]:
    """The batch function of a loader of at most one entity for each value of a column."""

    async def load(keys: list[str]) -> list[Any]:
        rows = await entities(select(entity).where(column.in_(keys)))
        found = {getattr(row, column.key): row for row in rows}
        return [found.get(key) for key in keys]

    return load


class Loaders:
    """The loaders of one request."""

    def __init__(self, viewer: str | None) -> None:
        self._viewer = viewer
        self.users = DataLoader(load_fn=one_by(UserRow, UserRow.auth0_sub))
        self.profiles = DataLoader(load_fn=one_by(ProfileRow, ProfileRow.user_id))
        self.gardens = DataLoader(load_fn=one_by(GardenRow, GardenRow.user_id))
        self.tags = DataLoader(load_fn=self._tags)
        self.stories = DataLoader(load_fn=self._stories)

    async def _tags(self, keys: list[int]) -> list[list[TagRow]]:
        statement = (
            select(StoryTagRow.story_id, TagRow)
            .join(TagRow, TagRow.id == StoryTagRow.tag_id)
            .where(StoryTagRow.story_id.in_(keys))
            .order_by(TagRow.name)
        )
        found = defaultdict(list)
        async with sessions() as session:
            for story_id, tag in await session.execute(statement):
                found[story_id].append(tag)
        return [found[key] for key in keys]

    async def _stories(self, keys: list[tuple[str, int]]) -> list[list[StoryRow]]:
        most = max(first for _, first in keys)
        subs = literal([sub for sub, _ in keys], ARRAY(String))
        person = func.unnest(subs).table_valued("sub", name="person").render_derived()
        newest = (
            select(StoryRow)
            .where(StoryRow.user_id == person.c.sub, visible(StoryRow, self._viewer))
            .order_by(StoryRow.created_at.desc(), StoryRow.id.desc())
            .limit(most)
            .lateral("newest")
        )
        story = aliased(StoryRow, newest)
        found = defaultdict(list)
        for row in await entities(select(story).select_from(person).join(newest, true())):
            found[row.user_id].append(row)
        return [found[sub][:first] for sub, first in keys]


@dataclass
class Context:
    """What resolvers share."""

    viewer: str | None
    loaders: Loaders


Info = strawberry.Info[Context, None]

# --- the types ---


@strawberry.type
class PageInfo:
    """Where a page ends."""

    has_next_page: bool
    end_cursor: str | None


@strawberry.type
class Profile:
    """A profile."""

    display_name: str | None
    bio: str | None


@strawberry.type
class Garden:
    """A garden."""

    name: str
    theme: str | None


@strawberry.type
class Tag:
    """A tag."""

    id: strawberry.ID
    name: str


@strawberry.type
class User:
    """A person."""

    sub: strawberry.Private[str]
    id: strawberry.ID
    created_at: datetime

    @classmethod
    def of(cls, row: UserRow) -> User:
        return cls(
            sub=row.auth0_sub, id=strawberry.ID(str(row.public_id)), created_at=row.created_at
        )

    @strawberry.field
    async def profile(self, info: Info) -> Profile | None:
        row = await info.context.loaders.profiles.load(self.sub)
        return row and Profile(display_name=row.display_name, bio=row.bio)

    @strawberry.field
    async def garden(self, info: Info) -> Garden | None:
        row = await info.context.loaders.gardens.load(self.sub)
        return row and Garden(name=row.name, theme=row.theme)

    @strawberry.field
    async def stories(self, info: Info, first: int) -> Stories:
        rows = await info.context.loaders.stories.load((self.sub, first))
        return Stories(nodes=[Story.of(row) for row in rows])

    @strawberry.field
    async def matches(self, info: Info, first: int) -> Matches:
        if self.sub != info.context.viewer:
            return Matches(nodes=[])
        newest = select(func.max(MatchRow.created_at)).where(MatchRow.user_id == self.sub)
        rows = await entities(
            select(MatchRow)
            .where(MatchRow.user_id == self.sub, MatchRow.created_at == newest.scalar_subquery())
            .order_by(MatchRow.score.desc(), MatchRow.id.desc())
            .limit(first)
        )
        return Matches(nodes=[Match(target=row.target_user_id, score=row.score) for row in rows])


@strawberry.type
class Story:
    """A story."""

    author_sub: strawberry.Private[str]
    key: strawberry.Private[int]
    id: strawberry.ID
    title: str
    visibility: str
    created_at: datetime
    tag_names: list[str]

    @classmethod
    def of(cls, row: StoryRow) -> Story:
        return cls(
            author_sub=row.user_id,
            key=row.id,
            id=strawberry.ID(str(row.id)),
            title=row.title,
            visibility=row.visibility,
            created_at=row.created_at,
            tag_names=row.tags_cached,
        )

    @strawberry.field
    async def author(self, info: Info) -> User:
        return User.of(await info.context.loaders.users.load(self.author_sub))

    @strawberry.field
    async def tags(self, info: Info) -> list[Tag]:
        rows = await info.context.loaders.tags.load(self.key)
        return [Tag(id=strawberry.ID(str(row.id)), name=row.name) for row in rows]


@strawberry.type
class Stories:
    """Some stories."""

    nodes: list[Story]


@strawberry.type
class Match:
    """A match."""

    target: strawberry.Private[str]
    score: float

    @strawberry.field
    async def user(self, info: Info) -> User:
        return User.of(await info.context.loaders.users.load(self.target))


@strawberry.type
class Matches:
    """Some matches."""

    nodes: list[Match]


@strawberry.type
class UserConnection:
    """A page of people."""

    nodes: list[User]
    page_info: PageInfo


@strawberry.type
class StoryConnection:
    """A page of stories."""

    nodes: list[Story]
    page_info: PageInfo


@strawberry.type
class Viewer:
    """Whoever asks."""

    user: User


def page_info(rows: Sequence[Any], first: int, key: str) -> PageInfo:
    """Where a page ends whose rows are one too many."""
    last = rows[:first][-1] if rows else None
    cursor = None if last is None else f"{last.created_at.isoformat()}~{getattr(last, key)}"
    return PageInfo(has_next_page=len(rows) > first, end_cursor=cursor)


def beyond(entity: Any, key: Any, after: str, read: Callable[[str], Any]) -> ColumnElement[bool]:
    """What comes after a cursor."""
    moment, _, last = after.partition("~")
    place = literal(datetime.fromisoformat(moment)), literal(read(last))
    return tuple_(entity.created_at, key) < tuple_(*place)


@strawberry.type
class Query:
    """The root."""

    @strawberry.field
    async def user(self, id: strawberry.ID) -> User | None:
        rows = await entities(select(UserRow).where(UserRow.public_id == UUID(id)))
        return User.of(rows[0]) if rows else None

    @strawberry.field
    async def users(self, first: int, after: str | None = None) -> UserConnection:
        statement = select(UserRow).order_by(UserRow.created_at.desc(), UserRow.public_id.desc())
        if after is not None:
            statement = statement.where(beyond(UserRow, UserRow.public_id, after, UUID))
        rows = await entities(statement.limit(first + 1))
        return UserConnection(
            nodes=[User.of(row) for row in rows[:first]],
            page_info=page_info(rows, first, "public_id"),
        )

    @strawberry.field
    async def stories(self, info: Info, first: int, after: str | None = None) -> StoryConnection:
        statement = (
            select(StoryRow)
            .where(visible(StoryRow, info.context.viewer))
            .order_by(StoryRow.created_at.desc(), StoryRow.id.desc())
        )
        if after is not None:
            statement = statement.where(beyond(StoryRow, StoryRow.id, after, int))
        rows = await entities(statement.limit(first + 1))
        return StoryConnection(
            nodes=[Story.of(row) for row in rows[:first]],
            page_info=page_info(rows, first, "id"),
        )

    @strawberry.field
    async def viewer(self, info: Info) -> Viewer | None:
        if info.context.viewer is None:
            return None
        return Viewer(user=User.of(await info.context.loaders.users.load(info.context.viewer)))


# --- the application ---


class App(GraphQL[Context, None]):
    """Strawberry's view, which knows who asks."""

    def __init__(self, verifier: TokenVerifier) -> None:
        super().__init__(
            strawberry.Schema(Query, extensions=[ParserCache, ValidationCache]),
            graphql_ide=None,
        )
        self._verifier = verifier

    async def get_context(
        self, request: Request | WebSocket, response: Response | WebSocket
    ) -> Context:
        header = request.headers.get("authorization")
        viewer = None
        if header is not None:
            viewer = (await self._verifier.verify(header.removeprefix("Bearer "))).sub
        return Context(viewer, Loaders(viewer))


def create_app() -> Starlette:
    """The application."""
    issuer = os.environ["OIDC_ISSUER"]
    provider = Provider(issuer)
    keys = ProviderKeys(provider)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await keys.start()
        yield
        await keys.close()
        await provider.close()
        await engine.dispose()

    view = App(TokenVerifier(keys, issuer, os.environ["AUTH0_AUDIENCE"]))
    return Starlette(routes=[Route("/graphql", view)], lifespan=lifespan)


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
