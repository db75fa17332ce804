"""Automatic persisted queries, as Apollo and urql send them.

A client sends the SHA-256 of a document in place of its text. Where the text is not known, it
sends both once. The text is then kept, bounded by bytes: a client sends it again if it is gone.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping

from community_gql.errors import BadRequest, PublicError
from community_gql.lru import LruCache

_MAX_BYTES = 8 * 2**20
_ENTRY_BYTES = 300


class PersistedQueryNotFound(PublicError):
    """No text is known by this hash: the client sends it."""

    code = "PERSISTED_QUERY_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("PersistedQueryNotFound")  # clients look for this message


class PersistedQueryNotSupported(PublicError):
    """This server keeps no texts: the client sends no more hashes."""

    code = "PERSISTED_QUERY_NOT_SUPPORTED"

    def __init__(self) -> None:
        super().__init__("PersistedQueryNotSupported")  # clients look for this message


class PersistedQueries:
    """Texts of documents by their SHA-256, least recently used first out."""

    def __init__(self, *, enabled: bool = True, max_bytes: int = _MAX_BYTES) -> None:
        self._enabled = enabled
        self.kept: LruCache[str] = LruCache(max_bytes)

    def text(self, query: str | None, extensions: Mapping[str, object]) -> str | None:
        """The text that a request means: its own, or the one that its hash names.

        None when it brings neither. Raises BadRequest for a hash that is none or of another text,
        PersistedQueryNotFound and PersistedQueryNotSupported.
        """
        hash_ = _hash_of(extensions)
        if hash_ is None:
            return query
        if query is None:
            if not self._enabled:
                raise PersistedQueryNotSupported
            if (found := self.kept.get(hash_)) is None:
                raise PersistedQueryNotFound
            return found
        if hash_ != hashlib.sha256(query.encode()).hexdigest():
            raise BadRequest("'sha256Hash' is not the SHA-256 of 'query'.")
        return query

    def keep(self, text: str, extensions: Mapping[str, object]) -> None:
        """Keep a text that turned out to be a valid document, if its request brings its hash."""
        hash_ = _hash_of(extensions) if self._enabled else None
        if hash_ is not None and self.kept.get(hash_) is None:
            self.kept.put(hash_, text, _ENTRY_BYTES + sys.getsizeof(text))


def _hash_of(extensions: Mapping[str, object]) -> str | None:
    found = extensions.get("persistedQuery")
    if found is None:
        return None
    if not isinstance(found, dict) or found.get("version") != 1:
        raise BadRequest("'persistedQuery' must be an object of 'version' 1.")
    hash_ = found.get("sha256Hash")
    if not isinstance(hash_, str):
        raise BadRequest("'sha256Hash' must be a text.")
    return hash_.lower()
