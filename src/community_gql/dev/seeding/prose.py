"""Titles and texts of stories: finished sentences, chosen and put together."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from community_gql.dev.seeding import vocabulary as words
from community_gql.dev.seeding.themes import THEMES

T = TypeVar("T")

TITLES = tuple(
    tuple(
        title[:1].upper() + title[1:]
        for pattern in words.TITLES
        for subject in theme.subjects
        for title in (pattern.format(subject),)
    )
    for theme in THEMES
)
"""All titles of each theme."""


def one(random: Random, items: Sequence[T]) -> T:
    """Return any of ``items``; several times faster than ``random.choice``."""
    return items[int(random.random() * len(items))]


def title(random: Random, theme: int) -> str:
    """Return a title on a theme, given by its index; at most 140 characters."""
    return one(random, TITLES[theme])


def text(random: Random, theme: int) -> str:
    """Return a few sentences of Markdown on a theme, 100 to 800 characters."""
    chance = random.random
    sentences = THEMES[theme].sentences
    # Seven is prime: any step through the sentences meets each of them once.
    place, step = int(chance() * 7), 1 + int(chance() * 6)

    first = [one(random, one(random, words.OPENINGS))] if chance() < 0.6 else []
    for _ in range(2 + int(chance() * 2)):
        place = (place + step) % 7
        first.append(one(random, sentences[place]))
    paragraphs = [" ".join(first)]

    shape = chance()
    if shape < 0.15:
        count = 2 + int(chance() * 2)
        start = int(chance() * len(words.LIST_ITEMS))
        items = (
            one(random, words.LIST_ITEMS[(start + 3 * turn) % len(words.LIST_ITEMS)])
            for turn in range(count)
        )
        paragraphs.append(f"## {one(random, words.HEADINGS)}")
        paragraphs.append("\n".join(f"- {item}" for item in items))
    elif shape < 0.3:
        place = (place + step) % 7
        paragraphs.append(f"> {one(random, sentences[place])}")

    if chance() < 0.7:
        second = []
        for _ in range(1 + int(chance() * 2)):
            place = (place + step) % 7
            second.append(one(random, sentences[place]))
        if chance() < 0.5:
            second.append(one(random, one(random, words.CLOSINGS)))
        paragraphs.append(" ".join(second))
    return "\n\n".join(paragraphs)
