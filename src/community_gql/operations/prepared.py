"""What all requests for one operation have in common, so that each reads only what it brings.

The arguments that a document spells out are read once; those that hold variables are read for
each request. Both ways of running an operation start from here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLID,
    GraphQLInputType,
    GraphQLString,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    OperationType,
    Undefined,
    VariableDefinitionNode,
    VariableNode,
    get_nullable_type,
    is_input_object_type,
    is_leaf_type,
    is_list_type,
    parse,
    type_from_ast,
)
from graphql.execution.collect_fields import FragmentDetails
from graphql.execution.get_variable_signature import get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource, get_variable_values
from graphql.utilities import coerce_input_value

from community_gql.db.labels import label
from community_gql.graph.plans import Plan, Plans, PlanWeight
from community_gql.lru import LruCache
from community_gql.operations.cost import cost_of, wanted_texts
from community_gql.operations.fold import Fold, Parent
from community_gql.operations.plans import FieldArguments, edges_of
from community_gql.operations.selections import Selected, Selections
from community_gql.operations.shape import LIMITS
from community_gql.operations.throttle import rest
from community_gql.operations.trees import Trees, start_of, without_selections
from community_gql.schema.executable import core

_OPERATION_BYTES, _DEFINITION_BYTES, _ENTRY_BYTES, _PLAN_BYTES = 3000, 4000, 6000, 2500
_COSTS = 20
"""So many costs of one operation are remembered."""


@dataclass(frozen=True, slots=True)
class Params:
    """The members of a GraphQL request, of the right types."""

    query: str | None
    document_id: str | None = None
    variables: dict[str, object] = field(default_factory=dict)
    operation_name: str | None = None
    extensions: dict[str, object] = field(default_factory=dict)
    size: int = 0
    """The length of the request that brought them, in bytes; 0 where that is not known."""


class Operation:
    """An operation of a document. It keeps the text, and has its tree from ``trees``."""

    def __init__(
        self, text: str, node: OperationDefinitionNode, trees: Trees, document_hash: str = ""
    ) -> None:
        """``document_hash`` names its document in the log."""
        self.document_hash = document_hash
        self.name = node.name.value if node.name else None
        """Its name in the document."""
        self.kind = node.operation
        """Whether it reads, writes or follows."""
        self.type_name: str = node.operation.value
        """The same as a word."""
        self.seen = False
        """Whether it has run before."""
        self.text = text
        """The text of its document."""
        self._start, self._trees = start_of(node), trees

    @property
    def node(self) -> OperationDefinitionNode:
        """Its node in the tree as it is now. Not for another thread than the event loop's."""
        return self._trees.of(self.text).operations[self._start]

    @property
    def fragments(self) -> Mapping[str, FragmentDefinitionNode]:
        """The fragments beside it. Not for another thread than the event loop's."""
        return self._trees.of(self.text).fragments

    @cached_property
    def label(self) -> str:
        """What names it in its statements."""
        return label(self.name, self.document_hash)

    @cached_property
    def wanted_texts(self) -> tuple[str, ...]:
        """The fields of long texts that its document may select."""
        return tuple(wanted_texts(self.text))

    @property
    def size(self) -> int:
        """What holding it takes, in bytes, estimated; its tree is counted elsewhere."""
        return _OPERATION_BYTES + sys.getsizeof(self.text)

    @property
    def fragment_details(self) -> dict[str, FragmentDetails]:
        """The fragments as graphql-core's executor takes them."""
        return {name: FragmentDetails(node, None) for name, node in self.fragments.items()}

    @cached_property
    def _switches(self) -> tuple[str, ...]:
        """The variables in ``@skip`` and ``@include``: they decide what is selected."""
        switches = _Switches(self.fragments)
        switches.of(self.node.selection_set, None)
        return tuple(sorted(switches.names))

    @cached_property
    def _defined(self) -> list[_Defined]:
        found = []
        for node in self.node.variable_definitions or ():
            assert node.loc is not None
            found.append(_defined(self.text[node.loc.start : node.loc.end]))
        return found

    def variables(self, raw: dict[str, object]) -> VariableValues | list[GraphQLError]:
        """The coerced variables, or what is wrong with them.

        As ``get_variable_values``, which looks each type up again for every request: it is asked
        about what is not a plain scalar, and for the errors.
        """
        values = VariableValues({}, {})
        for defined in self._defined:
            if defined.leaf is None and _is_vast(raw.get(defined.name), defined.signature.type):
                return [GraphQLError(_TOO_MANY.format(defined.name), defined.node)]
            if not defined.read(raw, values):
                return _values(self.node.variable_definitions or (), raw)
        return values

    def switched(self, variables: VariableValues) -> tuple[Any, ...]:
        """The values of the switches."""
        names = self._switches
        return tuple([variables.coerced.get(name) for name in names]) if names else ()


@dataclass(frozen=True, slots=True)
class _Defined:
    """A variable of an operation."""

    node: VariableDefinitionNode
    name: str
    leaf: GraphQLInputType | None
    """Its type, if that is a scalar or an enum."""
    takes_texts: bool
    """Whether any text is a value of it, and stays as it is."""
    takes_null: bool
    signature: Any
    absent: VariableValues | None
    """What it is when a request does not bring it; None where it must."""

    @classmethod
    def of(cls, node: VariableDefinitionNode) -> _Defined:
        type_: Any = type_from_ast(core, node.type)
        absent = _values([node], {})
        return cls(
            node,
            node.variable.name.value,
            type_ if is_leaf_type(get_nullable_type(type_)) else None,
            get_nullable_type(type_) in (GraphQLString, GraphQLID),
            get_nullable_type(type_) is type_,
            get_variable_signature(core, node),
            absent if isinstance(absent, VariableValues) else None,
        )

    def read(self, raw: dict[str, object], values: VariableValues) -> bool:
        """Add its part to the variables; False when there is something wrong with it."""
        value = raw.get(self.name, Undefined)
        if self.leaf is not None and value is not Undefined:
            coerced = value
            if not (self.takes_texts and type(value) is str) and not (
                self.takes_null and value is None
            ):
                coerced = coerce_input_value(value, self.leaf)
                if coerced is Undefined:
                    return False
            values.sources[self.name] = VariableValueSource(self.signature, value)
            values.coerced[self.name] = coerced
            return True
        found = self.absent
        if self.leaf is None:
            read = _values([self.node], raw)
            found = read if isinstance(read, VariableValues) else None
        if found is None:
            return False
        values.sources.update(found.sources)
        values.coerced.update(found.coerced)
        return True


_TOO_MANY = (
    "Variable '${}' has a list of more than "
    f"{LIMITS.items:,} items, or an object of more members. Send fewer at once."
)


def _is_vast(value: object, type_: Any) -> bool:
    """Whether a list or an input object in the value holds more than one may."""
    pending = [(value, type_)]
    while pending:
        rest()
        value, type_ = pending.pop()
        type_ = get_nullable_type(type_)
        if is_list_type(type_) and isinstance(value, list):
            if len(value) > LIMITS.items:
                return True
            if not is_leaf_type(get_nullable_type(type_.of_type)):
                pending.extend((item, type_.of_type) for item in value)
        elif is_input_object_type(type_) and isinstance(value, dict):
            if len(value) > LIMITS.items:
                return True
            fields = type_.fields
            pending.extend((value[name], fields[name].type) for name in value if name in fields)
    return False


def _values(
    nodes: Sequence[VariableDefinitionNode], raw: dict[str, object]
) -> VariableValues | list[GraphQLError]:
    """The coerced variables, or the first mistakes: each takes longer than reading a value does."""
    return get_variable_values(core, nodes, raw, LIMITS.errors)


_definitions: LruCache[_Defined] = LruCache(2**20)
"""Variables by how they are defined: the documents of an application define the same ones."""


def _defined(text: str) -> _Defined:
    """The variable that a text defines, which is valid."""
    defined = _definitions.get(text)
    if defined is None:
        operation: Any = parse(f"query ({text}) {{ __typename }}").definitions[0]
        defined = _Defined.of(operation.variable_definitions[0])
        _definitions.put(text, defined, 2 * sys.getsizeof(text) + _DEFINITION_BYTES)
    return defined


class SwitchedOperation:
    """An operation with one set of switches, its fixed arguments read."""

    def __init__(self, operation: Operation, variables: VariableValues) -> None:
        """Raises what ``FieldArguments.plan`` raises."""
        self.operation = operation
        self._fixed: dict[int, Plan] = {}
        """The plans of the fields whose arguments hold no variables, by where the fields begin."""
        self._varying: list[FieldArguments] = []
        self._costs: dict[tuple[PlanWeight, ...], int] = {}
        self._roots: list[Selected] | None = None
        self.seconds = 0.0
        """How long its statements took the last time; 0 before it has run."""
        for asked in edges_of(operation.node, operation.fragments, variables):
            rest()
            if _has_variables(asked.node):
                self._varying.append(asked.alone())
            else:
                self._fixed[start_of(asked.node)] = asked.plan(variables)

    @cached_property
    def size(self) -> int:
        """What it and its operation take in memory, in bytes, estimated."""
        varying = len(self._varying)
        plans = _PLAN_BYTES * (len(self._fixed) + varying)
        return _ENTRY_BYTES + self.operation.size + plans + _COSTS * 120 * varying

    @cached_property
    def fields(self) -> int:
        """How many fields the operation has, fragments unfolded wherever they are spread."""
        operation = self.operation
        return _Fields(operation.fragments).of(operation.node.selection_set, None)

    def roots(self, variables: VariableValues) -> list[Selected]:
        """Its root fields, in order, without what is selected below."""
        if self._roots is None:
            root = core.get_root_type(self.operation.node.operation)
            assert root is not None
            selections = Selections(self.operation.fragments, variables)
            self._roots = [
                replace(selected, nodes=[without_selections(selected.node)])
                for selected in selections.of(root, [self.operation.node.selection_set])
            ]
        return self._roots

    def plans(self, variables: VariableValues) -> Plans:
        """The plans of its fields. Raises what ``FieldArguments.plan`` raises."""
        return Plans(
            self._fixed, {start_of(item.node): item.plan(variables) for item in self._varying}
        )

    def knows_cost(self, plans: Plans) -> bool:
        """Whether the cost with these ``plans`` was asked for before, and need not be found out."""
        return plans.weight in self._costs

    def cost(self, variables: VariableValues, plans: Plans) -> int:
        """The cost of a request with these ``plans``."""
        key = plans.weight
        cost = self._costs.get(key)
        if cost is None:
            operation = self.operation
            cost = cost_of(operation.node, operation.fragments, variables, plans)
            if len(self._costs) < _COSTS:
                self._costs[key] = cost
        return cost


@dataclass(slots=True, eq=False)  # frozen, it would take four times as long to make
class Prepared:
    """An operation that is ready to run, for whichever viewer."""

    document_hash: str
    operation: Operation
    switched: SwitchedOperation
    variables: VariableValues
    plans: Plans
    cost: int
    kind: OperationType
    """Whether it reads or writes."""
    read_tokens: int = 0
    """How many tokens of its document were read for it; 0 for a document that was known."""

    @property
    def operation_name(self) -> str | None:
        """The operation's name in the document."""
        return self.operation.name

    @property
    def root_plan(self) -> Plan | None:
        """The plan of the first root field; a subscription has no other."""
        (selected, *_) = self.switched.roots(self.variables)
        return self.plans.of(selected.node)


OPERATIONS_BYTES = 16 * 2**20
"""What OperationCache keeps at most."""


class OperationCache:
    """The operations in use, by the values of their switches."""

    def __init__(self, max_bytes: int = OPERATIONS_BYTES) -> None:
        self.kept: LruCache[SwitchedOperation] = LruCache(max_bytes)

    def known(self, operation: Operation, variables: VariableValues) -> SwitchedOperation | None:
        """The operation with the switches of these variables, if it was in use before."""
        return self.kept.get((operation, operation.switched(variables)))

    def of(self, operation: Operation, variables: VariableValues) -> SwitchedOperation:
        """The operation with the switches of these variables.

        Raises what ``FieldArguments.plan`` raises.
        """
        key = operation, operation.switched(variables)
        switched = self.kept.get(key)
        if switched is None:
            switched = SwitchedOperation(operation, variables)
            self.kept.put(key, switched, switched.size)
        return switched


def _has_variables(node: Any) -> bool:
    """Whether the arguments of a field, or what is in a value, hold variables."""
    if isinstance(node, FieldNode):
        return any(_has_variables(argument.value) for argument in node.arguments or ())
    if isinstance(node, ListValueNode):
        return any(map(_has_variables, node.values))
    if isinstance(node, ObjectValueNode):
        return any(_has_variables(member.value) for member in node.fields)
    return isinstance(node, VariableNode)


class _Fields(Fold[int]):
    def field(self, node: FieldNode, parent: Parent) -> int:
        return 1 + (self.of(node.selection_set, None) if node.selection_set is not None else 0)

    def together(self, values: Sequence[int]) -> int:
        return sum(values)


class _Switches(Fold[None]):
    """Collects the names of the variables that directives use."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        super().__init__(fragments)
        self.names: set[str] = set()

    def enter(self, node: Any) -> None:
        for directive in node.directives or ():
            for argument in directive.arguments or ():
                if isinstance(argument.value, VariableNode):
                    self.names.add(argument.value.name.value)

    def field(self, node: FieldNode, parent: Parent) -> None:
        if node.selection_set is not None:
            self.of(node.selection_set, None)

    def together(self, values: Sequence[None]) -> None:
        """Nothing: the names are noted as they are met."""
