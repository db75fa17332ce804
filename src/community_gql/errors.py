"""The public errors: everything that may reach a client by name.

Any other exception is a fault of ours and reaches the client as ``INTERNAL`` with an
``errorId``; nothing of its text does (``api/view.py``).
"""

from __future__ import annotations

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


class Unavailable(PublicError):
    """The database cannot be reached, or has no connection free in time."""

    code = "UNAVAILABLE"
