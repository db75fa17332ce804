"""What is kept of documents and statements: it has a bound, and takes no more than estimated."""

from __future__ import annotations

import gc
import itertools
import tracemalloc
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

import pytest
from graphql import get_introspection_query

from community_gql.db.database import Database, opened
from community_gql.graph.finding import NEAR_ROWS
from community_gql.lru import LruCache
from community_gql.operations import compiled, syntax
from community_gql.operations.compiled import Pushdown
from community_gql.operations.documents import Documents
from community_gql.operations.prepared import Operation, OperationCache, Prepared
from community_gql.operations.trees import Trees
from community_gql.schema.ids import write_id
from tests.operations.asking import Asking, idle


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened(database_url, pool_size=2) as database:
        yield database


# --- Documents ---


@pytest.mark.parametrize(
    "text",
    [
        get_introspection_query(),
        "{ users { nodes { id } } }" + " " * 100_000,
        "{ nodes(ids: [%s]) { id } }" % " ".join(f'"{i}"' for i in range(240)),
        "{ users { nodes { %s } } }" % " ".join(["createdAt"] * 90),
        "{ users { nodes { %s } } }" % " ".join(["createdAt"] * 120),
        '{ users(filter: { search: """word""" }) { nodes { %s } } }' % " ".join(["id"] * 90),
    ],
    ids=["introspection", "spaces", "arguments", "fields", "repeated", "lines"],
)
def test_the_estimate_of_a_documents_size_is_no_less_than_it_takes(text: str) -> None:
    documents = Documents()
    documents.trees = Trees(2**30)
    documents.get(text)  # graphql-core and the process keep things of their own at first
    gc.collect()
    estimated = -kept_by(documents)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(1, 21):
        documents.get(text + "," * number)
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    estimated += kept_by(documents)

    assert taken <= estimated < 2 * taken + 20 * 3 * len(text)


def kept_by(documents: Documents) -> int:
    """What is kept of documents, in bytes, estimated."""
    return documents.kept.bytes + documents.trees.kept.bytes


# --- Statements ---


def test_what_is_kept_has_a_bound() -> None:
    kept: LruCache[int] = LruCache(100)
    for n in range(50):
        kept.put(n, n, 10)
        kept.get(40)
    assert len(kept) == 10
    assert kept.bytes == 100
    assert [n for n in range(50) if kept.get(n) is not None] == [*range(40, 50)]
    kept.put(49, 0, 30)
    assert (len(kept), kept.bytes) == (8, 100)
    kept.put("too large", 1, 101)
    assert kept.get("too large") is None
    assert kept.bytes == 100


IDS = [
    write_id(*of) for of in (("User", UUID(int=1)), *((t, 1) for t in ("Story", "Tag", "Match")))
]
MANY = "{ viewer { user { %s } } a%d: __typename }"
SWITCHES = (
    "query("
    + ", ".join(f"$v{n}: Boolean!" for n in range(8))
    + ") { viewer { email } "
    + " ".join(f"a{n}: __typename @include(if: $v{n})" for n in range(8))
    + " }"
)

STREAMS: dict[str, Callable[[int], tuple[str, dict[str, Any]]]] = {
    "each once": lambda n: (f"{{ a{n}: tags(first: 1) {{ totalCount }} }}", {}),
    "each three times": lambda n: (f"{{ a{n // 3}: tags(first: 1) {{ totalCount }} }}", {}),
    "forms of arguments": lambda n: (
        "query($ids: [ID!]!) { nodes(ids: $ids) { id } }",
        {"ids": [id_ for place, id_ in enumerate(IDS) if n >> place & 1]},
    ),
    "switches": lambda n: (SWITCHES, {f"v{place}": bool(n >> place & 1) for place in range(8)}),
    "large": lambda n: (MANY % ("id " * 100, n // 3), {}),
}
"""What a hostile client might send, by number."""


@pytest.mark.parametrize("stream", STREAMS)
async def test_a_hostile_stream_does_not_grow_what_is_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch, stream: str
) -> None:
    bound = {"large": 250_000, "switches": 500_000}.get(stream, 100_000)
    monkeypatch.setattr(compiled, "STATEMENTS_BYTES", bound)
    pushdown = Pushdown()
    way = Asking(pushdown, database)
    way.documents, way.cache = Documents(bound), OperationCache(bound)
    kept = (pushdown.statements, way.cache.kept)
    dropped = False

    for n in range(60 if stream == "large" else 300):
        text, variables = STREAMS[stream](n)
        await way(text, **variables)
        assert len(pushdown._compiling) <= compiled.WAITING
        assert all(0 <= each.bytes <= bound for each in kept)
        dropped = dropped or any(each.bytes > 0.6 * bound for each in kept)
    await idle(pushdown)
    pushdown.close()

    assert all(each.bytes <= bound for each in kept)
    assert dropped or stream == "forms of arguments", "the stream did not come near the bound"


def several(made: Callable[[int], str], count: int) -> str:
    """A query of so many fields."""
    return "{" + " ".join(map(made, range(count))) + "}"


SIZES = {
    "small": "{viewer{email}}",
    "tokens": "{viewer" + several(lambda _: "email", 100) + "}",
    "fields": several(lambda n: f"a{n}:stories{{totalCount edges{{cursor node{{id}}}}}}", 4),
    "fragments": several(lambda n: f"a{n}:stories{{...C}}", 4)
    + "fragment C on StoryConnection{edges{cursor node{id title}}}",
    "variables": "query($n:Int=1)" + several(lambda n: f"a{n}:tags(first:$n){{totalCount}}", 6),
    "ids": several(lambda n: f'a{n}:node(id:"{write_id("Story", n)}"){{id}}', 9),
}


@pytest.mark.parametrize("text", SIZES.values(), ids=SIZES)
def test_the_estimate_of_what_is_kept_is_no_less_than_it_takes(text: str) -> None:
    pushdown = Pushdown("always")
    keep(pushdown, text)
    spaces = itertools.count(1)
    taken, estimated = [], []
    for _ in range(4):  # SQLAlchemy and others keep things of their own at first
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0], pushdown.statements.bytes
        for _ in range(4):
            keep(pushdown, text + " " * next(spaces))
        gc.collect()
        taken.append(tracemalloc.get_traced_memory()[0] - before[0])
        estimated.append(pushdown.statements.bytes - before[1])
        tracemalloc.stop()

    # The estimate of a statement is of all that it holds, be it dropped elsewhere.
    assert min(taken) <= estimated[-1] < 6 * min(taken)


def keep(pushdown: Pushdown, text: str) -> None:
    """Compile the query, so that all that is ever kept of it is kept."""
    document: Any = syntax.parse(text, max_tokens=10**9, max_comments=0)  # without validation
    operation = Operation(text, document.definitions[0], Trees(0))
    variables: Any = operation.variables({})
    switched = OperationCache().of(operation, variables)
    plans = switched.plans(variables)
    cost = switched.cost(variables, plans)
    pushdown.find(
        Prepared("", operation, switched, variables, plans, cost, operation.kind), NEAR_ROWS
    )
