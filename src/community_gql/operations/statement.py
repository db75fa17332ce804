"""A compiled statement, and how its binds get the values of a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from graphql import FieldNode
from sqlalchemy import ColumnElement, bindparam
from sqlalchemy.types import TypeEngine

from community_gql.graph.plans import Plan, Plans
from community_gql.graph.visibility import Viewer

Derive = Callable[[Any], Any]
"""Makes a value of a mutation's outcome."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A compiled operation: its text, and where the value of each ``$n`` comes from."""

    text: str
    arguments: list[Any]
    """The values in order; places named below are to be filled in."""
    viewer: list[tuple[int, str]]
    """Place, name in ``Viewer.binds()``."""
    outcome: list[tuple[int, Derive]]
    """Place, what of a mutation's outcome stands there."""
    varying: list[tuple[int, int, str]]
    """Place, id of the field node, name in ``values()`` of its plan."""
    custom_plan: bool
    """Whether PostgreSQL should plan it for its values each time, see ``PagePlan.custom_plan``."""


def arguments_of(
    statement: Statement, plans: Plans, viewer: Mapping[str, Any], outcome: Any = None
) -> list[Any]:
    """The values of ``$1``, ``$2``, ... for one request, or one ``outcome`` of a mutation."""
    arguments = list(statement.arguments)
    for place, name in statement.viewer:
        arguments[place] = viewer[name]
    for place, derive in statement.outcome:
        arguments[place] = derive(outcome)
    values: dict[int, dict[str, Any]] = {}
    for place, node, local in statement.varying:
        if node not in values:
            values[node] = plans.varying[node].values()
        arguments[place] = values[node][local]
    return arguments


class Binds:
    """The names and binds of a statement in the making.

    Names made here hold a ``$``, which no GraphQL name does: a response key never hides them.
    """

    def __init__(self, plans: Plans) -> None:
        self._plans = plans
        self._numbers = count(1)
        self._places: dict[str, tuple[int, str]] = {}
        self._derived: dict[str, Derive] = {}

    def name(self, stem: str) -> str:
        """A name that is used once."""
        return f"{stem}${next(self._numbers)}"

    def plan(self, node: FieldNode) -> Plan:
        """The plan of a field that loads something."""
        plan = self._plans.of(node)
        assert plan is not None
        return plan

    def value(self, node: FieldNode, local: str, type_: TypeEngine[Any]) -> ColumnElement[Any]:
        """The value ``local`` of the field's plan, as a bind of its own for this place."""
        name = f"b{next(self._numbers)}"
        self._places[name] = (id(node), local)
        return bindparam(name, type_=type_)

    def outcome(self, derive: Derive, type_: TypeEngine[Any]) -> ColumnElement[Any]:
        """What ``derive`` makes of the mutation's outcome, as a bind."""
        name = f"b{next(self._numbers)}"
        self._derived[name] = derive
        return bindparam(name, type_=type_)

    def prefix(self, node: FieldNode, names: Sequence[str]) -> str:
        """A prefix for the binds that declarations make by themselves."""
        prefix = f"b{next(self._numbers)}_"
        self._places.update((prefix + name, (id(node), name)) for name in names)
        return prefix

    def statement(self, compiled: Any, custom_plan: bool) -> Statement:
        """The statement of what SQLAlchemy compiled.

        The values of varying plans are left open; the others are part of the statement.
        """
        statement = Statement(compiled.string, [], [], [], [], custom_plan)
        viewer = Viewer().binds()
        known: dict[int, dict[str, Any]] = {}
        for place, name in enumerate(compiled.positiontup):
            value = None
            if name in self._places:
                node, local = self._places[name]
                if node in self._plans.varying:
                    statement.varying.append((place, node, local))
                else:
                    if node not in known:
                        known[node] = self._plans.fixed[node].values()
                    value = known[node][local]
            elif name in self._derived:
                statement.outcome.append((place, self._derived[name]))
            elif name in viewer:
                statement.viewer.append((place, name))
            else:
                value = compiled.params[name]
            statement.arguments.append(value)
        return statement
