"""Finds reads that do not go through ``visibility.visible``.

Everything that makes a SELECT of its own or runs SQL as text counts: it may be right, but then it
says so in a comment on one of its lines, ``# unscoped: <reason>``. What cannot be told from a
syntax tree (an entity joined to a scoped select, SQL text that arrives in a variable from another
module) is left to the truth table of ``test_visibility.py``.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "src" / "community_gql"

TOOLS = (
    "cli/", "dev/", "actions/bulk_tags.py", "db/concurrently.py", "db/recording.py",
    "db/updated_at.py", "matching/batches.py", "matching/evaluating.py", "matching/features.py",
    "matching/lists.py", "matching/material.py", "matching/merging.py", "matching/neighbours.py",
    "matching/recipe.py", "matching/running.py", "matching/sql.py", "matching/status.py",
    "matching/steps.py", "matching/stored.py", "matching/unchecked.py",
)  # fmt: skip
"""What operators run from a shell; no request reaches it, and the app does not import it."""

SELECTS = {"select", "exists", "Query"}
"""Functions that start a SELECT."""
METHODS = {"select", "from_statement"}
"""Methods that start one."""
SUBQUERIES = {"any", "has"}
"""Methods of relationships that select their target."""
READS = {"get", "get_one", "query", "refresh", "merge"}
"""Methods of a session that select an entity without ``select``."""
DRIVER = {"fetch", "fetchrow", "fetchval", "fetchmany", "prepare", "exec_driver_sql"}
"""Methods that run text on an asyncpg or DBAPI connection, whatever they are given."""
RUNNERS = {
    "execute", "executemany", "scalar", "scalars", "stream", "stream_scalars", "cursor",
    "copy_from_query", "copy_from_table",
}  # fmt: skip
"""Methods that run text when they are given text."""

SQL = re.compile(
    r"\b(select|from|insert|update|delete|table|merge|copy|call|with|values|do)\b", re.I
)
REASON = re.compile(r"#\s*unscoped:\s*\S.{7,}")


def modules() -> Iterator[Path]:
    """Every module that a request may reach, except the one that holds the rules."""
    for path in sorted(SOURCES.rglob("*.py")):
        if not name(path).startswith((*TOOLS, "graph/visibility.py", "migrations/")):
            yield path


def name(path: Path) -> str:
    """The path of a module below the package."""
    return path.relative_to(SOURCES).as_posix()


def unscoped(source: str) -> list[str]:
    """The lines of ``source`` that read on their own and give no reason: ``7: select``."""
    tree = ast.parse(source)
    # A comment alone on its line speaks of the line below as well.
    reasons = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and REASON.match(token.string)
        for line in (token.start[0], token.start[0] + token.line.lstrip().startswith("#"))
    }
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    names = _Names(tree)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (what := names.reads(node)):
            whole = _chain(node, parents)
            if whole is node and _of_no_table(node):
                continue
            lines = range(whole.lineno, (whole.end_lineno or whole.lineno) + 1)
            if reasons.isdisjoint(lines):
                found.append((node.lineno, what))
    return [f"{line}: {what}" for line, what in sorted(found)]


class _Names:
    """What the names of a module stand for, as far as its imports and assignments tell."""

    def __init__(self, tree: ast.Module) -> None:
        self._functions: dict[str, str] = {}
        self._entities: set[str] = set()
        self._models: set[str] = set()
        self._texts: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                self._imported(node)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name == "community_gql.db.models":
                        self._models.add(alias.asname or "models")
            elif isinstance(node, ast.Assign | ast.AnnAssign) and self._is_text(node.value):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                self._texts.update(t.id for t in targets if isinstance(t, ast.Name))

    def _imported(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        for alias in node.names:
            name = alias.asname or alias.name
            if module.startswith("sqlalchemy"):
                self._functions[name] = alias.name
            elif module == "community_gql.db" and alias.name == "models":
                self._models.add(name)
            elif module == "community_gql.db.models" and alias.name[0].isupper():
                self._entities.add(name)

    def reads(self, call: ast.Call) -> str | None:
        """What of the lists above the call is, if any."""
        function, first = call.func, call.args[0] if call.args else None
        if isinstance(function, ast.Name):
            name = self._functions.get(function.id, "")
            return name if name in SELECTS or (name == "text" and _is_statement(first)) else None
        if not isinstance(function, ast.Attribute):
            return None
        name = function.attr
        if name == "prepare" and _named(function.value) in ("operations", "runner", "self"):
            return None  # of an operation, not of a statement
        if name in METHODS | DRIVER | SUBQUERIES:
            return name
        if _named(function.value) in ("sa", "sqlalchemy", "orm"):
            return name if name in SELECTS or (name == "text" and _is_statement(first)) else None
        if name in READS:
            session = _named(function.value).endswith("session")
            return name if session or self._is_entity(first) else None
        return name if name in RUNNERS and self._is_text(first) else None

    def _is_entity(self, node: ast.expr | None) -> bool:
        if isinstance(node, ast.Attribute):
            return _named(node.value) in self._models and node.attr[0].isupper()
        return isinstance(node, ast.Name) and node.id in self._entities

    def _is_text(self, node: ast.expr | None) -> bool:
        """Whether this is text as far as the module shows: written here, or put together here."""
        if isinstance(node, ast.Constant):
            return isinstance(node.value, str)
        if isinstance(node, ast.Name):
            return node.id in self._texts
        if isinstance(node, ast.BinOp):
            return self._is_text(node.left) or self._is_text(node.right)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            return node.func.attr in ("format", "join") and self._is_text(node.func.value)
        return isinstance(node, ast.JoinedStr)


def _is_statement(node: ast.expr | None) -> bool:
    """Whether the argument of ``text`` is, or may be, more than an expression."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return bool(SQL.search(node.value))
    return True


def _of_no_table(call: ast.Call) -> bool:
    """Whether this is ``select(func.now())``: functions of nothing in a table."""
    return bool(call.args) and all(
        isinstance(item, ast.Call)
        and isinstance(item.func, ast.Attribute)
        and _named(item.func.value) == "func"
        and all(isinstance(given, ast.Constant) or _is_constant(given) for given in item.args)
        for item in call.args
    )


def _is_constant(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id.isupper()


def _named(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def _chain(node: ast.expr, parents: dict[ast.AST, ast.AST]) -> ast.expr:
    """The whole of ``select(...).where(...).limit(...)`` around its first call."""
    while True:
        parent = parents.get(node)
        attribute = isinstance(parent, ast.Attribute) and parent.value is node
        called = isinstance(parent, ast.Call) and parent.func is node
        if not (attribute or called) or not isinstance(parent, ast.expr):
            return node
        node = parent
