"""Random texts of documents: valid ones over the real schema, and others a little beside them."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

from community_gql.schema.executable import core
from community_gql.schema.ids import write_id
from tests.operations.operations import Generator, Words

_KEY = UUID(int=7)
WORDS = Words(
    ids=[write_id("User", str(_KEY)), write_id("Story", "7"), write_id("Tag", "7"), "nonsense"],
    texts=["", "a", 'x "quoted" \\ and\nmore', "grün 🌱", "straw and kale"],
    moments=[datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)],
    keys=[1, 7],
    uuids=[_KEY],
    rows=[],
)
_PIECE = re.compile(r'\s+|\.\.\.|"""[\s\S]*?"""|"(?:[^"\\\n]|\\.)*"|\w+|.', re.DOTALL)
_NAMES = sorted(
    {
        *core.type_map,
        *(name for type_ in core.type_map.values() for name in getattr(type_, "fields", ())),
    }
)
_ODD = (
    *("{", "}", "(", ")", "[", "]", ":", "!", "$", "@", "=", "...", ",", "#", "\n", "\r\n", "&"),
    *('"', '"""', '""', '"text"', '"""block"""', '"\\u00e9"', "0", "-1", "1.5", "1e9", "9" * 12),
    *("null", "true", "ENUM", "on", "query", "mutation", "fragment", "subscription", "é"),
    *("@skip(if: true)", "@include(if: $v1)", "$v1", "$v2", "{}", "[]", "id", "nodes", "\ufeff"),
)


def random_documents(chance: random.Random, count: int) -> Iterator[str]:
    """Valid documents, so many."""
    generator = Generator(chance, WORDS)
    for _ in range(count):
        yield generator.operation().text


def mutated(text: str, chance: random.Random) -> str:
    """The text with one to three pieces of it left out, doubled, exchanged or replaced."""
    pieces = _PIECE.findall(text)
    for _ in range(chance.choice((1, 1, 2, 3))):
        here, there = chance.randrange(len(pieces)), chance.randrange(len(pieces))
        match chance.randrange(6):
            case 0:
                pieces[here] = ""
            case 1:
                pieces[here] += " " + pieces[here]
            case 2:
                pieces[here], pieces[there] = pieces[there], pieces[here]
            case 3:
                pieces[here] = pieces[there]
            case 4:
                pieces[here] = chance.choice(_ODD)
            case 5:
                pieces[here] = chance.choice(_NAMES)
    return "".join(pieces)


def times(count: int, text: str, separator: str = " ") -> str:
    """``text`` so many times, with ``#`` counting."""
    return separator.join(text.replace("#", str(i)) for i in range(count))
