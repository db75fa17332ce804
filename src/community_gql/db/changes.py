"""What has changed since a moment: the record that triggers keep in the table ``changes``.

A moment is a snapshot of PostgreSQL's: which transactions had committed. What is new is what is
visible now and was not then. So nothing is missed and nothing comes twice, in whatever order
transactions begin and commit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Double,
    bindparam,
    column,
    func,
    literal_column,
    select,
    text,
    true,
    union_all,
)

from community_gql.db import models as m
from community_gql.db.database import Database, Transaction
from community_gql.db.snapshot import Snapshot
from community_gql.db.texts import Fixed

MOST_TEXT = 2048
"""Characters of a moment that are read; what is longer is too old."""
MOST_CHANGES = 10_000
"""So many changes are read at once; of more it is only told that they are too many."""
STEP = 10_000
"""About so many changes are forgotten in one transaction."""

_XMAX = "pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
_PLACE = """(SELECT system_identifier::text FROM pg_control_system())
  || '-' || CASE WHEN pg_is_in_recovery() THEN '00000000'
    ELSE substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END
  || '-' || (SELECT oid::text FROM pg_database WHERE datname = current_database())
  || '-' || to_hex(hashtextextended(concat_ws(' ', extract(epoch FROM pg_postmaster_start_time()),
    extract(epoch FROM pg_stat_get_bgwriter_stat_reset_time()), 'changes'::regclass::oid), 0))"""
# After a crash PostgreSQL gives the numbers of transactions again that were rolled back shortly
# before; a server that was restored from a copy of its disk gives all numbers again that came
# after the copy. When the server began, and when a crash last emptied its statistics, tell such
# histories apart; the oid of the table one that was restored from a dump.
MOMENT_SQL = f"({_PLACE} || '-' || pg_current_snapshot()::text)"
"""The text of the moment that a statement shows. A standby's is one that nobody remembers."""
# Both ORDER BY force the index. By themselves PostgreSQL's guesses, made for any values, may have
# it read all changes ten times a second to find that none is new.
_LATER_EXISTS = f"""EXISTS (
    SELECT FROM changes WHERE xid >= $1 AND xid < {_XMAX} ORDER BY xid, id LIMIT 1
  )"""
_THEN_RUNNING_EXISTS = """EXISTS (
    SELECT FROM unnest($2::bigint[]) AS then_running (xid) CROSS JOIN LATERAL (
      SELECT FROM changes WHERE changes.xid = then_running.xid ORDER BY changes.xid, id LIMIT 1
    ) AS found
  )"""


def _polls(shown: str) -> tuple[str, str]:
    """What shows this if nothing has changed: alone, and beside other transactions."""
    both = f"{_LATER_EXISTS} OR {_THEN_RUNNING_EXISTS}"
    alone, beside = (
        f"SELECT CASE WHEN NOT ({condition}) THEN {shown} END"
        for condition in (_LATER_EXISTS, both)
    )
    return alone, beside


_POLLS = _polls("pg_current_snapshot()::text")
_POLLS_WITH_PLACE = _polls(MOMENT_SQL)
# unscoped: the moment itself, and a number of the server's own
_now = text(f"""
    SELECT {MOMENT_SQL} AS moment, pg_is_in_recovery() AS is_standby,
      coalesce((SELECT seen FROM housekeeping WHERE job = 'changes'), 0) AS gone
""")
_NOW = Fixed(_now)
# The last part of the place was not always there.
_FORM = re.compile(r"(\d{1,20}-[0-9A-F]{8}-\d{1,10}(?:-[0-9a-f]{1,16})?)-([\d:,~]+)", re.ASCII)
_SNAPSHOT = re.compile(r"(\d{1,19}):(\d{1,19}):((?:\d{1,19}(?:,\d{1,19})*)?)", re.ASCII)


class Seen(NamedTuple):
    """Which transactions a snapshot shows: those below ``xmax`` that are not in ``xip``."""

    xmin: int
    xmax: int
    xip: frozenset[int]

    def shows(self, xid: int) -> bool:
        """Whether it shows what that transaction has written."""
        return xid < self.xmax and xid not in self.xip

    @classmethod
    def read(cls, text: str) -> Seen:
        """The snapshot that PostgreSQL writes so. Raises ValueError."""
        if (found := _SNAPSHOT.fullmatch(text)) is None:
            raise ValueError("not a snapshot")
        xmin, xmax, xip = found.groups()
        numbers = frozenset(map(int, xip.split(","))) if xip else frozenset()
        if max(int(xmin), int(xmax), *numbers) >= 2**63:
            raise ValueError("not a snapshot")
        return cls(int(xmin), int(xmax), numbers)

    def __str__(self) -> str:
        """As PostgreSQL writes it."""
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, sorted(self.xip)))}"


@dataclass(frozen=True, slots=True)
class Moment:
    """Up to where somebody was told.

    Mostly one snapshot. Somebody who was told in part is at the newer one with the keys up to a
    bound, and at the older one with the rest.
    """

    place: str
    """The server since it began, its timeline, database and table: xids mean nothing elsewhere."""
    seen: Seen
    """The oldest of its snapshots."""
    ahead: tuple[tuple[int, Seen], ...] = ()
    """Bounds in ascending order, and the newer snapshot for the keys up to each."""

    @classmethod
    def read(cls, text: str) -> Moment:
        """The moment with this text. Raises ValueError for what we would not have written."""
        if (found := _FORM.fullmatch(text)) is None:
            raise ValueError("not a moment")
        place, told = found.groups()
        *parts, last = told.split("~")
        snapshots, bounds = parts[::2], [int(bound) for bound in parts[1::2]]
        ahead = zip(bounds, map(Seen.read, snapshots), strict=True)
        moment = cls(place, Seen.read(last), tuple(ahead))
        if bounds != sorted(set(bounds)) or str(moment) != text:
            raise ValueError("not in the form that we write")
        return moment

    def __str__(self) -> str:
        """Its text, about 70 characters."""
        ahead = "".join(f"{seen}~{bound}~" for bound, seen in self.ahead)
        return f"{self.place}-{ahead}{self.seen}"

    def knows(self, key: int, xid: int) -> bool:
        """Whether somebody at this moment was told what that transaction did to this key."""
        for bound, seen in self.ahead:
            if key <= bound:
                return seen.shows(xid)
        return self.seen.shows(xid)

    def upto(self, key: int, now: Moment) -> Moment:
        """The moment of somebody who was also told what ``now`` shows of the keys up to ``key``."""
        later = ((bound, seen) for bound, seen in self.ahead if bound > key)
        return Moment(self.place, self.seen, ((key, now.seen), *later))


FORGOTTEN = Moment("", Seen(0, 0, frozenset()))
"""A moment that nobody remembers."""


class Change(NamedTuple):
    """A row that was written: inserted, updated or deleted."""

    xid: int
    id: int
    """In the order in which one row was changed."""
    entity: str
    """Its table."""
    key: str
    """Its primary key; the public key of a person; ``*`` for all rows of the table."""
    people: list[str]
    """Whose row it is, by ``auth0_sub``."""
    is_new: bool
    """Of a story: whether it was written by this."""
    text_changed: bool | None
    friends_changed: bool | None
    """Of a friendship: whether two people became friends by it, or ceased to be."""
    at: datetime


class Now(NamedTuple):
    """The moment that a snapshot shows."""

    moment: Moment
    gone: int
    """Changes of transactions below this are not kept any more."""
    is_standby: bool = False
    """Whether the server follows another one: it does not know which transactions run there."""

    def remembers(self, then: Moment) -> bool:
        """Whether everything that changed since then is still known."""
        newest = max((then.seen, *(seen for _, seen in then.ahead)), key=lambda seen: seen.xmax)
        return (
            then.place == self.moment.place
            and newest.xmax <= self.moment.seen.xmax
            and min(then.seen.xmin, then.seen.xmax, *then.seen.xip) >= self.gone
        )


async def now(snapshot: Snapshot) -> Now:
    """The moment that the snapshot shows. It begins with this."""
    (found,) = await snapshot.run(_NOW, {})
    return Now(Moment.read(found.moment), found.gone, found.is_standby)


_table = m.changes.c
_is_new = _table.user_id.is_(None) & (_table.entity == literal_column("'stories'"))
_columns = [
    *(_table.xid, _table.id, _table.entity, _table.key, _table.people, _is_new.label("is_new")),
    *(_table.text_changed, _table.friends_changed, _table.at),
]
# Two scans of the index. As one condition it would walk all changes in order, and with ANY for the
# second one PostgreSQL may read the whole table.
# unscoped: what has changed, for the server itself
_LATER = select(*_columns).where(
    _table.xid >= bindparam("xmax", type_=BigInteger),
    _table.xid < literal_column(_XMAX, BigInteger),
)
_xip = (
    func.unnest(bindparam("xip", type_=ARRAY(BigInteger)))
    .table_valued(column("xid", BigInteger))
    .render_derived(name="then_running")
)
_of_one = (
    # unscoped: the same
    select(*_columns).where(_table.xid == _xip.c.xid).order_by(_table.xid, _table.id).lateral()
)
# unscoped: the same
_THEN_RUNNING = select(*_of_one.c).select_from(_xip.join(_of_one, true()))
_MOST = literal_column(str(MOST_CHANGES + 1), BigInteger)
_SINCE = Fixed(_LATER.limit(_MOST))
_SINCE_BESIDE_OTHERS = Fixed(union_all(_LATER, _THEN_RUNNING).limit(_MOST))


async def changes_since(snapshot: Snapshot, seen: Seen) -> list[Change] | None:
    """What the snapshot shows and ``seen`` did not, in the order of each row's changes.

    None for more than MOST_CHANGES.
    """
    if seen.xip:
        given = {"xmax": seen.xmax, "xip": sorted(seen.xip)}
        rows = await snapshot.run(_SINCE_BESIDE_OTHERS, given)
    else:
        rows = await snapshot.run(_SINCE, {"xmax": seen.xmax})
    if len(rows) > MOST_CHANGES:
        return None
    return sorted((Change(*row) for row in rows), key=lambda change: change.id)


async def still(database: Database, then: Moment, *, same_place: bool = False) -> Moment | None:
    """The moment of now, if nothing has changed since ``then``; else None.

    ``same_place`` asks besides, for a little more, whether this is the same database, as it may not
    be behind a proxy, where no connection tells.
    """
    alone, beside = _POLLS_WITH_PLACE if same_place else _POLLS
    seen = then.seen
    if seen.xip:
        arguments: Sequence[Any] = (seen.xmax, sorted(seen.xip))
        found = await database.value(beside, arguments)
    else:
        found = await database.value(alone, (seen.xmax,))
    if found is None:
        return None
    if not same_place:
        return Moment(then.place, Seen.read(found))
    moment = Moment.read(found)
    return moment if moment.place == then.place else None


# A moment of before the bound may have to be answered with what is deleted here. Nothing that a
# transaction still runs beside is deleted, so that moments of now remain good. Rows of a future
# transaction come from another server, by a restored dump.
# unscoped: deletes what is old
_FORGET = text(f"""
    WITH oldest AS (
      SELECT xid, at FROM changes ORDER BY xid FETCH FIRST {STEP} ROWS WITH TIES
    ), bound AS (
      SELECT least(
        coalesce(
          (SELECT min(xid) FROM oldest WHERE at >= now() - make_interval(secs => :seconds)),
          (SELECT max(xid) + 1 FROM oldest)
        ),
        pg_snapshot_xmin(pg_current_snapshot())::text::bigint
      ) AS xid
    ), gone AS (
      DELETE FROM changes USING bound
      WHERE changes.xid < bound.xid OR changes.xid >= {_XMAX} RETURNING changes.xid
    ), noted AS (
      INSERT INTO housekeeping (job, done_at, seen)
      SELECT 'changes', now(), max(gone.xid) + 1 FROM gone, bound WHERE gone.xid < bound.xid
      HAVING count(*) > 0
      ON CONFLICT (job) DO UPDATE
        SET done_at = excluded.done_at, seen = greatest(housekeeping.seen, excluded.seen)
    )
    SELECT count(*) FROM gone
""").bindparams(bindparam("seconds", type_=Double))
# unscoped: an advisory lock
_ALONE = text("SELECT pg_try_advisory_xact_lock(:key)")
_LOCK = 0x636F6D6D77


async def forget_changes(session: Transaction, seconds: float) -> bool:
    """Forget changes that are older than so many seconds; whether there may be more of them.

    Of several processes at once one does it.
    """
    if not (await session.first(_ALONE, {"key": _LOCK}))[0]:
        return False
    (count,) = await session.first(_FORGET, {"seconds": seconds})
    return bool(count >= STEP)
