"""Writing: what an action writes through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.ext.asyncio import AsyncConnection

from community_gql.db.stopwatch import Stopwatch


class Transaction:
    """What an action writes through: one transaction, committed by whoever opened it."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self.statements = 0
        self.stopwatch = Stopwatch()
        self.texts: list[str] | None = None  # as of a Snapshot

    async def run(self, statement: Executable, values: Any = None) -> Sequence[Any]:
        """Run ``statement`` (once per set of values in a list); its rows, if it returns any."""
        self.statements += 1
        with self.stopwatch.running():
            result = await self._connection.execute(statement, values)
        if self.texts is not None:
            self.texts.append(result.context.statement)
        return result.all() if result.returns_rows else ()

    async def first(self, statement: Executable, values: Any = None) -> Any:
        """The first row of ``statement``, or None."""
        rows = await self.run(statement, values)
        return rows[0] if rows else None
