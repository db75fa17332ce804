"""Running an operation with the loaders: graphql-core's executor over batched statements."""

from __future__ import annotations

from typing import Any

from graphql import GraphQLError
from graphql.execution import Executor as CoreExecutor
from graphql.execution import default_field_resolver, default_type_resolver
from graphql.execution.values import VariableValues

from community_gql.operations.prepared import Operation
from community_gql.schema.context import Context
from community_gql.schema.executable import core


async def run(
    operation: Operation, variables: VariableValues, context: Context
) -> tuple[dict[str, Any] | None, list[GraphQLError]]:
    """The operation's data and errors. ``context.plans`` are those of all its fields."""
    # Built by hand: Executor.build would coerce the variables again.
    executor: CoreExecutor[Context] = CoreExecutor(
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
    result: Any = executor.execute_operation()
    done = await result if executor.is_awaitable(result) else result
    return done.data, list(done.errors or ())
