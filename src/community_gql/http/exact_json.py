"""JSON whose whole numbers stay what they are."""

from __future__ import annotations

import json
from typing import Any

import orjson

from community_gql.errors import BadRequest

_DIGITS = bytes(ord("0" if chr(byte) in "0123456789" else " ") for byte in range(256))
_LONG = b"0" * 19  # of as many digits is the least number beyond 64 bits, 2**63


def loads(text: bytes | str) -> Any:
    """As ``orjson.loads``, which alone makes a float of a whole number beyond 64 bits.

    So whoever refuses such numbers sees them, as they see them in a document. Numbers with a
    fraction or an exponent are doubles. Raises orjson.JSONDecodeError, and BadRequest for a long
    number in a text that is nested too deep for Python's own reader.
    """
    value = orjson.loads(text)
    if not has_long_number(text.encode() if isinstance(text, str) else text):
        return value
    try:
        return json.loads(text)
    except RecursionError:
        raise BadRequest("The request is nested too deeply.") from None


def has_long_number(text: bytes) -> bool:
    """Whether there may be a number in it that orjson does not read exactly."""
    return _LONG in text.translate(_DIGITS)  # a pattern would try at each byte anew
