"""States: which of them a change wakes, and reading those again."""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import ARRAY, String, any_, bindparam, inspect

from community_gql.db import models as m
from community_gql.db.changes import Change
from community_gql.db.database import Snapshot
from community_gql.db.texts import Fixed
from community_gql.graph.edges import Edge
from community_gql.graph.plans import LookupPlan
from community_gql.graph.visibility import visible
from community_gql.operations.rendering import Renderer, Request
from community_gql.operations.subscriptions import Charge, Delivery, Form, State
from community_gql.schema.executable import core
from community_gql.schema.kinds import declared

SECONDS = 1.0
"""How often a state is read again at most."""


def _of_person() -> Iterator[str]:
    yield m.User.__tablename__
    relationships = inspect(m.User).relationships
    for field in core.type_map["User"].fields.values():  # type: ignore[attr-defined]
        source = getattr(declared(field), "source", None)
        if isinstance(source, Edge) and source.relationship is not None:
            relation = relationships[source.relationship]
            if not relation.viewonly:
                table = (
                    relation.mapper.local_table
                    if relation.secondary is None
                    else relation.secondary
                )
                yield str(table)


OF_PERSON = frozenset(_of_person())
"""The tables whose rows are a person's own, as the fields of User lead to them: they wake the
``node`` of that person."""
OF_VIEWER = frozenset({"friendships", "match_results"})
"""The tables whose rows wake everything that their people look at."""

_IDS = Fixed(
    visible(m.User, m.User.auth0_sub, m.User.public_id).where(
        m.User.auth0_sub == any_(bindparam("subs", type_=ARRAY(String)))
    )
)

_Watched = tuple[str, str]
"""A table and a public key."""


class States:
    """The states of one process, by what wakes them."""

    def __init__(self, seconds: float = SECONDS) -> None:
        """``seconds`` is how often a state is read again at most."""
        self._seconds = seconds
        self._all: set[State] = set()
        self._by_viewer: dict[str, set[State]] = defaultdict(set)
        self._by_key: dict[_Watched, set[State]] = defaultdict(set)
        self._awake: set[State] = set()

    def __len__(self) -> int:
        return len(self._all)

    @property
    def awake(self) -> int:
        """How many are to be read again."""
        return len(self._awake)

    def add(self, state: State) -> None:
        """Watch over a new one, which is awake."""
        self._all.add(state)
        self._awake.add(state)
        if state.viewer.sub is not None:
            self._by_viewer[state.viewer.sub].add(state)
        if (watched := _watched(state)) is not None:
            self._by_key[watched].add(state)

    def remove(self, state: State) -> None:
        """Forget one."""
        self._all.discard(state)
        self._awake.discard(state)
        _discard(self._by_viewer, state.viewer.sub or "", state)
        if (watched := _watched(state)) is not None:
            _discard(self._by_key, watched, state)

    def wake_all(self) -> None:
        """Have all of them read again."""
        self._awake.update(self._all)

    async def wake(self, snapshot: Snapshot, changes: Sequence[Change]) -> None:
        """Have those read again that the changes may concern."""
        if not self._all:
            return
        if any(change.key == "*" for change in changes):
            self.wake_all()
            return
        ids = await self._public_ids(snapshot, changes)
        for change in changes:
            for state in self._concerned(change, ids):
                self._awake.add(state)
                if state.changed_at is None:
                    state.changed_at = change.at.timestamp()
                if change.entity != "match_results" and state.viewer.sub in change.people:
                    state.own_changes.add(change.xid)

    def _concerned(self, change: Change, ids: dict[str, str]) -> Iterator[State]:
        yield from self._by_key.get((change.entity, change.key), ())
        for person in change.people:
            for state in self._by_viewer.get(person, ()):
                if change.entity in OF_VIEWER or not isinstance(state.plan, LookupPlan):
                    yield state
            if change.entity in OF_PERSON and person in ids:
                yield from self._by_key.get(("users", ids[person]), ())

    async def _public_ids(self, snapshot: Snapshot, changes: Iterable[Change]) -> dict[str, str]:
        """The public keys of the people whose rows have changed, if anybody looks at a person."""
        if not any(entity == "users" for entity, _ in self._by_key):
            return {}
        people = {
            person for change in changes if change.entity in OF_PERSON for person in change.people
        }
        if not people:
            return {}
        rows = await snapshot.run(_IDS, {"subs": sorted(people)})
        return {sub: str(public_id) for sub, public_id in rows}

    def due(self) -> list[State]:
        """Those that are to be read now."""
        before = time.monotonic() - self._seconds
        return [state for state in self._awake if state.read_at <= before and state.is_ready()]

    async def read(
        self, renderer: Renderer, states: Sequence[State], charge: Charge | None = None
    ) -> dict[State, Delivery]:
        """The answers of the states as they are now.

        ``charge`` pays for reading them, also those whose answers turn out to be as before. Who
        cannot pay is left out, and stays awake.
        """
        forms: dict[Form, list[State]] = defaultdict(list)
        for state in states:
            forms[state.form].append(state)
        asked: dict[Request, list[State]] = {}
        for form, alike in forms.items():
            asked |= await renderer.requests(form, None, alike)
        if charge is not None:
            asked = _paid(asked, charge)
        answers = await renderer.render(list(asked))
        return {
            state: Delivery(
                answer.payload,
                None,
                None,
                answer.shared,
                changed_at=state.changed_at,
                fallback_reason=answer.fallback_reason,
                extensions=renderer.extensions(answer),
                points=state.form.points(len(alike) if answer.shared else 1),
            )
            for alike, answer in zip(asked.values(), answers, strict=True)
            for state in alike
        }

    def is_new(self, state: State, delivery: Delivery) -> bool:
        """Whether the answer is another than the one that was sent last, or may have been between.

        The payload of a mutation may have shown its viewer a state that another change has undone
        before it was read here. Only what is the viewer's own counts: of all else nobody is to
        learn that it was changed and changed back.
        """
        return _digest(delivery) != state.digest or len(state.own_changes) > 1

    def settle(self, state: State, delivery: Delivery) -> None:
        """Let a state sleep that was read, and told if its answer was new."""
        state.read_at, state.changed_at = time.monotonic(), None
        state.digest = _digest(delivery)
        state.own_changes.clear()
        if state in self._all:
            self._awake.discard(state)


def _paid(asked: dict[Request, list[State]], charge: Charge) -> dict[Request, list[State]]:
    """What is asked of those who pay for it: all who share an answer share its cost."""
    paid: dict[Request, list[State]] = {}
    for request, alike in asked.items():
        unpaid = set(charge([state.key for state in alike], request.form.points(len(alike))))
        for place in unpaid:
            alike[place].pause()
        if paying := [state for place, state in enumerate(alike) if place not in unpaid]:
            paid[request] = paying
    return paid


def _digest(delivery: Delivery) -> bytes:
    return hashlib.blake2b(delivery.payload, digest_size=16).digest()


def _watched(state: State) -> _Watched | None:
    plan = state.plan
    if not isinstance(plan, LookupPlan) or plan.lookup is None:
        return None
    return plan.lookup.shape.model.__tablename__, str(plan.key)


def _discard(index: dict[Any, set[State]], key: Any, state: State) -> None:
    if (found := index.get(key)) is not None:
        found.discard(state)
        if not found:
            del index[key]
