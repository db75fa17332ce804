"""What the tests of the commands share."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from community_gql.dev.embedded import discard
from community_gql.settings import Settings


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A DATA_DIR of its own; the server that a command started for it is removed."""
    yield tmp_path / "data"
    discard(tmp_path / "data" / "postgres")


@pytest.fixture
def environment(data_dir: Path) -> dict[str, str]:
    unwanted = {name.upper() for name in Settings.model_fields} | {"AUTH0_DOMAIN", "FORCE_COLOR"}
    kept = {key: item for key, item in os.environ.items() if key not in unwanted}
    return {**kept, "DATA_DIR": str(data_dir), "COLUMNS": "100"}


@pytest.fixture
def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
