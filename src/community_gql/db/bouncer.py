"""What the role of the application has to be given behind PgBouncer, and whether it was.

PgBouncer takes only a few settings at connect, and what a connection sets later would be left to
other clients. So the role has them (docs/operations.md), and ``serve`` looks at its start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import orjson

from community_gql.db.answers import ANSWERS
from community_gql.db.background import in_background
from community_gql.db.database import Database
from community_gql.db.pool import PLANS, PoolConfig
from community_gql.errors import Unavailable

AGAIN = 5.0
"""Seconds until a database that did not answer is asked again."""
ANSWERING = (
    *("bytea_output", "default_transaction_isolation", "extra_float_digits", "intervalstyle"),
    *("row_security", "search_path", "transform_null_equals"),
)
"""Those of ANSWERS that change answers, and that PgBouncer does not take at connect."""

_log = logging.getLogger("community_gql.db")


def wanted(config: PoolConfig) -> dict[str, str]:
    """The settings that the role is to have; times with their unit."""
    statement = f"{config.statement_timeout:g}s"
    plans = "force_generic_plan" if config.prepares else "auto"
    return {name: ANSWERS[name] for name in ANSWERING} | {
        "jit": "off",
        "statement_timeout": statement,
        "lock_timeout": f"{config.lock_timeout:g}s",
        "idle_in_transaction_session_timeout": statement,
        PLANS: plans,
    }


def missing(config: PoolConfig, found: Mapping[str, str]) -> dict[str, str]:
    """What of ``wanted`` is to be changed; ``found`` is as in ``pg_settings``."""
    return {
        name: value for name, value in wanted(config).items() if not _fits(name, found[name], value)
    }


def _fits(name: str, found: str, value: str) -> bool:
    if name.endswith("_timeout"):  # in milliseconds; 0 is none
        return 0 < int(found) <= float(value.removesuffix("s")) * 1000
    if name == "extra_float_digits":
        return int(found) >= 1
    if name == "search_path":
        schemas = [schema.strip(' "') for schema in found.split(",")]
        return [schema for schema in schemas if schema != "$user"][:1] == [value]
    return found == value


@asynccontextmanager
async def checking(database: Database) -> AsyncIterator[None]:
    """Look once, beside the block."""
    async with in_background(check(database)):
        yield


async def check(database: Database) -> None:
    """Wait until the database answers, and say in the log what the role lacks."""
    config = database.pool.config
    names = ", ".join(f"'{name}'" for name in wanted(config))
    look = (  # unscoped: settings
        "SELECT json_build_array(quote_ident(current_user), json_object_agg(lower(name), setting))"
        f"::text FROM pg_settings WHERE lower(name) IN ({names})"
    )
    while True:
        try:
            role, found = orjson.loads(await database.value(look, []))
            break
        except Unavailable:  # requests and /readyz say why
            await asyncio.sleep(AGAIN)
    if lacks := missing(config, found):
        _log.warning(
            "behind PgBouncer the role %s needs other settings. Run in psql: %s "
            "Then have PgBouncer open its connections anew (RECONNECT in its console).",
            role, " ".join(f"ALTER ROLE {role} SET {n} = '{v}';" for n, v in lacks.items()),
            extra={"settings": lacks},
        )  # fmt: skip
