"""The API with a provider, in this process: what ``serve`` serves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import httpx

from community_gql.app import Application, create_app
from tests.identity.issuer import AUDIENCE
from tests.support.configured import settings_of
from tests.support.statements import is_command, watched

VIEWER = "{ viewer { email permissions sessionExpiresAt user { id } } }"

_texts: ContextVar[list[str]] = ContextVar("statements of the request")


def _note(text: str) -> None:
    if (texts := _texts.get(None)) is not None and not is_command(text):
        texts.append(text)


_noted = ExitStack()
_noted.enter_context(watched(_note))  # for good


@dataclass(frozen=True)
class Said:
    """An answer, and the statements it took."""

    response: httpx.Response
    statements: list[str]

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def body(self) -> Any:
        return self.response.json()

    @property
    def viewer(self) -> Any:
        """The viewer of an answer that must have no errors."""
        assert self.status == 200, self.response.text
        assert "errors" not in self.body, self.body
        return self.body["data"]["viewer"]

    @property
    def refused(self) -> tuple[int, str]:
        """The status and the code of an answer without data."""
        assert "data" not in self.body
        (error,) = self.body["errors"]
        return self.status, error["extensions"]["code"]

    @property
    def message(self) -> str:
        return str(self.body["errors"][0]["message"])


class Asking:
    """Asks with a token, or with headers of the test's own."""

    def __init__(self, app: Application, http: httpx.AsyncClient) -> None:
        self.app, self.http = app, http

    async def __call__(
        self, token: str | None = None, query: str = VIEWER, /, **variables: Any
    ) -> Said:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return await self.send(headers, query, variables)

    async def send(
        self,
        headers: Any,
        query: str = VIEWER,
        variables: Any = None,
        path: str = "/graphql",
    ) -> Said:
        token = _texts.set([])
        try:
            body = {"query": query, "variables": variables or {}}
            response = await self.http.post(path, json=body, headers=headers)
            return Said(response, _texts.get())
        finally:
            _texts.reset(token)


@asynccontextmanager
async def asking(database_url: str, issuer: str, **settings: Any) -> AsyncIterator[Asking]:
    """The API over the database, for tokens of the issuer at this address."""
    given = {
        "auth0_audience": AUDIENCE,
        "oidc_issuer": issuer,
        # These tests ask a thousand times, on machines that are busy.
        "cost_per_minute": 10**12,
        "hot_documents": 0,
        **settings,
    }
    app = create_app(settings_of(database_url=database_url, pushdown="off", **given))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http,
    ):
        yield Asking(app, http)
