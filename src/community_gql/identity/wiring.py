"""The parts of identity put together: for a provider, or for development."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from community_gql.db.database import Database
from community_gql.identity.authentication import Authentication
from community_gql.identity.development import DevelopmentIssuer, DevelopmentSignIn, People
from community_gql.identity.keys import ProviderKeys
from community_gql.identity.pages import options
from community_gql.identity.provider import Provider
from community_gql.identity.provisioning import Provisioning
from community_gql.identity.sessions import Sessions
from community_gql.identity.signin import SignIn
from community_gql.identity.tokens import TokenVerifier
from community_gql.settings import Settings


async def _no_sign_in(_: Request) -> Response:
    return options(None)


@dataclass(frozen=True, slots=True)
class IdentityParts:
    """What the application needs to identify the viewer."""

    authentication: Authentication
    routes: list[Route] = field(default_factory=lambda: [Route("/auth/options", _no_sign_in)])
    provider: Provider | None = None
    keys: ProviderKeys | None = None

    @property
    def checks(self) -> dict[str, Callable[[], Awaitable[bool]]]:
        """What must be there before a request can be answered, for ``/readyz``."""
        return {} if self.keys is None else {"identity": self.keys.are_known}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Fetch the keys, and run the background work until the end of the block."""
        if self.keys is not None:
            await self.keys.start()
        await self.authentication.provisioning.start()
        try:
            yield
        finally:
            await self.authentication.provisioning.close()
            if self.keys is not None:
                await self.keys.close()
            if self.provider is not None:
                await self.provider.close()


def provider_identity(database: Database, settings: Settings) -> IdentityParts:
    """Identity from the OpenID provider of the settings; without one, tokens are refused."""
    if settings.issuer is None or not settings.auth0_audience:
        return IdentityParts(Authentication(None, Provisioning(database)))
    provider = Provider(settings.issuer)
    keys = ProviderKeys(provider)
    verifier = TokenVerifier(keys, settings.issuer, settings.auth0_audience, settings.email_claim)
    provisioning = Provisioning(database, provider)
    if not settings.signs_in:
        authentication = Authentication(verifier, provisioning)
        return IdentityParts(authentication, provider=provider, keys=keys)
    sessions = Sessions(settings.session_secret)
    sign_in = SignIn(
        provider,
        verifier,
        provisioning,
        sessions,
        client_id=settings.auth0_client_id or "",
        client_secret=settings.auth0_client_secret or "",
        auth0_domain=settings.auth0_domain,
    )
    authentication = Authentication(verifier, provisioning, sessions)
    return IdentityParts(authentication, sign_in.routes(), provider, keys)


def development_identity(
    database: Database, issuer: DevelopmentIssuer, people: People | None
) -> IdentityParts:
    """Identity from the issuer of ``community-gql dev``; with ``people``, a page to sign in."""
    verifier, provisioning = issuer.verifier(), Provisioning(database)
    sessions = issuer.sessions()
    authentication = Authentication(verifier, provisioning, sessions)
    if people is None:
        return IdentityParts(authentication)
    sign_in = DevelopmentSignIn(issuer, verifier, provisioning, sessions, people)
    return IdentityParts(authentication, sign_in.routes())
