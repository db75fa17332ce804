"""What an operation may cost: an upper bound of what it can return, and what weighs extra.

The cost is known before the operation runs, from its coerced variables and its plans.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    OperationDefinitionNode,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_list_type,
)
from graphql.execution.values import VariableValues

from community_gql.errors import PublicError
from community_gql.graph.plans import Plans, ValuePlan
from community_gql.operations.fold import Fold, Parent
from community_gql.operations.shape import INTROSPECTION, LIMITS
from community_gql.schema.executable import core
from community_gql.schema.kinds import (
    ColumnField,
    ExpressionField,
    PageField,
    ThroughField,
    declared,
)
from community_gql.schema.lengths import CHARACTERS, longest
from community_gql.schema.query import NodesField

_WORD = re.compile(r"\w+", re.ASCII)


class CostLimitExceeded(PublicError):
    """The operation could return more than one answer may hold."""

    code = "COST_LIMIT_EXCEEDED"


COUNT_OF_LIST, COUNT_OF_EVERYTHING = 100, 1000
"""What a count weighs, however often it is selected: of a list that hangs on something, and of a
root list. It counts 1,001 rows at most."""
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
_COUNTS = frozenset({"totalCount", "totalCountIsExact"})
_INTROSPECTED = 4
"""An object of introspection takes as long as this many others: no statement, but all Python."""


_CONNECTIONS = frozenset(
    get_named_type(field.type).name
    for type_ in core.type_map.values()
    if isinstance(type_, GraphQLObjectType)
    for field in type_.fields.values()
    if isinstance(declared(field), PageField)
)


@lru_cache(maxsize=1024)
def characters_of(field: ColumnField) -> int:
    """The most characters that a field of a column can hold; 0 for numbers and moments.

    Raises LookupError for a text without a bound.
    """
    shape = getattr(field.origin, "shape", None)
    if shape is None or isinstance(field, ExpressionField):
        return 0
    return longest(getattr(shape.model, field.attribute or field.python_name))


LONG_FIELDS = frozenset(
    name
    for type_ in core.type_map.values()
    if isinstance(type_, GraphQLObjectType)
    for name, field in type_.fields.items()
    if isinstance(declared(field), ColumnField) and characters_of(declared(field)) > CHARACTERS
)
"""The names of the fields that hold long texts, of any type."""


def wanted_texts(document: str) -> list[str]:
    """Which of LONG_FIELDS a document may select: those whose name is in its text."""
    return sorted(LONG_FIELDS.intersection(_WORD.findall(document)))


class Weight(NamedTuple):
    """What a selection set weighs for one parent."""

    objects: int = 0
    characters: int = 0
    """Of the texts that it selects, each as often as it is selected."""
    per_row: int = 0
    """In a connection: for each row of its page."""
    counts: int = 0
    """In a connection: how often its count is selected."""

    @property
    def whole(self) -> int:
        """Its objects and texts."""
        return self.objects + self.characters // CHARACTERS


def cost_of(
    operation: OperationDefinitionNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    variables: VariableValues,
    plans: Plans,
) -> int:
    """The most JSON objects and thousands of characters that the answer can hold, and extras.

    Page sizes and included fields are those of the coerced ``variables``; ``plans`` are the
    argument pass's. Plain lists count at their declared maximum, ``edges`` and ``nodes`` each.
    """
    root = core.get_root_type(operation.operation)
    return _Cost(fragments, variables, plans).of(operation.selection_set, root).whole


def check_cost(cost: int, limit: int = LIMITS.cost) -> None:
    """Raises CostLimitExceeded above the limit."""
    if cost > limit:
        raise CostLimitExceeded(
            f"The operation could cost {cost:,}; at most {limit:,} is allowed. "
            "Ask for smaller pages, fewer nested lists or fewer long texts."
        )


class _Cost(Fold[Weight]):
    def __init__(
        self,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: VariableValues,
        plans: Plans,
    ) -> None:
        super().__init__(fragments, variables)
        self._plans = plans

    def together(self, values: Sequence[Weight]) -> Weight:
        objects = characters = per_row = counts = 0
        for weight in values:
            objects += weight.objects
            characters += weight.characters
            per_row += weight.per_row
            counts += weight.counts
        return Weight(objects, characters, per_row, counts)

    def field(self, node: FieldNode, parent: Parent) -> Weight:
        assert isinstance(parent, GraphQLObjectType | GraphQLInterfaceType)
        name = node.name.value
        definition = core.get_field(parent, name)
        assert definition is not None
        if node.selection_set is None:
            return self._leaf(node, definition)
        named = get_named_type(definition.type)
        inner = self.of(node.selection_set, named if is_composite_type(named) else None)
        if parent.name.startswith("__") or name in INTROSPECTION:
            many = _LISTS_OF_INTROSPECTION.get(name, 1)
            own = _INTROSPECTED if name in _LISTS_OF_INTROSPECTION else 0
            return Weight(many * (own + inner.whole))
        field = declared(definition)
        plan = self._plans.of(node)
        if isinstance(field, PageField) and plan is not None:
            weight = plan.weight
            count = COUNT_OF_EVERYTHING if weight.everything else COUNT_OF_LIST
            extra = (count if inner.counts else 0) + (SEARCH if weight.searches else 0)
            return Weight(1 + extra + inner.whole + weight.rows * inner.per_row)
        if isinstance(field, ThroughField):
            return Weight(field.extra + field.most * (1 + inner.whole))
        if isinstance(field, NodesField) and plan is not None:
            return Weight(plan.weight.rows * (1 + inner.whole))
        if is_list_type(get_nullable_type(definition.type)):
            if parent.name in _CONNECTIONS:
                return Weight(per_row=1 + inner.whole)
            return Weight(OTHER_LISTS * (1 + inner.whole))
        return Weight(1 + inner.whole)

    def _leaf(self, node: FieldNode, definition: GraphQLField) -> Weight:
        field, plan = declared(definition), self._plans.of(node)
        if isinstance(field, ColumnField):
            return Weight(characters=characters_of(field))
        if isinstance(plan, ValuePlan):
            return Weight(characters=plan.weight.characters)
        return Weight(counts=1) if node.name.value in _COUNTS else Weight()
