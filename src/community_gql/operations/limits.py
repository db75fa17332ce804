"""What a document may ask for (design/http.md, "Limits"): its size and shape, and its cost.

Each is one walk that visits every fragment once, however often it is spread, so the work is
linear in the document's size even where what it unfolds to is exponential. The shape is checked
before validation, whose own rules are not all linear; the cost on the coerced variables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLCompositeType,
    GraphQLField,
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
from graphql.execution.values import VariableValues
from strawberry.schema.schema_converter import GraphQLCoreConverter

from community_gql.errors import PublicError
from community_gql.graph.loaders import Pages
from community_gql.operations.plans import is_included
from community_gql.schema.executable import core
from community_gql.schema.fields import PageField, ThroughField
from community_gql.schema.query import NodesField


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
    cost: int = 50_000
    """Objects, see :func:`cost_of`."""


LIMITS = Limits()


class LimitExceeded(PublicError):
    """The document is larger than a limit allows."""

    code = "GRAPHQL_VALIDATION_FAILED"


class CostLimitExceeded(PublicError):
    """The operation could return more than one answer may hold."""

    code = "COST_LIMIT_EXCEEDED"


# --- the shape ------------------------------------------------------------------------------

_INTROSPECTION = frozenset({"__schema", "__type"})

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
        form = self._selections(node.selection_set, _condition(node.type_condition.name.value))
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
                inner = _condition(condition.name.value) if condition else parent
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
        if name in _INTROSPECTION:
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


def _condition(name: str) -> Parent:
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


# --- the cost -------------------------------------------------------------------------------

COUNT_OF_LIST, COUNT_OF_EVERYTHING = 10, 1000
"""What ``totalCount`` weighs: of a list that hangs on something, and of a root list."""
SEARCH = 100
"""What a text search weighs for each list it looks through."""
OTHER_LISTS = 20
"""How many a list counts that says nothing of its length: a payload's errors."""
_SEARCHED = frozenset({"search"})
_LISTS_OF_INTROSPECTION = {
    "types": 80,
    "fields": 8,
    "inputFields": 4,
    "args": 4,
    "enumValues": 4,
    "possibleTypes": 8,
    "interfaces": 1,
    "directives": 8,
}
_INTROSPECTED = 4
"""An object of introspection takes as long as this many others: no statement, but all Python."""


def _backref(definition: GraphQLField) -> Any:
    return (definition.extensions or {}).get(GraphQLCoreConverter.DEFINITION_BACKREF)


_CONNECTIONS = frozenset(
    get_named_type(field.type).name
    for type_ in core.type_map.values()
    if isinstance(type_, GraphQLObjectType)
    for field in type_.fields.values()
    if isinstance(_backref(field), PageField)
)


class Weight(NamedTuple):
    """What a selection set weighs for one parent."""

    objects: int = 0
    per_row: int = 0
    """In a connection: for each row of its page."""
    counts: int = 0
    """In a connection: how often it is counted."""


def cost_of(
    operation: OperationDefinitionNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    variables: VariableValues,
    plans: Mapping[int, Any],
) -> int:
    """The most JSON objects that the operation's answer can hold, plus what weighs extra.

    Page sizes and included fields are those of the coerced ``variables``; ``plans`` are the
    argument pass's. Plain lists count at their declared maximum, ``edges`` and ``nodes`` each.
    """
    return _Cost(fragments, variables, plans).of(operation)


def weighs(plan: Any) -> Any:
    """What of a plan decides the cost; hashable."""
    if isinstance(plan, Pages):
        return plan.window.size, _is_searched(plan)
    return len(plan) if isinstance(plan, list) else None


def _is_searched(plan: Pages) -> bool:
    return any(member in _SEARCHED for member, _ in plan.filters)


def check_cost(cost: int, limit: int = LIMITS.cost) -> None:
    """Raises CostLimitExceeded above the limit."""
    if cost > limit:
        raise CostLimitExceeded(
            f"The operation could return {cost:,} objects; at most {limit:,} are allowed. "
            "Ask for smaller pages or fewer nested lists."
        )


class _Cost:
    def __init__(
        self,
        fragments: Mapping[str, FragmentDefinitionNode],
        variables: VariableValues,
        plans: Mapping[int, Any],
    ) -> None:
        self._fragments, self._variables, self._plans = fragments, variables, plans
        self._weights: dict[str, Weight] = {}

    def of(self, operation: OperationDefinitionNode) -> int:
        root = core.get_root_type(operation.operation)
        assert root is not None
        return self._selections(operation.selection_set.selections, root).objects

    def _selections(self, selections: Iterable[Node], parent: Parent) -> Weight:
        objects = per_row = counts = 0
        for node in selections:
            if not is_included(node, self._variables):
                continue
            if isinstance(node, FieldNode):
                weight = self._field(node, parent)
            elif isinstance(node, FragmentSpreadNode):
                weight = self._fragment(node.name.value)
            elif isinstance(node, InlineFragmentNode):
                condition = node.type_condition
                inner = _condition(condition.name.value) if condition else parent
                weight = self._selections(node.selection_set.selections, inner)
            objects += weight.objects
            per_row += weight.per_row
            counts += weight.counts
        return Weight(objects, per_row, counts)

    def _fragment(self, name: str) -> Weight:
        if name not in self._weights:
            node = self._fragments[name]
            parent = _condition(node.type_condition.name.value)
            self._weights[name] = self._selections(node.selection_set.selections, parent)
        return self._weights[name]

    def _field(self, node: FieldNode, parent: Parent) -> Weight:
        assert isinstance(parent, GraphQLObjectType | GraphQLInterfaceType)
        name = node.name.value
        definition = core.get_field(parent, name)
        assert definition is not None
        if node.selection_set is None:
            return Weight(counts=1) if name == "totalCount" else Weight()
        named = get_named_type(definition.type)
        inner = self._selections(
            node.selection_set.selections,
            named,  # type: ignore[arg-type]
        )
        if parent.name.startswith("__") or name in _INTROSPECTION:
            many = _LISTS_OF_INTROSPECTION.get(name, 1)
            own = _INTROSPECTED if name in _LISTS_OF_INTROSPECTION else 0
            return Weight(many * (own + inner.objects))
        field = _backref(definition)
        plan = self._plans.get(id(node))
        if isinstance(field, PageField) and plan is not None:
            everything = plan.edge.parent is None
            extra = inner.counts * (COUNT_OF_EVERYTHING if everything else COUNT_OF_LIST)
            if _is_searched(plan):
                extra += SEARCH
            return Weight(1 + extra + inner.objects + plan.window.size * inner.per_row)
        if isinstance(field, ThroughField):
            return Weight(field.most * (1 + inner.objects))
        if isinstance(field, NodesField) and plan is not None:
            return Weight(len(plan) * (1 + inner.objects))
        if is_list_type(get_nullable_type(definition.type)):
            if parent.name in _CONNECTIONS:
                return Weight(per_row=1 + inner.objects)
            return Weight(OTHER_LISTS * (1 + inner.objects))
        return Weight(1 + inner.objects)
