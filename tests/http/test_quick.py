"""The quick way beside the long one: the same answers, and who goes which way."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import asyncpg
import orjson
import pytest

from community_gql.app import endpoint_config
from community_gql.http import quick
from community_gql.http.quick import QUICK, Quick
from community_gql.http.whole import Whole
from community_gql.identity.development import DevelopmentIssuer
from community_gql.operations.statement import arguments_of
from community_gql.telemetry.correlation import current_id
from tests.http.server import free_port
from tests.support import factories as make
from tests.support.listening import HOST, Listening, listening
from tests.support.redis import redis_server
from tests.support.waiting import until

VARYING = {"date", "x-request-id", "ratelimit-remaining", "ratelimit-reset"}
LINE = (
    *("method", "path", "operation", "type", "document", "viewer", "client", "cost"),
    *("statements", "executor", "fallback_reason", "status", "codes", "cause", "trace_id"),
)
"""What the lines of both ways must say alike."""
NONE: Mapping[str, str] = {}
USER = "query One($id: ID!) { user(id: $id) { id profile { displayName } } }"
PAGE = "query Page($n: Int) { tags(first: $n) { nodes { name } pageInfo { endCursor } } }"


@dataclass
class Answered:
    """An answer, and which way it came."""

    status: int
    headers: dict[str, str]
    body: Any
    was_quick: bool
    line: dict[str, Any]

    @property
    def codes(self) -> list[str]:
        return [error["extensions"]["code"] for error in self.body["errors"]]

    @property
    def told(self) -> Any:
        """What is the same whenever it is asked."""
        headers = {name: value for name, value in self.headers.items() if name not in VARYING}
        return self.status, headers, self.body, [self.line[name] for name in LINE]


def _read(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body


@dataclass
class Ways:
    """A server as in production, and what it has answered quickly."""

    server: Listening
    taken: list[bool] = field(default_factory=list)

    async def ask(
        self, body: Any, headers: Mapping[str, str] = NONE, *, apart: bool = False
    ) -> Answered:
        """The answer to a POST; one whose body comes ``apart`` goes the long way."""
        text = body if isinstance(body, bytes) else orjson.dumps(body)
        fields = {
            "Host": "x",
            "Content-Type": "application/json",
            "Content-Length": str(len(text)),
            "Connection": "close",
        } | dict(headers)
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        whole = f"POST /graphql HTTP/1.1\r\n{head}\r\n".encode() + text
        parts = [whole[:-1], whole[-1:]] if apart else [whole]
        self.taken.clear()
        lines = len(self.server.log.of("requests"))
        reader, writer = await asyncio.open_connection(HOST, self.server.port)
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0.01 if apart else 0)
        async with asyncio.timeout(20):
            received = await reader.read()
        writer.close()
        await until(lambda: len(self.server.log.of("requests")) > lines)
        if received.startswith(b"HTTP/1.1 100 "):
            _, _, received = received.partition(b"\r\n\r\n")
        start, _, rest = received.partition(b"\r\n\r\n")
        status, *given = start.decode().split("\r\n")
        found = dict(line.lower().split(": ", 1) for line in given)
        line = self.server.log.of("requests")[-1]
        return Answered(int(status.split()[1]), found, _read(rest), self.taken == [True], line)

    async def twice(
        self, body: Any, headers: Mapping[str, str] = NONE
    ) -> tuple[Answered, Answered]:
        """The answer by whichever way is taken, and by the long one."""
        return await self.ask(body, headers), await self.ask(body, headers, apart=True)

    async def compiled(self, body: Any, headers: Mapping[str, str] = NONE) -> None:
        """Ask until the quick way is taken."""
        for _ in range(200):
            if (await self.ask(body, headers)).was_quick:
                return
            await asyncio.sleep(0.02)
        raise AssertionError("it never goes the quick way")


@asynccontextmanager
async def production(
    database_url: str,
    issuer: DevelopmentIssuer,
    monkeypatch: pytest.MonkeyPatch,
    settings: Mapping[str, Any],
) -> AsyncIterator[Ways]:
    """A server that answers as in production, though its tokens are the development issuer's."""
    start, taken = Quick.start, []

    def noted(self: Quick, whole: Whole) -> bool:
        taken.append(start(self, whole))
        return bool(taken[-1])

    monkeypatch.setattr(Quick, "start", noted)
    with patch("community_gql.app.endpoint_config", lambda given, **_: endpoint_config(given)):
        async with listening(database_url, issuer, **settings) as server:
            yield Ways(server, taken)


@pytest.fixture
async def ways(
    request: pytest.FixtureRequest,
    database_url: str,
    issuer: DevelopmentIssuer,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Ways]:
    settings: Mapping[str, Any] = getattr(request, "param", {})
    async with production(database_url, issuer, monkeypatch, settings) as found:
        yield found


@pytest.fixture
async def anna(db: asyncpg.Connection) -> make.Person:
    await make.tag(db, "moss")
    return await make.person(db, "Anna")


USUAL: list[dict[str, str]] = [
    {},
    {"Accept": "application/json"},
    {"Accept": "application/graphql-response+json", "X-Request-Id": "mine"},
    {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"},
    {"Traceparent": f"00-{'1' * 32}-{'2' * 16}-01"},
]


@pytest.mark.parametrize("is_signed_in", [True, False])
async def test_the_answer_is_the_same(ways: Ways, anna: make.Person, is_signed_in: bool) -> None:
    bodies: list[Any] = [
        {"query": USER, "variables": {"id": anna.id}},
        {"query": PAGE, "variables": {"n": 1}, "operationName": "Page", "extensions": None},
        {"query": "{ viewer { user { id profile { displayName } } } }"},
    ]
    token = {"Authorization": ways.server.bearer(anna.sub)} if is_signed_in else {}
    for body in bodies:
        await ways.compiled(body, token)
    for body, more in [(bodies[0], more) for more in USUAL] + [(one, {}) for one in bodies]:
        headers = token | more
        one, other = await ways.twice(body, headers)
        assert (one.was_quick, other.was_quick) == (True, False)
        assert one.told == other.told
        assert one.status == 200
        assert one.line["executor"] == "compiled"
        assert one.line["milliseconds"] > 0
        assert one.line["database_milliseconds"] > 0
        assert one.line["request_id"] == one.headers["x-request-id"]
        given = headers.get("X-Request-Id")
        assert given is None or one.headers["x-request-id"] == given


async def test_other_lines_of_the_request_name_it(
    ways: Ways, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str | None] = []

    def noted(*given: Any) -> Any:
        found.append(current_id())
        return arguments_of(*given)

    body = {"query": PAGE, "variables": {"n": 1}}
    await ways.compiled(body)
    monkeypatch.setattr("community_gql.http.quick.arguments_of", noted)
    one = await ways.ask(body)
    assert one.was_quick
    assert found == [one.headers["x-request-id"]]
    assert current_id() is None


LONG: dict[str, tuple[Any, dict[str, str]]] = {
    "another document": ({"query": USER + " "}, {}),
    "a mutation": ({"query": "mutation { endFriendship { userErrors { code } } }"}, {}),
    "another operation": ({"query": PAGE, "operationName": "No"}, {}),
    "a number for a name": ({"query": PAGE, "operationName": 1}, {}),
    "variables that do not fit": ({"query": PAGE, "variables": {"n": "many"}}, {}),
    "a page too long": ({"query": PAGE, "variables": {"n": 1000}}, {}),
    "extensions": ({"query": PAGE, "extensions": {"persistedQuery": {"version": 1}}}, {}),
    "an id": ({"documentId": "x"}, {}),
    "no object": ([], {}),
    "no JSON": (b"{", {}),
    "nothing": (b"", {}),
    "NUL": (b'{"query": "{ a }", "variables": {"n": "\\u0000"}}', {}),
    "a long number": (b'{"query": "{ a }", "variables": {"n": 12345678901234567890}}', {}),
    "another type": ({"query": PAGE}, {"Content-Type": "text/plain"}),
    "an encoding": ({"query": PAGE}, {"Content-Encoding": "gzip"}),
    "a page": ({"query": PAGE}, {"Accept": "text/html"}),
    "events": ({"query": PAGE}, {"Accept": "text/event-stream"}),
    "a bad token": ({"query": PAGE}, {"Authorization": "Bearer x"}),
}


async def test_what_is_unusual_goes_the_long_way(ways: Ways) -> None:
    await ways.compiled({"query": PAGE})
    for name, (body, headers) in LONG.items():
        one, other = await ways.twice(body, headers)
        assert not one.was_quick, name
        assert (one.status, one.body.get("errors")) == (other.status, other.body.get("errors"))


MEMBERS = [None, "", 0, 1, -0.0, 1e300, True, False, [], {}, "x", "Page", [1], {"n": 1}, {"n": 0}]
"""What may stand for any member of a request."""
TEXTS = [
    b'{"query": %(query)s, "query": "{ nope }"}',
    b'{"query": "{ nope }", "query": %(query)s}',
    b'{"\\u0071uery": %(query)s}',
    b'{"query": %(query)s, "variables": {"n": 1, "n": 2}}',
    b'{"query": %(query)s, "variables": {"n": 1, "other": [{"deep": 1}]}}',
    b'{"query": %(query)s, "variables": {"n": 1.0}}',
    b'{"query": %(query)s, "variables": {"n": 1E0}}',
    b'{"query": %(query)s, "variables": {"n": 1e999}}',
    b'{"query": %(query)s, "variables": {"n": NaN}}',
    b'{"query": %(query)s, "variables": {"n": -0}}',
    b'{"query": %(query)s, "variables": {"n": 2147483648}}',
    b'{"query": %(query)s, "variables": {"n": 0000000000000000001}}',
    b'{"query": %(query)s, "variables": {"n": "\\ud800"}}',
    b'{"query": %(query)s, "variables": {"x": "\xff"}}',
    b'{"query": %(query)s, "variables": {"x": "\x01"}}',
    b'{"query": %(query)s, "a": ' + b"[" * 900 + b"]" * 900 + b"}",
    b'{"query": %(query)s, "a": ' + b"[" * 1100 + b"]" * 1100 + b"}",
    b'{"query": %(query)s, "documentId": null, "extensions": {}, "operationName": ""}',
    b'{"query": %(query)s, "operationName": "\\u0050age"}',
    b'\xef\xbb\xbf{"query": %(query)s}',
    b' \r\n\t{"query": %(query)s}\n ',
    b'{"query": %(query)s} x',
    b'{"query": %(query)s,}',
    b'[{"query": %(query)s}]',
    b"null",
]
FIELDS: dict[str, list[str]] = {
    "Accept": [
        *("*/*", "application/json", "text/event-stream, application/json", "text/html", ";", ","),
        *("application/*;q=0", "application/json;q=0, */*;q=0.1", "APPLICATION/JSON", "*/*;q=nan"),
        *("text/event-stream;q=0.5, application/json", "text/event-stream", "application/*"),
        *("application/json;charset=latin1", "application/graphql-response+json;q=x, */*;q=0.1"),
        "application/json\r\nAccept: text/event-stream",
    ],
    "Content-Type": [
        *("Application/JSON", "application/json; charset=utf-8", "application/json;charset=latin1"),
        *("text/plain", "", "application/json, text/plain", "application/json;"),
        *("text/plain\r\nContent-Type: application/json", "multipart/form-data"),
    ],
    "Content-Encoding": [
        "identity",
        "",
        "gzip",
        "identity, gzip",
        "identity\r\nContent-Encoding: x",
    ],
    "Authorization": [
        *("", "Bearer", "Bearer x", "Basic eDp5", "Bearer x\r\nAuthorization: Bearer x", "%s"),
        *("%s\r\nAuthorization: %s", "%s ", "bearer%s"),
    ],
    "Cookie": ["", "a=b", "session=x", "__Host-session=x\r\nCookie: a=b"],
    "Origin": ["null", "http://x", "https://example.org"],
    "Sec-Fetch-Site": ["cross-site", "same-origin"],
    "X-Forwarded-For": [
        *(
            "203.0.113.7",
            "nonsense",
            "",
            "203.0.113.7, 127.0.0.1",
            "::ffff:203.0.113.7",
            "[::1]:80",
        ),
        *("203.0.113.7:80", "127.0.0.1", "a" * 200, "203.0.113.7\r\nX-Forwarded-For: 203.0.113.8"),
    ],
    "X-Forwarded-Proto": ["https", "HTTPS", "http", "wss", "https, http", "x", ""],
    "Traceparent": [f"00-{'1' * 32}-{'2' * 16}-01", f"ff-{'1' * 32}-{'2' * 16}-01", "x", ""],
    "X-Request-Id": ["mine", 'a"b', "two words", "x" * 129, ""],
    "X-Read-After": ["x"],
    "If-None-Match": ["*"],
    "Last-Event-ID": ["x"],
    "Expect": ["100-continue", "x"],
    "X-Requested-With": ["x"],
}


TWO = "query One { viewer { user { id } } } query Other($yes: Boolean!) { tags(first: 1) { nodes "
TWO += "{ name id @include(if: $yes) } } }"
LIST = "query List($filter: StoryFilter, $order: StoryOrder, $after: String) { stories(first: 2, "
LIST += "filter: $filter, orderBy: $order, after: $after) { totalCount nodes { id title } } }"
KNOWN: list[dict[str, Any]] = [
    {"query": PAGE, "variables": {"n": 1}},
    {"query": USER, "variables": {"id": ""}},
    {"query": TWO, "operationName": "One"},
    {"query": TWO, "operationName": "Other", "variables": {"yes": True}},
    {"query": LIST, "variables": {"filter": {"tagsAny": ["moss"]}}},
    {"query": LIST, "variables": {"filter": {"createdAfter": "2026-01-01T00:00:00Z"}}},
    {"query": LIST, "variables": {"order": "NEWEST"}},
]
VALUES: list[Any] = [
    *(
        *MEMBERS,
        "moss",
        "VXNlcl8x",
        "User_1",
        "NEWEST",
        "Newest",
        "2026-01-01",
        "2026-13-01T00:00:00Z",
    ),
    *({"tagsAny": []}, {"tagsAny": None}, {"tagsAny": "moss"}, {"tagsAny": ["x"] * 60}),
    *(
        {"tagsAny": ["moss", 1]},
        {"nope": 1},
        {"search": "fern"},
        {"search": " "},
        {"search": "\x00"},
    ),
    *({"createdAfter": "x"}, {"createdAfter": 1}, {"createdAfter": "9999-12-31T23:59:59.9Z"}),
    *("'; DROP TABLE users", "\u202e", "é", "e\u0301", "x" * 5000, 2**31, -(2**31) - 1, 1.5),
]


def unusual(
    dice: random.Random, token: str, known: Sequence[dict[str, Any]]
) -> tuple[bytes, dict[str, str]]:
    """A request that is a little odd, or more."""
    body = dict(dice.choice(known))
    text = orjson.dumps(body)
    if (what := dice.random()) < 0.25:
        given = dict(body.get("variables", {}))
        given[dice.choice([*given, "n", "id", "filter", "order", "after"])] = dice.choice(VALUES)
        text = orjson.dumps(body | {"variables": given})
    elif what < 0.45:
        body[dice.choice(["variables", "operationName", "extensions", "documentId", "query"])] = (
            dice.choice(MEMBERS)
        )
        text = orjson.dumps(body)
    elif what < 0.65:
        text = dice.choice(TEXTS).replace(b"%(query)s", orjson.dumps(PAGE))
    fields = {}
    for name in dice.sample(sorted(FIELDS), dice.choice([0, 1, 1, 2, 3])):
        fields[name] = dice.choice(FIELDS[name]).replace("%s", token)
    return text, fields


ENOUGH = {"cost_per_minute": 10**9}


@pytest.mark.parametrize("ways", [ENOUGH, ENOUGH | {"trusted_proxies": "127.0.0.1"}], indirect=True)
async def test_what_is_odd_is_answered_alike(ways: Ways, anna: make.Person) -> None:
    """Requests by chance: whatever goes the quick way is answered as on the long one."""
    token = ways.server.bearer(anna.sub)
    known = [*KNOWN]
    known[1] = {"query": USER, "variables": {"id": anna.id}}
    for body in known:
        for fields in (NONE, {"Authorization": token}):
            await ways.compiled(body, fields)
    dice = random.Random(int(os.environ.get("QUICK_SEED", "1")))
    quickly = 0
    for _ in range(int(os.environ.get("QUICK_ODD", "80"))):
        text, headers = unusual(dice, token, known)
        try:
            one, other = await ways.twice(text, headers)
        except ConnectionResetError:
            continue  # it was refused, and the connection closed, before its last byte came
        assert not other.was_quick
        # What is long both times may be compiled in between.
        compared = slice(None) if one.was_quick else slice(3)
        assert one.told[compared] == other.told[compared], (text, headers)
        ids = [
            answer.headers["x-request-id"] == headers.get("X-Request-Id") for answer in (one, other)
        ]
        assert ids[0] == ids[1], headers
        quickly += one.was_quick
    assert quickly > 10


async def test_requests_in_one_piece_are_answered_in_turn(ways: Ways) -> None:
    await ways.compiled({"query": PAGE})
    text = orjson.dumps({"query": PAGE})
    one = (
        b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(text), text)
    )
    last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    reader, writer = await asyncio.open_connection(HOST, ways.server.port)
    writer.write(one * 3 + last)
    async with asyncio.timeout(20):
        received = await reader.read()
    writer.close()
    assert received.count(b"HTTP/1.1 200") == 4
    assert received.count(b'{"data":{"tags"') == 3
    assert received.endswith(b"ok\n")


async def test_a_person_who_is_forgotten_is_looked_up_again(ways: Ways, anna: make.Person) -> None:
    token, body = {"Authorization": ways.server.bearer(anna.sub)}, {"query": PAGE}
    await ways.compiled(body, token)
    ways.server.sockets.authenticate.forget(anna.sub)

    assert not (await ways.ask(body, token)).was_quick
    assert (await ways.ask(body, token)).was_quick


async def test_an_account_that_another_process_deletes_is_noticed(
    ways: Ways, anna: make.Person, db: asyncpg.Connection
) -> None:
    token, body = {"Authorization": ways.server.bearer(anna.sub)}, {"query": PAGE}
    await ways.compiled(body, token)
    await db.execute("DELETE FROM users WHERE auth0_sub = $1", anna.sub)
    await db.execute(
        "INSERT INTO deleted_accounts (sub_hash) VALUES (encode(sha256($1), 'hex'))",
        anna.sub.encode(),
    )
    authentication: Any = ways.server.sockets.authenticate
    await authentication.provisioning.look_for_deletions()

    gone = await ways.ask(body, token)
    assert (gone.was_quick, gone.status, gone.codes) == (False, 401, ["UNAUTHENTICATED"])


async def test_a_token_that_expires_is_verified_again(ways: Ways, anna: make.Person) -> None:
    token, body = {"Authorization": ways.server.bearer(anna.sub, 2)}, {"query": PAGE}
    await ways.compiled(body)
    await ways.ask(body, token)
    assert (await ways.ask(body, token)).was_quick
    await asyncio.sleep(2.1)
    assert not (await ways.ask(body, token)).was_quick


@pytest.mark.parametrize("ways", [{"cost_per_minute": 100_000}], indirect=True)
async def test_a_spent_budget_refuses(ways: Ways) -> None:
    runner = ways.server.sockets.runner
    await ways.compiled({"query": PAGE})
    await runner.config.budget.debit("address:127.0.0.1", 10**9)

    one, other = await ways.twice({"query": PAGE})
    assert one.was_quick
    assert one.codes == other.codes == ["RATE_LIMITED"]
    assert (one.status, one.headers.keys()) == (other.status, other.headers.keys())
    assert one.line["codes"] == ("RATE_LIMITED",)


@pytest.mark.parametrize(
    "ways", [{"request_timeout": 1, "statement_timeout": 0.9, "lock_timeout": 0.9}], indirect=True
)
async def test_what_takes_too_long_is_given_up(ways: Ways, db: asyncpg.Connection) -> None:
    body = {"query": PAGE}
    found: Quick = ways.server.server.lifespan.state[QUICK]
    found._config = dataclasses.replace(found._config, request_timeout=0.5)
    await ways.compiled(body)
    async with db.transaction():
        await db.execute("LOCK TABLE tags")
        one = await ways.ask(body)
    assert one.was_quick
    assert (one.status, one.codes) == (503, ["UNAVAILABLE"])
    assert one.line["milliseconds"] >= 500
    assert one.line["cause"] is None, "PostgreSQL has given up first"
    assert (await ways.ask(body)).status == 200


async def test_an_answer_may_be_too_large(ways: Ways, anna: make.Person) -> None:
    body = {"query": USER, "variables": {"id": anna.id}}
    await ways.compiled(body)
    ways.server.sockets.runner.operations.max_answer_bytes = 10

    one, other = await ways.twice(body)
    assert one.was_quick
    assert one.told == other.told
    assert one.codes == ["ANSWER_TOO_LARGE"]


async def test_the_loaders_answer_where_the_statement_fails(ways: Ways) -> None:
    body = {"query": PAGE, "variables": {"n": 2}}
    await ways.compiled(body)
    for _, found in ways.server.sockets.runner.operations.pushdown.statements.items():
        assert found.statement is not None
        broken = dataclasses.replace(found.statement, text="SELECT 1 / 0", arguments=[])
        found.statement = dataclasses.replace(broken, viewer=[], varying=[])

    one, other = await ways.twice(body)
    assert (one.was_quick, one.status) == (True, 200)
    assert one.told == other.told
    assert one.line["fallback_reason"] == "the statement failed: 22012"


async def test_a_fault_is_answered(ways: Ways, monkeypatch: pytest.MonkeyPatch) -> None:
    await ways.compiled({"query": PAGE})
    monkeypatch.setattr(quick, "arguments_of", None)
    one = await ways.ask({"query": PAGE})
    assert (one.was_quick, one.status, one.codes) == (True, 500, ["INTERNAL"])


PAGES = "https://app.example,http://localhost:5173"


@pytest.mark.parametrize("ways", [{"cors_origins": PAGES}], indirect=True)
async def test_pages_of_other_origins_are_told_the_same(
    ways: Ways, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"query": PAGE}
    for _ in range(2):
        await ways.compiled(body)
        for origin in (*PAGES.split(","), "https://evil.example", "null", "", None):
            headers = {} if origin is None else {"Origin": origin}
            one, other = await ways.twice(body, headers | {"Accept": "application/json"})
            assert (one.was_quick, other.was_quick) == (True, False)
            assert one.told == other.told, origin
            allowed = one.headers.get("access-control-allow-origin")
            assert allowed == (origin if origin and origin in PAGES else None)
            assert one.headers["vary"].endswith(", origin")
            assert ("access-control-expose-headers" in one.headers) == (origin is not None)
        monkeypatch.setattr(ways.server.sockets.runner.operations, "max_answer_bytes", 10)


@pytest.mark.parametrize("ways", [{"cors_origins": PAGES}], indirect=True)
async def test_of_several_origins_the_first_counts(ways: Ways) -> None:
    await ways.compiled({"query": PAGE})
    headers = {"Origin": "https://evil.example", "origin": "https://app.example"}
    one, other = await ways.twice({"query": PAGE}, headers)
    assert one.was_quick
    assert one.told == other.told
    assert "access-control-allow-origin" not in one.headers


async def test_budgets_in_redis_are_spent_both_ways(
    database_url: str,
    issuer: DevelopmentIssuer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = free_port()
    options = {"redis_url": f"redis://{HOST}:{port}/0", "cost_per_minute": 100_000}
    with redis_server(port, tmp_path):
        async with production(database_url, issuer, monkeypatch, options) as ways:
            body = {"query": PAGE, "variables": {"n": 1}}
            await ways.compiled(body)
            one, other = await ways.twice(body)
            assert (one.was_quick, other.was_quick) == (True, False)
            assert one.told == other.told
            # Whichever way it goes, it takes from what another process would have, too.
            left = [int(each.headers["ratelimit-remaining"]) for each in (one, other)]
            assert left[0] - left[1] >= one.line["cost"]
            assert left[0] <= 100_000 - 2 * one.line["cost"]
            await ways.server.sockets.runner.config.budget.debit("address:127.0.0.1", 100_000)
            spent, refused = await ways.twice(body)
            assert spent.was_quick
            assert (spent.status, spent.codes) == (refused.status, refused.codes)
            assert spent.codes == ["RATE_LIMITED"]
            assert spent.headers.keys() == refused.headers.keys()
