"""Errors as clients see them.

Every error leaves with a known ``extensions.code``. What is not a PublicError is a fault of ours:
the client sees an ``errorId``, the log sees everything but the request's values.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from typing import Any

from graphql import GraphQLError

from community_gql.errors import BadRequest, PublicError
from community_gql.logs import describe

Json = dict[str, Any]

_faults = logging.getLogger("community_gql.faults")


def written(errors: Sequence[GraphQLError], values: Any) -> list[Json]:
    """The errors as a client may see them; ``values`` are what no log may show."""
    return [_written(error, values) for error in errors]


def _written(error: GraphQLError, values: Any) -> Json:
    original = error.original_error
    while isinstance(original, GraphQLError) and original.original_error is not None:
        original = original.original_error
    if isinstance(original, PublicError):
        shown = public(original)
    elif original is None or isinstance(original, GraphQLError):
        # graphql-core's own: a value that cannot be coerced, found while executing.
        shown = public(BadRequest(error.message))
    else:
        shown = unexpected(original, values, error.path)
    if error.locations:
        shown["locations"] = [location.formatted for location in error.locations]
    if error.path is not None:
        shown["path"] = error.path
    return shown


def public(error: PublicError) -> Json:
    """An error that may be read as it is."""
    return {"message": error.message, "extensions": {"code": error.code}}


def unexpected(error: BaseException, values: Any, path: Sequence[Any] | None = None) -> Json:
    """What is told of a fault of ours, which is logged without ``values``."""
    error_id = uuid.uuid4().hex
    _faults.error(
        "fault %s at %s\n%s",
        error_id,
        ".".join(map(str, path or ())) or "the request",
        describe(error, values),
        extra={"errorId": error_id},
    )
    return {
        "message": "Something went wrong on our side. Quote the errorId when you report it.",
        "extensions": {"code": "INTERNAL", "errorId": error_id},
    }
