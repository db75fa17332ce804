"""Running a mutation without graphql-core's executor, as long as all goes well.

Its fields run in order, each in a transaction of its own, and each payload is read by its compiled
statement. What cannot be done so is left to the executor, which finds here what was done already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from graphql.execution.values import get_argument_values

from community_gql.operations.prepared import Prepared
from community_gql.operations.selections import NotCompiled
from community_gql.schema.context import Context
from community_gql.schema.payloads import MutationField

if TYPE_CHECKING:
    from community_gql.operations.compiled import Payloads


async def run(prepared: Prepared, context: Context, payloads: Payloads) -> bytes | None:
    """The JSON text of ``data``; None if the executor has to go on, with ``context.outcomes``."""
    try:
        roots = prepared.switched.roots(prepared.variables)
    except NotCompiled:
        return None
    parts = []
    for selected in roots:
        field = selected.declared
        if not isinstance(field, MutationField):
            return None  # __typename
        try:
            arguments = get_argument_values(
                selected.definition, selected.node, prepared.variables, hide_suggestions=True
            )
            outcome = await field.outcome(context, selected.key, selected.name, arguments)
            text = await payloads.text(selected.key, outcome)
        except Exception:
            return None  # the executor meets the same, and says where
        if text is None:
            return None
        parts.append(b"%b:%b" % (orjson.dumps(selected.key), text))
    return b"{%b}" % b",".join(parts)
