"""How large a document may be: static limits, each linear in the size of the document.

Every fragment is walked once, where what it unfolds to may be exponential. The shape is checked
before validation, whose own rules are not all linear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLCompositeType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    InlineFragmentNode,
    ListValueNode,
    Node,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_list_type,
)

from community_gql.errors import PublicError
from community_gql.schema.executable import core


@dataclass(frozen=True, slots=True)
class Limits:
    """The numbers, each for one document. ``docs/http.md`` repeats them."""

    tokens: int = 5000
    """Lexical tokens, without comments."""
    comments: int = 500
    definitions: int = 200
    """Operations and fragments."""
    fields: int = 2000
    """Fields with every fragment unfolded wherever it is spread, over all definitions."""
    depth: int = 12
    """Fields within fields."""
    root_fields: int = 20
    """Fields at the root of an operation, fragments unfolded."""
    aliases: int = 50
    directives: int = 5
    """Directives at one place."""
    lists: int = 3
    """Lists within lists; a connection is one."""
    introspection_depth: int = 16
    """Fields within ``__schema`` and ``__type``; the query that tools send has 15."""
    literals: int = 250
    """Values inside one list or object literal."""
    errors: int = 20
    """How many mistakes are reported."""
    cost: int = 100_000
    """Objects, see :func:`cost_of`."""


LIMITS = Limits()
MAX_ANSWER_BYTES = 16 * 2**20
"""The longest answer; the setting of this name."""


class LimitExceeded(PublicError):
    """The document is larger than a limit allows."""

    code = "GRAPHQL_VALIDATION_FAILED"


INTROSPECTION = frozenset({"__schema", "__type"})

Parent = GraphQLCompositeType | None


class Form(NamedTuple):
    """A selection set with its fragments unfolded."""

    fields: int = 0
    depth: int = 0
    root_fields: int = 0
    """Fields at its own level."""
    lists: int = 0
    introspection_depth: int = 0
    introspects: bool = False

    def beside(self, other: Form) -> Form:
        """Both in one selection set."""
        return Form(
            self.fields + other.fields,
            max(self.depth, other.depth),
            self.root_fields + other.root_fields,
            max(self.lists, other.lists),
            max(self.introspection_depth, other.introspection_depth),
            self.introspects or other.introspects,
        )


def check_shape(document: DocumentNode, limits: Limits = LIMITS) -> bool:
    """Whether any of it introspects. Raises LimitExceeded when the document is too much."""
    return _Shape(document, limits).introspects()


class _Shape:
    def __init__(self, document: DocumentNode, limits: Limits) -> None:
        self._document, self._limits = document, limits
        self._fragments = _fragments(document)
        self._forms: dict[str, Form | None] = {}
        self._aliases = 0

    def introspects(self) -> bool:
        definitions = self._document.definitions
        _at_most(self._limits.definitions, len(definitions), "operations and fragments")
        whole = Form()
        for node in definitions:
            if isinstance(node, OperationDefinitionNode):
                for variable in node.variable_definitions or ():
                    self._directives(variable)
                self._directives(node)
                form = self._selections(node.selection_set, core.get_root_type(node.operation))
                _at_most(self._limits.root_fields, form.root_fields, "fields at its root")
                whole = whole.beside(form)
        for name, fragment in self._fragments.items():
            # Those that no operation uses are validated too, so they count as well.
            form = self._fragment(name)
            if fragment.type_condition.name.value.startswith("__"):
                form = Form(fields=form.fields, introspection_depth=form.depth)
            whole = whole.beside(form)
        _at_most(self._limits.fields, whole.fields, "fields")
        _at_most(self._limits.depth, whole.depth, "levels of fields")
        _at_most(self._limits.lists, whole.lists, "lists within lists")
        _at_most(
            self._limits.introspection_depth, whole.introspection_depth, "levels of introspection"
        )
        _at_most(self._limits.aliases, self._aliases, "aliases")
        return whole.introspects

    def _fragment(self, name: str) -> Form:
        if name in self._forms:
            form = self._forms[name]
            if form is None:
                raise LimitExceeded(f"The fragment {_cut(name)} spreads itself.")
            return form
        node = self._fragments.get(name)
        if node is None:
            return Form()  # for validation to report
        self._forms[name] = None
        self._directives(node)
        form = self._selections(node.selection_set, condition_of(node.type_condition.name.value))
        self._forms[name] = form
        return form

    def _selections(self, selections: SelectionSetNode, parent: Parent) -> Form:
        form = Form()
        for node in selections.selections:
            self._directives(node)
            if isinstance(node, FieldNode):
                found = self._field(node, parent)
            elif isinstance(node, FragmentSpreadNode):
                found = self._fragment(node.name.value)
            elif isinstance(node, InlineFragmentNode):
                condition = node.type_condition
                inner = condition_of(condition.name.value) if condition else parent
                found = self._selections(node.selection_set, inner)
            form = form.beside(found)
        return form

    def _field(self, node: FieldNode, parent: Parent) -> Form:
        if node.alias is not None:
            self._aliases += 1
        for given in node.arguments or ():
            literals = _literals(given.value)
            _at_most(self._limits.literals, literals, f"values in {_cut(given.name.value)!r}")
        name, type_ = node.name.value, _type_of(parent, node.name.value)
        inner = Form()
        if node.selection_set is not None:
            named = get_named_type(type_) if type_ is not None else None
            inner = self._selections(
                node.selection_set, named if is_composite_type(named) else None
            )
        if name in INTROSPECTION:
            return Form(1 + inner.fields, 1, 1, 0, inner.depth, True)
        listed = type_ is not None and is_list_type(get_nullable_type(type_))
        lists = inner.lists + (1 if listed and node.selection_set is not None else 0)
        return Form(
            1 + inner.fields,
            1 + inner.depth,
            1,
            lists,
            inner.introspection_depth,
            inner.introspects,
        )

    def _directives(self, node: Any) -> None:
        _at_most(self._limits.directives, len(node.directives or ()), "directives at one place")


def _fragments(document: DocumentNode) -> dict[str, FragmentDefinitionNode]:
    return {
        node.name.value: node
        for node in document.definitions
        if isinstance(node, FragmentDefinitionNode)
    }


def condition_of(name: str) -> Parent:
    """The composite type of that name, as a fragment's type condition has it; else None."""
    type_ = core.get_type(name)
    return type_ if is_composite_type(type_) else None


def _type_of(parent: Parent, name: str) -> Any:
    if not isinstance(parent, GraphQLObjectType | GraphQLInterfaceType):
        return None
    definition = core.get_field(parent, name)
    return None if definition is None else definition.type


def _literals(value: Node) -> int:
    if isinstance(value, ListValueNode):
        return sum(1 + _literals(item) for item in value.values)
    if isinstance(value, ObjectValueNode):
        return sum(1 + _literals(field.value) for field in value.fields)
    return 0


def _at_most(limit: int, found: int, what: str) -> None:
    if found > limit:
        raise LimitExceeded(f"The document has {found:,} {what}; at most {limit:,} are allowed.")


def _cut(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:40]}…"
