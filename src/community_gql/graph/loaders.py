"""The batches of one operation.

Each is one statement per edge and level, whatever the number of parents.
"""

from __future__ import annotations

from asyncio import Future, shield
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import asyncpg
from aiodataloader import DataLoader

from community_gql.db.database import Snapshot
from community_gql.db.texts import Fixed
from community_gql.errors import AnswerTooLarge
from community_gql.graph.finding import NEAR_ROWS
from community_gql.graph.paging import Page
from community_gql.graph.plans import Batch, Counts, MomentPlan, PagePlan
from community_gql.graph.statements import KEYS
from community_gql.graph.terms import SqlSelect
from community_gql.graph.texts import TOO_MUCH, LongTexts
from community_gql.graph.visibility import Viewer

ROOT = ""
"""The key of a list without a parent."""


@dataclass(frozen=True, slots=True)
class Count:
    """The count of a whole list, read once somebody asks: ``key`` in ``batch``."""

    loaders: Loaders
    batch: Counts
    key: Any

    def __call__(self) -> Future[int]:
        """The number of rows, up to MAX_COUNT + 1."""
        return self.loaders.load(self.batch, self.key)


class Loaders:
    """The batches of one operation, over one snapshot, for one viewer."""

    def __init__(
        self,
        snapshot: Snapshot,
        viewer: Viewer,
        near_rows: int = NEAR_ROWS,
        long_texts: LongTexts | None = None,
    ) -> None:
        self.snapshot, self._long_texts = snapshot, long_texts
        self._binds, self._near_rows = viewer.binds(), near_rows
        if long_texts is not None:
            self._binds |= long_texts.binds()
        self._loaders: dict[Batch, DataLoader[Any, Any]] = {}

    def load(self, batch: Batch, key: Any) -> Future[Any]:
        """What ``batch`` finds for ``key``, together with all keys asked for in this tick."""
        loader = self._loaders.get(batch)
        if loader is None:
            asked: dict[Any, Future[Any]] = {}
            loader = DataLoader(partial(self._dispatch, batch, asked), cache_map=asked)
            self._loaders[batch] = loader
        # All who ask for a key share its future, and the executor cancels those that wait beside an
        # error: each gets one of their own to cancel.
        return shield(loader.load(key))

    def page(self, plan: PagePlan, key: Any, found: list[tuple[Any, Sequence[Any]]]) -> Page:
        """The page of the list that hangs on ``key``, of what ``plan`` found for it."""
        count = Count(self, Counts(plan.edge, plan.filters), key)
        return Page.cut(found, plan.window, plan.cursors, count)

    async def _dispatch(
        self, batch: Batch, asked: dict[Any, Future[Any]], keys: list[Any]
    ) -> list[Any]:
        try:
            return await self.load_all(batch, keys)
        except Exception:
            for key in keys:  # whoever asked may be gone, and nobody else looks at the futures
                asked[key].add_done_callback(Future.exception)
            raise

    async def load_all(self, batch: Batch, keys: list[Any]) -> list[Any]:
        """What ``batch`` finds for each of these keys, by one statement."""
        values = {**self._binds, **batch.values()}
        is_root = isinstance(batch, PagePlan | Counts) and batch.edge.parent is None
        if not (is_root or isinstance(batch, MomentPlan)):
            values[KEYS] = keys
        statement = _fixed(batch.statement(self._near_rows))
        try:
            rows = await self.snapshot.run(statement, values)
        except asyncpg.PostgresError as error:
            most = None if self._long_texts is None else self._long_texts.most
            if most is not None and TOO_MUCH in str(error):
                raise AnswerTooLarge(most) from None
            raise
        return batch.collect(rows, keys)


@lru_cache(maxsize=2048)
def _fixed(statement: SqlSelect) -> Fixed:
    """A statement of a batch, which ``statements.py`` keeps as well."""
    return Fixed(statement)
