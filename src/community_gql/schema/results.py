"""The kinds of fields that show what a mutation or an event left: see ``kinds.py``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from community_gql.graph.paging import Cursors
from community_gql.graph.plans import Lookup, ResultPlan, first_page_cursors
from community_gql.schema.context import Context
from community_gql.schema.kinds import Arguments, EdgeField, Source


class ResultField(EdgeField[ResultPlan]):
    """The entity that a mutation made or changed, in its payload: null when it was refused."""

    def plan(self, arguments: Arguments) -> ResultPlan:
        """The same for every outcome."""
        return ResultPlan(Lookup(self._target, self._target.key_name))

    def batch(self, plan: ResultPlan) -> Lookup:
        """Finds the row as it was committed."""
        return plan.lookup

    def key(self, plan: ResultPlan, source: Source, context: Context) -> Any:
        """That of the outcome."""
        return source.key


class ResultEdgeField(ResultField):
    """The entity with its cursor in the list that it now heads, for a client to put in there."""

    def __init__(self, owner: type, list_name: str, description: str) -> None:
        super().__init__(description)
        self._list = owner, list_name

    @cached_property
    def cursors(self) -> tuple[tuple[str, ...], Cursors]:
        """The columns of the list's order by name, and its cursors."""
        owner, name = self._list
        fields = owner.__strawberry_definition__.fields  # type: ignore[attr-defined]
        listed = next(field for field in fields if field.name == name).source
        return first_page_cursors(listed)

    def _edge(self, node: Any) -> ResultEdge | None:
        names, cursors = self.cursors
        if node is None:
            return None
        return ResultEdge(node, cursors.write([getattr(node, name) for name in names]))

    def values(
        self, plan: ResultPlan, keys: list[Any], found: list[Any], context: Context
    ) -> list[Any]:
        """The edges."""
        return [self._edge(node) for node in found]


@dataclass(slots=True)
class ResultEdge:
    """A row and its cursor."""

    node: Any
    cursor: str
