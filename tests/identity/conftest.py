from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.identity.asking import Asking, asking
from tests.identity.issuer import Issuer, issuing


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
