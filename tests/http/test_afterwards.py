"""The lines of the log that are written for many requests at once."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import signal
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import httpx
import orjson
import pytest

from community_gql.app import create_app
from community_gql.http import afterwards
from community_gql.http.afterwards import SECONDS, TOGETHER, Afterwards
from community_gql.http.request_log import RequestLog
from community_gql.identity.development import DevelopmentIssuer
from community_gql.logs import JsonLinesHandler
from community_gql.telemetry.metrics import Answered, Requests
from tests.http.server import served
from tests.support.configured import settings_of
from tests.support.waiting import until


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is written to a log of JSON lines, by the write."""
    found: list[bytes] = []
    monkeypatch.setattr(os, "write", lambda _, text: found.append(bytes(text)))
    parent, child = logging.Logger("parent", logging.INFO), logging.Logger("parent.child")
    parent.propagate = False
    parent.addHandler(JsonLinesHandler())
    child.parent = parent
    monkeypatch.setattr(afterwards, "_log", child)
    return found


def lines(writes: list[bytes]) -> list[str]:
    return [orjson.loads(line)["message"] for text in writes for line in text.splitlines()]


def asked(name: str) -> RequestLog:
    return RequestLog("POST", operation=name, status=200, type="query", executor="compiled")


async def test_lines_wait_a_moment_and_go_out_in_few_writes(writes: list[bytes]) -> None:
    given = Afterwards()
    names = [f"Some{number}" for number in range(TOGETHER)]
    for name in names[:-1]:
        given.note(asked(name))
    assert writes == []
    before = time.time()
    await until(lambda: writes)

    assert lines(writes) == [f"{name} 200" for name in names[:-1]]
    assert len(writes) < TOGETHER / 5
    # A pipe keeps so much together, whoever else writes to it.
    assert max(map(len, writes)) <= select.PIPE_BUF
    first = orjson.loads(writes[0].splitlines()[0])
    assert datetime.fromisoformat(first["time"]).timestamp() <= before


async def test_many_do_not_wait(writes: list[bytes]) -> None:
    given = Afterwards()
    for number in range(TOGETHER):
        given.note(asked(f"Some{number}"))
    assert len(lines(writes)) == TOGETHER


async def test_nothing_waits_at_the_end(writes: list[bytes]) -> None:
    given = Afterwards()
    given.note(asked("One"))
    given.end()
    given.note(asked("Two"))
    assert lines(writes) == ["One 200", "Two 200"]
    await asyncio.sleep(2 * SECONDS)
    assert len(writes) == 2


async def test_records_do_not_wait(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "community_gql"):
        Afterwards().note(asked("One"))
    assert [record.getMessage() for record in caplog.records] == ["One 200"]


async def test_who_asks_for_metrics_sees_what_was_answered(writes: list[bytes]) -> None:
    counted: list[str | None] = []

    class Counting(Requests):
        def count(self, answered: Iterable[Answered]) -> None:
            counted.extend(one.kind[0] for one in answered)

    given = Afterwards(Counting())
    given.note(asked("One"))
    given.note(asked("Two"), is_counted=False)
    given.catch_up()
    assert counted == ["query"]
    assert len(lines(writes)) == 2


async def test_the_application_ends_with_every_line_written(
    database_url: str,
    issuer: DevelopmentIssuer,
    writes: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(afterwards, "SECONDS", 3600)
    settings = settings_of(database_url=database_url, hot_documents=0)
    app = create_app(settings, development=issuer)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http,
    ):
        await http.post("/graphql", json={"query": "query Last { __typename }"})
        assert "Last 200" not in lines(writes)
    assert "Last 200" in lines(writes)


@pytest.mark.system
@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_ends_has_written_every_line(
    database_url: str, tmp_path: Path, told: signal.Signals
) -> None:
    with served(database_url, tmp_path) as server:
        for _ in range(3):
            httpx.post(f"{server.url}/graphql", json={"query": "query Last { __typename }"})
        server.process.send_signal(told)
        server.process.wait(30)
        messages = [line["message"] for line in server.lines()]
    assert messages.count("Last 200") == 3
