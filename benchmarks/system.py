"""What a system is to the benchmark: how it is started, asked and understood."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.asking import Request
from benchmarks.cases import Query
from benchmarks.database import Database
from benchmarks.issuing import AUDIENCE, Issuer
from community_gql.settings import Settings

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
    settles: float = 0
    """Seconds after which it answers a document that it has seen in the way that it will keep."""

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
