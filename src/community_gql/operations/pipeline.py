"""The way of an operation: ``prepare`` finds out everything beforehand, ``execute`` runs it.

Neither needs an HTTP request. What is prepared once can be executed many times, for different
viewers: each execution reads one snapshot, in a context of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from graphql import (
    GraphQLError,
    OperationType,
    VariableDefinitionNode,
    get_named_type,
    is_scalar_type,
    type_from_ast,
)

from community_gql.db.database import Database
from community_gql.db.pool import detached
from community_gql.db.replicas import Position
from community_gql.db.states import AWAY
from community_gql.db.stopwatch import Stopwatch
from community_gql.errors import AccountGone, AnswerTooLarge, BadRequest, PublicError, Unavailable
from community_gql.graph.finding import NEAR_ROWS
from community_gql.graph.texts import LongTexts
from community_gql.graph.visibility import Viewer
from community_gql.operations import batched, mutations
from community_gql.operations.compiled import (
    BEING_COMPILED,
    FIRST_SIGHT,
    Afford,
    Mode,
    Payloads,
    Pushdown,
    State,
)
from community_gql.operations.cost import check_cost
from community_gql.operations.documents import Documents, Refused, TrustedDocuments
from community_gql.operations.persisted import PersistedQueries
from community_gql.operations.prepared import OperationCache, Params, Prepared
from community_gql.operations.shape import LIMITS, MAX_ANSWER_BYTES
from community_gql.operations.statement import Statement
from community_gql.schema.context import Context
from community_gql.schema.executable import core

TOKEN_CHARACTERS = 4
"""A token of a document that cannot be read is taken to be as long as this."""
_LONGEST_TOKEN = 20
"""Each part of so many characters counts as a token: a block string is one, however long."""


LONG = 2000
"""Reading a document of more characters, or variables of more bytes, takes milliseconds."""
COMPILING_SECONDS = 5.0
"""How long somebody who subscribes waits for a statement that is being made."""
CLOSING_SECONDS = 1.0
"""How long an answer waits until its transaction is ended, so that its time is counted."""


class Executor(enum.StrEnum):
    """What ran an operation."""

    COMPILED = "compiled"
    LOADERS = "loaders"

    @classmethod
    def of(cls, fallback_reason: str | None) -> Executor:
        """Which one it was, by why it was the loaders."""
        return cls.COMPILED if fallback_reason is None else cls.LOADERS


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an execution. ``data`` is JSON text (bytes) if a query was compiled."""

    data: bytes | dict[str, Any] | None
    errors: Sequence[GraphQLError]
    executor: Executor
    fallback_reason: str | None
    """Why the loaders ran it; None for a compiled operation."""
    statements: int
    database_seconds: float
    """How long its statements took, without waiting for a connection."""
    account_gone: bool = False
    """Whether the viewer's account turned out to be deleted."""


async def _cannot_afford(points: int) -> bool:
    return False


class Operations:
    """What one process knows about operations: documents, what was prepared, statements."""

    def __init__(
        self,
        database: Database,
        *,
        trusted: TrustedDocuments | None = None,
        pushdown: Mode = "on",
        cost_limit: int = LIMITS.cost,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        document_cache_bytes: int = 8 * 2**20,
        near_rows: int = NEAR_ROWS,
        persisted_queries: bool = True,
        breadth_first: bool = True,
        development: bool = False,
    ) -> None:
        """For ``near_rows`` see ``page_of``; another number than the shipped one is for tests.

        Without ``breadth_first`` the loaders run in graphql-core's executor, for tests as well.

        In ``development`` events say which executor made them.
        """
        self.development = development
        self.database, self._cost_limit = database, cost_limit
        self.near_rows, self.breadth_first = near_rows, breadth_first
        self.trusted = trusted or TrustedDocuments()
        self.persisted = PersistedQueries(
            enabled=persisted_queries and self.trusted.mode != "enforce"
        )
        self.documents = Documents(document_cache_bytes)
        self.cache = OperationCache()
        self.max_answer_bytes = max_answer_bytes
        self.pushdown = Pushdown(pushdown, max_answer_bytes)

    def prepare(self, params: Params, *, open_schema: bool, hint: str = "") -> Prepared:
        """Everything about an operation that is known before it runs.

        Without ``open_schema`` introspection is refused and errors tell nothing of the schema;
        ``hint`` then says how to be told. Raises
        PublicError for a document that is unknown or not trusted, and Refused, with everything
        that is wrong, once there is a text to read.
        """
        text = self._text(params)
        refused, was_known = Refused([]), text in self.documents
        if not was_known:
            likely = min(len(text) // TOKEN_CHARACTERS, LIMITS.tokens)
            refused.read_tokens = max(likely, len(text) // _LONGEST_TOKEN)
        try:
            document = self.documents.get(text, open_schema=open_schema, hint=hint)
            if params.extensions:
                self.persisted.keep(text, params.extensions)
            read_tokens = max(document.token_count, len(text) // _LONGEST_TOKEN)
            read_tokens = 0 if was_known else read_tokens
            refused.document_hash, refused.read_tokens = document.hash, read_tokens
            operation = document.operation(params.operation_name)
            refused.operation_name = operation.name
            variables = operation.variables(params.variables)
            if isinstance(variables, list):
                raise Refused(_uncoerced(variables, open_schema))
            switched = self.cache.of(operation, variables)
            plans = switched.plans(variables)
            cost = switched.cost(variables, plans)
            check_cost(cost, self._cost_limit)
        except Refused as error:
            refused.errors = error.errors
            raise refused from None
        except PublicError as error:
            refused.errors = [GraphQLError(error.message, original_error=error)]
            raise refused from None
        except GraphQLError as error:  # null for a variable whose default made it fit
            refused.errors = _uncoerced([error], open_schema)
            raise refused from None
        return Prepared(
            document.hash,
            operation,
            switched,
            variables,
            plans,
            cost,
            operation.kind,
            read_tokens,
        )

    def _text(self, params: Params) -> str:
        """The document that they mean. Raises PublicError."""
        text = params.query
        if params.extensions and params.document_id is None:
            text = self.persisted.text(text, params.extensions)
        return self.trusted.text(text, params.document_id)

    def is_long(self, params: Params) -> bool:
        """Whether ``prepare`` may take longer than others should wait: it is for pieces then."""
        text = params.query
        if text is None:
            with contextlib.suppress(PublicError):  # as ``prepare`` will say
                text = self._text(params)
        return max(params.size, len(text or "")) > LONG

    def recall(
        self,
        query: str | None,
        name: str | None,
        variables: dict[str, object],
        *,
        open_schema: bool,
    ) -> tuple[Prepared, Statement] | None:
        """A query that came before, as ``prepare`` gives it, and its statement.

        None if there is anything to find out, to compile or to refuse. Then nothing has happened.
        ``query`` and ``name`` are members of ``Params``.
        """
        document = self.documents.kept.get(query)
        if document is None or self.trusted.mode != "off":
            return None
        if document.introspects and not open_schema:
            return None
        operation = document.named(name)
        if operation is None or operation.kind is not OperationType.QUERY:
            return None
        given = operation.variables(variables)
        if isinstance(given, list):
            return None
        switched = self.cache.known(operation, given)
        if switched is None:
            return None
        try:
            plans = switched.plans(given)
        except (PublicError, GraphQLError):
            return None
        if len(operation.text) > LONG and not switched.knows_cost(plans):
            return None
        cost = switched.cost(given, plans)
        if cost > self._cost_limit:
            return None
        kind = operation.kind
        prepared = Prepared(document.hash, operation, switched, given, plans, cost, kind)
        statement = self.pushdown.ready(prepared)
        return None if statement is None else (prepared, statement)

    def knows(self, params: Params) -> bool:
        """Whether the request's own text was read before, or it brings none."""
        return params.query is None or params.query in self.documents

    def statement(self, prepared: Prepared, afford: Afford | None = None) -> Statement | None:
        """The statement of an operation that will run again; None as long as there is none.

        What is not compiled yet is compiled meanwhile; ``afford`` pays for that.
        """
        prepared.operation.seen = True
        found = self.pushdown.find(prepared, self.near_rows)
        if found.state is State.MISSING:
            detached(self.pushdown.compile(prepared, self.near_rows, afford=afford))
        return found.use()

    def fallback_reason(self, prepared: Prepared) -> str:
        """Why the loaders run an operation for which there was no statement."""
        return self.pushdown.find(prepared, self.near_rows).reason or BEING_COMPILED

    async def follow(self, prepared: Prepared, afford: Afford | None = None) -> None:
        """Have an operation compiled that will run again and again; ``afford`` pays for that.

        The first who comes with it does not wait. Those who come while it is made do, for a
        moment: after a restart thousands come at once, for whom the loaders would take minutes.
        """
        if self.pushdown.is_making(prepared):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(COMPILING_SECONDS):
                    await self.pushdown.made(prepared)
        else:
            self.statement(prepared, afford)

    async def execute(
        self,
        prepared: Prepared,
        viewer: Viewer,
        *,
        caller: str | None = None,
        deadline: float | None = None,
        afford: Afford = _cannot_afford,
        stopwatch: Stopwatch | None = None,
        texts: list[str] | None = None,
        after: Position | None = None,
        explained: list[str] | None = None,
    ) -> Outcome:
        """Run an operation for a viewer.

        A query may read from a standby that has replayed ``after``. ``caller`` is whose share of
        the connections it uses (see ``Database``), ``deadline`` when it gives up, by the event
        loop's clock. ``afford`` pays for compiling it, where that is worth it. ``stopwatch`` counts
        the time of its statements, also when it fails; ``texts`` collects them, and ``explained``
        PostgreSQL's plans of them: a query is then compiled first. Raises Unavailable when the
        database cannot answer and the answer would hold nothing, AnswerTooLarge for a query whose
        data is longer than an answer may be, and BadRequest for a subscription, see ``Live``.
        """
        _check_kind(kind := prepared.kind)
        context = Context(
            viewer,
            self.database,
            caller=caller,
            deadline=deadline,
            stopwatch=stopwatch or Stopwatch(),
            texts=texts,
            explained=explained,
            near_rows=self.near_rows,
            plans=prepared.plans,
            label=_label(prepared),
            on_replica=self._may_use_replica(prepared),
            after=after,
            long_texts=self.long_texts(prepared),
            breadth_first=self.breadth_first,
        )
        if explained is not None:
            prepared.operation.seen = True
            await self.pushdown.compile(prepared, self.near_rows)
        try:
            data, errors, reason = await self._run(prepared, context, afford)
        finally:
            await _close(context)
        if (errors and is_too_much(errors)) or self._is_too_large(data):
            data, errors = None, [self._too_large(kind)]
        if errors and not context.committed and is_lost(data, errors, kind):
            raise Unavailable(AWAY, _cause(errors))
        return Outcome(
            data,
            errors,
            Executor.of(reason),
            reason,
            context.statements,
            context.stopwatch.seconds,
            bool(errors) and any(isinstance(_origin(error), AccountGone) for error in errors),
        )

    def long_texts(self, prepared: Prepared) -> LongTexts:
        """What the loaders read of long texts: counted where the statement would count them."""
        most = self.max_answer_bytes if self.pushdown.may_be_long(prepared) else None
        return LongTexts(prepared.operation.wanted_texts, most)

    def _may_use_replica(self, prepared: Prepared) -> bool:
        """Whether a standby may answer: only the primary knows what a moment shows."""
        if self.database.replicas is None or prepared.kind is not OperationType.QUERY:
            return False
        return not prepared.plans.tells_moment

    async def _run(
        self, prepared: Prepared, context: Context, afford: Afford
    ) -> tuple[bytes | dict[str, object] | None, list[GraphQLError], str | None]:
        """Data, errors, and why the loaders ran it."""
        data, reason = await self.pushdown.run(prepared, context, afford)
        if data is not None:
            return data, [], reason
        payloads = None
        if prepared.kind is OperationType.MUTATION:
            payloads = Payloads(self.pushdown, prepared, context, afford)
            data = await mutations.run(prepared, context, payloads)
            if data is not None:
                return data, [], payloads.reason
        given = prepared.operation, prepared.variables, context, payloads
        found, errors = await batched.run(*given)
        if errors and context.replica_failed:
            await context.use_primary()
            found, errors = await batched.run(*given)
        if reason == FIRST_SIGHT:
            await self.pushdown.begin(prepared, context.near_rows, afford)
        return found, errors, payloads.reason if payloads else reason

    def _is_too_large(self, data: bytes | dict[str, object] | None) -> bool:
        """Whether it is longer than an answer may be; a compiled query sees to that itself."""
        if isinstance(data, dict):
            data = orjson.dumps(data)
        return data is not None and len(data) > self.max_answer_bytes

    def _too_large(self, kind: OperationType) -> GraphQLError:
        """The error of a mutation whose answer is too long; raises it for a query."""
        error = AnswerTooLarge(self.max_answer_bytes)
        if kind is OperationType.QUERY:
            raise error
        error.after_a_commit()
        return GraphQLError(error.message, original_error=error)

    def close(self) -> None:
        """Stop compiling."""
        self.pushdown.close()


async def _close(context: Context) -> None:
    """End the transaction. A server that hangs does not even do that: then it goes on behind."""
    if context.is_open:
        await asyncio.wait({detached(context.close())}, timeout=CLOSING_SECONDS)


def _label(prepared: Prepared) -> str | None:
    """What names the operation in its statements.

    The first time that a query is asked it has none. The loaders' statements are then those of any
    other query, which PostgreSQL has parsed and planned already. What searches has its name at
    once: it may take long.
    """
    operation = prepared.operation
    is_new = operation.kind is OperationType.QUERY and not operation.seen
    return None if is_new and not prepared.plans.searches else operation.label


def _check_kind(kind: OperationType) -> None:
    """Raises BadRequest for a subscription."""
    if kind is OperationType.SUBSCRIPTION:
        raise BadRequest(
            "A subscription has more than one answer: follow it over WebSocket "
            "(graphql-transport-ws) or as an event stream (Accept: text/event-stream)."
        )


def _uncoerced(errors: Sequence[GraphQLError], open_schema: bool) -> list[GraphQLError]:
    """The errors of variables; those of a closed schema do not name what an input object has."""
    shown: dict[str, GraphQLError] = {}
    for error in errors[: LIMITS.errors]:
        message = error.message if len(error.message) <= 500 else f"{error.message[:500]}…"
        if not open_schema and (name := _structured(error)):
            message = f"Variable '${name}' has a value that does not fit its type."
        shown[message] = GraphQLError(
            message, nodes=error.nodes, original_error=BadRequest(message)
        )
    return list(shown.values())


def _structured(error: GraphQLError) -> str | None:
    """The name of the variable that is wrong, if its type has names of its own."""
    for node in error.nodes or ():
        if isinstance(node, VariableDefinitionNode):
            type_ = type_from_ast(core, node.type)
            return None if is_scalar_type(get_named_type(type_)) else node.variable.name.value
    return None


def is_lost(data: object, errors: Sequence[GraphQLError], kind: OperationType) -> bool:
    """Whether the database went away so that nothing of the answer is worth having.

    A mutation may have committed some of its fields: their results are not thrown away.
    """
    if not any(isinstance(_origin(error), Unavailable) for error in errors):
        return False
    if kind is not OperationType.MUTATION or not isinstance(data, dict):
        return True
    return all(value is None for value in data.values())


def is_too_much(errors: Sequence[GraphQLError]) -> bool:
    """Whether the loaders stopped reading, for there were too many bytes of long texts."""
    return any(isinstance(_origin(error), AnswerTooLarge) for error in errors)


def _cause(errors: Sequence[GraphQLError]) -> str | None:
    """Why the database could not serve, by the first error that knows."""
    causes = (getattr(_origin(error), "cause", None) for error in errors)
    return next(filter(None, causes), None)


def _origin(error: GraphQLError) -> BaseException | None:
    original: BaseException | None = error
    while isinstance(original, GraphQLError):
        original = original.original_error
    return original
