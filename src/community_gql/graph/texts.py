"""Long texts: read where they are wanted, and counted while they are read.

They are counted in a setting that ends with the transaction. ``octet_length`` knows the length of a
text that is kept compressed or beside its row, and does not read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    String,
    all_,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    null,
    true,
)

from community_gql.graph.terms import Sql

_METER: Any = literal_column("'community_gql.text_bytes'")
_EMPTY: Any = literal_column("''")
_ZERO: Any = literal_column("'0'")
TOO_MUCH = "too many bytes of text"
"""How PostgreSQL's error begins to say that the loaders read more than they may."""


@dataclass(frozen=True, slots=True)
class LongTexts:
    """Which long texts the loaders read for an operation, and how much of them."""

    wanted: Sequence[str]
    """The names of the fields that it may select."""
    most: int | None
    """How many bytes together; None where its cost says that there are not so many."""

    def binds(self) -> dict[str, object]:
        """The values of the bind parameters of ``if_wanted``."""
        return {"wanted_texts": list(self.wanted), "most_text_bytes": self.most}


class TextMeter:
    """Counts the bytes of the long texts that are read, and reads no more than ``most``."""

    def __init__(self, most: ColumnElement[int]) -> None:
        self._most = most

    @property
    def _read(self) -> ColumnElement[int]:
        # Empty after a transaction that has set it, NULL before any.
        setting = func.current_setting(_METER, true())
        return cast(func.coalesce(func.nullif(setting, _EMPTY), _ZERO), BigInteger)

    @property
    def is_below(self) -> ColumnElement[bool]:
        """Whether all texts were read."""
        return self._read <= self._most

    def fits(self, column: Sql) -> ColumnElement[bool]:
        """Count a long text; whether it may be read as well."""
        new = cast(self._read + func.coalesce(_length(column), literal_column("0")), String)
        return cast(func.set_config(_METER, new, true()), BigInteger) <= self._most

    def counted(self, column: Sql, value: Sql) -> Sql:
        """``value``, made of a long text; NULL once there are too many bytes."""
        return case((self.fits(column), value))


def _length(column: Sql) -> ColumnElement[int]:
    length: ColumnElement[int] = func.octet_length(cast(column, String))
    return length


def if_wanted(name: str, column: Sql) -> Sql:
    """A long text of the loaders, for the field ``name``; NULL, unread, if nobody selects it.

    Where the texts are counted and there are too many bytes, the statement fails with TOO_MUCH:
    the rows that were read before are of no use. Without values for its bind parameters all is
    read and nothing counted.
    """
    wanted = bindparam("wanted_texts", None, ARRAY(String))
    most = bindparam("most_text_bytes", None, BigInteger)
    # Of the row, lest PostgreSQL tries it while it plans.
    failure = literal_column(f"'{TOO_MUCH}: '", String).op("||")(cast(_length(column), String))
    named = literal_column("'" + name + "'", String)
    return case(
        (wanted.is_not(None) & (named != all_(wanted)), null()),
        (most.is_(None), column),
        (case((TextMeter(most).fits(column), true()), else_=cast(failure, Boolean)), column),
    )
