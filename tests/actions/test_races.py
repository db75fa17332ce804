"""What happens at the same time, on connections of their own."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from community_gql.actions import (
    accounts,
    friendships,
    gardens,
    habits,
    match_choices,
    matching,
    profiles,
    stories,
    tags,
)
from community_gql.db import models as m
from community_gql.db.database import WRITE_ATTEMPTS, Transaction, opened, sqlstate
from community_gql.errors import AccountGone, Code, Rejected, Unavailable
from community_gql.graph.visibility import Viewer
from community_gql.schema.context import Context
from community_gql.settings.checks import plain_address
from tests.support import factories as make
from tests.support import writing
from tests.support.factories import Person
from tests.support.writing import waiting

from .conftest import Writer


def all_begun(action: Callable[..., Awaitable[Any]], count: int) -> Callable[..., Awaitable[Any]]:
    """The action, but it starts when that many of them are in their transactions."""
    begun, gate = itertools.count(1), asyncio.Event()

    async def together(session: Transaction, viewer: Viewer, **given: Any) -> Any:
        await session.run(text("SELECT 1"))
        if next(begun) == count:
            gate.set()
        await gate.wait()
        return await action(session, viewer, **given)

    return together


def outcome(result: Any) -> str:
    """``done``, or the code of the only reason for a refusal."""
    if isinstance(result, Rejected):
        (error,) = result.errors
        return error.code
    if isinstance(result, AccountGone):
        return "UNAUTHENTICATED"
    if isinstance(result, BaseException):
        raise result
    return "done"


async def at_once(*work: Coroutine[Any, Any, Any]) -> Counter[str]:
    """How often each outcome came when all of it ran at once. Raises what is a fault."""
    results = await asyncio.gather(*work, return_exceptions=True)
    return Counter(map(outcome, results))


async def wrong_caches(db: asyncpg.Connection) -> list[Any]:
    """The stories whose ``tags_cached`` is not what their tags say."""
    found = await db.fetch("""
        SELECT id, tags_cached, names FROM stories s CROSS JOIN LATERAL (
          SELECT ARRAY(
            SELECT t.name FROM story_tags JOIN tags t ON t.id = tag_id WHERE story_id = s.id
            ORDER BY t.name
          )::varchar[] AS names
        ) AS really WHERE tags_cached <> names
    """)
    return list(found)


# --- One of many ---


async def test_fifty_gardens_at_once_are_one(act: Writer, db: asyncpg.Connection) -> None:
    ada = await make.person(db)
    create = all_begun(gardens.create, 50)

    outcomes = await at_once(*(act(create, ada, name=f"garden {n}") for n in range(50)))

    assert outcomes == {"done": 1, "GARDEN_ALREADY_EXISTS": 49}
    assert await db.fetchval("SELECT count(*) FROM gardens") == 1


async def test_one_name_for_fifty_habits_at_once(act: Writer, db: asyncpg.Connection) -> None:
    ada, daily = await make.person(db), m.HabitFrequency.DAILY
    create = all_begun(habits.create, 50)

    outcomes = await at_once(*(act(create, ada, name="walk", frequency=daily) for _ in range(50)))

    assert outcomes == {"done": 1, "HABIT_ALREADY_EXISTS": 49}
    others = [await make.habit(db, ada) for _ in range(10)]
    update = all_begun(habits.update, 10)
    outcomes = await at_once(*(act(update, ada, id=each.key, name="run") for each in others))
    assert outcomes == {"done": 1, "HABIT_ALREADY_EXISTS": 9}
    assert await db.fetchval("SELECT count(*) FROM habits WHERE name IN ('walk', 'run')") == 2


async def test_one_name_for_ten_tags_at_once(act: Writer, db: asyncpg.Connection) -> None:
    moderator = await make.person(db, permissions=["manage:tags"])
    outcomes = await at_once(
        *(act(all_begun(tags.create, 1), moderator, name="moss") for _ in range(10))
    )
    assert outcomes == {"done": 1, "TAG_ALREADY_EXISTS": 9}


async def test_the_fiftieth_tag_is_added_once(act: Writer, db: asyncpg.Connection) -> None:
    chosen = [await make.tag(db) for _ in range(59)]
    ada = await make.person(db, tags=chosen[:49])
    add = all_begun(tags.add, 10)

    outcomes = await at_once(*(act(add, ada, names=[each.name]) for each in chosen[49:]))

    assert outcomes == {"done": 1, "TOO_MANY": 9}
    assert await db.fetchval("SELECT count(*) FROM user_tags") == 50


# --- Friendships ---


async def test_asking_each_other_at_once_makes_one_accepted_friendship(
    act: Writer, db: asyncpg.Connection
) -> None:
    people = [await make.person(db) for _ in range(40)]
    pairs = list(zip(people[::2], people[1::2], strict=True))
    request = all_begun(friendships.request, 40)

    keys = await asyncio.gather(
        *(
            act(request, one, user_id=other.public_id)
            for pair in pairs
            for one, other in (pair, pair[::-1])
        )
    )

    assert keys[::2] == keys[1::2]
    found = await db.fetch("SELECT status FROM friendships")
    assert [row["status"] for row in found] == ["accepted"] * 20
    assert act.deadlocks == []


async def test_a_friendship_asked_for_accepted_and_ended_at_once(
    act: Writer, db: asyncpg.Connection
) -> None:
    ada, bea = await make.person(db), await make.person(db)
    codes: Counter[str] = Counter()
    for _ in range(20):
        row = await make.friendship(db, ada, bea, accepted=False)
        codes += await at_once(
            act(friendships.request, ada, user_id=bea.public_id),
            act(friendships.request, bea, user_id=ada.public_id),
            act(friendships.accept, bea, id=row.key),
            act(friendships.end, ada, id=row.key),
            act(friendships.end, bea, id=row.key),
        )
        assert await db.fetchval("SELECT count(*) FROM friendships") <= 1
        await db.execute("DELETE FROM friendships")
    assert codes.keys() <= {"done", "NOT_FOUND"}
    assert act.deadlocks == []


# --- Two edits ---


@pytest.mark.parametrize("given", [{"title": "x"}, {"tags": ["moss"]}, {"tags": ["fern"]}])
async def test_of_two_edits_with_the_same_moment_one_wins(
    given: dict[str, Any], act: Writer, db: asyncpg.Connection
) -> None:
    moss, _ = await make.tag(db, "moss"), await make.tag(db, "fern")
    ada = await make.person(db)
    for _ in range(5):
        story = await make.story(db, ada, tags=[moss])
        seen = await db.fetchval("SELECT updated_at FROM stories WHERE id = $1", story.key)
        update = all_begun(stories.update, 2)
        one = given if given != {"tags": ["moss"]} else {"tags": []}
        outcomes = await at_once(
            act(update, ada, id=story.key, **one, expected_updated_at=seen),
            act(update, ada, id=story.key, content="y", expected_updated_at=seen),
        )
        assert outcomes == {"done": 1, "CONFLICT": 1}


async def test_of_two_saves_of_a_profile_one_wins(act: Writer, db: asyncpg.Connection) -> None:
    ada = await make.person(db, "Ada")
    for n in range(5):
        seen = await db.fetchval("SELECT updated_at FROM user_profiles")
        update = all_begun(profiles.update, 2)
        outcomes = await at_once(
            act(update, ada, display_name=f"a {n}", expected_updated_at=seen),
            act(update, ada, bio=f"b {n}", expected_updated_at=seen),
        )
        assert outcomes == {"done": 1, "CONFLICT": 1}
    assert act.deadlocks == []


# --- Tags while stories are tagged ---


async def test_moderating_tags_while_stories_are_written(
    act: Writer, db: asyncpg.Connection
) -> None:
    names = [f"t{n}" for n in range(8)]
    for name in names:
        await make.tag(db, name)
    moderator = await make.person(db, permissions=["manage:tags"])
    writers = [await make.person(db) for _ in range(4)]
    started = [
        await make.story(db, who, tags=()) for who in writers for _ in range(5)
    ]  # fmt: skip
    mine = {
        who.sub: [story.key for story in started[n * 5 : n * 5 + 5]]
        for n, who in enumerate(writers)
    }
    dice = random.Random(5)
    codes: Counter[str] = Counter()

    async def note(work: Coroutine[Any, Any, Any]) -> Any:
        result: Any = (await asyncio.gather(work, return_exceptions=True))[0]
        codes[outcome_of_many(result)] += 1
        return None if isinstance(result, BaseException) else result

    def some() -> list[str]:
        return dice.sample(names, dice.randint(0, 4))

    async def write(who: Person) -> None:
        for _ in range(40):
            key = dice.choice(mine[who.sub])
            what = dice.random()
            if what < 0.2:
                made = await note(act(stories.create, who, title="a", content="b", tags=some()))
                if made:
                    mine[who.sub].append(made)
            elif what < 0.3 and len(mine[who.sub]) > 3:
                mine[who.sub].remove(key)
                await note(act(stories.delete, who, id=key))
            elif what < 0.5:
                await note(act(tags.add if what < 0.4 else tags.remove, who, names=some()))
            else:
                await note(act(stories.update, who, id=key, tags=some(), title=str(what)))

    async def moderate() -> None:
        for _ in range(40):
            rows = await act.database.write(
                lambda session: session.run(text("SELECT id FROM tags ORDER BY random() LIMIT 2"))
            )
            keys = [row[0] for row in rows]
            what = dice.random()
            if len(keys) < 2 or what < 0.3:
                await note(act(tags.create, moderator, name=dice.choice(names)))
            elif what < 0.55:
                await note(act(tags.rename, moderator, id=keys[0], name=dice.choice(names)))
            elif what < 0.85:
                await note(act(tags.merge, moderator, from_id=keys[0], into_id=keys[1]))
            else:
                await note(act(tags.delete, moderator, id=keys[0]))

    await asyncio.gather(*map(write, writers), moderate(), moderate())

    assert codes["done"] > 100
    assert codes.keys() <= {"done", "TAG_NOT_FOUND", "NOT_FOUND", "TAG_ALREADY_EXISTS"}
    assert await wrong_caches(db) == []
    assert act.deadlocks == []


def outcome_of_many(result: Any) -> str:
    if isinstance(result, Rejected):
        codes = {error.code for error in result.errors}
        assert len(codes) == 1, result
        return codes.pop()
    return outcome(result)


async def in_transaction(database_url: str, *statements: tuple[Any, ...]) -> asyncpg.Connection:
    """A connection that has run the statements and not committed: ``ROLLBACK`` or ``COMMIT`` it."""
    connection = await asyncpg.connect(plain_address(database_url))
    await connection.execute("BEGIN")
    for statement in statements:
        await connection.execute(*statement)
    return connection


async def meanwhile(
    db: asyncpg.Connection, other: asyncpg.Connection, work: Coroutine[Any, Any, Any]
) -> Any:
    """Start the work, wait until it waits for ``other``, commit that, and return the result."""
    task = asyncio.create_task(work)
    await asyncio.wait(
        {task, waits := asyncio.create_task(waiting(db))}, return_when="FIRST_COMPLETED"
    )
    assert not task.done(), "it did not wait"
    await waits
    await other.execute("COMMIT")
    await other.close()
    return await task


async def test_merging_while_a_story_and_an_account_with_the_tag_are_deleted(
    act: Writer, db: asyncpg.Connection, database_url: str
) -> None:
    moss, fern = await make.tag(db, "moss"), await make.tag(db, "fern")
    moderator = await make.person(db, permissions=["manage:tags"])
    ada, bea = await make.person(db, tags=[moss]), await make.person(db, tags=[moss])
    going = await make.story(db, bea, tags=[moss, fern])
    await make.story(db, ada, tags=[moss])
    kept = await make.story(db, bea, tags=[moss])
    for delete in (
        ("DELETE FROM stories WHERE id = $1", going.key),
        ("DELETE FROM users WHERE auth0_sub = $1", ada.sub),
    ):
        again = await make.tag(db)
        await db.execute("INSERT INTO story_tags SELECT id, $1 FROM stories", again.key)
        await db.execute("INSERT INTO user_tags SELECT auth0_sub, $1 FROM users", again.key)
        other = await in_transaction(database_url, delete)
        await meanwhile(db, other, act(tags.merge, moderator, from_id=again.key, into_id=fern.key))
    assert await db.fetchval("SELECT array_agg(id) FROM stories") == [kept.key]
    assert await wrong_caches(db) == []
    assert act.deadlocks == []


async def test_a_tag_that_goes_while_a_story_waits_for_it_is_named(
    act: Writer, db: asyncpg.Connection, database_url: str
) -> None:
    ada = await make.person(db)
    for statement in ("DELETE FROM tags WHERE name = 'moss'", "UPDATE tags SET name = 'fern'"):
        await make.tag(db, "moss")
        other = await in_transaction(database_url, (statement,))
        with pytest.raises(Rejected) as refused:
            await meanwhile(
                db, other, act(stories.create, ada, title="a", content="b", tags=["moss"])
            )
        assert [error.code for error in refused.value.errors] == [Code.TAG_NOT_FOUND]


async def test_a_merge_waits_for_whoever_is_choosing_tags(
    act: Writer, db: asyncpg.Connection, database_url: str
) -> None:
    """Both lock the person: what a row of a tag has of their name must not change meanwhile."""
    moss, fern = await make.tag(db, "moss"), await make.tag(db, "fern")
    moderator = await make.person(db, permissions=["manage:tags"])
    ada = await make.person(db, tags=[moss])
    lock = "SELECT FROM users WHERE auth0_sub = $1 FOR NO KEY UPDATE"
    person = await in_transaction(database_url, (lock, ada.sub))

    merging = asyncio.create_task(act(tags.merge, moderator, from_id=moss.key, into_id=fern.key))
    await asyncio.sleep(0.2)
    assert not merging.done()
    await person.execute("COMMIT")
    await person.close()
    await merging
    assert await db.fetchval("SELECT tag_id FROM user_tags") == fern.key


async def test_nobody_locks_rows_of_others(act: Writer, db: asyncpg.Connection) -> None:
    ada, bea = await make.person(db, "Ada"), await make.person(db)
    story, garden = await make.story(db, ada), await make.garden(db, ada)
    gate, refused = asyncio.Event(), asyncio.Event()

    async def held(session: Transaction, viewer: Viewer) -> None:
        for action, given in (
            (stories.update, {"id": story.key}),
            (stories.delete, {"id": story.key}),
            (gardens.delete, {"id": garden.key}),
            (accounts.delete, {"id": ada.public_id}),
        ):
            with pytest.raises(Rejected):
                await action(session, viewer, **given)
        refused.set()
        await gate.wait()

    task = asyncio.create_task(act(held, bea))
    await refused.wait()
    await db.execute("SET lock_timeout = '1s'")
    for table in ("users", "stories", "gardens"):
        await db.execute(f"SELECT FROM {table} FOR UPDATE")
    gate.set()
    await task


# --- The end of an account ---


async def test_an_account_is_deleted_while_it_writes(act: Writer, db: asyncpg.Connection) -> None:
    moss, _ = await make.tag(db, "moss"), await make.tag(db, "fern")
    moderator = await make.person(db, permissions=["manage:tags"])
    machine = make.machine("write:features", "write:matches")
    bea = await make.person(db, "Bea")
    codes: Counter[str] = Counter()
    for n in range(12):
        ada = await make.person(db, "Ada", tags=[moss])
        mine = [await make.story(db, ada, tags=[moss]) for _ in range(3)]
        habit, garden = await make.habit(db, ada), await make.garden(db, ada)
        asked = await make.friendship(db, bea, ada, accepted=False)
        key = ada.public_id
        both = [matching.Match(key, bea.public_id, 0.5), matching.Match(bea.public_id, key, 0.5)]
        work: Sequence[tuple[Callable[..., Awaitable[Any]], Person, dict[str, Any]]] = [
            (profiles.update, ada, {"display_name": f"Ada {n}"}),
            (profiles.update, ada, {"bio": "x"}),
            (stories.create, ada, {"title": "a", "content": "b", "tags": ["moss"]}),
            (stories.create, ada, {"title": "a", "content": "b", "idempotency_key": "k"}),
            (stories.create, ada, {"title": "a", "content": "b", "idempotency_key": "k"}),
            (stories.update, ada, {"id": mine[0].key, "tags": ["fern"], "title": "c"}),
            (stories.delete, ada, {"id": mine[1].key}),
            (habits.create, ada, {"name": "read", "frequency": m.HabitFrequency.DAILY}),
            (habits.update, ada, {"id": habit.key, "name": "run"}),
            (gardens.update, ada, {"id": garden.key, "name": "run"}),
            (tags.add, ada, {"names": ["fern"]}),
            (tags.remove, ada, {"names": ["moss"]}),
            (friendships.accept, ada, {"id": asked.key}),
            (friendships.request, ada, {"user_id": bea.public_id}),
            (friendships.request, bea, {"user_id": key}),
            (accounts.delete, ada, {"id": key}),
            (accounts.delete, ada, {"id": key}),
            (matching.put_features, machine, {"features": [matching.Features(key, [1.0])]}),
            (matching.put_matches, machine, {"matches": both}),
            (tags.rename, moderator, {"id": moss.key, "name": f"moss{n}"}),
            (tags.rename, moderator, {"id": moss.key, "name": "moss"}),
        ]
        shuffled = random.Random(n).sample(work, len(work))
        results = await asyncio.gather(
            *(act(action, who, **given) for action, who, given in shuffled), return_exceptions=True
        )
        codes.update(map(outcome_of_many, results))

        left = await writing.rows(db)
        graves = left.pop("deleted_accounts")
        left.pop("changes")  # for live updates, kept an hour
        assert len(graves) == n + 1
        assert ada.sub not in str(left)
    allowed = {"done", "NOT_FOUND", "UNAUTHENTICATED", "TAG_NOT_FOUND"}
    assert codes.keys() <= allowed  # the last one: while the tag had another name
    assert codes["done"] > 12
    assert await wrong_caches(db) == []
    assert act.deadlocks == []


@pytest.mark.parametrize("seed", range(3))
async def test_a_crowd_deletes_its_accounts_while_others_write(
    act: Writer, db: asyncpg.Connection, seed: int
) -> None:
    """Everybody knows everybody, has the same few tags, and does everything at once."""
    dice = random.Random(seed)
    moderator = await make.person(db, permissions=["manage:tags"])
    machine = make.machine("write:features", "write:matches")
    vocabulary = [await make.tag(db) for _ in range(6)]
    people = [await make.person(db, "P", tags=dice.sample(vocabulary, 3)) for _ in range(16)]
    work: list[tuple[Callable[..., Awaitable[Any]], Person, dict[str, Any]]] = []

    def some() -> list[str]:
        return [each.name for each in dice.sample(vocabulary, 2)]

    for who in people:
        for _ in range(2):
            story = (await make.story(db, who, tags=dice.sample(vocabulary, 2))).key
            work += [(stories.update, who, {"id": story, "tags": some()})]
        work += [(stories.delete, who, {"id": story})]
    for one, other in itertools.combinations(people, 2):
        asking, asked = dice.sample((one, other), 2)
        accepted = dice.random() < 0.6
        friendship = (await make.friendship(db, asking, asked, accepted=accepted)).key
        if dice.random() < 0.4:
            act_on = friendships.end if dice.random() < 0.5 else friendships.accept
            work += [(act_on, asked, {"id": friendship})]
    pairs = itertools.permutations([who.public_id for who in people], 2)
    matches = [matching.Match(one, other, 0.5) for one, other in pairs]
    for who in people:
        them, third = (each.public_id for each in dice.sample(people, 2))
        work += [
            (friendships.request, who, {"user_id": them}),
            (match_choices.dismiss, who, {"user_id": them}),
            (match_choices.restore, who, {"user_id": third}),
            (match_choices.update, who, {"wanted": dice.random() < 0.5}),
            (habits.create, who, {"name": "read", "frequency": m.HabitFrequency.DAILY}),
            (stories.create, who, {"title": "a", "content": "b", "tags": some()}),
            (tags.add, who, {"names": some()}),
            (tags.remove, who, {"names": some()}),
            (profiles.update, who, {"display_name": "Q"}),
            (matching.put_features, machine, {"features": [matching.Features(them, [1.0])]}),
        ]
    gone = people[:11]
    work += [(accounts.delete, who, {"id": who.public_id}) for who in gone]
    for from_, into in itertools.pairwise(vocabulary):
        work += [
            (matching.put_matches, machine, {"matches": dice.sample(matches, 40)}),
            (tags.rename, moderator, {"id": from_.key, "name": f"{from_.name} again"}),
            (tags.merge, moderator, {"from_id": from_.key, "into_id": into.key}),
        ]
    work += [(tags.delete, moderator, {"id": vocabulary[-1].key})]

    dice.shuffle(work)
    turns = asyncio.Semaphore(50)

    async def run(action: Callable[..., Awaitable[Any]], who: Person, given: dict[str, Any]) -> str:
        async with turns:
            try:
                return outcome(await act(action, who, **given))
            except Rejected as error:  # some of them for two reasons
                return max(problem.code for problem in error.errors)
            except AccountGone as error:
                return outcome(error)

    codes = Counter(await asyncio.gather(*(run(*each) for each in work)))
    allowed = {"done", "NOT_FOUND", "UNAUTHENTICATED", "TAG_NOT_FOUND", "INVALID"}
    assert codes.keys() <= allowed
    assert codes["done"] > 50
    assert await db.fetchval("SELECT count(*) FROM deleted_accounts") == len(gone)
    assert await wrong_caches(db) == []
    assert act.deadlocks == []


# --- Retries ---


async def test_a_deadlock_is_not_seen_by_those_in_it(act: Writer, db: asyncpg.Connection) -> None:
    one, other = await make.person(db), await make.person(db)
    attempts = 0
    met = asyncio.Barrier(2)

    async def crossing(session: Transaction, first: Person, second: Person) -> Any:
        nonlocal attempts
        attempts += 1
        lock = text("SELECT auth0_sub FROM users WHERE auth0_sub = :sub FOR UPDATE")
        await session.run(lock, {"sub": first.sub})
        if attempts <= 2:
            await met.wait()
        return (await session.first(lock, {"sub": second.sub}))[0]

    write = act.database.write
    found = await asyncio.gather(
        write(lambda session: crossing(session, one, other)),
        write(lambda session: crossing(session, other, one)),
    )

    assert list(found) == [other.sub, one.sub]
    assert attempts == 3
    assert len(act.deadlocks) == 1


@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_retries_end(state: str, act: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = 0
    fail = text(f"DO $$ BEGIN RAISE 'again' USING ERRCODE = '{state}'; END $$")

    async def always(session: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        await session.run(fail)

    async def at_once(_: float) -> None: ...

    monkeypatch.setattr("community_gql.db.database.asyncio.sleep", at_once)
    with pytest.raises(Exception, match="again") as failure:
        await act.database.write(always)
    assert sqlstate(failure.value) == state
    assert attempts == WRITE_ATTEMPTS


async def test_whoever_waits_too_long_for_a_lock_is_told_to_come_back(
    db: asyncpg.Connection, database_url: str
) -> None:
    ada = await make.person(db)
    garden = await make.garden(db, ada)
    other = await in_transaction(database_url, ("UPDATE gardens SET name = 'x'",))
    async with opened(database_url, statement_timeout=0.1) as database:
        viewer = Viewer(ada.sub)
        context = Context(viewer, database)
        with pytest.raises(Unavailable):
            await context.write(lambda s: gardens.update(s, viewer, id=garden.key, name="y"))
        await context.close()
    await other.execute("ROLLBACK")
    await other.close()
    assert await db.fetchval("SELECT name FROM gardens") == garden.name
