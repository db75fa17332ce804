"""Readers who vanish and come back miss nothing, and are told nothing twice or too early.

``python -m tests.http.exactness`` does it with 100,000 changes.
"""

from __future__ import annotations

import pytest

from tests.http.exactness import Options, run

pytestmark = pytest.mark.system


async def test_readers_who_vanish_are_told_each_change_once() -> None:
    options = Options(events=800, readers=10, drops=40, each_second=200, hold=3)
    wrong, made = await run(options, print)
    assert wrong == []
    counts = made.summary()
    assert made.written >= options.events
    assert counts["vanished"] > 10
    for way in ("websocket 0", "websocket 1", "sse 0", "sse 1"):
        assert counts[way] > 0
    events = sum(counts[kind] for kind in ("APPEARED", "CHANGED", "GONE"))
    assert events > 10 * counts["RELOAD"]
