"""What an operation may cost: an upper bound of what it can return, and what weighs extra.

The cost is known before the operation runs, from its coerced variables and its plans.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLInterfaceType,
    GraphQLObjectType,
    InlineFragmentNode,
    Node,
    OperationDefinitionNode,
    get_named_type,
    get_nullable_type,
    is_list_type,
)
from graphql.execution.values import VariableValues

from community_gql.errors import PublicError
from community_gql.graph.plans import Plans
from community_gql.operations.plans import is_included
from community_gql.operations.shape import INTROSPECTION, LIMITS, Parent, condition_of
from community_gql.schema.executable import core
from community_gql.schema.kinds import PageField, ThroughField, declared
from community_gql.schema.query import NodesField


class CostLimitExceeded(PublicError):
    """The operation could return more than one answer may hold."""

    code = "COST_LIMIT_EXCEEDED"


COUNT_OF_LIST, COUNT_OF_EVERYTHING = 10, 1000
"""What ``totalCount`` weighs: of a list that hangs on something, and of a root list."""
SEARCH = 100
"""What a text search weighs for each list it looks through."""
OTHER_LISTS = 20
"""How many a list counts that says nothing of its length: a payload's errors."""
_LISTS_OF_INTROSPECTION = {
    "types": 80,
    "fields": 8,
    "inputFields": 4,
    "args": 4,
    "enumValues": 4,
    "possibleTypes": 8,
    "interfaces": 1,
    "directives": 8,
}
_INTROSPECTED = 4
"""An object of introspection takes as long as this many others: no statement, but all Python."""


_CONNECTIONS = frozenset(
    get_named_type(field.type).name
    for type_ in core.type_map.values()
    if isinstance(type_, GraphQLObjectType)
    for field in type_.fields.values()
    if isinstance(declared(field), PageField)
)


class Weight(NamedTuple):
    """What a selection set weighs for one parent."""

    objects: int = 0
    per_row: int = 0
    """In a connection: for each row of its page."""
    counts: int = 0
    """In a connection: how often it is counted."""


def cost_of(
    operation: OperationDefinitionNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    variables: VariableValues,
    plans: Plans,
) -> int:
    """The most JSON objects that the operation's answer can hold, plus what weighs extra.

    Page sizes and included fields are those of the coerced ``variables``; ``plans`` are the
    argument pass's. Plain lists count at their declared maximum, ``edges`` and ``nodes`` each.
    """
    return _Cost(fragments, variables, plans).of(operation)


def check_cost(cost: int, limit: int = LIMITS.cost) -> None:
    """Raises CostLimitExceeded above the limit."""
    if cost > limit:
        raise CostLimitExceeded(
            f"The operation could return {cost:,} objects; at most {limit:,} are allowed. "
            "Ask for smaller pages or fewer nested lists."
        )


class _Cost:
    def __init__(
        self,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: VariableValues,
        plans: Plans,
    ) -> None:
        self._fragments, self._variables, self._plans = fragments, variables, plans
        self._weights: dict[str, Weight] = {}

    def of(self, operation: OperationDefinitionNode) -> int:
        root = core.get_root_type(operation.operation)
        assert root is not None
        return self._selections(operation.selection_set.selections, root).objects

    def _selections(self, selections: Iterable[Node], parent: Parent) -> Weight:
        objects = per_row = counts = 0
        for node in selections:
            if not is_included(node, self._variables):
                continue
            if isinstance(node, FieldNode):
                weight = self._field(node, parent)
            elif isinstance(node, FragmentSpreadNode):
                weight = self._fragment(node.name.value)
            elif isinstance(node, InlineFragmentNode):
                condition = node.type_condition
                inner = condition_of(condition.name.value) if condition else parent
                weight = self._selections(node.selection_set.selections, inner)
            objects += weight.objects
            per_row += weight.per_row
            counts += weight.counts
        return Weight(objects, per_row, counts)

    def _fragment(self, name: str) -> Weight:
        if name not in self._weights:
            node = self._fragments[name]
            parent = condition_of(node.type_condition.name.value)
            self._weights[name] = self._selections(node.selection_set.selections, parent)
        return self._weights[name]

    def _field(self, node: FieldNode, parent: Parent) -> Weight:
        assert isinstance(parent, GraphQLObjectType | GraphQLInterfaceType)
        name = node.name.value
        definition = core.get_field(parent, name)
        assert definition is not None
        if node.selection_set is None:
            return Weight(counts=1) if name == "totalCount" else Weight()
        named = get_named_type(definition.type)
        inner = self._selections(
            node.selection_set.selections,
            named,  # type: ignore[arg-type]
        )
        if parent.name.startswith("__") or name in INTROSPECTION:
            many = _LISTS_OF_INTROSPECTION.get(name, 1)
            own = _INTROSPECTED if name in _LISTS_OF_INTROSPECTION else 0
            return Weight(many * (own + inner.objects))
        field = declared(definition)
        plan = self._plans.of(node)
        if isinstance(field, PageField) and plan is not None:
            weight = plan.weight
            extra = inner.counts * (COUNT_OF_EVERYTHING if weight.everything else COUNT_OF_LIST)
            if weight.searches:
                extra += SEARCH
            return Weight(1 + extra + inner.objects + weight.rows * inner.per_row)
        if isinstance(field, ThroughField):
            return Weight(field.most * (1 + inner.objects))
        if isinstance(field, NodesField) and plan is not None:
            return Weight(plan.weight.rows * (1 + inner.objects))
        if is_list_type(get_nullable_type(definition.type)):
            if parent.name in _CONNECTIONS:
                return Weight(per_row=1 + inner.objects)
            return Weight(OTHER_LISTS * (1 + inner.objects))
        return Weight(1 + inner.objects)
