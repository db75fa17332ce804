"""Samples: variables that give an operation the same statement, and tell nothing of anybody."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson
from graphql import (
    GraphQLError,
    GraphQLID,
    Undefined,
    get_nullable_type,
    is_enum_type,
    is_input_object_type,
    is_list_type,
    is_non_null_type,
)
from graphql.execution.values import VariableValues

from community_gql.errors import PublicError
from community_gql.operations.first_sight import holds_values
from community_gql.operations.prepared import Prepared

LONGEST_TEXT, LONGEST_SAMPLE = 16_000, 2_000
"""Characters of a document and of its sample; what is longer has none."""
_LARGEST = 100
"""Numbers up to the largest page size are kept: they are in the statement's text."""

_BLANKS: dict[str, Callable[[Any], Any]] = {
    "Boolean": lambda value: value,
    "Int": lambda value: value if isinstance(value, int) and 0 <= value <= _LARGEST else 1,
    "Float": lambda _: 0.5,
    "String": lambda _: "a",
    "DateTime": lambda _: "2000-01-01T00:00:00Z",
    "JSON": lambda _: {},
    GraphQLID.name: lambda value: _blank_id(str(value)),
}
"""What stands for a value of each scalar."""


def sample_of(prepared: Prepared) -> str | None:
    """Variables as JSON, of the same form as those of ``prepared`` but without their values.

    None when there are none: the document itself holds values, a cursor is among the variables
    (it belongs to its filter), or something is too long.
    """
    operation = prepared.operation
    if len(operation.text) > LONGEST_TEXT or holds_values(operation.text):
        return None
    blank = _blanked(prepared)
    text = orjson.dumps(blank).decode()  # as bytes it would hold on to 4 KB
    if len(text) > LONGEST_SAMPLE or not _has_form_of(prepared, blank):
        return None
    return text


def _blanked(prepared: Prepared) -> dict[str, object]:
    found = {}
    for name, source in prepared.variables.sources.items():
        if source.value is not Undefined:
            found[name] = _blank(source.signature.type, source.value)
    return found


def _has_form_of(prepared: Prepared, raw: dict[str, object]) -> bool:
    """Whether these variables would find the same statement."""
    operation = prepared.operation
    try:
        variables = operation.variables(raw)
        return (
            isinstance(variables, VariableValues)
            and operation.switched(variables) == operation.switched(prepared.variables)
            and prepared.switched.plans(variables).form == prepared.plans.form
        )
    except (PublicError, GraphQLError):
        return False


def _blank(type_: Any, value: Any) -> Any:
    """What stands for a value that has been coerced to this type, and so fits it."""
    if is_non_null_type(type_):
        return _blank(get_nullable_type(type_), value)
    if value is None or is_enum_type(type_):
        return value
    if is_list_type(type_):
        items = value if isinstance(value, list) else [value]
        return [_blank(type_.of_type, item) for item in items]
    if is_input_object_type(type_):
        fields = type_.fields
        return {name: _blank(fields[name].type, member) for name, member in value.items()}
    return _BLANKS[type_.name](value)


def _blank_id(value: str) -> str:
    """An id of the same kind: ``Story:1``, or as many zeros as the id has digits."""
    kind, colon, key = value.partition(":")
    return f"{kind}{colon}{'1' if key.isdigit() else re.sub('[0-9a-f]', '0', key)}"
