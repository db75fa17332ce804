"""The argument pass: what it remembers of an operation changes nothing for the next request."""

from __future__ import annotations

from typing import Any

import pytest
from graphql import OperationDefinitionNode, parse
from graphql.execution.values import VariableValues

from community_gql.graph.plans import Plan
from community_gql.operations.prepared import Operation, SwitchedOperation
from community_gql.operations.trees import Trees

SCALARS = """
query (
  $id: ID!, $first: Int = 3, $order: StoryOrder, $after: String, $search: String, $length: Int
) {
  user(id: $id) {
    stories(first: $first, orderBy: $order, after: $after, filter: {visibility: PUBLIC}) {
      nodes { excerpt(length: $length) }
    }
    mine: stories(first: 7, orderBy: $order) { nodes { id } }
    found: stories(last: $first, filter: {search: $search}) { nodes { id } }
  }
}
"""
SOMEONE = "User_3d26b230-1eb6-4679-ae60-6fc189a4f36b"
REQUESTS: list[dict[str, Any]] = [
    {"id": SOMEONE},
    {"id": SOMEONE, "first": 5, "order": "OLDEST", "search": "garden", "length": 40},
    {"id": "Story_1", "first": 9, "order": "NEWEST", "search": "sea"},
    {"id": SOMEONE, "first": None, "order": "OLDEST"},
    {"id": SOMEONE, "order": None, "search": None},
    {"id": SOMEONE, "first": 5, "order": "OLDEST", "after": None, "search": "garden"},
]


def operation() -> Operation:
    document = parse(SCALARS)
    (node,) = document.definitions
    assert isinstance(node, OperationDefinitionNode)
    return Operation(SCALARS, node, Trees())


def plans(asked: Operation, switched: SwitchedOperation, raw: dict[str, Any]) -> list[Plan]:
    variables = asked.variables(raw)
    assert isinstance(variables, VariableValues)
    return list(switched.plans(variables).varying.values())


@pytest.mark.parametrize("first", range(len(REQUESTS)))
def test_plans_are_those_of_a_first_request(first: int) -> None:
    """Whichever request came before, and so decided what is remembered."""
    used = operation()
    variables = used.variables(REQUESTS[first])
    assert isinstance(variables, VariableValues)
    switched = SwitchedOperation(used, variables)
    for raw in (REQUESTS[first], *REQUESTS, *reversed(REQUESTS)):
        fresh = operation()
        given = fresh.variables(raw)
        assert isinstance(given, VariableValues)
        assert plans(used, switched, raw) == plans(fresh, SwitchedOperation(fresh, given), raw)
