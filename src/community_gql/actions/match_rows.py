"""Taking people out of lists of matches, for actions: under a lock, with marks for new lists."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CTE, ColumnElement, Select, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert

from community_gql.db import models as m
from community_gql.db.database import Transaction
from community_gql.db.texts import Fixed
from community_gql.graph.exclusions import MATCH_ROWS

_MARK = """
    INSERT INTO stale_lists (user_id, at)
    SELECT user_id, clock_timestamp() FROM {whose} ORDER BY user_id
    ON CONFLICT (user_id) DO UPDATE SET at = excluded.at
"""


async def lock_match_rows(session: Transaction) -> None:
    """Lock the rows of matches, before anything else is locked."""
    await session.run(_LOCK)


_LOCK = Fixed(select(func.pg_advisory_xact_lock(MATCH_ROWS)))  # unscoped: a lock, no rows


def under_match_rows(locks: Select[Any], *, shared: bool = False) -> Fixed:
    """A statement that does ``lock_match_rows`` before it locks and reads its own rows.

    ``shared`` is for what only writes lists.
    """
    lock = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
    held = select(lock(MATCH_ROWS).label("held")).cte("held")  # unscoped: a lock, no rows
    counted = select(func.count()).select_from(held).scalar_subquery()  # unscoped: the same
    return Fixed(locks.where(counted == 1))


def taken_out(cause: CTE, matches: ColumnElement[bool]) -> tuple[CTE, CTE]:
    """Parts of a statement: take these matches out of lists if ``cause`` has a row, with marks."""
    row, mark = m.MatchResult, m.stale_lists
    gone = delete(row).where(matches, cause.c.id.is_not(None)).returning(row.user_id).cte("gone")
    lost = select(gone.c.user_id).distinct().cte("lost")  # unscoped: marks them, shows nothing
    # unscoped: the same
    people = select(lost.c.user_id, func.clock_timestamp()).order_by(lost.c.user_id)
    marks = insert(mark).from_select(["user_id", "at"], people)
    marked = marks.on_conflict_do_update(index_elements=["user_id"], set_={"at": marks.excluded.at})
    return gone, marked.cte("marked")


async def take_out_pair(session: Transaction, one: str, other: str) -> None:
    """Take two people out of each other's lists, for new ones to be made."""
    await session.run(_PAIR, {"one": one, "other": other})


async def take_out_one(session: Transaction, owner: str, target: str) -> int | None:
    """Take ``target`` out of the owner's list; the key of the match, None if there was none."""
    found = await session.first(_ONE, {"owner": owner, "target": target})
    return None if found.id is None else int(found.id)


async def take_out_everywhere(session: Transaction, person: str) -> None:
    """Remove a person's features and list, and take them out of all lists."""
    for statement in (_FEATURES, _EVERYWHERE, _OWN_MARK):
        await session.run(statement, {"person": person})


async def mark_lists(session: Transaction, *people: str) -> None:
    """Have new lists made for these people."""
    await session.run(_MARKED, {"people": list(people)})


async def mark_features(session: Transaction, person: str) -> None:
    """Have a new vector made for this person."""
    await session.run(_STALE, {"people": [person]})


_PAIR = Fixed(
    # unscoped: of the people that the action concerns; shown to nobody
    text(f"""
    WITH gone AS (
      DELETE FROM match_results
      WHERE (user_id = :one AND target_user_id = :other)
        OR (user_id = :other AND target_user_id = :one)
      RETURNING user_id
    )
    {_MARK.format(whose="(SELECT DISTINCT user_id FROM gone) AS lost")}
""")
)
_ONE = Fixed(
    # unscoped: the owner's, and shown to the owner
    text(f"""
    WITH gone AS (
      DELETE FROM match_results WHERE user_id = :owner AND target_user_id = :target
      RETURNING user_id, id
    ), marked AS ({_MARK.format(whose="(SELECT DISTINCT user_id FROM gone) AS lost")})
    SELECT max(id) AS id FROM gone
""")
)
# unscoped: the person's own
_FEATURES = Fixed(text("DELETE FROM user_features WHERE user_id = :person"))
_EVERYWHERE = Fixed(
    # unscoped: takes the person out; shown to nobody
    text(f"""
    WITH gone AS (
      DELETE FROM match_results WHERE user_id = :person OR target_user_id = :person
      RETURNING user_id
    )
    {_MARK.format(whose="(SELECT DISTINCT user_id FROM gone WHERE user_id <> :person) AS lost")}
""")
)
# unscoped: the person's own
_OWN_MARK = Fixed(text("DELETE FROM stale_lists WHERE user_id = :person"))
# unscoped: writes marks, and shows nothing
_MARKED = Fixed(text(_MARK.format(whose="unnest(CAST(:people AS varchar[])) AS marked (user_id)")))
# unscoped: writes marks, and shows nothing
_STALE = Fixed(text("SELECT mark_stale_features(CAST(:people AS varchar[]))"))
