"""The npm audit suite of GraphQL over HTTP, ``graphql-http`` 1.23, against a real server.

It follows a draft that is older than the edition of September 2026. All its MUSTs hold; what it
asks otherwise and the edition decides in another way is listed here, with the reason.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.http.server import served
from tests.support.node import installed

pytestmark = pytest.mark.system

AUDITS = Path(__file__).parent / "audits"

NEW_TYPE = (
    "no Accept, or */*: a server should answer application/graphql-response+json "
    "(the edition, 5.1: it is the type that every client must accept)"
)
UNPROCESSABLE = "not well formed, invalid, or not coercible: 422 (the edition, 5.4)"
STATUS_FOR_ALL = (
    "a legacy client gets the same statuses; only the type of 2xx differs (the edition, 5.1)"
)
SUPERSEDED: dict[str, str] = {
    **dict.fromkeys(("47DE", "80D8"), NEW_TYPE),
    **dict.fromkeys(("423L", "3E3A", "86EE"), UNPROCESSABLE),
    **{f"{group}{i}": UNPROCESSABLE for group in ("LKJ", "6C0", "476", "58B") for i in range(4)},
    **dict.fromkeys(("572B", "FDE2", "7B9B"), STATUS_FOR_ALL),
}


@pytest.fixture(scope="module")
def node_modules() -> Path:
    """The suite, installed beside its lock file."""
    return installed(AUDITS, "the audit suite of GraphQL over HTTP") / "node_modules"


def test_all_musts_hold_and_all_that_the_edition_does_not_supersede(
    node_modules: Path,
    empty_database_url: Callable[..., str],
    migrated_template: str,
    tmp_path: Path,
) -> None:
    url = empty_database_url(migrated_template)
    with served(url, tmp_path, introspection="everyone") as server:
        done = subprocess.run(
            ["node", "run.js", f"{server.url}/graphql"],
            cwd=AUDITS, capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
    results: list[dict[str, Any]] = json.loads(done.stdout)
    failed = {item["id"]: item for item in results if item["status"] != "ok"}

    assert len(results) > 60
    assert not [item for item in failed.values() if item["name"].startswith("MUST")]
    assert {id_: item["reason"] for id_, item in failed.items() if id_ not in SUPERSEDED} == {}
    assert SUPERSEDED.keys() == failed.keys(), "an audit that passes is not superseded"
