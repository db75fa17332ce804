"""What all requests for one operation have in common, so that each reads only what it brings.

The arguments that a document spells out are read once; those that hold variables are read for
each request. What of them decides the text of the statement is the request's ``form``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from graphql import (
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    Visitor,
    visit,
)
from graphql.execution.values import VariableValues

from community_gql.api.arguments import Asked, edges_of
from community_gql.api.limits import cost_of
from community_gql.pushdown.compiler import Statement, compile_operation, form_of, values_of

_PLAN_BYTES = 1500


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """An operation of a document with the fragments beside it."""

    node: OperationDefinitionNode
    fragments: Mapping[str, FragmentDefinitionNode]
    switches: tuple[str, ...]
    """The variables in ``@skip`` and ``@include``: they decide what is selected."""

    @classmethod
    def of(cls, document: DocumentNode, node: OperationDefinitionNode) -> Operation:
        """The operation ``node`` of the document."""
        nodes = document.definitions
        fragments = {n.name.value: n for n in nodes if isinstance(n, FragmentDefinitionNode)}
        switches = _Variables(in_directives=True)
        visit(document, switches)
        return cls(node, fragments, tuple(sorted(switches.names)))

    def switched(self, variables: VariableValues) -> tuple[Any, ...]:
        """The values of the switches."""
        return tuple(variables.coerced.get(name) for name in self.switches)


class Reading:
    """An operation with one set of switches, its fixed arguments read."""

    def __init__(self, operation: Operation, variables: VariableValues) -> None:
        """Raises what ``Asked.plan`` raises."""
        self._operation = operation
        self._fixed: dict[int, Any] = {}
        self._varying: list[Asked] = []
        self._cost: int | None = None
        for asked in edges_of(operation.node, operation.fragments, variables):
            if _has_variables(asked):
                self._varying.append(asked)
            else:
                self._fixed[id(asked.node)] = asked.plan(variables)

    def plans(self, variables: VariableValues) -> dict[int, Any]:
        """The plans of the fields whose arguments hold variables, by id of the field node.

        Raises what ``Asked.plan`` raises.
        """
        return {id(asked.node): asked.plan(variables) for asked in self._varying}

    @staticmethod
    def form(plans: Mapping[int, Any]) -> tuple[Any, ...]:
        """What of the varying plans decides the text of the statement."""
        return tuple(map(form_of, plans.values()))

    @property
    def size(self) -> int:
        """What it takes in memory beside the document's tree, in bytes, estimated."""
        return _PLAN_BYTES * (len(self._fixed) + len(self._varying))

    @cached_property
    def fields(self) -> int:
        """How many fields the operation has at most, fragments unfolded wherever they are spread.

        What compiling takes grows with them. Each fragment is counted once.
        """
        counts: dict[str, int] = {}

        def count(selections: SelectionSetNode | None) -> int:
            return sum(map(of, selections.selections)) if selections else 0

        def of(node: Any) -> int:
            if isinstance(node, FragmentSpreadNode):
                name = node.name.value
                if name not in counts:
                    counts[name] = count(self._operation.fragments[name].selection_set)
                return counts[name]
            return isinstance(node, FieldNode) + count(node.selection_set)

        return count(self._operation.node.selection_set)

    def cost(self, variables: VariableValues, plans: Mapping[int, Any]) -> int:
        """The cost of a request, as the loaders' way has it."""
        if self._cost is not None:
            return self._cost
        operation = self._operation
        cost = cost_of(operation.node, operation.fragments, variables, {**self._fixed, **plans})
        if not self._varying:
            self._cost = cost
        return cost

    def compile(self, variables: VariableValues, plans: Mapping[int, Any]) -> Statement:
        """The statement for requests of the form of ``plans``. Raises NotCompiled."""
        operation = self._operation
        return compile_operation(
            operation.node, operation.fragments, variables, {**self._fixed, **plans}, set(plans)
        )


def arguments_of(
    statement: Statement, plans: Mapping[int, Any], viewer: Mapping[str, Any]
) -> list[Any]:
    """The values of ``$1``, ``$2``, ... for one request."""
    arguments = list(statement.arguments)
    for place, name in statement.viewer:
        arguments[place] = viewer[name]
    values: dict[int, dict[str, Any]] = {}
    for place, node, local in statement.asked:
        if node not in values:
            values[node] = values_of(plans[node])
        arguments[place] = values[node][local]
    return arguments


def _has_variables(asked: Asked) -> bool:
    found = _Variables()
    for argument in asked.node.arguments or ():
        visit(argument, found)
    return bool(found.names)


class _Variables(Visitor):
    """Collects the names of variables: all, or those that directives use."""

    def __init__(self, in_directives: bool = False) -> None:
        super().__init__()
        self.names: set[str] = set()
        self._in_directives = in_directives

    def enter_variable(
        self, node: VariableNode, _key: Any, _parent: Any, _path: Any, ancestors: list[Any]
    ) -> None:
        if not self._in_directives or any(isinstance(a, DirectiveNode) for a in ancestors):
            self.names.add(node.name.value)
