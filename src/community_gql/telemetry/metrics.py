"""The metrics, each declared once, with what it counts.

``serve`` shows them at the address of METRICS for all its processes together; prometheus-client's
multi-process mode keeps them in files. Writing there takes 7 to 9 µs for each observation, so
what happens for each request is counted in memory, and handed over once a second.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Protocol

from prometheus_client import Counter, Gauge, Histogram

PREFIX = "community_gql_"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
"""The upper bounds of the buckets of what takes time."""


class Timings(Histogram):
    """A histogram that takes many observations at once."""

    def add(self, counts: Sequence[int], total: float) -> None:
        """Add so many observations to each bucket, the last without a bound; ``total`` is their
        sum."""
        for bucket, number in zip(self._buckets, counts, strict=True):
            if number:
                bucket.inc(number)
        self._sum.inc(total)


def _gauge(name: str, about: str, labels: Sequence[str] = (), mode: str = "livesum") -> Gauge:
    return Gauge(PREFIX + name, about, labels, multiprocess_mode=mode)  # type: ignore[arg-type]


REQUEST_SECONDS = Timings(
    PREFIX + "request_seconds",
    "GraphQL requests: how long their answers took, by what ran (none if nothing did).",
    ("type", "executor", "status"),
    buckets=SECONDS,
)
DATABASE_SECONDS = Timings(
    PREFIX + "request_database_seconds",
    "GraphQL requests that ran: how long their statements took together.",
    ("type", "executor"),
    buckets=SECONDS,
)
ERRORS = Counter(
    PREFIX + "errors",
    "Errors in answers, by code. RATE_LIMITED is a spent budget, INTERNAL a fault of ours.",
    ("code",),
)
POOL_WAIT_SECONDS = Histogram(
    PREFIX + "pool_wait_seconds",
    "How long those waited who found no connection to the database free.",
    buckets=SECONDS,
)
POOL_SIZE = _gauge("pool_size", "The most connections to the database that may be open.")
POOL_IN_USE = _gauge("pool_in_use", "Connections to the database that someone uses.")
POOL_WAITING = _gauge("pool_waiting", "Those who wait for a connection to the database.")
DATABASE_AWAY = Counter(
    PREFIX + "database_away",
    "Times that the database could not serve, by cause: a SQLSTATE, or words.",
    ("cause",),
)
COMPILE_SECONDS = Histogram(
    PREFIX + "compile_seconds",
    "Queries that were compiled to one statement, or could not be (outcome).",
    ("outcome",),
    buckets=SECONDS,
)
CONNECTIONS = _gauge("connections", "Connections of clients that are open.")
CACHE_BYTES = _gauge("cache_bytes", "What a cache takes in memory, estimated.", ("cache",))
CACHE_ENTRIES = _gauge("cache_entries", "How many things a cache holds.", ("cache",))
REPLICA_LAG = _gauge(
    "replica_lag_seconds", "How far a standby is behind.", ("replica",), mode="livemax"
)
REPLICA_RESTS = _gauge(
    "replica_rests", "Processes that read nothing from a standby now.", ("replica",)
)
JOB_SECONDS = Histogram(
    PREFIX + "job_seconds",
    "What runs beside the requests, by outcome.",
    ("job", "outcome"),
    buckets=SECONDS,
)
LIVE_CONNECTIONS = _gauge("live_connections", "WebSockets and event streams that are open.")
SUBSCRIPTIONS = _gauge("subscriptions", "Subscriptions of live updates.")
SUBSCRIPTIONS_BEHIND = _gauge(
    "subscriptions_behind",
    "Subscriptions that are told later: they are new, had no room, or their budget is spent.",
)
DELIVERIES = Counter(
    PREFIX + "deliveries", "What subscriptions were sent: change, reload or state.", ("kind",)
)
DELIVERY_SECONDS = Timings(
    PREFIX + "delivery_seconds",
    "Changes of stories, and states that a change woke: how long after it they were sent.",
    buckets=SECONDS,
)
WORST_DELIVERY_SECONDS = _gauge(
    "worst_delivery_seconds", "The latest of those in the last second.", mode="livemax"
)
MATCHING_WAITING = _gauge(
    "matching_waiting_seconds",
    "For how long the oldest change has waited for `matching run`.",
    mode="livemostrecent",
)
READY = _gauge("ready", "1, or 0 if the last `/readyz` said no.", mode="livemostrecent")
WORKER_ENDS = Counter(
    PREFIX + "worker_ends",
    "Processes that ended though nobody had told them to, and were replaced.",
)
WORKERS = _gauge("workers", "Processes that serve, by version.", ("version",))


Kind = tuple[str | None, str | None, int]
"""Type of the operation and its executor, as far as there are any, and status of the answer."""


class Answered(Protocol):
    """A request that was answered."""

    @property
    def kind(self) -> Kind:
        """Of which kind it was."""

    @property
    def seconds(self) -> float:
        """How long its answer took."""

    @property
    def database_seconds(self) -> float:
        """How long its statements took together."""

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of its errors."""


TOGETHER = 500
"""So many requests are counted in one loop: for few, its code has left the caches of the processor
since the ones before, which takes longer than counting."""


class Requests:
    """Counts what each request took, in memory until ``hand_over``."""

    def __init__(self) -> None:
        self._answered: list[Answered] = []
        """Those that are not counted yet."""
        self._tallies: dict[Kind, _Tally] = {}
        self._errors: Counts[str] = Counts()

    def count(self, answered: Iterable[Answered]) -> None:
        """Count these requests, now or later."""
        self._answered += answered
        if len(self._answered) >= TOGETHER:
            self._count()

    def _count(self) -> None:
        answered, self._answered = self._answered, []
        last: Kind | None = None
        for one in answered:
            kind = one.kind
            if kind is not last:  # most are of one
                last, tally = (
                    kind,
                    self._tallies.get(kind) or self._tallies.setdefault(kind, _Tally()),
                )
            seconds, database = one.seconds, one.database_seconds
            tally.counts[bisect_left(SECONDS, seconds)] += 1
            tally.total += seconds
            tally.database_counts[bisect_left(SECONDS, database)] += 1
            tally.database_total += database
            if one.codes:
                self._errors.update(one.codes)

    def hand_over(self) -> None:
        """Add what was counted to the metrics."""
        self._count()
        tallies, self._tallies = self._tallies, {}
        for (type_, executor, status), tally in tallies.items():
            ran = type_ or "none", executor or "none"
            REQUEST_SECONDS.labels(*ran, str(status)).add(tally.counts, tally.total)
            if executor is not None:
                DATABASE_SECONDS.labels(*ran).add(tally.database_counts, tally.database_total)
        errors, self._errors = self._errors, Counts()
        for code, number in errors.items():
            ERRORS.labels(code).inc(number)


class DeliveryCounts:
    """Counts what subscriptions are sent, in memory until ``hand_over``."""

    def __init__(self) -> None:
        self._kinds: Counts[str] = Counts()
        self._counts, self._total, self._worst = [0] * (len(SECONDS) + 1), 0.0, 0.0

    def count(self, kind: str, number: int, delay: float) -> None:
        """Count so many; ``delay`` is in seconds, 0 where no change was the cause."""
        self._kinds[kind] += number
        if delay:
            self._counts[bisect_left(SECONDS, delay)] += number
            self._total += number * delay
            self._worst = max(self._worst, delay)

    def hand_over(self) -> None:
        """Add what was counted to the metrics."""
        for kind, number in self._kinds.items():
            DELIVERIES.labels(kind).inc(number)
        DELIVERY_SECONDS.add(self._counts, self._total)
        WORST_DELIVERY_SECONDS.set(self._worst)
        self._kinds.clear()
        self._counts, self._total, self._worst = [0] * (len(SECONDS) + 1), 0.0, 0.0


class _Tally:
    __slots__ = ("counts", "database_counts", "database_total", "total")

    def __init__(self) -> None:
        self.counts, self.total = [0] * (len(SECONDS) + 1), 0.0
        self.database_counts, self.database_total = [0] * (len(SECONDS) + 1), 0.0


def mark_running() -> None:
    """Count this process among those that serve."""
    WORKERS.labels(version("community-gql")).set(1)
