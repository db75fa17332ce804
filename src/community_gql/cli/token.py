"""``community-gql token``: a token of the development issuer."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated

import typer

from community_gql.cli.console import fail
from community_gql.cli.databases import (
    embedded_settings,
    open_embedded,
    refuse_development_beside_auth0,
)
from community_gql.settings import OperatorError, Settings

commands = typer.Typer()


@commands.command(
    epilog="Examples:\n\n  community-gql token ada@example.com\n\n"
    "  community-gql token 'auth0|new' --email new@example.com\n\n"
    "  community-gql token --machine matcher --permission write:matches\n\n"
    '  curl -H "Authorization: Bearer $(community-gql token ada@example.com)" ...'
)
def token(
    person: Annotated[
        str | None, typer.Argument(help="An e-mail address, or a `sub` (auth0|...).")
    ] = None,
    machine: Annotated[
        str | None, typer.Option(help="A program's name instead of a person.", metavar="NAME")
    ] = None,
    permission: Annotated[
        list[str] | None, typer.Option(help="One more permission, such as manage:tags.")
    ] = None,
    email: Annotated[
        str | None, typer.Option(help="The e-mail address of a new person; it goes with a `sub`.")
    ] = None,
) -> None:
    """Print a token of the development issuer, for a person or a program. Development only."""
    refuse_development_beside_auth0()
    if (person is None) == (machine is None):
        fail("say whom the token is for: a person, or --machine NAME.")
    settings = embedded_settings()

    from community_gql.dev.seeding import permissions_of
    from community_gql.identity.development import DevelopmentIssuer

    if person is None:
        subject = f"{machine}@clients"  # as Auth0 names a program that signs in for itself
    else:
        subject = person if "|" in person else find_subject(settings, person)
    permissions = {*permissions_of(subject), *(permission or ())}
    issuer = DevelopmentIssuer(settings.data_dir / "issuer")
    print(issuer.token(subject, permissions=sorted(permissions), email=email))  # noqa: T201


def find_subject(settings: Settings, email: str) -> str:
    """Return the ``sub`` of a person of the embedded database."""
    from community_gql.dev.seeding import known_people

    with contextlib.ExitStack() as stack:
        _, url = open_embedded(stack, settings)
        people = asyncio.run(known_people(url, 1000))
    for person in people:
        if person.email.lower() == email.lower():
            return person.auth0_sub
    some = ", ".join(person.email for person in people[:5])
    if not some:
        raise OperatorError("the embedded database has no people yet. Run: community-gql dev")
    raise OperatorError(f"nobody has the address {email}. Some who are there: {some}")
