"""The argument pass: the arguments of a whole operation, read before any of it runs.

So a bad page size, a foreign cursor or NUL in a text refuses the request, whichever executor would
have run it, and resolvers find ready what each field node asks for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLField,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    StringValueNode,
    VariableNode,
    Visitor,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_leaf_type,
    visit,
)
from graphql.execution.values import VariableValues, get_argument_values
from strawberry.types.arguments import convert_arguments

from community_gql.errors import BadRequest
from community_gql.graph.plans import Plan
from community_gql.operations.fold import Fold, Parent
from community_gql.operations.trees import without_selections
from community_gql.schema.executable import core, schema
from community_gql.schema.kinds import EdgeField, declared
from community_gql.schema.scalars import CONFIG

Missing = tuple[tuple[str, Any], ...]
"""Arguments with what stands for their variable: null, or ``_ABSENT``."""
_ABSENT = object()
_MOST_KNOWN = 16


@dataclass
class FieldArguments:
    """A field node of the operation whose value is loaded."""

    node: FieldNode
    definition: GraphQLField
    field: EdgeField[Any]
    _known: dict[Missing, dict[str, object]] = dataclasses.field(default_factory=dict)
    """The arguments that were read, by which variables a request did not bring, or brought as
    null: what it brings takes their place, the others never change."""

    def alone(self) -> FieldArguments:
        """The same without what is selected below, so that nothing holds the tree."""
        return FieldArguments(without_selections(self.node), self.definition, self.field)

    def plan(self, variables: VariableValues) -> Plan:
        """What its arguments ask for. Raises BadRequest, or GraphQLError for a null too many."""
        plan: Plan = self.field.plan(self._arguments(variables))
        return plan

    def _arguments(self, variables: VariableValues) -> dict[str, object]:
        """The arguments with these values. Converting them anew takes ten times as long."""
        whole = self._variables
        if whole is None:
            return self._read(variables)
        coerced, given = variables.coerced, {}
        missing: Missing = ()
        for argument, variable in whole.items():
            value = coerced.get(variable, _ABSENT)
            if value is None or value is _ABSENT:
                missing += ((argument, value),)
            else:
                given[argument] = value
        known = self._known.get(missing)
        if known is None:
            known = self._read(variables)
            if len(self._known) < _MOST_KNOWN:
                self._known[missing] = known
        return known | given

    def _read(self, variables: VariableValues) -> dict[str, object]:
        """The arguments as graphql-core and Strawberry read them."""
        values = get_argument_values(self.definition, self.node, variables)
        registry = schema.schema_converter.scalar_registry
        return convert_arguments(values, self.field.arguments, registry, CONFIG)

    @cached_property
    def _variables(self) -> Mapping[str, str] | None:
        """The variables by argument, if each is a whole argument and a scalar or an enum."""
        names = {
            CONFIG.name_converter.from_argument(a): a.python_name for a in self.field.arguments
        }
        found: dict[str, str] = {}
        for argument in self.node.arguments or ():
            name, value = argument.name.value, argument.value
            if isinstance(value, VariableNode):
                if not is_leaf_type(get_nullable_type(self.definition.args[name].type)):
                    return None
                found[names[name]] = value.name.value
            elif isinstance(value, ListValueNode | ObjectValueNode):
                return None
        return found


def edges_of(
    operation: OperationDefinitionNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    variables: VariableValues,
) -> list[FieldArguments]:
    """The field nodes of the operation that load something, in its order.

    Each fragment is read once however often it is spread.
    """
    root = core.get_root_type(operation.operation)
    assert root is not None
    found = _Edges(fragments, variables)
    found.of(operation.selection_set, root)
    return found.nodes


class _Edges(Fold[None]):
    def __init__(
        self, fragments: Mapping[str, FragmentDefinitionNode], variables: VariableValues
    ) -> None:
        super().__init__(fragments, variables)
        self.nodes: list[FieldArguments] = []

    def field(self, node: FieldNode, parent: Parent) -> None:
        assert parent is not None
        definition = core.get_field(parent, node.name.value)
        if definition is None:
            return
        field = declared(definition)
        if isinstance(field, EdgeField):
            self.nodes.append(FieldArguments(node, definition, field))
        if node.selection_set is not None:
            named = get_named_type(definition.type)
            self.of(node.selection_set, named if is_composite_type(named) else None)

    def together(self, values: Sequence[None]) -> None:
        """Nothing: the fields are noted as they are met."""


def check_document(document: DocumentNode) -> None:
    """Raises BadRequest for a text in the document that PostgreSQL cannot hold."""
    visit(document, _Texts())


class _Texts(Visitor):
    def enter_string_value(self, node: StringValueNode, *_: Any) -> None:
        check_text(node.value)


def check_text(text: str) -> None:
    """Raises BadRequest for NUL and for surrogates that stand alone."""
    if "\x00" in text:
        raise BadRequest("Text must not contain NUL (U+0000).")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRequest("Text must not contain lone surrogates (U+D800 to U+DFFF).") from None


def check_variables(value: object) -> None:
    """Raises BadRequest for a text anywhere in the variables that PostgreSQL cannot hold."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            check_text(item)
        elif isinstance(item, Mapping):
            pending.extend(item.keys())
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
