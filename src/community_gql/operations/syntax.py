"""Parsing, several times faster and smaller than graphql-core's parser, into the same nodes.

One regular expression finds the tokens. Of what is not plainly an executable document nothing is
said here: graphql-core's parser reads it, and finds the error. The tree differs in two things: it
keeps no tokens, which hold each other so that only the garbage collector could free them; and
names, which are shared, have no place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar, cast

from graphql import (
    ArgumentNode,
    BooleanValueNode,
    ConstValueNode,
    DefinitionNode,
    DirectiveNode,
    DocumentNode,
    EnumValueNode,
    FieldNode,
    FloatValueNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSyntaxError,
    InlineFragmentNode,
    IntValueNode,
    ListTypeNode,
    ListValueNode,
    Location,
    NamedTypeNode,
    NameNode,
    NonNullTypeNode,
    NullValueNode,
    ObjectFieldNode,
    ObjectValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    SelectionSetNode,
    Source,
    StringValueNode,
    TypeNode,
    ValueNode,
    VariableDefinitionNode,
    VariableNode,
)
from graphql.language import Lexer

from community_gql.operations.throttle import rest

T = TypeVar("T")

_BYTES_PER_TOKEN, _BYTES_PER_TOKEN_OF_GRAPHQL_CORE = 350, 750
"""Measured with tracemalloc: a tree takes 160 to 330 bytes for each token, and 360 to 720 with the
places of names and the tokens themselves."""
_DEEPEST = 150
"""Levels of braces and brackets; graphql-core reads 200."""
_IGNORED = " \t\n\r,\ufeff"
_TOKEN = re.compile(
    rf"""
    [{_IGNORED}]*
    (?: (?P<name> [A-Za-z_][0-9A-Za-z_]* )
      | (?P<mark> \.\.\. | [{{}}()\[\]:$=!@] )
      | (?P<int> -?(?:0|[1-9][0-9]*) (?![.0-9A-Za-z_]) )
      | (?P<float> -?(?:0|[1-9][0-9]*) (?:\.[0-9]+)? (?:[eE][+-]?[0-9]+)? (?![.0-9A-Za-z_]) )
      | (?P<string> "[^"\\\n\r\ud800-\udfff]*" (?!") )
      | (?P<comment> \#[^\n\r\ud800-\udfff]* (?=[\n\r]|\Z) )
      | (?P<odd> . )
    )""",
    re.VERBOSE | re.DOTALL,
)
_OPERATIONS = {kind.value: kind for kind in OperationType}
END = "end"


class Odd(Exception):
    """What only graphql-core reads, or can say what is wrong with it."""


class Place(Location):
    """Where a node is, without the tokens."""

    __slots__ = ()

    def __init__(self, start: int, end: int, source: Source) -> None:
        self.start, self.end, self.source = start, end, source


class Tokens:
    """The tokens of a text, comments left out, and one of the kind END."""

    def __init__(self, text: str) -> None:
        """Raises Odd."""
        self.source = Source(text)
        self.kinds: list[str] = []
        """Of each token: the name of its group in the expression, or the mark itself."""
        self.values: list[str] = []
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.comments = 0
        """How many comments there are."""
        position: int | None = 0
        end = len(text.rstrip(_IGNORED))
        while position is not None:
            position = self._read(text, position, end)
        self.kinds.append(END)
        self.values.append("")

    def __len__(self) -> int:
        return len(self.starts)

    def _read(self, text: str, position: int, end: int) -> int | None:
        """Read on from a position. Where it has to go on, after a text with escapes or lines."""
        kinds, values, starts, ends = self.kinds, self.values, self.starts, self.ends
        for found in _TOKEN.finditer(text, position, end):
            rest()
            kind = found.lastgroup
            assert kind is not None
            if kind == "comment":
                self.comments += 1
                continue
            value, stop = found[kind], found.end()
            starts.append(stop - len(value))
            ends.append(stop)
            if kind == "mark":
                kind = value
            elif kind == "string":
                value = value[1:-1]
            elif kind == "odd":
                return self._read_string(value)
            kinds.append(kind)
            values.append(value)
        return None

    def _read_string(self, first: str) -> int:
        """Have graphql-core read a text, whose start is noted already. Raises Odd."""
        if first != '"':
            raise Odd
        try:
            token = Lexer(self.source).read_next_token(self.starts[-1])
        except GraphQLSyntaxError:
            raise Odd from None
        self.kinds.append("string" if token.kind.value == "String" else "block")
        self.values.append(token.value or "")
        self.ends[-1] = token.end
        return token.end


def parse(text: str, *, max_tokens: int, max_comments: int) -> DocumentNode | None:
    """The document; None where only graphql-core can say what it is, or what is wrong with it."""
    try:
        tokens = Tokens(text)
        if len(tokens) > max_tokens or tokens.comments > max_comments:
            return None
        return _Parser(tokens).document()
    except Odd:
        return None


def size_of(document: DocumentNode) -> int:
    """What a document's tree takes in memory, in bytes, estimated."""
    is_ours = isinstance(document.loc, Place)
    each = _BYTES_PER_TOKEN if is_ours else _BYTES_PER_TOKEN_OF_GRAPHQL_CORE
    return each * document.token_count


class _Parser:
    def __init__(self, tokens: Tokens) -> None:
        self._kinds, self._values = tokens.kinds, tokens.values
        self._starts, self._ends = tokens.starts, tokens.ends
        self._source = tokens.source
        self._token_count = len(tokens) + tokens.comments
        self._at = self._depth = 0
        self._names: dict[str, NameNode] = {}

    def _skip(self, kind: str) -> bool:
        if self._kinds[self._at] != kind:
            return False
        self._at += 1
        return True

    def _expect(self, kind: str) -> str:
        if self._kinds[self._at] != kind:
            raise Odd
        self._at += 1
        return self._values[self._at - 1]

    def _name(self) -> NameNode:
        value = self._expect("name")
        node = self._names.get(value)
        if node is None:
            node = self._names[value] = NameNode(value=value)
        return node

    def _place(self, start: int) -> Place:
        """From the token of that number to the last one that was read."""
        rest()
        return Place(self._starts[start], self._ends[self._at - 1], self._source)

    def _within(self, opening: str, item: Callable[[], T], closing: str) -> tuple[T, ...]:
        """The items between two marks, none or more."""
        self._expect(opening)
        self._depth += 1
        if self._depth > _DEEPEST:
            raise Odd
        found = []
        while not self._skip(closing):
            found.append(item())
        self._depth -= 1
        return tuple(found)

    def _some(self, item: Callable[[], T]) -> tuple[T, ...] | None:
        """The items in parentheses, at least one; None without parentheses."""
        if self._kinds[self._at] != "(":
            return None
        found = self._within("(", item, ")")
        if not found:
            raise Odd
        return found

    # Definitions

    def document(self) -> DocumentNode:
        """The whole. Raises Odd."""
        definitions = [self._definition()]
        while self._kinds[self._at] != END:
            definitions.append(self._definition())
        # From the start of the text to its end, what is ignored there included.
        whole = Place(0, len(self._source.body), self._source)
        document = DocumentNode(definitions=tuple(definitions), loc=whole)
        object.__setattr__(document, "token_count", self._token_count)
        return document

    def _definition(self) -> DefinitionNode:
        start = self._at
        if self._kinds[start] == "{":
            return OperationDefinitionNode(
                operation=OperationType.QUERY,
                selection_set=self._selection_set(),
                loc=self._place(start),
            )
        word = self._expect("name")
        if word == "fragment":
            return self._fragment(start)
        if word not in _OPERATIONS:
            raise Odd
        name = self._name() if self._kinds[self._at] == "name" else None
        return OperationDefinitionNode(
            operation=_OPERATIONS[word],
            name=name,
            variable_definitions=self._some(self._variable_definition),
            directives=self._directives(),
            selection_set=self._selection_set(),
            loc=self._place(start),
        )

    def _fragment(self, start: int) -> FragmentDefinitionNode:
        name = self._name()
        if name.value == "on" or self._expect("name") != "on":
            raise Odd
        return FragmentDefinitionNode(
            name=name,
            variable_definitions=(),
            type_condition=self._named_type(),
            directives=self._directives(),
            selection_set=self._selection_set(),
            loc=self._place(start),
        )

    def _variable_definition(self) -> VariableDefinitionNode:
        start = self._at
        variable = self._variable()
        self._expect(":")
        type_ = self._type()
        default = self._constant() if self._skip("=") else None
        if self._kinds[self._at] == "@":
            raise Odd
        return VariableDefinitionNode(
            variable=variable, type=type_, default_value=default, loc=self._place(start)
        )

    def _type(self) -> TypeNode:
        start = self._at
        type_: NamedTypeNode | ListTypeNode
        if self._kinds[start] == "[":
            inner = self._within("[", self._type, "]")
            if len(inner) != 1:
                raise Odd
            type_ = ListTypeNode(type=inner[0], loc=self._place(start))
        else:
            type_ = self._named_type()
        return NonNullTypeNode(type=type_, loc=self._place(start)) if self._skip("!") else type_

    def _named_type(self) -> NamedTypeNode:
        start = self._at
        return NamedTypeNode(name=self._name(), loc=self._place(start))

    # Selections

    def _selection_set(self) -> SelectionSetNode:
        start = self._at
        selections = self._within("{", self._selection, "}")
        return SelectionSetNode(selections=selections, loc=self._place(start))

    def _selection(self) -> SelectionNode:
        if self._kinds[self._at] == "...":
            return self._spread()
        start = self._at
        alias, name = None, self._name()
        if self._skip(":"):
            alias, name = name, self._name()
        arguments, directives = self._some(self._argument), self._directives()
        inner = self._selection_set() if self._kinds[self._at] == "{" else None
        return FieldNode(
            alias=alias,
            name=name,
            arguments=arguments,
            directives=directives,
            selection_set=inner,
            loc=self._place(start),
        )

    def _spread(self) -> FragmentSpreadNode | InlineFragmentNode:
        start = self._at
        self._at += 1
        is_name = self._kinds[self._at] == "name"
        if is_name and self._values[self._at] != "on":
            name = self._name()
            directives = self._directives()
            return FragmentSpreadNode(name=name, directives=directives, loc=self._place(start))
        self._at += is_name
        return InlineFragmentNode(
            type_condition=self._named_type() if is_name else None,
            directives=self._directives(),
            selection_set=self._selection_set(),
            loc=self._place(start),
        )

    def _directives(self) -> tuple[DirectiveNode, ...] | None:
        found = []
        while self._kinds[self._at] == "@":
            start = self._at
            self._at += 1
            name, arguments = self._name(), self._some(self._argument)
            found.append(DirectiveNode(name=name, arguments=arguments, loc=self._place(start)))
        return tuple(found) or None

    def _argument(self) -> ArgumentNode:
        start, name = self._at, self._name()
        self._expect(":")
        return ArgumentNode(name=name, value=self._value(), loc=self._place(start))

    # Values

    def _variable(self) -> VariableNode:
        start = self._at
        self._expect("$")
        return VariableNode(name=self._name(), loc=self._place(start))

    def _constant(self) -> ConstValueNode:
        start = self._at
        value = self._value()
        if "$" in self._kinds[start : self._at]:
            raise Odd
        return cast(ConstValueNode, value)

    def _member(self) -> ObjectFieldNode:
        start, name = self._at, self._name()
        self._expect(":")
        return ObjectFieldNode(name=name, value=self._value(), loc=self._place(start))

    def _value(self) -> ValueNode:
        start = self._at
        kind = self._kinds[start]
        match kind:
            case "$":
                return self._variable()
            case "[":
                values = self._within("[", self._value, "]")
                return ListValueNode(values=values, loc=self._place(start))
            case "{":
                fields = self._within("{", self._member, "}")
                return ObjectValueNode(fields=fields, loc=self._place(start))
        if kind not in ("name", "int", "float", "string", "block"):
            raise Odd
        self._at += 1
        value, loc = self._values[start], self._place(start)
        match kind:
            case "int":
                return IntValueNode(value=value, loc=loc)
            case "float":
                return FloatValueNode(value=value, loc=loc)
            case "string" | "block":
                return StringValueNode(value=value, block=kind == "block", loc=loc)
        match value:
            case "true" | "false":
                return BooleanValueNode(value=value == "true", loc=loc)
            case "null":
                return NullValueNode(loc=loc)
        return EnumValueNode(value=value, loc=loc)
