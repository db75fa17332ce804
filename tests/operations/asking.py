"""Pushdown asked as the view asks it, without HTTP and budgets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from community_gql.db.database import Database
from community_gql.graph.visibility import ANONYMOUS, Viewer
from community_gql.operations.compiled import Pushdown
from community_gql.operations.documents import Documents
from community_gql.operations.prepared import Readings
from community_gql.schema.context import Context


@dataclass
class Asking:
    """What the view does before and after ``Pushdown.run``."""

    pushdown: Pushdown
    database: Database
    viewer: Viewer = ANONYMOUS
    points: int = 10**9
    """What the caller's budget holds."""
    documents: Documents = field(default_factory=Documents)
    readings: Readings = field(default_factory=Readings)

    async def __call__(self, text: str, **raw: Any) -> str:
        """How a query is run, and why."""
        operation = self.documents.get(text).operation(None)
        variables = operation.variables(raw)
        assert not isinstance(variables, list)
        reading = self.readings.of(operation, variables)
        plans = reading.plans(variables)
        context = Context(self.viewer, self.database)
        ran = await self.pushdown.run(reading, variables, plans, context, self.afford)
        return ran.why or ran.way

    async def afford(self, points: int) -> bool:
        """Whether the budget holds as much; it is not spent."""
        return points <= self.points
