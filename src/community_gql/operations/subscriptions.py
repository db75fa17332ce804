"""A subscription, and what a transport gives and gets."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakValueDictionary

from community_gql.db.changes import Moment
from community_gql.graph.plans import ChangesPlan, LookupPlan, Plan, ViewerPlan
from community_gql.graph.visibility import Viewer
from community_gql.operations.prepared import Prepared

Charge = Callable[[Sequence[str], int], Collection[int]]
"""Takes points from the budget of each key, and says at which places are those that did not hold
them."""

PAUSE = 1.0
"""Seconds for which an empty purse is not looked into."""
MAX_WRITTEN = 64
"""So many different forms of an event are kept while it is sent: clients that number their
operations have few, and those that draw names have one each."""


class EndReason(enum.StrEnum):
    """Why the server ends a subscription."""

    ACCOUNT_GONE = "account gone"
    """The viewer's account was deleted: their credentials are worth nothing any more."""


@dataclass(slots=True, eq=False)
class Delivery:
    """What is sent to one subscription, or to many."""

    payload: bytes
    moment: Moment | None
    """Up to where it tells; None for a state."""
    moment_text: str | None
    """What ``after`` resumes behind it: the ``id`` of an SSE event. None for a state."""
    shared: bool
    """Whether it was made for all."""
    is_reload: bool = False
    changed_at: float | None = None
    """When what it tells was written, in seconds of the epoch."""
    fallback_reason: str | None = None
    """Why the loaders made it; None if a statement did."""
    extensions: bytes = b""
    """What development adds to the payload: a member of JSON, with its name."""
    text: bytes = b""
    """The payload with its extensions: the JSON text of an execution result."""
    written: dict[bytes, bytes] = field(default_factory=dict)
    """What a transport has made of it for all to whom it writes the same; its keys are its own."""
    points: int = 1
    """What each to whom it is sent pays for a state, see ``Form.points``. An event is paid for
    before it is made."""

    def __post_init__(self) -> None:
        self.text = self.payload
        if self.extensions:
            self.text = b"%b,%b}" % (self.payload[:-1], self.extensions)

    def delay(self) -> float:
        """How many seconds ago that is; 0 where there is nothing to compare."""
        return 0.0 if self.changed_at is None else time.time() - self.changed_at

    def keep(self, key: bytes, made: bytes) -> bytes:
        """Keep it in ``written`` if others are sent this too; returns it."""
        if self.shared and len(self.written) < MAX_WRITTEN:
            self.written[key] = made
        return made


class Subscriber(Protocol):
    """The receiving end of one subscription, given by a transport.

    It is called in the event loop, and nothing of it may wait or raise. ``next`` may be called
    while ``Live.subscribe`` has not returned yet.
    """

    def has_room(self) -> bool:
        """Whether its connection can take more now.

        Without room it keeps its moment, is asked again in a while, and is told later what it
        missed, as ``RELOAD`` when that is too much. Cutting off those who never read is the
        transport's business.
        """

    def next(self, delivery: Delivery) -> bool:
        """One event; whether there was room for it. Without room nothing of it is sent."""

    def complete(self) -> None:
        """Nothing more will come, as the protocol says it."""

    def end(self, reason: EndReason) -> None:
        """The server ends the subscription: a socket is closed with 4403."""


class Form:
    """What decides how an answer is made: the same for all subscriptions of one operation.

    Two subscriptions have the same form object if their answers differ by viewer and event alone.
    """

    __slots__ = ("__weakref__", "prepared", "statement_key")

    def __init__(self, prepared: Prepared, statement_key: Hashable) -> None:
        self.prepared, self.statement_key = prepared, statement_key

    def points(self, sharing: int) -> int:
        """What each of so many pays who share one answer of this form; 1 at least."""
        return max(-(-self.prepared.cost // sharing), 1)


_forms: WeakValueDictionary[Hashable, Form] = WeakValueDictionary()


def form_of(prepared: Prepared, root: Plan) -> Form:
    """The form of a subscription with this plan of its root field."""
    statement_key = prepared.switched, prepared.plans.form
    # What a list is filtered by decides who is told, not what.
    varying = tuple(
        None if plan is root and isinstance(plan, ChangesPlan) else plan
        for plan in prepared.plans.varying.values()
    )
    key = statement_key, varying
    form = _forms.get(key)
    if form is None:
        form = _forms[key] = Form(prepared, statement_key)
    return form


class Subscription:
    """One subscription of one viewer, until ``close``."""

    __slots__ = (
        "__weakref__",
        "_on_close",
        "closed",
        "events",
        "fallback_reason",
        "form",
        "key",
        "paused_until",
        "reloads",
        "subscriber",
        "viewer",
        "worst_delay",
    )

    def __init__(
        self,
        form: Form,
        viewer: Viewer,
        subscriber: Subscriber,
        key: str,
        on_close: Callable[[Subscription], None],
    ) -> None:
        self.form, self.viewer, self.subscriber, self.key = form, viewer, subscriber, key
        self._on_close = on_close
        self.closed = False
        self.paused_until = 0.0
        """By the monotonic clock: its purse is empty until then."""
        self.events = 0
        """How many events were sent."""
        self.reloads = 0
        """How many of them were ``RELOAD``."""
        self.fallback_reason: str | None = None
        """Why the loaders made the last event; None if a statement did."""
        self.worst_delay = 0.0
        """Seconds between the writing and the sending of the event that came latest."""

    def close(self) -> None:
        """Free everything at once; the subscriber is not called any more. May be called again."""
        if not self.closed:
            self.closed = True
            self._on_close(self)

    def pause(self) -> None:
        """Leave it alone for a while: its purse is empty."""
        self.paused_until = time.monotonic() + PAUSE

    def is_ready(self) -> bool:
        """Whether it can be told something now."""
        return (
            not self.closed
            and self.subscriber.has_room()
            and (not self.paused_until or self.paused_until <= time.monotonic())
        )


class Feed(Subscription):
    """A subscription of ``stories``."""

    __slots__ = ("digest", "moment", "names", "plan", "question")

    def __init__(
        self,
        plan: ChangesPlan,
        moment: Moment | None,
        form: Form,
        viewer: Viewer,
        subscriber: Subscriber,
        key: str,
        on_close: Callable[[Subscription], None],
    ) -> None:
        super().__init__(form, viewer, subscriber, key, on_close)
        self.plan = plan
        # Kept here, since they are asked of ten thousand for each event.
        self.names = plan.names
        """The members of its filter."""
        self.digest = plan.digest
        """What its cursors begin with."""
        self.question = viewer.sub, plan.filters
        """Feeds with the same are told the same."""
        self.moment = moment
        """Up to where it was told, where that is not the common moment of all."""


class State(Subscription):
    """A subscription of ``viewer`` or ``node``."""

    __slots__ = ("changed_at", "digest", "own_changes", "plan", "read_at")

    def __init__(
        self,
        plan: ViewerPlan | LookupPlan,
        form: Form,
        viewer: Viewer,
        subscriber: Subscriber,
        key: str,
        on_close: Callable[[Subscription], None],
    ) -> None:
        super().__init__(form, viewer, subscriber, key, on_close)
        self.plan = plan
        self.digest = b""
        """Of what was sent last."""
        self.read_at = float("-inf")
        """By the monotonic clock."""
        self.changed_at: float | None = None
        """When the first change was written that woke it and is not told yet."""
        self.own_changes: set[int] = set()
        """The transactions of those that changed rows of the viewer's own."""
