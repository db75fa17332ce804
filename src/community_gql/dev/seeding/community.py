"""The rows of a made-up community, as a pure function of its size and seed.

People are made a thousand at a time and in the order they joined. Whom they know is drawn from
their own thousand and from a bounded pool of those before them, so memory does not grow with the
community. Some friendships follow what people care for, so that matching has something to find.
All chance comes from one ``random.Random``; the same arguments give the same rows, in the same
order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import itemgetter
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

from community_gql.db.models import FriendshipStatus, StoryVisibility
from community_gql.dev.seeding import prose
from community_gql.dev.seeding import vocabulary as words
from community_gql.dev.seeding.founders import FOUNDERS, FRIENDSHIPS, Founder
from community_gql.dev.seeding.names import NAMES, mailbox
from community_gql.dev.seeding.prose import one
from community_gql.dev.seeding.themes import TAGS, THEMES
from community_gql.graph.search import without_accents

Row = tuple[Any, ...]

BATCH = 1000
"""People per batch, whose rows take about ten megabytes."""
POOL = 4096
"""How many of the people before a batch its people can know."""
KINDRED = 0.6
"""The part of the friendships that follow themes."""
ACQUAINTED = 8
"""Among how many others the one with the most common themes becomes the friend, then."""

HOUR = 3_600_000_000
DAY = 24 * HOUR
"""Times are microseconds before the end of the seeded time, like these."""
JOINING_DAYS = 1095
WRITING_DAYS = 730

COLUMNS = {
    "users": ("auth0_sub", "email", "created_at", "public_id", "name_key"),
    "user_profiles": ("user_id", "display_name", "bio", "journaling_frequency", "updated_at"),
    "user_tags": ("user_id", "tag_id", "user_created_at", "user_public_id", "user_name_key"),
    "friendships": ("id", "requester_id", "addressee_id", "status", "created_at", "accepted_at"),
    "habits": ("id", "user_id", "name", "frequency", "meta", "created_at"),
    "gardens": ("id", "user_id", "name", "theme", "created_at"),
    "stories": (
        *("id", "user_id", "title", "content", "visibility", "tags_cached"),
        *("created_at", "updated_at"),
    ),
    "story_tags": ("story_id", "tag_id"),
}
"""The seeded tables but for tags, with the columns of their rows; parents before children."""

VISIBILITIES = (
    *(StoryVisibility.PUBLIC.value,) * 9,
    *(StoryVisibility.FRIENDS.value,) * 6,
    *(StoryVisibility.PRIVATE.value,) * 5,
)
STORY_TAGS = (0, 1, 1, 2, 2, 2, 3, 3, 4)
USER_TAGS = (0, 1, 2, 3, 3, 4, 4, 5, 6, 8)
HABITS = (0, 1, 1, 2, 2, 3, 3, 4, 5)


class Tag(NamedTuple):
    """A common tag as the database has it."""

    id: int
    name: str


class Member(NamedTuple):
    """What the others need to know of a person."""

    sub: str
    joined: int
    themes: frozenset[int]


class Draft(NamedTuple):
    """A story that has no id yet; ``tags`` are places in the sorted tags, ascending."""

    written: int
    edited: int
    sub: str
    title: str
    text: str
    visibility: str
    tags: list[int]


@dataclass(slots=True)
class Batch:
    """The rows of some people, by table; nothing in them points to a later batch."""

    people: int
    rows: dict[str, list[Row]] = field(default_factory=lambda: {table: [] for table in COLUMNS})
    members: list[Member] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)


class Community:
    """Makes the rows, batch after batch.

    ``tags`` are all of ``themes.TAGS`` in the order in which the database sorts their names:
    only it knows its collation, and ``tags_cached`` is sorted by it.
    """

    def __init__(self, people: int, seed: int, tags: Sequence[Tag], until: datetime) -> None:
        self.people = people
        self.tags = tags
        self.until = until
        self.random = Random(seed)
        self.chance = self.random.random
        self.place_of = {tag.name: place for place, tag in enumerate(tags)}
        self.places = [self.place_of[name] for name in TAGS]
        self.pool: list[Member] = []
        self.last_id = {table: 0 for table, columns in COLUMNS.items() if columns[0] == "id"}

    def batches(self) -> Iterator[Batch]:
        """Yield the rows of all people, up to a thousand people at a time; once only."""
        for first in range(0, self.people, BATCH):
            batch = Batch(min(BATCH, self.people - first))
            for number in range(first, first + batch.people):
                if number < len(FOUNDERS):
                    self._found(batch, FOUNDERS[number])
                else:
                    self._join(batch, number)
            if first == 0:
                self._introduce_founders(batch)
            self._publish(batch)
            self._remember(batch.members)
            yield batch

    # --- a person ---------------------------------------------------------------------------

    def _found(self, batch: Batch, founder: Founder) -> None:
        member = Member(founder.auth0_sub, self._waking(JOINING_DAYS), frozenset(founder.themes))
        self._enter(batch, member, founder.email, founder.name)
        self._profile(batch, member, founder.name, founder.bio, founder.journaling_frequency)
        self._tag(batch, member, (self.place_of[name] for name in founder.tags))
        for habit in founder.habits:
            self._habit(batch, member, habit)
        if founder.garden:
            self._garden(batch, member, *founder.garden)
        for story in founder.stories:
            written = self._waking(story.days)
            places = sorted(self.place_of[name] for name in story.tags)
            batch.drafts.append(
                Draft(written, written, member.sub, story.title, story.content.strip(),
                      story.visibility.value, places)
            )  # fmt: skip

    def _join(self, batch: Batch, number: int) -> None:
        chance, random = self.chance, self.random
        given_names, family_names = one(random, NAMES)
        if chance() < 0.15:
            family_names = one(random, NAMES)[1]
        given = one(random, given_names)
        name = f"{given} {one(random, family_names)}"
        themes = [int(chance() * len(THEMES)) for _ in range(3)]
        # The community grows faster and faster: more people joined late than early.
        days = 1 + int((JOINING_DAYS - 1) * (1 - (number / self.people) ** 0.7))
        member = Member(
            f"auth0|{random.getrandbits(96):024x}", self._waking(days), frozenset(themes)
        )

        has_profile, has_name = chance() < 0.9, chance() < 0.97
        shown = name if has_profile and has_name else None
        self._enter(batch, member, f"{mailbox(name)}.{number}@example.com", shown)
        if has_profile:
            bio = None
            if chance() < 0.8:
                who, where = one(random, words.BIOS_WHO), one(random, words.BIOS_WHERE)
                bio = f"{who} {where}. {one(random, one(random, words.BIOS_WHY))}"
            self._profile(batch, member, shown, bio, int(chance() * 8))
        self._tag(batch, member, self._choose_tags(one(random, USER_TAGS), themes))
        for habit in random.sample(words.HABITS, one(random, HABITS)):
            self._habit(batch, member, habit)
        if chance() < 0.7:
            theme = one(random, words.GARDEN_THEMES) if chance() < 0.9 else None
            self._garden(batch, member, one(random, words.GARDEN_NAMES).format(given), theme)
        self._write(batch, member, themes, days)
        self._befriend(batch, member)

    def _enter(self, batch: Batch, member: Member, email: str, shown: str | None) -> None:
        public_id = UUID(int=self.random.getrandbits(128), version=4)
        name_key = without_accents(shown or "").lower()
        row = (member.sub, email, self._at(member.joined), public_id, name_key)
        batch.rows["users"].append(row)
        batch.members.append(member)

    def _profile(
        self, batch: Batch, member: Member, name: str | None, bio: str | None, frequency: int
    ) -> None:
        row = (member.sub, name, bio, frequency, self._since(member.joined))
        batch.rows["user_profiles"].append(row)

    def _tag(self, batch: Batch, member: Member, places: Iterator[int] | Sequence[int]) -> None:
        sub, _, *copies = batch.rows["users"][-1]
        assert sub == member.sub, "people choose their tags as they enter"
        batch.rows["user_tags"].extend((sub, self.tags[place].id, *copies) for place in places)

    def _habit(self, batch: Batch, member: Member, habit: tuple[str, str, str]) -> None:
        row = (self._next_id("habits"), member.sub, *habit, self._since(member.joined))
        batch.rows["habits"].append(row)

    def _garden(self, batch: Batch, member: Member, name: str, theme: str | None) -> None:
        row = (self._next_id("gardens"), member.sub, name, theme, self._since(member.joined))
        batch.rows["gardens"].append(row)

    # --- stories ----------------------------------------------------------------------------

    def _write(self, batch: Batch, member: Member, themes: Sequence[int], days: int) -> None:
        """Draft the person's stories: most people write little, a few write a lot."""
        chance, random = self.chance, self.random
        count = min(int(random.lognormvariate(1.76, 1.1)), 200, 3 * days)
        active = min(days, WRITING_DAYS)
        for _ in range(count):
            among = themes if chance() < 0.75 else range(len(THEMES))
            theme = one(random, among)
            written = self._waking(int(active * chance() ** 1.4))
            edited = int(written * (1 - chance() ** 3)) if chance() < 0.15 else written
            batch.drafts.append(
                Draft(
                    written,
                    edited,
                    member.sub,
                    prose.title(random, theme),
                    prose.text(random, theme),
                    one(random, VISIBILITIES),
                    self._choose_tags(one(random, STORY_TAGS), (theme,)),
                )
            )

    def _choose_tags(self, count: int, themes: Sequence[int]) -> list[int]:
        """Return places of distinct tags, ascending: mostly of the themes, some of any."""
        chance, random, places = self.chance, self.random, self.places
        chosen: set[int] = set()
        while len(chosen) < count:
            if chance() < 0.7:
                chosen.add(places[4 * one(random, themes) + int(chance() * 4)])
            else:
                chosen.add(one(random, places))
        return sorted(chosen)

    def _publish(self, batch: Batch) -> None:
        """Give the drafts ids in the order of writing, so that a person's are scattered."""
        rows, tagged, tags = batch.rows["stories"], batch.rows["story_tags"], self.tags
        batch.drafts.sort(key=itemgetter(0), reverse=True)
        story = self.last_id["stories"]
        for written, edited, sub, title, text, visibility, places in batch.drafts:
            story += 1
            at = self._at(written)
            until = at if edited == written else self._at(edited)
            names = [tags[place].name for place in places]
            rows.append((story, sub, title, text, visibility, names, at, until))
            tagged.extend([(story, tags[place].id) for place in places])
        self.last_id["stories"] = story
        batch.drafts.clear()

    # --- between people ---------------------------------------------------------------------

    def _befriend(self, batch: Batch, member: Member) -> None:
        """Connect a person with some who joined before, once each: every pair is new."""
        chance = self.chance
        before = len(batch.members) - 1
        known = len(self.pool) + before
        if not known:
            return
        number = int(self.random.expovariate(0.22))
        for place in {self._acquaint(batch, member, known) for _ in range(number)}:
            other = self._known(batch, place)
            pair = (member, other) if chance() < 0.6 else (other, member)
            self._friendship(batch, *pair, accepted=chance() < 0.8)

    def _acquaint(self, batch: Batch, member: Member, known: int) -> int:
        """Return the place of someone to befriend: anyone, or the one who cares for the same."""
        chance = self.chance
        if chance() >= KINDRED:
            return int(chance() * known)
        return max(
            (int(chance() * known) for _ in range(ACQUAINTED)),
            key=lambda place: len(member.themes & self._known(batch, place).themes),
        )

    def _introduce_founders(self, batch: Batch) -> None:
        members = {member.sub: member for member in batch.members[: len(FOUNDERS)]}
        for requester, addressee, accepted in FRIENDSHIPS:
            if requester.auth0_sub in members and addressee.auth0_sub in members:
                self._friendship(
                    batch,
                    members[requester.auth0_sub],
                    members[addressee.auth0_sub],
                    accepted=accepted,
                )

    def _friendship(
        self, batch: Batch, requester: Member, addressee: Member, *, accepted: bool
    ) -> None:
        asked = int(min(requester.joined, addressee.joined) * self.chance())
        status = FriendshipStatus.ACCEPTED if accepted else FriendshipStatus.PENDING
        batch.rows["friendships"].append(
            (
                self._next_id("friendships"),
                requester.sub,
                addressee.sub,
                status.value,
                self._at(asked),
                self._since(asked) if accepted else None,
            )
        )

    def _known(self, batch: Batch, place: int) -> Member:
        """Return the person at a place in the pool followed by the batch."""
        before = len(self.pool)
        return self.pool[place] if place < before else batch.members[place - before]

    def _remember(self, members: Sequence[Member]) -> None:
        for member in members:
            if len(self.pool) < POOL:
                self.pool.append(member)
            else:
                self.pool[int(self.chance() * POOL)] = member

    # --- time and ids -----------------------------------------------------------------------

    def _waking(self, days: int) -> int:
        """Return a moment from 06:00 to 23:00 of the day that is ``days`` before the last one."""
        return days * DAY + HOUR + int(self.chance() * 17 * HOUR)

    def _at(self, ago: int) -> datetime:
        return self.until - timedelta(microseconds=ago)

    def _since(self, ago: int) -> datetime:
        return self._at(int(ago * self.chance()))

    def _next_id(self, table: str) -> int:
        self.last_id[table] += 1
        return self.last_id[table]
