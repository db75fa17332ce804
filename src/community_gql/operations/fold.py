"""Walking a selection set: one value is made of all its fields, fragments applied.

Every fragment is walked once, where what it unfolds to may be exponential. For what an object of
one type is asked for, fields of the same key merged, see ``selections.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from graphql import (
    DirectiveNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLCompositeType,
    GraphQLIncludeDirective,
    GraphQLSkipDirective,
    InlineFragmentNode,
    SelectionSetNode,
    is_composite_type,
)
from graphql.execution.values import VariableValues, get_directive_values

from community_gql.operations.throttle import rest
from community_gql.schema.executable import core

T = TypeVar("T")

Parent = GraphQLCompositeType | None
"""The type whose fields are selected; None where a document names one that does not exist."""


class Fold(ABC, Generic[T]):
    """Makes one value of a selection set: of each field one, then of these ``together`` one.

    With ``variables`` the fields that ``@skip`` and ``@include`` leave out do not count.
    """

    def __init__(
        self,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: VariableValues | None = None,
    ) -> None:
        self.fragments = fragments
        self._variables = variables
        self._folded: dict[str, T] = {}

    @abstractmethod
    def field(self, node: FieldNode, parent: Parent) -> T:
        """The value of a field, which asks for that of its selection set by ``of``."""

    @abstractmethod
    def together(self, values: Sequence[T]) -> T:
        """The value of a selection set, of those in it."""

    def enter(self, node: Any) -> None:
        """Called for each node before its value is made."""

    def of(self, selections: SelectionSetNode, parent: Parent) -> T:
        """The value of a selection set on ``parent``."""
        values = []
        for node in selections.selections:
            rest()
            if self._variables is not None and not is_included(node, self._variables):
                continue
            self.enter(node)
            if isinstance(node, FieldNode):
                values.append(self.field(node, parent))
            elif isinstance(node, FragmentSpreadNode):
                values.append(self.fragment(node.name.value))
            elif isinstance(node, InlineFragmentNode):
                condition = node.type_condition
                inner = composite(condition.name.value) if condition else parent
                values.append(self.of(node.selection_set, inner))
        return self.together(values)

    def fragment(self, name: str) -> T:
        """The value of a fragment, wherever it is spread."""
        if name not in self._folded:
            node = self.fragments[name]
            self._folded[name] = self.of(
                node.selection_set, composite(node.type_condition.name.value)
            )
        return self._folded[name]


def composite(name: str) -> Parent:
    """The object, interface or union of that name, if there is one."""
    type_ = core.get_type(name)
    return type_ if is_composite_type(type_) else None


def is_included(node: Any, variables: VariableValues) -> bool:
    """Whether ``@skip`` and ``@include`` leave the selection in."""
    directives: tuple[DirectiveNode, ...] | None = node.directives
    if not directives:
        return True
    skip = get_directive_values(GraphQLSkipDirective, node, variables)
    include = get_directive_values(GraphQLIncludeDirective, node, variables)
    return not (skip and skip["if"]) and (include is None or bool(include["if"]))
