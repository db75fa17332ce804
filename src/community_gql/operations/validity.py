"""Documents that are certainly valid, seen in one pass.

graphql-core's validation takes five times as long as parsing, and nearly every document that comes
is valid. Whatever is not plainly so is left to it, and so is every error: what is rare (directives
of others, introspection, subscriptions, fields asked for under one name in several ways) is not
looked at here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphql import (
    ArgumentNode,
    BooleanValueNode,
    DocumentNode,
    EnumValueNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLField,
    GraphQLID,
    GraphQLInputField,
    GraphQLInt,
    GraphQLString,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    SelectionSetNode,
    StringValueNode,
    Undefined,
    ValueNode,
    VariableDefinitionNode,
    VariableNode,
    do_types_overlap,
    get_named_type,
    get_nullable_type,
    is_enum_type,
    is_equal_type,
    is_input_object_type,
    is_input_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_required_argument,
    is_required_input_field,
    print_ast,
    specified_directives,
    type_from_ast,
)
from graphql.utilities import validate_input_literal
from graphql.validation.rules.variables_in_allowed_position import allowed_variable_usage

from community_gql.operations.fold import composite
from community_gql.operations.throttle import rest
from community_gql.schema.executable import core

_SWITCHES = {d.name: d for d in specified_directives if d.name in ("skip", "include")}
_DIGITS = 9
"""A number of so many digits is an Int."""
_REPEATED = 100
"""So many fields may repeat another; what has more is graphql-core's to bound."""


class _Uncertain(Exception):
    """To be left to graphql-core."""


def is_certainly_valid(document: DocumentNode) -> bool:
    """Whether graphql-core would find nothing wrong with the document; False when in doubt.

    The document is one of ``syntax.parse``. Takes time in proportion to its fields, fragments
    unfolded wherever they are spread.
    """
    try:
        _Document(document).check()
    except _Uncertain:
        return False
    return True


class _Document:
    def __init__(self, document: DocumentNode) -> None:
        self._operations: list[OperationDefinitionNode] = []
        self._fragments: dict[str, FragmentDefinitionNode] = {}
        for node in document.definitions:
            assert isinstance(node, OperationDefinitionNode | FragmentDefinitionNode)
            _certain(not node.directives)
            if isinstance(node, OperationDefinitionNode):
                self._operations.append(node)
            else:
                _certain(node.name.value not in self._fragments)
                self._fragments[node.name.value] = node

    def check(self) -> None:
        """Raises _Uncertain."""
        names = [node.name.value if node.name else None for node in self._operations]
        _certain(len(set(names)) == len(names) and (None not in names or len(names) == 1))
        spread: set[str] = set()
        for node in self._operations:
            operation = _Operation(node, self._fragments)
            operation.check()
            spread |= operation.spread
        _certain(len(spread) == len(self._fragments))


class _Operation:
    """One operation with the fragments that it spreads."""

    def __init__(
        self, node: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
    ) -> None:
        self._node, self._fragments = node, fragments
        self.spread: set[str] = set()
        self._open: list[str] = []
        """The fragments around what is looked at: none may spread itself."""
        self._defined: dict[str, tuple[VariableDefinitionNode, Any]] = {}
        self._used: set[str] = set()
        self._repeated = 0

    def check(self) -> None:
        """Raises _Uncertain."""
        root = core.get_root_type(self._node.operation)
        _certain(root is not None and self._node.operation is not OperationType.SUBSCRIPTION)
        for node in self._node.variable_definitions or ():
            self._define(node)
        self._selections([(self._node.selection_set, root)])
        _certain(len(self._used) == len(self._defined))

    def _define(self, node: VariableDefinitionNode) -> None:
        name, type_ = node.variable.name.value, type_from_ast(core, node.type)
        _certain(name not in self._defined and not node.directives and is_input_type(type_))
        if node.default_value is not None:
            self._value(node.default_value, type_)
        self._defined[name] = node, type_

    # Selections

    def _selections(self, sets: Sequence[tuple[SelectionSetNode, Any]]) -> None:
        """Look at selection sets whose fields end up in one object, each with its type."""
        found: dict[str, _Asked] = {}
        for selections, parent in sets:
            self._set(selections, parent, found)
        for asked in found.values():
            if asked.sets:
                type_ = get_named_type(asked.definition.type)
                self._selections([(inner, type_) for inner in asked.sets])

    def _set(self, selections: SelectionSetNode, parent: Any, found: dict[str, _Asked]) -> None:
        _certain(bool(selections.selections))
        for node in selections.selections:
            rest()
            self._switches(node)
            if isinstance(node, FieldNode):
                self._field(node, parent, found)
            elif isinstance(node, FragmentSpreadNode):
                self._spread(node.name.value, parent, found)
            elif isinstance(node, InlineFragmentNode):
                condition = node.type_condition
                inner = self._narrowed(condition.name.value, parent) if condition else parent
                self._set(node.selection_set, inner, found)

    def _spread(self, name: str, parent: Any, found: dict[str, _Asked]) -> None:
        _certain(name in self._fragments and name not in self._open)
        fragment = self._fragments[name]
        self.spread.add(name)
        self._open.append(name)
        self._set(
            fragment.selection_set,
            self._narrowed(fragment.type_condition.name.value, parent),
            found,
        )
        self._open.pop()

    @staticmethod
    def _narrowed(name: str, parent: Any) -> Any:
        type_ = composite(name)
        if type_ is not parent:
            _certain(type_ is not None and do_types_overlap(core, type_, parent))
        return type_

    def _field(self, node: FieldNode, parent: Any, found: dict[str, _Asked]) -> None:
        name = node.name.value
        _certain(not name.startswith("__") or name == "__typename")
        definition = core.get_field(parent, name)
        if definition is None:
            raise _Uncertain
        key = node.alias.value if node.alias else name
        asked = found.get(key)
        if asked is None:
            asked = found[key] = _Asked(node, definition)
        else:
            self._repeated += 1
            _certain(self._repeated <= _REPEATED and asked.is_same(node, definition))
        self._arguments(node.arguments or (), definition.args)
        if node.selection_set is not None:
            asked.sets.append(node.selection_set)
        _certain(is_leaf_type(get_named_type(definition.type)) is (node.selection_set is None))

    # Arguments

    def _switches(self, node: SelectionNode) -> None:
        names = set()
        for directive in node.directives or ():
            name = directive.name.value
            _certain(name in _SWITCHES and name not in names)
            names.add(name)
            self._arguments(directive.arguments or (), _SWITCHES[name].args)

    def _arguments(
        self, nodes: Sequence[ArgumentNode], defined: Mapping[str, GraphQLArgument]
    ) -> None:
        given = set()
        for node in nodes:
            name = node.name.value
            _certain(name in defined and name not in given)
            given.add(name)
            self._value(node.value, defined[name].type, defined[name])
        for name, argument in defined.items():
            _certain(name in given or not is_required_argument(argument))

    def _value(
        self, node: ValueNode, type_: Any, place: GraphQLArgument | GraphQLInputField | None = None
    ) -> None:
        """Look at the value of an argument, of a member or of a variable that is absent."""
        if isinstance(node, VariableNode):
            self._variable(node.name.value, type_, place)
            return
        _certain(not (isinstance(node, NullValueNode) and is_non_null_type(type_)))
        type_ = get_nullable_type(type_)
        if isinstance(node, NullValueNode):
            return
        if is_list_type(type_):
            for item in node.values if isinstance(node, ListValueNode) else (node,):
                self._value(item, type_.of_type)
        elif is_input_object_type(type_):
            self._object(node, type_)
        elif not _is_plainly(node, type_):
            _certain(not isinstance(node, ListValueNode | ObjectValueNode))
            errors: list[Any] = []
            validate_input_literal(node, type_, lambda error, _: errors.append(error))
            _certain(not errors)

    def _object(self, node: ValueNode, type_: Any) -> None:
        _certain(isinstance(node, ObjectValueNode) and not type_.is_one_of)
        assert isinstance(node, ObjectValueNode)
        given = set()
        for member in node.fields:
            name = member.name.value
            _certain(name in type_.fields and name not in given)
            given.add(name)
            self._value(member.value, type_.fields[name].type, type_.fields[name])
        for name, field in type_.fields.items():
            _certain(name in given or not is_required_input_field(field))

    def _variable(
        self, name: str, type_: Any, place: GraphQLArgument | GraphQLInputField | None
    ) -> None:
        _certain(name in self._defined)
        definition, own = self._defined[name]
        default: Any = Undefined  # as in a list
        if place is not None:
            default = place.default_value if place.default is None else place.default
        _certain(allowed_variable_usage(core, own, definition.default_value, type_, default))
        self._used.add(name)


class _Asked:
    """What is asked for under one name of an object."""

    def __init__(self, node: FieldNode, definition: GraphQLField) -> None:
        self._node, self.definition = node, definition
        self.sets: list[SelectionSetNode] = []

    def is_same(self, node: FieldNode, definition: GraphQLField) -> bool:
        """Whether another field with its name asks for the same, of whichever type."""
        return (
            node.name.value == self._node.name.value
            and is_equal_type(definition.type, self.definition.type)
            and _written(node) == _written(self._node)
        )


def _certain(found: bool) -> None:
    if not found:
        raise _Uncertain


def _written(node: FieldNode) -> list[tuple[str, str]]:
    return sorted((given.name.value, print_ast(given.value)) for given in node.arguments or ())


def _is_plainly(node: ValueNode, type_: Any) -> bool:
    """Whether a literal is of the type, for the usual ones."""
    if isinstance(node, IntValueNode):
        return type_ is GraphQLInt and len(node.value) <= _DIGITS
    if isinstance(node, StringValueNode):
        return type_ is GraphQLString or type_ is GraphQLID
    if isinstance(node, EnumValueNode):
        return is_enum_type(type_) and node.value in type_.values
    return isinstance(node, BooleanValueNode) and type_ is GraphQLBoolean
