"""Documents: parsed and validated once, then kept while they are in use."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    parse,
    validate,
)

from community_gql.api.arguments import check_document
from community_gql.api.schema import core
from community_gql.errors import PublicError

MAX_TOKENS = 5000
MAX_VALIDATION_ERRORS = 20


class ParseFailed(PublicError):
    """The document is not GraphQL."""

    code = "GRAPHQL_PARSE_FAILED"


class ValidationFailed(PublicError):
    """The document does not fit the schema."""

    code = "GRAPHQL_VALIDATION_FAILED"


class Refused(Exception):
    """A document that will not run, with all its errors: (public error, its place)."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__(errors[0].message)
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Document:
    """A valid document."""

    node: DocumentNode
    hash: str
    """The first 16 hexadecimal digits of the SHA-256 of its text, for the log."""
    size: int
    """The length of its text in bytes: what the cache's bound counts."""

    def operation(self, name: str | None) -> OperationDefinitionNode | None:
        """The operation of that name, or the only one; None when there is no such one."""
        operations = [
            node for node in self.node.definitions if isinstance(node, OperationDefinitionNode)
        ]
        if name is None:
            return operations[0] if len(operations) == 1 else None
        named = (node for node in operations if node.name and node.name.value == name)
        return next(named, None)


class Documents:
    """Valid documents by their text, least recently used first out."""

    def __init__(self, max_bytes: int = 4 * 2**20, *, hide_suggestions: bool = True) -> None:
        self._max_bytes, self._hide_suggestions = max_bytes, hide_suggestions
        self._kept: OrderedDict[str, Document] = OrderedDict()
        self._bytes = 0

    def get(self, text: str) -> Document:
        """The document with this text. Raises Refused with what is wrong with it."""
        document = self._kept.get(text)
        if document is not None:
            self._kept.move_to_end(text)
            return document
        document = self._read(text)
        self._keep(text, document)
        return document

    def _read(self, text: str) -> Document:
        try:
            node = parse(text, max_tokens=MAX_TOKENS)
        except GraphQLSyntaxError as error:
            raise Refused([_as(error, ParseFailed)]) from None
        try:
            check_document(node)
        except PublicError as error:
            raise Refused([GraphQLError(error.message, original_error=error)]) from None
        errors = validate(
            core,
            node,
            max_errors=MAX_VALIDATION_ERRORS,
            hide_suggestions=self._hide_suggestions,
        )
        if errors:
            raise Refused([_as(error, ValidationFailed) for error in errors])
        data = text.encode()
        return Document(node, hashlib.sha256(data).hexdigest()[:16], len(data))

    def _keep(self, text: str, document: Document) -> None:
        self._kept[text] = document
        self._bytes += document.size
        while self._bytes > self._max_bytes:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= dropped.size


def _as(error: GraphQLError, kind: type[PublicError]) -> GraphQLError:
    return GraphQLError(
        error.message,
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        original_error=kind(error.message),
    )
