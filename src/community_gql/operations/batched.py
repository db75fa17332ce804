"""Running an operation with graphql-core's executor: queries by the loaders, and mutations.

The loaders batch the statements. A mutation's payload is read by its compiled statement where there
is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from graphql import GraphQLError, GraphQLObjectType
from graphql.execution import Executor as CoreExecutor
from graphql.execution import default_field_resolver, default_type_resolver
from graphql.execution.values import VariableValues
from graphql.pyutils import Path

from community_gql.operations.prepared import Operation
from community_gql.schema.context import Context
from community_gql.schema.executable import core
from community_gql.schema.payloads import Outcome

if TYPE_CHECKING:
    from community_gql.operations.compiled import Payloads


async def run(
    operation: Operation,
    variables: VariableValues,
    context: Context,
    payloads: Payloads | None = None,
) -> tuple[dict[str, Any] | None, list[GraphQLError]]:
    """The operation's data and errors. ``context.plans`` are those of all its fields.

    Compiled ``payloads`` are in it as ``orjson.Fragment``.
    """
    # Built by hand: Executor.build would coerce the variables again.
    executor = _Executor(
        core,
        fragment_definitions=dict(operation.fragments),
        fragments=operation.fragment_details,
        root_value=None,
        context_value=context,
        operation=operation.node,
        variable_values=variables,
        field_resolver=default_field_resolver,
        type_resolver=default_type_resolver,
        subscribe_field_resolver=default_field_resolver,
        hide_suggestions=True,
    )
    executor.payloads = payloads
    result: Any = executor.execute_operation()
    done = await result if executor.is_awaitable(result) else result
    return done.data, list(done.errors or ())


class _Executor(CoreExecutor[Context]):
    payloads: Payloads | None = None

    def complete_object_value(
        self,
        return_type: GraphQLObjectType,
        field_details_list: Any,
        info: Any,
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        """The object; that of a mutation's outcome by its compiled statement, if there is one."""
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
        completed = super().complete_object_value(*given)
        return await completed if self.is_awaitable(completed) else completed
