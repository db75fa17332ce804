"""Writing: what an action writes through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import asyncpg
from sqlalchemy import Executable

from community_gql.db.labels import STATEMENT, describe
from community_gql.db.pool import Lent, Pool
from community_gql.db.states import is_useless
from community_gql.db.stopwatch import Stopwatch
from community_gql.db.texts import Fixed
from community_gql.telemetry import tracing

BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"


class Transaction:
    """What an action writes through: one transaction, committed by whoever opened it.

    It begins with its first statement. Its statements run on the driver itself: what SQLAlchemy
    does around one costs several times as much as sending it (decision 132).
    """

    def __init__(self, pool: Pool, lent: Lent, may_commit: Callable[[], bool]) -> None:
        """``may_commit`` is asked before a statement commits by itself."""
        self._pool, self._lent, self._may_commit = pool, lent, may_commit
        self.label: str | None = None  # as of a Snapshot
        self.statements = 0
        self.stopwatch = Stopwatch()
        self.texts: list[str] | None = None  # as of a Snapshot
        self.begun = False
        """Whether something is to be committed or rolled back."""
        self.committing = False
        """Whether something is being committed, or was."""

    async def run(self, statement: Executable | Fixed, values: Any = None) -> Sequence[Any]:
        """Run ``statement``; its rows, if it returns any.

        What runs often is ``Fixed``. Raises the driver's errors.
        """
        assert not self.committing, "the transaction was committed with its only statement"
        if not self.begun:
            await self._pool.command(self._lent, BEGIN)
            self.begun = True
        return await self._run(statement, values)

    async def first(self, statement: Executable | Fixed, values: Any = None) -> Any:
        """The first row of ``statement``, or None."""
        rows = await self.run(statement, values)
        return rows[0] if rows else None

    async def only(self, statement: Executable | Fixed, values: Any = None) -> Any:
        """The first row of a statement that is all that is written; None if it wrote nothing.

        It needs no BEGIN and no COMMIT where nothing has run before. After a row nothing else may
        run.
        """
        if self.begun or not self._may_commit():
            return await self.first(statement, values)
        await self._pool.plan(self._lent, custom_plan=False)
        self.committing = True
        try:
            rows = await self._run(statement, values)
        except asyncpg.PostgresError as error:
            self.committing = is_useless(error)  # it may break while the commit is under way
            raise
        self.committing = bool(rows)
        return rows[0] if rows else None

    async def _run(
        self, statement: Executable | Fixed, values: Mapping[str, Any] | None
    ) -> Sequence[Any]:
        fixed = statement if isinstance(statement, Fixed) else Fixed(statement)
        text, arguments = fixed.text(self.label), fixed.arguments(values)
        self.statements += 1
        if self.texts is not None:
            self.texts.append(fixed.text(None))
        with tracing.span(STATEMENT, "client") as span, self.stopwatch.running():
            if span is not None:
                describe(span, text, self.label)
            return await self._pool.rows(self._lent, text, arguments)
