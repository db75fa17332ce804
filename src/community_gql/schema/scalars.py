"""The leaf types: scalars beyond GraphQL's own, and the enums that are stored."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NewType

import strawberry
from graphql import GraphQLError, GraphQLFloat, GraphQLInt, IntValueNode, ValueNode
from sqlalchemy import ColumnElement, func, literal_column
from strawberry.schema.config import StrawberryConfig
from strawberry.types.scalar import ScalarDefinition

from community_gql.db import models as m
from community_gql.errors import Code
from community_gql.graph.terms import Sql
from community_gql.schema.fields import describe_enum

JSON = NewType("JSON", object)

_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE
)


def write_datetime(value: datetime) -> str:
    """RFC 3339 in UTC with ``Z`` and always six fractional digits."""
    # Not strftime: its %Y has fewer than four digits for the years before 1000.
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def datetime_sql(value: Sql) -> ColumnElement[str]:
    """``write_datetime`` as SQL, for the years 1 to 9999."""
    utc = func.timezone(literal_column("'UTC'"), value)
    return func.to_char(utc, literal_column('\'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\''))


def read_datetime(text: Any) -> datetime:
    """The moment an RFC 3339 text names. Raises GraphQLError for anything else."""
    # fromisoformat takes more of ISO 8601: weeks, texts without separators, hours alone. And it
    # drops digits beyond the sixth: an ``updatedAt`` that we never sent would be taken for ours.
    form = _RFC_3339.fullmatch(text) if isinstance(text, str) else None
    if form:
        if (form[1] or "")[7:].strip("0"):
            raise GraphQLError("DateTime has at most six fractional digits, for microseconds.")
        try:
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise GraphQLError("DateTime must be RFC 3339 with a time zone, like 2026-11-23T09:00:00Z.")


_MAX_INT_DIGITS = 11
"""Of the longest Int, with its sign."""
_read_int_literal: Any = GraphQLInt.coerce_input_literal


def read_int_literal(node: ValueNode, *given: Any) -> int:
    """An Int of a document. Raises GraphQLError for anything else.

    graphql-core has Python read any number of digits, which refuses 4,301 with words of its own.
    """
    if isinstance(node, IntValueNode) and len(node.value) > _MAX_INT_DIGITS:
        shown = node.value if len(node.value) <= 40 else f"{node.value[:20]}…"
        raise GraphQLError(f"Int cannot represent non 32-bit signed integer value: {shown}", node)
    value: int = _read_int_literal(node, *given)
    return value


GraphQLInt.coerce_input_literal = read_int_literal

SCALARS: dict[object, ScalarDefinition] = {
    datetime: strawberry.scalar(
        name="DateTime",
        description=(
            "A moment, in RFC 3339. Answers are in UTC with `Z` and six fractional digits: "
            "`2026-11-23T09:00:00.000000Z`. Input may be in any time zone, but must name it. "
            "After six fractional digits only zeros may follow."
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

SQL_FORMS: dict[str, Callable[[Sql], Sql]] = {
    "DateTime": datetime_sql,
}
"""By name, the scalars that PostgreSQL's own JSON writes differently: ``serialize`` as SQL."""

# graphql-core rounds a whole number that no double equals when it stands in the document, and
# refuses it in variables. Documents get no parser of their own, so both are read alike.
GraphQLFloat.coerce_input_literal = None

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
    "The state of a friendship.",
    PENDING="Requested, and not answered yet.",
    ACCEPTED="Both people are friends.",
)
describe_enum(
    m.MatchingState,
    "The state of a person's matching.",
    OFF="They do not want to be matched.",
    NOTHING_TO_GO_BY="They chose no tags and used none on a public story.",
    WAITING="Something has changed, and their list is about to be computed again.",
    READY="Their list is up to date. It may be empty: nobody suits them well enough.",
)
describe_enum(
    Code,
    "Why an input was refused.",
    called="UserErrorCode",
    REQUIRED="Something that must be given is missing, empty or null.",
    TOO_LONG="A text has too many characters.",
    TOO_MANY="A list has too many items.",
    INVALID="A value is of the right type but out of bounds or of the wrong form.",
    NOT_FOUND="It does not exist, or the viewer may not see it.",
    FORBIDDEN="The viewer can see it but may not do this with it.",
    CONFLICT="It was changed since the viewer read it.",
    GARDEN_ALREADY_EXISTS="The viewer has a garden; everyone has at most one.",
    HABIT_ALREADY_EXISTS="The viewer has a habit of this name.",
    TAG_ALREADY_EXISTS="The vocabulary has a tag of this name.",
    TAG_NOT_FOUND="The vocabulary has no tag of this name.",
    TAG_TOO_POPULAR="The tag is on too many stories to be changed in one request.",
)
