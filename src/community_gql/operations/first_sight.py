"""The log of documents: the text of each, once, by the hash that every request's line has."""

from __future__ import annotations

import logging

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
        write_event(_log, f"document {hash_}", {"document": hash_, "text": shown(text)})


def shown(text: str) -> str:
    """A valid document on one line, without comments; texts and numbers in it are hidden.

    People may be in them: a document is not always written by a program.
    """
    parts: list[str] = []
    length, named, before = 0, "", ""
    tokens = Tokens(text)
    for kind, value in zip(tokens.kinds, tokens.values, strict=True):
        if kind in _QUOTED:
            part = f'"{HIDDEN}"'
        elif kind in _NUMBERS:
            part = value if before == ":" and named in _SHOWN else "0"
        else:
            part = value
        if kind in _NAMELIKE and before in _NAMELIKE:
            part = f" {part}"
        parts.append(part)
        length += len(part)
        if length >= LONGEST:
            return "".join(parts)[:LONGEST] + HIDDEN
        named, before = (value if kind == "name" else named if kind == ":" else ""), kind
    return "".join(parts)
