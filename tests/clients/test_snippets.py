"""``docs/clients.md``, to the letter: each project in an empty folder, with nothing from here.

Packages come from the registries, by the page's own lines, in the versions of today. Beside them
runs what ``make run`` runs. Of what the page says only three things are others: the address of
the server, the place of the checkout, and where its wheel is.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from tests.clients.conftest import Live
from tests.clients.projects import every
from tests.clients.snippets import ADDRESS, CHECKOUT, GROUPS, NODE, PAGE, PROJECTS, Block, blocks
from tests.identity.issuer import free_port
from tests.support import server

# As long as the registries take, on a busy machine.
pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

COMMENT = {"ts": "// ", "tsx": "// ", "python": "# ", "toml": "# ", "graphql": "# "}
ADA = "ada@example.com"
TOOLS = Path(sys.executable).parent
HERE = "~/community-gql"
"""The checkout, as the page calls it."""


def outputs() -> list[tuple[Block, str]]:
    """Each block of commands with what it must print last."""
    found = [block for block in blocks() if "file" not in block.words]
    printed = dict.fromkeys((block.line for block in found), "")
    for block, following in pairwise(found):
        if "output" in following.words:
            printed[block.line] = following.text
    return [(block, printed[block.line]) for block in found if "run" in block.words]


def test_every_block_is_tried() -> None:
    assert len(blocks()) > 40
    for before, block in pairwise([blocks()[0], *blocks()]):
        known = {"file", "run", "output", "settings"} & block.words.keys()
        assert len(known) == 1, f"line {block.line}"
        assert block.project in (*PROJECTS, *GROUPS, None), f"line {block.line}"
        if "output" in block.words:
            assert "run" in before.words, f"line {block.line}: output of what?"
        if "file" in block.words and block.language in COMMENT:
            first = block.text.splitlines()[0]
            assert first == COMMENT[block.language] + block.path, f"line {block.line}"
    text = PAGE.read_text(encoding="utf-8")
    assert text.count("```") == 2 * len(blocks())
    assert not re.search(
        r"^(    |~~~)\S", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M
    )


class Page:
    """The projects of the page, each made at its first use by following the page down."""

    def __init__(self, live: Live, origin: str, data: Path, folder: Path) -> None:
        self.live, self.origin, self.data, self.folder = live, origin, data, folder
        self.wheels = folder / "dist"

    def project(self, name: str) -> Path:
        """The folder of a project that was made to the end of the page."""
        made = self.folder / name
        if not made.exists():
            made.mkdir()
            if name == "strawberry":
                self.build()
            self.follow(name, self.origin)
        return made

    def build(self) -> None:
        """The wheel, as ``make release`` makes it, but for the pages of the explorer."""
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir"]
        done = subprocess.run(
            [*command, str(self.wheels), str(CHECKOUT)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def follow(self, name: str, origin: str, on: str | None = None) -> None:
        """Write the files and run the commands of a project, in one shell, from top to bottom."""
        said = {block.line: text for block, text in outputs()}
        lines = []
        for block in blocks():
            if not block.is_of(name):
                continue
            text = self.translated(block.text, origin)
            if "file" in block.words:
                lines += [
                    f'mkdir -p "$(dirname {block.path})"',
                    f"cat > {block.path} <<'END OF FILE'",
                ]
                lines += [text.rstrip("\n"), "END OF FILE"]
            elif block.words.get("on") == on:
                lines += [f"echo line {block.line} >&2", "{", text, f"}} > .said-{block.line}"]
        self.run(name, "\n".join(lines))
        for line, printed in said.items():
            if printed and (done := self.folder / name / f".said-{line}").exists():
                assert done.read_text().endswith(printed), f"line {line} prints\n{done.read_text()}"
                done.unlink()

    def translated(self, text: str, origin: str) -> str:
        """A block with this machine's places for those of the page."""
        text = text.replace(ADDRESS, origin)
        text = text.replace(ADDRESS.replace("http", "ws"), origin.replace("http", "ws"))
        text = text.replace(f"{HERE}/dist/", f"{self.wheels}/")
        return text.replace(f"{HERE}/.venv/bin", str(TOOLS)).replace(HERE, str(CHECKOUT))

    def run(self, name: str, command: str, **environment: str) -> str:
        """Run shell commands in a project; what they printed. Nothing of the tests is in reach."""
        path = [p for p in os.environ["PATH"].split(os.pathsep) if Path(p) != TOOLS]
        kept = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder / name,
            env=kept
            | {"PATH": os.pathsep.join(path), "NO_COLOR": "1", "DATA_DIR": str(self.data)}
            | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=1500,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def on_another(self, name: str, origin: str, command: str) -> str:
        """Run a command in a project whose files say another server."""
        for block in blocks():
            if "file" in block.words and block.is_of(name):
                text = self.translated(block.text, origin)
                (self.folder / name / block.path).write_text(text, encoding="utf-8")
        return self.run(name, command, TOKEN=self.live.token(ADA))


@pytest.fixture(scope="module")
def page(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page, beside the server of ``make run`` with data of its own."""
    data, port = tmp_path_factory.mktemp("data"), free_port()
    made = subprocess.Popen(
        [TOOLS / "community-gql", "dev"],
        env=os.environ | {"DATA_DIR": str(data), "PORT": str(port), "RELOAD": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    origin = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while not _answers(origin):
            assert made.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.2)
        yield Page(live, origin, data, tmp_path_factory.mktemp("clients"))
    finally:
        made.terminate()
        made.wait(30)


def _answers(origin: str) -> bool:
    try:
        return httpx.get(f"{origin}/readyz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@every
@pytest.mark.parametrize("name", PROJECTS)
def test_a_project(name: str, page: Page) -> None:
    project = page.project(name)
    if name in NODE:
        page.run(name, "npx tsc")
    if name == "python":
        mypy = f"{TOOLS}/mypy --strict --follow-imports=silent --python-executable"
        page.run(name, f"{mypy} .venv/bin/python latest.py")
    assert project.is_dir()


@every
def test_trusted_documents_of_both_generators(page: Page) -> None:
    (settings,) = [block for block in blocks() if "settings" in block.words]
    given = dict(line.split("=", 1) for line in settings.text.splitlines())
    folders = {name: page.project(name) for name in ("app", "relay")}
    files = given.pop("TRUSTED_DOCUMENTS_FILES").split(",")
    paths = [str(folders[name.split("/")[0]].parent / name) for name in files]
    given = {name.lower(): value for name, value in given.items()}
    port = free_port()
    with server.process(
        page.live.database_url,
        page.live.issuer,
        port,
        **given,
        trusted_documents_files=",".join(paths),
    ):
        for block, printed in outputs():
            if "on" in block.words and block.project is not None:
                said = page.on_another(block.project, f"http://127.0.0.1:{port}", block.text)
                assert said.endswith(printed), f"line {block.line} prints\n{said}"


@every
def test_graphql_codegen_takes_the_schema_from_the_server(page: Page) -> None:
    project = page.project("app")
    before = (project / "src/gql/graphql.ts").read_text()
    config = (project / "codegen.ts").read_text()
    found = re.search(r'schema: "schema.graphql", // or (\S+)', config)
    assert found is not None
    url = f"{page.live.origin}/schema.graphql"
    assert found[1].endswith("/schema.graphql")
    (project / "other.ts").write_text(config.replace('"schema.graphql"', f'"{url}"'))
    (project / "schema.graphql").write_text("type Query { nothing: Int }")
    (project / "src/gql/graphql.ts").write_text("")
    page.run("app", "npx graphql-codegen --config other.ts")
    assert (project / "src/gql/graphql.ts").read_text() == before
    (project / "other.ts").unlink()


PATIENCE = """
import type { TypedDocumentNode } from "@graphql-typed-document-node/core";
import { parse } from "graphql";
import { ApiError, request } from "./request";
import { patiently } from "./retry";

type Data = { stories: { nodes: { id: string }[] } };
const query = parse("{ stories(first: 20) { nodes { id } } }") as TypedDocumentNode<Data, {}>;
const ask = () => request(query, {});
let refused: unknown;
while (refused === undefined) await ask().catch((error: unknown) => (refused = error));
if (!(refused instanceof ApiError)) throw refused;
const start = performance.now();
const { data } = await patiently(ask);
const waited = (performance.now() - start) / 1000;
console.log(refused.status, refused.code, waited > 0.9, data.stories.nodes.length);
"""


@every
def test_retrying_waits_as_long_as_the_server_says(page: Page) -> None:
    project = page.project("app")
    (project / "src/patience.ts").write_text(PATIENCE)
    port = free_port()
    with server.process(
        page.live.database_url, page.live.issuer, port, cost_per_minute=3000, cost_limit=3000
    ):
        said = page.on_another("app", f"http://127.0.0.1:{port}", "npx jiti src/patience.ts")
    (project / "src/patience.ts").unlink()
    assert said == "429 RATE_LIMITED true 20\n"
