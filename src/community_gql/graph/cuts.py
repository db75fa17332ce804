"""Pages as parts of a list: which rows, in which order, and in which direction they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Integer, inspect, literal_column

from community_gql.graph.paging import Order, beyond
from community_gql.graph.terms import Entity, Sql, SqlSelect

Columns = Callable[[Entity], Sequence[Sql]]
"""What is selected of an entity."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A page to be cut out of a list: how it is ordered, and which rows of that.

    ``binds`` are the filter's; ``there`` are the keys of the cursor, none without one; ``limit``
    is a number of rows. The order's keys are columns named ``key_name`` and a number.
    """

    order: Order
    backward: bool
    binds: Mapping[str, Sql]
    there: Sequence[Sql]
    limit: int
    key_name: str

    def names(self, entity: Entity) -> list[str]:
        """The names of the keys."""
        return [f"{self.key_name}{i}" for i, _ in enumerate(self.order.keys(entity, self.binds))]

    @property
    def literal_limit(self) -> ColumnElement[int]:
        """The limit, written into the statement."""
        return literal_column(str(self.limit), Integer)

    def is_wanted(self, keys: Sequence[Sql]) -> ColumnElement[bool] | None:
        """Whether a row is behind the cursor, by its ``keys``; None without a cursor."""
        descending = self.order.descending != self.backward
        return beyond(keys, self.there, descending) if self.there else None

    def ordered(self, query: SqlSelect, keys: Sequence[Sql]) -> SqlSelect:
        """The rows of ``query`` behind the cursor, in the order of ``keys``."""
        is_wanted = self.is_wanted(keys)
        if is_wanted is not None:
            query = query.where(is_wanted)
        return query.order_by(*directed(self.order, keys, self.backward))


def directed(order: Order, keys: Iterable[Sql], backward: bool) -> list[Sql]:
    """``keys`` in the direction in which ``order`` is read."""
    descending = order.descending != backward
    return [key.desc() if descending else key.asc() for key in keys]


def all_columns(entity: Entity) -> list[Sql]:
    """Every column of a mapped entity; PostgreSQL drops those that nobody uses."""
    return [getattr(entity, attribute.key) for attribute in inspect(entity).mapper.column_attrs]
