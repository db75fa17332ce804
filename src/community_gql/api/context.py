"""What the resolvers of one operation share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from community_gql.database import Database, Snapshot
from community_gql.loaders import Loaders
from community_gql.visibility import Viewer


@dataclass(slots=True)
class Context:
    """One operation: who asks, what is read through, and what the argument pass found out."""

    viewer: Viewer
    database: Database
    plans: dict[int, Any] = field(default_factory=dict)
    """What each field node asks for, by ``id(node)``; filled by ``api/arguments.py``."""
    snapshot: Snapshot = field(init=False)
    loaders: Loaders = field(init=False)

    def __post_init__(self) -> None:
        self.snapshot = self.database.snapshot()
        self.loaders = Loaders(self.snapshot, self.viewer)

    async def close(self) -> None:
        """Give back what the operation holds."""
        await self.snapshot.close()
