"""Statements as the driver takes them: a text with ``$1``, ``$2``, ..., and values in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from typing import Any

import asyncpg
import orjson
from sqlalchemy import Executable
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect

from community_gql.db.labels import labelled

_DIALECT: Any = asyncpg_dialect(  # type: ignore[no-untyped-call]
    json_serializer=lambda value: orjson.dumps(value).decode()
)
_NOTHING: Mapping[str, Any] = {}

_labelled = lru_cache(maxsize=4096)(labelled)


class Row(asyncpg.Record):
    """A row, whose values are attributes as well."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        """The value of the column."""
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Fixed:
    """A statement that is compiled once: whatever differs from one run to the next is a bind.

    Compiling takes longer than PostgreSQL takes to run most of them. Its rows hold what the driver
    makes of their values.
    """

    def __init__(self, statement: Executable) -> None:
        self.statement = statement

    @cached_property
    def _compiled(self) -> tuple[str, list[_Bind]]:
        compiled: Any = self.statement.compile(dialect=_DIALECT)  # type: ignore[attr-defined]
        if compiled.post_compile_params:
            raise TypeError(f"its text depends on its values: {compiled.string}")
        names = compiled.positiontup or ()
        return compiled.string, [_Bind(compiled.binds[name], name) for name in names]

    def text(self, label: str | None) -> str:
        """Its text, which names the operation that it runs for."""
        text, _ = self._compiled
        return text if label is None else _labelled(text, label)

    def arguments(self, values: Mapping[str, Any] | None) -> list[Any]:
        """The values of ``$1``, ``$2``, ... Raises KeyError when one is missing."""
        _, binds = self._compiled
        return [bind.value(values or _NOTHING) for bind in binds]


class _Bind:
    __slots__ = ("_default", "_name", "_process", "_required")

    def __init__(self, bind: Any, name: str) -> None:
        self._name, self._required = name, bind.required
        self._default = bind.effective_value
        implementation = bind.type.dialect_impl(_DIALECT)
        self._process: Callable[[Any], Any] | None = implementation.bind_processor(_DIALECT)

    def value(self, values: Mapping[str, Any]) -> Any:
        found = values[self._name] if self._required else values.get(self._name, self._default)
        return found if self._process is None else self._process(found)
