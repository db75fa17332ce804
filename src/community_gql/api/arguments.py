"""The argument pass: the arguments of a whole operation, read before any of it runs.

So a bad page size, a foreign cursor or NUL in a text refuses the request, whichever executor would
have run it, and resolvers find ready what each field node asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphql import (
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLIncludeDirective,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLSkipDirective,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    StringValueNode,
    Visitor,
    get_named_type,
    visit,
)
from graphql.execution.values import VariableValues, get_argument_values, get_directive_values
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.arguments import convert_arguments

from community_gql.api.edges import EdgeField
from community_gql.api.scalars import CONFIG
from community_gql.api.schema import core, schema
from community_gql.errors import BadRequest


def read_arguments(
    operation: OperationDefinitionNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    variables: VariableValues,
) -> dict[int, Any]:
    """What each edge of the operation asks for, by ``id`` of its field node.

    Each fragment is read once however often it is spread. Raises BadRequest.
    """
    return _Reader(core, fragments, variables).read(operation)


class _Reader:
    def __init__(
        self,
        graph: GraphQLSchema,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: VariableValues,
    ) -> None:
        self._graph, self._fragments, self._variables = graph, fragments, variables
        self._plans: dict[int, Any] = {}
        self._seen: set[str] = set()

    def read(self, operation: OperationDefinitionNode) -> dict[int, Any]:
        root = self._graph.get_root_type(operation.operation)
        assert root is not None
        self._selections(operation.selection_set, root)
        return self._plans

    def _selections(
        self, selections: SelectionSetNode, parent: GraphQLObjectType | GraphQLInterfaceType
    ) -> None:
        for node in selections.selections:
            if not is_included(node, self._variables):
                continue
            if isinstance(node, FieldNode):
                self._field(node, parent)
            elif isinstance(node, InlineFragmentNode):
                self._fragment(node.selection_set, node.type_condition, parent)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in self._seen:
                self._seen.add(node.name.value)
                fragment = self._fragments[node.name.value]
                self._fragment(fragment.selection_set, fragment.type_condition, parent)

    def _fragment(self, selections: SelectionSetNode, condition: Any, parent: Any) -> None:
        named = self._graph.get_type(condition.name.value) if condition else parent
        self._selections(selections, named)  # type: ignore[arg-type]

    def _field(self, node: FieldNode, parent: Any) -> None:
        definition = self._graph.get_field(parent, node.name.value)
        if definition is None:
            return
        field = (definition.extensions or {}).get(GraphQLCoreConverter.DEFINITION_BACKREF)
        if isinstance(field, EdgeField):
            values = get_argument_values(definition, node, self._variables)
            self._plans[id(node)] = field.plan(
                convert_arguments(
                    values, field.arguments, schema.schema_converter.scalar_registry, CONFIG
                )
            )
        if node.selection_set:
            self._selections(node.selection_set, get_named_type(definition.type))  # type: ignore[arg-type]


def is_included(node: Any, variables: VariableValues) -> bool:
    """Whether ``@skip`` and ``@include`` leave the selection in."""
    directives: tuple[DirectiveNode, ...] | None = node.directives
    if not directives:
        return True
    skip = get_directive_values(GraphQLSkipDirective, node, variables)
    include = get_directive_values(GraphQLIncludeDirective, node, variables)
    return not (skip and skip["if"]) and (include is None or bool(include["if"]))


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


def check_variables(value: Any) -> None:
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
