"""What was added to see more, cut out of the product's code while a process runs.

A part is cut by giving the functions that hold it other code. Nothing else changes: the process,
its objects and its memory stay where they are, so that what differs is the part alone.
"""

from __future__ import annotations

import ast
import importlib
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
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
        "text = _format(": "text = _format(logger, self.path, operation.name, None, hash_, None)",
        "trace = ": "pass",
        "waited = ": "pass",
        "return text % ": (
            "return text % (moment(at), _viewer(self.viewer.sub), prepared.cost,"
            "_hundredths[int(stopwatch.seconds * 100_000)],"
            "_hundredths[int((self.ended - self.started) * 10_000) * 10])"
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
MODULES = (*("http.asked", "http.quick", "http.request_log", "http.responses", "db.pool"),)
"""Where the parts are."""


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
    """Switches between the ways of the code: each is what is left of PARTS."""

    def __init__(self) -> None:
        """Raises SystemExit where a part is nowhere in the code."""
        self._modules = {name: importlib.import_module(f"community_gql.{name}") for name in MODULES}
        self._trees: dict[str, ast.Module] = {}
        missing = {start for pieces in PARTS.values() for start in pieces}
        self._codes: dict[FunctionType, dict[frozenset[str], CodeType]] = {}
        self._between: list[bytes] = []
        everything = frozenset(PARTS)
        whole = self._made(everything, set())
        ways = [frozenset[str](), *(everything - {part} for part in PARTS)]
        made = {way: self._made(way, missing) for way in ways}
        if missing:
            raise SystemExit(f"{missing} is nowhere in the code: PARTS has to follow it")
        made[everything] = whole
        changed = {f for codes in made.values() for f, code in codes.items() if code != whole[f]}
        self._made_codes = {f: {way: codes[f] for way, codes in made.items()} for f in changed}
        self.lay_out_anew()

    def _made(self, kept: frozenset[str], missing: set[str]) -> dict[FunctionType, CodeType]:
        pieces: dict[str, str] = {}
        for part in PARTS:
            if part not in kept:
                pieces |= PARTS[part]
        if not kept:
            pieces = {start: "pass" if new in STAND_INS else new for start, new in pieces.items()}
        found: dict[FunctionType, CodeType] = {}
        for module in self._modules.values():
            path = str(module.__file__)
            tree = _Cut(pieces, missing).visit(ast.parse(Path(path).read_text()))
            code = compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)
            codes = dict(_codes(code))
            for function in _functions(module):
                found[function] = codes[function.__code__.co_qualname]
        return found

    def lay_out_anew(self) -> None:
        """Have all code lie elsewhere in memory: where it lies makes it faster or slower.

        Ways that do not differ in a function have the same code of it.
        """
        self._codes, between = {}, []
        for function in random.sample(list(self._made_codes), len(self._made_codes)):
            made = self._made_codes[function]
            copies: dict[CodeType, CodeType] = {}
            for way in random.sample(list(made), len(made)):
                if made[way] not in copies:
                    between.append(bytes(random.randrange(4000)))
                    copies[made[way]] = _copied(made[way])
            self._codes[function] = {way: copies[code] for way, code in made.items()}
        self._between = between

    def keep(self, parts: frozenset[str]) -> None:
        """From now on the code has these parts."""
        for function, codes in self._codes.items():
            function.__code__ = codes[parts]
        for module in self._modules.values():
            for found in vars(module).values():
                if hasattr(found, "cache_clear"):  # it may hold what the other code has made
                    found.cache_clear()


def _codes(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    """All code in it, by its qualified name."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant.co_qualname, constant
            yield from _codes(constant)


def _copied(code: CodeType) -> CodeType:
    constants = tuple(_copied(c) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_consts=constants)


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    """The functions that the module's text defines, methods too."""
    waiting = list(vars(module).values())
    while waiting:
        found = waiting.pop()
        if isinstance(found, property):
            waiting += [found.fget, found.fset]
            continue
        found = getattr(found, "__wrapped__", getattr(found, "__func__", found))
        if getattr(found, "__module__", None) != module.__name__:
            continue
        if isinstance(found, type):
            waiting += vars(found).values()
        elif isinstance(found, FunctionType) and found.__code__.co_filename == module.__file__:
            yield found
