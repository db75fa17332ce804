"""The leaf types: scalars beyond GraphQL's own, and the enums that are stored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NewType

import strawberry
from graphql import GraphQLError
from strawberry.schema.config import StrawberryConfig
from strawberry.types.scalar import ScalarDefinition

from community_gql import models as m
from community_gql.api.edges import describe_enum
from community_gql.errors import Code

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
    raise GraphQLError("DateTime must be RFC 3339 with a time zone, like 2026-11-23T09:00:00Z.")


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

describe_enum(
    m.StoryVisibility,
    "Who may read a story.",
    PUBLIC="Everyone, signed in or not.",
    FRIENDS="The author and those whose friendship with the author is accepted.",
    PRIVATE="The author alone.",
)
describe_enum(
    m.HabitFrequency,
    "How often a habit recurs.",
    DAILY="Every day.",
    WEEKLY="Every week.",
    MONTHLY="Every month.",
    CUSTOM="Some other rhythm; `meta` may say which.",
)
describe_enum(
    m.FriendshipStatus,
    "How far a friendship has come.",
    PENDING="Requested, and not answered yet.",
    ACCEPTED="Both people are friends.",
)
describe_enum(
    Code,
    "Why an input was refused.",
    called="UserErrorCode",
    REQUIRED="Something that must be given is missing, empty or null.",
    TOO_LONG="A text has too many characters.",
    TOO_MANY="A list has too many items.",
    INVALID="A value is of the right type but out of bounds or of the wrong form.",
    NOT_FOUND="There is no such thing, or not for the viewer.",
    FORBIDDEN="The viewer can see it but may not do this with it.",
    CONFLICT="It was changed since the viewer read it.",
    GARDEN_ALREADY_EXISTS="The viewer has a garden; everyone has at most one.",
    HABIT_ALREADY_EXISTS="The viewer has a habit of this name.",
    TAG_ALREADY_EXISTS="The vocabulary has a tag of this name.",
    TAG_NOT_FOUND="The vocabulary has no tag of this name.",
    TAG_TOO_POPULAR="The tag is on too many stories to be changed in one request.",
)
