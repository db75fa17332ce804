"""Running an operation by the loaders, which batch its statements.

Queries run breadth first, and so do the payloads of mutations. All else runs in graphql-core's
executor, and so does what went wrong: only there it is known where. A mutation's payload is read by
its compiled statement where there is one.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import orjson
from graphql import GraphQLError, GraphQLObjectType, OperationType
from graphql.execution import Executor as CoreExecutor
from graphql.execution import default_field_resolver, default_type_resolver
from graphql.execution.values import VariableValues
from graphql.pyutils import Path

from community_gql.errors import AnswerTooLarge, Unavailable
from community_gql.logs import fingerprint
from community_gql.operations import breadth
from community_gql.operations.prepared import Operation
from community_gql.operations.selections import Selections
from community_gql.operations.throttle import in_pieces, rest
from community_gql.schema.context import Context
from community_gql.schema.executable import core
from community_gql.schema.payloads import Outcome
from community_gql.schema.query import ROOT

if TYPE_CHECKING:
    from community_gql.operations.compiled import Payloads

_log = logging.getLogger("community_gql.loaders")


async def run(
    operation: Operation,
    variables: VariableValues,
    context: Context,
    payloads: Payloads | None = None,
) -> tuple[dict[str, object] | None, list[GraphQLError]]:
    """The operation's data and errors. ``context.plans`` are those of all its fields.

    Compiled ``payloads`` are in it as ``orjson.Fragment``.
    """
    selections = Selections(operation.fragments, variables, math.inf)
    fault = None
    if context.breadth_first and operation.kind is OperationType.QUERY:
        sets = operation.node.selection_set
        try:
            return await breadth.run(selections, context, core.query_type, ROOT, sets), []
        except (Unavailable, AnswerTooLarge) as error:  # of the whole answer, wherever it is met
            return None, [GraphQLError(error.message, original_error=error)]
        except Exception as error:
            fault = error
            await context.begin_anew()
    data, errors = await _depth_first(operation, selections, context, payloads)
    if fault is not None and not errors and not isinstance(fault, breadth.GivenUp):
        _log.error("a query failed breadth first alone: %s", fingerprint(fault))
    return data, errors


async def _depth_first(
    operation: Operation, selections: Selections, context: Context, payloads: Payloads | None
) -> tuple[dict[str, object] | None, list[GraphQLError]]:
    # Built by hand: Executor.build would coerce the variables again.
    executor = _Executor(
        core,
        fragment_definitions=dict(operation.fragments),
        fragments=operation.fragment_details,
        root_value=None,
        context_value=context,
        operation=operation.node,
        variable_values=selections.variables,
        field_resolver=default_field_resolver,
        type_resolver=default_type_resolver,
        subscribe_field_resolver=default_field_resolver,
        hide_suggestions=True,
    )
    executor.payloads, executor.selections = payloads, selections
    result: Any = await in_pieces(executor.execute_operation)
    done = await result if executor.is_awaitable(result) else result
    return done.data, list(done.errors or ())


class _Executor(CoreExecutor[Context]):
    payloads: Payloads | None = None
    selections: Selections

    def complete_object_value(
        self,
        return_type: GraphQLObjectType,
        field_details_list: Any,
        info: Any,
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        """The object; that of a mutation's outcome by its compiled statement or breadth first."""
        rest()  # introspection alone makes thousands, and awaits nothing
        given = return_type, field_details_list, info, path, result, position_context
        if self.payloads is None or not isinstance(result, Outcome):
            return super().complete_object_value(*given)
        return self._payload(self.payloads, str(path.key), result, given)

    async def _payload(
        self, payloads: Payloads, key: str, outcome: Outcome, given: tuple[Any, ...]
    ) -> Any:
        text = await payloads.text(key, outcome)
        if text is not None:
            return orjson.Fragment(text)
        if self.context_value.breadth_first:
            try:
                return await self._breadth_first(outcome, *given)
            except Exception:
                await self.context_value.begin_anew()
        completed = super().complete_object_value(*given)
        return await completed if self.is_awaitable(completed) else completed

    async def _breadth_first(
        self, outcome: Outcome, return_type: GraphQLObjectType, field_details_list: Any, *_: Any
    ) -> dict[str, object]:
        sets = [details.node.selection_set for details in field_details_list]
        return await breadth.run(self.selections, self.context_value, return_type, outcome, *sets)
