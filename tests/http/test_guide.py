"""``docs/http.md`` says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from community_gql.db.changes import Moment
from community_gql.http.endpoint import PUBLIC_SECONDS
from community_gql.http.exchange import (
    FREE_MILLISECONDS,
    POINTS_PER_MILLISECOND,
    POINTS_PER_TOKEN,
    REFUSED_COST,
)
from community_gql.http.limits import LiveLimits
from community_gql.http.protocol import MAX_HEAD_BYTES, MAX_URL_BYTES, WRITE_SECONDS
from community_gql.http.responses import STATUS
from community_gql.operations.compiled import COMPILED_FIELD
from community_gql.operations.cost import COUNT_OF_EVERYTHING, COUNT_OF_LIST, SEARCH
from community_gql.operations.shape import LIMITS
from community_gql.settings import Settings
from tests.http.test_audits import SUPERSEDED

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = (DOCS / "http.md").read_text(encoding="utf-8")
FRONTEND = (DOCS / "frontend.md").read_text(encoding="utf-8")


def test_every_code_is_in_the_table_of_statuses_with_its_status() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|.*\|(.*)\|$", GUIDE, re.MULTILINE)
    found = {
        (code, int(status))
        for statuses, codes in rows
        for status in statuses.split(",")
        for code in re.findall(r"`([A-Z_]+)`", codes)
    }

    assert set(STATUS.items()) <= found


@pytest.mark.parametrize(
    ("what", "number"),
    [
        ("tokens; comments", f"{LIMITS.tokens:,}; {LIMITS.comments}"),
        ("operations and fragments", LIMITS.definitions),
        ("fields, fragments unfolded", LIMITS.fields),
        ("levels of fields", LIMITS.depth),
        ("selection sets within each other", LIMITS.nesting),
        ("fields at the root", LIMITS.root_fields),
        ("aliases", LIMITS.aliases),
        ("directives at one place", LIMITS.directives),
        ("lists within lists", LIMITS.lists),
        ("levels of introspection", LIMITS.introspection_depth),
        ("values in one literal", LIMITS.literals),
        ("mistakes", LIMITS.errors),
        ("URL", f"{MAX_URL_BYTES // 1024} KiB; {MAX_HEAD_BYTES // 1024} KiB"),
        ("the client reads", f"{WRITE_SECONDS:g} s"),
    ],
)
def test_a_limit_is_in_its_table(what: str, number: object) -> None:
    shown = f"{number:,}" if isinstance(number, int) else str(number)

    assert re.search(rf"^\| {re.escape(what)}.* \| \| {re.escape(shown)} \|", GUIDE, re.MULTILINE)


def test_the_defaults_of_settings_are_the_settings_own() -> None:
    rows = re.findall(r"^\| .* \| `([A-Z_]+)` \| `?([\w.,-]+)`?( \w+)? \|", GUIDE, re.MULTILINE)
    assert len(rows) == 17
    for name, default, _ in rows:
        value = Settings.model_fields[name.lower()].default
        assert default == (f"{value:,}" if isinstance(value, int) else str(value)), name


def test_weights_and_seconds() -> None:
    assert f"counts {COUNT_OF_LIST}, and {COUNT_OF_EVERYTHING:,} at the root" in GUIDE
    assert f"A text search counts {SEARCH} for each list" in GUIDE
    assert f"- {REFUSED_COST:,} if it is refused" in GUIDE
    assert f"- {COMPILED_FIELD} for each field" in GUIDE
    assert f"- {POINTS_PER_TOKEN} for each token" in GUIDE
    per_millisecond = f"{POINTS_PER_MILLISECOND} for each millisecond"
    assert f"{per_millisecond} beyond the first {FREE_MILLISECONDS}" in GUIDE
    assert f"may keep it for {PUBLIC_SECONDS} seconds" in GUIDE


def test_every_superseded_audit_is_listed() -> None:
    table = GUIDE.partition("| audits |")[2].partition("\n\n")[0]
    groups = re.findall(r"(\w{3})0\N{EN DASH}3", table)
    listed = {*re.findall(r"\b(\w{4})\b[,|]?", table)}
    named = {id_ for id_ in SUPERSEDED if id_ in listed or id_[:3] in groups}

    assert named == SUPERSEDED.keys()


def test_the_moment_of_the_example_is_one() -> None:
    (shown,) = re.findall(r"^id: (\S+)$", GUIDE, re.MULTILINE)
    assert str(Moment.read(shown)) == shown


def test_the_page_for_frontends_lists_the_same_codes() -> None:
    table = FRONTEND.partition("| code | what happened |")[2].partition("\n\n")[0]
    listed = re.findall(r"`([A-Z_]+)`", "".join(row.split("|")[1] for row in table.split("\n")[1:]))
    statuses = re.findall(r"^\| [\d, ]+ \|.*\|(.*)\|$", GUIDE, re.MULTILINE)
    assert sorted(listed) == sorted({*re.findall(r"`([A-Z_]+)`", "".join(statuses))})


def test_the_times_of_live_updates() -> None:
    limits = LiveLimits()
    assert f"sends a ping every {limits.ping_interval:g} s" in GUIDE
    assert f"waits {limits.pong_timeout:g} s for the pong" in GUIDE
    assert f"reads nothing for {limits.read_timeout:g} s" in GUIDE
    assert f"no `connection_init` within {limits.init_timeout:g} s" in GUIDE
    assert f"A comment every {limits.comment_interval:g} s" in GUIDE
