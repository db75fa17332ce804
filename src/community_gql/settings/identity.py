"""Which settings of identity ``serve`` needs."""

from __future__ import annotations

from collections.abc import Callable

from community_gql.settings.checks import EXAMPLE_DOMAIN

SIGNING_IN = ("auth0_client_id", "auth0_client_secret", "session_secret")


def missing_identity(present: Callable[[str], bool]) -> list[str]:
    """Return a line for each missing setting of identity that ``serve`` needs."""
    purposes = {}
    if not present("auth0_domain") and not present("oidc_issuer"):
        purposes["auth0_domain"] = (
            "The domain of the Auth0 tenant that issues the access tokens: "
            f"AUTH0_DOMAIN={EXAMPLE_DOMAIN} (or OIDC_ISSUER, for another OpenID provider)"
        )
    if not present("auth0_audience"):
        purposes["auth0_audience"] = (
            "The identifier of the API in Auth0: AUTH0_AUDIENCE=https://api.example.com"
        )
    if any(present(name) for name in SIGNING_IN):
        for name in SIGNING_IN:
            if not present(name):
                together = ", ".join(SIGNING_IN).upper()
                purposes[name] = f"Signing in with a browser needs all three: {together}"
    return [f"{name.upper()} is not set. {why}." for name, why in purposes.items()]
