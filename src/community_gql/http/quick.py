"""The quick way: a POST that has arrived whole, for a query that came before, of someone known.

All that its answer needs is looked up here, in one go and without waiting; then the statement runs,
and the answer is written. Whatever is to be found out, to be compiled or to be refused beforehand
goes the long way of ``endpoint.py``, which does not know this one. The answers are the same.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

import asyncpg
import orjson

from community_gql.errors import AnswerTooLarge
from community_gql.graph.visibility import ANONYMOUS
from community_gql.http.asked import Asked
from community_gql.http.exact_json import has_long_number
from community_gql.http.exchange import Authenticate, Exchange, Runner, is_dear
from community_gql.http.head import Head
from community_gql.http.proxies import TrustedProxies
from community_gql.http.rate_limit import key_of
from community_gql.http.requests import EVENTS_TYPE, JSON_TYPE, RESPONSE_TYPE, negotiate
from community_gql.http.responses import Answer, quick_body, quick_fields
from community_gql.http.security import OriginFields
from community_gql.http.whole import Whole
from community_gql.operations.pipeline import LONG
from community_gql.operations.prepared import Params
from community_gql.operations.statement import arguments_of
from community_gql.telemetry import tracing
from community_gql.telemetry.correlation import answering, current

QUICK = "quick"
"""Where the state of the application has it."""
PATHS = frozenset({b"/graphql", b"/"})


class Quick:
    """Answers those that can be answered so."""

    def __init__(
        self,
        runner: Runner,
        authenticate: Authenticate,
        proxies: TrustedProxies,
        cors: OriginFields | None = None,
    ) -> None:
        """``cors`` is there if pages of other origins may ask."""
        self._cors = cors
        self.runner, self._authenticate, self._proxies = runner, authenticate, proxies
        self._operations, self._config = runner.operations, runner.config
        self._budget, self._value = runner.config.budget, runner.operations.database.value
        self._running: dict[asyncio.Task[None], Asked] = {}
        """What runs, the oldest first."""
        self._timer: asyncio.TimerHandle | None = None
        answering.add(self)

    def id_of(self, task: asyncio.Task[Any]) -> bytes | None:
        """The id of the request that the task answers."""
        asked = self._running.get(task)
        return None if asked is None else asked.request_id

    def start(self, request: Whole) -> bool:
        """Have it answered; False if it must go the long way. Then nothing has happened."""
        asked = self._asked(request)
        if asked is None:
            return False
        protocol = request.protocol
        loop = protocol.loop
        request.task = task = loop.create_task(self._answer(request, asked))
        protocol.tasks.add(task)
        self._running[task] = asked
        asked.deadline = loop.time() + self._config.request_timeout
        if self._timer is None:
            self._timer = loop.call_at(asked.deadline, self._look, loop)
        return True

    def _asked(self, request: Whole) -> Asked | None:
        """The request with all that is known of it; None if it must go the long way."""
        started = time.perf_counter()
        protocol, body = request.protocol, request.body
        client = protocol.client[0] if protocol.client else None
        head = Head("POST", b"", protocol.scheme == "https", client)
        head.read(protocol.headers)
        if (head.forwarded_for or head.forwarded_proto) and client in self._proxies:
            self._take_forwarded(head)
        media = negotiate(head.accept, RESPONSE_TYPE, JSON_TYPE, EVENTS_TYPE)
        if (
            head.content_type != b"application/json"
            or head.content_encoding
            or media is None
            or media is EVENTS_TYPE
            or len(body) > self._config.max_body_bytes
            or tracing.on
        ):
            return None
        if head.authorizations == 1 and head.authorization is not None:
            viewer = self._authenticate.remembered(head.authorization)
        else:
            viewer = ANONYMOUS if head.is_public else None
        params = None if viewer is None else _params(body)
        if viewer is None or params is None:
            return None
        if len(body) > 2 * len(params[0]) + LONG:
            return None  # there are many variables to look at
        opens = self._config.opens_schema_to(viewer)
        found = self._operations.recall(*params, open_schema=opens)
        if found is None:
            return None
        asked = Asked(head, protocol.url.decode(), media, viewer, started)
        asked.found(*found)
        if self._cors is not None:
            asked.origin_fields = self._cors.of(protocol.headers)
        asked.prepare_seconds = time.perf_counter() - started
        asked.key = key_of(viewer.sub, head.client)
        asked.balance = self._budget.charge_now(asked.key, max(asked.prepared.cost, 1))
        return asked

    def _take_forwarded(self, head: Head) -> None:
        """Believe the proxy."""
        if head.forwarded_for and (found := self._proxies.client(head.forwarded_for)) is not None:
            head.client = found[0]
        if head.forwarded_proto:
            scheme = self._proxies.scheme(head.forwarded_proto)
            head.is_tls = scheme == "https" if scheme else head.is_tls

    async def _answer(self, request: Whole, asked: Asked) -> None:
        """Run the statement, and answer; never raises but when it is cancelled."""
        prepared, statement = asked.prepared, asked.statement
        try:
            if asked.balance is None:
                asked.balance = await self._budget.charge(asked.key, max(prepared.cost, 1))
            value = partial(
                self._value,
                statement.text,
                arguments_of(statement, prepared.plans, asked.viewer.binds()),
                custom_plan=statement.custom_plan,
                caller=asked.key,
                stopwatch=asked.stopwatch,
            )
            if is_dear(prepared):
                data = await self.runner.in_turn(asked.key, prepared, asked.stopwatch, value)
            else:
                data = await value()
                prepared.switched.seconds = asked.stopwatch.seconds
            if data is None or len(data) > self._operations.max_answer_bytes:
                raise AnswerTooLarge(self._operations.max_answer_bytes)
            if (beyond := self.runner.beyond(asked.stopwatch)) > 0:
                asked.balance = await self._budget.debit(asked.key, beyond)
        except (Exception, asyncio.CancelledError) as error:
            await self._end_differently(request, asked, error)
        else:
            asked.seconds = time.perf_counter() - asked.started
            self.runner.afterwards.note(asked)
            if request.protocol.flow.write_paused:
                await request.drain()
            body = quick_body(data, prepared.cost)
            head, balance = asked.head, asked.balance
            fields = quick_fields(asked.media, head.is_tls, balance, asked.request_id, len(body))
            if self._cors is not None:
                fields = self._cors.complete(fields, asked.origin_fields)
            request.answer(200, fields, body)
        finally:
            del self._running[request.task]
            request.protocol.tasks.discard(request.task)

    async def _end_differently(self, request: Whole, asked: Asked, error: BaseException) -> None:
        """Answer where no data came of the statement."""
        current.set(asked.request_id)  # also for tasks that are begun here
        if isinstance(error, asyncio.CancelledError):
            if asked.deadline > request.protocol.loop.time():
                request.protocol.transport.close()  # the process ends
                raise error
            request.task.uncancel()
            error = TimeoutError()
        exchange = Exchange(asked.head.client, False, asked.begun_log(), asked.head)
        exchange.started, exchange.balance = asked.started, asked.balance
        exchange.viewer = asked.viewer
        query, name, variables = _params(request.body) or ("", None, {})
        exchange.params = Params(query, None, variables, name)
        answer = await self._other_answer(exchange, asked, error)
        if exchange.balance is not None:
            answer.headers = {**exchange.balance.headers(), **answer.headers}
        answer.headers["X-Request-Id"] = asked.request_id.decode()
        accepted = negotiate(asked.head.accept, RESPONSE_TYPE, JSON_TYPE)
        status, fields, body = answer.written(accepted, asked.head.is_tls)
        if self._cors is not None:
            fields = self._cors.complete(fields, asked.origin_fields)
        self.runner.afterwards.note(exchange.fill_log(status, answer))
        await request.drain()
        request.answer(status, fields, body)

    async def _other_answer(self, exchange: Exchange, asked: Asked, error: BaseException) -> Answer:
        runner = self.runner
        try:
            if isinstance(error, asyncpg.PostgresError):
                # The loaders find out what is wrong.
                async with asyncio.timeout(self._config.request_timeout) as limit:
                    return await runner.run(exchange, asked.prepared, limit)
            await runner.charge_time(exchange, asked.stopwatch)
            raise error
        except Exception as second:
            return runner.refused(exchange, second)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel what takes too long, and look again when the next may."""
        now, self._timer = loop.time(), None
        for task, asked in self._running.items():
            if asked.deadline > now:
                self._timer = loop.call_at(asked.deadline, self._look, loop)
                break
            task.cancel()


_READ = ("query", "operationName", "variables")
_NO_EXTENSIONS: tuple[object, ...] = (None, {})


def _params(body: bytes) -> tuple[str, str | None, dict[str, Any]] | None:
    """Query, name of the operation and variables, if the body is JSON and has nothing else."""
    if b"\\u0000" in body or has_long_number(body):
        return None
    try:
        members = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if type(members) is not dict or members.get("documentId") is not None:
        return None
    query, name, variables = map(members.get, _READ)
    if type(query) is not str or members.get("extensions") not in _NO_EXTENSIONS:
        return None
    # What is empty and of another kind is refused: 0 is no absent name, [] no absent object.
    if variables is None:
        variables = {}
    if type(variables) is not dict or not (name is None or type(name) is str):
        return None
    return query, name or None, variables
