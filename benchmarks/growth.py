"""What a request costs the database with 2,000 people and with fifty times as many.

The cases are made from the schema: every field of the root, and every list in each of its orders,
with each member of its filter, and counted. A new argument without a value here is an error. What
is measured is the processor time of PostgreSQL's sessions, which other work on the machine changes
little, and not the time that passes.

A request that finds more in the larger database, such as a count of 80 that becomes 1,000, has more
to do there however it is done. It is also compared with a database between the two, where it finds
as much, and that comparison counts.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import statistics
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
from graphql import GraphQLEnumType, GraphQLField, GraphQLObjectType, get_named_type
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from strawberry.schema.schema_converter import GraphQLCoreConverter

import community_gql
from benchmarks.database import Database
from benchmarks.processes import Failed
from community_gql.app import create_app
from community_gql.dev.seeding.founders import FOUNDERS
from community_gql.graph.edges import ToPage
from community_gql.identity.development import DevelopmentIssuer
from community_gql.schema.executable import core
from community_gql.schema.ids import write_id
from community_gql.schema.kinds import PageField
from community_gql.settings import Settings

SMALL, BETWEEN, LARGE = 2_000, 20_000, 100_000
"""People of the databases."""
MOST_GROWTH, MOST_MS = 1.5, 100.0
"""What is promised."""
BATCHES = 3
"""Of two requests each."""
MOST_BATCHES = 45
"""Where the error leaves open whether a request grows more than is promised."""
FLOOR_MS = 0.25
"""Growth below this much processor time is not told from noise."""

Step = Callable[[str, int], None]
"""Told of the name of each case that is measured, and how many are left."""

# How to get to one parent of each type that lists hang on.
ROUTES = {
    "Query": "%s",
    "Viewer": "viewer { %s }",
    "User": "user(id: $user) { %s }",
    "Tag": 'tag(name: "growth") { %s }',
    "Story": "story(id: $story) { %s }",
    "Garden": "user(id: $user) { garden { %s } }",
    "Habit": "user(id: $user) { habits(first: 1) { nodes { %s } } }",
}
SCARCE_TAGS = {"hapax": 3, "seldom": 600}
"""Tags that so many stories and people have, however large the community is."""
OTHERS = {"Tag": {f"of {name}": f'tag(name: "{name}") {{ %s }}' for name in SCARCE_TAGS}}
"""How to get to other parents, of which there is less; asked by whoever is signed in."""
LOOKUPS = {
    "viewer": "viewer { email user { id } }",
    "node": "node(id: $story) { id }",
    "nodes": "nodes(ids: [$story, $user]) { id }",
    "user": "user(id: $user) { id profile { displayName } }",
    "story": "story(id: $story) { id title }",
    "tag": 'tag(name: "growth") { id }',
    "moment": "moment",
}
ONE = "quincunx"
"""A word that no story has, until one is given it."""
WORDS = {
    "frequent": '"morning"',
    "of one in a hundred": '"grow"',
    "of one story": f'"{ONE}"',
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
VARIABLES = {"user": "ID!", "story": "ID!", "middle": "DateTime!"}


@dataclass(frozen=True)
class Case:
    """A request that is measured on both databases."""

    name: str
    selection: str
    signed_in: bool
    finds: str = ""
    """A selection that counts what it has to find, where that is not what it answers."""

    @property
    def query(self) -> str:
        """The document."""
        used = [f"${name}: {type_}" for name, type_ in VARIABLES.items() if f"${name}" in self]
        return f"query{'(' + ', '.join(used) + ')' if used else ''} {{ {self.selection} }}"

    def __contains__(self, text: str) -> bool:
        return text in self.selection


@dataclass(frozen=True)
class Cost:
    """Milliseconds of the database's processor time for a request, measured several times."""

    times: tuple[float, ...]
    rows: int = 0
    """How many rows it finds: those of its page, of its count, or those that it ranks."""

    @property
    def ms(self) -> float:
        """The lower quartile: what else the machine does adds to a time, and never takes away."""
        if len(self.times) == 1:
            return self.times[0]
        return statistics.quantiles(self.times, n=4, method="inclusive")[0]

    @property
    def error(self) -> float:
        """Twice the standard error of the median, estimated from the deviations from it."""
        median = statistics.median(self.times)
        deviation = statistics.median(abs(time - median) for time in self.times)
        return float(3.7 * deviation / len(self.times) ** 0.5)


@dataclass(frozen=True)
class Growth:
    """What a request costs on each database."""

    case: Case
    small: Cost
    large: Cost
    between: Cost | None = None
    """Where it finds as much as on the large one, or comes closest to that."""

    @property
    def factor(self) -> float:
        """How many times as dear the larger one is."""
        return _times(self.small.ms, self.large.ms)

    @property
    def finds_more(self) -> bool:
        """Whether it finds more rows on the larger one than its cost may grow by."""
        return self.large.rows > MOST_GROWTH * max(self.small.rows, 1)

    @property
    def like(self) -> Cost:
        """What the larger one is compared with."""
        if self.between is None or not self.finds_more:
            return self.small
        return self.between

    @property
    def fair(self) -> float:
        """The factor, compared with a database where it finds as much, as far as there is one."""
        return _times(self.like.ms, self.large.ms)

    @property
    def grows_by_rows(self) -> bool:
        """Whether it grows no more than the number of rows that it finds."""
        return self.finds_more and self.fair <= self._more_rows

    @property
    def is_open(self) -> bool:
        """Whether the errors leave it open that it grows no more than what it finds."""
        return self.finds_more and not self.is_fair and self._least <= self._more_rows

    @property
    def is_sure(self) -> bool:
        """Whether the errors leave the same answer."""
        like, large = self.like, self.large
        most = _times(like.ms - like.error, large.ms + large.error)
        return not self._least <= MOST_GROWTH <= most

    @property
    def _least(self) -> float:
        like, large = self.like, self.large
        return _times(like.ms + like.error, large.ms - large.error)

    @property
    def _more_rows(self) -> float:
        return self.large.rows / max(self.like.rows, 1)

    @property
    def holds(self) -> bool:
        """Whether it is what is promised."""
        return self.fair <= MOST_GROWTH and self.large.ms <= MOST_MS

    @property
    def is_fair(self) -> bool:
        """Whether it grows no more than is promised, or than what it finds."""
        return self.holds or (self.grows_by_rows and self.large.ms <= MOST_MS)


def _times(small: float, large: float) -> float:
    return max(large, FLOOR_MS) / max(small, FLOOR_MS)


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
                route = _known(ROUTES, type_.name)
                yield from _list_cases(type_.name, name, field, route, "")
                if type_.name != "Viewer":
                    yield from _list_cases(type_.name, name, field, route, "signed out")
                for about, other in OTHERS.get(type_.name, {}).items():
                    yield from _list_cases(type_.name, name, field, other, about)
    assert core.query_type is not None
    for name, field in core.query_type.fields.items():
        if not isinstance(declared(field), PageField):
            yield Case(name, _known(LOOKUPS, name), True)


def _known(values: Mapping[str, Any], name: str) -> Any:
    if name not in values:
        raise Failed(f"benchmarks/growth.py has no value for {name}")
    return values[name]


def _list_cases(
    parent: str, name: str, field: GraphQLField, route: str, about_all: str
) -> Iterator[Case]:
    edge = declared(field).source
    orders = get_named_type(field.args["orderBy"].type)
    assert isinstance(orders, GraphQLEnumType)
    note, signed_in = about_all and f", {about_all}", about_all != "signed out"

    def asked(arguments: Sequence[str], members: str) -> str:
        given = f"({', '.join(arguments)})" if arguments else ""
        return str(route % f"{name}{given} {{ {members} }}")

    def case(about: str, arguments: Sequence[str], members: str, finds: str = "") -> Case:
        label = f"{'' if parent == 'Query' else parent + '.'}{name} {about}".strip()
        return Case(f"{label}{note}", asked(arguments, members), signed_in, finds)

    for order in orders.values:
        needs = edge.orders[order].needs
        for about, written in _filters(field):
            if needs is not None and needs not in written:
                continue
            filters = [f"filter: {{{written}}}"] if written else []
            given = [f"orderBy: {order}", *filters]
            # The best of many are found by ranking all of them, and so are the first of those whom
            # an index finds that has no order.
            by_rank = edge.orders[order].pool is not None or _has_no_order(edge, written)
            ranked = asked(filters, "totalCount") if by_rank else ""
            yield case(f"{order} {about}".strip(), [*given, "first: 20"], "nodes { id }", ranked)
            if not written:
                yield case(f"{order} from the end", [*given, "last: 20"], "nodes { id }")
    for about, written in _filters(field):
        given = [f"filter: {{{written}}}"] if written else []
        yield case(f"counted {about}".strip(), given, "totalCount totalCountIsExact")


def _has_no_order(edge: ToPage, written: str) -> bool:
    return any(
        member.found is not None and f"{name}:" in written for name, member in edge.filters.items()
    )


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
        _give_one_story_its_word(database)
        _give_some_a_scarce_tag(database)
        self.variables = self._values()

    def _values(self) -> dict[str, str]:
        (row,) = self.database.rows(f"""
            SELECT u.public_id, s.id AS story, s.middle
            FROM users u, (
              SELECT max(id) AS id,
                (SELECT created_at FROM stories ORDER BY id
                 OFFSET (SELECT count(*) / 2 FROM stories) LIMIT 1) AS middle
              FROM stories WHERE visibility = 'public'
            ) AS s
            WHERE u.auth0_sub = '{FOUNDERS[0].auth0_sub}'
        """)
        return {
            "user": write_id("User", row["public_id"]),
            "story": write_id("Story", row["story"]),
            "middle": row["middle"],
        }

    def _sessions(self) -> list[int]:
        found = self.database.run(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name = 'community-gql'"
        )
        return [int(pid) for pid in found.split()]

    async def ask(self, case: Case) -> Any:
        """Send it once, and return its data. Raises Failed when it is not answered."""
        variables = {name: value for name, value in self.variables.items() if f"${name}" in case}
        answer = await self._http.post(
            "/graphql",
            json={"query": case.query, "variables": variables},
            headers=self._headers if case.signed_in else {},
        )
        if answer.status_code != 200 or "errors" in answer.json():
            raise Failed(f"{case.name}: {answer.text[:500]}")
        return answer.json()["data"]

    async def rows(self, case: Case) -> int:
        """How many rows the request finds."""
        if case.finds:
            case = replace(case, selection=case.finds, finds="")
        return rows_of(await self.ask(case))

    async def ms(self, case: Case, size: int = 2) -> float:
        """Milliseconds of the database's processor time for a request, of some in a row."""
        before = {pid: on_cpu(pid) for pid in self._sessions()}
        for _ in range(size):
            await self.ask(case)
        return sum(on_cpu(pid) - ns for pid, ns in before.items()) / size / 1e6


async def costs(
    case: Case, on: Mapping[str, Asking], batches: int, known: Mapping[str, Cost]
) -> dict[str, Cost]:
    """What a request costs on each database, together with what is ``known``.

    They are asked in turns: the speed of the machine may change within a second.
    """
    found = {
        name: known[name] if name in known else Cost((), await there.rows(case))
        for name, there in on.items()
    }
    for there in on.values():
        for _ in range(2):
            await there.ask(case)
    for _ in range(batches):
        for name, there in on.items():
            found[name] = Cost((*found[name].times, await there.ms(case)), found[name].rows)
    return found


def rows_of(data: Any) -> int:
    """The number in an answer: of a count, or of the nodes of the longest list."""
    if not isinstance(data, dict):
        return 0
    if "totalCount" in data:
        return int(data["totalCount"])
    nodes = data.get("nodes")
    inside = nodes if isinstance(nodes, list) else list(data.values())
    return max([len(nodes) if isinstance(nodes, list) else 0, *map(rows_of, inside)])


def _give_one_story_its_word(database: Database) -> None:
    database.run(f"""
        UPDATE stories SET content = content || ' {ONE}'
        WHERE id = (SELECT max(id) FROM stories WHERE visibility = 'public')
          AND NOT EXISTS (SELECT FROM stories WHERE search @@ to_tsquery('english', '{ONE}'))
    """)


def _give_some_a_scarce_tag(database: Database) -> None:
    for name, count in SCARCE_TAGS.items():
        if database.rows(f"SELECT id FROM tags WHERE name = '{name}'"):
            continue
        database.run(f"""
            INSERT INTO tags (name) VALUES ('{name}');
            INSERT INTO story_tags (story_id, tag_id)
            SELECT s.id, t.id FROM tags t,
              (SELECT id FROM stories ORDER BY hashint8(id) LIMIT {count}) s
            WHERE t.name = '{name}';
            INSERT INTO user_tags (user_id, tag_id)
            SELECT u.auth0_sub, t.id FROM tags t,
              (SELECT auth0_sub FROM users ORDER BY hashtext(auth0_sub) LIMIT {count}) u
            WHERE t.name = '{name}'
        """)
        database.run("VACUUM (ANALYZE)")


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


@contextlib.contextmanager
def progress(console: Console) -> Iterator[Step]:
    """A bar with the time that is left; without a terminal, nothing until the end."""
    text = TextColumn("{task.completed} of {task.total} {task.description}", markup=False)
    with Progress(BarColumn(), TimeRemainingColumn(), text, console=console) as bar:
        task, done = bar.add_task("", total=None), 0

        def step(name: str, left: int) -> None:
            nonlocal done
            done += 1
            bar.update(task, completed=done, total=done + left, description=name)

        yield step


class Kept:
    """What was measured so far, in a file: an interrupted run is continued by the next.

    Figures of other code or of other databases are forgotten.
    """

    def __init__(self, file: Path, *databases: Database) -> None:
        self._file, self._of = file, _state_of(databases)
        self._found: dict[str, dict[str, Any]] = {}
        with contextlib.suppress(OSError, ValueError):
            kept = json.loads(file.read_text(encoding="utf-8"))
            if kept["of"] == self._of:
                self._found = kept["found"]

    def of(self, case: Case) -> Growth | None:
        """What is known of a case."""
        found = self._found.get(case.name)
        if found is None:
            return None
        return Growth(case, **{name: Cost(tuple(times), n) for name, (times, n) in found.items()})

    def keep(self, growth: Growth) -> None:
        """Keep what is known of a case."""
        costs = {"small": growth.small, "large": growth.large, "between": growth.between}
        self._found[growth.case.name] = {
            name: [cost.times, cost.rows] for name, cost in costs.items() if cost is not None
        }
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps({"of": self._of, "found": self._found}), encoding="utf-8")

    def forget(self) -> None:
        """Begin anew next time."""
        self._file.unlink(missing_ok=True)


def _state_of(databases: Sequence[Database]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for file in [Path(__file__), *sorted(Path(community_gql.__file__).parent.rglob("*.py"))]:
        digest.update(file.read_bytes())
    return " ".join((digest.hexdigest(), *(database.name for database in databases)))


async def measured(
    databases: Mapping[str, Database], chosen: Sequence[Case], step: Step, kept: Kept | None = None
) -> list[Growth]:
    """What each case takes on the databases ``small``, ``large``, and maybe ``between``.

    ``step`` is told of each that is done, and how many are left. Cases that seem not to hold are
    measured again at the end, until that is sure, and those that seem to grow more than what they
    find once more after that: what disturbs the machine may last for seconds.
    """
    found: dict[str, Growth] = {}
    async with contextlib.AsyncExitStack() as stack:
        on = {name: await stack.enter_async_context(asking(at)) for name, at in databases.items()}

        def note(growth: Growth, left: int) -> None:
            found[growth.case.name] = growth
            if kept is not None:
                kept.keep(growth)
            step(growth.case.name, left)

        for number, case in enumerate(chosen, 1):
            growth = kept.of(case) if kept is not None else None
            if growth is None:
                both = {name: on[name] for name in ("small", "large")}
                found_there = await costs(case, both, BATCHES, {})
                growth = Growth(case, found_there["small"], found_there["large"])
            if growth.finds_more and growth.between is None and "between" in on:
                growth = await _longer(growth, {name: on[name] for name in ("between", "large")})
            note(growth, len(chosen) - number)
        for most, settled in ((MOST_BATCHES, "holds"), (2 * MOST_BATCHES, "is_fair")):
            again = [case for case in chosen if not getattr(found[case.name], settled)]
            for number, case in enumerate(again, 1):
                growth = found[case.name]
                while not growth.holds and len(growth.large.times) < most:
                    compared = ("small" if growth.like is growth.small else "between", "large")
                    growth = await _longer(growth, {name: on[name] for name in compared})
                    if growth.is_sure:
                        break
                note(growth, len(again) - number)
    return [found[case.name] for case in chosen]


async def _longer(growth: Growth, on: Mapping[str, Asking]) -> Growth:
    """Measure it once more on these databases."""
    known = {"small": growth.small, "large": growth.large}
    if growth.between is not None:
        known["between"] = growth.between
    known |= await costs(growth.case, on, 2 * BATCHES, known)
    return replace(growth, small=known["small"], large=known["large"], between=known.get("between"))


def table(found: Sequence[Growth], sizes: Mapping[str, Mapping[str, int]]) -> str:
    """The tables as Markdown: each list, what does not hold, and everything.

    ``sizes`` are the rows of the tables of each database, by its name.
    """
    broken = [growth for growth in found if not growth.holds]
    unfair = sum(not growth.is_fair for growth in broken)
    plain = sum(growth.factor > MOST_GROWTH or growth.large.ms > MOST_MS for growth in found)
    lines = [
        "# Growth",
        "",
        "What a request costs the database with fifty times the rows: milliseconds of the",
        "processor time of PostgreSQL's sessions, lower quartiles, made by `make bench "
        "ARGS=--growth`.",
        "",
        *(
            f"- {name}: " + ", ".join(f"{count:,} {what}" for what, count in rows.items())
            for name, rows in sizes.items()
        ),
        "",
        f"{len(found)} requests: every field of the root, every list in each of its orders, with "
        "each member",
        f"of its filter, and counted. Below {FLOOR_MS} ms growth is not told from noise. The tags "
        "that are asked for",
        "are a popular one, and two that as many stories and people have in each database: "
        + " and ".join(f"{name} ({count})" for name, count in SCARCE_TAGS.items())
        + ".",
        "",
        f"From small to large {plain} grow more than {MOST_GROWTH} times (*growth*), but some of "
        "them find more",
        "there: a count of 80 becomes one of 1,000, and the best of 80 matches, or the first of 80 "
        "people of a name,",
        f"become those of 1,000 (*rows*). Where a request finds more than {MOST_GROWTH} times as "
        "many, it is compared with",
        "*between*, where it finds as many or comes closest (*alike*). So compared "
        f"{len(found) - len(broken)} grow at most {MOST_GROWTH} times and",
        f"take at most {MOST_MS:.0f} ms. Of the others {len(broken) - unfair} grow no more than "
        "what they find, of which no other",
        f"database has as much, and {unfair} grow more than that (**!**); the errors leave it open "
        f"of {sum(growth.is_open for growth in broken)} of these.",
        "",
        *_by_list(found),
    ]
    if broken:
        lines += ["", "## What grows more", "", *_rows(broken)]
    return "\n".join([*lines, "", "## Everything", "", *_rows(found)]) + "\n"


def _by_list(found: Sequence[Growth]) -> Iterator[str]:
    """A row for each list, in each order or counted: the first two words of the names."""
    yield ("| list | requests | grow more | more than rows | median growth | most | longest, ms |")
    yield "|---|---:|---:|---:|---:|---:|---:|"
    groups: dict[str, list[Growth]] = {}
    for growth in found:
        words = growth.case.name.replace(",", "").split()
        groups.setdefault(" ".join(words[:2]), []).append(growth)
    for name, group in groups.items():
        factors = [growth.factor for growth in group]
        yield (
            f"| {name} | {len(group)} | {sum(factor > MOST_GROWTH for factor in factors)} "
            f"| {sum(not growth.is_fair for growth in group)} "
            f"| {statistics.median(factors):.1f} | {max(factors):.1f} "
            f"| {max(growth.large.ms for growth in group):.1f} |"
        )


def _rows(found: Sequence[Growth]) -> Iterator[str]:
    """Each request signed in or out, whichever grows more; the fastest growing first."""
    worst: dict[str, Growth] = {}
    for growth in sorted(found, key=lambda growth: growth.fair):
        worst[growth.case.name.removesuffix(", signed out")] = growth
    yield "| request | small | rows | large | rows | growth | between | rows | alike |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    for name, growth in sorted(worst.items(), key=lambda item: -item[1].fair):
        small, large, like = growth.small, growth.large, growth.like
        mark = "" if growth.is_fair else " **!**"
        between = f"{_ms(like)} | {like.rows:,}" if like is not small else "|"
        yield (
            f"| {name} | {_ms(small)} | {small.rows:,} | {_ms(large)} | {large.rows:,} "
            f"| {growth.factor:.1f} | {between} | {growth.fair:.1f}{mark} |"
        )


def _ms(cost: Cost) -> str:
    return f"{cost.ms:.2f} ± {cost.error:.2f}"
