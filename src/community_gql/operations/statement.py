"""A compiled statement, and how its binds get the values of a request."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Any

from graphql import FieldNode
from sqlalchemy import BigInteger, String, bindparam

from community_gql.graph.plans import Plan, Plans
from community_gql.graph.terms import Sql, SqlType
from community_gql.graph.visibility import Viewer
from community_gql.operations.trees import start_of

Derive = Callable[[Any], Any]
"""Makes a value of a mutation's outcome."""

_NO_EVENT: dict[str, object] = {}
EVENT: dict[str, SqlType] = {
    "event_kind": String(),
    "event_moment": String(),
    "event_digest": String(),
    "event_key": BigInteger(),
    "event_gone": BigInteger(),
}
"""The bind parameters of an event, of ``StoryEvent``, and their types."""


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """A compiled operation: its text, and where the value of each ``$n`` comes from."""

    text: str
    arguments: list[object]
    """The values in order; places named below are to be filled in."""
    viewer: list[tuple[int, str]]
    """Place, name in ``Viewer.binds()``."""
    outcome: list[tuple[int, Derive]]
    """Place, what of a mutation's outcome stands there."""
    event: list[tuple[int, str]]
    """Place, name in ``StoryEvent.binds()``."""
    varying: list[tuple[int, int, str]]
    """Place, where the field begins, name in ``values()`` of its plan."""
    custom_plan: bool
    """Whether PostgreSQL should plan it for its values each time, see ``PagePlan.custom_plan``."""


def arguments_of(
    statement: Statement,
    plans: Plans,
    viewer: Mapping[str, object],
    outcome: object = None,
    event: Mapping[str, object] = _NO_EVENT,
) -> list[object]:
    """The values of ``$1``, ``$2``, ... for one request.

    That may be for one ``outcome`` of a mutation, or one ``event`` of a subscription.
    """
    arguments = list(statement.arguments)
    for place, name in statement.viewer:
        arguments[place] = viewer[name]
    for place, derive in statement.outcome:
        arguments[place] = derive(outcome)
    for place, name in statement.event:
        arguments[place] = event[name]
    values: dict[int, Mapping[str, object]] = {}
    for place, node, local in statement.varying:
        if node not in values:
            values[node] = plans.varying[node].values()
        arguments[place] = values[node][local]
    return arguments


_BIND = re.compile(r"(?<![\w$])\$(\d+)(?!\d)(::)?")


@lru_cache(maxsize=128)
def many_of(statement: Statement, *, events: bool) -> tuple[str, list[str], list[int]]:
    """The statement for many viewers, and for many ``events``: its text, names and places.

    Its arguments are those that the statement has at these places, then an array of texts for
    each name. Its rows are in the order of the arrays.
    """
    named = dict((*statement.viewer, *(statement.event if events else ())))
    names = sorted(set(named.values()))
    others = [place for place in range(len(statement.arguments)) if place not in named]
    numbers = {place: number for number, place in enumerate(others, 1)}

    def written(bind: re.Match[str]) -> str:
        place, cast = int(bind[1]) - 1, bind[2] or ""
        if place in named:
            assert cast, "a bind without a cast would be a text"
            return f'v$."{named[place]}"{cast}'
        return f"${numbers[place]}{cast}"

    inner = _BIND.sub(written, statement.text)
    arrays = ", ".join(f"${len(others) + number}::text[]" for number in range(1, len(names) + 1))
    columns = ", ".join(f'"{name}"' for name in names)
    source = f"unnest({arrays}) WITH ORDINALITY AS v$({columns}, n)"
    return f"SELECT ({inner}) FROM {source} ORDER BY v$.n", names, others


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

    def value(self, node: FieldNode, local: str, type_: SqlType) -> Sql:
        """The value ``local`` of the field's plan, as a bind of its own for this place."""
        name = f"b{next(self._numbers)}"
        self._places[name] = (start_of(node), local)
        return bindparam(name, type_=type_)

    def outcome(self, derive: Derive, type_: SqlType) -> Sql:
        """What ``derive`` makes of the mutation's outcome, as a bind."""
        name = f"b{next(self._numbers)}"
        self._derived[name] = derive
        return bindparam(name, type_=type_)

    def prefix(self, node: FieldNode, names: Sequence[str]) -> str:
        """A prefix for the binds that declarations make by themselves."""
        prefix = f"b{next(self._numbers)}_"
        self._places.update((prefix + name, (start_of(node), name)) for name in names)
        return prefix

    def statement(self, compiled: Any, custom_plan: bool) -> Statement:
        """The statement of what SQLAlchemy compiled.

        The values of varying plans are left open; the others are part of the statement.
        """
        statement = Statement(compiled.string, [], [], [], [], [], custom_plan)
        viewer = Viewer().binds()
        known: dict[int, Mapping[str, object]] = {}
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
            elif name in EVENT:
                statement.event.append((place, name))
            else:
                value = compiled.params[name]
            statement.arguments.append(value)
        return statement
