"""Documents: where their text comes from, and reading each once while it is in use.

A request names a trusted document by its id, or brings a text of its own where that is allowed.
Reading is parsing, the limits of shape, and validation, in that order: validation takes more than
linear time, so it only sees what is small. What was read is kept, bounded by bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson
from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    OperationType,
    specified_rules,
    validate,
)
from graphql import parse as parse_slowly
from graphql.validation.rules import overlapping_fields_can_be_merged as overlapping

from community_gql.errors import BadRequest, PublicError
from community_gql.lru import LruCache
from community_gql.operations import first_sight, resting, syntax  # noqa: F401
from community_gql.operations.collector import uncollected
from community_gql.operations.plans import check_document
from community_gql.operations.prepared import Operation
from community_gql.operations.shape import LIMITS, check_lists, check_shape
from community_gql.operations.trees import Trees
from community_gql.operations.validity import is_certainly_valid
from community_gql.schema.executable import core
from community_gql.settings import SettingsError

# The rule that compares fields pairwise gives up after this many steps. Graphql-core's own bound
# of 500,000 takes more than a second; this one takes less than 100 ms on a slow core, and is
# enough for fifty components that each ask for the same five fields.
overlapping.MAX_COMPLEXITY_BUDGET = 22_000

_OWN_RULES = [
    rule
    for rule in specified_rules
    if rule.__name__.removesuffix("Rule")
    in {
        *("ExecutableDefinitions", "UniqueOperationNames", "LoneAnonymousOperation"),
        *("UniqueFragmentNames", "KnownFragmentNames", "NoUnusedFragments", "NoFragmentCycles"),
        *("UniqueVariableNames", "NoUndefinedVariables", "NoUnusedVariables"),
        *("UniqueArgumentNames", "UniqueInputFieldNames"),
    }
]
"""The rules of a document by itself: their errors tell nothing of the schema."""

_PLACES = 5
"""How many places are shown of one mistake."""
_BYTES = 3000
"""What a document takes in memory beside its operations."""


class ParseFailed(PublicError):
    """The document is not GraphQL, or longer than the limits of its text."""

    code = "GRAPHQL_PARSE_FAILED"


class ValidationFailed(PublicError):
    """The document does not fit the schema."""

    code = "GRAPHQL_VALIDATION_FAILED"


class DocumentNotFound(PublicError):
    """No manifest has a document with this id."""

    code = "DOCUMENT_NOT_FOUND"


class DocumentNotTrusted(PublicError):
    """Only the documents of the manifests are answered here."""

    code = "DOCUMENT_NOT_TRUSTED"


class Refused(Exception):
    """A request that will not run, with all that is wrong with it."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__("refused")
        self.errors = errors
        self.document_hash: str | None = None
        """Of its document, if that could be read."""
        self.operation_name: str | None = None
        """Of the operation, if the document has it."""
        self.read_tokens = 0
        """How many tokens were read for it, estimated where they cannot be counted."""


@dataclass(frozen=True, slots=True)
class Document:
    """A valid document."""

    hash: str
    """The first 16 hexadecimal digits of the SHA-256 of its text, for the log."""
    size: int
    """What it takes in memory, in bytes, estimated; its tree is counted elsewhere."""
    token_count: int
    introspects: bool
    operations: tuple[Operation, ...]

    def operation(self, name: str | None) -> Operation:
        """The operation of that name, or the only one. Raises BadRequest without such a one."""
        found = self.named(name)
        if found is not None:
            return found
        if name is not None:
            raise BadRequest("The document has no operation of the name in 'operationName'.")
        raise BadRequest(
            "The document has several operations: say which with 'operationName'."
            if self.operations
            else "The document has no operation."
        )

    def named(self, name: str | None) -> Operation | None:
        """The operation of that name, or the only one; None without such a one."""
        if name is None:
            return self.operations[0] if len(self.operations) == 1 else None
        for operation in self.operations:
            if operation.name == name:
                return operation
        return None


Mode = Literal["off", "allow", "enforce"]


class TrustedDocuments:
    """The documents of the manifests, by id.

    A manifest is a JSON object of texts by id, as graphql-codegen's client preset
    (``persisted-documents.json``) and the Relay compiler (``persistConfig.file``) write it. Each
    text is also found by ``sha256:`` and its digest.
    """

    def __init__(self, mode: Mode = "off", texts: Mapping[str, str] | None = None) -> None:
        self.mode = mode
        self._texts = dict(texts or {})
        for text in list(self._texts.values()):
            self._texts[f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"] = text
        self._trusted = frozenset(self._texts.values())

    @classmethod
    def load(cls, mode: Mode, files: Iterable[Path]) -> TrustedDocuments:
        """The documents in ``files``. Raises SettingsError for what is not a manifest."""
        texts: dict[str, str] = {}
        for path in files:
            for id_, text in _manifest(path).items():
                if texts.setdefault(id_, text) != text:
                    raise SettingsError(
                        f"{path} has a different document than an earlier file for id {id_!r}."
                    )
        if mode != "off" and not texts:
            raise SettingsError(
                f"TRUSTED_DOCUMENTS is {mode}, but TRUSTED_DOCUMENTS_FILES names no documents."
            )
        return cls(mode, texts)

    def texts(self) -> list[str]:
        """The documents, each once."""
        return sorted(self._trusted)

    def text(self, query: str | None, id_: str | None) -> str:
        """The text to run. Raises BadRequest, DocumentNotFound or DocumentNotTrusted."""
        if id_ is not None and self.mode != "off":
            if query is not None:
                raise BadRequest("Send either 'query' or 'documentId'.")
            text = self._texts.get(id_)
            if text is None:
                raise DocumentNotFound("No document is known by this 'documentId'.")
            return text
        if query is None:
            raise BadRequest(
                "This server takes no 'documentId': send the document as 'query'."
                if id_ is not None
                else "The request must have the member 'query', a GraphQL document."
            )
        if self.mode == "enforce" and query not in self._trusted:
            raise DocumentNotTrusted("This server answers only the documents it knows.")
        return query


def _manifest(path: Path) -> dict[str, str]:
    try:
        found = orjson.loads(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"TRUSTED_DOCUMENTS_FILES: {path}: {error.strerror}.") from None
    except orjson.JSONDecodeError:
        raise SettingsError(f"TRUSTED_DOCUMENTS_FILES: {path} is not JSON.") from None
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise SettingsError(
            f"TRUSTED_DOCUMENTS_FILES: {path} must be a JSON object of documents by their ids."
        )
    return found


class Documents:
    """Valid documents by their text, least recently used first out."""

    def __init__(self, max_bytes: int = 8 * 2**20) -> None:
        self.kept: LruCache[Document] = LruCache(max_bytes)
        self.trees = Trees()

    def __contains__(self, text: str) -> bool:
        return text in self.kept

    def get(self, text: str, *, open_schema: bool = True, hint: str = "") -> Document:
        """The document with this text. Raises Refused with what is wrong with it.

        Without ``open_schema`` introspection is refused, and errors tell nothing of the schema;
        ``hint`` says how to be told.
        """
        document = self.kept.get(text)
        if document is None:
            with uncollected():
                document = self._read(text, open_schema, hint)
            self.kept.put(text, document, document.size)
            first_sight.note(text, document.hash)
        if document.introspects and not open_schema:
            raise Refused([_closed("Introspection is not open to this caller.", hint)])
        return document

    def _read(self, text: str, open_schema: bool, hint: str) -> Document:
        quickly = syntax.parse(text, max_tokens=LIMITS.tokens, max_comments=LIMITS.comments)
        node = quickly or _parse(text)
        try:
            if "\\u" in text:  # the only way for a text to hold what the request's own text cannot
                check_document(node)
            form = check_shape(node, LIMITS)
            _check_operations(node)
        except PublicError as error:
            raise Refused([_refusal(error)]) from None
        if quickly is None or not is_certainly_valid(quickly):
            # Names have a place only in graphql-core's own tree.
            _validate(_parse(text) if quickly else node, open_schema, hint)
        try:
            check_lists(form, LIMITS)
        except PublicError as error:
            raise Refused([_refusal(error)]) from None
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        tree = self.trees.keep(text, node)
        operations = tuple(
            Operation(text, operation, self.trees, digest) for operation in tree.operations.values()
        )
        size = _BYTES + sum(operation.size for operation in operations)
        return Document(digest, size, node.token_count, form.introspects, operations)


def _parse(text: str) -> DocumentNode:
    try:
        return parse_slowly(text, max_lexical_tokens=LIMITS.tokens, max_comments=LIMITS.comments)
    except GraphQLSyntaxError as error:
        raise Refused([_as(error, ParseFailed)]) from None


def _validate(node: DocumentNode, open_schema: bool, hint: str) -> None:
    """Raises Refused with what is wrong with the document."""
    errors = validate(core, node, max_errors=LIMITS.errors)
    if errors and not open_schema:
        # Any error beyond a field, and where it is, would confirm that the field exists.
        errors = validate(core, node, _OWN_RULES, max_errors=LIMITS.errors)
        if not errors:
            raise Refused([_closed("The document does not fit the schema.", hint)])
    if errors:
        raise Refused([_as(error, ValidationFailed) for error in errors[: LIMITS.errors]])


def _check_operations(document: DocumentNode) -> None:
    for node in document.definitions:
        if isinstance(node, OperationDefinitionNode) and core.get_root_type(node.operation) is None:
            raise ValidationFailed(f"The schema has no {OperationType(node.operation).value}s.")


def _as(error: GraphQLError, kind: type[PublicError]) -> GraphQLError:
    # The messages of graphql-core repeat what they complain of, however long it is.
    message = error.message if len(error.message) <= 500 else f"{error.message[:500]}…"
    return GraphQLError(
        message,
        nodes=error.nodes[:_PLACES] if error.nodes else None,
        source=error.source,
        positions=list(error.positions)[:_PLACES] if error.positions and not error.nodes else None,
        original_error=kind(message),
    )


def _closed(message: str, hint: str) -> GraphQLError:
    return _refusal(ValidationFailed(f"{message} {hint}".rstrip()))


def _refusal(error: PublicError) -> GraphQLError:
    return GraphQLError(error.message, original_error=error)
