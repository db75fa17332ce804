"""The systems that are compared."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson

from benchmarks.asking import HEADERS, Request
from benchmarks.cases import Query
from benchmarks.database import Database
from benchmarks.peers.postgraphile import DOCUMENTS
from benchmarks.processes import Failed
from benchmarks.system import GraphQL, Surroundings, System
from community_gql.schema.ids import write_id

NODE = Path(__file__).parent / "peers" / "node"
NODE_RELEASE = 22


class Project(GraphQL):
    """This project, started with its own command as in production."""

    name = "compiled"
    title = "this project, compiled"
    pushdown = "on"
    settles = 1.0

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
    settles = 0

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


class Strawberry(GraphQL):
    """Strawberry as its documentation teaches it."""

    name = "strawberry"
    title = "idiomatic Strawberry"

    def words(self, given: Surroundings) -> list[str]:
        return [sys.executable, "-m", "benchmarks.peers.strawberry_orm"]


class OnNode(GraphQL):
    """A system on Node; its packages are installed by `make bench`."""

    script: str

    def words(self, given: Surroundings) -> list[str]:
        return [node(), str(NODE / self.script)]

    def environment(self, given: Surroundings) -> dict[str, str]:
        return super().environment(given) | {"NODE_ENV": "production"}


class PostGraphile(OnNode):
    """PostGraphile 5 with a policy of visibility."""

    name = "postgraphile"
    title = "PostGraphile 5 with row-level security"
    script = "postgraphile.mjs"

    def document(self, query: Query) -> str:
        return DOCUMENTS[query.name]

    def result(self, query: Query, found: Any) -> Any:
        data = found["data"]
        if query.name == "graph" and data["viewer"] is not None:  # it is the person themselves
            data["viewer"] = {"user": data["viewer"]}
        return super().result(query, found)

    def prepare(self, database: Database) -> None:
        database.run((NODE / "postgraphile.sql").read_text())

    def environment(self, given: Surroundings) -> dict[str, str]:
        url = given.database.url.replace("://postgres@", "://benchmark_postgraphile@")
        return super().environment(given) | {"DATABASE_URL": url, "GRAPHILE_ENV": "production"}


class Mercurius(OnNode):
    """Mercurius with JIT and loaders."""

    name = "mercurius"
    title = "Mercurius with JIT and loaders"
    script = "mercurius.mjs"


def node() -> str:
    """The Node to run the peers: the one of their lock, or this machine's. Raises Failed."""
    if not (NODE / "node_modules" / "mercurius").is_dir():
        raise Failed("its packages are not installed: `make bench` does that with npm")
    for folder in sorted((NODE / "node_modules").glob("node-linux-*")):
        return str(folder / "bin" / "node")
    if (found := shutil.which("node")) is None:
        raise Failed("node is not installed")
    said = subprocess.run([found, "--version"], capture_output=True, text=True).stdout
    if int(said.lstrip("v").partition(".")[0]) < NODE_RELEASE:
        raise Failed(f"Node {NODE_RELEASE} or newer is needed, and {found} is {said.strip()}")
    return found


SYSTEMS: tuple[System, ...] = (
    Project(),
    LoadersOnly(),
    HandWritten(),
    PostGraphile(),
    Mercurius(),
    Strawberry(),
)
REFERENCE = HandWritten.name
