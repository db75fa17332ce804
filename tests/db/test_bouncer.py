"""What a role needs behind PgBouncer; with a PgBouncer: tests/operations/test_pgbouncer.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from community_gql.db.bouncer import missing, wanted
from community_gql.db.pool import PoolConfig

CHECKOUT = Path(__file__).parents[2]
PREPARED = PoolConfig(pgbouncer=True, pgbouncer_prepared=True)
FITS = wanted(PREPARED) | {
    "statement_timeout": "14000",
    "lock_timeout": "5000",
    "idle_in_transaction_session_timeout": "14000",
}
"""As ``pg_settings`` shows them."""


@pytest.mark.parametrize(
    ("name", "found", "is_said"),
    [
        ("statement_timeout", "0", True),
        ("statement_timeout", "14001", True),
        ("statement_timeout", "9000", False),
        ("extra_float_digits", "0", True),
        ("extra_float_digits", "3", False),
        ("search_path", '"$user", public', False),
        ("search_path", "public, extensions", False),
        ("search_path", "extensions, public", True),
        ("search_path", "", True),
        ("jit", "on", True),
        ("plan_cache_mode", "auto", True),
    ],
)
def test_what_is_said_of_a_setting(name: str, found: str, is_said: bool) -> None:
    assert missing(PREPARED, FITS) == {}
    assert list(missing(PREPARED, FITS | {name: found})) == ([name] if is_said else [])


def test_without_prepared_statements_plans_are_for_their_values() -> None:
    assert missing(PoolConfig(pgbouncer=True), FITS) == {"plan_cache_mode": "auto"}


@pytest.mark.parametrize(
    ("page", "role"),
    [("docs/operations.md", "community"), ("ops/container/primary.sh", ':"user"')],
)
def test_pages_give_the_role_what_it_needs(page: str, role: str) -> None:
    text = (CHECKOUT / page).read_text("utf-8")
    said = dict(re.findall(rf"ALTER ROLE {role} SET (\w+) = '?(\w+)'?;", text))
    needed = wanted(PREPARED)
    assert said == {name: needed[name] for name in said}
    # What PostgreSQL has by itself need not be given.
    assert {"jit", "plan_cache_mode", *(n for n in needed if n.endswith("timeout"))} == set(said)
