"""Request ids and traces: taken where they are sane, returned, and in every line of the log."""

from __future__ import annotations

import logging
import re
from typing import Any

import orjson
import pytest

from community_gql.logs import JsonLines
from community_gql.telemetry.correlation import current, request_id, trace_id
from tests.support.client import Client

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def ask(api: Client, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.send("POST", json={"query": "{ __typename }"}, headers=named)


@pytest.mark.parametrize("given", ["a", "Root=1-67891233-abcdef012345678912345678", "x" * 128])
async def test_an_id_that_was_given_is_returned_and_logged(api: Client, given: str) -> None:
    answer = await ask(api, X_Request_Id=given)

    assert answer.response.headers["x-request-id"] == given
    assert vars(answer.line)["request_id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "two words", 'a"b', "a;b", "\x80"])
async def test_an_id_that_may_not_stand_in_a_log_is_replaced(api: Client, given: str) -> None:
    answer = await api.send(
        "POST", json={"query": "{ __typename }"}, headers=[("X-Request-Id", given.encode("latin1"))]
    )

    made = answer.response.headers["x-request-id"]
    assert made != given
    assert made == vars(answer.line)["request_id"]


async def test_ids_that_are_made_differ(api: Client) -> None:
    made = {(await ask(api)).response.headers["x-request-id"] for _ in range(20)}

    assert len(made) == 20


async def test_refusals_have_ids_too(api: Client) -> None:
    for body in ({"query": "{"}, {"query": 1}, {"query": "{ nope }"}):
        answer = await api.send("POST", json=body, headers={"X-Request-Id": "mine"})
        assert answer.response.headers["x-request-id"] == "mine"
        assert vars(answer.line)["request_id"] == "mine"


@pytest.mark.parametrize(
    ("traceparent", "found"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", TRACE),
        (f"cc-{TRACE}-00f067aa0ba902b7-01-what-the-future-will-be", TRACE),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE}-00f067aa0ba902b7", None),
        ("", None),
    ],
)
async def test_a_trace_is_in_the_log(api: Client, traceparent: str, found: str | None) -> None:
    answer = await ask(api, traceparent=traceparent)

    assert vars(answer.line)["trace_id"] == found
    assert trace_id(traceparent.encode()) == found


async def test_other_lines_of_the_request_name_it() -> None:
    record = logging.LogRecord("a", logging.WARNING, "p", 1, "said", (), None)
    token = current.set(request_id(b"one"))
    try:
        during = orjson.loads(JsonLines().format(record))
    finally:
        current.reset(token)

    assert during["request_id"] == "one"
    assert "request_id" not in orjson.loads(JsonLines().format(record))


def test_new_ids_do_not_count_requests() -> None:
    ids = [request_id(b"") for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(re.fullmatch(rb"[0-9a-f]{24}", id_) for id_ in ids)
    # Each digit of each place comes up: nothing of them is the same, or grows.
    for place in range(24):
        assert len({id_[place] for id_ in ids}) == 16
        column = [id_[place] for id_ in ids]
        assert column != sorted(column)
