"""The systems that are compared: how each is started, asked and understood."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson

from benchmarks.asking import HEADERS, Request
from benchmarks.cases import QUERIES, Query
from benchmarks.database import Database
from benchmarks.issuing import AUDIENCE, Issuer
from community_gql.api.ids import write_id
from community_gql.settings import Settings

PEERS = Path(__file__).parent / "peers"
POOL = 10
"""Connections of each system to the database: this project's default."""


@dataclass(frozen=True)
class Surroundings:
    """What a system is given to run in."""

    database: Database
    issuer: Issuer
    port: int


class System:
    """One system; ``name`` chooses it on the command line."""

    name: str
    title: str

    def words(self, given: Surroundings) -> list[str]:
        """The command that starts it. Raises Failed when something that it needs is missing."""
        raise NotImplementedError

    def environment(self, given: Surroundings) -> dict[str, str]:
        """The environment that it is started with."""
        ours = {name.upper() for name in Settings.model_fields}
        kept = {key: item for key, item in os.environ.items() if key.upper() not in ours}
        return {
            **kept,
            "DATABASE_URL": given.database.url,
            "DATABASE_POOL_SIZE": str(POOL),
            "OIDC_ISSUER": given.issuer.address,
            "AUTH0_AUDIENCE": AUDIENCE,
            "PORT": str(given.port),
        }

    def prepare(self, database: Database) -> None:
        """Add to the database what it needs beyond the migrations; may be called again."""

    def answers(self, query: Query) -> bool:
        """Whether it can be asked this."""
        return query.everywhere

    def request(self, query: Query, values: Mapping[str, Any], after: str | None) -> Request:
        """The request for a query with these values."""
        raise NotImplementedError

    def result(self, query: Query, found: Any) -> Any:
        """What is compared of an answer, still in its own spelling."""
        raise NotImplementedError


class GraphQL(System):
    """A system with a GraphQL endpoint whose schema is spelled like this project's."""

    def document(self, query: Query) -> str:
        """The query in its schema."""
        return query.document

    def request(self, query: Query, values: Mapping[str, Any], after: str | None) -> Request:
        variables = {"after": after} if query.pages else self.variables(values)
        return Request.graphql(self.document(query), variables)

    def variables(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The variables of its document."""
        return {("id" if name == "key" else name): item for name, item in values.items()}

    def result(self, query: Query, found: Any) -> Any:
        data = found["data"]
        match query.name:
            case "small":
                return data["user"]
            case "nested":
                return data["users"]
            case "graph":
                viewer = data["viewer"]
                return {
                    "stories": data["stories"],
                    "matches": None if viewer is None else viewer["user"]["matches"],
                }
            case "createStory":
                return data["createStory"]["story"]
        return data["stories"]


class Project(GraphQL):
    """This project, started with its own command as in production."""

    name = "compiled"
    title = "this project, compiled"
    pushdown = "on"

    def answers(self, query: Query) -> bool:
        return True

    def words(self, given: Surroundings) -> list[str]:
        return [str(Path(sys.executable).parent / "community-gql"), "serve"]

    def environment(self, given: Surroundings) -> dict[str, str]:
        return super().environment(given) | {
            "PUSHDOWN": self.pushdown,
            # Limits and budgets are off while measuring.
            "COST_LIMIT": str(10**9),
            "COST_PER_MINUTE": str(10**12),
        }

    def variables(self, values: Mapping[str, Any]) -> dict[str, Any]:
        found = super().variables(values)
        if "id" in found:
            found["id"] = write_id("User", found["id"])
        return found


class LoadersOnly(Project):
    """The same with the compiler switched off."""

    name = "loaders"
    title = "this project, loaders only"
    pushdown = "off"

    def answers(self, query: Query) -> bool:
        return query.everywhere


class HandWritten(System):
    """The endpoint that everything is compared with."""

    name = "handwritten"
    title = "hand-written endpoint"
    paths: Mapping[str, str] = {
        "small": "/people/{key}",
        "nested": "/people",
        "graph": "/graph",
        "list": "/stories",
        "feed": "/feed",
        "page": "/page",
        "createStory": "/stories",
    }

    def answers(self, query: Query) -> bool:
        return query.name in self.paths

    def words(self, given: Surroundings) -> list[str]:
        return [sys.executable, "-m", "benchmarks.peers.handwritten"]

    def request(self, query: Query, values: Mapping[str, Any], after: str | None) -> Request:
        path = self.paths[query.name]
        if query.writes:
            body = orjson.dumps(dict(values, visibility="public"))
            return Request("POST", path, body, HEADERS | {"Content-Type": "application/json"})
        if "{key}" in path:
            return Request("GET", path.format(**values), None, HEADERS)
        given = dict(values) | ({} if after is None else {"after": after})
        return Request("GET", f"{path}?{urlencode(given, doseq=True)}", None, HEADERS)

    def result(self, query: Query, found: Any) -> Any:
        return found


SYSTEMS: tuple[System, ...] = (Project(), LoadersOnly(), HandWritten())
REFERENCE = "handwritten"
ALL_QUERIES = {query.name: query for query in QUERIES}
