"""What an input must satisfy before anything is written.

``Problems`` collects everything that is wrong with one input, so that a client sees all problems
at once. The maximum lengths of texts are those of the columns, in characters.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

import orjson
from sqlalchemy.orm import InstrumentedAttribute

from community_gql.errors import Code, Rejected, UserError
from community_gql.graph.search import composed, fold_tag, is_blank

MAX_CONTENT_CHARACTERS = 100_000
MAX_BIO_CHARACTERS = 2_000
MAX_TAGS_PER_STORY = 20
MAX_TAGS_PER_PERSON = 50
MAX_JOURNALING_FREQUENCY = 7  # days a week
MAX_META_BYTES = 16 * 1024
MAX_META_DEPTH = 8
MAX_BATCH = 1_000
MAX_VECTOR_LENGTH = 4_096
MAX_VERSION = 2**31 - 1  # user_features.version is an INTEGER
MAX_IDEMPOTENCY_KEY_CHARACTERS = 64
POPULAR = 2_000
"""A tag on more stories than this is renamed, merged and deleted by the command line only.

Writing that many stories anew stays far from the statement timeout under load (decision 134).
"""

_INT64 = range(-(2**63), 2**63)


class Absent(enum.Enum):
    """The type of ``ABSENT``: a patch leaves this field as it is."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT

T = TypeVar("T")
Patch: TypeAlias = T | Absent | None


class Problems:
    """The problems of one input. Each check returns what to store; ``stop`` raises if any."""

    def __init__(self) -> None:
        self.errors: list[UserError] = []

    def add(self, code: Code, message: str, *path: str | int) -> None:
        """Note a problem at ``path`` in the input."""
        self.errors.append(UserError(code, message, tuple(map(str, path))))

    def stop(self) -> None:
        """Raise Rejected with every noted problem, if there is one."""
        if self.errors:
            raise Rejected(*self.errors)

    def text(self, path: str, value: str | None, longest: int | InstrumentedAttribute[Any]) -> str:
        """A visible text, in NFC, trimmed, of at most ``longest`` characters."""
        trimmed = composed(value or "").strip()
        if is_blank(trimmed):
            self.add(Code.REQUIRED, f"{path} must not be empty.", path)
        self._length(path, trimmed, longest)
        return trimmed

    def optional_text(
        self, path: str, value: str | None, longest: int | InstrumentedAttribute[Any]
    ) -> str | None:
        """An optional text, in NFC, trimmed; None if nothing of it is visible."""
        trimmed = composed(value or "").strip()
        self._length(path, trimmed, longest)
        return None if is_blank(trimmed) else trimmed

    def _length(self, path: str, text: str, longest: int | InstrumentedAttribute[Any]) -> None:
        limit = longest if isinstance(longest, int) else longest.type.length
        if len(text) > limit:
            self.add(
                Code.TOO_LONG,
                f"{path} may have at most {limit:,} characters; this one has {len(text):,}.",
                path,
            )

    def required(self, path: str, value: T | None) -> T | None:
        """A value that a patch may leave out but not clear."""
        if value is None:
            self.add(Code.REQUIRED, f"{path} cannot be cleared.", path)
        return value

    def whole(self, path: str, value: int | None, lowest: int, highest: int) -> int | None:
        """A whole number within bounds, or None."""
        if value is not None and not lowest <= value <= highest:
            self.add(Code.INVALID, f"{path} must be between {lowest} and {highest}.", path)
        return value

    def tag_names(self, path: str, names: Sequence[str], most: int) -> dict[str, int]:
        """Tag names, folded, without duplicates, with the place of each in the input.

        Empty if there are too many: the names themselves are then not checked.
        """
        if len(names) > most:
            self.add(
                Code.TOO_MANY,
                f"{path} may hold at most {most} tags; these are {len(names):,}.",
                path,
            )
            return {}
        places: dict[str, int] = {}
        for place, name in enumerate(names):
            folded = fold_tag(name)
            if is_blank(folded):
                self.add(Code.REQUIRED, "A tag's name must not be empty.", path, place)
            else:
                places.setdefault(folded, place)
        return places

    def new_tag_name(self, path: str, name: str, longest: InstrumentedAttribute[Any]) -> str:
        """The name of a tag for the vocabulary, folded."""
        return self.text(path, fold_tag(name), longest)

    def json_object(self, path: str, value: Any) -> dict[str, Any]:
        """A JSON object within the bounds of a habit's ``meta``."""
        if not isinstance(value, dict):
            self.add(Code.INVALID, f"{path} must be a JSON object.", path)
            return {}
        problem = _json_problem(value)
        if problem:
            self.add(Code.INVALID, f"{path} {problem}.", path)
        return value

    def batch(self, path: str, items: Sequence[Any]) -> None:
        """A batch that is neither empty nor too large."""
        if not items:
            self.add(Code.REQUIRED, f"{path} must not be empty.", path)
        if len(items) > MAX_BATCH:
            self.add(Code.TOO_MANY, f"{path} may hold at most {MAX_BATCH:,} items.", path)
            self.stop()  # the items themselves are not checked

    def not_found(self, *path: str | int, what: str = "thing") -> None:
        """Note NOT_FOUND, also for what the viewer may not see: the two look the same."""
        self.add(Code.NOT_FOUND, f"There is no such {what}.", *path)

    def unchanged(self, expected: datetime | None, actual: datetime | None) -> None:
        """``expectedUpdatedAt``, if given, must equal the row's ``updated_at``."""
        if expected is not None and expected != actual:
            self.add(
                Code.CONFLICT,
                "It was changed since. Read it again and repeat the change if it still applies.",
                "expectedUpdatedAt",
            )


def _json_problem(value: Any) -> str | None:
    """Why a JSON value cannot be stored; None if it can."""
    level: list[Any] = [value]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_META_DEPTH:
            return f"may be nested at most {MAX_META_DEPTH} deep"
        below: list[Any] = []
        for item in level:
            for child in _children(item):
                if isinstance(child, dict | list):
                    below.append(child)
                elif isinstance(child, float) and not math.isfinite(child):
                    return "must hold finite numbers"
                elif isinstance(child, int) and child not in _INT64:
                    return "must hold whole numbers of at most 64 bits"
        level = below
    if len(orjson.dumps(value)) > MAX_META_BYTES:
        return f"may take at most {MAX_META_BYTES // 1024} KB"
    return None


def _children(item: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return item.values() if isinstance(item, dict) else item
