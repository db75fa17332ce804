"""All ways of running queries, asked without HTTP, and where their answers differ."""

from __future__ import annotations

import gc
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import orjson
import pytest
from graphql.execution.values import VariableValues, get_variable_values
from graphql.validation.rules import overlapping_fields_can_be_merged as overlapping
from starlette.requests import Request

from community_gql.db.database import Database, opened
from community_gql.graph import plans, statements
from community_gql.graph.visibility import Viewer
from community_gql.http.endpoint import GraphQLEndpoint
from community_gql.http.exchange import EndpointConfig, Runner
from community_gql.http.rate_limit import MemoryBudget
from community_gql.operations import breadth, documents
from community_gql.operations.compiled import Pushdown
from community_gql.operations.pipeline import Operations
from community_gql.operations.shape import LIMITS
from community_gql.schema.executable import core
from tests.operations.operations import Operation
from tests.support.client import NEAR_ROWS

MUCH = 10**12
CONFIG = EndpointConfig(budget=MemoryBudget(MUCH), introspection="everyone")


class _Noted(Pushdown):
    """Remembers how it ran, so that answers need not say."""

    way = ""

    async def run(self, *given: Any, **named: Any) -> Any:
        data, reason = await super().run(*given, **named)
        self.way = "compiled" if reason is None else f"loaders {reason}"
        return data, reason


@dataclass(frozen=True, slots=True)
class Said:
    """What a client gets: the status, and the body as JSON text."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        """The body, without what is another in each answer."""
        body = orjson.loads(self.body)
        for error in body.get("errors", ()):
            error["extensions"].pop("errorId", None)
        return body


class _Authenticate:
    """Takes the viewer from the scope."""

    async def __call__(self, request: Request) -> Viewer:
        viewer: Viewer = request.scope["viewer"]
        return viewer

    async def bearer(self, authorization: str) -> Viewer:
        raise NotImplementedError

    def remembered(self, authorization: bytes) -> Viewer | None:
        raise NotImplementedError

    async def admission(self, *_: Any) -> None:
        raise NotImplementedError

    def forget(self, sub: str) -> None:
        raise NotImplementedError

    def answered(self, *_: Any, **__: Any) -> None:
        """Nobody remembers anything."""


class Ways:
    """Three views over one database: compiled, breadth first, and in graphql-core's executor."""

    def __init__(self, database: Database) -> None:
        self._compiling = _Noted("always")
        self.gave_up: Counter[str] = Counter()
        """How often a query that was run breadth first did not go well, by the kind of error."""
        self._compiled = self._view(database, self._compiling)
        self._others = {
            "breadth first": self._view(database, Pushdown("off")),
            "graphql-core": self._view(database, Pushdown("off"), breadth_first=False),
        }
        # Each document is read once. Reading it is the same for all, and dear.
        for view in self._others.values():
            view.runner.operations.documents = self._compiled.runner.operations.documents

    @staticmethod
    def _view(database: Database, pushdown: Pushdown, **options: Any) -> GraphQLEndpoint:
        operations = Operations(database, cost_limit=MUCH, near_rows=NEAR_ROWS, **options)
        operations.pushdown = pushdown
        return GraphQLEndpoint(Runner(operations, CONFIG), _Authenticate())

    def noting(self, run: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """``run`` of ``breadth``, which counts."""

        async def noted(*given: Any) -> Any:
            try:
                return await run(*given)
            except Exception as error:
                self.gave_up[type(error).__name__] += 1
                raise

        return noted

    def read(self, operation: Operation) -> None:
        """Compare our reading of the variables, which all ways share, with graphql-core's."""
        document = self._compiled.runner.operations.documents.get(operation.text)
        found = document.operation(operation.name)
        definitions = found.node.variable_definitions or ()
        ours = found.variables(operation.variables)
        theirs = get_variable_values(core, definitions, operation.variables)
        if isinstance(ours, VariableValues) and isinstance(theirs, VariableValues):
            assert ours.coerced == theirs.coerced
            given = [{n: s.value for n, s in found.sources.items()} for found in (ours, theirs)]
            assert given[0] == given[1]
        else:
            assert [str(error) for error in ours] == [str(error) for error in theirs]

    async def compare(self, operation: Operation, viewer: Viewer) -> tuple[Said, str]:
        """The compiled answer, which must be that of the others, and which way it took."""
        self.read(operation)
        self._compiling.way = "refused"  # unless it comes to run
        compiled = await _ask(self._compiled, operation, viewer)
        way = self._compiling.way
        for name, view in self._others.items():
            other = await _ask(view, operation, viewer)
            if compiled == other:
                continue
            found = list(differences("status", compiled.status, other.status))
            found += differences("answer", compiled.json, other.json)
            if found:
                asked = f"{operation.text}\n{operation.variables}\n{viewer}\n{way}, {name}"
                pytest.fail("\n".join([*found, asked]), pytrace=False)
        return compiled, way


async def _ask(view: GraphQLEndpoint, operation: Operation, viewer: Viewer) -> Said:
    body = orjson.dumps(
        {
            "query": operation.text,
            "operationName": operation.name,
            "variables": operation.variables,
        }
    )
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/graphql",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"cookie", b"-")],
        "client": None,
        "viewer": viewer,
    }

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    status, told = 0, b""

    async def send(message: Any) -> None:
        nonlocal status, told
        status, told = message.get("status", status), told + message.get("body", b"")

    await view(scope, receive, send)
    return Said(status, told)


def differences(path: str, one: Any, other: Any) -> Iterator[str]:
    """Where two JSON values differ, and how: in values, their kinds, or the order of members.

    1 and 1.0 are the same number, but ``true`` is not 1.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            here, there = one.get(key, "nothing"), other.get(key, "nothing")
            yield from differences(f"{path}.{key}", here, there)
        if one.keys() == other.keys() and list(one) != list(other):
            yield f"{path}: compiled has the order {list(one)}, the other {list(other)}"
    elif isinstance(one, list) and isinstance(other, list):
        for n, (a, b) in enumerate(itertools.zip_longest(one, other, fillvalue="nothing")):
            yield from differences(f"{path}[{n}]", a, b)
    elif isinstance(one, bool) is not isinstance(other, bool) or one != other:
        yield f"{path}: compiled {one!r}, the other {other!r}"


@asynccontextmanager
async def both_ways(database_url: str, **options: Any) -> AsyncIterator[Ways]:
    """Both ways over the database, without most limits: what they refuse is not compared."""
    relaxed = replace(
        LIMITS, aliases=MUCH, fields=MUCH, tokens=MUCH, depth=30, root_fields=MUCH, lists=10
    )
    forget()
    with (
        patch.object(documents, "LIMITS", relaxed),
        patch.object(overlapping, "MAX_COMPLEXITY_BUDGET", MUCH),
    ):
        async with opened(database_url, **options) as database:
            gc.collect()
            gc.freeze()  # collecting what the test run itself holds takes a fifth of the time
            ways = Ways(database)
            with patch.object(breadth, "run", ways.noting(breadth.run)):
                yield ways
            gc.unfreeze()
    forget()


def forget() -> None:
    """Drop the loaders' statements, which hold the rules of visibility."""
    for found in (*vars(statements).values(), *vars(plans).values()):
        if hasattr(found, "cache_clear"):
            found.cache_clear()
