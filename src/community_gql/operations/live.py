"""Live updates: the subscriptions of one process, and the tick that serves them all.

While somebody subscribes, the process looks every ``interval`` seconds, and after each commit of
its own, whether something has changed. Then one snapshot tells everyone what it shows and the last
one did not. Nothing waits for a subscriber: who has no room keeps their moment and is told later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Sequence

from sqlalchemy import ARRAY, String, any_, bindparam

from community_gql.db import models as m
from community_gql.db.background import in_background
from community_gql.db.changes import FORGOTTEN, Change, Moment, Now, changes_since, now, still
from community_gql.db.database import Database, Snapshot
from community_gql.db.pool import detached
from community_gql.db.states import AWAY
from community_gql.db.texts import Fixed
from community_gql.errors import BadRequest, Unavailable
from community_gql.graph.plans import ChangesPlan, LookupPlan, ViewerPlan
from community_gql.graph.visibility import Viewer, is_machine, visible
from community_gql.operations.collector import uncollected
from community_gql.operations.feeds import Deliveries, Step
from community_gql.operations.pace import Pace
from community_gql.operations.pipeline import CLOSING_SECONDS, Operations
from community_gql.operations.prepared import Prepared
from community_gql.operations.rendering import Follower, Renderer
from community_gql.operations.rhythm import Rhythm
from community_gql.operations.states import SECONDS, States
from community_gql.operations.subscriptions import (
    Charge,
    Delivery,
    EndReason,
    Feed,
    State,
    Subscriber,
    Subscription,
    form_of,
)
from community_gql.schema.subscription import moment_of
from community_gql.telemetry.metrics import DeliveryCounts

__all__ = ["EndReason", "Live", "Subscriber", "Subscription"]

GAP = 0.02
"""Seconds between two looks at least, however often something is committed here."""
AWAY_SECONDS = 1.0
"""How long a database that is away is left alone."""
PLACE_EVERY = 5.0
"""How often it is looked whether this is still the same database."""
MOMENTS = 50
"""For so many different moments one tick looks; the others come next."""
TOGETHER = 100
"""So many events are sent before others have their turn: the system takes longer than we do."""
ASIDE = 0.5
"""Seconds between two looks whether those have room who had none: each look asks all of them."""

_THERE = Fixed(
    visible(m.User, m.User.auth0_sub).where(
        m.User.auth0_sub == any_(bindparam("subs", type_=ARRAY(String)))
    )
)
_log = logging.getLogger("community_gql.live")


class Live:
    """The subscriptions of one process.

    ``charge`` pays for each event: the operation's cost, or a share of it for what is made for all.
    A filter pays for each story that it is asked about, too. ``charge_reading`` pays for reading a
    state, whether or not there is an event then. That is another budget, which nobody is shown: a
    state is also read when its viewer may not know what was changed.
    A state is read again every ``state_seconds`` at most; another number is for tests.
    """

    def __init__(
        self,
        operations: Operations,
        database: Database,
        *,
        interval: float = 0.1,
        charge: Charge | None = None,
        charge_reading: Charge | None = None,
        state_seconds: float = SECONDS,
    ) -> None:
        self._operations, self._database = operations, database
        self._charge, self._charge_reading = charge, charge_reading
        self._level: set[Feed] = set()
        """Those that were told up to the common moment."""
        self._behind: set[Feed] = set()
        """Those with a moment of their own: they are new, or had no room."""
        self._aside: set[Feed] = set()
        """Those with a moment of their own who had no room when it was last looked."""
        self._aside_at = 0.0
        """When that was."""
        self._states = States(state_seconds)
        self._by_person: dict[str, set[Subscription]] = defaultdict(set)
        self._common: Moment | None = None
        """Up to where everyone was told who has no moment of their own."""
        self._looked_at = 0.0
        """When the common moment was last found to be of this database; 0: that is not sure."""
        self._nudge = asyncio.Event()
        self._rhythm = Rhythm(interval)
        self.pause = 0.0
        """Seconds between the last look and the next one, if nothing happens."""
        self._pace = Pace()
        self._tried = 0
        """How many events were sent, or could not be, since others had their turn."""
        self.deliveries = DeliveryCounts()
        """What was sent, for the metrics."""

    async def subscribe(
        self,
        prepared: Prepared,
        viewer: Viewer,
        subscriber: Subscriber,
        *,
        key: str,
        after: str | None = None,
    ) -> Subscription:
        """Begin a subscription, whose first event may come before this returns.

        ``prepared`` is of kind SUBSCRIPTION. ``key`` is the caller's key for the budget and the
        share of the pool. ``after`` is a Last-Event-ID, used where the operation itself has no
        ``after``. Raises PublicError before the first event.
        """
        plan = prepared.root_plan

        async def afford(points: int) -> bool:
            return self._charge is None or not self._charged([key], points)

        await self._operations.follow(prepared, afford)
        subscription: Subscription
        if isinstance(plan, ChangesPlan):
            moment = plan.after or (moment_of(after) if after else FORGOTTEN)
            form = form_of(prepared, plan)
            feed = Feed(plan, moment, form, viewer, subscriber, key, self._forget)
            self._behind.add(feed)
            subscription = feed
        elif isinstance(plan, ViewerPlan | LookupPlan):
            form = form_of(prepared, plan)
            state = State(plan, form, viewer, subscriber, key, self._forget)
            self._states.add(state)
            subscription = state
        else:
            raise BadRequest("This is not an operation that can be followed.")
        if viewer.sub is not None:
            self._by_person[viewer.sub].add(subscription)
        self._rhythm.stirs()
        self._nudge.set()
        return subscription

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve the subscriptions until the end of the block."""
        self._database.after_commit = self._database.hints.heard = self._committed
        async with in_background(self._run()):
            yield

    def __len__(self) -> int:
        """How many subscriptions there are."""
        return len(self._level) + self.behind + len(self._states)

    @property
    def behind(self) -> int:
        """How many have a moment of their own: they are new, had no room, or spent their budget."""
        return len(self._behind) + len(self._aside)

    def _forget(self, subscription: Subscription) -> None:
        if isinstance(subscription, Feed):
            for feeds in (self._level, self._behind, self._aside):
                feeds.discard(subscription)
        elif isinstance(subscription, State):
            self._states.remove(subscription)
        person = subscription.viewer.sub
        if person is not None and (found := self._by_person.get(person)) is not None:
            found.discard(subscription)
            if not found:
                del self._by_person[person]

    def _committed(self) -> None:
        if self:
            self._rhythm.stirs()
            self._nudge.set()

    async def _run(self) -> None:
        while True:
            if not self:
                self._common = None
                await self._nudge.wait()
            self._nudge.clear()
            least = GAP
            try:
                with uncollected():
                    await self._tick()
                self.pause = self._rhythm.pause(may_rest=self._may_rest())
            except Exception as error:
                least = self.pause = AWAY_SECONDS
                self._looked_at = 0.0
                if not isinstance(error, Unavailable):
                    _log.error("A tick of live updates failed.", exc_info=error)
            await self._wait(least, self.pause)

    async def _wait(self, least: float, most: float) -> None:
        """Wait until a nudge, at least and at most so many seconds; mostly on one timer."""
        loop = asyncio.get_running_loop()
        until = loop.time() + least
        if most > least:
            timer = loop.call_later(most, self._nudge.set)
            try:
                await self._nudge.wait()
            finally:
                timer.cancel()
        if (left := until - loop.time()) > 0:
            await asyncio.sleep(left)

    def _may_rest(self) -> bool:
        """Whether looks can be rare: nobody waits for one, and it is heard when they are needed."""
        hints = self._database.hints
        hints.listen()
        return hints.listens and not self.behind and not self._states.awake

    async def _tick(self) -> None:
        await self._set_aside()
        waiting = bool(self._behind) or bool(self._states.due())
        if self._common is not None and not waiting and await self._is_still():
            return
        deliveries: list[tuple[Moment, Deliveries, dict[Feed, Moment]]] = []
        # Whoever subscribes from now on may have a moment that is newer than the snapshot.
        behind = self._catching_up()
        snapshot = self._database.snapshot()
        try:
            found = await now(snapshot)
            if found.is_standby:
                self._database.pool.renew()  # there may be a primary by now
                raise Unavailable(AWAY)
            self._pace.begins()
            renderer = Renderer(self._operations, self._database, snapshot, self._pace)
            common = await self._since(snapshot, found, self._common)
            if common != []:
                self._rhythm.has_changed()
            gone = await self._wake(snapshot, common)
            cohorts = []
            for base, feeds in behind:
                cohorts.append((base, feeds, await self._since(snapshot, found, base)))
            if self._common is not None and common != []:
                # Who has no room or no points any more is found out when it is sent.
                cohorts.append((self._common, list(self._level), common))
            charge = self._charge and self._charged
            for base, feeds, changes in cohorts:
                step = Step(snapshot, renderer, self._pace, base, found.moment, feeds, charge)
                sent = await step.deliveries(changes)
                deliveries.append((base, sent, step.stopped))
            due = self._states.due()
            answers = await self._states.read(renderer, due, self._charge_reading)
        finally:
            # A server that hangs does not even end a transaction: that goes on behind.
            await asyncio.wait({detached(snapshot.close())}, timeout=CLOSING_SECONDS)
        for _, feeds in behind:
            async for some in self._pace.pieces(feeds):
                for feed in some:
                    self._place(feed, None)
        self._common, self._looked_at = found.moment, time.monotonic()
        for subscription in gone:
            subscription.close()
            subscription.subscriber.end(EndReason.ACCOUNT_GONE)
        self._pace.begins()
        for base, sent, stopped in deliveries:
            await self._send_events(base, sent, stopped)
        for state, delivery in answers.items():
            await self._send_state(state, delivery)

    def _place(self, feed: Feed, moment: Moment | None) -> None:
        """Give a feed a moment of its own, or with None the common one."""
        if feed.closed:
            return
        feed.moment = moment
        self._aside.discard(feed)
        (self._behind.add if moment else self._behind.discard)(feed)
        (self._level.discard if moment else self._level.add)(feed)

    async def _set_aside(self) -> None:
        """Leave only those behind who can be told now. The others are asked again in a while."""
        if self._aside and time.monotonic() - self._aside_at >= ASIDE:
            self._behind |= self._aside
            self._aside.clear()
            self._aside_at = time.monotonic()
        self._pace.begins()
        async for some in self._pace.pieces(list(self._behind)):
            for feed in some:
                if feed in self._behind and not feed.is_ready():
                    self._behind.discard(feed)
                    self._aside.add(feed)

    async def _is_still(self) -> bool:
        """Whether nothing has changed; then the common moment is that of now."""
        common = self._common
        if common is None or not self._looked_at:
            return False
        same_place = time.monotonic() - self._looked_at > PLACE_EVERY
        found = await still(self._database, common, same_place=same_place)
        if found is None:
            return False
        self._common = Moment(common.place, found.seen)
        if same_place:
            self._looked_at = time.monotonic()
        return True

    def _catching_up(self) -> list[tuple[Moment, list[Feed]]]:
        """The feeds that can be told now of what they missed, by their moments."""
        found: dict[Moment, list[Feed]] = {}
        for feed in self._behind:
            if feed.moment is None or not feed.is_ready():
                continue
            if feed.moment not in found and len(found) >= MOMENTS:
                self._nudge.set()  # the others come at once
                continue
            found.setdefault(feed.moment, []).append(feed)
        return list(found.items())

    async def _since(
        self, snapshot: Snapshot, found: Now, moment: Moment | None
    ) -> list[Change] | None:
        """What has changed since the moment; None where that is not known, or too much."""
        if moment is None:
            return []
        if not found.remembers(moment):
            return None
        return await changes_since(snapshot, moment.seen)

    async def _wake(self, snapshot: Snapshot, changes: list[Change] | None) -> list[Subscription]:
        """Wake states, and return the subscriptions of people whose accounts are gone."""
        if changes is None:
            self._states.wake_all()
            return []
        await self._states.wake(snapshot, changes)
        people = {
            person
            for change in changes
            if change.entity == "users"
            for person in change.people
            if person in self._by_person and not is_machine(person)
        }
        if not people:
            return []
        there = {row[0] for row in await snapshot.run(_THERE, {"subs": sorted(people)})}
        return [found for person in people - there for found in self._by_person.get(person, ())]

    async def _send_events(
        self, base: Moment, deliveries: Deliveries, stopped: dict[Feed, Moment]
    ) -> None:
        """Send to each what is for them. Who cannot take all of it keeps their moment.

        Those who are ``stopped`` are told up to the moment there, if they can take that.
        """
        for feed, moment in stopped.items():
            self._place(feed, moment)
        reached: dict[Feed, Moment] = {}
        left: set[Feed] = set()
        for place, (delivery, feeds) in enumerate(deliveries, 1):
            moment, start = delivery.moment or base, 0
            kind = "reload" if delivery.is_reload else "change"
            try:
                while some := feeds[start : start + TOGETHER - self._tried]:
                    start += len(some)
                    self._tried += len(some)
                    if left:
                        some = [feed for feed in some if feed not in left]
                    if failed := self._send_to(some, delivery, kind):
                        left.update(failed)
                        for feed in failed:
                            self._place(feed, reached.get(feed, base))
                    if self._tried == TOGETHER:
                        self._tried = 0
                        await self._pace.give_way()
            except Exception as error:
                _log.error("Sending live updates failed.", exc_info=error)
                self._tried = 0
                reached.update(dict.fromkeys(feeds[:start], moment))
                for _, others in deliveries:
                    for feed in others:
                        if feed not in left:
                            self._place(feed, reached.get(feed, base))
                return
            if place < len(deliveries):
                reached.update(dict.fromkeys(feeds, moment))

    def _send_to(
        self, followers: Sequence[Follower], delivery: Delivery, kind: str
    ) -> list[Follower]:
        """Send it to a few; those to whom it could not be sent, for they have no room."""
        if not followers:
            return []
        delay, reason, is_reload = delivery.delay(), delivery.fallback_reason, delivery.is_reload
        failed: list[Follower] = []
        for one in followers:
            try:
                if one.closed or not one.subscriber.next(delivery):
                    failed.append(one)
                    continue
                # Here and not in a method: there are ten thousand of them.
                one.events += 1
                one.fallback_reason = reason
                if is_reload:
                    one.reloads += 1
                if delay > one.worst_delay:
                    one.worst_delay = delay
            except Exception as error:
                _log.error("A subscriber failed.", exc_info=error)
                one.close()
        if len(failed) < len(followers):
            self.deliveries.count(kind, len(followers) - len(failed), delay)
        return failed

    def _charged(self, keys: Sequence[str], points: int) -> Collection[int]:
        """Take points from the budget of each key; the places of those that did not hold them."""
        assert self._charge is not None
        try:
            return self._charge(keys, points)
        except Exception as error:
            _log.error("Nobody could be charged for live updates.", exc_info=error)
            return range(len(keys))

    async def _send_state(self, state: State, delivery: Delivery) -> None:
        if state.closed:
            return
        if self._states.is_new(state, delivery):
            if self._charge is not None and self._charged([state.key], delivery.points):
                state.pause()
                return  # it stays awake
            if self._send_to([state], delivery, "state"):
                return
        self._states.settle(state, delivery)
        await self._pace.rest()
