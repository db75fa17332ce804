from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from community_gql.http import explorer
from tests.identity.asking import Asking, asking
from tests.identity.issuer import Issuer, issuing


@pytest.fixture
def page_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page at ``/`` with the explorer's policy, whether or not the explorer is built.

    The page that stands in for an explorer that is not built lets no script ask the API.
    """
    (tmp_path / "index.html").write_text("<!doctype html><title>Home</title>")
    monkeypatch.setattr(explorer, "BUILD", tmp_path)


@pytest.fixture
async def provider() -> AsyncIterator[Issuer]:
    """An issuer on loopback whose answers can be broken."""
    async with issuing() as made:
        yield made


@pytest.fixture
async def ask(database_url: str, provider: Issuer) -> AsyncIterator[Asking]:
    """The API as ``serve`` has it, for the tokens of ``provider``."""
    async with asking(database_url, provider.address) as api:
        yield api
