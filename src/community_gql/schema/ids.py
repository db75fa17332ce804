"""Global ids: opaque, URL-safe, and never an error when they lead nowhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as QuickUUID
from sqlalchemy import BigInteger, ColumnElement, String, Uuid, cast, literal_column

from community_gql.graph.edges import Shape
from community_gql.graph.terms import Sql

_MAX_ID = 2**63 - 1


def write_id(type_name: str, key: Any) -> str:
    """The global id of the entity of that GraphQL type with this public key: ``Story_1357``."""
    return f"{type_name}_{key}"


def id_sql(type_name: str, key: Sql) -> ColumnElement[str]:
    """``write_id`` as SQL. GraphQL names need no quoting."""
    return literal_column(f"'{type_name}_'", String).op("||")(cast(key, String))


def read_id(text: str, shapes: dict[str, Shape]) -> tuple[Shape, Any] | None:
    """The shape and key in a global id; None for anything that we would not have written."""
    name, _, key = text.rpartition("_")
    shape = shapes.get(name)
    value = None if shape is None else _key(shape, key)
    return None if shape is None or value is None else (shape, value)


def _key(shape: Shape, text: str) -> int | UUID | None:
    value: int | UUID
    try:
        value = _kind(shape)(text)
    except ValueError:
        return None
    known = str(value) == text and not (isinstance(value, int) and value > _MAX_ID)
    return value if known else None


@cache
def _kind(shape: Shape) -> Callable[[str], int | UUID]:
    column_type = getattr(shape.model, shape.model.__global_key__).type
    if isinstance(column_type, Uuid):
        return QuickUUID  # a UUID that is read eight times as fast, and sent without being copied
    if isinstance(column_type, BigInteger):
        return _integer
    raise TypeError(f"no global ids over {column_type!r}")


def _integer(text: str) -> int:
    return int(text) if len(text) < 20 else _MAX_ID + 1
