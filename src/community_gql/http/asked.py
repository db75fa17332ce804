"""What is known of one request on the quick way, and what the log and the metrics say of it."""

from __future__ import annotations

from functools import lru_cache

import orjson

from community_gql.db.stopwatch import Stopwatch
from community_gql.graph.visibility import Viewer
from community_gql.http.head import Head
from community_gql.http.rate_limit import Balance
from community_gql.http.request_log import RequestLog, client_class, digest
from community_gql.logs import moment, pieces_of_line
from community_gql.operations.pipeline import Executor
from community_gql.operations.prepared import Prepared
from community_gql.operations.statement import Statement
from community_gql.telemetry.correlation import new_id, request_id, trace_id

_KEPT = 2000
"""So many numbers are kept as text."""


class Asked:
    """One request on the quick way."""

    __slots__ = (
        *("balance", "deadline", "head", "key", "media", "origin_fields", "path"),
        *("prepare_seconds", "prepared", "request_id", "seconds", "started", "statement"),
        *("stopwatch", "viewer"),
    )
    seconds: float
    """How long its answer took, once it is there."""
    deadline: float
    """When it is late, by the clock of the loop."""
    balance: Balance | None
    """What the budget holds, once something was charged."""
    prepare_seconds: float
    key: str
    """Whose budget it is, and whose share of the connections."""
    origin_fields: bytes
    """What the answer says to the page of another origin, where there may be some."""

    kind = ("query", Executor.COMPILED.value, 200)
    """As metrics know it, see ``telemetry.metrics.Answered``."""
    codes = ()

    def __init__(self, head: Head, path: str, media: str, viewer: Viewer, started: float) -> None:
        """``started`` is by ``time.perf_counter``."""
        self.head, self.path, self.media, self.viewer = head, path, media, viewer
        self.started = started
        self.request_id = request_id(head.request_id) if head.request_id else new_id()
        self.stopwatch = Stopwatch()

    def found(self, prepared: Prepared, statement: Statement) -> None:
        """That is what it asks for."""
        self.prepared, self.statement = prepared, statement

    @property
    def database_seconds(self) -> float:
        """How long its statement took."""
        return self.stopwatch.seconds

    def line(self) -> RequestLog:
        """What the log says of it."""
        log = _succeeded(self.begun_log())
        log.database_milliseconds = int(self.stopwatch.seconds * 100_000) / 100
        log.pool_milliseconds = int(self.stopwatch.pool_seconds * 100_000) / 100
        log.milliseconds = int(self.seconds * 10_000) / 10
        return log

    def begun_log(self) -> RequestLog:
        """The same before anything has run."""
        prepared, head, operation = self.prepared, self.head, self.prepared.operation
        client = client_class(head.client)
        log = _begun(self.path, operation.name, operation.type_name, prepared.document_hash, client)
        log.request_id, log.cost = self.request_id.decode(), prepared.cost
        if head.traceparent:
            log.trace_id = trace_id(head.traceparent)
        if self.viewer.sub is not None:
            log.viewer = digest(self.viewer.sub)
        log.prepare_milliseconds = int(self.prepare_seconds * 100_000) / 100
        return log

    def text(self, logger: str, at: float) -> bytes:
        """``line`` as JSON. Only what differs from request to request is written anew."""
        prepared, stopwatch, head = self.prepared, self.stopwatch, self.head
        operation, hash_ = prepared.operation, prepared.document_hash
        pieces = _pieces(
            logger, self.path, operation.name, operation.type_name, hash_, client_class(head.client)
        )
        trace = _trace(head.traceparent) if head.traceparent else b"null"
        waited = stopwatch.pool_seconds
        start, one, two, three, four, five, six, seven, eight, end = pieces
        parts = (
            start,
            moment(at),
            one,
            self.request_id,
            two,
            trace,
            three,
            _viewer(self.viewer.sub),
            four,
            b"%d" % prepared.cost,
            five,
            _hundredths[int(self.prepare_seconds * 100_000)],
            six,
            _hundredths[int(waited * 100_000)] if waited else b"0.0",
            seven,
            _hundredths[int(stopwatch.seconds * 100_000)],
            eight,
            _hundredths[int(self.seconds * 10_000) * 10],
            end,
        )
        return b"".join(parts)


LEFT_OUT = (
    *("request_id", "trace_id", "viewer", "cost", "prepare_milliseconds"),
    *("pool_milliseconds", "database_milliseconds", "milliseconds"),
)
"""The fields of the line that ``Asked.text`` fills in, in their order."""


@lru_cache(maxsize=1000)
def _pieces(
    logger: str, path: str, name: str | None, type_: str, document_hash: str, client: str | None
) -> list[bytes]:
    """The line of a request that succeeded, without what is ``LEFT_OUT``."""
    log = _succeeded(_begun(path, name, type_, document_hash, client))
    pieces = pieces_of_line(logger, log.message(), log.fields(), LEFT_OUT)
    pieces[1] += b'"'  # an id is written as it is
    pieces[2] = b'"' + pieces[2]
    return pieces


def _begun(
    path: str, name: str | None, type_: str, document_hash: str, client: str | None
) -> RequestLog:
    log = RequestLog("POST", path, operation=name and name[:100], type=type_)
    log.document, log.client = document_hash, client
    return log


def _succeeded(log: RequestLog) -> RequestLog:
    log.statements, log.executor, log.status = 1, Executor.COMPILED, 200
    return log


class _Hundredths(dict[int, bytes]):
    """A number of hundredths as JSON."""

    def __missing__(self, number: int) -> bytes:
        text = orjson.dumps(number / 100)
        if len(self) < _KEPT:
            self[number] = text
        return text


_hundredths = _Hundredths()


@lru_cache(maxsize=10_000)
def _viewer(sub: str | None) -> bytes:
    return b"null" if sub is None else orjson.dumps(digest(sub))


def _trace(traceparent: bytes) -> bytes:
    return orjson.dumps(trace_id(traceparent))
