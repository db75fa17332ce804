"""Runs over a real database: what changed and nothing else is made anew, as a full batch would."""

from __future__ import annotations

import math
import random
from typing import Any

import asyncpg
import pytest

from community_gql.actions import accounts, friendships, match_choices, matching, stories, tags
from community_gql.db.models import StoryVisibility
from community_gql.matching import recipe, running
from community_gql.matching.running import MatchingError
from tests.actions.conftest import Writer
from tests.matching.conftest import community, lists, made_anew, matched, quiet
from tests.support import factories as make
from tests.support.factories import Person, Row

pytestmark = pytest.mark.usefixtures("small_steps")


async def test_a_run_and_another_that_has_nothing_to_do(
    db: asyncpg.Connection, database_url: str
) -> None:
    words = [await make.tag(db) for _ in range(5)]
    ada = await make.person(db, "Ada", tags=words[:3])
    bea = await make.person(db, "Bea", tags=words[1:4])
    await make.person(db, "Cid", tags=words[4:])
    await make.people(db, 20)
    report = await matched(database_url)
    assert (report.vectors, report.lists, report.matches) == (3, 2, 2)
    found = await lists(db)
    ((_, score),) = found[ada.sub]
    assert found == {ada.sub: [(bea.sub, score)], bea.sub: [(ada.sub, score)]}
    rare, common = (math.log(23 / people) ** 1.5 for people in (1, 2))
    length = math.hypot(rare, common, common)
    assert score == pytest.approx(2 * (common / (length + 1)) ** 2, abs=0.002)
    report = await matched(database_url)
    assert (report.vectors, report.looked_at, report.lists) == (0, 0, 0)


# --- any sequence of changes ---


class World:
    """Random changes to a community, by everyone who can make them."""

    def __init__(self, db: asyncpg.Connection, act: Writer, chance: random.Random) -> None:
        self.db, self.act, self.chance = db, act, chance
        self.people: list[Person] = []
        self.words: list[Row] = []

    async def change(self) -> None:
        kinds = [
            *(self.choose, self.drop, self.write, self.hide, self.unwrite, self.journal),
            *(self.take_up, self.opt, self.dismiss, self.restore, self.befriend, self.part),
            *(self.join, self.leave, self.new_word),
        ]
        await self.chance.choice(kinds)()

    def someone(self) -> Person:
        return self.chance.choice(self.people)

    def word(self) -> Row:
        return self.chance.choice(self.words)

    async def choose(self) -> None:
        await self.act(tags.add, self.someone(), names=[self.word().name])

    async def drop(self) -> None:
        await self.db.execute("DELETE FROM user_tags WHERE user_id = $1", self.someone().sub)

    async def write(self) -> None:
        names = [self.word().name, self.word().name]
        given: Any = {"title": "x", "content": "y", "tags": names}
        given["visibility"] = self.chance.choice(list(StoryVisibility))
        await self.act(stories.create, self.someone(), **given)

    async def hide(self) -> None:
        to = self.chance.choice(("public", "private"))
        await self.db.execute(
            "UPDATE stories SET visibility = $1 WHERE user_id = $2", to, self.someone().sub
        )

    async def unwrite(self) -> None:
        await self.db.execute("DELETE FROM stories WHERE user_id = $1", self.someone().sub)

    async def journal(self) -> None:
        await self.db.execute(
            "INSERT INTO user_profiles (user_id, journaling_frequency) VALUES ($1, $2) "
            "ON CONFLICT (user_id) DO UPDATE SET journaling_frequency = $2",
            self.someone().sub,
            self.chance.choice((None, 0, 3, 7)),
        )

    async def take_up(self) -> None:
        who = self.someone()
        await self.db.execute("DELETE FROM habits WHERE user_id = $1", who.sub)
        await make.habit(self.db, who, self.chance.choice(("walk", "Sing", "paint", "row")))

    async def opt(self) -> None:
        name = self.chance.choice(("wanted", "habits"))
        await self.act(match_choices.update, self.someone(), **{name: self.chance.random() < 0.6})

    async def pair(self) -> tuple[Person, Person]:
        one, other = self.chance.sample(self.people, 2)
        return one, other

    async def dismiss(self) -> None:
        one, other = await self.pair()
        await self.act(match_choices.dismiss, one, user_id=other.public_id)

    async def restore(self) -> None:
        one, other = await self.pair()
        await self.act(match_choices.restore, one, user_id=other.public_id)

    async def befriend(self) -> None:
        one, other = await self.pair()
        await self.act(friendships.request, one, user_id=other.public_id)
        if self.chance.random() < 0.5:
            await self.act(friendships.request, other, user_id=one.public_id)

    async def part(self) -> None:
        row = await self.db.fetchrow("SELECT id, requester_id FROM friendships LIMIT 1")
        if row is not None:
            who = next(p for p in self.people if p.sub == row["requester_id"])
            await self.act(friendships.end, who, id=row["id"])

    async def join(self) -> None:
        self.people.append(await make.person(self.db, tags=[self.word(), self.word()][:1]))

    async def leave(self) -> None:
        if len(self.people) > 30:
            who = self.people.pop(self.chance.randrange(len(self.people)))
            await self.act(accounts.delete, who, id=who.public_id)

    async def new_word(self) -> None:
        self.words.append(await make.tag(self.db))
        await self.act(tags.add, self.someone(), names=[self.words[-1].name])


async def nobody_is_where_they_must_not_be(db: asyncpg.Connection) -> None:
    wrong = await db.fetch("""
        SELECT r.user_id, r.target_user_id FROM match_results r
        WHERE EXISTS (SELECT FROM match_choices c
            WHERE c.user_id IN (r.user_id, r.target_user_id) AND NOT wanted)
          OR EXISTS (SELECT FROM match_dismissals d
            WHERE (d.user_id, d.target_user_id) = (r.user_id, r.target_user_id))
          OR EXISTS (SELECT FROM friendships f
            WHERE (f.requester_id, f.addressee_id) = (r.user_id, r.target_user_id)
              OR (f.status = 'accepted'
                AND (f.addressee_id, f.requester_id) = (r.user_id, r.target_user_id)))
          OR r.user_id = r.target_user_id
    """)
    assert wrong == []


@pytest.mark.parametrize("seed", range(3))
async def test_any_sequence_of_changes_ends_as_a_full_batch_would(
    db: asyncpg.Connection, database_url: str, act: Writer, seed: int
) -> None:
    chance = random.Random(seed)
    world = World(db, act, chance)
    world.people, world.words = await community(db, 40, chance)
    await matched(database_url, top=6)
    for _ in range(4):
        for _ in range(chance.choice((1, 3, 12))):
            await world.change()
            await nobody_is_where_they_must_not_be(db)
        await matched(database_url)
        await nobody_is_where_they_must_not_be(db)
        assert await db.fetchval("SELECT count(*) FROM stale_features") == 0
        assert await db.fetchval("SELECT count(*) FROM stale_lists") == 0
    refreshed = await lists(db)
    assert len(refreshed) > 10
    assert await made_anew(db, database_url) == refreshed
    assert act.deadlocks == []


async def rows(db: asyncpg.Connection) -> dict[str, dict[int, str]]:
    """By person, the rows of their list, each with whom it is of."""
    found: dict[str, dict[int, str]] = {}
    for row in await db.fetch("SELECT user_id, id, target_user_id FROM match_results"):
        found.setdefault(row[0], {})[row[1]] = row[2]
    return found


async def test_only_what_changed_is_written(db: asyncpg.Connection, database_url: str) -> None:
    people, words = await community(db, 60, random.Random(1))
    await matched(database_url)
    before, was = await rows(db), await lists(db)
    await make.choose(db, people[5], next(w for w in words))
    report = await matched(database_url)
    after, now = await rows(db), await lists(db)
    written = {sub for sub in after if before.get(sub) != after[sub]}
    assert written == {sub for sub in now if now[sub] != was.get(sub)}
    assert report.lists == len(written) + len(was.keys() - now.keys())
    assert 0 < report.lists < 60
    # And of a list that holds them, the rows of others stay.
    new = {id: who for sub in after for id, who in after[sub].items() if id not in before[sub]}
    assert len(new) < sum(map(len, after.values())) / 3
    assert await made_anew(db, database_url) == now


# --- what is not public ---


async def test_what_is_not_public_moves_nobody(
    db: asyncpg.Connection, database_url: str, act: Writer
) -> None:
    """With all of it, the lists are the same to the last digit, also of a new version."""
    people, words = await community(db, 50, random.Random(5))
    strangers = await make.people(db, 3)
    await matched(database_url)
    without = await lists(db)
    for number, who in enumerate(people):
        for visibility in ("private", "friends"):
            await make.story(db, who, visibility=visibility, tags=words[number % 20 :][:3])
        email = "UPDATE users SET email = $2 WHERE auth0_sub = $1"
        await db.execute(email, who.sub, f"x{number}@y.z")
        await db.execute(
            "INSERT INTO user_profiles (user_id, bio) VALUES ($1, 'Moss.') "
            "ON CONFLICT (user_id) DO UPDATE SET bio = 'Moss.'",
            who.sub,
        )
        if number % 3:  # those who do not share theirs
            await make.habit(db, who, "walk")
            await make.habit(db, who, "a secret")
        await db.execute("UPDATE stories SET content = 'moss' WHERE user_id = $1", who.sub)
    for who in people[:20]:  # of people who are in no list
        await make.friendship(db, strangers[0], who)
        await make.friendship(db, who, strangers[1], accepted=False)
        await act(match_choices.dismiss, strangers[2], user_id=who.public_id)
    await running.run(database_url, "built-in", quiet, renew=True)
    assert await lists(db) == without
    # And as a check of this test: what is public does.
    await make.story(db, people[0], tags=words[:3])
    await matched(database_url)
    assert await lists(db) != without


# --- who marks ---

MARKS = {
    "a tag chosen": "INSERT INTO user_tags VALUES ('ben', 2)",
    "a tag dropped": "DELETE FROM user_tags WHERE user_id = 'ben'",
    "a tag deleted": "DELETE FROM tags WHERE id = 1",
    "a public story": "INSERT INTO story_tags VALUES (1, 2)",
    "a public story untagged": "DELETE FROM story_tags WHERE story_id = 1",
    "a public story deleted": "DELETE FROM stories WHERE id = 1",
    "a story hidden": "UPDATE stories SET visibility = 'private' WHERE id = 1",
    "a story shown": "UPDATE stories SET visibility = 'public' WHERE id = 2",
    "journaling": "UPDATE user_profiles SET journaling_frequency = 3 WHERE user_id = 'ben'",
    "the first profile": "INSERT INTO user_profiles VALUES ('cid', NULL, NULL, 3)",
    "a shared habit": "INSERT INTO habits (user_id, name, frequency) VALUES ('cid', 'a', 'daily')",
    "a shared habit renamed": "UPDATE habits SET name = 'b' WHERE user_id = 'cid'",
    "a shared habit dropped": "DELETE FROM habits WHERE user_id = 'cid'",
}
NO_MARKS = {
    "words": "UPDATE stories SET title = 'x', content = 'y'",
    "a private story": "INSERT INTO story_tags VALUES (2, 1)",
    "a private story deleted": "DELETE FROM stories WHERE id = 2",
    "a bio": "UPDATE user_profiles SET bio = 'x', display_name = 'y'",
    "a habit": "INSERT INTO habits (user_id, name, frequency) VALUES ('ben', 'a', 'daily')",
    "how often a habit": "UPDATE habits SET frequency = 'weekly'",
    "a rename": "UPDATE tags SET name = name || 'x'",
    "a friendship": "INSERT INTO friendships (requester_id, addressee_id) VALUES ('ben', 'cid')",
    "someone new": "INSERT INTO users (auth0_sub, email) VALUES ('new', 'new@x.y')",
}


@pytest.fixture
async def marked(db: asyncpg.Connection) -> asyncpg.Connection:
    await db.execute("""
        INSERT INTO users (auth0_sub, email) VALUES ('ben', 'b@x.y'), ('cid', 'c@x.y');
        INSERT INTO tags (id, name) VALUES (1, 'one'), (2, 'two'), (3, 'three');
        INSERT INTO user_profiles VALUES ('ben', NULL, NULL, 1);
        INSERT INTO user_tags VALUES ('ben', 1);
        INSERT INTO stories (id, user_id, title, content, visibility) VALUES
          (1, 'ben', 'a', 'b', 'public'), (2, 'ben', 'a', 'b', 'private');
        INSERT INTO story_tags VALUES (1, 3), (2, 3);
        INSERT INTO match_choices VALUES ('cid', true, true), ('ben', true, false);
        INSERT INTO habits (user_id, name, frequency) VALUES ('cid', 'z', 'daily');
        DELETE FROM stale_features;
    """)
    return db


@pytest.mark.parametrize("what", MARKS)
async def test_what_marks(marked: asyncpg.Connection, what: str) -> None:
    await marked.execute(MARKS[what])
    who = "cid" if "cid" in MARKS[what] else "ben"
    assert [tuple(r) for r in await marked.fetch("SELECT user_id FROM stale_features")] == [(who,)]


@pytest.mark.parametrize("what", NO_MARKS)
async def test_what_does_not_mark(marked: asyncpg.Connection, what: str) -> None:
    await marked.execute(NO_MARKS[what])
    assert await marked.fetch("SELECT user_id FROM stale_features") == []


async def test_whoever_is_deleted_by_hand_leaves_marks_for_those_who_listed_them(
    db: asyncpg.Connection,
) -> None:
    ada, bea, cid = await make.people(db, 3)
    await make.match_batch(db, ada, {bea: 0.5})
    await make.match_batch(db, bea, {ada: 0.5})
    await db.execute("DELETE FROM users WHERE auth0_sub = $1", bea.sub)
    assert [r[0] for r in await db.fetch("SELECT user_id FROM stale_lists")] == [ada.sub]
    await db.execute("DELETE FROM users")  # all at once, each in the lists of others
    assert await db.fetch("SELECT user_id FROM stale_lists") == []
    assert cid


# --- versions, and who makes the vectors ---


async def put(act: Writer, people: list[Person], version: int, chance: random.Random) -> None:
    vectors = [
        matching.Features(who.public_id, [chance.gauss(0, 3) for _ in range(5)], version)
        for who in people
    ]
    await act(matching.put_features, make.machine("write:features"), features=vectors)


async def test_lists_of_a_machines_vectors(
    db: asyncpg.Connection, database_url: str, act: Writer
) -> None:
    chance = random.Random(2)
    people, _ = await community(db, 30, chance)
    with pytest.raises(MatchingError, match="no program has put vectors yet"):
        await matched(database_url, "features")
    await put(act, people, 7, chance)
    await matched(database_url, "features", top=4)
    assert len(await lists(db)) == 30
    await put(act, people[:5], 7, chance)
    await put(act, people[:2], 8, chance)  # a version that few have yet
    await act(match_choices.update, people[9], wanted=False)
    await matched(database_url, "features")
    refreshed = await lists(db)
    assert people[9].sub not in {who for one in refreshed.values() for who, _ in one}
    assert await made_anew(db, database_url, "features") == refreshed
    with pytest.raises(MatchingError, match="vectors are of version 7"):
        await matched(database_url, "built-in")
    await running.run(database_url, "built-in", quiet, renew=True)
    assert await made_anew(db, database_url) != refreshed
    with pytest.raises(MatchingError, match="MATCHING is machine"):
        await matched(database_url, "machine")


@pytest.mark.parametrize("mode", ["built-in", "features"])
async def test_lists_that_a_program_puts_are_not_written_over(
    db: asyncpg.Connection, database_url: str, act: Writer, mode: running.Mode
) -> None:
    chance = random.Random(5)
    people, _ = await community(db, 20, chance)
    if mode == "features":
        await put(act, people, 7, chance)
    await matched(database_url, mode)
    nobody = await make.person(db)  # has no vector, so no run makes a list for them
    given = [matching.Match(who.public_id, people[0].public_id, 0.5) for who in (people[1], nobody)]
    for _ in range(2):
        await act(matching.put_matches, make.machine("write:matches"), matches=given)
    before = await lists(db)
    with pytest.raises(MatchingError, match=r"puts lists with putMatches, since 20.* --renew"):
        await matched(database_url, mode)
    assert await lists(db) == before
    await running.run(database_url, mode, quiet, renew=True)
    renewed = await lists(db)
    assert nobody.sub not in renewed
    assert await made_anew(db, database_url, mode) == renewed


async def test_another_length_of_lists(db: asyncpg.Connection, database_url: str) -> None:
    await community(db, 40, random.Random(3))
    await matched(database_url, top=2)
    assert max(map(len, (await lists(db)).values())) == 2
    await matched(database_url)
    assert max(map(len, (await lists(db)).values())) == 2
    await matched(database_url, top=9)
    found = await lists(db)
    assert max(map(len, found.values())) == 9
    assert await made_anew(db, database_url) == found
    with pytest.raises(MatchingError, match="1 to 100"):
        await matched(database_url, top=101)


async def versions(db: asyncpg.Connection) -> set[int]:
    return {row[0] for row in await db.fetch("SELECT version FROM user_features")}


async def test_a_new_version_when_no_place_is_left(
    db: asyncpg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "MIN_FREE", 1)
    people, _ = await community(db, 30, random.Random(4), tags=12)
    await matched(database_url)
    assert await versions(db) == {1}
    for who in people[:4]:
        await make.choose(db, who, await make.tag(db), await make.tag(db))
    await matched(database_url)
    assert await versions(db) == {2}
    refreshed = await lists(db)
    assert await made_anew(db, database_url) == refreshed
    await db.execute("UPDATE match_recipes SET created_at = created_at - interval '8 days'")
    await matched(database_url)
    assert await versions(db) == {3}
    assert await db.fetch("SELECT version FROM match_recipes WHERE version < 2") == []
