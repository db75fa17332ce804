"""What the resolvers of one operation share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from asyncpg import IntegrityConstraintViolationError

from community_gql.db.database import Database, Snapshot, Transaction, constraint
from community_gql.db.labels import unlabelled
from community_gql.db.replicas import Position
from community_gql.db.stopwatch import Stopwatch
from community_gql.errors import AccountGone, Unavailable
from community_gql.graph.finding import NEAR_ROWS
from community_gql.graph.loaders import Loaders
from community_gql.graph.plans import Plans
from community_gql.graph.texts import LongTexts
from community_gql.graph.visibility import Viewer

T = TypeVar("T")

_OWNER_KEYS = ("_user_id_fkey", "_requester_id_fkey")
"""How the names of the foreign keys end that lead to whoever writes the row."""


@dataclass(slots=True)
class Context:
    """One operation: who asks, what is read through, and what the argument pass found out."""

    viewer: Viewer
    database: Database
    caller: str | None = None
    """Whose part of the connections is used: a person, or the address of someone signed out."""
    deadline: float | None = None
    """When reading and writing give up, by the event loop's clock."""
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    """How long the statements took, without waiting for a connection; whole once it is closed."""
    texts: list[str] | None = None
    """The statements that have run, if somebody asked for them."""
    explained: list[str] | None = None
    """Their plans, if somebody asked for those."""
    near_rows: int = NEAR_ROWS
    """See ``page_of``."""
    plans: Plans = field(default_factory=Plans)
    """What each field node asks for."""
    outcomes: dict[str, object] = field(default_factory=dict)
    """What came of each mutation that was run, by response key: an outcome, or what it raised."""
    committed: bool = False
    """Whether something was written that stays, whatever happens to the answer."""
    label: str | None = None
    """What names the operation in its statements, see ``db/labels.py``."""
    long_texts: LongTexts | None = None
    """Which long texts the loaders read, and how much of them; None for all."""
    shared: Snapshot | None = None
    """What is read through instead of a snapshot of its own; it stays open afterwards."""
    event: Any = None
    """What a subscription tells, where its field does not find that out itself."""
    breadth_first: bool = True
    """Whether what can be is run so; else graphql-core's executor runs all, for comparison."""
    on_replica: bool = False
    """Whether a standby may be read from."""
    after: Position | None = None
    """What it must have replayed then."""
    _replica_failed: bool = False
    _loaders: Loaders | None = None
    _statements: int = 0
    _ended: bool = False

    @property
    def is_open(self) -> bool:
        """Whether there is something to give back."""
        return self._loaders is not None

    @property
    def _caller(self) -> str | None:
        return self.caller or self.viewer.sub

    @property
    def statements(self) -> int:
        """How many statements the operation has run."""
        return self._statements + (self._loaders.snapshot.statements if self._loaders else 0)

    @property
    def loaders(self) -> Loaders:
        """The batches, over a snapshot that begins with the first of them."""
        if self._loaders is None:
            if self._ended:  # an error elsewhere ended it early
                raise Unavailable("The operation has ended.")
            snapshot = self.shared or self.database.snapshot(
                custom_plan=self.plans.custom_plan,
                caller=self._caller,
                deadline=self.deadline,
                on_replica=self.on_replica and self.explained is None,
                after=self.after,
            )
            snapshot.texts, snapshot.explained = self.texts, self.explained
            snapshot.label = self.label
            self._loaders = Loaders(snapshot, self.viewer, self.near_rows, self.long_texts)
        return self._loaders

    async def value(self, text: str, arguments: Sequence[Any], *, custom_plan: bool) -> Any:
        """The single value of a compiled statement, see ``Database.value``."""
        self._statements += 1
        if self.texts is not None:
            self.texts.append(unlabelled(text))
        found = await self.database.value(
            text,
            arguments,
            custom_plan=custom_plan,
            caller=self._caller,
            stopwatch=self.stopwatch,
            on_replica=self.on_replica,
            after=self.after,
        )
        if self.explained is not None:
            self.explained.append(await self.database.explain(text, arguments, caller=self._caller))
        return found

    async def write(self, action: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run ``action`` in a transaction of its own and commit it.

        What is read afterwards is read anew, so that payloads show what was committed. Nothing is
        held while it waits for a connection. Raises AccountGone when the viewer's account is
        gone, and whatever the action raises; then nothing was written.
        """
        await self._forget()

        async def counted(session: Transaction) -> T:
            session.texts, session.label = self.texts, self.label
            try:
                return await action(session)
            finally:
                self._statements += session.statements
                self.stopwatch.add(session.stopwatch)

        try:
            result = await self.database.write(
                counted,
                caller=self._caller,
                deadline=self.deadline,
                stopwatch=self.stopwatch,
                viewer=self.viewer.sub,
            )
        except IntegrityConstraintViolationError as error:
            if constraint(error).endswith(_OWNER_KEYS):
                raise AccountGone from error
            raise
        self.committed = True
        return result

    @property
    def replica_failed(self) -> bool:
        """Whether a standby failed while it was read from."""
        failed = self._loaders is not None and self._loaders.snapshot.replica_failed
        return failed or self._replica_failed

    async def begin_anew(self) -> None:
        """Nothing that was read counts: what is read from now on has a snapshot of its own."""
        await self._forget()

    async def use_primary(self) -> None:
        """Begin anew on the primary."""
        await self._forget()
        self.on_replica = self._replica_failed = False

    async def close(self) -> None:
        """Give back what the operation holds; nothing can be read any more."""
        self._ended = True
        await self._forget()

    async def _forget(self) -> None:
        loaders, self._loaders = self._loaders, None
        if loaders is not None:
            try:
                if self.shared is None:
                    # A server that hangs does not even end a transaction.
                    async with asyncio.timeout_at(self.deadline):
                        await loaders.snapshot.close()
            except TimeoutError:
                pass  # it goes on behind
            finally:
                self._replica_failed |= loaders.snapshot.replica_failed
                self._statements += loaders.snapshot.statements
                self.stopwatch.add(loaders.snapshot.stopwatch)
