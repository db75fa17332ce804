"""How text that people type is folded before it is stored or compared."""

from __future__ import annotations

import re


def fold_tag(name: str) -> str:
    """A tag name as the vocabulary has it: trimmed, single-spaced, lower case."""
    return " ".join(name.split()).lower()


def fold_tags(names: list[str]) -> list[str]:
    """Folded, each once, in the order given."""
    return list(dict.fromkeys(map(fold_tag, names)))


def word_prefixes(text: str) -> str:
    """A tsquery text that asks for every word of ``text``, each as the beginning of a word."""
    return " & ".join(f"{word}:*" for word in re.findall(r"[^\W_]+", text.lower()))


def like_prefix(text: str) -> str:
    """A LIKE pattern for what begins with ``text``, whatever characters it holds."""
    return re.sub(r"([\\%_])", r"\\\1", text) + "%"
