"""One statement for many viewers, or for many events: what varies among them is a column.

The statement is the same as for one. Only its bind parameters that vary are written as columns of
``v$``, a row for each, and the whole stands beside that row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect

from community_gql.graph.terms import SqlSelect
from community_gql.graph.visibility import Viewer

EACH = "each_"
"""How the names of the other bind parameters begin that become columns."""
_VIEWER = frozenset(Viewer().binds())

_DIALECT: Any = asyncpg_dialect()  # type: ignore[no-untyped-call]


class _Columns(_DIALECT.statement_compiler):  # type: ignore[misc]
    def visit_bindparam(self, bindparam: Any, *given: Any, **named: Any) -> str:
        name = bindparam.key
        if not (name in _VIEWER or name.startswith(EACH)):
            text: str = super().visit_bindparam(bindparam, *given, **named)
            return text
        self.columns = getattr(self, "columns", {})
        self.columns[name] = None
        # Every column is text: an array of arrays could not be unnested row by row.
        type_ = self.dialect.type_compiler_instance.process(bindparam.type)
        return f'v$."{name}"::{type_}'


_DIALECT.statement_compiler = _Columns


@dataclass(frozen=True, slots=True)
class ForMany:
    """A compiled statement for many."""

    inner: str
    names: tuple[str, ...]
    """The bind parameters that have become columns."""
    places: tuple[str, ...]
    """The other ones, in the order of ``$1``, ``$2``, ..."""
    values: Mapping[str, object]
    """Of those, the values that belong to the statement."""

    @property
    def source(self) -> str:
        """The rows, to be put after FROM: ``v$.n``, and a column for each name."""
        arrays = ", ".join(
            f"${len(self.places) + 1 + n}::text[]" for n in range(len(self.names) or 1)
        )
        columns = ", ".join(f'"{name}"' for name in self.names or ("nothing",))
        return f"unnest({arrays}) WITH ORDINALITY AS v$({columns}, n)"

    def columns(self, rows: Sequence[Mapping[str, object]]) -> list[list[str | None]]:
        """The values of those arrays: ``n`` is the place of a row, from 1."""
        if not self.names:
            return [[None] * len(rows)]
        return [[written(row[name]) for row in rows] for name in self.names]


def for_many(statement: SqlSelect) -> ForMany:
    """Compile the statement: ``viewer`` and its like, and names with ``each_``, are columns."""
    compiled: Any = statement.compile(dialect=_DIALECT)
    names = tuple(getattr(compiled, "columns", ()))
    return ForMany(compiled.string, names, tuple(compiled.positiontup or ()), compiled.params)


def written(value: Any) -> str | None:
    """A value as PostgreSQL reads it from a text."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Iterable):
        return "{" + ",".join(map(_quoted, value)) + "}"
    return str(value)


def _quoted(item: Any) -> str:
    return '"' + str(item).replace("\\", "\\\\").replace('"', '\\"') + '"'
