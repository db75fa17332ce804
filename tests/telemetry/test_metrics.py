"""``/metrics`` of several processes: sums, what is left of one that dies, and what is off."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from community_gql.db.housekeeping import NEEDS
from community_gql.http.request_log import RequestLog
from community_gql.settings.checks import plain_address
from community_gql.telemetry import metrics
from tests.http.server import HOST, Server, free_port, served
from tests.support.provider import provided

pytestmark = pytest.mark.system

Samples = dict[str, float]


def scraped(port: int) -> Samples:
    """The samples of all metrics, by name and labels as they are written."""
    text = httpx.get(f"http://{HOST}:{port}/metrics").raise_for_status().text
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(samples: Samples, name: str) -> float:
    return sum(value for key, value in samples.items() if key.startswith(f"{name}["))


def awaited(port: int, holds: Callable[[Samples], bool]) -> Samples:
    deadline = time.monotonic() + 120
    while not holds(samples := scraped(port)):
        assert time.monotonic() < deadline, samples
        time.sleep(0.2)
    return samples


def ask(server: Server, query: str = "query Ping { __typename }") -> httpx.Response:
    return httpx.post(f"{server.url}/graphql", json={"query": query})


def test_all_processes_together(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    address = plain_address(database_url)
    with served(address, tmp_path, metrics=f"{HOST}:{port}", workers=2) as server:
        samples = awaited(port, lambda samples: total(samples, "community_gql_workers") == 2)
        # Prometheus sees no increase in what begins at 1: alerts would miss the first fault.
        assert samples["community_gql_errors_total[('code', 'INTERNAL')]"] == 0
        assert total(samples, "community_gql_database_away_total") == 0
        failing = [key for key in samples if "job_seconds_count" in key and "failed" in key]
        assert len(failing) == len(NEEDS)
        for n in range(60):
            ask(server, "{ __typename }" if n % 2 else "{ nope }")
        lines = [line for line in server.lines() if line["logger"] == "community_gql.requests"]
        pids = {line["pid"] for line in lines}
        name = "community_gql_request_seconds_count"
        samples = awaited(port, lambda samples: total(samples, name) >= 60)

        assert total(samples, name) == len(lines) == 60
        by_status = {
            status: sum(v for k, v in samples.items() if k.startswith(name) and status in k)
            for status in ("200", "422")
        }
        assert by_status == {"200": 30, "422": 30}
        failed = "community_gql_errors_total[('code', 'GRAPHQL_VALIDATION_FAILED')]"
        assert samples[failed] == 30
        assert total(samples, "community_gql_pool_size") == 20

        # What a process counted outlives it; how full it was does not.
        os.kill(pids.pop(), signal.SIGKILL)
        samples = awaited(port, lambda samples: total(samples, "community_gql_workers") == 1)
        assert total(samples, "community_gql_pool_size") == 10
        assert total(samples, name) == 60
        assert total(samples, "community_gql_worker_ends_total") == 1


def test_an_address_that_is_taken_is_one_sentence(database_url: str) -> None:
    with provided() as identity, socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            ["community-gql", "serve", "--port", str(free_port())],
            env=os.environ
            | {"DATABASE_URL": plain_address(database_url), "METRICS": f"{HOST}:{port}"}
            | identity
            | {"PATH": f"{Path(os.sys.executable).parent}:{os.environ['PATH']}"},  # type: ignore[attr-defined]
            capture_output=True,
            text=True,
            timeout=60,
        )

    assert done.returncode == 1
    assert f"can't show metrics on {HOST}:{port}: Address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_counted_in_memory_is_handed_over_whole() -> None:
    def count(kind: str) -> float:
        samples = next(iter(metrics.REQUEST_SECONDS.collect())).samples
        return sum(
            sample.value
            for sample in samples
            if sample.name.endswith(kind) and sample.labels["type"] == "told"
        )

    requests = metrics.Requests()
    for milliseconds in (0.5, 1.0, 3.0, 60_000.0):
        answered = RequestLog(type="told", executor="compiled", status=200)
        answered.milliseconds, answered.database_milliseconds = milliseconds, 0.1
        requests.count([answered])
    requests.hand_over()
    requests.hand_over()

    assert count("_count") == 4
    assert count("_sum") == 60.0045
    buckets = {
        sample.labels["le"]: sample.value
        for sample in next(iter(metrics.REQUEST_SECONDS.collect())).samples
        if sample.name.endswith("_bucket") and sample.labels["type"] == "told"
    }
    assert (buckets["0.001"], buckets["0.005"], buckets["15.0"], buckets["+Inf"]) == (2, 3, 3, 4)


def test_what_is_counted_later_is_counted_once() -> None:
    requests, answered = metrics.Requests(), RequestLog(type="later", executor=None, status=200)
    for _ in range(3):
        requests.count([answered] * (metrics.TOGETHER - 1))
    requests.hand_over()
    requests.hand_over()

    samples = next(iter(metrics.REQUEST_SECONDS.collect())).samples
    (counted,) = [
        sample.value
        for sample in samples
        if sample.name.endswith("_count") and sample.labels["type"] == "later"
    ]
    assert counted == 3 * (metrics.TOGETHER - 1)


def test_deliveries_are_handed_over_whole() -> None:
    def of(metric: Any, ending: str) -> float:
        samples = next(iter(metric.collect())).samples
        return float(sum(one.value for one in samples if one.name.endswith(ending)))

    counts = metrics.DeliveryCounts()
    before = of(metrics.DELIVERY_SECONDS, "_count"), of(metrics.DELIVERIES, "_total")
    counts.count("change", 100, 0.03)
    counts.count("change", 2, 0.5)
    counts.count("reload", 7, 0.0)
    counts.hand_over()
    assert of(metrics.WORST_DELIVERY_SECONDS, "") == 0.5
    counts.hand_over()
    assert of(metrics.WORST_DELIVERY_SECONDS, "") == 0
    after = of(metrics.DELIVERY_SECONDS, "_count"), of(metrics.DELIVERIES, "_total")
    assert (after[0] - before[0], after[1] - before[1]) == (102, 109)
