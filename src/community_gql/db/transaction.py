"""Writing: what an action writes through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncConnection

from community_gql.db.labels import STATEMENT, describe
from community_gql.db.pool import LABEL
from community_gql.db.stopwatch import Stopwatch
from community_gql.telemetry import tracing


class Transaction:
    """What an action writes through: one transaction, committed by whoever opened it."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.label: str | None = None  # as of a Snapshot
        self.statements = 0
        self.stopwatch = Stopwatch()
        self.texts: list[str] | None = None  # as of a Snapshot

    async def run(self, statement: Executable, values: Any = None) -> Sequence[Any]:
        """Run ``statement`` (once per set of values in a list); its rows, if it returns any."""
        self.statements += 1
        with tracing.span(STATEMENT, "client") as span, self.stopwatch.running():
            result = await self._connection.execute(
                statement, values, execution_options={LABEL: self.label}
            )
            if span is not None:
                describe(span, result.context.statement, self.label)
        if self.texts is not None:
            self.texts.append(result.context.statement)
        return result.all() if result.returns_rows else ()

    async def first(self, statement: Executable, values: Any = None) -> Any:
        """The first row of ``statement``, or None."""
        rows = await self.run(statement, values)
        return rows[0] if rows else None
