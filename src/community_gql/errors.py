"""The public errors: everything that may reach a client by name.

Any other exception is a fault of ours and reaches the client as ``INTERNAL`` with an
``errorId``; nothing of its text does (``operations/shown.py``).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar


class PublicError(Exception):
    """An error that a client may read: a stable ``code`` and a sentence that says what to do."""

    code: ClassVar[str]

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadRequest(PublicError):
    """The request cannot be answered as it stands: page size, cursor, text or number."""

    code = "BAD_REQUEST"


class Unauthenticated(PublicError):
    """A token that cannot be trusted, or no viewer where one is needed."""

    code = "UNAUTHENTICATED"


class EmailRequired(PublicError):
    """A person whose provider gives no verified e-mail address: they cannot have a row."""

    code = "EMAIL_REQUIRED"


class EmailTaken(PublicError):
    """A new person whose e-mail address belongs to another account."""

    code = "EMAIL_TAKEN"


class CsrfHeaderRequired(PublicError):
    """A request that a session cookie vouches for, without proof that a page of ours sent it."""

    code = "CSRF_HEADER_REQUIRED"


class SchemaClosed(PublicError):
    """The schema is wanted from a server that shows it to nobody."""

    code = "SCHEMA_CLOSED"


class AccountGone(Unauthenticated):
    """A write by someone whose account was deleted meanwhile."""

    def __init__(self) -> None:
        super().__init__("Your account does not exist any more.")


class Unavailable(PublicError):
    """What an answer needs is away: the database, or the provider that vouches for tokens."""

    code = "UNAVAILABLE"

    def __init__(self, message: str, cause: str | None = None) -> None:
        super().__init__(message)
        self.cause = cause
        """For the log: a SQLSTATE, or words."""


class AnswerTooLarge(PublicError):
    """The answer is longer than an answer may be."""

    code = "ANSWER_TOO_LARGE"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The answer is longer than {limit:,} bytes. Ask for smaller pages or fewer long texts."
        )

    def after_a_commit(self) -> AnswerTooLarge:
        """The same of a mutation: what was written stays written, and the answer says so."""
        self.message = f"What was asked for was done, but: {self.message}"
        return self


class Code(enum.StrEnum):
    """Why an input was refused, for a program to tell apart."""

    REQUIRED = "REQUIRED"
    TOO_LONG = "TOO_LONG"
    TOO_MANY = "TOO_MANY"
    INVALID = "INVALID"
    NOT_FOUND = "NOT_FOUND"
    FORBIDDEN = "FORBIDDEN"
    CONFLICT = "CONFLICT"
    GARDEN_ALREADY_EXISTS = "GARDEN_ALREADY_EXISTS"
    HABIT_ALREADY_EXISTS = "HABIT_ALREADY_EXISTS"
    TAG_ALREADY_EXISTS = "TAG_ALREADY_EXISTS"
    TAG_NOT_FOUND = "TAG_NOT_FOUND"
    TAG_TOO_POPULAR = "TAG_TOO_POPULAR"


@dataclass(frozen=True, slots=True)
class UserError:
    """One problem with an input. ``path`` leads to it: ``("tags", "2")``."""

    code: Code
    message: str
    path: tuple[str, ...] = ()


class Rejected(Exception):
    """An input that was refused, with all its problems. Nothing was written."""

    def __init__(self, *errors: UserError) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors
