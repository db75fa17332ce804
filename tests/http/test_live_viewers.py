"""Who is told that what is theirs has changed, on two servers and over both transports.

``subscription { viewer }`` says the same as the query at that time, once for each change that
concerns the viewer, and nothing at all to anybody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from community_gql.identity.development import DevelopmentIssuer
from tests.http.server import HOST, free_port
from tests.support import factories as make
from tests.support.factories import Person
from tests.support.following import TRANSPORTS, Cut, Follower
from tests.support.server import process

pytestmark = pytest.mark.system

VIEWER = """{ viewer {
  email features { version }
  friends { nodes { id profile { displayName } } }
  friendRequests { nodes { requester { id } addressee { id } } }
  user {
    profile { displayName bio } garden { name } habits { nodes { name } } tags { name }
    stories { nodes { title visibility } } matches { nodes { score user { id } } }
  }
} }"""
QUIET_SECONDS = 1.5
"""Nothing is told later than this: each server looks ten times a second, and reads a state again
once a second."""


def viewer_of(data: dict[str, Any]) -> Any:
    """What an event says."""
    return data["viewer"]


def is_told(follower: Follower, count: int) -> bool:
    """Whether it was told so often."""
    return len(follower.told) >= count


class Stage:
    """Two servers, and four followers of each person."""

    def __init__(
        self, ports: list[int], http: httpx.AsyncClient, issuer: DevelopmentIssuer
    ) -> None:
        self._ports, self._http, self._issuer = ports, http, issuer
        self.followers: dict[str, list[Follower]] = {}
        self.all: list[Follower] = []
        self.tokens: dict[str, str | None] = {}
        self.expected: dict[str, list[Any]] = {}
        """What each is to be told, in order."""
        self._listening: list[asyncio.Task[None]] = []

    async def begin(self, people: dict[str, Person | None]) -> None:
        """Have everybody follow."""
        for name, person in people.items():
            token = None if person is None else f"Bearer {self._issuer.token(person.sub)}"
            self.tokens[name] = token
            for number, port in enumerate(self._ports):
                for transport, opening in TRANSPORTS.items():
                    made = await opening.open(
                        port, f"subscription {VIEWER}", {}, token=token, keep=True
                    )
                    follower = Follower(f"{name} {transport} {number}", made, viewer_of)
                    self.followers.setdefault(name, []).append(follower)
                    self.all.append(follower)
                    self._listening.append(asyncio.create_task(follower.listen()))
        await self.note(*people)

    async def end(self) -> None:
        """All go."""
        for follower in self.all:
            follower.connection.vanish()
        await asyncio.gather(*self._listening, return_exceptions=True)

    async def note(self, *names: str) -> None:
        """These are told, and what they are told is what the query says."""
        for name in names:
            token = self.tokens[name]
            answer = await self._http.post(
                f"http://{HOST}:{self._ports[0]}/graphql",
                json={"query": VIEWER},
                headers={} if token is None else {"Authorization": token},
            )
            expected = self.expected.setdefault(name, [])
            expected.append(answer.json()["data"]["viewer"])
            for follower in self.followers[name]:
                await follower.until(partial(is_told, follower, len(expected)))

    def check(self) -> None:
        """Nobody was told more, or anything else."""
        for name, followers in self.followers.items():
            for follower in followers:
                assert follower.told == self.expected[name], follower.where


@asynccontextmanager
async def stage(url: str, folder: Path) -> AsyncIterator[Stage]:
    """Servers that run."""
    async with AsyncExitStack() as stack:
        issuer, ports = DevelopmentIssuer(folder), [free_port(), free_port()]
        for port in ports:
            running = process(url, folder, port, cost_per_minute=10**9)
            await asyncio.to_thread(stack.enter_context, running)
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=60))
        made = Stage(ports, http, issuer)
        try:
            yield made
        finally:
            await made.end()


async def test_whose_state_a_change_is_told_to(
    database_url: str, db: asyncpg.Connection, tmp_path: Path
) -> None:
    ada, ben, cleo, dan = [
        await make.person(db, name, email=f"{name}@example.org") for name in ("a", "b", "c", "d")
    ]
    await make.friendship(db, ada, ben)
    moss = await make.tag(db, "moss")
    people = {"ada": ada, "ben": ben, "cleo": cleo, "dan": dan, "nobody": None}
    gardens = {name: await make.garden(db, one, f"<{name}>") for name, one in people.items() if one}
    email = "UPDATE users SET email = $2 WHERE auth0_sub = $1"
    bio = "UPDATE user_profiles SET bio = $2 WHERE user_id = $1"
    accept = (
        "UPDATE friendships SET status = 'accepted', accepted_at = now() WHERE requester_id = $1"
    )
    async with stage(database_url, tmp_path) as on:
        await on.begin(people)
        # Another person each time, as far as there are any: a state is told once a second.
        await db.execute(email, ada.sub, "secret-a@example.org")
        await on.note("ada")
        await db.execute(bio, ben.sub, "<bio of ben>")
        await on.note("ben")  # and not ada, though he is her friend
        await make.habit(db, cleo, "<habit of cleo>")
        await on.note("cleo")
        await make.choose(db, dan, moss)
        await on.note("dan")
        story = await make.story(db, ada, "<story of ada>", visibility="private")
        await on.note("ada")
        await db.execute("UPDATE gardens SET name = '<new>' WHERE id = $1", gardens["ben"].key)
        await on.note("ben")
        await make.friendship(db, cleo, dan, accepted=False)
        await on.note("dan")  # what cleo has asked for is not in her list
        await make.match_batch(db, ada, {ben: 0.5, cleo: 0.25})
        await on.note("ada")  # and not those whom she suits
        await make.features(db, ben)
        await on.note("ben")
        await db.execute(accept, cleo.sub)
        await on.note("cleo", "dan")
        await db.execute("UPDATE stories SET visibility = 'public' WHERE id = $1", story.key)
        await on.note("ada")
        await db.execute("UPDATE user_profiles SET display_name = 'B' WHERE user_id = $1", ben.sub)
        await on.note("ben")  # ada sees the new name with her next change
        await db.execute("DELETE FROM friendships WHERE requester_id = $1", cleo.sub)
        await on.note("cleo", "dan")
        await db.execute("UPDATE tags SET name = 'fern' WHERE id = $1", moss.key)
        await asyncio.sleep(QUIET_SECONDS)  # dan has chosen it, but it is not his
        await make.habit(db, dan)
        await on.note("dan")  # who sees the tag's new name now
        await db.execute("DELETE FROM stories WHERE id = $1", story.key)
        await on.note("ada")
        ended = on.followers.pop("ben")
        await db.execute("DELETE FROM users WHERE auth0_sub = $1", ben.sub)
        for follower in ended:
            await follower.until(lambda f=follower: f.ended)  # type: ignore[misc]
            assert isinstance(follower.ended, Cut)
            assert follower.told == on.expected["ben"], follower.where
        await on.note("ada")  # a friend less, and a match less
        await asyncio.sleep(QUIET_SECONDS)
        on.check()
        secrets = {
            "ada": ("secret-a@", "<story of ada>"),
            "ben": ("b@example.org", "<new>", "<bio of ben>"),
            "cleo": ("c@example.org", "<habit of cleo>"),
            "dan": ("d@example.org",),
        }
        for follower in on.all:
            received = bytes(follower.connection.received or b"")
            assert received
            for name, texts in secrets.items():
                for text in texts:
                    assert (text.encode() in received) == follower.where.startswith(name), (
                        follower.where, text,
                    )  # fmt: skip
