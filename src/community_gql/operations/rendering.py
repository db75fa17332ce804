"""What subscriptions send: the answers of many viewers, read in one snapshot.

Whoever selects the same of the same gets the same bytes, made once, where the compiled statement
has no bind parameter of the viewer. Where it has, one statement makes them for all viewers. What
has no statement is run by the loaders, in a context of its own.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg
import orjson

from community_gql.db.database import Database, Snapshot
from community_gql.db.states import AWAY
from community_gql.errors import AnswerTooLarge, Unavailable
from community_gql.graph.for_many import written as as_text
from community_gql.graph.visibility import Viewer
from community_gql.operations import batched
from community_gql.operations.pace import Pace
from community_gql.operations.pipeline import Executor, Operations, is_lost, is_too_much
from community_gql.operations.shown import Json, public, written
from community_gql.operations.statement import Statement, arguments_of, many_of
from community_gql.operations.subscriptions import Form, Subscription
from community_gql.schema.context import Context
from community_gql.schema.subscription import StoryEvent

Follower = TypeVar("Follower", bound=Subscription)

SLICE = 500
"""So many answers are made by one statement."""

_log = logging.getLogger("community_gql.live")


@dataclass(slots=True, eq=False)
class Request:
    """An answer to be made: an event or, without one, a state."""

    form: Form
    viewer: Viewer
    event: StoryEvent | None = None


@dataclass(slots=True, eq=False)
class Rendered:
    """An answer."""

    payload: bytes
    shared: bool
    """Whether it was made for all."""
    fallback_reason: str | None = None
    """Why the loaders made it; None if a statement did."""


class Renderer:
    """Makes answers in one snapshot."""

    def __init__(
        self, operations: Operations, database: Database, snapshot: Snapshot, pace: Pace
    ) -> None:
        self._operations, self._database, self._snapshot = operations, database, snapshot
        self._pace = pace
        self._statements: dict[Hashable, Statement | None] = {}

    async def requests(
        self, form: Form, event: StoryEvent | None, followers: Sequence[Follower]
    ) -> dict[Request, list[Follower]]:
        """What is to be made for the followers, and who of them gets which of it."""
        statement = self._statement(form)
        found: dict[Hashable, list[Follower]] = defaultdict(list)
        if statement is not None and not _asks_for_viewer(statement, event):
            return {Request(form, followers[0].viewer, event): list(followers)} if followers else {}
        by_sub = statement is not None and all(name == "viewer" for _, name in statement.viewer)
        async for some in self._pace.pieces(followers):
            for follower in some:
                found[follower.viewer.sub if by_sub else follower.viewer].append(follower)
        requests: dict[Request, list[Follower]] = {}
        async for alike in self._pace.pieces(list(found.values())):
            requests.update((Request(form, one[0].viewer, event), one) for one in alike)
        return requests

    def is_shared(self, request: Request) -> bool:
        """Whether the answer will be the same for all viewers."""
        statement = self._statement(request.form)
        return statement is not None and not _asks_for_viewer(statement, request.event)

    async def render(self, requests: Sequence[Request]) -> list[Rendered]:
        """The answers, in the order of the requests. Raises Unavailable."""
        groups: dict[Hashable, list[Request]] = defaultdict(list)
        async for some in self._pace.pieces(requests, SLICE):
            for request in some:
                groups[request.form.statement_key].append(request)
        answers: dict[Request, Rendered] = {}
        for alike in groups.values():
            answers |= await self._group(alike)
        return [answers[request] for request in requests]

    def _statement(self, form: Form) -> Statement | None:
        # What is compiled meanwhile serves the next snapshot.
        if form.statement_key not in self._statements:
            found = self._operations.statement(form.prepared)
            self._statements[form.statement_key] = found
        return self._statements[form.statement_key]

    async def _group(self, requests: list[Request]) -> dict[Request, Rendered]:
        """The answers to requests that have one statement, if any."""
        statement = self._statement(requests[0].form)
        if statement is None:
            reason = self._operations.fallback_reason(requests[0].form.prepared)
        else:
            try:
                return await self._compiled(statement, requests)
            except asyncpg.PostgresError as error:
                # Most likely a value that the schema does not allow: the loaders say which. The
                # error's text may hold values, so it is not logged.
                reason = f"the statement failed: {error.sqlstate}"
                _log.warning("an event was made by the loaders: %s", reason)
        return {request: Rendered(await self._load(request), False, reason) for request in requests}

    def extensions(self, answer: Rendered) -> bytes:
        """What development adds to the answer: which executor made it, and why."""
        if not self._operations.development:
            return b""
        executor = Executor.of(answer.fallback_reason)
        told = {"executor": executor, "fallbackReason": answer.fallback_reason}
        return b'"extensions":' + orjson.dumps({"execution": told})

    async def _compiled(
        self, statement: Statement, requests: list[Request]
    ) -> dict[Request, Rendered]:
        answers: dict[Request, Rendered] = {}
        groups: dict[Form, list[Request]] = defaultdict(list)
        async for some in self._pace.pieces(requests, SLICE):
            for request in some:
                groups[request.form].append(request)
        for alike in groups.values():
            async for part in self._pace.pieces(alike, SLICE):
                found = await self._read(statement, part)
                self._pace.begins()
                for request, data in zip(part, found, strict=True):
                    shared = not _asks_for_viewer(statement, request.event)
                    answers[request] = Rendered(self._payload(data), shared)
        return answers

    async def _read(self, statement: Statement, alike: Sequence[Request]) -> list[bytes | None]:
        """The data of each, which differ in what is bound of viewer and event alone."""
        first = alike[0]
        told: dict[StoryEvent | None, dict[str, object]] = {None: {}}
        for event in {request.event for request in alike} - {None}:
            assert event is not None
            told[event] = event.binds()
        plans, viewer = first.form.prepared.plans, first.viewer.binds()
        arguments = arguments_of(statement, plans, viewer, event=told[first.event])
        text, custom_plan = statement.text, statement.custom_plan
        if len(alike) > 1:
            # Mostly it is one event for many people: what is the same for all is no column.
            text, names, others = many_of(statement, events=len(told) > 2)
            arguments = [arguments[place] for place in others]
            binds = [{**request.viewer.binds(), **told[request.event]} for request in alike]
            arguments += [[as_text(one[name]) for one in binds] for name in names]
        rows = await self._snapshot.value(text, arguments, custom_plan=custom_plan)
        return [row[0] for row in rows]

    def _payload(self, data: bytes | None) -> bytes:
        if data is None:
            return _text(None, [public(AnswerTooLarge(self._operations.max_answer_bytes))])
        return b'{"data":' + data + b"}"

    async def _load(self, request: Request) -> bytes:
        prepared = request.form.prepared
        context = Context(
            request.viewer,
            self._database,
            near_rows=self._operations.near_rows,
            plans=prepared.plans,
            shared=self._snapshot,
            event=request.event,
            long_texts=self._operations.long_texts(prepared),
        )
        try:
            data, errors = await batched.run(prepared.operation, prepared.variables, context)
        finally:
            await context.close()
        if is_too_much(errors):
            return self._payload(None)
        if is_lost(data, errors, prepared.kind):
            raise Unavailable(AWAY)
        text = _text(data, written(errors, prepared.variables.coerced))
        if len(text) > self._operations.max_answer_bytes:
            return _text(None, [public(AnswerTooLarge(self._operations.max_answer_bytes))])
        return text


def _asks_for_viewer(statement: Statement, event: StoryEvent | None) -> bool:
    """Whether the answer may depend on the viewer; an event without a story cannot."""
    return bool(statement.viewer) and (event is None or event.key is not None)


def _text(data: Any, errors: Sequence[Json]) -> bytes:
    members: Json = {"errors": errors} if errors else {}
    members["data"] = data
    return orjson.dumps(members)
