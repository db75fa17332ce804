"""What was added to see more, cut out of the product's code.

The modules that hold it are loaded again without it, beside those that are there: the rest of the
application is the same for all ways.
"""

from __future__ import annotations

import ast
import copy
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

PARTS: Mapping[str, Mapping[str, str]] = {
    "request id": {
        "self.request_id = ": "self.request_id = b''",
        "own = _QUICK % ": (
            "own = b'ratelimit-limit: %d\\r\\nratelimit-remaining: %d\\r\\nratelimit-reset: %d"
            "\\r\\ncache-control: no-store\\r\\ncontent-length: %d\\r\\n' % (*balance, length)"
        ),
        "fields = quick_fields(": (
            "fields = quick_fields(asked.media, head.is_tls, balance, b'', len(body))"
        ),
    },
    "traces": {"if tracing.on:": "pass", "trace = ": "trace = b'null'"},
    "times": {
        "asked.prepare_seconds = ": "asked.prepare_seconds = 0.0",
    },
    "fields of the line": {
        "fields 'trace_id'": "",
        "pieces = _pieces(": (
            "pieces = _pieces(logger, self.path, operation.name, None, hash_, None)"
        ),
        "pieces[1] += ": "pass",
        "pieces[2] = ": "pass",
        "trace = ": "pass",
        "waited = ": "pass",
        "start, one, ": "start, one, two, three, four, end = pieces",
        "parts = (start": (
            "parts = (start, moment(at), one, _viewer(self.viewer.sub), two, b'%d' % prepared.cost,"
            "three, _hundredths[int(stopwatch.seconds * 100_000)],"
            "four, _hundredths[int(self.seconds * 10_000) * 10], end)"
        ),
    },
}
"""By part: how the statements, and a field of the line, begin that were added to see more, and what
was there before. The fields of a request's head that say its id and its trace are two more keys of
a dictionary, and so cost nothing that could be cut."""
STAND_INS = ("self.request_id = b''", "asked.prepare_seconds = 0.0")
"""What other parts need of one that is cut."""
OLDER_FIELDS = (
    *("method", "path", "operation", "document", "viewer", "cost", "statements", "executor"),
    *("fallback_reason", "database_milliseconds", "status", "milliseconds", "codes"),
)
"""What the line of the log had before."""
MODULES = (
    "community_gql.db.pool",
    "community_gql.http.request_log",
    "community_gql.http.responses",
    "community_gql.http.asked",
    "community_gql.http.quick",
)
"""Where the parts are, those first that others import."""


class _Cut(ast.NodeTransformer):
    """Takes what begins so out of a module."""

    def __init__(self, pieces: Mapping[str, str], missing: set[str]) -> None:
        self._pieces, self._missing = pieces, missing

    def _found(self, text: str) -> str | None:
        for start, before in self._pieces.items():
            if text.startswith(start):
                self._missing.discard(start)
                return before
        return None

    def visit(self, node: ast.AST) -> Any:
        """The node without it."""
        if isinstance(node, ast.stmt):
            before = self._found(ast.unparse(node))
            if before is not None:
                made = ast.parse(before).body[0]
                return ast.fix_missing_locations(ast.copy_location(made, node))
        self.generic_visit(node)
        if isinstance(node, ast.Dict):
            self._cut_fields(node)
        return node

    def _cut_fields(self, node: ast.Dict) -> None:
        names = {key.value for key in node.keys if isinstance(key, ast.Constant)}
        if not names or not any(self._found(f"fields {name!r}") is not None for name in names):
            return
        pairs = list(zip(node.keys, node.values, strict=True))
        kept = [(k, v) for k, v in pairs if ast.literal_eval(k or v) in OLDER_FIELDS]
        node.keys, node.values = [k for k, _ in kept], [v for _, v in kept]


class Cutting:
    """Makes what answers quick requests, with some of PARTS."""

    def __init__(self) -> None:
        """Raises SystemExit where a part is nowhere in the code."""
        self._codes: dict[frozenset[str], dict[str, CodeType]] = {}
        missing = {start for pieces in PARTS.values() for start in pieces}
        for part in PARTS:
            self._codes_of(frozenset(PARTS) - {part}, missing)
        if missing:
            raise SystemExit(f"{missing} is nowhere in the code: PARTS has to follow it")

    def _codes_of(self, kept: frozenset[str], missing: set[str]) -> dict[str, CodeType]:
        if kept in self._codes:
            return self._codes[kept]
        pieces: dict[str, str] = {}
        for part in PARTS:
            if part not in kept:
                pieces |= PARTS[part]
        if not kept:
            pieces = {start: "pass" if new in STAND_INS else new for start, new in pieces.items()}
        codes = self._codes[kept] = {}
        for name in MODULES:
            path = str(importlib.import_module(name).__file__)
            tree = _Cut(pieces, missing).visit(ast.parse(Path(path).read_text()))
            codes[name] = compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)
        return codes

    def quick(self, kept: frozenset[str], original: Any) -> Any:
        """Another ``Quick`` beside the ``original``, whose code has these parts.

        It has a place of its own in memory, which makes it faster or slower by chance.
        """
        made = self._loaded(kept)
        database = copy.copy(original.runner.operations.database)
        database.pool = copy.copy(database.pool)
        database.pool.__class__ = vars(made["community_gql.db.pool"])["Pool"]
        quick = vars(made["community_gql.http.quick"])["Quick"](
            original.runner, original._authenticate, original._proxies
        )
        quick._value = database.value
        return quick

    def _loaded(self, kept: frozenset[str]) -> dict[str, ModuleType]:
        before = {name: sys.modules[name] for name in MODULES}
        made: dict[str, ModuleType] = {}
        try:
            for name, code in self._codes_of(kept, set()).items():
                module = made[name] = sys.modules[name] = ModuleType(name)
                module.__file__ = before[name].__file__
                exec(_copied(code), vars(module))
        finally:
            sys.modules.update(before)
        return made


def _copied(code: CodeType) -> CodeType:
    """Code for one module alone: it keeps in itself where that has its globals."""
    constants = [_copied(one) if isinstance(one, CodeType) else one for one in code.co_consts]
    return code.replace(co_consts=tuple(constants))
