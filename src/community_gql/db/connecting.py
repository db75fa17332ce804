"""Opening connections to PostgreSQL: the address as libpq means it, by way of the driver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
from asyncpg.exceptions import CannotConnectNowError, TargetServerAttributeNotMatched
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from community_gql.settings.address import driver_addresses

CONNECT_SECONDS = 60.0
"""How long a host may take to answer where neither the address nor the caller says so."""


async def connect(
    url: str,
    *,
    seconds: float = CONNECT_SECONDS,
    server_settings: Mapping[str, str] | None = None,
    **options: Any,
) -> asyncpg.Connection:
    """Connect to the first host that answers and is of the kind that the address asks for.

    ``url`` is what ``database_address`` makes. Each host has so many ``seconds``, or what the
    address says where that is less. Raises what the driver raises for the last host.
    """
    addresses, said = driver_addresses(url)
    seconds = seconds if said is None else min(said, seconds)
    query = parse_qs(urlsplit(addresses[0]).query)
    settings = dict(server_settings or {})
    if "application_name" in query:
        settings.pop("application_name", None)
    kinds: list[str | None] = [None]
    if query.get("target_session_attrs") == ["prefer-standby"]:
        kinds = ["standby", "any"]
    failure: Exception | None = None
    for kind in kinds:
        more: dict[str, Any] = {} if kind is None else {"target_session_attrs": kind}
        for address in addresses:
            try:
                return await asyncpg.connect(
                    address, timeout=seconds, server_settings=settings, **more, **options
                )
            except (OSError, CannotConnectNowError, TargetServerAttributeNotMatched) as error:
                failure = error
    assert failure is not None
    raise failure


def engine(
    url: str,
    *,
    seconds: float = CONNECT_SECONDS,
    server_settings: Mapping[str, str] | None = None,
    connect_args: Mapping[str, Any] | None = None,
    **options: Any,
) -> AsyncEngine:
    """SQLAlchemy's engine over ``connect``."""

    async def opened(**arguments: Any) -> asyncpg.Connection:
        return await connect(url, seconds=seconds, server_settings=server_settings, **arguments)

    arguments = {**(connect_args or {}), "async_creator_fn": opened}
    # The address itself is the driver's: SQLAlchemy would read it in a way of its own.
    return create_async_engine("postgresql+asyncpg://", connect_args=arguments, **options)
