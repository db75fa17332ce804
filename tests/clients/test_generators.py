"""The real generators on ``schema.graphql``, with operations of every root field.

Configurations are those of ``docs/clients.md``. What they write is compiled strictly, and what
they would send is sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from unittest.mock import MagicMock

import asyncpg
import pytest
from graphql import get_named_type, is_leaf_type, parse, validate

from community_gql.operations.documents import TrustedDocuments
from community_gql.schema.executable import core
from tests.clients.operations import FOLDER, MODULES, definitions
from tests.clients.projects import HERE, PYTHON, WEB, Project, every, modules
from tests.clients.snippets import file
from tests.clients.test_operations import FIELDS, VARIABLES, variables
from tests.support.client import Client
from tests.support.node import installed
from tests.support.writing import EXAMPLES, scene

pytestmark = pytest.mark.system

MISUSE = "Property 'titel' does not exist"


def with_documents(project: Project) -> None:
    for module in MODULES:
        text = (FOLDER / f"{module}.graphql").read_text(encoding="utf-8")
        project.write(f"src/{module}.graphql", text)


def manifest(project: Project, path: str) -> dict[str, str]:
    """The documents of a manifest, as the server reads it, by operation name."""
    trusted = TrustedDocuments.load("enforce", [project.folder / path])
    texts = json.loads(project.read(path))
    for id_, text in texts.items():
        assert trusted.text(None, id_) == text
        assert validate(core, parse(text)) == []
    names = re.compile(r"\b(?:query|mutation) (\w+)")
    return {found.group(1): text for text in texts.values() if (found := names.search(text))}


async def accepted(texts: dict[str, str], api: Client, db: asyncpg.Connection) -> None:
    """Each text is run with the variables of its operation."""
    assert texts.keys() >= FIELDS.keys()
    for name in FIELDS:
        await db.execute("TRUNCATE users, tags CASCADE")
        things = await scene(db)
        (field,) = FIELDS[name]
        if field == "createGarden":
            await db.execute("DELETE FROM gardens")
        given = variables(name, things)
        answer = await api(texts[name], things.actor(field), **given)
        assert answer.data[field], name


async def test_graphql_codegen(api: Client, db: asyncpg.Connection) -> None:
    folder = installed(WEB, "graphql-codegen")
    project = Project("codegen", folder / "node_modules")
    project.write("codegen.ts", file("app/codegen.ts"))
    with_documents(project)
    project.write(
        "src/use.ts",
        'import { readFragment } from "./gql";\n'
        'import { Parts_StoryFragmentDoc, type ReadStoryQueryQuery } from "./gql/graphql";\n'
        "export const title = (data: ReadStoryQueryQuery): string | undefined =>\n"
        "  readFragment(Parts_StoryFragmentDoc, data.story)?.title;\n",
    )
    project.write("tsconfig.json", project.read("tsconfig.json").replace('["node"]', "[]"))
    project.run("graphql-codegen && tsc")
    await accepted(manifest(project, "src/gql/persisted-documents.json"), api, db)

    project.write("src/use.ts", project.read("src/use.ts").replace("?.title", "?.titel"))
    assert MISUSE in project.attempt("tsc").stdout


@every
async def test_relay(api: Client, db: asyncpg.Connection) -> None:
    project = Project("relay-all", modules())
    project.write("relay.config.json", file("relay/relay.config.json"))
    project.write("persisted_queries.json", "{}")
    for name in ("Feed.tsx", "NewStory.tsx"):
        project.write(f"src/{name}", file(f"relay/src/{name}"))
    feed, new = project.read("src/Feed.tsx"), project.read("src/NewStory.tsx")
    assert all(word in feed + new for word in ("@connection", "@refetchable", "@appendEdge"))
    for module in MODULES:
        tags = [
            f"export const {each.name} = graphql`\n{each.text}\n`;\n"
            for each in definitions()
            if each.module == module
        ]
        project.write(
            f"src/{module}.ts", 'import { graphql } from "relay-runtime";\n' + "\n".join(tags)
        )
    project.write(
        "src/use.ts",
        'import type { ReadUserQuery$data } from "./__generated__/ReadUserQuery.graphql";\n'
        "export const count = (data: ReadUserQuery$data): number | undefined =>\n"
        "  data.user?.stories.totalCount;\n",
    )
    project.run("relay-compiler && tsc")
    await accepted(manifest(project, "persisted_queries.json"), api, db)

    project.write(
        "src/use.ts", project.read("src/use.ts").replace("stories.total", "stories.titel")
    )
    assert project.attempt("tsc").returncode != 0


@every
def test_gql_tada() -> None:
    project = Project("tada-all", modules())
    project.write("tsconfig.json", file("tada/tsconfig.json"))
    project.write("src/graphql.ts", file("tada/src/graphql.ts"))
    for module in MODULES:
        lines = ['import { graphql } from "./graphql";']
        if module != "Parts":
            lines.append('import * as parts from "./Parts";')
        for each in definitions():
            if each.module == module:
                at = "" if module == "Parts" else "parts."
                spread = ", ".join(f"{at}{name}" for name in each.spreads)
                lines.append(
                    f"export const {each.name} = graphql(`\n{each.text}\n`, [{spread}]);\n"
                )
        project.write(f"src/{module}.ts", "\n".join(lines))
    project.write(
        "src/use.ts",
        'import { Parts_story } from "./Parts";\n'
        'import type { ReadStoryQuery } from "./Read";\n'
        'import { readFragment, type ResultOf } from "./graphql";\n'
        "export const title = (data: ResultOf<typeof ReadStoryQuery>): string | undefined =>\n"
        "  readFragment(Parts_story, data.story)?.title;\n",
    )
    project.run("gql.tada generate-output && gql.tada check && tsc")

    project.write("src/use.ts", project.read("src/use.ts").replace("?.title", "?.titel"))
    assert MISUSE in project.attempt("tsc").stdout


def selections() -> Iterator[str]:
    """For genql: every root field with all its scalars, and an input where it takes one."""
    ids = MagicMock()
    given: dict[str, Any] = {}
    for name, of in VARIABLES.items():
        (field,) = FIELDS[name]
        given[field] = of(ids)
    given["users"] = {"last": 3, "filter": {"search": "a"}}
    given["tags"] = {"first": 5, "filter": {"prefix": "m"}, "orderBy": "POPULARITY"}
    given["user"] = {"id": "id"}
    for kind, root in (("query", core.query_type), ("mutation", core.mutation_type)):
        assert root is not None
        for field, definition in root.fields.items():
            arguments = given.get(field) or (
                {"input": EXAMPLES[field](ids)} if field in EXAMPLES else {}
            )
            assert arguments.keys() <= definition.args.keys()
            if is_leaf_type(get_named_type(definition.type)):
                yield f"client.{kind}({json.dumps({field: True})})"
                continue
            asked: dict[str, Any] = {"__typename": True}
            asked |= {"__args": arguments} if arguments else {}
            asked |= {"userErrors": {"__scalar": True}} if kind == "mutation" else {}
            yield f"client.{kind}({json.dumps({field: asked}, default=lambda _: 'id')})"


@every
def test_genql() -> None:
    project = Project("genql-all", modules())
    project.run(
        "genql --schema schema.graphql --output src/api --scalar DateTime:string "
        "--scalar JSON:unknown --sort"
    )
    lines = ",\n".join(selections())
    project.write(
        "src/use.ts",
        'import { createClient } from "./api";\n'
        'const client = createClient({ url: "/graphql" });\n'
        f"export const all = () => [\n{lines},\n];\n",
    )
    project.run("tsc")

    wrong = project.read("src/use.ts").replace('"__typename": true', '"titel": true', 1)
    project.write("src/use.ts", wrong)
    assert "'\"titel\"' does not exist" in project.attempt("tsc").stdout


@every
def test_ariadne_codegen() -> None:
    project = Project("ariadne-all")
    project.paths.insert(0, PYTHON)
    config = file("python/pyproject.toml").replace("operations.graphql", "src")
    project.write("pyproject.toml", config)
    with_documents(project)
    project.run("ariadne-codegen")
    project.write(
        "use.py",
        "from datetime import datetime\n\nfrom community import Community, CreateHabitInput\n\n\n"
        "async def when(api: Community, id: str) -> datetime | None:\n"
        "    found = await api.read_story_query(id=id)\n"
        "    return found.story.created_at if found.story else None\n",
    )
    project.run("mypy --strict --follow-imports=silent use.py && python -c 'import use'")

    project.write("use.py", project.read("use.py").replace("created_at", "createdAt"))
    assert 'has no attribute "createdAt"' in project.attempt("mypy use.py").stdout


@every
def test_strawberry_writes_what_it_can() -> None:
    """The limits that docs/clients.md names are still there."""
    project = Project("strawberry-all")
    command = (
        "strawberry codegen --schema community_gql.schema.executable:schema --output-dir . "
        "--plugins typescript q.graphql"
    )
    for query, word in (
        ("query Q { stories { totalCount } }", "totalCount"),
        ("query Q { stories { edges { cursor } } }", "cursor"),
        ("fragment F on Story { title } query Q { story(id: 1) { id ...F } }", "Fragments"),
    ):
        project.write("q.graphql", query)
        assert word in project.attempt(command).stderr
    project.write("q.graphql", "query Q { users { nodes { profile { displayName } } } }")
    project.run(command)
    assert "display_name: string" in project.read("q.ts")


@every
def test_the_schema_rules_of_graphql_eslint() -> None:
    project = Project("eslint", modules())
    project.write("eslint.config.js", (HERE / "eslint.config.js").read_text(encoding="utf-8"))
    project.run("eslint --max-warnings 0 schema.graphql")

    project.write("schema.graphql", project.read("schema.graphql").replace("ACCEPTED", "accepted"))
    assert "naming-convention" in project.attempt("eslint schema.graphql").stdout
