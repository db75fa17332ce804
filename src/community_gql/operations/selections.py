"""What a selection set asks of one object type: fragments applied, same response keys merged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLObjectType,
    InlineFragmentNode,
    SelectionSetNode,
    get_named_type,
    is_abstract_type,
)
from graphql.execution.values import VariableValues
from strawberry.types.field import StrawberryField

from community_gql.operations.fold import is_included
from community_gql.schema.executable import core
from community_gql.schema.kinds import declared

MAX_FIELDS = 1000
"""So many fields, counted at every place where a fragment is spread, can be compiled."""
TOO_MANY_FIELDS = "too many fields"


class NotCompiled(Exception):
    """The loaders must run this operation; the text says why."""


@dataclass(frozen=True, slots=True)
class Selected:
    """One response key of an object: its field, and all nodes that ask for it."""

    key: str
    nodes: list[FieldNode]
    definition: GraphQLField

    @property
    def node(self) -> FieldNode:
        """The first of the nodes; the arguments of all are the same."""
        return self.nodes[0]

    @property
    def name(self) -> str:
        """The field's name in the schema."""
        return self.node.name.value

    @property
    def declared(self) -> StrawberryField | None:
        """The declaration behind the field; None for ``__typename``."""
        return declared(self.definition)

    @property
    def sets(self) -> list[SelectionSetNode]:
        """The selection sets of the nodes."""
        return [node.selection_set for node in self.nodes if node.selection_set is not None]


@dataclass(slots=True)
class Selections:
    """The selections of one operation with its variables."""

    fragments: Mapping[str, FragmentDefinitionNode]
    variables: VariableValues
    most: float = MAX_FIELDS
    """So many fields are walked through."""
    _count: int = field(default=0, init=False)

    def of(self, type_: GraphQLObjectType, sets: Iterable[SelectionSetNode]) -> list[Selected]:
        """The fields selected of an object of ``type_``: CollectFields of the specification.

        Raises NotCompiled when the operation has too many.
        """
        found: dict[str, list[FieldNode]] = {}
        seen: set[str] = set()
        for selections in sets:
            self._walk(type_, selections, found, seen)
        selected = []
        for key, nodes in found.items():
            definition = core.get_field(type_, nodes[0].name.value)
            assert definition is not None
            selected.append(Selected(key, nodes, definition))
        return selected

    def _walk(
        self,
        type_: GraphQLObjectType,
        selections: SelectionSetNode,
        found: dict[str, list[FieldNode]],
        seen: set[str],
    ) -> None:
        for node in selections.selections:
            self._count += 1
            if self._count > self.most:
                raise NotCompiled(TOO_MANY_FIELDS)
            if not is_included(node, self.variables):
                continue
            if isinstance(node, FieldNode):
                found.setdefault((node.alias or node.name).value, []).append(node)
            elif isinstance(node, InlineFragmentNode):
                if _applies(node, type_):
                    self._walk(type_, node.selection_set, found, seen)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in seen:
                seen.add(node.name.value)
                fragment = self.fragments[node.name.value]
                if _applies(fragment, type_):
                    self._walk(type_, fragment.selection_set, found, seen)


def _applies(
    fragment: InlineFragmentNode | FragmentDefinitionNode, type_: GraphQLObjectType
) -> bool:
    if fragment.type_condition is None:
        return True
    named = core.get_type(fragment.type_condition.name.value)
    return named is type_ or (is_abstract_type(named) and core.is_sub_type(named, type_))


def object_type(selected: Selected) -> GraphQLObjectType:
    """The object type inside the field's type. Raises NotCompiled where it is an abstract one."""
    named = get_named_type(selected.definition.type)
    if not isinstance(named, GraphQLObjectType):
        raise NotCompiled(f"{selected.name} leads to the abstract type {named}")
    return named
