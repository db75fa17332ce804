"""The line of a request on the quick way: as text, it says what its fields say."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from graphql import OperationType

from community_gql.graph.plans import Plans
from community_gql.graph.visibility import Viewer
from community_gql.http.asked import Asked
from community_gql.http.head import Head
from community_gql.logs import line, moment
from community_gql.operations.documents import Documents
from community_gql.operations.prepared import Prepared

AT = 1_764_450_000.25
UNUSED: Any = None


@dataclass
class Case:
    query: str = "query Some { __typename }"
    sub: str | None = "auth0|anna"
    client: str | None = "127.0.0.1"
    path: str = "/graphql"
    request_id: bytes = b""
    traceparent: bytes = b""
    prepare: float = 0.000_123
    pool: float = 0.0
    database: float = 0.000_456
    whole: float = 0.001_29

    def asked(self) -> Asked:
        head = Head("POST", b"", False, self.client)
        head.request_id, head.traceparent = self.request_id, self.traceparent
        asked = Asked(head, self.path, "application/json", Viewer(self.sub), 5.0)
        document = Documents().get(self.query)
        operation = document.operation(None)
        prepared = Prepared(
            *(document.hash, operation, UNUSED, UNUSED),
            *(Plans({}, {}), 7, OperationType.QUERY),
        )
        asked.found(prepared, UNUSED)
        asked.prepare_seconds, asked.seconds = self.prepare, self.whole
        asked.stopwatch.seconds, asked.stopwatch.pool_seconds = self.database, self.pool
        return asked


CASES = [
    Case(),
    Case(query="{ __typename }", sub=None, client="not an address", path="/"),
    Case(query=f"query L{'o' * 200}ng {{ __typename }}", client="203.0.113.7"),
    Case(request_id=b"mine:1", traceparent=f"00-{'1' * 32}-{'2' * 16}-01".encode()),
    Case(request_id=b'"x"', traceparent=b"nonsense", client=None),
    Case(prepare=0.0, pool=0.000_004, database=0.0, whole=0.000_04),
    Case(prepare=2.5, pool=12.345_678, database=14.999_99, whole=900.0),
]


@pytest.mark.parametrize("case", CASES)
def test_the_text_says_what_the_fields_say(case: Case) -> None:
    asked = case.asked()
    log = asked.line()
    fields = line("some.logger", AT, log.message(), log.fields())
    for _ in range(2):  # made, and remembered
        text = asked.text("some.logger", AT)
        assert b"\n" not in text
        assert list(orjson.loads(text).items()) == list(orjson.loads(fields).items())


def test_metrics_know_what_the_line_says() -> None:
    asked = Case().asked()
    log = asked.line()
    assert asked.kind == log.kind
    assert asked.codes == log.codes
    assert asked.seconds == pytest.approx(log.seconds, abs=1e-4)
    assert asked.database_seconds == pytest.approx(log.database_seconds, abs=1e-5)


@pytest.mark.parametrize("at", [0.0, AT, AT + 0.001, AT + 0.7499, 1_764_460_799.999])
def test_times_are_written_to_the_millisecond(at: float) -> None:
    expected = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    assert moment(at).decode() == expected
