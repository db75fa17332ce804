from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.http.server import Server, served


@pytest.fixture(scope="module")
def server(
    worker_database: str, workbench: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server for the tests of a module, with little patience."""
    folder: Path = tmp_path_factory.mktemp("serve")
    with served(
        workbench.server.url(worker_database),
        folder,
        header_timeout=1,
        body_timeout=1,
        max_connections=400,
        cost_per_minute=100_000_000,
    ) as running:
        yield running


@pytest.fixture
def pushdown() -> str:
    """These tests break and delay the loaders; compiled queries have tests of their own."""
    return "off"


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loop that ``serve`` runs with: its connections behave as in production."""
    return {"uvloop": uvloop.new_event_loop}
