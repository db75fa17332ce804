"""Errors: known codes, and a log that is quiet about clients and full about faults."""

from __future__ import annotations

import ast
import logging
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy.exc import IntegrityError

from community_gql.http.responses import STATUS
from community_gql.logs import JsonLines, PlainLines, describe
from tests.support import factories as make
from tests.support.client import Client

SOURCES = Path(__file__).parents[2] / "src" / "community_gql"


def test_every_code_of_a_public_error_has_a_status() -> None:
    codes = {
        item.value.value
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        for item in node.body
        if isinstance(item, ast.Assign)
        and isinstance(item.targets[0], ast.Name)
        and item.targets[0].id == "code"
        and isinstance(item.value, ast.Constant)
    }

    assert codes | {"INTERNAL"} == STATUS.keys()


async def test_a_fault_is_an_error_id_to_the_client_and_everything_in_the_log(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        raise ValueError("cannot make sense of Sesame at 4711 or SESAME")

    monkeypatch.setattr("community_gql.graph.plans.Lookup.collect", fails)
    query = (
        "query Find($name: String!, $n: Int) { tag(name: $name) { users(first: $n) {nodes{id}} } }"
    )
    answer = await api(query, name="Sesame", n=4)
    monkeypatch.undo()
    faults = [line for line in answer.lines if line.name == "community_gql.faults"]

    assert (answer.status, answer.codes) == (294, ["INTERNAL"])
    error_id = answer.errors[0]["extensions"]["errorId"]
    assert "Sesame" not in answer.response.text
    assert "ValueError" not in answer.response.text
    assert len(faults) == 1
    assert faults[0].levelname == "ERROR"
    assert faults[0].errorId == error_id  # type: ignore[attr-defined]
    said = faults[0].getMessage()
    assert error_id in said
    assert said.endswith("at tag")
    traceback = vars(faults[0])["traceback"]
    assert "in fails" in traceback
    assert "builtins.ValueError: cannot make sense of … at 4711 or …" in traceback


async def test_the_same_fault_has_the_same_fingerprint(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(kind: type[Exception]) -> Any:
        raise kind("inside")

    seen: list[tuple[str, str]] = []
    for kind, query in ((ValueError, "{ __typename }"), (KeyError, "query B { __typename }")) * 2:
        monkeypatch.setattr(
            "community_gql.operations.pipeline.check_cost", lambda *_, kind=kind: fails(kind)
        )
        answer = await api(query)
        (fault,) = [line for line in answer.lines if line.name == "community_gql.faults"]
        assert vars(fault)["fingerprint"] in fault.getMessage()
        seen.append((vars(fault)["fingerprint"], vars(fault)["errorId"]))

    assert seen[0][0] == seen[2][0] != seen[1][0] == seen[3][0]
    assert len({error_id for _, error_id in seen}) == 4


async def test_a_fault_outside_of_the_operation_is_answered_too(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("inside")

    monkeypatch.setattr("community_gql.operations.pipeline.check_cost", fails)
    answer = await api("{ __typename }")

    assert (answer.status, answer.codes) == (500, ["INTERNAL"])
    assert "data" not in answer.body
    assert answer.response.headers["content-type"].startswith("application/graphql-response+json")


async def test_a_faults_statement_is_logged_without_its_values(
    api: Client, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What people write reaches SQL as parameters, and PostgreSQL's messages quote it."""
    anna = await make.person(db, "Anna")
    await db.execute("ALTER TABLE stories ADD CONSTRAINT no_moss CHECK (title <> 'Secret moss')")
    try:
        answer = await api(
            "mutation Write($input: CreateStoryInput!) { createStory(input: $input) { "
            "story { id } } }",
            anna,
            input={"title": "Secret moss", "content": "A lantern"},
        )
    finally:
        await db.execute("ALTER TABLE stories DROP CONSTRAINT no_moss")
    (fault,) = [line for line in answer.lines if line.name == "community_gql.faults"]
    said = fault.getMessage() + vars(fault)["traceback"]

    assert answer.codes == ["INTERNAL"]
    assert "SQLSTATE 23514, constraint no_moss" in said
    assert "WITH /* op=Write doc=" in said
    assert "INTO stories" in said
    assert "moss" not in said.replace("no_moss", "")
    assert "lantern" not in said


def test_no_error_of_the_database_shows_what_was_written() -> None:
    orig = Exception('duplicate key value: Key (name)=(hidden) "hidden"')
    error = IntegrityError("INSERT INTO tags (name) VALUES ($1)", ("hidden",), orig)

    assert "hidden" not in describe(error)


@pytest.mark.parametrize("query", ["{", "{ nope }", "query($a: Int) { users(first: $a) }"])
async def test_a_mistake_of_a_client_is_one_quiet_line(api: Client, query: str) -> None:
    answer = await api(query, a="hidden-value")

    assert [(line.name, line.levelname) for line in answer.lines] == [
        ("community_gql.requests", "INFO")
    ]
    assert answer.line.exc_info is None
    assert "hidden-value" not in JsonLines().format(answer.line)


async def test_the_line_of_a_request(api: Client, db: Any) -> None:
    anna = await make.person(db, "Anna")
    query = "query Mine($id: ID!) { viewer { user { id } } user(id: $id) { id } }"
    answer = await api(query, anna, id=anna.id)
    line = orjson.loads(JsonLines().format(answer.line))

    assert line.keys() == {
        "time", "level", "logger", "message", "method", "path", "request_id", "trace_id",
        "operation", "type",
        "document", "viewer", "client", "cost", "statements", "executor", "fallback_reason",
        "prepare_milliseconds", "compile_milliseconds", "pool_milliseconds",
        "database_milliseconds", "status", "milliseconds", "codes", "cause", "pid",
    }  # fmt: skip
    assert line["operation"] == "Mine"
    assert line["message"] == "Mine 200"
    assert (line["status"], line["statements"], line["cost"], line["codes"]) == (200, 3, 3, [])
    assert len(line["document"]) == 16
    assert line["milliseconds"] > 0
    assert len(line["viewer"]) == 12
    assert anna.sub not in orjson.dumps(line).decode()
    assert anna.id not in orjson.dumps(line).decode()


async def test_the_line_of_a_request_on_a_terminal(api: Client) -> None:
    answer = await api("query Some { tags(first: 1) { nodes { name } } }")
    refused = await api("query No { nothing }")
    plain, coloured = PlainLines(colours=False), PlainLines(colours=True)

    words = plain.format(answer.line).split()
    assert words[:4] == ["POST", "/graphql", "Some", "200"]
    assert words[5:8] == ["ms", "1", "statement"]
    assert words[8:] in (["compiled"], ["loaders:", "switched", "off"])
    words = plain.format(refused.line).split()
    assert (words[3], *words[5:]) == ("422", "ms", "0", "statements", "GRAPHQL_VALIDATION_FAILED")
    assert "\x1b[32m200\x1b[0m" in coloured.format(answer.line)
    assert "\x1b[33m422\x1b[0m" in coloured.format(refused.line)
    answer.line.operation = "two\nlines\x1b[31m"
    assert len(plain.format(answer.line).splitlines()) == 1
    assert "\x1b" not in plain.format(answer.line)


@pytest.mark.parametrize(
    ("tty", "settings", "colours"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_colours_can_be_switched_off(
    tty: bool, settings: dict[str, str], colours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stderr.isatty", lambda: tty)
    record = logging.makeLogRecord({"levelname": "WARNING", "msg": "look"})
    text = PlainLines.on_stderr().format(record)
    assert text == ("\x1b[33mwarning:\x1b[0m look" if colours else "warning: look")


def test_a_line_with_a_traceback_is_one_line() -> None:
    try:
        raise KeyError("x")
    except KeyError as error:
        record = logging.LogRecord(
            "a", logging.ERROR, "p", 1, "said %s", ("so",), (KeyError, error, None)
        )
    text = JsonLines().format(record)
    line = orjson.loads(text)

    assert "\n" not in text
    assert line["message"] == "said so"
    assert "builtins.KeyError: 'x'" in line["traceback"]
