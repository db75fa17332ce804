"""What the models are made of."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    DateTime,
    ForeignKey,
    MetaData,
    String,
    bindparam,
    func,
    literal_column,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

VIEWER = bindparam("viewer", type_=String)
"""The ``auth0_sub`` of the viewer, NULL for the anonymous one; bound when a statement runs."""


def constant(value: enum.StrEnum) -> ColumnElement[str]:
    """The stored value as an SQL literal: a bind would hide it from partial indexes."""
    return literal_column(f"'{value}'", String)


def one_of(column: str, values: type[enum.StrEnum]) -> CheckConstraint:
    """The constraint that a column holds one of these values."""
    listed = ",".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}")


class Base(DeclarativeBase):
    """Base of all mapped classes."""

    metadata = MetaData(
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
            "ck": "%(table_name)s_%(constraint_name)s_check",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        int: BigInteger,
        datetime: DateTime(timezone=True),
    }

    __global_key__: ClassVar[str] = "id"
    """The column whose value stands in the entity's global id."""


def owner(**kwargs: Any) -> Mapped[str]:
    """A column that names the person whose row it is; the row goes with the person."""
    return mapped_column(String(64), ForeignKey("users.auth0_sub", ondelete="CASCADE"), **kwargs)


def now() -> Mapped[datetime]:
    """A column that is the moment of writing unless something else is given."""
    return mapped_column(server_default=func.now())


COPIES = "copies"


def copy_of(attribute: str) -> dict[str, str]:
    """``info`` of a column that triggers keep equal to an attribute of the row it leads to."""
    return {COPIES: attribute}
