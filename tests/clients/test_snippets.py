"""``docs/clients.md``, block by block."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from tests.clients.conftest import Live
from tests.clients.projects import HERE, PYTHON, Project, every, modules
from tests.clients.snippets import ADDRESS, Block, blocks, file
from tests.identity.issuer import free_port
from tests.support import server

NODE = ("app", "relay", "tada", "genql")
PYTHONIC = ("python", "strawberry")
ALONE = ("schema",)
PROJECTS = (*NODE, *PYTHONIC, *ALONE)
COMMENT = {"ts": "// ", "tsx": "// ", "python": "# ", "toml": "# ", "graphql": "# "}
ADA = "ada@example.com"


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
        assert block.project in (*PROJECTS, None), f"line {block.line}"
        if "output" in block.words:
            assert "run" in before.words, f"line {block.line}: output of what?"
        if "file" in block.words and block.language in COMMENT:
            first = block.text.splitlines()[0]
            assert first == COMMENT[block.language] + block.path, f"line {block.line}"
    text = (HERE.parents[1] / "docs" / "clients.md").read_text(encoding="utf-8")
    assert text.count("```") == 2 * len(blocks())
    assert not re.search(
        r"^(    |~~~)\S", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M
    )


class Page:
    """The projects of the page, each made at its first use: its files and its commands, tried."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.made: dict[str, Project] = {}

    def project(self, name: str) -> Project:
        if name not in self.made:
            project = self.made[name] = Project(name, modules() if name in NODE else None)
            if name == "python":
                project.paths.insert(0, PYTHON)
            project.paths.insert(0, HERE / "shims")
            self.write(project, self.live.origin)
            self.run(name, self.live.origin, on=None)
        return self.made[name]

    def write(self, project: Project, origin: str) -> None:
        for block in blocks():
            if "file" in block.words and block.project == project.folder.name:
                project.write(
                    block.path,
                    block.text.replace(ADDRESS, origin).replace(
                        ADDRESS.replace("http", "ws"), origin.replace("http", "ws")
                    ),
                )

        if project.folder.name == "relay":  # which the page says in a word
            project.write("src/resuming.ts", file("app/src/resuming.ts"))

    def run(self, name: str, origin: str, on: str | None) -> None:
        token = self.live.token(ADA)
        for block, printed in outputs():
            if block.project == name and block.words.get("on") == on:
                command = block.text.replace(ADDRESS, origin)
                said = self.made[name].run(command, TOKEN=token)
                assert said.endswith(printed), f"line {block.line} prints\n{said}"


@pytest.fixture(scope="module")
def page(live: Live) -> Page:
    return Page(live)


@every
@pytest.mark.parametrize("name", PROJECTS)
def test_a_project(name: str, page: Page) -> None:
    project = page.project(name)
    if name in NODE:
        project.run("tsc --project .")
    if name == "python":
        project.run("mypy --strict --follow-imports=silent latest.py")


@every
def test_trusted_documents_of_both_generators(page: Page) -> None:
    (settings,) = [block for block in blocks() if "settings" in block.words]
    given = dict(line.split("=", 1) for line in settings.text.splitlines())
    folders = {name: page.project(name).folder for name in ("app", "relay")}
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
        origin = f"http://127.0.0.1:{port}"
        for name in folders:
            page.write(page.made[name], origin)
            page.run(name, origin, on="trusted")


@every
def test_graphql_codegen_takes_the_schema_from_the_server(page: Page) -> None:
    project = page.project("app")
    page.write(project, page.live.origin)
    before = project.read("src/gql/graphql.ts")
    config = project.read("codegen.ts")
    url = f"{page.live.origin}/schema.graphql"
    assert f'schema: "schema.graphql", // or {url}' in config
    project.write("other.ts", config.replace('"schema.graphql"', f'"{url}"'))
    project.write("schema.graphql", "type Query { nothing: Int }")
    project.write("src/gql/graphql.ts", "")
    project.run("graphql-codegen --config other.ts")
    assert project.read("src/gql/graphql.ts") == before


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
    port = free_port()
    with server.process(page.live.database_url, page.live.issuer, port, cost_per_minute=3000):
        page.write(project, f"http://127.0.0.1:{port}")
        project.write("src/patience.ts", PATIENCE)
        said = project.run("npx jiti src/patience.ts")
    assert said == "429 RATE_LIMITED true 20\n"
