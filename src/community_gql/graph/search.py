"""How text that people type is read before it is stored, compared or searched (decision 74)."""

from __future__ import annotations

import re
import unicodedata
from itertools import groupby

_MAX_DASHES = 25

_HANGUL_FILLERS = "\u115f\u1160\u3164\uffa0"
_BLANK_SYMBOLS = "\u2800\U0001d159"  # the Braille cell without dots, the note without a head
_BLANK = frozenset(_HANGUL_FILLERS + _BLANK_SYMBOLS)
_IGNORABLE = re.compile(r"[\u2065\ufff0-\ufff8\U000e0000-\U000e0fff]")
_NONCHARACTER = re.compile(r"[\ufdd0-\ufdef]")
_ACCENTS = re.compile(r"[\u0300-\u036f]")
_MANY = re.compile(r"[\u0300-\U0010ffff]{64,}")
"""Where there may be many marks in a row: no mark comes before U+0300."""
_PIECE = 64
"""So many characters are put into order at once."""


def composed(text: str) -> str:
    """``text`` in Unicode's form NFC, so that what looks the same compares as equal."""
    if unicodedata.is_normalized("NFC", text):
        return text
    return unicodedata.normalize("NFC", _MANY.sub(_in_order, text))


def _in_order(found: re.Match[str]) -> str:
    """The characters decomposed, and the marks behind each letter in the order of form NFD.

    Python puts marks into their order in a time that grows with the square of their number: 100,000
    of them take a minute. Pieces take little, and once all are in order nothing is left to do.
    """
    some = found[0]
    pieces = (some[at : at + _PIECE] for at in range(0, len(some), _PIECE))
    decomposed = "".join(unicodedata.normalize("NFD", piece) for piece in pieces)
    return "".join(
        "".join(sorted(characters, key=unicodedata.combining)) if are_marks else "".join(characters)
        for are_marks, characters in groupby(decomposed, _is_mark)
    )


def _is_mark(character: str) -> bool:
    return unicodedata.combining(character) != 0


def is_blank(text: str) -> bool:
    """Whether nothing of ``text`` can be seen.

    A character is visible unless Unicode (UnicodeData.txt, General_Category) has it as a separator
    (Z), a mark that needs a letter to sit on (M) or a control, format or private character (C),
    or shows it as nothing: Default_Ignorable_Code_Point (DerivedCoreProperties.txt), of which
    only the fillers of Hangul are in other categories, and two symbols drawn as blanks.
    """
    return not any(map(_is_seen, text))


def _is_seen(character: str) -> bool:
    category = unicodedata.category(character)
    if category == "Cn":  # newer than this Python's tables, such as next year's emoji
        return not (
            _IGNORABLE.match(character)
            or _NONCHARACTER.match(character)
            or ord(character) & 0xFFFE == 0xFFFE
        )
    return category[0] not in "CMZ" and character not in _BLANK


def fold_tag(name: str) -> str:
    """A tag name as the vocabulary has it: NFC, trimmed, single-spaced, lower case."""
    lower = " ".join(composed(name).split()).lower()
    # The small letter of "İ" is "i", not an "i" with a second dot.
    return composed(lower.replace("i\u0307", "i"))


def fold_tags(names: list[str]) -> list[str]:
    """Folded, each once, in the order given."""
    return list(dict.fromkeys(map(fold_tag, names)))


def without_accents(text: str) -> str:
    """``text`` without the accents over and under its letters: what ``name_key`` is made of.

    The same as the function ``without_accents`` of the database. Letters that are not made of a
    letter and an accent (ø, ł, ß) stay.
    """
    return composed(_ACCENTS.sub("", unicodedata.normalize("NFD", composed(text))))


def word_prefixes(text: str) -> str:
    """A tsquery text that asks for every word of ``text``, each as the beginning of a word.

    PostgreSQL's parser decides what a word is, as it did for the text that is searched:
    ``J.R.R.`` is one word and ``O'Brien`` is two.
    """
    quoted = (
        word.replace("\\", "\\\\").replace("'", "''") for word in without_accents(text).split()
    )
    return " & ".join(f"'{word}':*" for word in quoted)


def web_search(text: str) -> str:
    """``text`` for websearch_to_tsquery: a dash excludes only what it stands directly before.

    PostgreSQL itself lets any dash negate, across blanks and other dashes, and fails at about 30
    in a row ("tsquery stack too small"); a text with so many does not mean to exclude anything.
    """
    meant = re.sub(r"-(?![^\W_]|\")", " ", composed(text))
    return meant if meant.count("-") <= _MAX_DASHES else meant.replace("-", " ")


_TERM = re.compile(r'(-?)("[^"]*"|\S+)')


def only_excludes(text: str) -> bool:
    """Whether ``text`` (of ``web_search``) or a side of an ``or`` in it only excludes words.

    No index serves such a search.
    """
    wanted = unwanted = False
    for dash, term in _TERM.findall(f"{text} or"):
        if not dash and term.lower() == "or":
            if unwanted and not wanted:
                return True
            wanted = unwanted = False
        elif dash:
            unwanted = True
        else:
            wanted = wanted or re.search(r"[^\W_]", term) is not None
    return False


def like_prefix(text: str) -> str:
    """A LIKE pattern for texts that begin with ``text``; its wildcards are escaped."""
    for wildcard in "\\%_":  # the escape itself first
        text = text.replace(wildcard, f"\\{wildcard}")
    return text + "%"
