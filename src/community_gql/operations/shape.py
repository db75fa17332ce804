"""How large a document may be: static limits, each linear in the size of the document.

The shape is checked before validation, whose own rules are not all linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLInterfaceType,
    GraphQLObjectType,
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
from community_gql.operations.fold import Fold, Parent
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
    nesting: int = 100
    """Selection sets within selection sets, those of fragments too: reading them is recursive."""
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
    items: int = 5000
    """Items of one list, and members of one input object, in variables."""
    errors: int = 20
    """How many mistakes are reported."""
    cost: int = 100_000
    """Objects, see :func:`cost_of`."""


LIMITS = Limits()
MAX_ANSWER_BYTES = 8 * 2**20
"""The longest answer; the setting of this name."""


class LimitExceeded(PublicError):
    """The document is larger than a limit allows."""

    code = "GRAPHQL_VALIDATION_FAILED"


INTROSPECTION = frozenset({"__schema", "__type"})


class Form(NamedTuple):
    """A selection set with its fragments unfolded."""

    fields: int = 0
    depth: int = 0
    root_fields: int = 0
    """Fields at its own level."""
    lists: int = 0
    introspection_depth: int = 0
    introspects: bool = False
    nesting: int = 0
    """Selection sets within selection sets."""

    @classmethod
    def together(cls, forms: Sequence[Form]) -> Form:
        """All in one selection set."""
        if len(forms) < 2:
            return forms[0] if forms else cls()
        fields, depths, root_fields, lists, introspection_depths, introspects, nestings = zip(
            *forms, strict=True
        )
        return cls(
            sum(fields),
            max(depths),
            sum(root_fields),
            max(lists),
            max(introspection_depths),
            any(introspects),
            max(nestings),
        )


_LEAF = Form(fields=1, depth=1, root_fields=1)


def check_shape(document: DocumentNode, limits: Limits = LIMITS) -> Form:
    """The whole of the document. Raises LimitExceeded when it is too much."""
    return _Shape(document, limits).whole()


def check_lists(form: Form, limits: Limits = LIMITS) -> None:
    """Raises LimitExceeded for too many lists within lists.

    This is for documents that are valid: which fields are lists, only the schema knows, and it may
    be closed to whoever asks.
    """
    _at_most(limits.lists, form.lists, "lists within lists")


class _Shape(Fold[Form]):
    def __init__(self, document: DocumentNode, limits: Limits) -> None:
        super().__init__(_fragments(document))
        self._document, self._limits = document, limits
        self._entered: set[str] = set()
        self._nesting = 0
        self._aliases = 0

    def whole(self) -> Form:
        definitions = self._document.definitions
        _at_most(self._limits.definitions, len(definitions), "operations and fragments")
        forms = []
        for node in definitions:
            if isinstance(node, OperationDefinitionNode):
                for variable in node.variable_definitions or ():
                    self.enter(variable)
                self.enter(node)
                form = self.of(node.selection_set, core.get_root_type(node.operation))
                _at_most(self._limits.root_fields, form.root_fields, "fields at its root")
                forms.append(form)
        for name, fragment in self.fragments.items():
            # Those that no operation uses are validated too, so they count as well.
            form = self.fragment(name)
            if fragment.type_condition.name.value.startswith("__"):
                form = Form(
                    fields=form.fields, introspection_depth=form.depth, nesting=form.nesting
                )
            forms.append(form)
        whole = Form.together(forms)
        _at_most(self._limits.fields, whole.fields, "fields")
        _at_most(self._limits.depth, whole.depth, "levels of fields")
        _at_most(
            self._limits.introspection_depth, whole.introspection_depth, "levels of introspection"
        )
        _at_most(self._limits.aliases, self._aliases, "aliases")
        return whole

    def of(self, selections: SelectionSetNode, parent: Parent) -> Form:
        # Counted on the way down, and of fragments that were walked before on the way up.
        self._nesting += 1
        self._check_nesting(self._nesting)
        form = super().of(selections, parent)
        self._nesting -= 1
        self._check_nesting(form.nesting + 1)
        return form._replace(nesting=form.nesting + 1)

    def _check_nesting(self, found: int) -> None:
        if found > self._limits.nesting:
            raise LimitExceeded(
                f"The document has more than {self._limits.nesting} selection sets within "
                "each other, with its fragments unfolded."
            )

    def enter(self, node: Any) -> None:
        _at_most(self._limits.directives, len(node.directives or ()), "directives at one place")

    def fragment(self, name: str) -> Form:
        if name not in self.fragments:
            return Form()  # for validation to report
        if name not in self._folded:
            if name in self._entered:
                raise LimitExceeded(f"The fragment {_cut(name)} spreads itself.")
            self._entered.add(name)
            self.enter(self.fragments[name])
        return super().fragment(name)

    def together(self, values: Sequence[Form]) -> Form:
        return Form.together(values)

    def field(self, node: FieldNode, parent: Parent) -> Form:
        if node.alias is not None:
            self._aliases += 1
        for given in node.arguments or ():
            literals = _literals(given.value)
            _at_most(self._limits.literals, literals, f"values in {_cut(given.name.value)!r}")
        name = node.name.value
        if node.selection_set is None:
            return _LEAF._replace(introspects=True) if name in INTROSPECTION else _LEAF
        type_ = _type_of(parent, name)
        named = get_named_type(type_) if type_ is not None else None
        inner = self.of(node.selection_set, named if is_composite_type(named) else None)
        if name in INTROSPECTION:
            return Form(1 + inner.fields, 1, 1, 0, inner.depth, True, inner.nesting)
        listed = type_ is not None and is_list_type(get_nullable_type(type_))
        lists = inner.lists + listed
        return Form(
            1 + inner.fields,
            1 + inner.depth,
            1,
            lists,
            inner.introspection_depth,
            inner.introspects,
            inner.nesting,
        )


def _fragments(document: DocumentNode) -> dict[str, FragmentDefinitionNode]:
    return {
        node.name.value: node
        for node in document.definitions
        if isinstance(node, FragmentDefinitionNode)
    }


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
