"""Who is told what, and nobody else one byte."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from functools import partial
from typing import Any

import asyncpg
import orjson
import pytest

from community_gql.db import changes
from community_gql.db.changes import Now
from community_gql.db.snapshot import Snapshot
from community_gql.errors import BadRequest, PublicError
from community_gql.graph.followers import KEPT, TEXT, columns_of
from community_gql.graph.visibility import ANONYMOUS, Viewer
from community_gql.operations import feeds, live
from community_gql.operations.documents import Refused
from community_gql.operations.live import EndReason
from community_gql.operations.prepared import Params
from community_gql.operations.rendering import Rendered, Renderer, Request
from community_gql.operations.subscriptions import PAUSE, Delivery, Feed
from community_gql.schema.subscription import StoryChangesField, _stories
from tests.support import factories as make
from tests.support.factories import Person, day
from tests.support.live import STORIES, Follower, Process, process, told
from tests.support.waiting import until


class Purse:
    """A budget of each key, which holds ``most`` points."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self.most = 10**6

    def __call__(self, keys: Sequence[str], points: int) -> Collection[int]:
        poor = []
        for place, key in enumerate(keys):
            if self.spent[key] + points > self.most:
                poor.append(place)
            else:
                self.spent[key] += points
        return poor


@pytest.fixture
async def here(database_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Process]:
    async with process(database_url, pushdown=getattr(request, "param", "always")) as made:
        yield made


both_ways = pytest.mark.parametrize("here", ["always", "off"], indirect=True)


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Process]:
    """Another process over the same database."""
    async with process(database_url) as made:
        yield made


async def settle(db: asyncpg.Connection, ada: Person, *followers: Follower) -> str:
    """Wait until all have been told of everything so far, by one story that all are told of.

    Returns its id. Whoever is about to be told to reload must be waited for before.
    """
    mark = await make.story(db, ada, "the end", visibility="public")

    def is_told(follower: Follower) -> bool:
        return bool(follower.events) and is_of(follower.events[-1], mark.id)

    for follower in followers:
        await follower.until(partial(is_told, follower))
        follower.events.pop()
        follower.raw.pop()
    return mark.id


def is_of(event: Any, id_: str) -> bool:
    change = event["stories"]
    return id_ == change["goneId"] or (bool(change["story"]) and change["story"]["id"] == id_)


def kinds(follower: Follower) -> dict[str, str]:
    """What became of which story, by id; each was told once."""
    found = {}
    for event in follower.events:
        change = event["stories"]
        id_ = change["goneId"] or change["story"]["id"]
        assert id_ not in found
        found[id_] = change["kind"]
    return found


# --- Stories ---


@both_ways
async def test_a_story_appears_changes_and_goes(here: Process, db: asyncpg.Connection) -> None:
    ada = await make.person(db)
    follower = await here.follow()
    await follower.count(1)
    story = await make.story(db, ada, "Moss")
    await follower.count(2)
    await db.execute("UPDATE stories SET title = 'Fern' WHERE id = $1", story.key)
    await follower.count(3)
    await db.execute("DELETE FROM stories WHERE id = $1", story.key)
    await follower.count(4)
    assert told(follower) == [
        ("RELOAD", None), ("APPEARED", "Moss"), ("CHANGED", "Fern"), ("GONE", None)
    ]  # fmt: skip
    assert follower.events[3]["stories"]["goneId"] == story.id
    assert [event["stories"]["moment"] for event in follower.events] == follower.moments
    assert follower.errors == []


@both_ways
async def test_each_change_is_told_to_those_it_is_for(
    here: Process, db: asyncpg.Connection
) -> None:
    """The truth table of visibility, crossed with everything that can be done to a story."""
    ada, friend, asked, stranger = await make.people(db, 4)
    await make.friendship(db, friend, ada)
    await make.friendship(db, ada, asked, accepted=False)
    people = {"ada": ada, "friend": friend, "asked": asked, "stranger": stranger, "nobody": None}
    seen_by = {
        "public": set(people),
        "friends": {"ada", "friend"},
        "private": {"ada"},
        "": set[str](),
    }
    cases = []
    for before in ("public", "friends", "private"):
        for after in ("public", "friends", "private", "", "edited", "tagged"):
            cases.append((before, after, await make.story(db, ada, visibility=before)))
    tag = await make.tag(db, "moss")
    followers = {name: await here.begin(who) for name, who in people.items()}

    for _, after, story in cases:
        if after == "":
            await db.execute("DELETE FROM stories WHERE id = $1", story.key)
        elif after == "edited":
            await db.execute("UPDATE stories SET content = 'x' WHERE id = $1", story.key)
        elif after == "tagged":
            await db.execute("INSERT INTO story_tags VALUES ($1, $2)", story.key, tag.key)
        else:
            set_ = "UPDATE stories SET title = title || '!', visibility = $2 WHERE id = $1"
            await db.execute(set_, story.key, after)
    for visibility in ("public", "friends", "private"):
        cases.append(("", visibility, await make.story(db, ada, visibility=visibility)))
    await settle(db, ada, *followers.values())

    for name, follower in followers.items():
        expected = {}
        for before, after, story in cases:
            was = name in seen_by[before]
            now = name in seen_by[before if after in ("edited", "tagged") else after]
            if was or now:
                kind = "CHANGED" if was and now else "APPEARED" if now else "GONE"
                expected[story.id] = kind
        assert kinds(follower) == expected, name
        assert follower.errors == []


async def test_what_happens_at_once_is_told_once(here: Process, db: asyncpg.Connection) -> None:
    ada = await make.person(db)
    tag = await make.tag(db, "moss")
    follower = await here.begin()
    async with db.transaction():
        kept = await make.story(db, ada, "kept", visibility="private", tags=[tag])
        await db.execute("UPDATE stories SET visibility = 'public' WHERE id = $1", kept.key)
        brief = await make.story(db, ada, "brief")
        await db.execute("DELETE FROM stories WHERE id = $1", brief.key)
    await settle(db, ada, follower)
    assert kinds(follower) == {kept.id: "APPEARED"}


@pytest.mark.parametrize("accepted", [False, True])
async def test_a_friendship_that_comes_or_goes_reloads_two_lists(
    here: Process, db: asyncpg.Connection, accepted: bool
) -> None:
    ada, ben, cleo = await make.people(db, 3)
    await make.friendship(db, ada, ben, accepted=accepted)
    followers = [await here.begin(who) for who in (ada, ben, cleo, None)]
    if accepted:
        await db.execute("DELETE FROM friendships")
    else:
        await db.execute("UPDATE friendships SET status = 'accepted', accepted_at = now()")
    await asyncio.gather(*(f.count(1) for f in followers[:2]))
    await settle(db, cleo, *followers)
    assert [told(f) for f in followers] == [[("RELOAD", None)], [("RELOAD", None)], [], []]


async def test_a_request_that_is_made_or_declined_reloads_nothing(
    here: Process, db: asyncpg.Connection
) -> None:
    ada, ben = await make.people(db, 2)
    followers = [await here.begin(who) for who in (ada, ben)]
    await make.friendship(db, ada, ben, accepted=False)
    await settle(db, ada, *followers)
    await db.execute("DELETE FROM friendships")
    await settle(db, ada, *followers)
    assert [f.raw for f in followers] == [[], []]


async def test_a_deleted_account_takes_its_stories_and_its_subscriptions_along(
    here: Process, db: asyncpg.Connection
) -> None:
    ada, ben, cleo = await make.people(db, 3)
    await make.friendship(db, ada, ben)
    public = await make.story(db, ada)
    await make.story(db, ada, visibility="friends")
    await make.story(db, ada, visibility="private")
    followers = [await here.begin(who) for who in (ben, cleo, None)]
    hers = [await here.begin(ada), await here.begin(ada, "subscription { viewer { email } }")]
    await db.execute("DELETE FROM users WHERE auth0_sub = $1", ada.sub)
    await followers[0].count(1)
    await settle(db, cleo, *followers)
    assert told(followers[0]) == [("RELOAD", None)]
    assert [kinds(f) for f in followers[1:]] == [{public.id: "GONE"}] * 2
    assert [f.ended for f in hers] == [EndReason.ACCOUNT_GONE] * 2
    assert [f.raw for f in hers] == [[], []]
    assert len(here.live) == 3


@both_ways
async def test_filters_hold_for_what_was_and_for_what_is(
    here: Process, db: asyncpg.Connection
) -> None:
    ada = await make.person(db)
    moss, fern = await make.tag(db, "moss"), await make.tag(db, "fern")
    old = await make.story(db, ada, tags=[moss], created_at=day(1))
    plain = await make.story(db, ada, created_at=day(9))
    filters: dict[str, dict[str, Any]] = {
        "moss": {"tagsAny": ["moss", "nothing"]},
        "lichen": {"tagsAny": ['li"chen', "{,}"]},
        "both": {"tagsAll": ["moss", "fern"]},
        "late": {"createdAfter": day(5).isoformat()},
        "early": {"createdBefore": day(5).isoformat(), "tagsAny": ["moss"]},
        "words": {"search": "snow -rain"},
    }
    followers = {name: await here.begin(filter=given) for name, given in filters.items()}
    everyone = await here.begin()

    async def after(statement: str, *values: Any) -> dict[str, dict[str, str]]:
        await db.execute(statement, *values)
        end = await settle(db, ada, everyone)  # all are told in the same tick
        found = {name: kinds(f) for name, f in followers.items()}
        for given in found.values():
            given.pop(end, None)
        for follower in (*followers.values(), everyone):
            follower.events.clear()
        return {name: given for name, given in found.items() if given}

    tag_it = "INSERT INTO story_tags VALUES ($1, $2)"
    assert await after(tag_it, plain.key, moss.key) == {
        "moss": {plain.id: "APPEARED"}, "late": {plain.id: "CHANGED"}
    }  # fmt: skip
    assert (await after(tag_it, old.key, fern.key)) == {
        "moss": {old.id: "CHANGED"}, "both": {old.id: "APPEARED"}, "early": {old.id: "CHANGED"},
    }  # fmt: skip
    assert await after("UPDATE tags SET name = 'li\"chen' WHERE id = $1", moss.key) == {
        "moss": {old.id: "GONE", plain.id: "GONE"},
        "lichen": {old.id: "APPEARED", plain.id: "APPEARED"},
        "both": {old.id: "GONE"},
        "late": {plain.id: "CHANGED"},
        "early": {old.id: "GONE"},
    }
    set_ = "UPDATE stories SET content = $2 WHERE id = $1"
    assert (await after(set_, old.key, "fresh snow"))["words"] == {old.id: "APPEARED"}
    # What it said before is not kept: a story that may have been in the list is told anew, or gone.
    assert (await after(set_, old.key, "snow and ice"))["words"] == {old.id: "APPEARED"}
    assert (await after(set_, old.key, "snow and rain"))["words"] == {old.id: "GONE"}
    visibility = "UPDATE stories SET visibility = 'private' WHERE id = $1"
    assert "words" not in await after(visibility, old.key)


@pytest.mark.parametrize("name", sorted(_stories().source.filters))
def test_a_filter_reads_what_is_kept_or_known_to_have_changed(name: str) -> None:
    from sqlalchemy import bindparam
    from sqlalchemy.orm import aliased

    from community_gql.db import models as m

    found = _stories().source.filters[name]
    read = columns_of(found.predicate(aliased(m.Story), bindparam("value", type_=found.type)))
    assert read
    assert read <= KEPT | TEXT, "what it was cannot be told from `changes`: add the column there"


# --- Moments ---

PAGE = "{ moment stories(first: 100) { nodes { id } } }"


@both_ways
async def test_read_then_follow_has_no_gap(here: Process, db: asyncpg.Connection) -> None:
    ada = await make.person(db)
    prepared = here.operations.prepare(Params(PAGE), open_schema=True)

    async def write() -> None:
        for _ in range(60):  # more than 100 at once would reload
            await make.story(db, ada)
            await asyncio.sleep(0.01)

    writing = asyncio.create_task(write())
    followers = []
    for _ in range(5):
        outcome = await here.operations.execute(prepared, ANONYMOUS)
        data = outcome.data
        answer = orjson.loads(data) if isinstance(data, bytes) else data
        assert isinstance(answer, dict)
        there = [node["id"] for node in answer["stories"]["nodes"]]
        followers.append((there, await here.follow(after=answer["moment"])))
        await asyncio.sleep(0.03)
    await writing
    written = {f"Story_{row['id']}" for row in await db.fetch("SELECT id FROM stories")}
    await settle(db, ada, *(f for _, f in followers))
    for there, follower in followers:
        found = kinds(follower)
        assert set(found.values()) == {"APPEARED"}
        assert not found.keys() & set(there)
        assert found.keys() | set(there) == written


async def test_a_subscription_goes_on_exactly_where_it_was_cut_off(
    here: Process, other: Process, db: asyncpg.Connection
) -> None:
    """Also in the middle of what is sent at once, and in another process."""
    ada = await make.person(db)
    follower = await here.begin()
    async with db.transaction():
        stories = [await make.story(db, ada) for _ in range(5)]
    await follower.count(5)
    assert list(kinds(follower)) == [story.id for story in stories]
    await db.execute("UPDATE stories SET title = 'x' WHERE id IN ($1, $2)",
                     stories[0].key, stories[4].key)  # fmt: skip
    await follower.count(7)
    for told_of in range(1, 8):
        resumed = await other.follow(after=follower.moments[told_of])
        await settle(db, ada, resumed)
        found = kinds(resumed)
        expected = {
            **{story.id: "APPEARED" for story in stories[told_of:]},
            **({stories[0].id: "CHANGED"} if told_of < 6 else {}),
            **({stories[4].id: "CHANGED"} if 5 <= told_of < 7 else {}),
        }
        assert {i: k for i, k in found.items() if i in {s.id for s in stories}} == expected
        # A second cut in the middle of that.
        if len(expected) > 2:
            again = await here.follow(after=resumed.moments[0])
            await settle(db, ada, again)
            mine = {i: k for i, k in kinds(again).items() if i in expected}
            assert mine == dict(sorted(expected.items(), key=by_number)[1:])
            again.close()
        resumed.close()


def by_number(item: tuple[str, str]) -> int:
    return int(item[0].rpartition("_")[2])


async def test_who_has_no_room_is_told_later(here: Process, db: asyncpg.Connection) -> None:
    ada = await make.person(db)
    slow, quick = await here.begin(), await here.begin()
    slow.room = False
    first = await make.story(db, ada, "one")
    await settle(db, ada, quick)
    await db.execute("UPDATE stories SET title = 'two' WHERE id = $1", first.key)
    await settle(db, ada, quick)
    assert slow.raw == []
    slow.room = True
    await settle(db, ada, slow)
    assert told(slow)[0] == ("APPEARED", "two")
    assert told(quick)[:2] == [("APPEARED", "one"), ("CHANGED", "two")]


async def test_who_comes_with_a_moment_newer_than_a_look_is_not_told_to_reload(
    here: Process, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await make.person(db)
    quick = await here.begin()
    come: list[Follower] = []

    async def slow(snapshot: Snapshot) -> Now:
        found = await changes.now(snapshot)
        if not come:
            await make.story(db, ada, "meanwhile")
            moment = await db.fetchval(f"SELECT {changes.MOMENT_SQL}")  # as another server tells it
            come.append(await here.follow(STORIES, None, after=moment))
        return found

    monkeypatch.setattr(live, "now", slow)
    await make.story(db, ada, "first")
    await quick.until(lambda: bool(come))
    await settle(db, ada, come[0])
    assert ("RELOAD", None) not in told(come[0])


async def test_who_has_no_room_is_not_asked_at_every_look(
    here: Process, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await make.person(db)
    slow, quick = await here.begin(), await here.begin()
    slow.room = False
    asked: list[Follower] = []
    has_room, next_ = Follower.has_room, Follower.next

    def counted(follower: Follower) -> bool:
        asked.append(follower)
        return has_room(follower)

    def told_of(follower: Follower, delivery: Delivery) -> bool:
        asked.append(follower)
        return next_(follower, delivery)

    monkeypatch.setattr(live, "ASIDE", 3600)
    monkeypatch.setattr(Follower, "has_room", counted)
    monkeypatch.setattr(Follower, "next", told_of)
    await make.story(db, ada, "one")
    for _ in range(3):
        await settle(db, ada, quick)  # until it is set aside
    asked.clear()
    for _ in range(5):
        await settle(db, ada, quick)
    assert asked.count(slow) == 0
    assert asked.count(quick) >= 5
    slow.room = True
    monkeypatch.setattr(live, "ASIDE", 0.1)
    await settle(db, ada, slow)
    assert told(slow)[0] == ("APPEARED", "one")
    assert here.live.behind == 0


async def test_room_that_ends_in_the_middle_loses_nothing(
    here: Process, db: asyncpg.Connection
) -> None:
    ada = await make.person(db)
    follower = await here.begin()
    take = follower.next

    def next_(delivery: Delivery) -> bool:
        is_taken = take(delivery)
        follower.room = len(follower.events) != 2
        return is_taken

    follower.next = next_  # type: ignore[method-assign]
    async with db.transaction():
        stories = [await make.story(db, ada) for _ in range(4)]
    await follower.count(2)
    await asyncio.sleep(0.2)
    assert len(follower.events) == 2
    follower.room = True
    await follower.count(4)
    assert kinds(follower) == dict.fromkeys((story.id for story in stories), "APPEARED")


async def test_what_could_be_seen_in_between_is_gone(here: Process, db: asyncpg.Connection) -> None:
    """Whoever was told to reload may have read their list just then."""
    ada, friend, stranger = await make.people(db, 3)
    await make.friendship(db, ada, friend)
    story = await make.story(db, ada, visibility="private")
    others = {"friend": friend, "stranger": stranger, "nobody": None}
    followers = {name: await here.begin(who) for name, who in others.items()}
    set_ = "UPDATE stories SET visibility = $2 WHERE id = $1"
    for visibilities, told_of in (
        (("friends", "private"), {"friend"}),
        (("public", "private"), set(others)),
        (("friends", "public", "private"), set(others)),
        (("friends", "public"), set()),
    ):
        for follower in followers.values():
            follower.room = False
        for visibility in visibilities:
            await db.execute(set_, story.key, visibility)
        async with db.transaction():  # what nobody else could see
            await db.execute(set_, story.key, "public")
            await db.execute(set_, story.key, visibilities[-1])
        for follower in followers.values():
            follower.room = True
        await settle(db, ada, *followers.values())
        for name, follower in followers.items():
            kind = "APPEARED" if visibilities[-1] == "public" else "GONE"
            shown = name in told_of or kind == "APPEARED"
            assert kinds(follower) == ({story.id: kind} if shown else {}), (name, visibilities)
            follower.events.clear()


async def test_a_tick_that_fails_has_nobody_told_twice(
    here: Process, db: asyncpg.Connection
) -> None:
    """Who had no room in it keeps the moment that is still everyone's."""
    ada, ben = await make.people(db, 2)
    slow, quick = await here.begin(ben), await here.begin(ben)
    slow.room = False
    async with db.transaction():
        await make.story(db, ada, "one", visibility="friends")
        await make.story(db, ada, "two")
        await db.execute("ALTER TABLE friendships RENAME TO elsewhere")
    await asyncio.sleep(0.3)
    slow.room = True
    await db.execute("ALTER TABLE elsewhere RENAME TO friendships")
    await settle(db, ada, slow, quick)
    await settle(db, ada, slow, quick)
    assert told(quick)[0] == ("APPEARED", "two")
    assert told(slow)[0] == ("APPEARED", "two")
    assert all(len(kinds(follower)) == len(follower.events) for follower in (slow, quick))


async def test_sending_that_breaks_off_is_gone_on_with(
    here: Process, db: asyncpg.Connection
) -> None:
    """Whoever was told is not told again, and the others are told later."""
    ada = await make.person(db)
    followers = [await here.begin() for _ in range(live.TOGETHER + 20)]
    send_to, calls = here.live._send_to, 0

    def fail(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        failed = send_to(*given)
        if calls == 2:
            raise RuntimeError("broken off")
        return failed

    here.live._send_to = fail  # type: ignore[assignment, method-assign]
    async with db.transaction():
        stories = [(await make.story(db, ada, title)).id for title in ("one", "two")]
    for follower in followers:
        await follower.count(2)
    await settle(db, ada, *followers)
    assert calls > 2
    assert all(kinds(follower) == dict.fromkeys(stories, "APPEARED") for follower in followers)


@pytest.mark.parametrize(
    "after",
    [
        "1-00000001-5-10:10:",  # of another server
        "1-00000001-5-1f-10:10:",
        "x" * 5000,
    ],
)
async def test_a_moment_that_is_not_known_any_more_reloads(here: Process, after: str) -> None:
    follower = await here.follow(after=after)
    await follower.count(1)
    assert told(follower) == [("RELOAD", None)]


async def test_what_is_not_a_moment_is_refused(here: Process) -> None:
    with pytest.raises(Refused) as refused:
        await here.follow(after="yesterday")
    (error,) = refused.value.errors
    assert "Query.moment" in error.message
    prepared = here.operations.prepare(Params(STORIES), open_schema=True)
    with pytest.raises(BadRequest, match=r"Query\.moment"):
        await here.live.subscribe(prepared, ANONYMOUS, Follower(), key="k", after="yesterday")
    assert len(here.live) == 0


async def test_moments_of_before_what_was_forgotten_reload(
    here: Process, db: asyncpg.Connection
) -> None:
    ada = await make.person(db)
    follower = await here.begin()
    await settle(db, ada, follower)
    then = follower.moments[-1]
    await db.execute(
        "INSERT INTO housekeeping (job, seen) "
        "VALUES ('changes', pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 1)"
    )
    resumed = await here.follow(after=then)
    await resumed.count(1)
    assert told(resumed) == [("RELOAD", None)]


@both_ways
async def test_too_much_at_once_reloads(
    here: Process, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await make.person(db)
    moss = await make.tag(db, "moss")
    many = feeds.MOST_EVENTS + 1
    insert = (
        "INSERT INTO stories (user_id, title, content, visibility) "
        "SELECT $1, 'one of many', 'c', $2 FROM generate_series(1, $3::int)"
    )
    everyone, tagged = await here.begin(), await here.begin(filter={"tagsAny": ["moss"]})
    hers = await here.begin(ada)
    await db.execute(insert, ada.sub, "private", many)
    await hers.count(1)
    await settle(db, ada, everyone, hers)
    assert (told(everyone), told(hers)) == ([], [("RELOAD", None)])
    for follower in (everyone, hers):
        follower.events.clear()
    await db.execute(insert, ada.sub, "public", many)
    await asyncio.gather(everyone.count(1), hers.count(1))
    async with db.transaction():
        mark = await make.story(db, ada, tags=[moss])
    await tagged.count(1)
    assert kinds(tagged) == {mark.id: "APPEARED"}
    assert told(everyone)[0] == told(hers)[0] == ("RELOAD", None)
    assert everyone.subscription is not None
    assert everyone.subscription.reloads >= 2

    monkeypatch.setattr(feeds, "MOST_STORIES", 5)
    tagged.events.clear()
    await db.execute(insert, ada.sub, "public", 6)
    await tagged.count(1)
    assert told(tagged) == [("RELOAD", None)]


async def test_truncated_tables_reload_everything(here: Process, db: asyncpg.Connection) -> None:
    ada = await make.person(db)
    story = await make.story(db, ada)
    follower = await here.begin()
    state = await here.follow("subscription ($id: ID!) { node(id: $id) { id } }", id=story.id)
    await state.count(1)
    await db.execute("TRUNCATE stories CASCADE")
    await follower.count(1)
    assert told(follower) == [("RELOAD", None)]
    assert (await state.count(2))[1] == {"node": None}


# --- What an event holds ---

RICH = """subscription ($n: Int!, $filter: StoryFilter) { change: stories(filter: $filter) {
  __typename kind story { ...S } storyEdge { __typename cursor node { ...S } } goneId moment
} }
fragment S on Story {
  id title content excerpt(length: $n) tagNames createdAt visibility viewerCanEdit
  tags { name } author {
    id profile { displayName } viewerFriendship { status }
    stories(first: 5, orderBy: OLDEST) { totalCount nodes { title } pageInfo { endCursor } }
  }
}"""
SAME = """query ($id: ID!, $n: Int!, $filter: StoryFilter) {
  story(id: $id) { ...S }
  stories(first: 1, filter: $filter) { edges { __typename cursor node { ...S } } }
} """ + RICH[RICH.index("fragment"):]  # fmt: skip


@both_ways
async def test_an_event_is_what_its_viewer_would_read(
    here: Process, db: asyncpg.Connection
) -> None:
    """Made by one statement for many, or by the loaders: each gets the answer of a query."""
    ada, ben, cleo = await make.people(db, 3)
    await make.friendship(db, ada, ben)
    await make.friendship(db, cleo, ada, accepted=False)
    moss = await make.tag(db, "moss")
    await make.story(db, ada, "for friends", visibility="friends", created_at=day(1))
    await make.story(db, ada, "alone", visibility="private", created_at=day(2))
    given: list[tuple[Person | None, dict[str, Any]]] = [
        (who, {"n": n, "filter": chosen})
        for who in (ada, ben, cleo, None)
        for n in (5, 9)
        for chosen in (None, {"tagsAny": ["moss"]})
    ]
    followers = [await here.begin(who, RICH, **variables) for who, variables in given]
    async with db.transaction():
        story = await make.story(db, ada, "Moss", content="Long and green.", tags=[moss])
    asking = here.operations.prepare
    for (who, variables), follower in zip(given, followers, strict=True):
        (event,) = await follower.count(1)
        change = event["change"]
        prepared = asking(Params(SAME, variables={"id": story.id, **variables}), open_schema=True)
        outcome = await here.operations.execute(prepared, Viewer(who.sub) if who else ANONYMOUS)
        data = outcome.data
        answer: Any = orjson.loads(data) if isinstance(data, bytes) else data
        assert change == {
            "__typename": "StoryChange",
            "kind": "APPEARED",
            "story": answer["story"],
            "storyEdge": answer["stories"]["edges"][0],
            "goneId": None,
            "moment": follower.moments[-1],
        }
        assert follower.errors == []


async def test_the_same_is_made_once(database_url: str, db: asyncpg.Connection) -> None:
    """Where no viewer is in the statement, all get the same bytes; else nobody gets another's."""
    ada, ben = await make.people(db, 2)
    text = "subscription { stories { story { title author { id } } } }"
    mine = "subscription { stories { story { title viewerCanEdit } } }"
    async with process(database_url) as here:
        shared = [await here.begin(who, text) for who in (ada, ben, ben, None)]
        own = [await here.begin(who, mine) for who in (ada, ben, ben, None)]
        await make.story(db, ada)
        for follower in (*shared, *own):
            await follower.count(1)
    assert len({id(f.raw[0]) for f in shared}) == 1
    assert [f.events[0]["stories"]["story"]["viewerCanEdit"] for f in own] == [
        True, False, False, False
    ]  # fmt: skip
    assert id(own[1].raw[0]) == id(own[2].raw[0]) != id(own[3].raw[0])


@both_ways
async def test_each_event_is_read_anew_for_each_viewer(
    here: Process, db: asyncpg.Connection
) -> None:
    """Whoever makes it: nothing of an earlier event, or of somebody else's, is in it."""
    ada, ben = await make.people(db, 2)
    text = """subscription { stories { story {
      title viewerCanEdit author { profile { displayName } viewerFriendship { status } }
    } } }"""
    followers = [await here.begin(who, text) for who in (ada, ben, None)]
    for number in range(3):
        status = ("PENDING", "ACCEPTED", None)[number]
        name = f"Ada the {number}."
        async with db.transaction():
            await db.execute("UPDATE user_profiles SET display_name = $2 WHERE user_id = $1",
                             ada.sub, name)  # fmt: skip
            if number == 0:
                await make.friendship(db, ben, ada, accepted=False)
            for title in ("one", "two"):
                await make.story(db, ada, title)
        for follower in followers:
            await follower.count(2)
        for place, follower in enumerate(followers):
            for title, event in zip(("one", "two"), follower.events, strict=True):
                friendship = {"status": status} if place == 1 and status else None
                assert event["stories"]["story"] == {
                    "title": title,
                    "viewerCanEdit": place == 0,
                    "author": {"profile": {"displayName": name}, "viewerFriendship": friendship},
                }
            assert follower.errors == []
            follower.events.clear()
        if number == 0:
            await db.execute("UPDATE friendships SET status = 'accepted', accepted_at = now()")
        elif number == 1:
            await db.execute("DELETE FROM friendships")
        if number < 2:
            for follower in followers[:2]:
                await follower.count(1)
                follower.events.clear()


@both_ways
async def test_what_the_schema_does_not_allow_is_told_as_an_error(
    here: Process, db: asyncpg.Connection
) -> None:
    """The statement fails, the loaders say why, and others are told as if nothing was."""
    ada = await make.person(db)
    await db.execute("ALTER TABLE habits DROP CONSTRAINT habits_frequency_check")
    try:
        state = await here.begin(
            ada, "subscription { viewer { user { habits { nodes { frequency } } } } }"
        )
        follower = await here.begin()
        await make.habit(db, ada, frequency="sometimes")
        await state.count(1)
        assert "sometimes" in state.errors[0]["message"]
        assert state.subscription is not None
        assert state.subscription.fallback_reason in ("switched off", "the statement failed: 22P02")
        await settle(db, ada, follower)
        assert follower.errors == []
    finally:
        await db.execute("DELETE FROM habits")
        await db.execute(
            "ALTER TABLE habits ADD CONSTRAINT habits_frequency_check "
            "CHECK (frequency IN ('daily','weekly','monthly','custom'))"
        )


# --- States ---


@both_ways
async def test_a_viewer_is_told_of_what_is_theirs(here: Process, db: asyncpg.Connection) -> None:
    ada, ben, cleo, dora = await make.people(db, 4)
    text = """subscription { viewer {
      email user { profile { displayName } garden { name } tags { name } habits { totalCount } }
      friendRequests { nodes { requester { id } } } friends { nodes { id } }
      sentFriendRequests { nodes { addressee { id } } }
    } }"""
    hers, his = await here.follow(text, ada), await here.follow(text, cleo)
    nobodys = await here.follow(text)
    assert (await nobodys.count(1)) == [{"viewer": None}]
    await his.count(1)
    moss = await make.tag(db, "moss")
    writes: list[tuple[str, tuple[Any, ...]]] = [
        ("UPDATE user_profiles SET display_name = 'Countess' WHERE user_id = $1", (ada.sub,)),
        ("INSERT INTO gardens (user_id, name) VALUES ($1, 'corner')", (ada.sub,)),
        ("INSERT INTO user_tags VALUES ($1, $2)", (ada.sub, moss.key)),
        ("INSERT INTO habits (user_id, name, frequency) VALUES ($1, 'h', 'daily')", (ada.sub,)),
        ("INSERT INTO friendships (requester_id, addressee_id) VALUES ($2, $1)",
         (ada.sub, ben.sub)),
        ("UPDATE friendships SET status = 'accepted', accepted_at = now()", ()),
        ("INSERT INTO friendships (requester_id, addressee_id) VALUES ($1, $2)",
         (ada.sub, dora.sub)),
        ("UPDATE users SET email = 'new@example.org' WHERE auth0_sub = $1", (ada.sub,)),
    ]  # fmt: skip
    # One a second is told; so they are written before it was told of the first.
    await hers.count(1)
    for statement, values in writes:
        await db.execute(statement, *values)
    await hers.until(lambda: hers.events[-1]["viewer"]["email"] == "new@example.org")
    assert hers.events[-1] == {
        "viewer": {
            "email": "new@example.org",
            "user": {
                "profile": {"displayName": "Countess"},
                "garden": {"name": "corner"},
                "tags": [{"name": "moss"}],
                "habits": {"totalCount": 1},
            },
            "friendRequests": {"nodes": []},
            "friends": {"nodes": [{"id": ben.id}]},
            "sentFriendRequests": {"nodes": [{"addressee": {"id": dora.id}}]},
        }
    }
    assert len(hers.events) <= 1 + len(writes)
    assert (len(his.events), len(nobodys.events)) == (1, 1)
    assert set(hers.moments) == {None}


async def test_what_was_undone_at_once_is_told_to_those_whose_it_is(
    here: Process, db: asyncpg.Connection
) -> None:
    """The payload of a mutation has shown them what was between: it would stay on their page."""
    ada, ben, cleo = await make.people(db, 3)
    text = (
        f'subscription {{ node(id: "{ben.id}") {{ ... on User {{ viewerFriendship {{ id }} }} }} }}'
    )
    hers, his, others = [await here.follow(text, person) for person in (ada, ben, cleo)]
    for follower in (hers, his, others):
        await follower.count(1)
    ask = "INSERT INTO friendships (requester_id, addressee_id) VALUES ($1, $2)"
    await db.execute(ask, ada.sub, ben.sub)
    await db.execute("DELETE FROM friendships")
    assert await hers.count(2) == [{"node": {"viewerFriendship": None}}] * 2
    async with db.transaction():  # nobody saw what was in the middle of one transaction
        await db.execute(ask, ada.sub, ben.sub)
        await db.execute("DELETE FROM friendships")
    for _ in range(2):  # what nobody else may see wakes those who look at the person, in vain
        await make.story(db, ben, visibility="private")
    await asyncio.sleep(1.5)
    assert (len(hers.events), len(others.events)) == (2, 1)


WAKES: dict[str, str] = {
    "user_profiles": "UPDATE user_profiles SET display_name = 'other' WHERE user_id = $1",
    "user_tags": "INSERT INTO user_tags SELECT $1, id FROM tags",
    "gardens": "INSERT INTO gardens (user_id, name) VALUES ($1, 'corner')",
    "habits": "INSERT INTO habits (user_id, name, frequency) VALUES ($1, 'h', 'daily')",
    "stories": "INSERT INTO stories (user_id, title, content) VALUES ($1, 't', 'c')",
    "user_features": "INSERT INTO user_features (user_id, vector) VALUES ($1, '[1]')",
    "match_results": "INSERT INTO match_results (user_id, target_user_id, score) "
    "SELECT a.auth0_sub, b.auth0_sub, 1 FROM users a, users b WHERE a.auth0_sub = $1 AND a <> b",
    "friendships": "INSERT INTO friendships (requester_id, addressee_id) "
    "SELECT b.auth0_sub, a.auth0_sub FROM users a, users b WHERE a.auth0_sub = $1 AND a <> b",
    "users": "UPDATE users SET email = 'new@example.org' WHERE auth0_sub = $1",
}


@pytest.mark.parametrize("table", WAKES)
async def test_every_table_of_a_person_wakes_their_state(
    database_url: str, db: asyncpg.Connection, table: str
) -> None:
    ada = (await make.people(db, 2))[0]
    await make.tag(db)
    text = """subscription { viewer { email features { version } friendRequests { totalCount }
      user { profile { displayName } garden { name } tags { name } habits { totalCount }
        matches { totalCount } stories { totalCount } } } }"""
    async with process(database_url) as here:
        state = await here.begin(ada, text)
        await db.execute(WAKES[table], ada.sub)
        await state.count(1)


@both_ways
async def test_a_node_is_told_until_it_is_gone(here: Process, db: asyncpg.Connection) -> None:
    ada, ben = await make.people(db, 2)
    await make.friendship(db, ada, ben)
    story = await make.story(db, ada, "Moss", visibility="friends")
    text = """subscription ($id: ID!) { node(id: $id) {
      ... on Story { title tagNames } ... on User { garden { name } stories { totalCount } }
    } }"""
    hers, his = [await here.follow(text, who, id=story.id) for who in (ada, ben)]
    nobodys, page = await here.follow(text, id=story.id), await here.follow(text, ben, id=ada.id)
    nowhere = await here.follow(text, id="Story_x")
    for follower in (hers, his, nobodys, page, nowhere):
        await follower.count(1)
    await db.execute("UPDATE stories SET visibility = 'private' WHERE id = $1", story.key)
    await make.garden(db, ada, "corner")
    await his.count(2)
    await page.until(lambda: page.events[-1]["node"]["garden"] is not None)
    await db.execute("UPDATE stories SET visibility = 'friends' WHERE id = $1", story.key)
    await his.count(3)
    await db.execute("DELETE FROM friendships")
    await his.count(4)
    await db.execute("DELETE FROM users WHERE auth0_sub = $1", ada.sub)
    await page.until(lambda: page.events[-1]["node"] is None)
    shown = {"title": "Moss", "tagNames": []}
    assert his.events == [{"node": item} for item in (shown, None, shown, None)]
    assert nobodys.events == nowhere.events == [{"node": None}]
    assert hers.events == [{"node": shown}]
    assert page.events[0] == {"node": {"garden": None, "stories": {"totalCount": 1}}}


# --- Many, and none ---


async def test_two_processes_tell_the_same(
    here: Process, other: Process, db: asyncpg.Connection
) -> None:
    ada, ben = await make.people(db, 2)
    both = [await at.begin(ben) for at in (here, other)]
    story = await make.story(db, ada)
    for follower in both:
        await follower.count(1)
    assert [kinds(f) for f in both] == [{story.id: "APPEARED"}] * 2


async def test_an_own_commit_is_told_at_once(database_url: str, db: asyncpg.Connection) -> None:
    ada = await make.person(db)
    create = """mutation { createStory(input: {title: "t", content: "c", visibility: PUBLIC}) {
      story { id }
    } }"""
    async with process(database_url, interval=3600) as here:
        follower = await here.begin()
        prepared = here.operations.prepare(Params(create), open_schema=True)
        outcome = await here.operations.execute(prepared, Viewer(ada.sub))
        assert outcome.errors == []
        await follower.count(1)
    assert told(follower) == [("APPEARED", "t")]


async def test_nobody_looks_while_nobody_follows(database_url: str, db: asyncpg.Connection) -> None:
    asked = (
        "SELECT coalesce(sum(xact_commit + xact_rollback), 0) FROM pg_stat_database "
        "WHERE datname = current_database()"
    )
    async with process(database_url, interval=0.01) as here:
        follower = await here.begin()
        follower.close()
        await asyncio.sleep(0.2)
        await db.execute("SELECT pg_stat_force_next_flush()")
        before = await db.fetchval(asked)
        await asyncio.sleep(0.5)
        await db.execute("SELECT pg_stat_force_next_flush()")
        assert await db.fetchval(asked) - before < 10


async def test_closing_frees_everything_at_once(here: Process, db: asyncpg.Connection) -> None:
    ada = await make.person(db)
    story = await make.story(db, ada)
    followers = [
        await here.follow(STORIES, ada),
        await here.follow(STORIES),
        await here.follow("subscription { viewer { email } }", ada),
        await here.follow("subscription ($id: ID!) { node(id: $id) { id } }", id=story.id),
    ]
    for follower in followers:
        await follower.count(1)
    left = [weakref.ref(follower.subscription) for follower in followers]
    told_before = [len(follower.raw) for follower in followers]
    for follower in followers:
        follower.close()
        follower.close()
    assert len(here.live) == 0
    await make.story(db, ada)
    await asyncio.sleep(0.2)
    assert [len(follower.raw) for follower in followers] == told_before
    for follower in followers:
        follower.subscription = None
    gc.collect()
    assert [found() for found in left] == [None] * 4


async def test_a_subscriber_that_fails_harms_nobody(here: Process, db: asyncpg.Connection) -> None:
    ada = await make.person(db)
    bad, good = await here.begin(), await here.begin()

    def fail(delivery: Delivery) -> bool:
        raise RuntimeError("gone")

    bad.next = fail  # type: ignore[method-assign]
    await make.story(db, ada)
    await good.count(1)
    await settle(db, ada, good)
    assert len(here.live) == 1


@pytest.mark.parametrize("fails", [False, True])
async def test_an_empty_purse_is_told_later(
    database_url: str, db: asyncpg.Connection, fails: bool
) -> None:
    ada, bob = await make.person(db), await make.person(db)
    spent: Counter[str] = Counter()
    rich = True

    def charge(keys: Sequence[str], points: int) -> Collection[int]:
        if fails and not rich:
            raise RuntimeError("a fault")
        poor = [place for place, key in enumerate(keys) if not rich and key == "None"]
        spent.update({key: points for place, key in enumerate(keys) if place not in poor})
        return poor

    async with process(database_url, charge=charge) as here:
        others = [await here.begin(who) for who in (ada, bob)]
        follower = await here.begin()
        spent.clear()
        rich = False
        story = await make.story(db, ada, "one")
        await asyncio.sleep(0.3)
        assert follower.raw == []
        assert [len(other.raw) for other in others] == [int(not fails)] * 2
        rich = True
        for one in (follower, *others):
            await one.count(1)
        await asyncio.sleep(PAUSE + 0.3)
        for one in (follower, *others):
            assert kinds(one) == {story.id: "APPEARED"}
            assert len(one.raw) == 1
    # Each once. An event that is sent to fewer at once costs each of them more.
    assert set(spent) == {"None", str(ada.sub), str(bob.sub)}
    assert set(spent.values()) <= {1, 2}


async def test_a_filter_that_finds_nothing_is_paid_for(
    database_url: str, db: asyncpg.Connection
) -> None:
    ada = await make.person(db)
    spent: Counter[str] = Counter()
    most = 10**6

    def charge(keys: Sequence[str], points: int) -> Collection[int]:
        poor = []
        for place, key in enumerate(keys):
            if key != "None" and spent[key] + points > most:
                poor.append(place)
            else:
                spent[key] += points
        return poor

    async with process(database_url, charge=charge) as here:
        everyone = await here.begin()
        nothing = await here.begin(ada, filter={"search": "fern"})
        key = str(ada.sub)
        begun = spent[key]
        await make.story(db, ada, "moss", visibility="public")
        await everyone.count(1)
        assert spent[key] == begun + feeds.ASKED_POINTS
        # Without points it is not asked, and told later.
        most = spent[key]
        late = await make.story(db, ada, "fern", visibility="public")
        await everyone.count(2)
        assert isinstance(nothing.subscription, Feed)
        assert nothing.subscription.moment is not None
        assert (nothing.raw, spent[key]) == ([], most)
        most = 10**6
        await nothing.count(1)
        assert kinds(nothing) == {late.id: "APPEARED"}


async def test_whoever_shares_an_answer_shares_its_cost(
    database_url: str, db: asyncpg.Connection
) -> None:
    """The same for all is not free for who alone selects it."""
    ada, bob = await make.people(db, 2)
    purse = Purse()
    text = "subscription { stories { %s: kind story { id tags { name } } } }"
    async with process(database_url, charge=purse) as here:
        alone = await here.begin(ada, text % "alone")
        shared = [await here.begin(bob, text % "shared") for _ in range(10)]
        assert alone.subscription is not None
        cost = alone.subscription.form.prepared.cost
        assert cost > 20
        purse.spent.clear()
        await make.story(db, ada)
        for follower in (alone, *shared):
            await follower.count(1)
        assert purse.spent[str(ada.sub)] == cost
        assert cost <= purse.spent[str(bob.sub)] < cost + len(shared)


async def test_nothing_is_made_for_who_cannot_pay(
    database_url: str, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever can pay for some events is sent these, and the others later."""
    ada, bob = await make.people(db, 2)
    purse = Purse()
    made = 0
    render = Renderer.render

    async def counted(self: Renderer, requests: Sequence[Request]) -> list[Rendered]:
        nonlocal made
        made += len(requests)
        return await render(self, requests)

    monkeypatch.setattr(Renderer, "render", counted)
    async with process(database_url, charge=purse) as here:
        follower = await here.begin(bob)
        assert follower.subscription is not None
        cost = follower.subscription.form.prepared.cost
        key = str(bob.sub)
        purse.most = purse.spent[key] + 2 * cost
        made = 0
        async with db.transaction():
            stories = [await make.story(db, ada) for _ in range(4)]
        await follower.count(2)
        await asyncio.sleep(PAUSE + 0.3)  # it is looked again, and there is still nothing to pay
        assert (made, len(follower.raw)) == (2, 2)
        purse.most = purse.spent[key] + 2 * cost
        await follower.count(4)
        assert kinds(follower) == {story.id: "APPEARED" for story in stories}
        assert made == 4


async def test_a_filter_is_not_charged_for_what_its_viewer_may_not_see(
    database_url: str, db: asyncpg.Connection
) -> None:
    """Or the budget would tell how often strangers write."""
    ada, friend, stranger = await make.people(db, 3)
    await make.friendship(db, ada, friend)
    purse = Purse()
    async with process(database_url, charge=purse) as here:
        everyone = await here.begin(ada)
        for who in (ada, friend, stranger):
            await here.begin(who, filter={"search": "fern"})
        purse.spent.clear()
        charged = [str(who.sub) for who in (friend, stranger)]
        for visibility, paying in (("private", ()), ("friends", (0,)), ("public", (0, 1))):
            await make.story(db, ada, visibility=visibility)
            await everyone.count(1)
            everyone.events.clear()
            paid = [purse.spent[key] for key in charged]
            assert paid == [feeds.ASKED_POINTS * (place in paying) for place in range(2)]
            purse.spent.clear()


async def test_states_in_between_are_asked_of_those_who_could_see_them(
    database_url: str, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a story is changed, and however many follow."""
    monkeypatch.setattr(feeds, "ASKED_POINTS", 1000)  # events cost less, all together
    asked_for: Counter[str | None] = Counter()
    column = feeds._column

    def noted(name: str, asked: Sequence[list[Feed]]) -> list[str | None]:
        if name == "viewer":
            asked_for.update(alike[0].viewer.sub for alike in asked)
        return column(name, asked)

    monkeypatch.setattr(feeds, "_column", noted)
    ada, friend, stranger = await make.people(db, 3)
    await make.friendship(db, ada, friend)
    hidden = await make.story(db, ada, visibility="private")
    passing = await make.story(db, ada, visibility="private")
    purse = Purse()
    async with process(database_url, charge=purse) as here:
        people = (ada, friend, stranger)
        unfiltered = [await here.begin(who) for who in people]
        filtering = [await here.begin(who, filter={"search": "fern"}) for who in people]
        followers = unfiltered + filtering
        for follower in followers:
            follower.room = False
        # For all of them: nobody is told of it now, and all are left behind.
        first = await make.story(db, ada, "fern")
        await until(lambda: here.live.behind == len(followers))
        purse.spent.clear()
        asked_for.clear()
        for _ in range(5):
            await db.execute("UPDATE stories SET title = title || '!' WHERE id = $1", hidden.key)
            for to in ("friends", "private"):
                await db.execute(
                    "UPDATE stories SET visibility = $2 WHERE id = $1", passing.key, to
                )
        for follower in followers:
            follower.room = True
        await unfiltered[2].count(1)
        await settle(db, ada, *unfiltered)
    appeared = {first.id: "APPEARED"}
    both = {hidden.id: "CHANGED", passing.id: "CHANGED"}
    assert kinds(unfiltered[0]) == both | appeared
    assert kinds(unfiltered[1]) == {passing.id: "GONE", **appeared}
    assert kinds(unfiltered[2]) == appeared
    assert [kinds(follower) for follower in filtering[1:]] == [appeared] * 2
    # The friend's filter is asked about one state, though there were five of them.
    asked = [purse.spent[str(who.sub)] // feeds.ASKED_POINTS for who in (friend, stranger)]
    # And about the first story and the last one.
    assert asked == [3, 2]
    # With a filter and without, about these two. PostgreSQL has no more work with strangers.
    assert asked_for[stranger.sub] == 2 * 2


async def test_reading_a_state_is_paid_for_where_nobody_sees_it(
    database_url: str, db: asyncpg.Connection
) -> None:
    ada, bob = await make.people(db, 2)
    shown, hidden = Purse(), Purse()
    text = "subscription ($id: ID!) { node(id: $id) { id ... on User { tags { name } } } }"
    async with process(database_url, charge=shown, charge_reading=hidden) as here:
        state = await here.begin(bob, text, id=ada.id)
        assert state.subscription is not None
        cost = state.subscription.form.prepared.cost
        key = str(bob.sub)
        paid, read = shown.spent[key], hidden.spent[key]
        assert read == cost > 20
        # Its answer does not change, and its viewer may not know that something did.
        await make.story(db, ada, visibility="private")
        await until(lambda: hidden.spent[key] == 2 * read)
        assert (shown.spent[key], state.raw) == (paid, [])
        # Who cannot pay is not read, and told later.
        hidden.most = hidden.spent[key]
        tag = await make.tag(db, "moss")
        await db.execute(
            "INSERT INTO user_tags (user_id, tag_id) VALUES ($1, $2)", ada.sub, tag.key
        )
        await asyncio.sleep(0.5)
        assert (hidden.spent[key], state.raw) == (hidden.most, [])
        hidden.most = 10**6
        await state.count(1)
        assert shown.spent[key] == paid + cost


async def test_whoever_subscribes_pays_for_the_statement(
    database_url: str, db: asyncpg.Connection
) -> None:
    purse = Purse()
    text = "subscription { stories { paid: kind } }"
    async with process(database_url, charge=purse, pushdown="on") as here:
        (await here.begin(None, text)).close()
        first = purse.spent["None"]
        (await here.begin(None, text)).close()
        assert first > 100
        assert purse.spent["None"] - first < 10


async def test_a_subscription_is_not_executed(here: Process) -> None:
    prepared = here.operations.prepare(Params(STORIES), open_schema=True)
    with pytest.raises(PublicError, match="text/event-stream"):
        await here.operations.execute(prepared, ANONYMOUS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("subscription { a: viewer { email } b: viewer { email } }", "only one top level field"),
        ("subscription { __typename }", "introspection"),
        ("subscription ($a: Boolean!) { viewer @include(if: $a) { email } }", "@include"),
        ('subscription { node(id: "x") @skip(if: true) { id } }', "@skip"),
    ],
)
async def test_what_cannot_be_followed_is_refused(here: Process, text: str, message: str) -> None:
    with pytest.raises(Refused) as refused:
        here.operations.prepare(Params(text, variables={"a": True}), open_schema=True)
    assert message in refused.value.errors[0].message


async def test_a_database_that_was_away_has_lost_nothing(
    here: Process, db: asyncpg.Connection
) -> None:
    ada = await make.person(db)
    follower = await here.begin()
    await db.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = 'community-gql'"
    )
    story = await make.story(db, ada)
    await follower.count(1)
    assert kinds(follower) == {story.id: "APPEARED"}


def test_the_root_of_stories_is_known_to_the_compiler() -> None:
    from community_gql.schema.executable import core
    from community_gql.schema.kinds import declared

    assert core.subscription_type is not None
    assert isinstance(declared(core.subscription_type.fields["stories"]), StoryChangesField)
