"""What is delivered, as far as files tell: locks, the unit, the compose file, the workflow."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from community_gql.settings import Settings

CHECKOUT = Path(__file__).parents[2]
UNIT = CHECKOUT / "ops" / "systemd" / "community-gql.service"
COMPOSE: dict[str, Any] = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())


def locked(name: str) -> dict[str, str]:
    text = (CHECKOUT / name).read_text()
    return dict(re.findall(r"^([a-z0-9_.-]+)(?:\[[^]]*\])?==(\S+)", text, re.M))


def test_the_lock_of_a_server_is_the_product_and_nothing_else() -> None:
    serve, run, dev = map(
        locked, ("requirements-serve.lock", "requirements-run.lock", "requirements-dev.lock")
    )
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[^a-z0-9-]", text)[0] for text in project["dependencies"]}

    assert needed <= serve.keys()
    assert not {name for name in serve if re.search("embedded|hatch|editables|pytest", name)}
    # What is tested is what is served.
    assert serve.items() <= run.items()
    assert run.items() <= dev.items()


def test_make_lock_makes_every_lock() -> None:
    made = set(re.findall(r"-o (requirements-\w+\.lock)", (CHECKOUT / "Makefile").read_text()))
    assert made == {path.name for path in CHECKOUT.glob("requirements*.lock")}


def test_the_container_gets_what_its_recipe_copies() -> None:
    recipe = (CHECKOUT / "Containerfile").read_text()
    ignored = (CHECKOUT / ".containerignore").read_text().splitlines()
    (copied,) = re.findall(r"^COPY (?!--from)(.*) \S+$", recipe, re.M)

    assert {f"!{name}" for name in copied.split()} == {x for x in ignored if x.startswith("!")}
    assert "*" in ignored
    assert re.search(r"^USER (?!0|root)\d+:\d+$", recipe, re.M)
    assert "HEALTHCHECK" in recipe
    assert "ENTRYPOINT" in recipe


def test_the_compose_file_has_the_parts_and_only_settings_that_exist() -> None:
    services = COMPOSE["services"]
    known = {name.upper() for name in Settings.model_fields}

    assert services.keys() == {
        *("api-1", "api-2", "migrate", "proxy"),
        *("postgres", "postgres-replica", "pgbouncer", "redis"),
    }
    for name in ("api-1", "api-2", "migrate"):
        service = services[name]
        assert service["environment"].keys() <= known
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert set(service["depends_on"]) <= services.keys()
    for service in services.values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            there = (CHECKOUT / source).is_file() if source.startswith(".") else None
            assert there if there is not None else source in COMPOSE["volumes"]
    wanted = set(re.findall(r"\$\{(\w+)", (CHECKOUT / "compose.yaml").read_text()))
    example = (CHECKOUT / "ops" / "container" / "example.env").read_text()
    assert wanted - {"PORT"} == set(re.findall(r"^(\w+)=", example, re.M))


@pytest.mark.parametrize("script", ["primary.sh", "replica.sh"])
def test_scripts_are_bash(script: str) -> None:
    file = CHECKOUT / "ops" / "container" / script
    done = subprocess.run(["bash", "-n", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_unit_is_one(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd is not installed: systemd-analyze verifies the unit")
    unit = tmp_path / UNIT.name
    text = UNIT.read_text()
    unit.write_text(text.replace("/opt/community-gql/bin/community-gql", "/bin/true"))
    verified = subprocess.run([program, "verify", str(unit)], capture_output=True, text=True)
    rated = subprocess.run(
        [program, "security", "--offline=true", "--threshold=20", str(UNIT)],
        capture_output=True,
        text=True,
    )

    assert (verified.returncode, verified.stderr.strip()) == (0, "")
    assert rated.returncode == 0, rated.stdout  # 2.0 of 10, the less the better


def test_the_workflow_runs_what_every_merge_runs() -> None:
    workflow = yaml.safe_load((CHECKOUT / ".github" / "workflows" / "checks.yml").read_text())
    (job,) = workflow["jobs"].values()

    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert workflow["permissions"] == {"contents": "read"}
