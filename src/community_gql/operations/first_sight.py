"""The log of documents: the text of each, once, by the hash that every request's line has."""

from __future__ import annotations

import logging

from graphql import DocumentNode, TokenKind
from graphql.language import Token

from community_gql.logs import HIDDEN, write_event

LONGEST = 4000
"""Characters of a document that the log holds."""
_SHOWN = frozenset({"first", "last", "length"})
"""Arguments whose numbers say how much is asked for, and nothing of anybody."""
_QUOTED = (TokenKind.STRING, TokenKind.BLOCK_STRING)
_NUMBERS = (TokenKind.INT, TokenKind.FLOAT)
_NAMELIKE = (TokenKind.NAME, *_NUMBERS, *_QUOTED)

_log = logging.getLogger("community_gql.documents")


def note(document: DocumentNode, hash_: str) -> None:
    """Write the line of a document that was read for the first time since it was last forgotten."""
    if _log.isEnabledFor(logging.INFO):
        write_event(_log, f"document {hash_}", {"document": hash_, "text": shown(document)})


def shown(document: DocumentNode) -> str:
    """The document on one line, without comments; texts and numbers that it spells out are hidden.

    People may be in them: a document is not always written by a program.
    """
    assert document.loc is not None
    parts: list[str] = []
    length = 0
    before: list[Token] = []
    token: Token | None = document.loc.start_token
    while token is not None and length < LONGEST:
        if token.kind not in (TokenKind.SOF, TokenKind.EOF, TokenKind.COMMENT):
            text = _text(token, before)
            if before and before[-1].kind in _NAMELIKE and token.kind in _NAMELIKE:
                text = f" {text}"
            parts.append(text)
            length += len(text)
            before = [*before[-1:], token]
        token = token.next
    return "".join(parts)[:LONGEST] + (HIDDEN if length >= LONGEST else "")


def _text(token: Token, before: list[Token]) -> str:
    if token.kind in _QUOTED:
        return f'"{HIDDEN}"'
    if token.kind in _NUMBERS:
        named = len(before) == 2 and before[1].kind is TokenKind.COLON
        return str(token.value) if named and before[0].value in _SHOWN else "0"
    return str(token.value) if token.value is not None else token.kind.value
