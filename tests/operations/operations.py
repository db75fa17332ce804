"""Random valid operations with variables over the real schema, for comparing the two ways.

Nothing here names a type or a field: it walks the schema, so what is added there is tried here.
What only a scalar's meaning tells (ids, words that are in the data, moments) comes from ``Words``.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLError,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNonNull,
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
from sqlalchemy import BigInteger, Boolean, DateTime, Double, String, Uuid

from community_gql.errors import BadRequest
from community_gql.graph.plans import PagePlan
from community_gql.operations import prepared
from community_gql.operations.shape import LIMITS
from community_gql.operations.trees import Trees
from community_gql.schema.executable import core

INTROSPECTION = (
    "__schema { queryType { name } }",
    'type: __type(name: "User") { name fields { name } }',
)
WRONG: tuple[Any, ...] = (None, [], {}, [None], {"a": 1}, "text", 1.5, 2**40, True, "2026-01-01")

SIZES = ("first", "last")
CURSORS = ("after", "before")
KINDS: dict[type, Any] = {
    datetime: DateTime,
    int: BigInteger,
    float: Double,
    UUID: Uuid,
    str: String,
}
"""The kinds of keys in cursors, by the type of their values."""


@dataclass(frozen=True)
class Words:
    """Values that mean something in the data."""

    ids: Sequence[str]
    texts: Sequence[str]
    moments: Sequence[datetime]
    keys: Sequence[int]
    uuids: Sequence[UUID]
    rows: Sequence[tuple[Any, ...]]
    """The keys of real rows in some order: what the cursors of pages hold."""


@dataclass
class Operation:
    """A document, which of its operations, and its variables."""

    text: str
    name: str | None
    variables: dict[str, Any]


@dataclass
class Generator:
    """Makes operations from one source of chance."""

    chance: random.Random
    words: Words
    _definitions: dict[str, str] = field(default_factory=dict)
    """What stands after the name of each variable where it is defined."""
    _variables: dict[str, Any] = field(default_factory=dict)
    _kinds: dict[str, tuple[str, Any]] = field(default_factory=dict)
    """What each variable is given to, and its type there."""
    _cursors: set[str] = field(default_factory=set)
    _fragments: list[str] = field(default_factory=list)
    _number: int = 0
    _budget: int = 0
    _narrow: bool = False

    def operation(self) -> Operation:
        """The next operation.

        The document is valid; the arguments may be refused, and the variables may be wrong.
        """
        self._definitions, self._variables, self._kinds = {}, {}, {}
        self._cursors, self._fragments = set(), []
        self._number, self._budget = 0, self.chance.choice((2, 3, 4, 6, 8, 12, 30))
        self._narrow = self._maybe(0.04)
        depth = LIMITS.depth - 1 if self._narrow else self.chance.randint(1, 6)
        assert core.query_type is not None
        body = self._selections(core.query_type, depth)
        if self._maybe(0.01):
            body = f"{body[:-1]} {self.chance.choice(INTROSPECTION)} }}"
        named = bool(self._definitions) or self._maybe(0.7)
        if named and self._maybe(0.05):
            self._fragments.insert(0, "query Other { __typename }")
        body, *self._fragments = self._fixed_cursors([body, *self._fragments])
        text = self._text(body, named)
        self._point_cursors(text)
        if self._variables and self._maybe(0.02):
            self._spoil()
        return Operation(text, "Q" if named else None, dict(self._variables))

    def again(self, operation: Operation) -> Operation:
        """The same document, the last one made, with other values for its variables."""
        for name, (place, type_) in self._kinds.items():
            if name in self._variables and self._maybe(0.5):
                self._variables[name] = self._value(place, type_)
        self._point_cursors(operation.text)
        return Operation(operation.text, operation.name, dict(self._variables))

    def _text(self, body: str, named: bool) -> str:
        defined = ", ".join(f"${name}: {rest}" for name, rest in self._definitions.items())
        head = f"query Q{f'({defined})' if defined else ''} " if named else ""
        return "\n".join([head + body, *self._fragments])

    def _spoil(self) -> None:
        """Make the variables wrong, in all likelihood."""
        name = self.chance.choice(list(self._variables))
        if self._maybe(0.2):
            del self._variables[name]
        else:
            self._variables[name] = self.chance.choice(WRONG)

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
            if name != "moment"  # of two answers it is never the same
        ]
        if self._maybe(0.01) and type_ is not core.query_type:
            return self._broad(type_)
        parts = []
        most = 2 if self._narrow or self._budget <= 0 else 4
        for _ in range(self.chance.randint(1, most)):
            if self._maybe(0.12) or not fields:
                parts.append(f"{self._alias()}__typename{self._directives()}")
            elif self._maybe(0.7 if isinstance(type_, GraphQLInterfaceType) else 0.15):
                parts.append(self._fragment(type_, depth))
            else:
                parts.append(self._field(*self._pick(fields), depth))
        if self._maybe(0.1):  # the same again: its response keys are merged
            again = self.chance.choice(parts)
            parts.append(f"... {{ {again} }}" if self._maybe(0.5) else again)
        return "{ " + " ".join(parts) + " }"

    def _broad(self, type_: Any) -> str:
        """More leaves than a function of PostgreSQL takes arguments."""
        leaves = [
            name
            for name, definition in type_.fields.items()
            if not is_composite_type(get_named_type(definition.type))
        ]
        names = self.chance.choices(["__typename", *leaves], k=self.chance.choice((49, 51, 120)))
        return "{ " + " ".join(self._alias() + name for name in names) + " }"

    def _pick(self, fields: list[tuple[str, GraphQLField]]) -> tuple[str, GraphQLField]:
        if self._budget <= 0:
            leaves = [f for f in fields if not is_composite_type(get_named_type(f[1].type))]
            fields = leaves or fields
        self._budget -= 1
        nested = [f for f in fields if is_composite_type(get_named_type(f[1].type))]
        deeper = self._maybe(0.9 if self._narrow else 0.4)
        return self.chance.choice(nested if nested and deeper else fields)

    def _field(self, name: str, definition: GraphQLField, depth: int) -> str:
        named = get_named_type(definition.type)
        arguments = self._arguments(definition)
        composite = is_composite_type(named)
        # Two choices of one field may differ in arguments or below, so their keys must differ.
        alias = self._alias() if composite or arguments or self._maybe(0.3) else ""
        head = f"{alias}{name}{arguments}"
        if not composite:
            return head + self._directives()
        whole = f"{head}{self._directives()} {self._selections(named, depth - 1)}"
        if self._maybe(0.1):  # the same key once more, with other selections below
            again = f"{head}{self._directives()} {self._selections(named, depth - 1)}"
            whole += f" ... {{ {again} }}" if self._maybe(0.3) else f" {again}"
        return whole

    def _alias(self) -> str:
        stem = self.chance.choice(("a", "b", "order", "select", "o", "user", "j" * 62, "k" * 70))
        return f"{stem}{self._next()}: "

    def _fragment(self, type_: Any, depth: int) -> str:
        self._budget -= 1
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
        names = self.chance.choice((["skip"], ["include"], ["skip", "include"]))
        return "".join(f" @{name}(if: {self._switch()})" for name in names)

    def _switch(self) -> str:
        value = self._maybe(0.5)
        if self._maybe(0.4):
            return json.dumps(value)
        return self._variable("if", GraphQLNonNull(GraphQLBoolean), value)

    # Arguments

    def _arguments(self, definition: GraphQLField) -> str:
        arguments = definition.args
        skipped: set[str] = set()
        if "first" in arguments:  # either forward or backward, nearly always
            if self._maybe(0.995):
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
        if values.get("orderBy") == "RELEVANCE" and self._maybe(0.98):
            search = {"search": self.chance.choice(self.words.texts)}
            values["filter"] = {**(values.get("filter") or {}), **search}
        parts = [
            f"{name}: "
            + (self._cursor() if name in CURSORS else self._given(name, arguments[name], value))
            for name, value in values.items()
        ]
        return f"({', '.join(parts)})" if parts else ""

    def _given(self, name: str, argument: GraphQLArgument, value: Any) -> str:
        if self._maybe(0.5):
            return self._literal(name, argument.type, value)
        return self._variable(name, argument.type, value)

    def _literal(self, name: str, type_: Any, value: Any) -> str:
        """The value as GraphQL writes it; some of what is inside of it by variables."""
        type_ = get_nullable_type(type_)
        if isinstance(value, dict):
            members = (
                f"{member}: {self._inside(member, type_.fields[member].type, item)}"
                for member, item in value.items()
            )
            return "{" + ", ".join(members) + "}"
        if isinstance(value, list):
            items = (self._inside(name, type_.of_type, item) for item in value)
            return "[" + ", ".join(items) + "]"
        return _written(value, type_)

    def _inside(self, name: str, type_: Any, value: Any) -> str:
        if self._maybe(0.15):
            return self._variable(name, type_, value)
        return self._literal(name, type_, value)

    def _variable(self, place: str, type_: Any, value: Any) -> str:
        type_name = str(type_)
        known = [
            name
            for name, rest in self._definitions.items()
            if rest == type_name and self._variables.get(name) == value
        ]
        if known and self._maybe(0.5):
            return f"${self.chance.choice(known)}"
        name, default = f"v{self._next()}", ""
        required = type_name.endswith("!")
        if self._maybe(0.15 if required else 0.3):
            # With a default, a variable that may be null fits where null must not be.
            default = f" = {_written(value, get_nullable_type(type_))}"
            type_name = type_name.removesuffix("!")
        self._definitions[name] = type_name + default
        self._kinds[name] = place, type_
        if default:
            if self._maybe(0.3):
                null = self._maybe(0.03 if required else 0.2)
                self._variables[name] = None if null else value
        elif required or not self._maybe(0.05):
            self._variables[name] = value
        return f"${name}"

    def _cursor(self) -> str:
        name = f"v{self._next()}"
        self._definitions[name] = "String"
        self._cursors.add(name)
        return f"${name}"

    def _value(self, name: str, type_: Any) -> Any:
        if not is_non_null_type(type_) and self._maybe(0.05):
            return None
        type_ = get_nullable_type(type_)
        if is_list_type(type_):
            items = [self._value(name, type_.of_type) for _ in range(self.chance.randint(0, 4))]
            return items * self.chance.choice((1, 1, 1, 2))  # now and then each twice
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
            if self._maybe(0.004):
                return self.chance.choice((-1, 101, 1001))
            return self.chance.choice((0, 1, 2, 3, 4, 7) if small else (1, 2, 9, 50, 1000))
        if type_.name == "DateTime":
            return self.chance.choice(self.words.moments).isoformat()
        if type_.name == "ID":
            return self.chance.choice(self.words.ids)
        if type_.name == "Boolean":
            return self._maybe(0.5)
        return self.chance.choice(self.words.texts)

    # Cursors

    def _fixed_cursors(self, texts: list[str]) -> list[str]:
        """The texts with some cursors written out, for the arguments as they are now."""
        document = self._text(texts[0], bool(self._definitions))
        for name, cursor in self._placed(document).items():
            if self._maybe(0.3):
                self._cursors.remove(name)
                del self._definitions[name]
                spelled = re.compile(rf"\${name}\b")
                texts = [spelled.sub(json.dumps(cursor), text) for text in texts]
        return texts

    def _point_cursors(self, text: str) -> None:
        """Give the variables that are cursors values that are valid in their place."""
        self._variables.update(self._placed(text))

    def _placed(self, text: str) -> dict[str, str]:
        if not self._cursors:
            return {}
        document = parse(text)
        node = document.definitions[0]
        assert isinstance(node, OperationDefinitionNode)
        try:
            operation = prepared.Operation(text, node, Trees())
            variables = operation.variables(self._variables)
            if isinstance(variables, list):
                return {}
            switched = prepared.SwitchedOperation(operation, variables)
            plans = switched.plans(variables)
        except (BadRequest, GraphQLError):
            return {}
        used = _Used()
        visit(document, used)
        placed = {}
        for start, names in used.names.items():
            plan = plans.at(start)
            if isinstance(plan, PagePlan):
                for name in names & self._cursors:
                    foreign = self._maybe(0.01)
                    placed[name] = "bm9uc2Vuc2U" if foreign else self._cursor_of(plan)
        return placed

    def _cursor_of(self, plan: PagePlan) -> str:
        types = [kind.type for kind in plan.cursors.kinds]
        real = [row for row in self.words.rows if list(map(_kind_of, row)) == types]
        if real and self._maybe(0.6):
            return plan.cursors.write(self.chance.choice(real))
        return plan.cursors.write([self._key(type_) for type_ in types])

    def _key(self, type_: Any) -> Any:
        if issubclass(type_, DateTime):
            return self.chance.choice(self.words.moments)
        if issubclass(type_, Boolean):
            return self.chance.random() < 0.5
        if issubclass(type_, BigInteger):
            return self.chance.choice(self.words.keys)
        if issubclass(type_, Double):
            return self.chance.choice((0.0, 0.25, 0.5, 0.0607927, 1.0))
        if issubclass(type_, Uuid):
            return self.chance.choice(self.words.uuids)
        return self.chance.choice(self.words.texts)


class _Used(Visitor):
    """The variables that each field node's own arguments use, by where it begins."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[int, set[str]] = {}

    def enter_field(self, node: Any, *_: Any) -> None:
        self.names[node.loc.start] = {
            argument.value.name.value
            for argument in node.arguments or ()
            if argument.value.kind == "variable"
        }


def _kind_of(key: Any) -> Any:
    return next(kind for type_, kind in KINDS.items() if isinstance(key, type_))


def _written(value: Any, type_: Any) -> str:
    """The value as GraphQL writes it."""
    type_ = get_nullable_type(type_)
    if isinstance(value, dict):
        members = (f"{k}: {_written(v, type_.fields[k].type)}" for k, v in value.items())
        return "{" + ", ".join(members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_written(item, type_.of_type) for item in value) + "]"
    if isinstance(type_, GraphQLEnumType) and value is not None:
        return str(value)
    return json.dumps(value, ensure_ascii=True)
