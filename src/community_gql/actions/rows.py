"""Changing and deleting one row by its primary key: statements that are compiled once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import BindParameter, bindparam, inspect
from sqlalchemy import delete as delete_from
from sqlalchemy import update as change

from community_gql.db import models as m
from community_gql.db.texts import Fixed


def new(column: Any) -> BindParameter[Any]:
    """The bind of a column's new value: ``new_title``."""
    return bindparam(f"new_{column.key}", type_=column.type)


@lru_cache
def change_of(model: type[m.Base], columns: tuple[str, ...]) -> Fixed:
    """Changes these columns of the row with the primary key ``row``."""
    values = {name: new(getattr(model, name)) for name in columns}
    return Fixed(change(model).where(_this(model)).values(values))


@lru_cache
def deletion_of(model: type[m.Base]) -> Fixed:
    """Deletes the row with the primary key ``row``."""
    return Fixed(delete_from(model).where(_this(model)))


def change_values(row: Any, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The values for both."""
    return {"row": row} | {f"new_{name}": value for name, value in (changes or {}).items()}


def _this(model: type[m.Base]) -> Any:
    (key,) = inspect(model).primary_key
    return key == bindparam("row", type_=key.type)
