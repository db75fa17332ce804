"""The log of documents: the text of each, once, by the hash that every request's line has."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from community_gql.logs import HIDDEN, write_event
from community_gql.operations.syntax import Tokens

LONGEST = 4000
"""Characters of a document that the log holds."""
_SHOWN = frozenset({"first", "last", "length"})
"""Arguments whose numbers say how much is asked for, and nothing of anybody."""
_QUOTED = ("string", "block")
_NUMBERS = ("int", "float")
_NAMELIKE = ("name", *_NUMBERS, *_QUOTED)

_log = logging.getLogger("community_gql.documents")


def note(text: str, hash_: str) -> None:
    """Write the line of a document that was read for the first time since it was last forgotten."""
    if _log.isEnabledFor(logging.INFO):
        write_event(_log, f"new document {hash_}", {"document": hash_, "text": shown(text)})


def shown(text: str) -> str:
    """A valid document on one line, without comments; texts and numbers in it are hidden.

    People may be in them: a document is not always written by a program.
    """
    parts: list[str] = []
    length, before = 0, ""
    for kind, value, hidden in _tokens(Tokens(text)):
        part = value
        if hidden:
            part = f'"{HIDDEN}"' if kind in _QUOTED else "0"
        if kind in _NAMELIKE and before in _NAMELIKE:
            part = f" {part}"
        parts.append(part)
        length += len(part)
        if length >= LONGEST:
            return "".join(parts)[:LONGEST] + HIDDEN
        before = kind
    return "".join(parts)


def holds_values(text: str) -> bool:
    """Whether a valid document has anything that is hidden in the log, or comments."""
    tokens = Tokens(text)
    return tokens.comments > 0 or any(hidden for _, _, hidden in _tokens(tokens))


def _tokens(tokens: Tokens) -> Iterator[tuple[str, str, bool]]:
    """The kind and the value of each token, and whether the log hides it."""
    named, before = "", ""
    for kind, value in zip(tokens.kinds, tokens.values, strict=True):
        is_shown_number = before == ":" and named in _SHOWN
        yield kind, value, kind in _QUOTED or (kind in _NUMBERS and not is_shown_number)
        named, before = (value if kind == "name" else named if kind == ":" else ""), kind
