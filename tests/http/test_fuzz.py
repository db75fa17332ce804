"""Random bytes, random JSON and random GraphQL: whatever arrives, the answer is well formed.

``make fuzz`` goes on for longer, with schemathesis.
"""

from __future__ import annotations

import asyncio
import string
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest
from graphql import (
    GraphQLInputObjectType,
    is_enum_type,
    is_input_object_type,
    is_list_type,
    is_non_null_type,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from community_gql.http.responses import STATUS
from community_gql.identity.development import DevelopmentIssuer
from community_gql.schema.executable import core
from tests.http.test_requests import well_formed
from tests.operations.test_shape_and_cost import Questions
from tests.support.client import Client, serving

FUZZ = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

TOKENS = [
    *"{}()[]:!$@|=&", "...", "on", "query", "mutation", "subscription", "fragment", "null", "true",
    "1", "-1.5e9", "99999999999999999999", '"x"', '"\\u0000"', '"\\ud800"', '"""', "#", "\n", "é",
    "$a", "users", "stories", "first", "filter", "nodes", "edges", "node", "id", "User", "Int",
    "__typename", "__schema", "@include", "@skip", "if", "f", "...f", "first: 1", "{ id }",
]  # fmt: skip

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
WITH_VARIABLE = "query A($a: Int) { users(first: $a) { totalCount } }"
GRAPHQL = (
    st.lists(st.sampled_from(TOKENS), max_size=40).map(" ".join)
    | st.text(st.characters(codec="utf-8"), max_size=200)
    | st.integers(0, 10_000).map(lambda seed: Questions(seed).query())
)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A valid query with a piece of it gone, or something else in its place."""
    text: str = Questions(draw(st.integers(0, 10_000))).query()
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 30)))
    other: str = draw(st.sampled_from(["", *TOKENS]))
    return text[:start] + other + text[end:]


class Fuzzed:
    """The app in an event loop of its own, for tests that are not coroutines."""

    def __init__(self, runner: asyncio.Runner, api: Client) -> None:
        self._runner, self._api = runner, api

    def send(self, method: str, path: str = "/graphql", **options: Any) -> httpx.Response:
        """The answer, which must be what every answer is."""
        answer = self._runner.run(self._api.send(method, path, **options))
        response = answer.response
        assert response.status_code < 500, (answer.body, options)
        body = orjson.loads(response.content)
        assert well_formed(body), body
        assert "data" in body or response.status_code >= 400
        codes = {error["extensions"]["code"] for error in body.get("errors", ())}
        assert codes <= STATUS.keys() - {"INTERNAL", "UNAVAILABLE"}, (body, options)
        return response

    def headers(self) -> dict[str, str]:
        return self._api.authorization("auth0|fuzz")


@pytest.fixture
def app(database_url: str, workbench: Any, issuer: DevelopmentIssuer) -> Iterator[Fuzzed]:
    workbench.execute(
        database_url.partition("?")[0].rpartition("/")[2],
        "INSERT INTO users (auth0_sub, email) VALUES ('auth0|fuzz', 'fuzz@example.com')",
    )
    with asyncio.Runner() as runner:
        context = serving(database_url, issuer)
        api = runner.run(context.__aenter__())
        yield Fuzzed(runner, api)
        runner.run(context.__aexit__(None, None, None))


@FUZZ
@given(
    body=st.binary(max_size=200),
    media=st.sampled_from(["application/json", "application/json;charset=utf-8", "text/plain", ""]),
    accept=st.text(string.printable[:95], max_size=40),
)
def test_random_bytes(app: Fuzzed, body: bytes, media: str, accept: str) -> None:
    app.send("POST", content=body, headers={"Content-Type": media, "Accept": accept})


@FUZZ
@given(query=st.binary(max_size=200), name=st.sampled_from([b"query=", b"variables=", b""]))
def test_random_urls(app: Fuzzed, query: bytes, name: bytes) -> None:
    escaped = b"".join(b"%%%02x" % byte for byte in query).decode()
    app.send("GET", f"/graphql?{name.decode()}{escaped}")
    app.send("GET", f"/graphql?query=%7B__typename%7D&{name.decode()}{escaped}")


@FUZZ
@given(body=JSON_VALUES)
def test_random_json(app: Fuzzed, body: Any) -> None:
    app.send("POST", json=body)


@FUZZ
@given(
    body=st.fixed_dictionaries(
        {"query": st.sampled_from(["{ __typename }", WITH_VARIABLE]) | JSON_VALUES},
        optional={
            "variables": st.fixed_dictionaries({"a": JSON_VALUES}) | JSON_VALUES,
            "operationName": st.just("A") | JSON_VALUES,
            "extensions": JSON_VALUES,
            "documentId": JSON_VALUES,
        },
    )
)  # fmt: skip
def test_random_requests(app: Fuzzed, body: Any) -> None:
    app.send("POST", json=body)


@FUZZ
@given(query=GRAPHQL | damaged(), signed_in=st.booleans())
def test_random_graphql(app: Fuzzed, query: str, signed_in: bool) -> None:
    headers = app.headers() if signed_in else {}
    app.send("POST", json={"query": query}, headers=headers)


def inputs(type_: Any) -> st.SearchStrategy[Any]:
    """Values of an input type, most of them of the right type."""
    if is_non_null_type(type_):
        return inputs(type_.of_type)
    if is_list_type(type_):
        return st.lists(inputs(type_.of_type), max_size=3)
    if is_input_object_type(type_):
        assert isinstance(type_, GraphQLInputObjectType)
        required = {n: inputs(f.type) for n, f in type_.fields.items() if is_non_null_type(f.type)}
        optional = {
            name: st.none() | inputs(field.type)
            for name, field in type_.fields.items()
            if name not in required
        }
        return st.fixed_dictionaries(required, optional=optional)
    if is_enum_type(type_):
        return st.sampled_from(list(type_.values))
    return {
        "Int": st.integers(-(2**31), 2**31 - 1),
        "Float": st.floats(allow_nan=False, allow_infinity=False),
        "Boolean": st.booleans(),
        "JSON": JSON_VALUES,
    }.get(
        type_.name,
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200)
        | st.datetimes().map(lambda moment: f"{moment.isoformat()}Z"),
    )


MUTATIONS = core.mutation_type.fields if core.mutation_type else {}


@settings(FUZZ, max_examples=25)
@given(data=st.data())
@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_random_inputs_of_a_mutation(app: Fuzzed, name: str, data: st.DataObject) -> None:
    (argument,) = MUTATIONS[name].args.values()
    payload = "{ userErrors { code } }"
    query = f"mutation M($input: {argument.type}) {{ {name}(input: $input) {payload} }}"
    given_input = data.draw(inputs(argument.type))
    app.send(
        "POST", json={"query": query, "variables": {"input": given_input}}, headers=app.headers()
    )
