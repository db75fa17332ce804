"""Who must not be in whose list of matches, as SQL, and the lock that keeps it so."""

from __future__ import annotations

from sqlalchemy import select, union_all
from sqlalchemy.dialects import postgresql

from community_gql.db import models as m

MATCH_ROWS = 0x636F6D6D78
"""Key of the advisory lock of a transaction that concerns rows of matches, taken before any other.

Shared by whoever writes lists, who then asks for ``excluded``; exclusive for whoever takes people
out of lists. So nobody who was taken out is put back by a writer who asked before.
"""
PUT_MATCHES = "put_matches"
"""The row of ``housekeeping`` that says that a program has put lists, until a run replaces them."""

_asked = m.Friendship.__table__.alias("asked")
_accepted = m.Friendship.__table__.alias("accepted")
_dismissal = m.MatchDismissal.__table__.alias("dismissed")

_excluded = union_all(
    # unscoped: says who must be left out; shown to nobody
    select(_asked.c.requester_id.label("user_id"), _asked.c.addressee_id.label("other_id")),
    select(_accepted.c.addressee_id, _accepted.c.requester_id)  # unscoped: the same
    .where(_accepted.c.status == m.constant(m.FriendshipStatus.ACCEPTED)),
    select(_dismissal.c.user_id, _dismissal.c.target_user_id),  # unscoped: the same
)  # fmt: skip
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
EXCLUDED = f"({_excluded.compile(dialect=_DIALECT)}) AS excluded"
"""A part of SQL, of ``(user_id, other_id)``: friends, both ways; asked; dismissed.

Who opted out is not here: they have no features (and see ``MatchChoice.wanted``).
"""
