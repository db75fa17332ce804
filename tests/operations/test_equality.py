"""All ways of running a query give the same answer: random operations, viewers and data."""

from __future__ import annotations

import gc
import hashlib
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import ColumnElement, literal_column

from community_gql.db import models as m
from community_gql.graph import visibility
from community_gql.graph.visibility import ANONYMOUS, Viewer
from tests.operations.community import community, spoil
from tests.operations.operations import Generator
from tests.operations.ways import both_ways
from tests.support import graph
from tests.support.factories import Person, day

CASES = int(os.environ.get("FUZZ_CASES", "1000"))
"""In all batches together; `make compare` runs many more."""


def _of_the_code() -> str:
    """Another seed for each change of what is tested, and the same one until the next."""
    package = Path(visibility.__file__).parents[1]
    paths = [
        path for part in ("graph", "operations", "schema") for path in (package / part).glob("*.py")
    ]
    texts = [path.read_bytes() for path in sorted(paths)]
    return hashlib.sha256(b"".join(texts)).hexdigest()[:8]


SEED = os.environ.get("FUZZ_SEED") or _of_the_code()
BATCHES = 8
"""Each with data of its own; the last ones with data and rules that the schema does not allow."""
SPOILT = (6, 7)

GONE = Viewer("auth0|gone", frozenset({"manage:tags"}), day(400))
"""Someone with a good token and no row."""

LEFT = {
    "refused",
    "loaders __schema is not a field of ours",
    "loaders __type is not a field of ours",
    "loaders too many fields",
    "loaders the statement would be too long",
}
"""Why a query of the generator may be left to the loaders, with sound data."""


def viewer_of(person: Person) -> Viewer:
    """The person as whoever asks."""
    return Viewer(person.sub, frozenset(person.permissions), day(365))


# Where a field fails on data that the schema does not allow, graphql-core leaves what is beside it.
@pytest.mark.filterwarnings(r"ignore:coroutine '[\w.<>]+' was never awaited:RuntimeWarning")
@pytest.mark.parametrize("batch", range(BATCHES))
async def test_random_operations_have_one_answer(
    database_url: str, db: asyncpg.Connection, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    print(f"again: FUZZ_SEED={SEED} FUZZ_CASES={CASES}")  # noqa: T201 (shown when it fails)
    chance = random.Random(f"{SEED}-{batch}")
    people, words = await community(db, chance)
    viewers = [ANONYMOUS, GONE, *map(viewer_of, people)]
    generator = Generator(chance, words)
    spoilt = batch in SPOILT
    if spoilt:
        await spoil(db)
        hide(people[0], monkeypatch)
    ways: Counter[str] = Counter()
    codes: Counter[str] = Counter()

    async with both_ways(database_url) as both:
        for _ in range(CASES // BATCHES // 2):
            operation = generator.operation()
            # A statement must fit other values than those that it was made with.
            for asked in (operation, generator.again(operation)):
                said, way = await both.compare(asked, chance.choice(viewers))
                ways[way] += 1
                codes.update({error["extensions"]["code"] for error in said.json.get("errors", ())})

    failed = {way for way in ways if way.startswith("loaders the statement failed")}
    assert ways.keys() - failed <= LEFT | {"compiled"}
    assert spoilt or not failed
    # What is left to the loaders is introspection, or has too many fields to be compiled.
    left = sum(count for way, count in ways.items() if "is not a field of ours" in way)
    assert spoilt or both.gave_up == Counter(GivenUp=2 * left)
    assert codes.keys() <= ({"BAD_REQUEST", "INTERNAL"} if spoilt else {"BAD_REQUEST"})
    # Of few cases more may be refused by chance.
    least = 0.7 if spoilt or CASES < 3000 else 0.88
    assert ways["compiled"] > least * ways.total()
    if spoilt:
        gc.collect()  # what was left goes here, and not in another test


async def test_every_type_that_node_finds_is_in_the_data(db: asyncpg.Connection) -> None:
    """Without a row, no random operation would ever read one."""
    _, words = await community(db, random.Random("community"))
    missing = {
        name for name in graph.nodes() if not any(i.startswith(f"{name}_") for i in words.ids)
    }
    assert missing == set(), "add how to make one to OWNED of tests/support/factories.py"


def hide(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody see the person: what they wrote and so on then has no author."""
    hidden: ColumnElement[str] = literal_column(f"'{person.sub}'")
    rules: dict[Any, Any] = visibility._rules
    monkeypatch.setitem(rules, m.User, lambda user: user.auth0_sub != hidden)
