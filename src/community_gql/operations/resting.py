"""graphql-core's own long loops, made to rest in what they call for each step.

Reading a long text character by character, validating it, or coercing thousands of values takes
tens of milliseconds. Importing this module is enough; see ``throttle.py`` for when ``rest`` rests.
"""

from __future__ import annotations

import sys
from typing import Any

from graphql import Location, ParallelVisitor, Visitor
from graphql.language.lexer import Lexer

from community_gql.operations.throttle import resting

_STEPS: list[tuple[Any, str]] = [
    *(
        (sys.modules[f"graphql.{module}"], name)  # by name: some functions are called like these
        for module, name in (
            ("language.lexer", "is_unicode_scalar_value"),  # of each character of a text
            ("language.lexer", "is_name_continue"),  # of each character of a name
            ("validation.rules.overlapping_fields_can_be_merged", "spend_complexity_budget"),
            ("execution.values", "is_non_null_type"),  # of each value, to see how deep it is
            ("utilities.coerce_input_value", "coerce_input_value"),
            ("utilities.validate_input_value", "validate_input_value_impl"),
        )
    ),
    (Lexer, "create_token"),
    (Visitor, "get_enter_leave_for_kind"),  # for each node that is visited
    (ParallelVisitor, "get_enter_leave_for_kind"),
    (Location, "__hash__"),  # of each node of a tree whose hash is asked for
]
"""What a long loop calls for each of its steps, and where it looks that up."""


for _owner, _name in _STEPS:
    setattr(_owner, _name, resting(getattr(_owner, _name)))
