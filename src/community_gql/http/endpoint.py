"""The GraphQL endpoint: an ASGI callable that answers one request, from bytes to bytes.

Read the request, authenticate, have the operation run (``exchange.py``), answer. HTTP itself is in
``requests.py`` and ``responses.py``; a subscription is answered by a stream (``events.py``).
Nothing of Starlette's stack stands around it (decision 64).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from graphql import OperationType
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from community_gql.graph.visibility import Viewer
from community_gql.http import read_after
from community_gql.http.events import EventStream, Streams
from community_gql.http.exchange import Authenticate, Exchange, Runner
from community_gql.http.head import Head, wants_signpost
from community_gql.http.request_log import RequestLog, client_class, digest
from community_gql.http.requests import (
    EVENTS_TYPE,
    JSON_TYPE,
    METHODS,
    PAGE_TYPE,
    RESPONSE_TYPE,
    HttpError,
    negotiate,
    read,
    too_late,
)
from community_gql.http.responses import Answer, etag, is_known, may_be_tagged
from community_gql.http.security import OVER_TLS, PLAIN
from community_gql.http.whole import whole_body
from community_gql.operations.prepared import Prepared
from community_gql.telemetry import tracing
from community_gql.telemetry.correlation import current, request_id, trace_id

PUBLIC_SECONDS = 5
"""How long anyone's copy of a public answer may be used."""
_MISTAKES = (400, 422)
"""The statuses of a document that cannot run; a stream tells them as its only event."""


class GraphQLEndpoint:
    """Answers GraphQL over HTTP.

    ``streams`` answer subscriptions, if any are answered. ``page`` is the application that shows
    browsers the explorer.
    """

    def __init__(
        self,
        runner: Runner,
        authenticate: Authenticate,
        streams: Streams | None = None,
        page: ASGIApp | None = None,
    ) -> None:
        self.runner, self._authenticate = runner, authenticate
        self._streams, self._page = streams, page

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request; never raises."""
        head = Head.of(scope)
        if head.method == "OPTIONS":
            return _allow(send, head)
        if self._page is not None and head.method != "POST" and _wants_page(head, scope["path"]):
            return self._page(scope, receive, send)
        if tracing.on:
            return self._traced(head, scope, receive, send)
        return self._respond(head, scope, receive, send)

    async def _traced(self, head: Head, scope: Scope, receive: Receive, send: Send) -> None:
        with tracing.span("request", "server", head.traceparent) as span:
            await self._respond(head, scope, receive, send, span)

    async def _respond(
        self,
        head: Head,
        scope: Scope,
        receive: Receive,
        send: Send,
        span: tracing.Span | None = None,
    ) -> None:
        exchange = Exchange(
            head.client, head.is_safe, RequestLog(method=head.method, path=scope["path"]), head=head
        )
        log = exchange.log
        id_ = request_id(head.request_id)
        current.set(id_)
        log.request_id, log.client = id_.decode(), client_class(head.client)
        accepted = negotiate(head.accept, RESPONSE_TYPE, JSON_TYPE)
        if span is not None:
            log.trace_id = span.trace_id
        elif head.traceparent:
            log.trace_id = trace_id(head.traceparent)
        try:
            answer = await self._answer(exchange, scope, head, receive)
        except ClientDisconnect:
            return  # there is nobody to answer
        if isinstance(answer, EventStream):
            await answer.run(scope, receive, send, is_tls=head.is_tls)
            return
        self._complete(exchange, scope, head, answer)
        self.runner.afterwards.note(exchange.fill_log(answer.http_status(accepted), answer))
        if span is not None:
            _describe(span, log)
        await answer.send(send, accepted, head=head.method == "HEAD", is_tls=head.is_tls)

    def _complete(self, exchange: Exchange, scope: Scope, head: Head, answer: Answer) -> None:
        """Give the answer the fields that go with it."""
        if exchange.balance is not None:
            answer.headers = {**exchange.balance.headers(), **answer.headers}
        if head.is_safe and answer.status == 200 and head.is_public:
            accepted = negotiate(head.accept, RESPONSE_TYPE, JSON_TYPE)
            tag = etag(answer, answer.media(accepted)) if may_be_tagged(answer) else ""
            answer.headers["Cache-Control"] = f"public, max-age={PUBLIC_SECONDS}"
            if tag:
                answer.headers["ETag"] = tag
            if is_known(head.if_none_match.decode("latin1"), tag):
                answer.status = 304
        if answer.status == 401 or exchange.account_gone:
            self._draw_consequences(exchange, scope, answer)
        answer.headers["X-Request-Id"] = exchange.log.request_id
        if exchange.token is not None:
            answer.headers[read_after.HEADER] = exchange.token
            if head.has_cookie:
                answer.headers.setdefault(
                    "Set-Cookie", read_after.cookie(exchange.token, head.is_tls)
                )

    async def _answer(
        self, exchange: Exchange, scope: Scope, head: Head, receive: Receive
    ) -> Answer | EventStream:
        config = self.runner.config
        likes = negotiate(head.accept, RESPONSE_TYPE, JSON_TYPE, EVENTS_TYPE)
        streams = self._streams if likes == EVENTS_TYPE else None
        try:
            if likes is None or (likes == EVENTS_TYPE and streams is None):
                _check_accept(head)
            # A timer that is set and moved costs as much as reading a body that is there.
            body = whole_body(receive) if head.method == "POST" else None
            is_here = body is not None
            seconds = config.request_timeout if is_here else config.body_timeout
            async with asyncio.timeout(seconds) as limit:
                exchange.params = await read(head, receive, config.max_body_bytes, body)
                if not is_here:
                    limit.reschedule(asyncio.get_running_loop().time() + config.request_timeout)
                exchange.viewer = await self._who(exchange, scope, head)
                try:
                    prepared = await self.runner.prepare(exchange)
                    if prepared.kind is OperationType.SUBSCRIPTION:
                        return await _stream(streams, exchange, prepared, head)
                except Exception as error:
                    answer = self.runner.refused(exchange, error)
                    if streams is not None and answer.status in _MISTAKES:
                        log = exchange.fill_log(200, answer)
                        self.runner.afterwards.note(log, is_counted=False)
                        return streams.of_mistake(exchange, answer)
                    return answer
                if streams is not None:
                    _check_accept(head)
                return await self.runner.run(exchange, prepared, limit)
        except ClientDisconnect:
            raise
        except Exception as error:
            if isinstance(error, TimeoutError) and exchange.params is None:
                error = too_late(config.body_timeout)
            return self.runner.refused(exchange, error)

    async def _who(self, exchange: Exchange, scope: Scope, head: Head) -> Viewer:
        if head.authorizations == 1 and head.authorization is not None:
            viewer = await self._authenticate.bearer(head.authorization.decode("latin1"))
        elif head.is_public:
            return Viewer()
        else:
            viewer = await self._authenticate(Request(scope))
        if viewer.sub is not None:
            exchange.log.viewer = digest(viewer.sub)
        return viewer

    def _draw_consequences(self, exchange: Exchange, scope: Scope, answer: Answer) -> None:
        response = Response(status_code=answer.status)
        sub = exchange.viewer.sub if exchange.viewer else None
        self._authenticate.answered(
            Request(scope), response, sub=sub, account_gone=exchange.account_gone
        )
        for name, value in response.raw_headers:
            if name == b"set-cookie":
                answer.headers["Set-Cookie"] = value.decode("latin1")


def _describe(span: tracing.Span, log: RequestLog) -> None:
    """What the conventions of OpenTelemetry want to know of a GraphQL request."""
    span.rename(log.type or "request")
    span.set(
        {
            "http.request.id": log.request_id,
            "http.response.status_code": log.status,
            "graphql.operation.name": log.operation,
            "graphql.operation.type": log.type,
            "community_gql.document": log.document,
            "community_gql.executor": log.executor,
            "community_gql.cost": log.cost,
            "community_gql.viewer": log.viewer,
        }
    )
    if log.status >= 500:
        span.failed(log.codes[0] if log.codes else str(log.status))


def _wants_page(head: Head, path: str) -> bool:
    if not head.is_safe or head.has_document:
        return False
    offered = (RESPONSE_TYPE, JSON_TYPE, PAGE_TYPE)
    return wants_signpost(path, head.accept) or negotiate(head.accept, *offered) == PAGE_TYPE


async def _stream(
    streams: Streams | None, exchange: Exchange, prepared: Prepared, head: Head
) -> EventStream:
    """The stream that answers a subscription; None of ``streams`` for who does not want one.

    Raises what refuses it.
    """
    if head.method == "HEAD":
        raise HttpError(405, "Streams are asked for by GET or POST.", {"Allow": "GET, POST"})
    if streams is None:
        raise HttpError(
            406,
            f"A subscription is answered by a stream: send Accept: {EVENTS_TYPE}, or subscribe "
            "over a WebSocket at this address (graphql-transport-ws).",
        )
    return await streams.open(exchange, prepared, head.last_event_id)


def _check_accept(head: Head) -> None:
    """Raises HttpError for a client that takes no JSON."""
    if negotiate(head.accept, RESPONSE_TYPE, JSON_TYPE) is None:
        raise HttpError(
            406, f"Answers are {RESPONSE_TYPE} or {JSON_TYPE}; of subscriptions {EVENTS_TYPE}."
        )


async def _allow(send: Send, head: Head) -> None:
    headers = [(b"allow", METHODS.encode()), *(OVER_TLS if head.is_tls else PLAIN)]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
