"""Random valid operations with variables over the real schema, for comparing the two ways.

Nothing here names a type or a field: it walks the schema, so what is added there is tried here.
What only a scalar's meaning tells (ids, words that are in the data, moments) comes from ``Words``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    OperationDefinitionNode,
    Visitor,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_list_type,
    is_non_null_type,
    parse,
    visit,
)
from graphql.execution.values import get_variable_values
from sqlalchemy import BigInteger, DateTime, Double, Uuid

from community_gql.api import readings
from community_gql.api.readings import Reading
from community_gql.api.schema import core
from community_gql.errors import BadRequest
from community_gql.loaders import Pages

SIZES = ("first", "last")
CURSORS = ("after", "before")


@dataclass(frozen=True)
class Words:
    """Values that mean something in the data."""

    ids: Sequence[str]
    texts: Sequence[str]
    moments: Sequence[datetime]
    keys: Sequence[int]
    uuids: Sequence[UUID]


@dataclass
class Operation:
    """A document and its variables."""

    text: str
    variables: dict[str, Any]


@dataclass
class Generator:
    """Makes operations from one source of chance."""

    chance: random.Random
    words: Words
    _definitions: list[str] = field(default_factory=list)
    _variables: dict[str, Any] = field(default_factory=dict)
    _cursors: set[str] = field(default_factory=set)
    _fragments: list[str] = field(default_factory=list)
    _number: int = 0
    _budget: int = 0

    def operation(self) -> Operation:
        """The next operation; valid, but perhaps with arguments that are refused."""
        self._definitions, self._variables = [], {}
        self._cursors, self._fragments = set(), []
        self._number, self._budget = 0, self.chance.choice((8, 15, 40, 60))
        assert core.query_type is not None
        body = self._selections(core.query_type, self.chance.randint(2, 6))
        head = "query Q" + (f"({', '.join(self._definitions)})" if self._definitions else "")
        operation = Operation("\n".join([f"{head} {body}", *self._fragments]), self._variables)
        self._point_cursors(operation)
        return operation

    def _maybe(self, probability: float) -> bool:
        return self.chance.random() < probability

    def _next(self) -> int:
        self._number += 1
        return self._number

    # Selections

    def _selections(self, type_: Any, depth: int) -> str:
        """A selection set on an object or interface type, never empty."""
        fields = [
            (name, definition)
            for name, definition in type_.fields.items()
            if depth > 0 or not is_composite_type(get_named_type(definition.type))
        ]
        parts = []
        count = self.chance.randint(1, 5)
        for _ in range(count):
            if self._maybe(0.12) or not fields:
                parts.append(f"{self._alias()}__typename{self._directives()}")
            elif self._maybe(0.15):
                parts.append(self._fragment(type_, depth))
            else:
                parts.append(self._field(*self._pick(fields), depth))
        if self._maybe(0.1):  # the same again: its response keys are merged
            parts.append(self.chance.choice(parts))
        return "{ " + " ".join(parts) + " }"

    def _pick(self, fields: list[tuple[str, GraphQLField]]) -> tuple[str, GraphQLField]:
        if self._budget <= 0:
            leaves = [f for f in fields if not is_composite_type(get_named_type(f[1].type))]
            fields = leaves or fields
        self._budget -= 1
        nested = [f for f in fields if is_composite_type(get_named_type(f[1].type))]
        return self.chance.choice(nested if nested and self._maybe(0.4) else fields)

    def _field(self, name: str, definition: GraphQLField, depth: int) -> str:
        named = get_named_type(definition.type)
        arguments = self._arguments(definition)
        composite = is_composite_type(named)
        # Two choices of one field may differ in arguments or below, so their keys must differ.
        alias = self._alias() if composite or arguments or self._maybe(0.3) else ""
        head = f"{alias}{name}{arguments}{self._directives()}"
        if not composite:
            return head
        whole = f"{head} {self._selections(named, depth - 1)}"
        if self._maybe(0.1):  # the same key once more, with other selections below
            whole += f" {head} {self._selections(named, depth - 1)}"
        return whole

    def _alias(self) -> str:
        stem = self.chance.choice(("a", "b", "order", "select", "o", "user", "j" * 62, "k" * 70))
        return f"{stem}{self._next()}: "

    def _fragment(self, type_: Any, depth: int) -> str:
        conditions: list[Any] = [None, type_]
        if isinstance(type_, GraphQLObjectType):
            conditions.extend(type_.interfaces)
        elif isinstance(type_, GraphQLInterfaceType):
            conditions.extend(core.get_possible_types(type_))
        condition = self.chance.choice(conditions)
        inner = condition or type_
        body = self._selections(inner, depth)
        if condition is not None and self._maybe(0.4):
            name = f"F{self._next()}"
            self._fragments.append(f"fragment {name} on {condition.name} {body}")
            spread = f"...{name}{self._directives()}"
            return f"{spread} ...{name}" if self._maybe(0.2) else spread
        on = f" on {condition.name}" if condition is not None else ""
        return f"...{on}{self._directives()} {body}"

    def _directives(self) -> str:
        if not self._maybe(0.08):
            return ""
        name, value = self.chance.choice(("skip", "include")), self.chance.choice((True, False))
        given = json.dumps(value)
        if self._maybe(0.6):
            given = self._variable("Boolean!", value)
        return f" @{name}(if: {given})"

    # Arguments

    def _arguments(self, definition: GraphQLField) -> str:
        arguments = definition.args
        skipped: set[str] = set()
        if "first" in arguments:  # either forward or backward, nearly always
            if self._maybe(0.98):
                backward = self._maybe(0.4)
                skipped |= {SIZES[not backward], CURSORS[not backward]}
            if self._maybe(0.7):
                skipped |= set(CURSORS)
        values: dict[str, Any] = {}
        for name, argument in arguments.items():
            optional = not is_non_null_type(argument.type)
            if name in skipped or (optional and name not in SIZES and self._maybe(0.4)):
                continue
            values[name] = None if name in CURSORS else self._value(name, argument.type)
        if values.get("orderBy") == "RELEVANCE" and self._maybe(0.95):
            search = {"search": self.chance.choice(self.words.texts)}
            values["filter"] = {**(values.get("filter") or {}), **search}
        parts = [
            f"{name}: {self._cursor() if name in CURSORS else self._given(value, arguments[name])}"
            for name, value in values.items()
        ]
        return f"({', '.join(parts)})" if parts else ""

    def _given(self, value: Any, argument: GraphQLArgument) -> str:
        if self._maybe(0.5):
            return _literal(value, argument.type)
        return self._variable(str(argument.type), value, argument.type)

    def _variable(self, written: str, value: Any, type_: Any = None) -> str:
        name = f"v{self._next()}"
        default = ""
        if self._maybe(0.3) and not written.endswith("!"):
            default = f" = {_literal(value, type_)}"
        self._definitions.append(f"${name}: {written}{default}")
        if not default or self._maybe(0.3):
            self._variables[name] = None if default and self._maybe(0.2) else value
        return f"${name}"

    def _cursor(self) -> str:
        name = f"v{self._next()}"
        self._definitions.append(f"${name}: String")
        self._cursors.add(name)
        return f"${name}"

    def _value(self, name: str, type_: Any) -> Any:
        if not is_non_null_type(type_) and self._maybe(0.05):
            return None
        type_ = get_nullable_type(type_)
        if is_list_type(type_):
            return [self._value(name, type_.of_type) for _ in range(self.chance.randint(0, 4))]
        if isinstance(type_, GraphQLInputObjectType):
            return {
                member: self._value(member, argument.type)
                for member, argument in type_.fields.items()
                if self._maybe(0.25)
            }
        if isinstance(type_, GraphQLEnumType):
            return self.chance.choice(list(type_.values))
        if type_.name == "Int":
            small = name in SIZES
            return self.chance.choice((0, 1, 2, 3, 4, 7) if small else (1, 2, 9, 50, 1000))
        if type_.name == "DateTime":
            return self.chance.choice(self.words.moments).isoformat()
        if type_.name == "ID":
            return self.chance.choice(self.words.ids)
        if type_.name == "Boolean":
            return self._maybe(0.5)
        return self.chance.choice(self.words.texts)

    # Cursors

    def _point_cursors(self, operation: Operation) -> None:
        """Give the cursor variables cursors that are valid in their place."""
        if not self._cursors:
            return
        document = parse(operation.text)
        node = document.definitions[0]
        assert isinstance(node, OperationDefinitionNode)
        variables = get_variable_values(core, node.variable_definitions or (), operation.variables)
        if isinstance(variables, list):
            return
        fragments = {n.name.value: n for n in document.definitions[1:]}  # type: ignore[attr-defined]
        try:
            reading = Reading(readings.Operation(document, node, fragments), variables)  # type: ignore[arg-type]
            plans = {**reading.fixed, **reading.plans(variables)}
        except BadRequest:
            return
        used = _Used()
        visit(document, used)
        for id_, names in used.names.items():
            plan = plans.get(id_)
            if not isinstance(plan, Pages):
                continue
            for name in names & self._cursors:
                self._variables[name] = (
                    "bm9uc2Vuc2U" if self._maybe(0.02) else self._cursor_of(plan)
                )

    def _cursor_of(self, plan: Pages) -> str:
        return plan.cursors.write([self._key(kind.type) for kind in plan.cursors.kinds])

    def _key(self, type_: Any) -> Any:
        if issubclass(type_, DateTime):
            return self.chance.choice(self.words.moments)
        if issubclass(type_, BigInteger):
            return self.chance.choice(self.words.keys)
        if issubclass(type_, Double):
            return self.chance.choice((0.0, 0.25, 0.5, 0.0607927, 1.0))
        if issubclass(type_, Uuid):
            return self.chance.choice(self.words.uuids)
        return self.chance.choice(self.words.texts)


class _Used(Visitor):
    """The variables that each field node's own arguments use, by ``id`` of the node."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[int, set[str]] = {}

    def enter_field(self, node: Any, *_: Any) -> None:
        self.names[id(node)] = {
            argument.value.name.value
            for argument in node.arguments or ()
            if argument.value.kind == "variable"
        }


def _literal(value: Any, type_: Any) -> str:
    """The value as GraphQL writes it."""
    type_ = get_nullable_type(type_) if type_ is not None else None
    if isinstance(value, dict):
        members = (f"{k}: {_literal(v, type_.fields[k].type)}" for k, v in value.items())
        return "{" + ", ".join(members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_literal(item, type_.of_type) for item in value) + "]"
    if isinstance(type_, GraphQLEnumType) and value is not None:
        return str(value)
    return json.dumps(value, ensure_ascii=True)
