"""The benchmark's systems answer alike, and it notices one that does not."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graphql import GraphQLEnumType, get_named_type

from benchmarks import attacks, growth, listeners, writing
from benchmarks.asking import difference
from benchmarks.cases import CREATE, DEEP, FEED, GRAPH, LIST, NESTED, PERSON, Query
from benchmarks.database import Database, logged
from benchmarks.issuing import issuing
from benchmarks.processes import Process, free_port
from benchmarks.running import Field
from benchmarks.systems import HandWritten, LoadersOnly, Project, Strawberry
from community_gql.dev import filling
from community_gql.dev.embedded import EmbeddedPostgres
from community_gql.identity.development import DevelopmentIssuer
from community_gql.operations.shape import LIMITS
from tests.support import graph
from tests.support.client import serving

pytestmark = pytest.mark.system

PEOPLE = 60


class Forgetful(HandWritten):
    """Gives a story too few."""

    name = "forgetful"
    title = "an endpoint that forgets"

    def result(self, query: Query, found: Any) -> Any:
        found["nodes"] = found["nodes"][:-1]
        return found


@pytest.fixture(scope="module")
def database(
    postgres: EmbeddedPostgres, migrated_template: str, worker_id: str
) -> Iterator[Database]:
    name = f"benchmark_{worker_id}"
    postgres.create_database(name, template=migrated_template)
    asyncio.run(
        filling.fill(postgres.url(name), people=PEOPLE, progress=lambda what, done, total: None)
    )
    yield Database(postgres, name, PEOPLE)
    postgres.psql(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="module")
def field(database: Database, logs: Path) -> Iterator[Field]:
    with issuing() as issuer, Field(database, issuer, logs, lambda text: None) as made:
        for system in (Project(), LoadersOnly(), HandWritten(), Strawberry()):
            made.start(system)
        yield made


@pytest.mark.parametrize(
    "query", [PERSON, NESTED, GRAPH, LIST, FEED, DEEP, CREATE], ids=lambda query: query.name
)
def test_systems_agree(field: Field, logs: Path, query: Query) -> None:
    compared = field.agree(query)
    assert field.missing == {}
    assert compared >= 16
    assert len(field.asks(query)) == (4 if query.everywhere else 2)
    # What is compared of the compiled path must have been compiled.
    lines = [json.loads(line) for line in (logs / "compiled.log").read_text().splitlines()]
    name = query.name.capitalize()
    ways = [line["executor"] for line in lines if "executor" in line and line["operation"] == name]
    assert query.writes or ways[-2 * compared :] == ["compiled"] * 2 * compared


def test_changes_agree(field: Field) -> None:
    """Answers, and the rows that are left; and nothing stays."""
    people = int(field.database.run("SELECT count(*) FROM users"))
    statements = writing.compared(writing.Senders(field, writing.COMPARED), writing.WRITES)
    ours = {name: number for (name, system), number in statements.items() if system == "compiled"}
    assert ours == {
        "updateStory": 5,  # with BEGIN and COMMIT, and the payload
        "addTags": 5,
        "createGarden": 2,
        "requestFriendship": 5,
        "putMatches": 4,
    }
    assert int(field.database.run("SELECT count(*) FROM users")) == people


def test_whoever_differs_is_left_out(field: Field) -> None:
    field.start(Forgetful())
    field.agree(LIST)
    assert list(field.missing) == ["forgetful"]
    assert "its answer to list differs at [0].nodes" in field.missing.pop("forgetful")
    assert "forgetful" not in field.running


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}, None),
        ({"a": [1, {"b": None}]}, {"a": [1, {"b": 0}]}, "at .a[1].b: None and 0"),
        ({"a": 1}, {"a": True}, "at .a: 1 and True"),
        ({"a": 1}, {"b": 1}, "at the top: {'a': 1} and {'b': 1}"),
        ([1, 2], [2, 1], "at [0]: 1 and 2"),
    ],
)
def test_difference(one: Any, other: Any, found: str | None) -> None:
    assert difference(one, other) == found


def test_statements_are_counted_without_the_clockwork() -> None:
    log = """\
of a line that began before
bench one 8 LOG:  execute __asyncpg_stmt_1__: SELECT 1
FROM users
bench one 8 DETAIL:  Parameters: $1 = '1'
bench one 7 LOG:  execute __asyncpg_stmt_2__: SELECT array_agg(sub_hash)
FROM deleted_accounts WHERE deleted_at > $1
bench one 9 LOG:  statement: BEGIN; SET x = 1
bench one 7 LOG:  statement: SELECT 2
bench two 3 LOG:  statement: SELECT 3
"""
    assert [statement.split("\n")[0] for statement in logged(log, "one")] == [
        "SELECT 1",
        "BEGIN; SET x = 1",
        "SELECT 2",
    ]


def test_a_process_is_charged_for_its_children(tmp_path: Path) -> None:
    busy = "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass"
    port = free_port()
    server = (
        "import socket, subprocess, sys, time\n"
        f"s = socket.socket(); s.bind(('127.0.0.1', {port})); s.listen()\n"
        f"subprocess.run([sys.executable, '-c', {busy!r}])\n"
        f"p = subprocess.Popen([sys.executable, '-c', {busy!r} + '\\ntime.sleep(60)'])\n"
        "time.sleep(60)\n"
    )
    made = Process([sys.executable, "-c", server], os.environ, port, tmp_path / "log")
    try:
        deadline = time.monotonic() + 20
        while made.cpu() < 0.8 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert 0.8 <= made.cpu() < 2
        assert made.peak_memory() > 10 * 2**20
    finally:
        made.stop()


def test_growth_covers_every_list_of_the_schema_in_every_order() -> None:
    names = {case.name for case in growth.cases()}
    for coordinate, field in graph.edges().items():
        parent, name = coordinate.split(".")
        if get_named_type(field.type).name.endswith("Connection"):
            label = name if parent == "Query" else coordinate
            assert f"{label} counted" in names
            orders = get_named_type(field.args["orderBy"].type)
            assert isinstance(orders, GraphQLEnumType)
            for order in orders.values:
                assert any(case.startswith(f"{label} {order}") for case in names), coordinate


async def test_growth_is_measured_and_told(database: Database) -> None:
    case = growth.Case("users NEWEST", "users(first: 20) { nodes { id } }", True)
    both = {"small": database, "large": database}
    (found,) = await growth.measured(both, [case], lambda name, left: None)

    assert found.small.ms > 0
    assert found.small.rows > 0
    assert found.factor < 1.5
    broken = growth.Growth(case, cost(1.0, rows=20), cost(1.6, rows=20))
    text = growth.table([found, broken], {"small": database.sizes(), "large": database.sizes()})
    assert "| users NEWEST | 1.00 ± 0.00 | 20 | 1.60 ± 0.00 | 20 | 1.6 | | | 1.6 **!** |" in text
    assert "and 1 grow more than that" in text


def cost(*times: float, rows: int = 0) -> growth.Cost:
    return growth.Cost(times, rows)


def test_growth_compares_requests_that_find_as_much() -> None:
    case = growth.Case("stories counted", "stories { totalCount }", True)
    small, between, large = cost(1.0, rows=80), cost(4.0, rows=960), cost(5.0, rows=1000)
    found = growth.Growth(case, small, large, between)
    assert (found.finds_more, found.like, found.factor, found.fair) == (True, between, 5.0, 1.25)
    assert found.holds
    assert not growth.Growth(case, small, large).holds
    # What finds as much is not compared with anything nearer.
    same = growth.Growth(case, cost(1.0, rows=700), large, between)
    assert (same.like, same.fair, same.holds) == (same.small, 5.0, False)
    scarce = growth.Growth(case, cost(1.0), cost(9.0, rows=238), cost(2.0, rows=40))
    assert (scarce.holds, scarce.is_fair, scarce.is_open) == (False, True, False)
    large = cost(12.0, 12.1, 13.5, rows=238)
    noisy = growth.Growth(case, cost(1.0), large, cost(1.9, 2.0, 2.5, rows=40))
    assert (noisy.is_fair, noisy.is_open) == (False, True)
    steady = growth.Growth(case, cost(1.0), large, cost(1.9, 1.9, 1.9, rows=40))
    assert (steady.is_fair, steady.is_open) == (False, False)


def test_growth_is_measured_until_it_is_sure() -> None:
    case = growth.Case("stories counted", "stories { totalCount }", True)
    noisy = growth.Growth(case, cost(1.0, 0.8, 1.2), cost(1.6, 1.3, 1.9))
    assert not noisy.is_sure
    steady = growth.Growth(case, cost(1.0, 0.99, 1.01), cost(1.6, 1.58, 1.61))
    assert steady.is_sure


def test_growth_counts_the_rows_of_an_answer() -> None:
    assert growth.rows_of({"tag": {"users": {"nodes": [{"id": "a"}, {"id": "b"}]}}}) == 2
    assert growth.rows_of({"stories": {"totalCount": 80, "totalCountIsExact": True}}) == 80
    assert growth.rows_of({"user": None, "moment": "1"}) == 0


async def test_growth_goes_on_where_it_was_interrupted(database: Database, tmp_path: Path) -> None:
    case = growth.Case("moment", "moment", True)
    both = {"small": database, "large": database}
    file = tmp_path / "growth.json"
    kept = growth.Kept(file, database, database)
    (first,) = await growth.measured(both, [case], lambda name, left: None, kept)

    again = growth.Kept(file, database, database)
    assert await growth.measured(both, [case], lambda name, left: None, again) == [first]
    kept.keep(growth.Growth(case, cost(1.0, 1.0, 1.0), cost(9.0, 9.0, 1.0)))
    (longer,) = await growth.measured(both, [case], lambda name, left: None, kept)
    assert len(longer.large.times) > 3  # what does not hold is measured longer
    other = Database(database.server, database.name + "_", 0)
    assert growth.Kept(file, database, other).of(case) is None


async def test_attacks_are_what_they_are_called(
    database_url: str, issuer: DevelopmentIssuer
) -> None:
    """What is refused is refused for its reason, and the rest is allowed by the default limits."""
    refused = {
        attacks.REFUSED_SEARCH: "BAD_REQUEST",
        attacks.MANY_NAMES[0]: "BAD_REQUEST",
        **dict.fromkeys(attacks.BYTES, "COST_LIMIT_EXCEEDED"),
    }
    async with serving(database_url, issuer, cost_limit=LIMITS.cost) as api:
        for query, code in refused.items():
            assert (await api(query)).codes == [code]
        allowed = [*attacks.SEARCHES, *attacks.LARGEST, *attacks.TAG_LISTS, *attacks.ORDINARY]
        for query in [*allowed, attacks.document_of(1)]:
            assert (await api(query)).data
    assert 20_000 < len(attacks.document_of(1)) < 22_000


def test_a_listener_reads_events_however_they_arrive() -> None:
    """In one piece or byte by byte; pings are answered, a close is an error."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        event = b'{"id":"1","type":"next","payload":{"data":{"stories":{"kind":"RELOAD"}}}}'
        head = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
        sent = head + b"".join(
            (_frame(b'{"type":"connection_ack"}'), _frame(b"", 9), _frame(event), _frame(event))
        )
        for size in (len(sent), 1, 7):
            follower = listeners.Follower(ours, listeners.masked(b"subscribe"))
            for start in range(0, len(sent), size):
                follower.arrived(sent[start : start + size], 1.0)
            assert follower.events == [event, event]
            answers = [payload for _, payload, _ in listeners.frames(_unmasked(theirs.recv(999)))]
            assert answers == [b'{"type":"connection_init"}', b"subscribe", b""]
        with pytest.raises(ConnectionError, match="closed: bye"):
            follower.arrived(_frame(b"\x03\xe8bye", 8), 1.0)


def _frame(payload: bytes, opcode: int = 1) -> bytes:
    return bytes((0x80 | opcode, len(payload))) + payload


def _unmasked(data: bytes) -> bytes:
    """Frames of a client as if a server had sent them: the masks are zeros."""
    found = b""
    while data:
        size = data[1] & 0x7F
        found += bytes((data[0], size)) + data[6 : 6 + size]
        data = data[6 + size :]
    return found
