from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from community_gql.dev import filling
from community_gql.identity.development import DevelopmentIssuer
from community_gql.settings.checks import plain_address
from tests.identity.issuer import free_port
from tests.support import server


@dataclass(frozen=True)
class Live:
    """A server of its own process, over a database full of people."""

    origin: str
    database_url: str
    issuer: Path
    workbench: Any

    def token(self, email: str) -> str:
        """What ``community-gql token`` prints for one of the people."""
        sub = self.value("SELECT auth0_sub FROM users WHERE email = $1", email)
        return DevelopmentIssuer(self.issuer).token(sub)

    def value(self, query: str, *given: Any) -> Any:
        """One value out of the database."""
        return self.workbench.run(self._value(query, *given))

    async def _value(self, query: str, *given: Any) -> Any:
        connection = await asyncpg.connect(plain_address(self.database_url))
        try:
            return await connection.fetchval(query, *given)
        finally:
            await connection.close()


@pytest.fixture(scope="session")
def live(
    workbench: Any,
    migrated_template: str,
    worker_id: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Live]:
    name = f"live_{worker_id}"
    workbench.create(name, migrated_template)
    url = workbench.server.url(name)
    workbench.run(filling.fill(url, people=40, progress=lambda *_: None))
    issuer, port = tmp_path_factory.mktemp("issuer"), free_port()
    with server.process(url, issuer, port, cost_per_minute=10**9):
        yield Live(f"http://127.0.0.1:{port}", url, issuer, workbench)
