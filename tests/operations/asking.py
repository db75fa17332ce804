"""Pushdown asked as ``Operations.execute`` asks it, without HTTP and budgets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from community_gql.db.database import Database
from community_gql.graph.visibility import ANONYMOUS, Viewer
from community_gql.operations.compiled import Pushdown
from community_gql.operations.documents import Documents
from community_gql.operations.pipeline import Executor, Operations
from community_gql.operations.prepared import OperationCache, Params
from community_gql.schema.context import Context


@dataclass
class Asking:
    """What is done before and after ``Pushdown.run``."""

    pushdown: Pushdown
    database: Database
    viewer: Viewer = ANONYMOUS
    points: int = 10**9
    """What the caller's budget holds."""
    documents: Documents = field(default_factory=Documents)
    cache: OperationCache = field(default_factory=OperationCache)

    async def __call__(self, text: str, **raw: Any) -> str:
        """How a query is run, and why."""
        operations = Operations(self.database, cost_limit=10**12)
        operations.documents, operations.cache = self.documents, self.cache
        prepared = operations.prepare(Params(text, variables=raw), open_schema=True)
        context = Context(self.viewer, self.database)
        _, reason = await self.pushdown.run(prepared, context, self.afford)
        return reason or Executor.COMPILED

    async def afford(self, points: int) -> bool:
        """Whether the budget holds as much; it is not spent."""
        return points <= self.points


async def idle(pushdown: Pushdown) -> None:
    """Wait until nothing is being compiled."""
    # One thread does all, in turn, and tells the event loop of each before the next.
    await asyncio.get_running_loop().run_in_executor(pushdown._thread, lambda: None)
    await asyncio.sleep(0)
    assert not pushdown._compiling
