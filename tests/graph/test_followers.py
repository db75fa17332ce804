"""Who is told of a change, by one statement for many: the same as the rule says for each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import asyncpg
import pytest
from sqlalchemy import select
from sqlalchemy.orm import aliased

from community_gql.db import models as m
from community_gql.db.changes import Change
from community_gql.db.database import opened
from community_gql.graph.followers import net
from community_gql.graph.for_many import written
from community_gql.graph.visibility import audience, rule
from tests.support import factories as make


async def test_the_audience_of_a_story_is_those_whom_its_rule_admits(
    database_url: str, db: asyncpg.Connection
) -> None:
    ada, ben, cleo, dan = await make.people(db, 4)
    await make.friendship(db, ada, ben)
    await make.friendship(db, cleo, ada)
    await make.friendship(db, dan, ada, accepted=False)
    await make.friendship(db, ben, dan)
    for author in (ada, ben, dan):
        for visibility in m.StoryVisibility:
            await make.story(db, author, visibility=visibility)
    story = aliased(m.Story)
    viewers = [ada.sub, ben.sub, cleo.sub, dan.sub, None]
    async with opened(database_url) as database:
        snapshot = database.snapshot()
        shown = select(story.id, audience(story)).select_from(story)
        of_rows = dict(tuple(row) for row in await snapshot.run(shown, {}))
        assert len(of_rows) == 9
        for viewer in viewers:
            admitted = {
                row[0]
                for row in await snapshot.run(
                    select(story.id).where(rule(story)), {"viewer": viewer}
                )
            }
            told = {key for key, people in of_rows.items() if people is None or viewer in people}
            assert told == admitted, viewer
        await snapshot.close()


@pytest.mark.parametrize(
    "value",
    [
        ["a", 'b"c', "d\\e", "{f,g}", "", "NULL", " h ", "i'j", "ü→"],
        ["null"],
        "x'\"\\{}",
        datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        datetime(2026, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=-9, minutes=-30))),
        None,
        12,
    ],
)
async def test_a_value_survives_being_written_as_a_text(
    db: asyncpg.Connection, value: object
) -> None:
    type_ = {list: "varchar[]", datetime: "timestamptz", int: "bigint"}.get(type(value), "varchar")
    assert await db.fetchval(f"SELECT $1::text::{type_}", written(value)) == value


def change(id_: int, key: str, *, is_new: bool = False, text: bool = False) -> Change:
    now = datetime.now(UTC)
    return Change(1, id_, "stories", key, [], is_new, text, None, now)


def test_changes_of_one_story_become_one() -> None:
    edit, tag = change(1, "7", text=True), change(4, "7")
    new, again = change(2, "30", is_new=True), change(3, "30")
    other = change(5, "9")._replace(entity="habits")
    found = net([edit, new, again, tag, other])
    assert [(s.key, s.first.id, s.last.id, s.text_changed, s.was_there) for s in found] == [
        (7, 1, 4, True, True), (30, 2, 3, False, False)
    ]  # fmt: skip


def test_a_story_that_was_written_after_all_was_not_there() -> None:
    """A statement that writes into two tables may record the second change first."""
    (found,) = net([change(1, "7"), change(2, "7", is_new=True)])
    assert not found.was_there
