"""What a request costs the database with 2,000 people and with fifty times as many.

The cases are made from the schema: every field of the root, and every list in each of its orders,
with each member of its filter, and counted. A new argument without a value here is an error. What
is measured is the processor time of PostgreSQL's sessions, which other work on the machine changes
little, and not the time that passes.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from graphql import GraphQLEnumType, GraphQLField, GraphQLObjectType, get_named_type
from strawberry.schema.schema_converter import GraphQLCoreConverter

from benchmarks.database import Database, Say
from benchmarks.processes import Failed
from community_gql.app import create_app
from community_gql.dev.seeding.founders import FOUNDERS
from community_gql.identity.development import DevelopmentIssuer
from community_gql.schema.executable import core
from community_gql.schema.ids import write_id
from community_gql.schema.kinds import PageField
from community_gql.settings import Settings

SMALL, LARGE = 2_000, 100_000
"""People of the two databases."""
MOST_GROWTH, MOST_MS = 1.5, 100.0
"""What is promised."""
FLOOR_MS = 0.25
"""Growth below this much processor time is not told from noise."""

# How to get to one parent of each type that lists hang on.
ROUTES = {
    "Query": "%s",
    "Viewer": "viewer { %s }",
    "User": "user(id: $user) { %s }",
    "Tag": 'tag(name: "growth") { %s }',
}
LOOKUPS = {
    "viewer": "viewer { email user { id } }",
    "node": "node(id: $story) { id }",
    "nodes": "nodes(ids: [$story, $user]) { id }",
    "user": "user(id: $user) { id profile { displayName } }",
    "story": "story(id: $story) { id title }",
    "tag": 'tag(name: "growth") { id }',
    "moment": "moment",
}
WORDS = {
    "frequent": '"morning"',
    "of one story": "$word",
    "of no story": '"xylophonist"',
    "with exclusion": '"morning -evening"',
}
VALUES: dict[str, dict[str, str]] = {
    "StoryFilter.search": WORDS,
    "StoryFilter.tagsAny": {"two": '["growth", "family"]', "unknown": '["xylophonist"]'},
    "StoryFilter.tagsAll": {"two": '["growth", "family"]', "unknown": '["xylophonist"]'},
    "StoryFilter.createdAfter": {"most": '"2015-01-01T00:00:00Z"', "none": '"2100-01-01"'},
    "StoryFilter.createdBefore": {"half": "$middle", "none": '"2000-01-01T00:00:00Z"'},
    "UserStoryFilter.visibility": {"public": "PUBLIC", "private": "PRIVATE"},
    "UserFilter.search": {
        "common first name": '"maria"',
        "whole name": '"ada lovelace"',
        "one letter": '"m"',
        "nobody": '"xylophonist"',
    },
    "UserFilter.tag": {"popular": '"growth"', "unknown": '"xylophonist"'},
    "TagFilter.prefix": {"letter": '"g"', "unknown": '"xylophonist"'},
}
VALUES["StoryFilter.createdAfter"]["none"] = '"2100-01-01T00:00:00Z"'
for _name in ("search", "tagsAny", "tagsAll", "createdAfter", "createdBefore"):
    VALUES[f"UserStoryFilter.{_name}"] = VALUES[f"StoryFilter.{_name}"]
VARIABLES = {"user": "ID!", "story": "ID!", "word": "String!", "middle": "DateTime!"}


@dataclass(frozen=True)
class Case:
    """A request that is measured on both databases."""

    name: str
    selection: str
    signed_in: bool

    @property
    def query(self) -> str:
        """The document."""
        used = [f"${name}: {type_}" for name, type_ in VARIABLES.items() if f"${name}" in self]
        return f"query{'(' + ', '.join(used) + ')' if used else ''} {{ {self.selection} }}"

    def __contains__(self, text: str) -> bool:
        return text in self.selection


@dataclass(frozen=True)
class Growth:
    """Milliseconds of the database's processor time for a request to each database."""

    case: Case
    small: float
    large: float

    @property
    def factor(self) -> float:
        """How many times as dear the larger one is."""
        return max(self.large, FLOOR_MS) / max(self.small, FLOOR_MS)

    @property
    def holds(self) -> bool:
        """Whether it is what is promised."""
        return self.factor <= MOST_GROWTH and self.large <= MOST_MS


def declared(field: GraphQLField) -> Any:
    """The declaration behind a field of the schema."""
    return (field.extensions or {}).get(GraphQLCoreConverter.DEFINITION_BACKREF)


def cases() -> Iterator[Case]:
    """Every case. Raises Failed when the schema has something for which there is no value."""
    for type_ in core.type_map.values():
        if not isinstance(type_, GraphQLObjectType) or type_.name.startswith("__"):
            continue
        for name, field in type_.fields.items():
            if isinstance(declared(field), PageField):
                for signed_in in (True,) if type_.name == "Viewer" else (True, False):
                    yield from _list_cases(type_.name, name, field, signed_in)
    assert core.query_type is not None
    for name, field in core.query_type.fields.items():
        if not isinstance(declared(field), PageField):
            yield Case(name, _known(LOOKUPS, name), True)


def _known(values: Mapping[str, Any], name: str) -> Any:
    if name not in values:
        raise Failed(f"benchmarks/growth.py has no value for {name}")
    return values[name]


def _list_cases(parent: str, name: str, field: GraphQLField, signed_in: bool) -> Iterator[Case]:
    route = _known(ROUTES, parent)
    edge = declared(field).source
    orders = get_named_type(field.args["orderBy"].type)
    assert isinstance(orders, GraphQLEnumType)
    who = "" if signed_in else ", signed out"

    def case(about: str, arguments: Sequence[str], members: str) -> Case:
        given = f"({', '.join(arguments)})" if arguments else ""
        label = f"{'' if parent == 'Query' else parent + '.'}{name} {about}".strip()
        return Case(f"{label}{who}", route % f"{name}{given} {{ {members} }}", signed_in)

    for order in orders.values:
        needs = edge.orders[order].needs
        for about, written in _filters(field):
            if needs is not None and needs not in written:
                continue
            given = [f"orderBy: {order}", *([f"filter: {{{written}}}"] if written else [])]
            yield case(f"{order} {about}".strip(), [*given, "first: 20"], "nodes { id }")
            if not written:
                yield case(f"{order} from the end", [*given, "last: 20"], "nodes { id }")
    for about, written in _filters(field):
        given = [f"filter: {{{written}}}"] if written else []
        yield case(f"counted {about}".strip(), given, "totalCount totalCountIsExact")


def _filters(field: GraphQLField) -> Iterator[tuple[str, str]]:
    """Each filter: none, each value of each member, and each search in each window."""
    yield "", ""
    if "filter" not in field.args:
        return
    type_: Any = get_named_type(field.args["filter"].type)
    filters = declared(field).source.filters
    python = {name: member.out_name or name for name, member in type_.fields.items()}
    for name in type_.fields:
        for about, value in _known(VALUES, f"{type_.name}.{name}").items():
            yield f"{name}: {about}", f"{name}: {value}"
    windows = [name for name in type_.fields if _declared_as(filters, python[name]).window]
    for scarce in [name for name in type_.fields if _declared_as(filters, python[name]).scarce]:
        for window in windows:
            for one, value in _known(VALUES, f"{type_.name}.{scarce}").items():
                for two, moment in _known(VALUES, f"{type_.name}.{window}").items():
                    yield (
                        f"{scarce}: {one}, {window}: {two}",
                        f"{scarce}: {value}, {window}: {moment}",
                    )


def _declared_as(filters: Mapping[str, Any], name: str) -> Any:
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
    return filters[snake]


class Asking:
    """The application over one database, and what its sessions take there."""

    def __init__(self, database: Database, http: httpx.AsyncClient, token: str) -> None:
        self.database, self._http = database, http
        self._headers = {"Authorization": f"Bearer {token}"}
        self.variables = self._values()

    def _values(self) -> dict[str, str]:
        (row,) = self.database.rows(f"""
            SELECT u.public_id, s.id AS story, s.middle, s.word
            FROM users u, (
              SELECT max(id) AS id,
                (SELECT created_at FROM stories ORDER BY id
                 OFFSET (SELECT count(*) / 2 FROM stories) LIMIT 1) AS middle,
                (SELECT word FROM ts_stat(
                   'SELECT search FROM stories ORDER BY id LIMIT 1000') ORDER BY nentry, word
                 LIMIT 1) AS word
              FROM stories WHERE visibility = 'public'
            ) AS s
            WHERE u.auth0_sub = '{FOUNDERS[0].auth0_sub}'
        """)
        return {
            "user": write_id("User", row["public_id"]),
            "story": write_id("Story", row["story"]),
            "middle": row["middle"],
            "word": row["word"],
        }

    def _sessions(self) -> list[int]:
        found = self.database.run(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name = 'community-gql'"
        )
        return [int(pid) for pid in found.split()]

    async def ask(self, case: Case) -> None:
        """Send it once. Raises Failed when it is not answered."""
        variables = {name: value for name, value in self.variables.items() if f"${name}" in case}
        answer = await self._http.post(
            "/graphql",
            json={"query": case.query, "variables": variables},
            headers=self._headers if case.signed_in else {},
        )
        if answer.status_code != 200 or "errors" in answer.json():
            raise Failed(f"{case.name}: {answer.text[:500]}")

    async def cost(self, case: Case, batches: int = 5, size: int = 3) -> float:
        """Milliseconds of the database's processor time: the median of a few batches."""
        for _ in range(2):
            await self.ask(case)
        found = []
        for _ in range(batches):
            before = {pid: on_cpu(pid) for pid in self._sessions()}
            for _ in range(size):
                await self.ask(case)
            found.append(sum(on_cpu(pid) - ns for pid, ns in before.items()) / size / 1e6)
        return statistics.median(found)


def on_cpu(pid: int) -> int:
    """Nanoseconds that a process has had a processor."""
    with contextlib.suppress(FileNotFoundError):
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
    return 0


@contextlib.asynccontextmanager
async def asking(database: Database) -> AsyncIterator[Asking]:
    """The application in this process, over ``database``."""
    with tempfile.TemporaryDirectory() as folder:
        issuer = DevelopmentIssuer(Path(folder))
        settings = Settings.load(
            database_url=database.url,
            pushdown="always",
            database_pool_size=1,
            cost_limit=10**9,
            cost_per_minute=10**12,
        )
        app = create_app(settings, development=issuer)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://bench", timeout=60) as http,
        ):
            yield Asking(database, http, issuer.token(FOUNDERS[0].auth0_sub))


async def measured(
    small: Database, large: Database, chosen: Sequence[Case], say: Say
) -> list[Growth]:
    """What each case takes on both."""
    found = []
    async with asking(small) as few, asking(large) as many:
        for number, case in enumerate(chosen):
            if number % 25 == 0:
                say(f"case {number + 1} of {len(chosen)}: {case.name}")
            found.append(Growth(case, await few.cost(case), await many.cost(case)))
    return found


def table(found: Sequence[Growth], small: Mapping[str, int], large: Mapping[str, int]) -> str:
    """The table as Markdown, the fastest growing first."""
    broken = [growth for growth in found if not growth.holds]
    lines = [
        "# Growth",
        "",
        "What a request costs the database with fifty times the rows: milliseconds of the",
        "processor time of PostgreSQL's sessions, medians, made by `make bench ARGS=--growth`.",
        "",
        *(
            f"- {name}: " + ", ".join(f"{count:,} {what}" for what, count in sizes.items())
            for name, sizes in (("before", small), ("after", large))
        ),
        "",
        f"{len(found)} requests: every field of the root, every list in each of its orders, with "
        "each member",
        f"of its filter, and counted. {len(found) - len(broken)} grow at most {MOST_GROWTH} times "
        f"and take at most {MOST_MS:.0f} ms;",
        f"below {FLOOR_MS} ms growth is not told from noise. "
        + (f"{len(broken)} do not:" if broken else "None does not."),
        "",
        "| request | before | after | growth |",
        "|---|---:|---:|---:|",
    ]
    for growth in sorted(found, key=lambda growth: -growth.factor):
        mark = "" if growth.holds else " **!**"
        lines.append(
            f"| {growth.case.name} | {growth.small:.2f} | {growth.large:.2f} "
            f"| {growth.factor:.1f}{mark} |"
        )
    return "\n".join(lines) + "\n"
