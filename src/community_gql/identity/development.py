"""The issuer of ``community-gql dev``: tokens for anyone on this machine.

The real verifier checks them. Only ``dev`` and ``token`` make an issuer; ``serve`` never does.
``/auth/login`` is then a page on which one click signs in as anyone in the database.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from html import escape
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs

import orjson
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from community_gql.errors import PublicError
from community_gql.identity.pages import (
    comes_from_elsewhere,
    local_path,
    options,
    page,
    private,
    problem,
)
from community_gql.identity.provisioning import Provisioning
from community_gql.identity.sessions import Sessions, remember
from community_gql.identity.tokens import ALGORITHM, EMAIL_CLAIM, TokenVerifier

ISSUER = "https://development.community-gql.invalid/"
AUDIENCE = "community-gql"
OWN_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.ASCII | re.IGNORECASE)
MAX_FORM_BYTES = 10_000
SHOWN = 20  # people on the page, or found by a search
EVERYONE = 100_000


class Person(Protocol):
    """Someone of the seeded database."""

    @property
    def auth0_sub(self) -> str:
        """Their ``sub``."""

    @property
    def email(self) -> str:
        """Their address."""

    @property
    def display_name(self) -> str | None:
        """What they call themselves."""

    @property
    def permissions(self) -> frozenset[str]:
        """The permissions of their tokens."""


People = Callable[[int], Awaitable[Sequence[Person]]]
"""The first so many people of the database."""


class DevelopmentIssuer:
    """Signs tokens with a key of its own, kept in ``folder`` so that tokens outlive a restart."""

    def __init__(self, folder: Path) -> None:
        self._key = _key(folder / "key.json")
        self.jwks = KeySet([self._key])

    async def find(self, kid: str) -> RSAKey | None:
        """The public key with this id, or None: what the verifier asks for."""
        return self.held(kid)

    def held(self, kid: str) -> RSAKey | None:
        """The same."""
        return self._key if kid == self._key.kid else None

    def verifier(self) -> TokenVerifier:
        """The verifier of this issuer's tokens."""
        return TokenVerifier(self, ISSUER, AUDIENCE)

    def token(
        self,
        subject: str,
        *,
        permissions: Sequence[str] = (),
        email: str | None = None,
        lifetime: timedelta = timedelta(hours=12),
    ) -> str:
        """An access token that names ``subject``.

        ``email`` is needed only for a person without a row: their first request creates the row.
        """
        now = int(time.time())
        claims: dict[str, object] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "iat": now,
            "exp": now + int(lifetime.total_seconds()),
            "permissions": list(permissions),
        }
        if email is not None:
            claims[EMAIL_CLAIM] = email
        header = {"alg": ALGORITHM, "kid": self._key.kid, "typ": "at+jwt"}
        return jwt.encode(header, claims, self._key, algorithms=[ALGORITHM])

    def sessions(self) -> Sessions:
        """Sessions sealed with a secret that is derived from the private key."""
        return Sessions([str(self._key.as_dict(private=True)["d"])])


def names_this_machine(request: Request) -> bool:
    """Whether the request's ``Host``, as it was sent, is a loopback name with or without a port.

    Any other name that resolves to this machine is an attack by DNS rebinding. ``request.url``
    cannot be used: it has the server's own address if the ``Host`` is malformed.
    """
    hosts = request.headers.getlist("host")
    return len(hosts) == 1 and OWN_HOST.fullmatch(hosts[0]) is not None


class DevelopmentSignIn:
    """Signs in as anyone: a page with the people of the database, a button for each."""

    def __init__(
        self,
        issuer: DevelopmentIssuer,
        verifier: TokenVerifier,
        provisioning: Provisioning,
        sessions: Sessions,
        people: People,
    ) -> None:
        self._issuer, self._verifier, self._people = issuer, verifier, people
        self._provisioning, self._sessions = provisioning, sessions

    def routes(self) -> list[Route]:
        """The addresses of signing in and out, the same as with a real provider."""
        return [
            Route("/auth/login", self.login, methods=["GET", "POST"]),
            Route("/auth/logout", self.logout, methods=["GET", "POST"]),
            Route("/auth/options", self.options, methods=["GET"]),
        ]

    async def login(self, request: Request) -> Response:
        """Show the people, or sign in as the one who was chosen."""
        if not names_this_machine(request):
            return problem("Not here", "Development sign-in answers on this machine only.", 403)
        if request.method == "GET":
            return await self._choice(request)
        if comes_from_elsewhere(request):
            return problem("Not signed in", "Another site asked for it.", 403)
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_FORM_BYTES:
                return problem("Not signed in", "The form is too large.", 413)
        form = {name: found[0] for name, found in parse_qs(body.decode("latin-1")).items()}
        return await self._enter(request, form.get("email", ""), form.get("next"))

    async def logout(self, request: Request) -> Response:
        """End the session."""
        if comes_from_elsewhere(request):
            return problem("Not signed out", "Another site asked for it.", 403, ("/", "Back"))
        response = private(RedirectResponse("/", 303))
        self._sessions.end(request, response)
        return response

    async def options(self, request: Request) -> Response:
        """The first people whose name or address contains ``search``."""
        if not names_this_machine(request) or comes_from_elsewhere(request):
            return problem("Not here", "Development sign-in answers its own pages only.", 403)
        search = request.query_params.get("search", "").strip().casefold()
        found = [
            {
                "email": person.email,
                "name": person.display_name or person.email,
                "permissions": sorted(person.permissions),
            }
            for person in await self._people(EVERYONE if search else SHOWN)
            if search in f"{person.display_name or ''} {person.email}".casefold()
        ]
        return options("people", found[:SHOWN])

    async def _choice(self, request: Request) -> Response:
        path = escape(local_path(request.query_params.get("next")))
        people = "".join(_button(person) for person in await self._people(SHOWN))
        hidden = f'<input type="hidden" name="next" value="{path}">'
        return page(
            "Sign in as",
            f'<form method="post">{hidden}\n<ul>\n{people}</ul>\n</form>\n'
            f'<form method="post">{hidden}\n'
            "<label>Someone else, by e-mail address "
            '<input name="email" type="email" autocomplete="email" required></label>\n'
            "<button>Sign in</button></form>",
        )

    async def _enter(self, request: Request, email: str, path: str | None) -> Response:
        for person in await self._people(EVERYONE):
            if person.email.lower() == email.strip().lower():
                break
        else:
            return problem("Not signed in", f"Nobody has the address {email}.", 404)
        token = self._issuer.token(person.auth0_sub, permissions=sorted(person.permissions))
        try:
            identity = await self._verifier.verify(token)
            await self._provisioning(identity)
        except PublicError as error:
            return problem("Not signed in", error.message, 403)
        response = private(RedirectResponse(local_path(path), 303))
        self._sessions.write(request, response, {"viewer": remember(identity)})
        return response


def _button(person: Person) -> str:
    named = escape(person.email)
    if person.display_name and person.display_name != person.email:
        named = f"{escape(person.display_name)} <small>{named}</small>"
    powers = ", ".join(sorted(person.permissions))
    may = f" <small>may {escape(powers)}</small>" if powers else ""
    return f'<li><button name="email" value="{escape(person.email)}">{named}{may}</button></li>\n'


def _key(path: Path) -> RSAKey:
    if not path.exists():
        made = RSAKey.generate_key(2048, {"kid": secrets.token_hex(8), "use": "sig"})
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written to another file and linked into place: if two start at once, the first key stays.
        aside = path.with_name(f"{path.name}.{os.getpid()}")
        aside.touch(mode=0o600)
        aside.write_bytes(orjson.dumps(made.as_dict(private=True)))
        try:
            os.link(aside, path)
        except FileExistsError:
            pass
        finally:
            aside.unlink()
    return RSAKey.import_key(orjson.loads(path.read_bytes()))
