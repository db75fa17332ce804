"""The texts of docstrings, also where Python was told to drop them (``PYTHONOPTIMIZE=2``)."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any


def documentation(described: type | Callable[..., Any]) -> str:
    """The docstring of a class or function, from its source if need be; empty if it has none."""
    if described.__doc__ is not None:
        return inspect.cleandoc(described.__doc__)
    try:
        source = textwrap.dedent(inspect.getsource(described))
    except (OSError, TypeError):  # made at run time, or installed without its source
        return ""
    (node,) = ast.parse(source).body
    assert isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    return ast.get_docstring(node) or ""
