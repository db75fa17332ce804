"""The scalars beyond GraphQL's own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NewType

import strawberry
from graphql import GraphQLError
from strawberry.schema.config import StrawberryConfig
from strawberry.types.scalar import ScalarDefinition

JSON = NewType("JSON", object)


def write_datetime(value: datetime) -> str:
    """RFC 3339 in UTC with ``Z`` and always six fractional digits."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def read_datetime(text: Any) -> datetime:
    """The moment an RFC 3339 text names. Raises GraphQLError for anything else."""
    if isinstance(text, str) and "T" in text.upper():
        try:
            value = datetime.fromisoformat(text.upper())
            if value.tzinfo is not None:
                return value.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise GraphQLError(
        "DateTime must be RFC 3339 with a time zone, like 2026-11-23T09:00:00Z."
    )


SCALARS: dict[object, ScalarDefinition] = {
    datetime: strawberry.scalar(
        name="DateTime",
        description=(
            "A moment, in RFC 3339. Answers are in UTC with `Z` and six fractional digits: "
            "`2026-11-23T09:00:00.000000Z`. Input may be in any time zone, but must name one."
        ),
        specified_by_url="https://datatracker.ietf.org/doc/html/rfc3339",
        serialize=write_datetime,
        parse_value=read_datetime,
    ),
    JSON: strawberry.scalar(
        name="JSON",
        description="Any JSON value. Used only for what the schema leaves to the application.",
        specified_by_url="https://datatracker.ietf.org/doc/html/rfc8259",
        serialize=lambda value: value,
        parse_value=lambda value: value,
    ),
}

CONFIG = StrawberryConfig(scalar_map=SCALARS)
