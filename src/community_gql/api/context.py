"""What the resolvers of one operation share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy.exc import IntegrityError

from community_gql.database import Database, Snapshot, Transaction, constraint
from community_gql.errors import AccountGone
from community_gql.loaders import Loaders
from community_gql.visibility import Viewer

T = TypeVar("T")

_OWNER_KEYS = ("_user_id_fkey", "_requester_id_fkey")
"""How the names of the foreign keys end that lead to whoever writes the row."""


@dataclass(slots=True)
class Context:
    """One operation: who asks, what is read through, and what the argument pass found out."""

    viewer: Viewer
    database: Database
    texts: list[str] | None = None
    """The statements that have run, if somebody asked for them."""
    plans: dict[int, Any] = field(default_factory=dict)
    """What each field node asks for, by ``id(node)``; filled by ``api/arguments.py``."""
    snapshot: Snapshot = field(init=False)
    loaders: Loaders = field(init=False)
    _statements: int = 0

    def __post_init__(self) -> None:
        self._look_anew()

    @property
    def statements(self) -> int:
        """How many statements the operation has run."""
        return self._statements + self.snapshot.statements

    def _look_anew(self) -> None:
        self.snapshot = self.database.snapshot()
        self.snapshot.texts = self.texts
        self.loaders = Loaders(self.snapshot, self.viewer)

    async def write(self, action: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run ``action`` in a transaction of its own and commit it.

        What is read afterwards is read anew, so that payloads show what was committed. Nothing is
        held while it waits for a connection. Raises AccountGone when the viewer's account is
        gone, and whatever the action raises; then nothing was written.
        """
        await self.snapshot.close()
        self._statements += self.snapshot.statements
        self._look_anew()

        async def counted(session: Transaction) -> T:
            session.texts = self.texts
            try:
                return await action(session)
            finally:
                self._statements += session.statements

        try:
            return await self.database.write(counted)
        except IntegrityError as error:
            if constraint(error).endswith(_OWNER_KEYS):
                raise AccountGone from error
            raise

    async def close(self) -> None:
        """Give back what the operation holds."""
        await self.snapshot.close()
