"""A client of the API for tests: the ASGI app in the same process, without a network."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import httpx

from community_gql.app import create_app
from community_gql.db.database import Database
from community_gql.db.labels import unlabelled
from community_gql.identity.development import DevelopmentIssuer
from tests.support.configured import settings_of
from tests.support.factories import Person
from tests.support.statements import is_command, watched

_texts: ContextVar[list[str]] = ContextVar("statement texts of the request")
_lines: ContextVar[list[logging.LogRecord]] = ContextVar("log lines of the request")


@dataclass(frozen=True)
class Answer:
    """The answer, and the statements and log lines of its request."""

    response: httpx.Response
    statements: list[str]
    """The text of each SQL statement that ran for it."""
    lines: list[logging.LogRecord]
    """What the product logged during the request."""

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def body(self) -> Any:
        """What came back, without what only development adds (``execution``)."""
        body = self.response.json()
        if isinstance(body, dict) and "execution" in (extensions := body.get("extensions", {})):
            del extensions["execution"]
            if not extensions:
                del body["extensions"]
        return body

    @property
    def data(self) -> Any:
        """The data of an answer that must have no errors."""
        assert "errors" not in self.body, self.body["errors"]
        return self.body["data"]

    @property
    def errors(self) -> list[Any]:
        """The errors of an answer that must have some."""
        errors: list[Any] = self.body["errors"]
        return errors

    @property
    def codes(self) -> list[str]:
        """The codes of an answer that must have errors."""
        return [error["extensions"]["code"] for error in self.errors]

    @property
    def way(self) -> str:
        """How it was run: ``compiled``, or ``loaders`` and why."""
        execution = self.response.json()["extensions"]["execution"]
        return " ".join(filter(None, (execution["executor"], execution["fallbackReason"])))

    @property
    def line(self) -> logging.LogRecord:
        """The line of the log for this request."""
        (line,) = [line for line in self.lines if line.name == "community_gql.requests"]
        return line


class Client:
    """Asks the API: ``await api(query, viewer, name=value)``."""

    def __init__(self, http: httpx.AsyncClient, issuer: DevelopmentIssuer) -> None:
        self.http, self.issuer = http, issuer
        self.tokens: dict[tuple[str, ...], str] = {}
        self._met: set[str] = set()

    async def __call__(
        self, query: str, viewer: Person | None = None, /, **variables: Any
    ) -> Answer:
        """The answer to a query over POST, sent by ``viewer`` or anonymously.

        A person's first request looks for their row. It is sent before, and not counted.
        """
        headers = {} if viewer is None else self.authorization(viewer.sub, *viewer.permissions)
        if viewer is not None:
            await self.meet(viewer)
        body = {"query": query, "variables": variables}
        return await self.send("POST", json=body, headers=headers)

    async def meet(self, person: Person) -> None:
        """Make the person's first request, if they have not made it."""
        if person.sub not in self._met:
            self._met.add(person.sub)
            headers = self.authorization(person.sub, *person.permissions)
            # A document that does not exist is not charged to the person's budget.
            await self.http.post("/graphql", json={"documentId": "none"}, headers=headers)

    def authorization(self, sub: str, *permissions: str) -> dict[str, str]:
        """The header that signs in as this person."""
        named = (sub, *permissions)
        if named not in self.tokens:
            self.tokens[named] = self.issuer.token(sub, permissions=permissions)
        return {"Authorization": f"Bearer {self.tokens[named]}"}

    async def send(self, method: str, path: str = "/graphql", **options: Any) -> Answer:
        """The answer to any HTTP request."""
        texts, lines = _texts.set([]), _lines.set([])
        try:
            response = await self.http.request(method, path, **options)
            return Answer(response, _texts.get(), _lines.get())
        finally:
            _texts.reset(texts)
            _lines.reset(lines)


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if (lines := _lines.get(None)) is not None:
            lines.append(record)


def _note(text: str) -> None:
    if (texts := _texts.get(None)) is not None and not is_command(text):
        texts.append(unlabelled(text))


# The app runs in the task of the test, so a context variable separates concurrent requests.
# Outside a request both do nothing.
logging.getLogger("community_gql").addHandler(_Lines())
_noted = ExitStack()
_noted.enter_context(watched(_note))  # for good


class _Database(Database):
    """Notes what needs no transaction."""

    async def value(self, text: str, arguments: Sequence[Any], **options: Any) -> Any:
        _note(text)
        return await super().value(text, arguments, **options)


NEAR_ROWS = 3
"""So few that the tests' lists go on behind them, where filters find rows in their other way."""


@asynccontextmanager
async def serving(
    database_url: str, issuer: DevelopmentIssuer, **settings: Any
) -> AsyncIterator[Client]:
    """A client of an app of its own over the database, without a limit of cost unless given.

    Nothing runs beside its requests that tests would count.
    """
    near_rows = settings.pop("near_rows", NEAR_ROWS)
    settings = {"cost_limit": 10**9, "cost_per_minute": 10**12, "hot_documents": 0} | settings
    logger = logging.getLogger("community_gql")
    level = logger.level
    logger.setLevel(logging.INFO)
    with patch("community_gql.app.Database", _Database):
        app = create_app(
            settings_of(database_url=database_url, **settings),
            development=issuer,
            near_rows=near_rows,
        )
    transport = httpx.ASGITransport(app)
    try:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://test") as http,
        ):
            yield Client(http, issuer)
    finally:
        logger.setLevel(level)
