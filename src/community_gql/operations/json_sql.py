"""JSON in SQL: objects and lists of values, and what stands for a value that must not be null.

An object is ``row_to_json`` over a subselect whose columns are its response keys, where these can
be names of columns.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    String,
    cast,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import JSON, aggregate_order_by

from community_gql.graph.terms import Sql, SqlSelect

_IDENTIFIER_BYTES = 63  # PostgreSQL cuts longer names, silently
_OBJECT_PAIRS = 50  # a function takes 100 arguments
_COLUMNS = 1600  # a SELECT list has at most 1664

Entries = list[tuple[str, Sql]]
"""The members of a JSON object: response keys and values."""


def text_sql(value: str) -> ColumnElement[str]:
    """A text that is written into the statement."""
    quoted = value.replace("'", "''")
    return literal_column(f"'{quoted}'", String)


def fits(entries: Entries) -> bool:
    """Whether a SELECT list can have these response keys as its names."""
    return 0 < len(entries) <= _COLUMNS and all(len(key) <= _IDENTIFIER_BYTES for key, _ in entries)


def labelled(entries: Entries) -> list[Any]:
    """The values as columns that are named by their keys."""
    return [value.label(key) for key, value in entries]


def shaped(entries: Entries) -> SqlSelect:
    """One row of the values."""
    # unscoped: values of rows that are scoped where they are read
    return select(*labelled(entries))


def of_row(row: Any) -> Sql:
    """The object whose members are the columns of a row."""
    return single(func.row_to_json(row.table_valued()))


def single(value: Sql) -> Sql:
    """A value as a subselect of its own."""
    return select(value).scalar_subquery()  # unscoped: of a subselect that is scoped


def built(entries: Entries) -> Sql:
    """The object by json_build_object: for any keys, and slower than a row."""
    parts = [
        func.json_build_object(
            *(
                item
                for key, value in entries[i : i + _OBJECT_PAIRS]
                for item in (text_sql(key), value)
            )
        )
        for i in range(0, len(entries), _OBJECT_PAIRS)
    ]
    if len(parts) < 2:
        return parts[0] if parts else func.json_build_object()
    # One object of several: what is between their braces, with commas.
    inner = [
        func.left(func.substr(cast(part, String), literal_column("2")), literal_column("-1"))
        for part in parts
    ]
    text: Sql = text_sql("{")
    for i, piece in enumerate(inner):
        text = text.op("||")(piece) if i == 0 else text.op("||")(text_sql(",")).op("||")(piece)
    return cast(text.op("||")(text_sql("}")), JSON)


def list_sql(
    item: Sql,
    where: ColumnElement[bool] | None = None,
    order: Sql | None = None,
) -> Sql:
    """The JSON list of the items; of none, an empty one."""
    items: Any = func.json_agg(item if order is None else aggregate_order_by(item, order))
    if where is not None:
        items = items.filter(where)
    return func.coalesce(items, literal_column("'[]'::json"))


def is_list_of_numbers(value: Sql) -> ColumnElement[bool]:
    """Whether a JSONB value is an array of nothing but numbers."""
    path: Sql = literal_column("'strict $[*] ? (@.type() != \"number\")'::jsonpath")
    return (func.jsonb_typeof(value) == text_sql("array")) & ~func.jsonb_path_exists(
        value, path, type_=Boolean
    )
