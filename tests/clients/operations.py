"""The operations that every generator is given: all root fields of the schema.

Their names follow Relay's rule (the name of the module, and what it is), so that one text does for
all: ``Read.graphql`` becomes a module ``Read`` with ``ReadStoryQuery``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from graphql import (
    DefinitionNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    OperationDefinitionNode,
    Visitor,
    parse,
    print_ast,
    visit,
)

FOLDER = Path(__file__).parent / "operations"
MODULES = ("Parts", "Read", "Write")


@dataclass(frozen=True)
class Definition:
    """An operation or a fragment."""

    module: str
    node: DefinitionNode

    @property
    def name(self) -> str:
        assert isinstance(self.node, OperationDefinitionNode | FragmentDefinitionNode)
        assert self.node.name is not None
        return self.node.name.value

    @property
    def text(self) -> str:
        return print_ast(self.node)

    @property
    def root_fields(self) -> set[str]:
        """The fields of Query or Mutation that it asks for; none for a fragment."""
        if not isinstance(self.node, OperationDefinitionNode):
            return set()
        found = self.node.selection_set.selections
        return {node.name.value for node in found if isinstance(node, FieldNode)}

    @property
    def spreads(self) -> list[str]:
        """The names of the fragments that it spreads."""
        found: dict[str, None] = {}

        class Spreads(Visitor):
            def enter_fragment_spread(self, node: FragmentSpreadNode, *_: object) -> None:
                found[node.name.value] = None

        visit(self.node, Spreads())
        return list(found)


def definitions(folder: Path = FOLDER) -> list[Definition]:
    """All of them, fragments before those that spread them."""
    return [
        Definition(module, node)
        for module in MODULES
        for node in parse((folder / f"{module}.graphql").read_text(encoding="utf-8")).definitions
    ]


def documents(folder: Path = FOLDER) -> Iterator[tuple[str, str, set[str]]]:
    """Name, whole text with its fragments, and root fields of each operation."""
    known = {each.name: each for each in definitions(folder)}
    for each in known.values():
        if each.root_fields:
            wanted = list(each.spreads)
            for name in wanted:
                wanted += [more for more in known[name].spreads if more not in wanted]
            texts = [each.text, *(known[name].text for name in wanted)]
            yield each.name, "\n\n".join(texts), each.root_fields
