"""The explorer in a real browser, over the people that every seeded database has.

The browser visits once for all workers, and the tests look at what it saw. ``make screenshots`` has
it keep pictures.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from community_gql.dev import filling
from tests.http.server import free_port, served
from tests.identity.browser import chromium
from tests.support import server
from tests.support.node import installed

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
TABS = ["People", "Feed", "Paging", "WriteStory", "SecondGarden", "Matches", "Live"]


@pytest.fixture(scope="module")
def program() -> str:
    """Chromium, once the pages are built; a skip where it or Node is missing."""
    found = chromium()
    installed(Path(__file__).parent, "the explorer")
    command = [sys.executable, str(ROOT / "explorer" / "build.py")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return found


@pytest.fixture(scope="module")
def seeded(program: str, workbench: Any, migrated_template: str, worker_id: str) -> Iterator[str]:
    name = f"explorer_{worker_id}"
    workbench.create(name, migrated_template)
    url: str = workbench.server.url(name)
    asyncio.run(filling.fill(url, people=30, seed=1, progress=lambda *_: None))
    yield url
    workbench.execute("postgres", f"DROP DATABASE {name} WITH (FORCE)")


Once = Callable[[str, Callable[[], Any]], Any]


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Once:
    """A function that has something made by the first worker that asks for it."""
    folder = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        folder = folder.parent

    def made(name: str, make: Callable[[], Any]) -> Any:
        file = folder / f"explorer-{name}.json"
        with open(folder / f"explorer-{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not file.exists():
                file.write_text(json.dumps(make()))
        return json.loads(file.read_text())

    return made


def visit(program: str, mode: str, address: str) -> Any:
    command = ["node", "visit.mjs", program, mode, address]
    if folder := os.environ.get("SCREENSHOTS"):
        command.append(str(Path(folder).resolve()))
    done = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def seen(program: str, seeded: str, once: Once, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What there was to see in development."""

    def look() -> Any:
        port = free_port()
        with server.process(seeded, tmp_path_factory.mktemp("issuer"), port):
            return visit(program, "development", f"http://127.0.0.1:{port}")

    return once("development", look)


@pytest.fixture(scope="module")
def public(program: str, seeded: str, once: Once, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a stranger sees in production."""
    signing_in: dict[str, Any] = {
        "auth0_client_id": "application",
        "auth0_client_secret": "secret",
        "session_secret": "a secret of the tests that is long enough",
    }

    def look() -> Any:
        with served(seeded, tmp_path_factory.mktemp("serve"), **signing_in) as running:
            return visit(program, "production", running.url)

    return once("production", look)


def test_it_asks_no_other_host_and_nothing_goes_wrong(seen: Any) -> None:
    assert seen["elsewhere"] == []
    assert seen["console"] == []


def test_the_first_load_is_small(seen: Any) -> None:
    sizes = dict(seen["loaded"])
    assert len([name for name in sizes if ".worker-" in name]) == 3
    assert all(size > 0 for size in sizes.values())
    assert sum(sizes.values()) < 1_500_000


def test_every_tab_runs_as_it_stands(seen: Any) -> None:
    assert seen["tabs"] == TABS
    runs = seen["runs"]
    assert all("errors" not in answer for answer in runs.values())
    assert runs["Feed"]["data"]["stories"]["totalCount"] > 0
    assert len(runs["Paging"]["data"]["stories"]["nodes"]) == 3
    written, refused = runs["WriteStory"]["data"].values()
    assert (written["story"]["title"], written["userErrors"]) == ("Written in the explorer", [])
    assert refused["story"] is None
    assert [error["path"] for error in refused["userErrors"]] == [["title"], ["tags", "1"]]
    garden = runs["SecondGarden"]["data"]["createGarden"]
    assert garden["garden"] is None
    assert len(garden["userErrors"]) == 1
    assert garden["query"]["viewer"]["user"]["garden"]["name"] == "Shipshape"
    matched = runs["Matches"]["data"]["viewer"]
    assert matched["matching"]["state"] == "READY"
    first, *_ = matched["user"]["matches"]["nodes"]
    assert first["reasons"]["tags"] or first["reasons"]["themes"]


def test_a_subscription_shows_its_events_as_they_come(seen: Any) -> None:
    followed = seen["followed"]
    assert "APPEARED" in followed
    assert "Grace Hopper" in followed
    assert followed.index("APPEARED") < followed.index("RELOAD")  # the newest first
    assert "as they come" in seen["following"]
    assert "has ended" in seen["ended"]


def test_it_opens_with_an_answer(seen: Any) -> None:
    assert seen["opened"]["asked"].count("People") == 1
    assert "totalCount" in seen["opened"]["answer"]
    assert "extensions" not in seen["opened"]["answer"]


def test_the_menu_of_people_takes_keys(seen: Any) -> None:
    assert "Ada Lovelace" in seen["walked"]
    assert seen["typed"] == "hop"


def test_an_answer_says_who_asked_for_it(seen: Any) -> None:
    assert seen["stale"] == "Asked as Ada Lovelace. Run it again to see it as Grace Hopper."


def test_run_takes_the_tab_that_is_shown_and_any_focus(seen: Any) -> None:
    assert seen["quick"]["stories"]["nodes"]
    assert seen["pressed"] == seen["quick"]


def test_two_people_see_different_stories(seen: Any) -> None:
    assert seen["ada"]["data"]["viewer"]["email"] == "ada@example.com"
    assert seen["grace"]["data"]["viewer"]["email"] == "grace@example.com"

    def counts(answer: Any) -> dict[str, int]:
        nodes = answer["data"]["users"]["nodes"]
        return {node["profile"]["displayName"]: node["stories"]["totalCount"] for node in nodes}

    # Ada's own five, of which one is for her eyes only.
    assert counts(seen["ada"])["Ada Lovelace"] == counts(seen["grace"])["Ada Lovelace"] + 1


def test_the_menu_has_the_people_and_what_they_may_do(seen: Any) -> None:
    signed_out, ada, grace, *others = seen["people"]
    assert "Signed out" in signed_out
    assert "Ada Lovelace" in ada
    assert "ada@example.com" in ada
    assert "may" not in ada
    assert "may manage:tags" in grace
    assert len(others) == 18


def test_switching_the_person_runs_nothing(seen: Any) -> None:
    # Who is there now, and nothing else.
    assert seen["askedBySwitching"] == [None]


def test_a_reload_keeps_the_person_and_the_tabs(seen: Any) -> None:
    first, after_reload, last = seen["who"]
    assert "Signed out" in first
    assert "Grace Hopper" in after_reload
    assert "Signed out" in last
    assert seen["tabsAfterReload"] == [*seen["restored"], "Mine"]
    assert seen["mine"]["data"]["tags"]["totalCount"] > 0


def test_the_bar_says_what_the_answer_took(seen: Any) -> None:
    extensions = seen["grace"]["extensions"]
    words = seen["bar"].split()
    assert f"{extensions['cost']['requested']:,}" in words
    assert f"{extensions['execution']['milliseconds']:g}" in words
    assert "batches" in seen["bar"] or "compiled" in words
    assert len(seen["sql"]) == extensions["execution"]["statements"]
    assert "users" in "".join(seen["sql"])
    assert "sql" not in seen["shown"]


def test_only_the_schema_completes(seen: Any) -> None:
    assert "tags" not in seen["numbers"]  # no word of the query itself
    assert "No suggestions" in seen["numbers"]


def test_sql_is_told_in_a_line_and_explained(seen: Any) -> None:
    assert len(seen["outline"]) == len(seen["sql"])
    assert all(line.startswith("Reads ") for line in seen["outline"])
    assert "users" in seen["outline"][0]
    assert seen["coloured"] > 5
    assert seen["copied"].startswith(("SELECT", "WITH"))
    assert re.match(r"[\d.]+ ms to run, [\d.]+ ms to plan", seen["reads"][0])
    assert any(line.startswith("users: ") for line in seen["reads"][1:])
    assert "actual time=" in seen["plan"]
    assert seen["explainsWrites"] == 0


def test_a_query_is_shared(seen: Any) -> None:
    curl = seen["Copy as cURL"]
    assert curl.startswith("curl http://127.0.0.1:")
    assert '"Authorization: Bearer $(community-gql token grace@example.com)"' in curl
    body = json.loads(curl.rpartition("-d '")[2].removesuffix("'"))
    assert "query People" in body["query"]
    assert "await fetch('http://127.0.0.1:" in seen["Copy as fetch"]
    shared = seen["shared"]
    assert shared["tabs"][-1] == "People"
    assert shared["asked"] == []
    assert "People" in shared["query"]
    assert shared["address"].endswith("/")


def test_examples_come_back(seen: Any) -> None:
    assert "Feed" not in seen["closed"]
    assert seen["restored"] == [*seen["closed"], "Feed"]


def test_the_next_page(seen: Any) -> None:
    first = seen["runs"]["Paging"]["data"]["stories"]
    second = seen["second"]["data"]["stories"]
    assert first["pageInfo"]["hasNextPage"]
    assert second["nodes"]
    assert not [story for story in second["nodes"] if story in first["nodes"]]


def test_empty_variables_are_folded_away(seen: Any) -> None:
    assert seen["folded"] == [1, 0, 1, 1]


def test_the_map_can_be_read_and_followed(seen: Any) -> None:
    assert seen["map"]["zoom"] == 1
    assert seen["map"]["letters"] >= 12
    assert seen["map"]["user"]
    assert seen["map"]["lines"] > 20
    assert seen["map"]["crossings"] == []
    assert seen["map"]["kinds"][:2] == ["Roots", "Types"]


def test_a_query_is_built_by_clicking(seen: Any) -> None:
    assert "email" in seen["grace"]["data"]["viewer"]
    assert "email" not in (seen["built"]["data"].get("viewer") or {})


def test_axe_finds_nothing_serious(seen: Any, public: Any) -> None:
    assert len(seen["findings"]) == 17
    assert {name: found for name, found in seen["findings"].items() if found} == {}
    assert public["findings"] == {"map": []}


def test_it_fits_its_window(seen: Any) -> None:
    assert seen["light"]
    assert "phone" in seen["widths"]
    assert seen["segments"] == ["Query", "Variables", "Answer"]
    assert seen["chosenTab"] == {"inSight": True, "segment": "query"}
    assert {name: more for name, more in seen["widths"].items() if more > 0} == {}
    assert seen["phone"]["data"]["stories"]["totalCount"] > 0


def test_the_map_of_the_schema(seen: Any) -> None:
    assert {"Query", "Viewer", "User", "Story", "Garden", "Tag"} <= set(seen["boxes"])
    assert not [name for name in seen["boxes"] if name.endswith(("Connection", "Payload"))]
    assert "Garden" in seen["chosen"]
    assert sorted(seen["near"]) == ["Garden", "Mutation", "User"]


def test_in_production_one_signs_in_at_the_provider(public: Any) -> None:
    assert public["elsewhere"] == []
    assert public["link"] == "/auth/login?next=%2F"
    assert "Sign in" in public["bar"]
    assert public["run"]["data"]["stories"]["totalCount"] > 0
    assert "execution" not in public["run"]["extensions"]
    assert "Cost" in public["runBar"]
    assert public["sqlButtons"] == 0
