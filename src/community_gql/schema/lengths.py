"""How long a text of the database can be."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ARRAY, JSON, String

from community_gql.actions.validation import (
    MAX_BIO_CHARACTERS,
    MAX_CONTENT_CHARACTERS,
    MAX_META_BYTES,
    MAX_TAGS_PER_STORY,
    MAX_VECTOR_LENGTH,
)
from community_gql.db import models as m

CHARACTERS = 1000
"""So many characters of text weigh as much as an object; a column that may hold more is long."""
_NUMBER = 25
"""Characters of a number of a vector, with its comma."""
LONGEST: dict[Any, int] = {
    m.User.email: 320,
    m.Story.content: MAX_CONTENT_CHARACTERS,
    m.Story.tags_cached: MAX_TAGS_PER_STORY * m.Tag.name.type.length,
    m.UserProfile.bio: MAX_BIO_CHARACTERS,
    m.Habit.meta: MAX_META_BYTES,
    m.UserFeatures.vector: MAX_VECTOR_LENGTH * _NUMBER,
}
"""Characters of columns whose type has no length, by the rules for writes."""


def longest(column: Any) -> int:
    """The most characters that a column can hold; 0 for numbers and moments.

    Raises LookupError for a text without a bound.
    """
    if column in LONGEST:
        return LONGEST[column]
    if not isinstance(column.type, String | JSON | ARRAY):
        return 0
    length = getattr(column.type, "length", None)
    if length is None:
        raise LookupError(f"{column} has no length: say in LONGEST how long it can be")
    return int(length)
