"""The person's row in ``users``: made at their first request, updated with their address.

Each process remembers what it found, so a later request costs no statement. Another process may
delete an account meanwhile: a background task looks for deletions every ``WATCH`` seconds, and
``forget`` is for code that notices one sooner.

Three clocks are read here. Each is compared only with itself, with one exception:

- The provider's, in seconds since 1970: ``Identity.issued_at``. It orders a person's tokens, so
  that an older token does not change an address back (``Known.email_as_of``).
- The database's, in seconds since 1970: ``deleted_at``, when an account was deleted. Whether a
  token is older than that compares the first two clocks, so ``may_be_older`` allows for their
  difference.
- This process's (``time.monotonic``): when something that failed may be tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from asyncpg import IntegrityConstraintViolationError
from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert

from community_gql.actions.accounts import sub_hash
from community_gql.db import models as m
from community_gql.db.database import Database, Transaction
from community_gql.errors import (
    EmailRequired,
    EmailTaken,
    PublicError,
    Unauthenticated,
    Unavailable,
)
from community_gql.identity.looks import Looks, look
from community_gql.identity.provider import Provider, ProviderError
from community_gql.identity.tokens import LEEWAY, Identity, usable_email
from community_gql.lru import LruCache

MAX_PEOPLE = 50_000  # remembered per process
PERSON_BYTES = 500  # what one of them takes, about
# All in seconds.
WATCH = 5.0
OVERLAP = 60.0  # how far back the watch looks, for deletions that took long to commit
REFUSAL = 30.0  # how long a person without an address is refused before the provider is asked again
OUTAGE = 10.0  # how long /userinfo is left alone after it failed

_log = logging.getLogger("community_gql.identity")
# unscoped: hashes of people who are gone, shown to nobody
_DELETED_SINCE = """
SELECT array_agg(ROW(sub_hash, extract(epoch FROM deleted_at)::float8))
FROM deleted_accounts WHERE deleted_at > statement_timestamp() - make_interval(secs => $1)
"""


@dataclass(frozen=True, slots=True)
class Known:
    """A person who has a row."""

    email: str
    email_as_of: float
    """Provider's clock: when the newest token that was compared with ``email`` was issued."""
    deleted_at: float | None
    """Database's clock: when an earlier account of theirs was deleted; older tokens are void."""
    ask_again_at: float = 0.0
    """This process's clock: the provider could not be asked, and is left alone until then."""

    def ignores(self, identity: Identity) -> bool:
        """Whether the token's address is ignored: a newer one was compared, or must wait."""
        return identity.issued_at <= self.email_as_of or time.monotonic() < self.ask_again_at


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a token was refused; the refusal is repeated until ``until`` (this process's clock)."""

    kind: type[PublicError]
    message: str
    until: float


class _ProviderAway(Unavailable):
    pass


class Provisioning:
    """Makes people's rows. Without a ``provider``, ``/userinfo`` is not asked."""

    def __init__(self, database: Database, provider: Provider | None = None) -> None:
        self._database, self._provider = database, provider
        self._looks = Looks(database)
        self._known: LruCache[Known] = LruCache(MAX_PEOPLE * PERSON_BYTES)
        """By the hash of the ``sub``, which is what ``deleted_accounts`` has."""
        self._refused: LruCache[Refusal] = LruCache(MAX_PEOPLE * PERSON_BYTES)
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}
        self.forgotten = 0
        """How often somebody was forgotten, or may have been: what ``knows`` said before that
        counts no more."""
        self._looked = time.monotonic()
        self._ending = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._following: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start to watch for accounts that other processes delete."""
        self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """End the background work; what is running is finished first."""
        self._ending.set()
        # Not cancelled: a cancelled task would leave an open connection behind.
        running = [task for task in (self._watching, *self._following) if task is not None]
        await asyncio.gather(*running, return_exceptions=True)

    def forget(self, sub: str) -> None:
        """Ask the database again at the next request of ``sub``: their row may be gone."""
        self._known.drop(sub_hash(sub))
        self.forgotten += 1

    def knows(self, identity: Identity) -> bool:
        """Whether there is nothing more to find out about whoever has this token, or ever will be,
        until somebody is ``forgotten``."""
        if identity.is_machine:
            return True
        known = self._known.get(sub_hash(identity.sub))
        return (
            known is not None
            and identity.issued_at <= known.email_as_of
            and (known.deleted_at is None or not may_be_older(identity.issued_at, known.deleted_at))
        )

    async def __call__(self, identity: Identity) -> None:
        """Make sure that the person has a row, and that it has the address of their provider.

        Raises Unauthenticated for a token that was issued before the account was deleted,
        EmailRequired or EmailTaken if no row can be made, Unavailable if this cannot be
        decided now. A machine has no row.
        """
        if identity.is_machine or self._settled(identity):
            return
        async with self._turn(identity.sub):
            # If several first requests come at once, all but one find the work done here.
            if self._settled(identity):
                return
            try:
                await self._settle(identity)
            except (EmailRequired, EmailTaken, Unauthenticated, _ProviderAway) as error:
                seconds = OUTAGE if isinstance(error, _ProviderAway) else REFUSAL
                refusal = Refusal(type(error), error.message, time.monotonic() + seconds)
                self._refused.put((identity.sub, identity.issued_at), refusal, PERSON_BYTES)
                raise

    def _settled(self, identity: Identity) -> bool:
        known = self._known.get(sub_hash(identity.sub))
        if known is not None:
            if known.deleted_at is not None:
                _refuse_older(identity, known.deleted_at)
            if known.ignores(identity):
                return True
            if identity.email is None:
                return not self._can_ask(identity)
            if not _same(identity.email, known.email):
                return False
            compared = replace(known, email_as_of=identity.issued_at, ask_again_at=0.0)
            self._known.put(sub_hash(identity.sub), compared, PERSON_BYTES)
            return True
        refusal = self._refused.get((identity.sub, identity.issued_at))
        if refusal is not None and time.monotonic() < refusal.until:
            raise refusal.kind(refusal.message)
        return False

    @asynccontextmanager
    async def _turn(self, sub: str) -> AsyncIterator[None]:
        lock, users = self._turns.get(sub, (asyncio.Lock(), 0))
        self._turns[sub] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._turns.pop(sub)
            if users > 1:
                self._turns[sub] = (lock, users - 1)

    async def _settle(self, identity: Identity) -> None:
        found = await self._looks(identity.sub)
        _refuse_older(identity, found.deleted_at)
        email = found.email
        email_as_of, ask_again_at = identity.issued_at, 0.0
        if email is None:
            email = await self._make(identity)
        elif identity.email is None:
            self._follow_later(identity, email)
        elif not _same(identity.email, email):
            try:
                email = await self._follow(identity, email)
            except _ProviderAway:
                # No token was compared: once the pause is over, any token may start it again.
                email_as_of, ask_again_at = 0.0, time.monotonic() + OUTAGE
        known = Known(email, email_as_of, found.deleted_at, ask_again_at)
        self._known.put(sub_hash(identity.sub), known, PERSON_BYTES)
        self._refused.drop((identity.sub, identity.issued_at))

    async def _make(self, identity: Identity) -> str:
        """Insert the row; return its address. No connection is held while the provider is asked."""
        email = identity.email or await self._ask(identity)
        if email is None:
            raise EmailRequired(
                "Your account needs a verified e-mail address, and the one you sign in with has "
                "none. Add or verify it where you signed up, then sign in again."
            )

        async def make(session: Transaction) -> str:
            row = insert(m.User).values(auth0_sub=identity.sub, email=email)
            await session.run(row.on_conflict_do_nothing())
            # Looked up only now: a deletion that was under way has committed before the insert.
            found = await look(session, identity.sub)
            _refuse_older(identity, found.deleted_at)
            if found.email is None:
                raise EmailTaken(
                    "Another account has your e-mail address. Sign in the way you did before, "
                    "with the same provider or password."
                )
            return found.email

        return await self._database.write(make, viewer=identity.sub)

    async def _follow(self, identity: Identity, email: str) -> str:
        """Store an address that changed at the provider; return the address of the row.

        The token may be older than the change, so the answer of ``/userinfo`` decides, if there
        is one. Raises Unavailable if it should be asked again later.
        """
        new = await self._ask(identity) or identity.email
        if new is None or _same(new, email):
            return email
        change = update(m.User).where(m.User.auth0_sub == identity.sub).values(email=new)
        try:
            await self._database.write(lambda session: session.run(change), viewer=identity.sub)
        except IntegrityConstraintViolationError:
            # They keep the old address, because the new one belongs to another account here. A
            # refusal would lock them out.
            _log.warning("A person's new e-mail address belongs to another account; not changed.")
            return email
        return new

    def _follow_later(self, identity: Identity, email: str) -> None:
        """Ask whether the address has changed, in the background: the request does not wait.

        For tokens without the claim: once per token and process.
        """

        async def follow() -> None:
            try:
                await self._follow(identity, email)
            except Unavailable:
                pass  # the next token tries again
            except Exception as error:
                _log.error("Following a change of address failed.", exc_info=error)

        if self._can_ask(identity):
            task = asyncio.create_task(follow())
            self._following.add(task)
            task.add_done_callback(self._following.discard)

    def _can_ask(self, identity: Identity) -> bool:
        return self._provider is not None and identity.token is not None

    async def _ask(self, identity: Identity) -> str | None:
        """The address from ``/userinfo``; None if it has none.

        Raises Unavailable if it should be asked again later.
        """
        if self._provider is None or identity.token is None:
            return None
        try:
            person = await self._provider.person(identity.token)
        except ProviderError as error:
            if error.status in (400, 401, 403, 404):
                return None  # a token without the scope `openid`, or a provider without /userinfo
            _log.warning("%s", error)
            raise _ProviderAway(
                "Your e-mail address cannot be asked for at the moment. Try again shortly."
            ) from error
        return usable_email(person.email) if person.sub == identity.sub else None

    async def _watch(self) -> None:
        while not self._ending.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WATCH):
                    await self._ending.wait()
                    return
            try:
                await self.look_for_deletions()
            except Unavailable:
                pass  # while the database is away, no request reads or writes anything either
            except Exception as error:
                _log.error("Looking for deleted accounts failed.", exc_info=error)

    async def look_for_deletions(self) -> None:
        """Forget the people who were deleted since the last look. Raises Unavailable."""
        now = time.monotonic()
        seconds = now - self._looked + OVERLAP
        for gone, epoch in await self._database.value(_DELETED_SINCE, (seconds,)) or ():
            known = self._known.get(gone)
            if known is None or (known.deleted_at or 0) < epoch:
                self._known.drop(gone)
                self.forgotten += 1
        self._looked = now


def _refuse_older(identity: Identity, deleted_at: float | None) -> None:
    if deleted_at is not None and may_be_older(identity.issued_at, deleted_at):
        raise Unauthenticated(
            "This account was deleted. To start a new one, sign in again in a minute."
        )


def may_be_older(issued_at: float, deleted_at: float) -> bool:
    """Whether a token may have been issued before the deletion, by either of two clocks.

    The provider's clock may be ``LEEWAY`` seconds ahead, since tokens are accepted up to that far
    in the future. A token of the same second counts as older, because ``iat`` has whole seconds.
    """
    return issued_at <= deleted_at + LEEWAY


def _same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()  # the column is CITEXT
