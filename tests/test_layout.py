"""Rules of the house that no tool checks for us."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "community_gql"
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

KNOW_GRAPHQL = ("schema/", "operations/", "http/", "app.py", "dev/schema_diff.py")
IMPORT_LATE = "cli/"  # so that --help is fast
MAX_FILE = 500  # lines
MAX_FUNCTION = 60  # lines
VAGUE = {"utils", "helpers", "manager", "service", "services", "common", "misc"}


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return []


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith(KNOW_GRAPHQL)])
def test_nothing_below_the_schema_imports_a_graphql_library(module: str) -> None:
    tree = ast.parse((PACKAGE / module).read_text())
    names = {name.split(".")[0] for node in ast.walk(tree) for name in imported(node)}
    assert not names & {"strawberry", "graphql"}


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith(IMPORT_LATE)])
def test_imports_are_at_the_top(module: str) -> None:
    tree = ast.parse((PACKAGE / module).read_text())
    functions = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    late = [
        name for function in functions for node in ast.walk(function) for name in imported(node)
    ]
    assert not late


def test_modules_are_named_after_what_they_hold() -> None:
    assert not {Path(name).stem for name in MODULES} & VAGUE


def too_long() -> Iterator[str]:
    for module in MODULES:
        text = (PACKAGE / module).read_text()
        if len(text.splitlines()) > MAX_FILE:
            yield module
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                if node.end_lineno - node.lineno >= MAX_FUNCTION:
                    yield f"{module}: {node.name}"


def test_files_and_functions_are_short() -> None:
    offenders = set(too_long())
    assert offenders == set()
