"""What becomes of a list, for all who follow it from one moment."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from community_gql.db.changes import Change, Moment
from community_gql.db.database import Snapshot
from community_gql.graph.followers import (
    Changed,
    Places,
    Stage,
    Told,
    audiences,
    net,
    stages,
    told,
)
from community_gql.graph.for_many import EACH, written
from community_gql.operations.pace import Pace
from community_gql.operations.rendering import Rendered, Renderer, Request
from community_gql.operations.subscriptions import Charge, Delivery, Feed, Form
from community_gql.schema.subscription import StoryChangeKind, StoryEvent

MOST_EVENTS = 100
"""So many events one subscription is sent at once; instead of more it is told to reload."""
MOST_STORIES = 1000
"""Of so many stories it is asked whom to tell of them; of more everyone reloads."""
ASKED_POINTS = 2
"""What a subscription with a filter pays for each story that may be for it: PostgreSQL takes 0.02
ms to find out (a request pays 100 for 1 ms), and mostly there is no event to be paid for."""
TOGETHER = 100
"""So many budgets are charged at once."""
SLICE = 2000
"""For so many followers one statement asks."""

Deliveries = list[tuple[Delivery, list[Feed]]]
"""What is sent to whom, in this order."""
_What = tuple[int, StoryChangeKind]
"""The key of a story, and what became of it."""


@dataclass(slots=True)
class Step:
    """From one moment to the next, for the feeds that are at the first.

    ``charge`` pays for filters before they are asked, and for events before they are made. Nobody
    pays for a story that they could not see: by their budget they would learn that it was changed.
    """

    snapshot: Snapshot
    renderer: Renderer
    pace: Pace
    base: Moment
    now: Moment
    feeds: Sequence[Feed]
    charge: Charge | None = None
    stopped: dict[Feed, Moment] = field(default_factory=dict)
    """Those who could not pay, and up to where they are told."""
    _told: dict[_What, list[Feed]] = field(default_factory=lambda: defaultdict(list))
    _reloading: set[Feed] = field(default_factory=set)

    async def deliveries(self, changes: Sequence[Change] | None) -> Deliveries:
        """What each feed is sent; nothing for most. None stands for too many changes."""
        stories: list[Changed] = []
        if changes is None:
            self._reloading.update(self.feeds)
        else:
            new = [change for change in changes if self._is_new(change)]
            stories = net(new)
            self._find_reloading(new, stories)
        following = self.feeds
        if self._reloading:
            following = [feed for feed in following if feed not in self._reloading]
        if stories and following:
            await self._ask(stories, following)
        if len(stories) > MOST_EVENTS:
            counts = Counter(feed for feeds in self._told.values() for feed in feeds)
            self._reloading.update(feed for feed, n in counts.items() if n > MOST_EVENTS)
        return await self._rendered({story.key: story for story in stories})

    def _is_new(self, change: Change) -> bool:
        if change.entity == "stories" and change.key != "*":
            return not self.base.knows(int(change.key), change.xid)
        return not self.base.seen.shows(change.xid)

    def _find_reloading(self, changes: Iterable[Change], stories: list[Changed]) -> None:
        """Who won or lost a friend, and everyone when everything may have changed."""
        people: set[str] = set()
        everyone = len(stories) > MOST_STORIES
        for change in changes:
            if change.entity in ("stories", "friendships") and change.key == "*":
                everyone = True
            if change.friends_changed:
                people.update(change.people)
        if everyone or people:
            self._reloading.update(
                feed for feed in self.feeds if everyone or feed.viewer.sub in people
            )

    async def _ask(self, stories: list[Changed], feeds: Sequence[Feed]) -> None:
        """Find out who is told of which stories."""
        for_all: list[Changed] = []
        for_some: list[Changed] = []
        some: Counter[str] = Counter()
        by_key = {story.key: story for story in stories}
        for key, everyone, people in await self.snapshot.run(
            audiences(), Places.of(stories)._asdict()
        ):
            (for_all if everyone else for_some).append(by_key[key])
            some.update(() if everyone else set(people))
        if len(for_all) > MOST_EVENTS:
            # Without a filter all of them are in the list, or were.
            self._reloading.update(feed for feed in feeds if not feed.plan.filters)
            feeds = [feed for feed in feeds if feed.plan.filters]
        await self._ask_about(for_all, feeds)
        if for_some:
            concerned = [feed for feed in feeds if feed.viewer.sub in some]
            await self._ask_about(for_some, concerned, some)
        await self._ask_about_between(stories, feeds)

    async def _ask_about_between(self, stories: list[Changed], feeds: Sequence[Feed]) -> None:
        """Find out who could see, for a moment in between, a story that they cannot see now.

        Whoever was told to reload may have read the list just then. They are told that it is gone.
        A story may have been in hundreds of states since the last look. Only different ones are
        asked about, of those who could see them; without a filter, those of one audience are one.
        """
        between = {passing.first.id: passing for one in stories for passing in one.in_between()}
        if not between:
            return
        kept, self._told = self._told, defaultdict(list)
        for_all: list[list[Changed]] = []
        for_some: list[list[Changed]] = []
        some: Counter[str] = Counter()
        values = Places.of(list(between.values()))._asdict()
        for row in await self.snapshot.run(stages(), values):
            stage = Stage(*row)
            alike = [between[id_] for id_ in stage.changes]
            (for_all if stage.everyone else for_some).append(alike)
            for person in stage.people:
                some[person] += len(alike)
        concerned = [feed for feed in feeds if feed.viewer.sub in some] if for_some else []
        for found, asked, seen in ((for_all, feeds, None), (for_some, concerned, some)):
            unfiltered = [feed for feed in asked if not feed.names]
            await self._ask_about([alike[0] for alike in found], unfiltered)
            filtering = [feed for feed in asked if feed.names]
            await self._ask_about([one for alike in found for one in alike], filtering, seen)
        for (key, kind), gone in self._told.items():
            if kind is StoryChangeKind.GONE:
                told = kept[key, kind]
                told += set(gone).difference(told)
        self._told = kept

    async def _ask_about(
        self,
        stories: list[Changed],
        feeds: Sequence[Feed],
        seen: Mapping[str, int] | None = None,
    ) -> None:
        """Note who is told of which. ``seen`` is how many of them each person could see at all."""
        if not stories:
            return
        feeds = await self._that_pay(feeds, len(stories), seen)
        if not feeds:
            return
        values = Places.of(stories)._asdict()
        groups: dict[tuple[str, ...], dict[Hashable, list[Feed]]] = defaultdict(dict)
        async for some in self.pace.pieces(feeds):
            for feed in some:
                group, question = groups[feed.names], feed.question
                if (alike := group.get(question)) is None:
                    group[question] = [feed]
                else:
                    alike.append(feed)
        for names, group in groups.items():
            asked = list(group.values())
            text, parts = told(asked[0][0].plan.edge, names)
            given = [values[place] for place in parts.places]
            async for part in self.pace.pieces(asked, SLICE):
                columns = [_column(name, part) for name in parts.names]
                rows = await self.snapshot.value(text, [*given, *columns])
                self.pace.begins()
                for row in rows:
                    self._note(Told(*row), part)

    async def _that_pay(
        self, feeds: Sequence[Feed], number: int, seen: Mapping[str, int] | None
    ) -> Sequence[Feed]:
        """Charge those whose filters are to be asked; those who are left, with all others."""
        feeds = self._going(feeds)
        charge = self.charge
        filtering = [feed for feed in feeds if feed.names]  # mostly none of thousands
        if charge is None or not filtering:
            return feeds
        by_number: dict[int, list[Feed]] = defaultdict(list)
        for feed in filtering:
            by_number[number if seen is None else seen[feed.viewer.sub or ""]].append(feed)
        unpaid: set[Feed] = set()
        for each, paying in by_number.items():
            async for some in self.pace.pieces(paying):
                for place in charge([feed.key for feed in some], ASKED_POINTS * each):
                    some[place].pause()
                    unpaid.add(some[place])
        self.stopped |= dict.fromkeys(unpaid, self.base)
        return self._going(feeds) if unpaid else feeds

    def _going(self, feeds: Sequence[Feed]) -> Sequence[Feed]:
        """Those who have paid for everything so far."""
        stopped = self.stopped
        return [feed for feed in feeds if feed not in stopped] if stopped else feeds

    async def _paid(
        self, asked: dict[Request, list[Feed]], moments: Mapping[int, Moment]
    ) -> dict[Request, list[Feed]]:
        """What is asked of those who pay for it, in the same order.

        Whoever cannot pay for an event is sent the earlier ones.
        """
        charge = self.charge
        if charge is None:
            return asked
        paid: dict[Request, list[Feed]] = {}
        before, last = self.base, None
        for request, feeds in asked.items():
            assert request.event is not None
            key = request.event.key or request.event.gone
            if key != last:
                before, last = moments[last] if last else self.base, key
            going = self._going(feeds)
            points = request.form.points(len(feeds) if self.renderer.is_shared(request) else 1)
            unpaid: list[Feed] = []
            async for some in self.pace.pieces(going, TOGETHER):
                unpaid += [some[n] for n in charge([feed.key for feed in some], points)]
            for feed in unpaid:
                feed.pause()
                self.stopped[feed] = before
            if going := self._going(going) if unpaid else going:
                paid[request] = list(going)
        return paid

    def _note(self, found: Told, asked: Sequence[list[Feed]]) -> None:
        kinds = (
            (StoryChangeKind.APPEARED, found.appeared),
            (StoryChangeKind.CHANGED, found.changed),
            (StoryChangeKind.GONE, found.gone),
        )
        for kind, places in kinds:
            if places:
                told = self._told[found.key, kind]
                told += chain.from_iterable([asked[place - 1] for place in places])

    async def _rendered(self, stories: dict[int, Changed]) -> Deliveries:
        moments = {key: self.base.upto(key, self.now) for key in stories}
        if stories:
            moments[max(stories)] = self.now
        events = _Events(moments, self.now)
        asked: dict[Request, list[Feed]] = {}
        left_out = self._reloading.union(self.stopped)
        self._reloading.difference_update(self.stopped)
        for form, alike in (await self._by_form(self._reloading)).items():
            asked |= await self.renderer.requests(form, events.reload, alike)
        for (key, kind), feeds in sorted(self._told.items()):
            if left_out:
                feeds = [feed for feed in feeds if feed not in left_out]
            for form, alike in (await self._by_form(feeds)).items():
                for digest, same in _by_digest(kind, alike).items():
                    event = events.of(kind, key, digest)
                    asked |= await self.renderer.requests(form, event, same)
        asked = await self._paid(asked, moments)
        answers = await self.renderer.render(list(asked))
        deliveries: Deliveries = []
        async for some in self.pace.pieces(list(zip(asked.items(), answers, strict=True))):
            for (request, feeds), answer in some:
                delivery = self._delivery(request.event, answer, moments, stories)
                deliveries.append((delivery, feeds))
        return deliveries

    async def _by_form(self, feeds: Collection[Feed]) -> dict[Form, list[Feed]]:
        found: dict[Form, list[Feed]] = defaultdict(list)
        async for some in self.pace.pieces(list(feeds), SLICE):
            for feed in some:
                found[feed.form].append(feed)
        return found

    def _delivery(
        self,
        event: StoryEvent | None,
        answer: Rendered,
        moments: dict[int, Moment],
        stories: dict[int, Changed],
    ) -> Delivery:
        assert event is not None
        key = event.key or event.gone
        return Delivery(
            answer.payload,
            self.now if key is None else moments[key],
            event.moment,
            answer.shared,
            key is None,
            None if key is None else stories[key].last.at.timestamp(),
            answer.fallback_reason,
            self.renderer.extensions(answer),
        )


def _by_digest(kind: StoryChangeKind, feeds: list[Feed]) -> dict[str, list[Feed]]:
    """By what their cursors begin with, which stands in the edge of what appeared."""
    if kind is not StoryChangeKind.APPEARED:
        return {"": feeds}
    found: dict[str, list[Feed]] = defaultdict(list)
    for feed in feeds:
        found[feed.digest].append(feed)
    return found


class _Events:
    """The events of a step, each once."""

    def __init__(self, moments: dict[int, Moment], now: Moment) -> None:
        self._texts = {key: str(moment) for key, moment in moments.items()}
        self.reload = StoryEvent(StoryChangeKind.RELOAD, str(now))
        self._made: dict[tuple[StoryChangeKind, int, str], StoryEvent] = {}

    def of(self, kind: StoryChangeKind, key: int, digest: str) -> StoryEvent:
        """What is told of a story to those whose cursors begin with ``digest``."""
        event = self._made.get((kind, key, digest))
        if event is None:
            is_gone = kind is StoryChangeKind.GONE
            event = StoryEvent(
                kind,
                self._texts[key],
                digest,
                key=None if is_gone else key,
                gone=key if is_gone else None,
            )
            self._made[kind, key, digest] = event
        return event


def _column(name: str, asked: Sequence[list[Feed]]) -> list[str | None]:
    """The values of a column of the statement, one for each question."""
    if name == "viewer":
        return [feeds[0].question[0] for feeds in asked]
    member = name.removeprefix(EACH)
    return [written(dict(feeds[0].plan.filters)[member]) for feeds in asked]
