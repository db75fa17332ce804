"""Seeing what runs on the driver itself, which no event of SQLAlchemy sees.

That is what actions write with, and what begins and ends their transactions: ``BEGIN``, ``COMMIT``
and ``ROLLBACK``, unless a statement stands alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg

from community_gql.db.pool import Lent, Pool

Listener = Callable[[str], Any]

_before: list[Listener] = []
_after: list[Listener] = []
_failed: list[Callable[[str, asyncpg.PostgresError], None]] = []

_rows, _command = Pool.rows, Pool.command


async def _told(listeners: list[Listener], text: str) -> None:
    for listener in listeners.copy():
        result = listener(text)
        if inspect.isawaitable(result):
            await result


async def _watched_rows(self: Pool, lent: Lent, text: str, arguments: Any) -> Any:
    await _told(_before, text)
    try:
        rows = await _rows(self, lent, text, arguments)
    except asyncpg.PostgresError as error:
        for listener in _failed.copy():
            listener(text, error)
        raise
    await _told(_after, text)
    return rows


async def _watched_command(self: Pool, lent: Lent, text: str, **options: Any) -> None:
    await _told(_before, text)
    await _command(self, lent, text, **options)
    await _told(_after, text)


Pool.rows = _watched_rows  # type: ignore[method-assign]
Pool.command = _watched_command  # type: ignore[method-assign]


@contextmanager
def watched(
    before: Listener | None = None,
    after: Listener | None = None,
    failed: Callable[[str, asyncpg.PostgresError], None] | None = None,
) -> Iterator[None]:
    """Call these (and await what they return) around each statement, with its text."""
    added: list[tuple[list[Any], Any]] = [
        (listeners, listener)
        for listeners, listener in ((_before, before), (_after, after), (_failed, failed))
        if listener is not None
    ]
    for listeners, listener in added:
        listeners.append(listener)
    try:
        yield
    finally:
        for listeners, listener in added:
            listeners.remove(listener)


def is_command(text: str) -> bool:
    """Whether it begins or ends a transaction."""
    return text.split()[0] in ("BEGIN", "COMMIT", "ROLLBACK")
