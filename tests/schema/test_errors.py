"""What a client is told when something is wrong, and what only the log is told."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest
from sqlalchemy import text

from community_gql.db.database import Snapshot
from community_gql.errors import BadRequest
from community_gql.identity.development import DevelopmentIssuer
from community_gql.logs import PlainLines
from community_gql.operations import batched
from community_gql.operations.pipeline import Operations
from community_gql.settings.checks import plain_address
from tests.support import factories as make
from tests.support.client import Answer, Client, serving
from tests.support.writing import waiting

INSIDES = (
    "secret", "SELECT", "Traceback", "File ", ".py", "site-packages", "community_gql", "asyncpg",
    "sqlalchemy", "Error:", "Exception", "auth0", "stories_1", "None", "object at 0x",
)  # fmt: skip
"""What no message may hold."""


def rendered(record: logging.LogRecord) -> str:
    """What the log in development has of a record, traceback included."""
    return PlainLines(colours=False).format(record)


def assert_says_nothing_of_the_inside(answer: Answer) -> None:
    for error in answer.errors:
        shown = {key: value for key, value in error.items() if key != "path"}
        assert not [word for word in INSIDES if word in json.dumps(shown)]
        assert error.keys() <= {"message", "locations", "path", "extensions"}
        assert error["extensions"].keys() <= {"code", "errorId"}


# --- Faults of ours ---


class SecretError(Exception):
    """A fault that no one expects."""


@pytest.fixture
def pushdown() -> str:
    """The tests break the loaders; compiled queries have theirs in pushdown/test_execution.py."""
    return "off"


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(*_: Any) -> Any:
        raise SecretError("SELECT secret FROM /srv/community_gql/vault.py")

    monkeypatch.setattr(Snapshot, "run", run)


def _own(answer: Answer) -> list[logging.LogRecord]:
    """The lines of the request, without that of a document which is seen for the first time."""
    return [line for line in answer.lines if line.name != "community_gql.documents"]


def assert_is_a_fault(answer: Answer, raised: str) -> None:
    """Each error has an id that the log has too, there with everything."""
    faults = {
        line.__dict__.get("errorId"): line for line in _own(answer) if line is not answer.line
    }
    ids = [error["extensions"]["errorId"] for error in answer.errors]
    assert set(answer.codes) == {"INTERNAL"}
    assert_says_nothing_of_the_inside(answer)
    assert len(set(ids)) == len(ids)
    assert faults.keys() == set(ids)
    for id_, line in faults.items():
        assert line.levelno == logging.ERROR
        assert raised in rendered(line)
        assert 'File "' in rendered(line), "the log has the traceback"
        assert str(id_) in rendered(line)
    assert set(answer.line.__dict__["codes"]) == {"INTERNAL"}


@pytest.mark.usefixtures("broken")
async def test_a_fault_gives_an_id_and_no_more(api: Client) -> None:
    answer = await api("{ stories { nodes { id } } }")

    assert_is_a_fault(answer, "SecretError")
    assert answer.errors[0]["path"] == ["stories"]
    assert answer.body.get("data") is None


@pytest.mark.usefixtures("broken")
async def test_a_fault_leaves_the_rest_of_the_answer(api: Client) -> None:
    answer = await api('{ a: tag(name: "x") { id } b: tag(name: "y") { id } __typename }')

    assert_is_a_fault(answer, "SecretError")
    assert [error["path"] for error in answer.errors] == [["a"], ["b"]]
    assert answer.body["data"] == {"a": None, "b": None, "__typename": "Query"}


async def test_a_fault_in_the_database_shows_no_sql(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Snapshot.run

    async def divide(self: Snapshot, *_: Any) -> Any:
        return await run(self, text("SELECT 1 / 0 AS secret"), {})

    monkeypatch.setattr(Snapshot, "run", divide)

    answer = await api('{ tag(name: "x") { id } }')

    assert_is_a_fault(answer, "DivisionByZeroError")
    assert "division" not in answer.response.text


@pytest.mark.parametrize(("home", "place"), [(Operations, "prepare"), (batched, "run")])
async def test_a_fault_outside_of_execution(
    api: Client, monkeypatch: pytest.MonkeyPatch, home: Any, place: str
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise SecretError("secret")

    monkeypatch.setattr(home, place, fail)

    answer = await api("{ __typename }")

    assert answer.status == 500
    assert_is_a_fault(answer, "SecretError")
    assert "data" not in answer.body


async def test_a_fault_gives_its_connection_back(
    database_url: str, issuer: DevelopmentIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Snapshot.run

    async def fail_later(self: Snapshot, *arguments: Any) -> Any:
        found = await run(self, *arguments)
        if self.statements > 1:
            raise SecretError("secret")
        return found

    settings = {"database_pool_size": 1, "database_pool_timeout": 60}
    async with serving(database_url, issuer, pushdown="off", **settings) as api:
        with monkeypatch.context() as patched:
            patched.setattr(Snapshot, "run", fail_later)
            query = "{ a: users { totalCount } b: stories { totalCount } c: tags { totalCount } }"
            for _ in range(3):
                assert set((await api(query)).codes) == {"INTERNAL"}
        assert (await api("{ users { totalCount } }")).data == {"users": {"totalCount": 0}}


# --- Errors of clients ---

PARSE, VALIDATION, BAD = "GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "BAD_REQUEST"

QUERY_OF_A_TAG = "query Q($name: String!) { tag(name: $name) { id } }"

MISTAKES: list[tuple[str, Any, str]] = [
    ("no GraphQL", {"query": "{ users"}, PARSE),
    ("no query", {}, BAD),
    ("an empty query", {"query": " "}, PARSE),
    ("an unknown field", {"query": "{ secrets }"}, VALIDATION),
    ("an unknown argument", {"query": "{ users(limit: 5) { totalCount } }"}, VALIDATION),
    ("an unknown type", {"query": "{ node(id: 1) { ... on Secret { id } } }"}, VALIDATION),
    ("no selection", {"query": "{ users }"}, VALIDATION),
    ("an unknown enum value", {"query": "{ users(orderBy: AGE) { totalCount } }"}, VALIDATION),
    ("an unknown filter", {"query": "{ users(filter: {age: 5}) { totalCount } }"}, VALIDATION),
    ("a variable that is missing", {"query": QUERY_OF_A_TAG}, BAD),
    ("a variable that is null", {"query": QUERY_OF_A_TAG, "variables": {"name": None}}, BAD),
    ("a variable of another type", {"query": QUERY_OF_A_TAG, "variables": {"name": 5}}, BAD),
    (
        "null for a variable that fits by its default",
        {
            "query": 'query($name: String = "moss") { tag(name: $name) { id } }',
            "variables": {"name": None},
        },
        BAD,
    ),
    (
        "null for a switch that fits by its default",
        {
            "query": "query($yes: Boolean = true) { viewer @include(if: $yes) { email } }",
            "variables": {"yes": None},
        },
        BAD,
    ),
    ("a page that is too long", {"query": "{ users(first: 101) { totalCount } }"}, BAD),
    ("a foreign cursor", {"query": '{ users(after: "x") { totalCount } }'}, BAD),
    (
        "no such operation",
        {"query": "query A { __typename }", "operationName": "B"},
        BAD,
    ),
    ("which operation", {"query": "query A { __typename } query B { __typename }"}, BAD),
    ("a list as request", [], BAD),
    ("a number as request", 5, BAD),
    ("null as request", None, BAD),
    ("a number as query", {"query": 5}, BAD),
    ("a list as variables", {"query": "{ __typename }", "variables": [1]}, BAD),
    ("text as variables", {"query": "{ __typename }", "variables": "{}"}, BAD),
    ("a number as operation", {"query": "{ __typename }", "operationName": 5}, BAD),
]


def assert_quiet(answer: Answer, code: str) -> None:
    """The request was refused, and the log has one line about it, without a traceback."""
    assert set(answer.codes) == {code}
    assert 400 <= answer.status < 500
    assert "data" not in answer.body
    assert answer.statements == []
    assert _own(answer) == [answer.line]
    assert answer.line.levelno == logging.INFO
    assert answer.line.exc_info is None
    assert "\n" not in rendered(answer.line)
    assert set(answer.line.__dict__["codes"]) == {code}


@pytest.mark.parametrize(("body", "code"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
async def test_a_mistake_of_a_client_is_one_quiet_line(api: Client, body: Any, code: str) -> None:
    answer = await api.send("POST", json=body)

    assert_quiet(answer, code)
    for error in answer.errors:
        assert error["message"]
        assert error["extensions"] == {"code": code}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b'{"query": "\xff"}', b"{'query': 1}", b'{"query": "{ a }"} x', b"\0"],
)
async def test_a_body_that_is_not_json_is_one_quiet_line(api: Client, body: bytes) -> None:
    answer = await api.send("POST", content=body, headers={"Content-Type": "application/json"})

    assert_quiet(answer, BAD)
    assert answer.status == 400


# --- Texts and numbers that the database cannot hold ---

BAD_TEXTS = {
    "NUL": "a\0b",
    "NUL alone": "\0",
    "a high surrogate": "a\ud800b",
    "a low surrogate": "\udfff",
    "surrogates in the wrong order": "\udc00\ud800",
}

ANYWHERE = [
    ("a variable", lambda bad: {"query": QUERY_OF_A_TAG, "variables": {"name": bad}}),
    ("a variable unused", lambda bad: {"query": "{ __typename }", "variables": {"x": bad}}),
    ("the name of a variable", lambda bad: {"query": "{ __typename }", "variables": {bad: 1}}),
    (
        "deep in a variable",
        lambda bad: {
            "query": "query($f: StoryFilter) { stories(filter: $f) { totalCount } }",
            "variables": {"f": {"tagsAny": ["x", bad]}},
        },
    ),
    (
        "an id",
        lambda bad: {"query": "query($i: ID!) { node(id: $i) { id } }", "variables": {"i": bad}},
    ),
    (
        "a search",
        lambda bad: {
            "query": "query($w: String) { users(filter: {search: $w}) { totalCount } }",
            "variables": {"w": bad},
        },
    ),
    ("the document", lambda bad: {"query": f"# {bad}\n{{ __typename }}"}),
    ("a text in the document", lambda bad: {"query": f'{{ tag(name: "{bad}") {{ id }} }}'}),
    ("a block of text", lambda bad: {"query": f'{{ tag(name: """{bad}""") {{ id }} }}'}),
    ("the operation's name", lambda bad: {"query": "{ __typename }", "operationName": bad}),
]


@pytest.mark.parametrize("bad", BAD_TEXTS.values(), ids=BAD_TEXTS)
@pytest.mark.parametrize("place", [p[1] for p in ANYWHERE], ids=[p[0] for p in ANYWHERE])
async def test_texts_that_postgresql_cannot_hold_are_refused(
    api: Client, place: Any, bad: str
) -> None:
    answer = await api.send(
        "POST",
        content=json.dumps(place(bad)),  # with \u escapes: valid JSON
        headers={"Content-Type": "application/json"},
    )

    assert answer.codes in ([BAD], [PARSE])
    assert_quiet(answer, answer.codes[0])


@pytest.mark.parametrize(
    "literal", ["\\u0000", "\\u{0}", "\\ud800", "\\udfff x", "\\ud800\\ud800", "\\u{D800}"]
)
async def test_escapes_in_the_document_are_refused_too(api: Client, literal: str) -> None:
    for document in (
        f'{{ tag(name: "x{literal}") {{ id }} }}',
        f'{{ users(filter: {{search: "{literal}"}}) {{ totalCount }} }}',
        f'query($n: String! = "{literal}") {{ tag(name: $n) {{ id }} }}',
        f'{{ nodes(ids: ["a", "{literal}"]) {{ id }} }}',
    ):
        answer = await api(document)
        assert answer.codes in ([BAD], [PARSE])
        assert_quiet(answer, answer.codes[0])


@pytest.mark.parametrize(
    "bad",
    [
        *("%00", "%22%5Cu0000%22", "%22%5Cud800%22"),
        *("%ED%A0%80", "%ED%BF%BF", "%FF", "%C0%AF"),
    ],
)
async def test_get_parameters_are_read_as_carefully(api: Client, bad: str) -> None:
    document = quote(QUERY_OF_A_TAG)
    for parameters in (
        f"query={document}{bad}",
        f"query={quote('{ __typename }')}&operationName={bad}",
        f"query={document}&variables={quote('{')}%22name%22:{bad}{quote('}')}",
        f"query={document}&variables={quote('{')}%22name%22:%22{bad}%22{quote('}')}",
    ):
        answer = await api.send("GET", f"/graphql?{parameters}")
        assert answer.codes in ([BAD], [PARSE]), parameters
        assert_quiet(answer, answer.codes[0])


async def test_texts_beyond_the_basic_plane_are_fine(api: Client, db: asyncpg.Connection) -> None:
    await make.tag(db, "🌱")

    assert (await api(QUERY_OF_A_TAG, name="🌱")).data["tag"]
    assert (await api('{ tag(name: "\\ud83c\\udf31") { id } }')).data["tag"]
    assert (await api('{ tag(name: "\\u{1F331}") { id } }')).data["tag"]


NUMBERS = [str(2**31), str(-(2**31) - 1), str(2**63), str(2**64), "9" * 100, "1.5", "1e400"]


@pytest.mark.parametrize("number", NUMBERS)
async def test_numbers_beyond_an_int_are_refused(api: Client, number: str) -> None:
    literal = await api(f"{{ users(first: {number}) {{ totalCount }} }}")
    document = "query($n: Int) { users(first: $n) { totalCount } }"
    body = f'{{"query": "{document}", "variables": {{"n": {number}}}}}'
    variable = await api.send("POST", content=body, headers={"Content-Type": "application/json"})

    assert_quiet(literal, VALIDATION)
    assert_quiet(variable, BAD)


@pytest.mark.parametrize("number", ["9" * 5000, f"-{'9' * 5000}", f"0.{'9' * 5000}", "1e99999"])
async def test_a_number_of_any_length_breaks_nothing(api: Client, number: str) -> None:
    for query in (
        f"{{ users(first: {number}) {{ totalCount }} }}",
        f"{{ node(id: {number}) {{ id }} }}",
    ):
        answer = await api(query)
        if "errors" in answer.body:
            assert_quiet(answer, answer.codes[0])
    for document in ("query($n: Int) { users(first: $n) { totalCount } }", "{ __typename }"):
        body = f'{{"query": "{document}", "variables": {{"n": {number}}}}}'
        answer = await api.send("POST", content=body, headers={"Content-Type": "application/json"})
        if "errors" in answer.body:
            assert_quiet(answer, answer.codes[0])


# --- Who is asking ---

WHO = "{ viewer { email } }"


async def test_without_a_token_the_viewer_is_anonymous(api: Client) -> None:
    answer = await api(WHO)

    assert answer.data == {"viewer": None}
    assert "WWW-Authenticate" not in answer.response.headers


def forged(token: str, **claims: Any) -> str:
    """The token with other claims under the same signature."""
    header, body, signature = token.split(".")
    old = json.loads(base64.urlsafe_b64decode(body + "=="))
    new = base64.urlsafe_b64encode(json.dumps({**old, **claims}).encode()).decode().rstrip("=")
    return f"{header}.{new}.{signature}"


async def test_a_bad_token_is_refused(
    api: Client, db: asyncpg.Connection, issuer: DevelopmentIssuer, tmp_path: Path
) -> None:
    ada, bo = await make.person(db), await make.person(db)
    good = issuer.token(ada.sub)
    header, claims, signature = good.split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    bad = [
        "", "x", "a.b.c", "..", good[:-4], f"{header}.{claims}.", f"{none}.{claims}.",
        f"{none}.{claims}.{signature}", good + "x", "é", "x" * 10_000,
        forged(good, sub=bo.sub), forged(good, exp=2**40),
        forged(good, permissions=["manage:tags"]),
        issuer.token(ada.sub, lifetime=timedelta(minutes=-5)),
        issuer.token("x" * 65), issuer.token(""), issuer.token("a\0b"),
        DevelopmentIssuer(tmp_path).token(ada.sub),
    ]  # fmt: skip
    headers = [
        *(f"Bearer {token}" for token in bad),
        good,
        f"Basic {good}",
        f"Token {good}",
        "Bearer",
    ]

    for value in headers:
        answer = await api.send(
            "POST", json={"query": WHO}, headers={"Authorization": value.encode()}
        )
        assert answer.status == 401, value
        assert answer.response.headers["WWW-Authenticate"].startswith("Bearer")
        assert_quiet(answer, "UNAUTHENTICATED")
        assert_says_nothing_of_the_inside(answer)
    assert (await api(WHO, ada)).data == {"viewer": {"email": ada.email}}


async def test_two_tokens_are_refused(api: Client, db: asyncpg.Connection) -> None:
    ada = await make.person(db)
    one = api.authorization(ada.sub)["Authorization"]

    answer = await api.send(
        "POST", json={"query": WHO}, headers=[("Authorization", one), ("Authorization", one)]
    )

    assert_quiet(answer, "UNAUTHENTICATED")


# --- The database is away ---


def assert_unavailable(answer: Answer) -> None:
    assert answer.status == 503
    assert answer.codes == ["UNAVAILABLE"]
    assert "Retry-After" in answer.response.headers
    assert answer.body.get("data") is None
    assert_says_nothing_of_the_inside(answer)


NESTED = "{ users { totalCount nodes { id stories { totalCount } } } stories { totalCount } }"


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://nobody@127.0.0.1:1/nothing",
        "postgresql://nobody@/nothing?host=/no/such/folder",
        "postgresql://nobody@no-such-host.invalid/nothing",
    ],
)
async def test_a_database_that_is_down_is_unavailable(
    issuer: DevelopmentIssuer, address: str
) -> None:
    async with serving(address, issuer) as api:
        assert_unavailable(await api(NESTED))
        assert (await api("{ __typename }")).data == {"__typename": "Query"}
        assert_quiet(await api("{ nonsense }"), VALIDATION)


async def test_a_pool_that_is_exhausted_is_unavailable_and_recovers(
    database_url: str, issuer: DevelopmentIssuer, db: asyncpg.Connection
) -> None:
    settings = {"database_pool_size": 1, "database_pool_timeout": 0.2}
    async with serving(database_url, issuer, pushdown="off", **settings) as api:
        blocker = await asyncpg.connect(plain_address(database_url))
        locked = blocker.transaction()
        await locked.start()
        await blocker.execute("LOCK TABLE tags")
        asked = asyncio.create_task(api("{ tags { totalCount } }"))
        await waiting(db)

        assert_unavailable(await api(NESTED))

        await locked.rollback()
        await blocker.close()
        assert (await asked).data == {"tags": {"totalCount": 0}}
        assert (await api("{ users { totalCount } }")).data == {"users": {"totalCount": 0}}


async def test_a_statement_that_takes_too_long_is_unavailable(
    database_url: str, issuer: DevelopmentIssuer
) -> None:
    async with serving(database_url, issuer, pushdown="off", statement_timeout=0.2) as api:
        blocker = await asyncpg.connect(plain_address(database_url))
        locked = blocker.transaction()
        await locked.start()
        await blocker.execute("LOCK TABLE tags")

        assert_unavailable(await api("{ tags { totalCount } }"))

        await locked.rollback()
        await blocker.close()
        assert (await api("{ tags { totalCount } }")).data == {"tags": {"totalCount": 0}}


# With a timeout it returns when they are gone.
CUT_OFF = """
SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'community-gql'
"""


async def test_a_connection_that_breaks_is_unavailable_and_replaced(
    api: Client, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make.people(db, 2)
    run = Snapshot.run
    cuts = 0

    async def cut_off(self: Snapshot, *arguments: Any) -> Any:
        nonlocal cuts
        if self.statements >= 1 and not cuts:
            cuts += 1
            await db.execute(CUT_OFF)
        return await run(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Snapshot, "run", cut_off)
        assert_unavailable(await api(NESTED))
    assert cuts == 1
    assert (await api(NESTED)).data["stories"] == {"totalCount": 0}


async def test_a_database_that_restarted_is_found_again(
    api: Client, db: asyncpg.Connection
) -> None:
    await asyncio.gather(*(api(NESTED) for _ in range(5)))
    await db.execute(CUT_OFF)

    answers = [await api(NESTED) for _ in range(3)]

    for answer in answers[:1]:  # may meet a connection of before
        if "errors" in answer.body:
            assert_unavailable(answer)
    for answer in answers[1:]:
        assert answer.data["stories"] == {"totalCount": 0}


def test_a_public_error_says_what_it_is() -> None:
    error = BadRequest("Ask for less.")

    assert (error.code, error.message, str(error)) == ("BAD_REQUEST", *["Ask for less."] * 2)
