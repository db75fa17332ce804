"""How text that people type is folded before it is stored or compared."""

from __future__ import annotations

import re

_MAX_DASHES = 25


def fold_tag(name: str) -> str:
    """A tag name as the vocabulary has it: trimmed, single-spaced, lower case."""
    return " ".join(name.split()).lower()


def fold_tags(names: list[str]) -> list[str]:
    """Folded, each once, in the order given."""
    return list(dict.fromkeys(map(fold_tag, names)))


def word_prefixes(text: str) -> str:
    """A tsquery text that asks for every word of ``text``, each as the beginning of a word.

    What a word is, PostgreSQL's parser decides, as it did for the text that is searched: to it
    ``J.R.R.`` is one word and ``O'Brien`` two.
    """
    quoted = (word.replace("\\", "\\\\").replace("'", "''") for word in text.split())
    return " & ".join(f"'{word}':*" for word in quoted)


def web_search(text: str) -> str:
    """``text`` for websearch_to_tsquery: a dash excludes only what it stands directly before.

    PostgreSQL itself lets any dash negate, across blanks and other dashes, and fails at about 30
    in a row ("tsquery stack too small"); a text with so many does not mean to exclude anything.
    """
    meant = re.sub(r"-(?![^\W_]|\")", " ", text)
    return meant if meant.count("-") <= _MAX_DASHES else meant.replace("-", " ")


_TERM = re.compile(r'(-?)("[^"]*"|\S+)')


def only_excludes(text: str) -> bool:
    """Whether ``text`` (of ``web_search``) or a side of an ``or`` in it says only what not to find.

    No index finds what such a search asks for.
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
    """A LIKE pattern for what begins with ``text``, whatever characters it holds."""
    return re.sub(r"([\\%_])", r"\\\1", text) + "%"
