"""The syntax trees of the documents in use.

A tree is thousands of small objects, which the garbage collector walks again and again. A text is
parsed in a millisecond, and a compiled operation needs no tree: so few trees are kept, and any is
made again when it is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from graphql import DocumentNode, FieldNode, FragmentDefinitionNode, Node, OperationDefinitionNode
from graphql import parse as parse_slowly

from community_gql.lru import LruCache
from community_gql.operations import syntax

_MAX_BYTES = 2 * 2**20


def start_of(node: Node) -> int:
    """Where a node begins in its text: what names a field or an operation in every tree of it."""
    assert node.loc is not None
    return node.loc.start


def without_selections(node: FieldNode) -> FieldNode:
    """The field without what is selected below: keeping it does not keep the tree."""
    return FieldNode(name=node.name, arguments=node.arguments, loc=node.loc)


@dataclass(frozen=True, slots=True)
class Tree:
    """A document's tree, taken apart."""

    operations: Mapping[int, OperationDefinitionNode]
    """By where they begin."""
    fragments: Mapping[str, FragmentDefinitionNode]

    @classmethod
    def of(cls, document: DocumentNode) -> Tree:
        """Of a valid document."""
        nodes = document.definitions
        return cls(
            {start_of(n): n for n in nodes if isinstance(n, OperationDefinitionNode)},
            {n.name.value: n for n in nodes if isinstance(n, FragmentDefinitionNode)},
        )


class Trees:
    """Trees of valid documents by their text, least recently used first out."""

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        self.kept: LruCache[Tree] = LruCache(max_bytes)

    def of(self, text: str) -> Tree:
        """The tree of a text that was found valid before."""
        tree = self.kept.get(text)
        if tree is None:
            quickly = syntax.parse(text, max_tokens=sys.maxsize, max_comments=sys.maxsize)
            tree = self.keep(text, quickly or parse_slowly(text))
        return tree

    def keep(self, text: str, document: DocumentNode) -> Tree:
        """Keep the tree of a text."""
        tree = Tree.of(document)
        self.kept.put(text, tree, syntax.size_of(document))
        return tree
