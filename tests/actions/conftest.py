"""Actions without GraphQL: each call is a transaction on a connection of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from community_gql.db.database import Database, opened, sqlstate
from community_gql.graph.visibility import Viewer
from community_gql.schema.context import Context
from tests.support.factories import Person
from tests.support.statements import watched


@dataclass
class Writer:
    """Runs actions as the API does: ``await act(gardens.create, person, name="Moss")``."""

    database: Database
    deadlocks: list[str] = field(default_factory=list)
    """The statements that PostgreSQL ended because of one, though nobody may have noticed."""

    async def __call__(
        self, action: Callable[..., Awaitable[Any]], who: Person, /, **given: Any
    ) -> Any:
        viewer = Viewer(who.sub, frozenset(who.permissions))
        context = Context(viewer, self.database)
        try:
            return await context.write(lambda session: action(session, viewer, **given))
        finally:
            await context.close()

    def note(self, text: str, error: Exception) -> None:
        if sqlstate(error) == "40P01":
            self.deadlocks.append(text)


@pytest.fixture
async def act(database_url: str) -> AsyncIterator[Writer]:
    """Runs actions, up to 50 at once."""
    # One person may write on all of them, and half of the connections may write.
    async with opened(database_url, pool_size=102, caller_share=1) as database:
        writer = Writer(database)
        with watched(failed=writer.note):
            yield writer
