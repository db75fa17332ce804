"""What is left to the loaders: each reason that ``docs/pushdown.md`` lists, made to happen."""

from __future__ import annotations

import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from graphql import parse
from strawberry.schema.schema_converter import GraphQLCoreConverter

import factories as make
from community_gql.api.context import Context
from community_gql.api.schema import core
from community_gql.database import Database, opened
from community_gql.pushdown import compiler, execution
from community_gql.pushdown.execution import Pushdown
from community_gql.visibility import ANONYMOUS, Viewer

GUIDE = (Path(__file__).parents[2] / "docs" / "pushdown.md").read_text(encoding="utf-8")
QUERY = "{ tags { totalCount } }"
NUMBERED = "query($n: Int!) { users(first: $n) { totalCount } }"


@dataclass
class Bench:
    """What the ways to a reason need."""

    database: Database
    db: asyncpg.Connection
    monkeypatch: pytest.MonkeyPatch
    points: int = 10**9

    async def why(self, pushdown: Pushdown, text: str = QUERY, /, **variables: Any) -> str:
        """Why the loaders must run the query."""
        return await self.why_for(ANONYMOUS, pushdown, text, **variables)

    async def why_for(
        self, viewer: Viewer, pushdown: Pushdown, text: str, /, **variables: Any
    ) -> str:
        """Why the loaders must run the query for this viewer."""
        document = parse(text)
        operation: Any = document.definitions[0]
        context = Context(viewer, self.database)
        try:
            ran = await pushdown.run(
                document, operation, variables, context, self.charge, self.afford
            )
            return str(ran.why)
        finally:
            await context.close()

    async def charge(self, cost: int) -> None:
        """Charges nothing."""

    async def afford(self, points: int) -> bool:
        """Whether there are as many points."""
        return points <= self.points


@pytest.fixture
async def bench(
    database_url: str, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    async with opened(database_url, pool_size=2) as database:
        yield Bench(database, db, monkeypatch)


async def first_sight(bench: Bench) -> str:
    return await bench.why(Pushdown("on"))


async def being_compiled(bench: Bench) -> str:
    pushdown = Pushdown("on")
    await bench.why(pushdown)
    return await bench.why(pushdown)


async def too_much_to_compile(bench: Bench) -> str:
    """Also: so many may wait, and no more."""
    go_on = threading.Event()
    bench.monkeypatch.setattr(execution, "_compiled", lambda *_: str(go_on.wait()))
    pushdown = Pushdown("on")
    whys = []
    try:
        for n in range(2 * execution.WAITING):
            for _ in range(2):
                why = await bench.why(pushdown, f"{{ a{n}: users {{ totalCount }} }}")
            whys.append(why)
            assert len(pushdown._compiling) <= execution.WAITING
    finally:
        go_on.set()
    assert whys[: execution.WAITING] == ["being compiled"] * execution.WAITING
    assert len(set(whys[execution.WAITING :])) == 1
    return whys[-1]


async def too_dear(bench: Bench) -> str:
    """Also: nothing is compiled that is not paid for, and not before."""
    pushdown = Pushdown("on")
    bench.points = 2 * execution.COMPILED_FIELD - 1
    await bench.why(pushdown)
    why = await bench.why(pushdown)
    assert not pushdown._compiling
    bench.points += 1
    assert await bench.why(pushdown) == "being compiled"
    return why


async def not_a_query(bench: Bench) -> str:
    return await bench.why(Pushdown("always"), "mutation { __typename }")


async def wrong_variables(bench: Bench) -> str:
    return await bench.why(Pushdown("always"), NUMBERED)


async def wrong_arguments(bench: Bench) -> str:
    return await bench.why(Pushdown("always"), NUMBERED, n=101)


async def introspection(bench: Bench) -> str:
    query = "{ tags { totalCount } __schema { queryType { name } } }"
    return await bench.why(Pushdown("always"), query)


async def a_resolver_in_python(bench: Bench) -> str:
    declared: Any = core.get_type("Tag").fields["name"].extensions  # type: ignore[union-attr]
    bench.monkeypatch.setitem(declared, GraphQLCoreConverter.DEFINITION_BACKREF, object())
    return await bench.why(Pushdown("always"), "{ tags { nodes { name } } }")


async def too_many_fields(bench: Bench) -> str:
    """Also: it is tried once."""
    twice = "a: garden { owner { ...F%d } } b: garden { owner { ...F%d } }"
    fragments = [f"fragment F{n} on User {{ id {twice % (n + 1, n + 1)} }}" for n in range(14)]
    query = " ".join(["{ users { nodes { ...F0 } } }", *fragments, "fragment F14 on User { id }"])
    pushdown = Pushdown("always")
    whys = [await bench.why(pushdown, query) for _ in range(2)]
    assert len(set(whys)) == 1
    assert len(pushdown.statements) == 1
    return whys[0]


async def too_long(bench: Bench) -> str:
    bench.monkeypatch.setattr(compiler, "MAX_STATEMENT", 100)
    return await bench.why(Pushdown("always"))


async def a_statement_that_fails(bench: Bench) -> str:
    ada = await make.person(bench.db)
    await make.features(bench.db, ada, [0.5])
    await bench.db.execute("UPDATE user_features SET vector = '[null]'")
    query = "{ viewer { features { vector } } }"
    return await bench.why_for(Viewer(ada.sub), Pushdown("always"), query)


async def a_fault_of_the_compiler(bench: Bench) -> str:
    bench.monkeypatch.delattr(compiler._Compiler, "_page")
    return await bench.why(Pushdown("always"))


async def switched_off(bench: Bench) -> str:
    return await bench.why(Pushdown("off"))


REASONS: dict[str, Callable[[Bench], Awaitable[str]]] = {
    "first sight": first_sight,
    "being compiled": being_compiled,
    "too much to compile": too_much_to_compile,
    "too dear to compile": too_dear,
    "not a query": not_a_query,
    "wrong variables": wrong_variables,
    "wrong arguments": wrong_arguments,
    "__schema is not a field of ours": introspection,
    "... is declared in a way of its own": a_resolver_in_python,
    "too many fields": too_many_fields,
    "the statement would be too long": too_long,
    "the statement failed: ...": a_statement_that_fails,
    "the compiler failed": a_fault_of_the_compiler,
    "switched off": switched_off,
}


@pytest.mark.parametrize("reason", REASONS)
async def test_it_happens(bench: Bench, reason: str) -> None:
    pattern = ".*".join(map(re.escape, reason.split("...")))

    assert re.fullmatch(pattern, await REASONS[reason](bench))


def test_the_guide_lists_them() -> None:
    _, _, table = GUIDE.partition("| `why` | when |")
    rows = [row.split("|")[1] for row in table.partition("\n\n")[0].splitlines() if row]
    listed = [why for row in rows for why in re.findall(r"`([^`]+)`", row)]

    assert listed == list(REASONS)
