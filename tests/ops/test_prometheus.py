"""The dashboard and the alert rules: of metrics that there are, and good for a real Prometheus."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.metrics import MetricWrapperBase

from community_gql.settings.checks import plain_address
from community_gql.telemetry import metrics
from tests.http.server import HOST, free_port, served
from tests.telemetry.test_metrics import ask

pytestmark = pytest.mark.system

OPS = Path(__file__).parents[2] / "ops"
RULES = OPS / "prometheus" / "alerts.yml"
DASHBOARD = json.loads((OPS / "grafana" / "community-gql.json").read_text())
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
NAMED = set(re.findall(r"community_gql_\w+", "\n".join([*EXPRESSIONS, RULES.read_text()])))
DECLARED = [item for item in vars(metrics).values() if isinstance(item, MetricWrapperBase)]


def exported(metric: MetricWrapperBase) -> set[str]:
    """The names of a metric's samples."""
    name = next(iter(metric.describe())).name
    suffixes = {
        "counter": ("_total",),
        "gauge": ("",),
        "histogram": ("_bucket", "_sum", "_count"),
    }
    return {f"{name}{suffix}" for suffix in suffixes[next(iter(metric.describe())).type]}


def test_every_metric_that_is_named_is_exported() -> None:
    there = set().union(*map(exported, DECLARED))
    assert NAMED - there == set()


def test_every_metric_is_on_the_dashboard() -> None:
    text = "\n".join(EXPRESSIONS)
    assert [m for m in DECLARED if not any(name in text for name in exported(m))] == []


def test_the_guide_lists_every_metric_and_every_alert() -> None:
    guide = (OPS.parent / "docs" / "operations.md").read_text()
    for metric in DECLARED:
        assert f"`{next(iter(metric.describe())).name}`" in guide
    for alert in re.findall(r"alert: (\w+)", RULES.read_text()):
        assert f"`{alert}`" in guide


SERIES = [
    ('community_gql_ready{instance="api-1"}', "1x10 0x30"),
    ('community_gql_ready{instance="api-2"}', "1x40"),
    ('community_gql_errors_total{code="INTERNAL"}', "0x20 1x20"),
    ('community_gql_job_seconds_count{job="changes",outcome="failed"}', "0x20 1x20"),
    ('community_gql_database_away_total{cause="pool wait"}', "0x20 30x20"),
    ('community_gql_delivery_seconds_bucket{le="5.0"}', "0+0x40"),
    ('community_gql_delivery_seconds_bucket{le="15.0"}', "0+9x40"),
    ('community_gql_delivery_seconds_bucket{le="+Inf"}', "0+9x40"),
]
FIRING = {"CommunityGqlFaults", "CommunityGqlHousekeepingFails", "CommunityGqlDatabaseAway"}
FIRING |= {"CommunityGqlLiveLate", "CommunityGqlNotReady"}


def test_what_happens_once_is_told(tmp_path: Path) -> None:
    """The first fault of a process, a job that failed once, one burst, updates that come late."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("Prometheus is not installed: apt install prometheus")
    file = tmp_path / "rules.json"
    alerts = re.findall(r"alert: (\w+)", RULES.read_text())
    counted = [
        {
            "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)',
            "eval_time": "8m",
            "exp_samples": [{"labels": "{}", "value": int(alert in FIRING)}],
        }
        for alert in alerts
    ]
    given = [{"series": series, "values": values} for series, values in SERIES]
    test = {"interval": "15s", "input_series": given, "promql_expr_test": counted}
    file.write_text(json.dumps({"rule_files": [str(RULES)], "tests": [test]}))
    done = subprocess.run([program, "test", "rules", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_prometheus_takes_them(database_url: str, tmp_path: Path) -> None:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("Prometheus is not installed: apt install prometheus")
    port, own = free_port(), free_port()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {"job_name": "community-gql", "static_configs": [{"targets": [f"{HOST}:{port}"]}]}
        ],
    }
    file = tmp_path / "prometheus.yml"
    file.write_text(json.dumps(config))  # JSON is YAML
    with (
        served(plain_address(database_url), tmp_path, metrics=f"{HOST}:{port}") as server,
        (tmp_path / "prometheus.log").open("wb") as log,
    ):
        process = subprocess.Popen(
            [
                program,
                f"--config.file={file}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address={HOST}:{own}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            api = f"http://{HOST}:{own}/api/v1"
            counted = 'sum(community_gql_request_seconds_count{status="200"})'
            for _ in range(5):
                ask(server)
            _awaited(lambda: _value(api, counted) == 5)

            for expression in EXPRESSIONS:
                text = expression.replace("$__rate_interval", "1m").replace("$instance", ".*")
                answer = httpx.get(f"{api}/query", params={"query": text}).json()
                assert answer["status"] == "success", (expression, answer)
            groups = httpx.get(f"{api}/rules").json()["data"]["groups"]
            rules = [rule for group in groups for rule in group["rules"]]
            _awaited(lambda: all(r["health"] == "ok" for r in _rules(api)))
            assert len(rules) == RULES.read_text().count("- alert:")
            assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []
        finally:
            process.terminate()
            process.wait(20)


def _rules(api: str) -> list[Any]:
    groups = httpx.get(f"{api}/rules").json()["data"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _value(api: str, expression: str) -> float | None:
    try:
        answer = httpx.get(f"{api}/query", params={"query": expression})
    except httpx.TransportError:  # it does not listen yet
        return None
    if answer.status_code == 503:  # it listens, but is not ready
        return None
    result = answer.json().get("data", {}).get("result", [])
    return float(result[0]["value"][1]) if result else None


def _awaited(holds: Any) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)
