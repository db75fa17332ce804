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
from strawberry.schema.schema_converter import GraphQLCoreConverter

from community_gql.db.database import Database, opened
from community_gql.db.pool import LONGEST_PREPARED, PREPARED_BYTES
from community_gql.graph.visibility import Viewer
from community_gql.operations import compiled, compiler, documents
from community_gql.operations.compiled import STATEMENTS_BYTES, WAITING, Mode, Pushdown
from community_gql.operations.prepared import OPERATIONS_BYTES
from community_gql.operations.shape import Form
from community_gql.schema.executable import core
from community_gql.settings import Settings
from tests.operations.asking import Asking
from tests.operations.texts import times
from tests.support import factories as make

GUIDE = (Path(__file__).parents[2] / "docs" / "pushdown.md").read_text(encoding="utf-8")
QUERY = "{ tags { totalCount } }"


@dataclass
class Bench:
    """What the ways to a reason need."""

    database: Database
    db: asyncpg.Connection
    monkeypatch: pytest.MonkeyPatch

    def asking(self, mode: Mode) -> Asking:
        """Someone to ask, with a budget that holds everything."""
        pushdown = Pushdown(mode)
        pushdown.patience = 0
        return Asking(pushdown, self.database)


@pytest.fixture
async def bench(
    database_url: str, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    async with opened(database_url, pool_size=2) as database:
        yield Bench(database, db, monkeypatch)


async def first_sight(bench: Bench) -> str:
    return await bench.asking("on")(QUERY)


async def being_compiled(bench: Bench) -> str:
    why = bench.asking("on")
    await why(QUERY)
    return await why(QUERY)


async def too_much_to_compile(bench: Bench) -> str:
    """Also: so many may wait, and no more."""
    go_on = threading.Event()
    bench.monkeypatch.setattr(compiled, "_compiled", lambda *_: str(go_on.wait()))
    why, whys = bench.asking("on"), []
    try:
        for n in range(2 * compiled.WAITING):
            query = f"{{ a{n}: users {{ totalCount }} }}"
            assert await why(query) == "first sight"
            whys.append(await why(query))
            assert len(why.pushdown._compiling) <= compiled.WAITING
    finally:
        go_on.set()
    assert whys[: compiled.WAITING] == ["being compiled"] * compiled.WAITING
    assert len(set(whys[compiled.WAITING :])) == 1
    return whys[-1]


async def too_dear_to_compile(bench: Bench) -> str:
    """Also: nothing is compiled that is not paid for."""
    why = bench.asking("on")
    why.points = 2 * compiled.COMPILED_FIELD - 1
    await why(QUERY)
    found = await why(QUERY)
    assert not why.pushdown._compiling
    why.points += 1
    assert await why(QUERY) == "being compiled"
    return found


async def nothing_to_read(bench: Bench) -> str:
    return await bench.asking("always")("mutation { __typename }")


async def introspection(bench: Bench) -> str:
    query = "{ tags { totalCount } __schema { queryType { name } } }"
    return await bench.asking("always")(query)


async def a_resolver_in_python(bench: Bench) -> str:
    declared: Any = core.get_type("Tag").fields["name"].extensions  # type: ignore[union-attr]
    bench.monkeypatch.setitem(declared, GraphQLCoreConverter.DEFINITION_BACKREF, object())
    return await bench.asking("always")("{ tags { nodes { name } } }")


async def too_many_fields(bench: Bench) -> str:
    """Also: it is tried once."""
    bench.monkeypatch.setattr(documents, "check_shape", lambda *_: Form())  # would refuse it
    twice = "a: garden { owner { ...F%d } } b: garden { owner { ...F%d } }"
    fragments = [f"fragment F{n} on User {{ id {twice % (n + 1, n + 1)} }}" for n in range(14)]
    query = " ".join(["{ users { nodes { ...F0 } } }", *fragments, "fragment F14 on User { id }"])
    why = bench.asking("always")
    whys = [await why(query) for _ in range(2)]
    assert len(set(whys)) == 1
    assert len(why.pushdown.statements) == 1
    return whys[0]


async def too_long(bench: Bench) -> str:
    bench.monkeypatch.setattr(compiler, "MAX_STATEMENT", 100)
    return await bench.asking("always")(QUERY)


async def a_statement_that_fails(bench: Bench) -> str:
    ada = await make.person(bench.db)
    await make.features(bench.db, ada, [0.5])
    await bench.db.execute("UPDATE user_features SET vector = '[null]'")
    why = bench.asking("always")
    why.viewer = Viewer(ada.sub)
    return await why("{ viewer { features { vector } } }")


async def a_fault_of_the_compiler(bench: Bench) -> str:
    bench.monkeypatch.delattr(compiler.Compiler, "_page")
    return await bench.asking("always")(QUERY)


async def switched_off(bench: Bench) -> str:
    return await bench.asking("off")(QUERY)


REASONS: dict[str, Callable[[Bench], Awaitable[str]]] = {
    "first sight": first_sight,
    "being compiled": being_compiled,
    "too much to compile": too_much_to_compile,
    "too dear to compile": too_dear_to_compile,
    "nothing to read": nothing_to_read,
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
    _, _, table = GUIDE.partition("| `fallback_reason` | when |")
    rows = [row.split("|")[1] for row in table.partition("\n\n")[0].splitlines() if row]
    listed = [why for row in rows for why in re.findall(r"`([^`]+)`", row)]

    assert listed == list(REASONS)


def test_the_guide_says_how_much_is_kept() -> None:
    documents_bytes = Settings.model_fields["document_cache_bytes"].default
    documents_, operations, statements = (
        size // 2**20 for size in (documents_bytes, OPERATIONS_BYTES, STATEMENTS_BYTES)
    )
    assert f"documents within {documents_} MiB (`DOCUMENT_CACHE_BYTES`)" in GUIDE
    assert f"operations within {operations} MiB and statements within {statements} MiB" in GUIDE
    prepared, longest = (size // 1024 for size in (PREPARED_BYTES, LONGEST_PREPARED))
    assert f"keeps {prepared} KiB of SQL text prepared" in GUIDE
    assert f"no statement longer than {longest} KiB" in GUIDE
    assert f"At most {WAITING} compilations wait" in GUIDE


async def test_what_has_too_many_fields_is_not_even_tried(bench: Bench) -> None:
    fragment = (
        "fragment P on User { id createdAt profile { displayName bio updatedAt } "
        "garden { id name theme createdAt } habits(first: 1) { nodes { id name meta createdAt } } "
        "stories(first: 1) { nodes { id title tagNames excerpt createdAt } } }"
    )
    both = "users(first: 1) { nodes { ...P stories(first: 1) { nodes { author { ...P } } } } }"
    query = "{ %s } %s" % (times(20, f"a#: {both}"), fragment)
    tried: list[object] = []
    bench.monkeypatch.setattr(compiled, "_compiled", lambda *given: tried.append(given))
    why = bench.asking("on")
    assert [await why(query) for _ in range(2)] == ["first sight", "too many fields"]
    assert not tried
