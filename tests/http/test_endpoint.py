"""The endpoint as an ASGI callable: validators, lists in header fields, proxies, the log's line."""

from __future__ import annotations

import dataclasses
import logging
import os
from typing import Any

import orjson
import pytest

from community_gql import logs
from community_gql.cli.serve import log_config
from community_gql.http.proxies import TrustedProxies
from community_gql.http.request_log import RequestLog
from community_gql.identity.development import DevelopmentIssuer
from community_gql.logs import JsonLinesHandler, write_event
from tests.support import factories as make
from tests.support.client import serving

PEOPLE = "{ users(first: 2) { nodes { id createdAt profile { displayName } } } }"
RESPONSE, JSON = "application/graphql-response+json", "application/json"
SECURE = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}


async def test_an_etag_stays_while_the_query_is_compiled(
    database_url: str, issuer: DevelopmentIssuer, db: Any
) -> None:
    await make.person(db, "Anna")
    seen = {}
    for pushdown in ("off", "always"):
        async with serving(database_url, issuer, pushdown=pushdown) as api:
            answer = await api.send("GET", params={"query": PEOPLE})
            seen[answer.way] = answer.response.headers["etag"]
            assert answer.data["users"]["nodes"]
            known = {"If-None-Match": answer.response.headers["etag"]}
            assert (await api.send("GET", params={"query": PEOPLE}, headers=known)).status == 304
            anything = {"If-None-Match": "*"}
            assert (await api.send("GET", params={"query": PEOPLE}, headers=anything)).status == 304
            other = {"If-None-Match": '"other"'}
            assert (await api.send("GET", params={"query": PEOPLE}, headers=other)).status == 200

    assert seen.keys() == {"compiled", "loaders switched off"}
    assert len(set(seen.values())) == 1


async def test_an_etag_is_of_what_is_said_and_how(
    database_url: str, issuer: DevelopmentIssuer, db: Any
) -> None:
    async with serving(database_url, issuer) as api:
        empty = await api.send("GET", params={"query": PEOPLE})
        as_json = await api.send("GET", params={"query": PEOPLE}, headers={"Accept": JSON})
        await make.person(db, "Anna")
        full = await api.send("GET", params={"query": PEOPLE})

    tags = [answer.response.headers["etag"] for answer in (empty, as_json, full)]
    assert len(set(tags)) == 3


async def test_a_very_long_answer_has_no_etag(
    database_url: str, issuer: DevelopmentIssuer, db: Any
) -> None:
    """Making it would hold the event loop longer than sending the answer."""
    anna = await make.person(db, "Anna")
    for _ in range(12):
        await make.story(db, anna, content="Moss after rain. " * 5_800)
    tagged = {}
    async with serving(database_url, issuer, pushdown="always") as api:
        for first in (1, 12):
            query = f"{{ stories(first: {first}) {{ nodes {{ content }} }} }}"
            answer = await api.send("GET", params={"query": query})
            assert len(answer.data["stories"]["nodes"]) == first
            tagged[first] = "etag" in answer.response.headers
            known = await api.send("GET", params={"query": query}, headers={"If-None-Match": "*"})
            assert known.response.status_code == 304
    assert tagged == {1: True, 12: False}


async def test_two_accept_lines_are_one_list(database_url: str, issuer: DevelopmentIssuer) -> None:
    async with serving(database_url, issuer) as api:
        types = []
        for lines in (("text/plain", JSON), (JSON, "text/plain"), (f"{JSON};q=0.5", RESPONSE)):
            headers = [("Accept", line) for line in lines]
            answer = await api.send("POST", json={"query": "{ __typename }"}, headers=headers)
            types.append(answer.response.headers["content-type"].partition(";")[0])

    assert types == [JSON, JSON, RESPONSE]


@pytest.mark.parametrize(
    ("forwarded", "tls"),
    [("https", True), ("https, http", True), ("http, https", False), ("HTTPS", True), ("x", False)],
)
async def test_the_scheme_behind_a_chain_of_proxies(
    database_url: str, issuer: DevelopmentIssuer, forwarded: str, tls: bool
) -> None:
    headers = {"X-Forwarded-Proto": forwarded}
    body = {"query": "{ __typename }"}
    async with serving(database_url, issuer) as api:
        answer = await api.send("POST", json=body, headers=headers)
        page = await api.send("GET", "/healthz", headers=headers)
    async with serving(database_url, issuer, trusted_proxies="10.0.0.1") as api:
        stranger = await api.send("POST", json=body, headers=headers)

    for each in (answer, page):
        assert ("strict-transport-security" in each.response.headers) == tls
    assert "strict-transport-security" not in stranger.response.headers


def test_an_address_behind_a_proxy_is_no_longer_than_addresses_are() -> None:
    """What is spent is counted under it, and a proxy may pass on whatever it was told."""
    headers = [(b"x-forwarded-for", b"x" * 30_000)]
    scope: dict[str, Any] = {"client": ("127.0.0.1", 1), "headers": headers}
    TrustedProxies(("127.0.0.1",)).apply(scope)
    assert len(scope["client"][0]) <= 100


async def test_cors_of_the_endpoint(database_url: str, issuer: DevelopmentIssuer) -> None:
    origin = "https://app.example.com"
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    async with serving(database_url, issuer, cors_origins=origin) as api:
        preflight = (await api.send("OPTIONS", headers=asked)).response
        answer = (await api.send("POST", json={"query": "{ __typename }"}, headers=asked)).response
        page = (await api.send("GET", headers=asked | {"Accept": "text/html"})).response
        kept = [
            (await api.send("GET", "/graphql?query={__typename}", headers=headers)).response
            for headers in ({}, {"Origin": "https://other.example.com"}, {"Origin": origin})
        ]
    for response in (preflight, answer, page):
        assert response.headers["access-control-allow-origin"] == origin
        assert response.headers.get_list("x-content-type-options") == ["nosniff"]
    assert preflight.status_code == 200
    assert "Origin" in answer.headers["vary"]
    # Or a cache would give the copy of another page, or of a program, to a page of the origin.
    for response in kept:
        assert response.headers["vary"] == "Accept, Authorization, Cookie, Origin"
        assert "public" in response.headers["cache-control"]
    async with serving(database_url, issuer) as api:
        closed = (await api.send("OPTIONS", headers=asked)).response
    assert closed.status_code == 204
    assert "access-control-allow-origin" not in closed.headers


@pytest.fixture
def json_log(monkeypatch: pytest.MonkeyPatch) -> tuple[logging.Logger, list[bytes]]:
    """A logger that writes JSON lines, and what it writes, by the write."""
    writes: list[bytes] = []
    monkeypatch.setattr(os, "write", lambda _, text: writes.append(text))
    parent = logging.Logger("parent", logging.INFO)
    parent.propagate = False
    parent.addHandler(JsonLinesHandler())
    child = logging.Logger("parent.child")
    child.parent = parent
    return child, writes


def test_an_event_is_one_write_of_the_same_line_as_a_record(
    json_log: tuple[logging.Logger, list[bytes]],
) -> None:
    logger, writes = json_log
    write_event(logger, "Name 200", {"status": 200, "codes": ("A",), "cost": None})
    logger.info("Name %s", 200, extra={"status": 200, "codes": ("A",), "cost": None})

    assert [line.count(b"\n") for line in writes] == [1, 1]
    event, record = (orjson.loads(line) for line in writes)
    assert list(event) == list(record)
    for line in (event, record):
        assert line.pop("time").endswith("+00:00")
    assert event == record


def test_an_event_does_not_fail_where_nobody_reads_the_log(
    json_log: tuple[logging.Logger, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(os, "write", broken)
    write_event(json_log[0], "Name 200", {})


def test_an_event_goes_where_logging_goes(caplog: pytest.LogCaptureFixture) -> None:
    """With any other handler it is a record."""
    logger = logging.getLogger("community_gql.requests")
    with caplog.at_level(logging.INFO, "community_gql"):
        write_event(logger, "Name 200", {"status": 200})

    assert [(r.getMessage(), r.__dict__["status"]) for r in caplog.records] == [("Name 200", 200)]


def test_serve_logs_with_the_handler_that_events_look_for() -> None:
    configured = log_config("info", json=True)["handlers"]["stderr"]["class"]
    assert configured == f"{logs.__name__}.{JsonLinesHandler.__name__}"


def test_the_line_of_the_log_has_every_field() -> None:
    line = RequestLog(method="POST", path="/graphql")
    assert [*line.fields()] == [*(each.name for each in dataclasses.fields(line)), "pid"]
