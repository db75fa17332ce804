"""Signing in with a browser: ``/auth/login``, ``/auth/callback`` and ``/auth/logout``.

The authorization code flow of OpenID Connect with PKCE (S256), ``state`` and ``nonce``, by
Authlib's client. The same verifier as for any other token checks the access token; the session
holds its claims.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import httpx2
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.starlette_client import OAuth, StarletteOAuth2App
from joserfc.errors import JoseError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from community_gql.errors import EmailRequired, EmailTaken, PublicError, Unavailable
from community_gql.identity.pages import (
    comes_from_elsewhere,
    local_path,
    options,
    page,
    private,
    problem,
)
from community_gql.identity.provider import TIMEOUT, Provider, ProviderError, trusted
from community_gql.identity.provisioning import Provisioning
from community_gql.identity.sessions import Session, Sessions, SessionTooLarge, recall, remember
from community_gql.identity.tokens import ALGORITHM, LEEWAY, Identity, TokenVerifier, usable_email

SCOPE = "openid email"
SIGN_OUT = ("/auth/logout", "Sign out and choose another way to sign in")

_log = logging.getLogger("community_gql.identity")


class SignIn:
    """Signs people in at ``provider`` as the registered application ``client_id``."""

    def __init__(
        self,
        provider: Provider,
        verifier: TokenVerifier,
        provisioning: Provisioning,
        sessions: Sessions,
        *,
        client_id: str,
        client_secret: str,
        auth0_domain: str | None = None,
    ) -> None:
        self._provider, self._verifier = provider, verifier
        self._provisioning, self._sessions = provisioning, sessions
        self._client_id, self._client_secret = client_id, client_secret
        self._auth0_domain = auth0_domain
        self._client: StarletteOAuth2App | None = None

    def routes(self) -> list[Route]:
        """The addresses of signing in and out."""
        return [
            Route("/auth/login", self.login, methods=["GET"]),
            Route("/auth/callback", self.callback, methods=["GET"]),
            Route("/auth/logout", self.logout, methods=["GET", "POST"]),
            Route("/auth/options", self.options, methods=["GET"]),
        ]

    async def options(self, _: Request) -> Response:
        """The options of sign-in: at the provider."""
        return options("provider")

    async def login(self, request: Request) -> Response:
        """Send the browser to the provider; ``next`` is the path to come back to."""
        kept = self._sessions.read(request) or {}
        if "viewer" in kept and recall(kept["viewer"]) is None:
            kept = {}
        kept["next"] = local_path(request.query_params.get("next"))
        request.scope["session"] = kept
        try:
            client = await self._authlib()
            response: Response = await client.authorize_redirect(
                request, _address(request, "/auth/callback"), audience=self._verifier.audience
            )
            self._sessions.write(request, response, kept)
        except ProviderError as error:
            return _away(error)
        except SessionTooLarge:
            # The earlier session is dropped: it leaves no room for the state of this sign-in.
            response = RedirectResponse(request.url.path, 302)
            self._sessions.end(request, response)
        return private(response)

    async def callback(self, request: Request) -> Response:
        """Take the browser back from the provider, signed in."""
        kept = self._sessions.read(request) or {}
        request.scope["session"] = kept
        try:
            identity, id_token = await self._redeem(request)
        except ProviderError as error:
            return _away(error)
        except (AuthlibBaseError, JoseError, PublicError, ValueError, KeyError) as error:
            # Not shown: the text of an error may come from the author of a forged link.
            _log.warning("Signing in failed: %s", " ".join(str(error).split())[:300])
            away = isinstance(error, Unavailable)
            return problem(
                "Signing in did not work",
                error.message
                if isinstance(error, PublicError)
                else "The answer of the sign-in page was refused, perhaps because it came late or "
                "because you signed in twice at once.",
                503 if away else 400,
            )
        try:
            await self._provisioning(identity)
        except PublicError as error:
            response = problem(
                "Signing in did not work", error.message, _status(error), link=SIGN_OUT
            )
            self._write(request, response, {}, id_token)
            return response
        response = RedirectResponse(local_path(kept.get("next")), 303)
        try:
            self._write(request, response, {"viewer": remember(identity)}, id_token)
        except SessionTooLarge:
            _log.error("A session is too large for a cookie: the token has too many permissions.")
            return problem("Signing in did not work", "Your session would be too large.", 500)
        return private(response)

    async def logout(self, request: Request) -> Response:
        """End the session here and at the provider."""
        if comes_from_elsewhere(request):
            if request.method == "POST":
                return problem("Not signed out", "Another site asked for it.", 403, ("/", "Back"))
            # A link on another site may lead here, so the person has to confirm.
            return page("Sign out?", '<p><a href="/auth/logout">Sign out</a></p>')
        kept = self._sessions.read(request) or {}
        response = private(RedirectResponse(await self._end_of_session(request, kept), 303))
        self._sessions.end(request, response)
        return response

    async def _redeem(self, request: Request) -> tuple[Identity, str]:
        """Exchange the code for the identity and the ID token. Raises what its steps raise."""
        issuer = request.query_params.get("iss", self._provider.issuer)
        if issuer != self._provider.issuer:  # RFC 9207: the answer of another provider
            raise ValueError(f"the answer is of the issuer {issuer!r}")
        client = await self._authlib()
        # Authlib itself checks the audience of an ID token only where it has an `azp`.
        options = {
            "iss": {"essential": True, "values": [self._provider.issuer]},
            "aud": {"essential": True, "values": [self._client_id]},
        }
        try:
            token = await client.authorize_access_token(
                request, leeway=LEEWAY, claims_options=options
            )
        except (httpx2.HTTPError, OSError) as error:
            raise ProviderError(f"{self._provider.issuer} did not answer: {error}") from error
        claims, access_token = token.get("userinfo"), token.get("access_token")
        if not claims or not isinstance(access_token, str):
            raise ValueError("the provider gave no ID token or no access token")
        identity = await self._verifier.verify(access_token)
        if claims.get("sub") != identity.sub:
            raise ValueError("the ID token and the access token name different people")
        if identity.email is None and claims.get("email_verified") not in (False, "false"):
            identity = replace(identity, email=usable_email(claims.get("email")))
        return identity, token["id_token"]

    def _write(self, request: Request, response: Response, kept: Session, hint: str) -> None:
        """Store the ID token for signing out, if there is room. Raises SessionTooLarge."""
        try:
            self._sessions.write(request, response, kept | {"id_token": hint})
        except SessionTooLarge:
            self._sessions.write(request, response, kept)

    async def _end_of_session(self, request: Request, kept: Session) -> str:
        """Where the provider ends its session and sends the browser back to the start page.

        https://openid.net/specs/openid-connect-rpinitiated-1_0.html
        """
        home = _address(request, "/")
        try:
            client = await self._authlib()
        except ProviderError as error:
            _log.warning("Signed out here only: %s", error)
            return "/"
        if client.server_metadata.get("end_session_endpoint"):
            made = await client.create_logout_url(
                post_logout_redirect_uri=home,
                id_token_hint=kept.get("id_token"),
                client_id=self._client_id,
            )
            return str(made["url"])
        if self._auth0_domain:  # a tenant without the setting "RP-Initiated Logout Discovery"
            query = urlencode({"client_id": self._client_id, "returnTo": home})
            return f"https://{self._auth0_domain}/v2/logout?{query}"
        return "/"

    async def _authlib(self) -> StarletteOAuth2App:
        """Authlib's client, made when the discovery document is there."""
        if self._client is None:
            metadata = await self._provider.metadata()
            wanted = ("issuer", "jwks_uri", "token_endpoint", "end_session_endpoint")
            given: dict[str, Any] = {name: metadata.get(name) for name in wanted}
            self._client = OAuth().register(
                "provider",
                client_id=self._client_id,
                client_secret=self._client_secret,
                authorize_url=metadata["authorization_endpoint"],
                access_token_url=metadata["token_endpoint"],
                client_kwargs={
                    "scope": SCOPE,
                    "code_challenge_method": "S256",
                    "timeout": TIMEOUT,
                    "verify": trusted(),
                },
                id_token_signing_alg_values_supported=[ALGORITHM],
                **given,
            )
        return self._client


def _address(request: Request, path: str) -> str:
    return f"{request.url.scheme}://{request.url.netloc}{path}"


def _away(error: ProviderError) -> Response:
    _log.error("Nobody can sign in: %s", error)
    return problem(
        "Signing in is not possible at the moment",
        "The sign-in page does not answer. Try again shortly.",
        503,
    )


def _status(error: PublicError) -> int:
    if isinstance(error, EmailRequired | EmailTaken):
        return 403
    return 503 if isinstance(error, Unavailable) else 400
