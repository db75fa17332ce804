"""Traces: sent to a collector where that is wanted, without anyone's values; else nothing."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from community_gql.settings.checks import plain_address
from tests.http.server import served
from tests.support import factories as make

pytestmark = pytest.mark.system

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector(ThreadingHTTPServer):
    """Takes traces over OTLP, as any collector of OpenTelemetry does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Takes)
        self.received: list[ExportTraceServiceRequest] = []

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.received
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


class _Takes(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        import gzip

        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        assert isinstance(self.server, Collector)
        self.server.received.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()
    thread = threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield collector
    finally:
        collector.shutdown()
        thread.join()
        collector.server_close()


def attributes(span: Span) -> dict[str, Any]:
    return {
        item.key: getattr(item.value, str(item.value.WhichOneof("value")))
        for item in span.attributes
    }


def test_a_request_is_a_trace(database_url: str, tmp_path: Path) -> None:
    query = 'query Find { users(filter: { search: "Secretive" }) { nodes { id } } }'
    with collecting() as collector:
        environment: dict[str, Any] = {
            "tracing": "on",
            "otel_exporter_otlp_endpoint": f"http://127.0.0.1:{collector.server_port}",
            "otel_bsp_schedule_delay": "100",
            "pushdown": "always",
        }
        with served(plain_address(database_url), tmp_path, **environment) as server:
            answer = httpx.post(
                f"{server.url}/graphql",
                json={"query": query},
                headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "X-Request-Id": "one"},
            )
            httpx.post(f"{server.url}/graphql", json={"query": "{ nope }"})
            lines = [x for x in server.lines() if x["logger"] == "community_gql.requests"]
        deadline = time.monotonic() + 20
        while len(collector.spans) < 5 and time.monotonic() < deadline:
            time.sleep(0.1)
        mine = {span.name: span for span in collector.spans if span.trace_id.hex() == TRACE}

    assert answer.status_code == 200
    assert mine.keys() == {"query", "prepare", "WITH"}
    request, statement = mine["query"], mine["WITH"]
    assert request.kind == Span.SPAN_KIND_SERVER
    assert request.parent_span_id.hex() == "00f067aa0ba902b7"
    assert statement.parent_span_id == mine["prepare"].parent_span_id == request.span_id
    assert attributes(request)["graphql.operation.name"] == "Find"
    assert attributes(request)["http.request.id"] == "one"
    assert attributes(statement)["db.query.summary"].startswith("op=Find doc=")
    assert lines[0]["trace_id"] == TRACE
    others = {span.trace_id.hex() for span in collector.spans} - {TRACE}
    assert lines[1]["trace_id"] in others  # begun here: nobody gave one
    told = b"".join(item.SerializeToString() for item in collector.received)
    assert b"Secretive" not in told


async def test_each_mutation_and_each_statement_of_the_loaders(
    database_url: str, db: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    from community_gql.identity.development import DevelopmentIssuer
    from community_gql.telemetry import tracing
    from tests.support.client import serving

    seen: list[tuple[str, str, dict[str, Any]]] = []

    class Noted:
        trace_id: str | None = None

        def __init__(self, name: str) -> None:
            self.name, self.told = name, dict[str, Any]()

        def rename(self, name: str) -> None:
            self.name = name

        def set(self, given: Any) -> None:
            self.told |= given

        def failed(self, kind: str) -> None:
            self.told["failed"] = kind

    @contextmanager
    def start(name: str, kind: tracing.Kind, traceparent: bytes) -> Iterator[Noted]:
        span = Noted(name)
        yield span
        seen.append((span.name, kind, span.told))

    anna = await make.person(db, "Anna")
    async with serving(database_url, DevelopmentIssuer(tmp_path), pushdown="off") as api:
        await api.meet(anna)
        tracing.install(start)
        try:
            await api(
                "mutation Plant($input: CreateGardenInput!) { createGarden(input: $input) "
                "{ garden { name } } }",
                anna,
                input={"name": "Secretive"},
            )
        finally:
            tracing.install(None)

    names = [name for name, _, _ in seen]
    assert names == ["prepare", "INSERT", "mutation createGarden", "SELECT", "mutation"]
    statements = [told for _, kind, told in seen if kind == "client"]
    assert all(told["db.query.summary"].startswith("op=Plant doc=") for told in statements)
    assert "Secretive" not in str(seen)


def test_it_serves_without_opentelemetry() -> None:
    program = (
        "import sys; sys.modules['opentelemetry'] = None  # an import of it fails\n"
        "import community_gql.app, community_gql.cli\n"
        "print('community_gql.telemetry.otel' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.stdout == "False\n", done.stderr
