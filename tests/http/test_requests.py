"""GraphQL over HTTP, September 2026, member by member: what each request gets."""

from __future__ import annotations

import gzip
import time
from typing import Any
from urllib.parse import quote, urlencode

import orjson
import pytest

from tests.support.client import Client

JSON = {"Content-Type": "application/json"}
NEW = "application/graphql-response+json"
OLD = "application/json"
TYPENAME = {"query": "{ __typename }"}


def well_formed(body: Any) -> bool:
    errors = body.get("errors")
    return (
        isinstance(body, dict)
        and ("data" in body or bool(errors))
        and body.keys() <= {"data", "errors", "extensions"}
        and all(
            isinstance(error["message"], str) and error["extensions"]["code"]
            for error in errors or ()
        )
    )


BODIES: list[tuple[str, bytes, int, str]] = [
    ("not JSON", b"NONSENSE", 400, "BAD_REQUEST"),
    ("half of JSON", b'{"query":', 400, "BAD_REQUEST"),
    ("nothing", b"", 400, "BAD_REQUEST"),
    ("not UTF-8", b'{"query":"{ __typename }\xff"}', 400, "BAD_REQUEST"),
    ("a byte order mark", b'\xef\xbb\xbf{"query":"{ __typename }"}', 400, "BAD_REQUEST"),
    ("UTF-16", '{"query":"{ __typename }"}'.encode("utf-16"), 400, "BAD_REQUEST"),
    ("NaN", b'{"query":"{ __typename }","variables":{"a":NaN}}', 400, "BAD_REQUEST"),
    ("a depth bomb", b'{"query":' + b"[" * 100_000 + b"]" * 100_000, 400, "BAD_REQUEST"),
    ("a depth bomb of objects", b'{"a":' * 40_000 + b"1" + b"}" * 40_000, 400, "BAD_REQUEST"),
    ("a lone surrogate", rb'{"query":"{ __typename } #\ud800"}', 400, "BAD_REQUEST"),
    ("gzip not asked for", gzip.compress(b'{"query":"{ __typename }"}'), 400, "BAD_REQUEST"),
    ("null", b"null", 422, "BAD_REQUEST"),
    ("a number", b"5", 422, "BAD_REQUEST"),
    ("a text", b'"x"', 422, "BAD_REQUEST"),
    ("a batch", b'[{"query":"{ __typename }"}]', 422, "BAD_REQUEST"),
    ("no query", b"{}", 422, "BAD_REQUEST"),
    ("query null", b'{"query":null}', 422, "BAD_REQUEST"),
    ("query a number", b'{"query":1}', 422, "BAD_REQUEST"),
    ("query an object", b'{"query":{}}', 422, "BAD_REQUEST"),
    ("NUL in the query", rb'{"query":"{ __typename } #\u0000"}', 422, "BAD_REQUEST"),
    ("variables a list", b'{"query":"{__typename}","variables":[7]}', 422, "BAD_REQUEST"),
    ("variables a text", b'{"query":"{__typename}","variables":"{}"}', 422, "BAD_REQUEST"),
    ("variables false", b'{"query":"{__typename}","variables":false}', 422, "BAD_REQUEST"),
    ("NUL in a variable", rb'{"query":"{__typename}","variables":{"a":"\u0000"}}', 422,
     "BAD_REQUEST"),
    ("operationName a number", b'{"query":"{__typename}","operationName":1}', 422, "BAD_REQUEST"),
    ("operationName a list", b'{"query":"{__typename}","operationName":[]}', 422, "BAD_REQUEST"),
    ("extensions a text", b'{"query":"{__typename}","extensions":"x"}', 422, "BAD_REQUEST"),
    ("documentId a number", b'{"documentId":1}', 422, "BAD_REQUEST"),
    ("documentId where none is taken", b'{"documentId":"abc"}', 422, "BAD_REQUEST"),
    ("an empty document", b'{"query":""}', 400, "GRAPHQL_PARSE_FAILED"),
    ("a document that does not parse", b'{"query":"{"}', 400, "GRAPHQL_PARSE_FAILED"),
    ("an unknown field", b'{"query":"{ nope }"}', 422, "GRAPHQL_VALIDATION_FAILED"),
    ("no subscriptions", b'{"query":"subscription { a }"}', 422, "GRAPHQL_VALIDATION_FAILED"),
    ("two operations, no name", b'{"query":"query A{__typename} query B{__typename}"}', 422,
     "BAD_REQUEST"),
    ("an unknown operation", b'{"query":"query A{__typename}","operationName":"B"}', 422,
     "BAD_REQUEST"),
    ("a variable missing", b'{"query":"query($id:ID!){user(id:$id){id}}"}', 422, "BAD_REQUEST"),
    ("a variable of a wrong type",
     b'{"query":"query($n:Int){users(first:$n){totalCount}}","variables":{"n":"x"}}', 422,
     "BAD_REQUEST"),
    ("a 5,000-digit number",
     b'{"query":"query($n:Int){users(first:$n){totalCount}}","variables":{"n":' + b"9" * 5000
     + b"}}", 400, "BAD_REQUEST"),
    ("a page too large", b'{"query":"{users(first:101){totalCount}}"}', 422, "BAD_REQUEST"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [pytest.param(*case, id=name) for name, *case in BODIES],
)
async def test_a_body_that_cannot_be_answered(
    api: Client, body: bytes, status: int, code: str
) -> None:
    for accept in (NEW, OLD):
        answer = await api.send("POST", content=body, headers={**JSON, "Accept": accept})

        assert (answer.status, answer.codes) == (status, [code])
        assert well_formed(answer.body)
        assert "data" not in answer.body
        assert answer.response.headers["content-type"] == f"{NEW}; charset=utf-8"
        assert answer.line.levelname == "INFO"
        assert answer.line.exc_info is None


URLS: list[tuple[str, str, int, str]] = [
    ("nothing", "", 422, "BAD_REQUEST"),
    ("no query", "operationName=A", 422, "BAD_REQUEST"),
    ("an empty query", "query=", 400, "GRAPHQL_PARSE_FAILED"),
    ("not UTF-8", "query=%7B__typename%FF%7D", 400, "BAD_REQUEST"),
    ("a surrogate", "query=%ED%A0%80", 400, "BAD_REQUEST"),
    ("NUL", "query=%7B__typename%7D%23%00", 422, "BAD_REQUEST"),
    ("a query twice", "query=%7Ba%7D&query=%7Bb%7D", 422, "BAD_REQUEST"),
    ("too many parameters", "&".join(f"a{i}=1" for i in range(60)), 400, "BAD_REQUEST"),
    ("variables not JSON", "query=%7B__typename%7D&variables=%7B", 400, "BAD_REQUEST"),
    ("variables not an object", "query=%7B__typename%7D&variables=%5B%5D", 422, "BAD_REQUEST"),
    ("a lone surrogate in JSON",
     "query=%7B__typename%7D&variables=" + quote(r'{"a":"\ud800"}'), 400, "BAD_REQUEST"),
    ("a depth bomb", "query=%7B__typename%7D&variables=" + "%5B" * 3000, 400, "BAD_REQUEST"),
    ("extensions not an object", "query=%7B__typename%7D&extensions=1", 422, "BAD_REQUEST"),
    ("operationName=null names it", "query=%7B__typename%7D&operationName=null", 422,
     "BAD_REQUEST"),
    ("a document that does not parse", "query=%7B", 400, "GRAPHQL_PARSE_FAILED"),
    ("an unknown field", "query=%7Bnope%7D", 422, "GRAPHQL_VALIDATION_FAILED"),
    ("a mutation", "query=mutation%7B__typename%7D", 405, "BAD_REQUEST"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "status", "code"), [pytest.param(*case, id=name) for name, *case in URLS]
)
async def test_a_url_that_cannot_be_answered(
    api: Client, query: str, status: int, code: str
) -> None:
    answer = await api.send("GET", f"/graphql?{query}", headers={"Accept": OLD})

    assert (answer.status, answer.codes) == (status, [code])
    assert well_formed(answer.body)
    assert answer.response.headers.get("allow") == ("POST" if status == 405 else None)


@pytest.mark.parametrize("name", ["variables", "operationName", "extensions"])
async def test_null_and_empty_mean_absent(api: Client, name: str) -> None:
    posted = await api.send("POST", json={**TYPENAME, name: None})
    got = await api.send("GET", "/graphql", params={**TYPENAME, name: ""})

    assert posted.data == got.data == {"__typename": "Query"}


async def test_get_and_post_answer_alike(api: Client) -> None:
    query = "query A($n: Int) { users(first: $n) { totalCount } } query B { __typename }"
    members = {"query": query, "variables": {"n": 1}, "operationName": "A", "unknown": 1}
    posted = await api.send("POST", json=members, headers={"Accept": NEW})
    url = {**members, "variables": orjson.dumps(members["variables"]).decode()}
    got = await api.send("GET", f"/graphql?{urlencode(url)}", headers={"Accept": NEW})

    assert posted.status == got.status == 200
    assert posted.body == got.body
    assert posted.body["extensions"] == {"cost": {"requested": 1001}}


@pytest.mark.parametrize(
    ("media", "status"),
    [
        ("application/json", 200),
        ("Application/JSON", 200),
        ("application/json; charset=utf-8", 200),
        ('application/json;charset="UTF-8"; profile=x', 200),
        ("application/json; charset=latin-1", 415),
        ("application/json-evil", 415),
        ("application/graphql-response+json", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("text/plain", 415),
        ("", 415),
    ],
)
async def test_the_type_of_the_body(api: Client, media: str, status: int) -> None:
    content = orjson.dumps(TYPENAME)
    answer = await api.send("POST", content=content, headers={"Content-Type": media})

    assert answer.status == status


async def test_an_encoded_body_is_not_taken(api: Client) -> None:
    body = gzip.compress(orjson.dumps(TYPENAME))
    answer = await api.send("POST", content=body, headers={**JSON, "Content-Encoding": "gzip"})

    assert (answer.status, answer.codes) == (415, ["BAD_REQUEST"])
    assert answer.response.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "QUERY", "NONSENSE"])
async def test_other_methods(api: Client, method: str) -> None:
    answer = await api.send(method, json=TYPENAME)

    assert (answer.status, answer.codes) == (405, ["BAD_REQUEST"])
    assert answer.response.headers["allow"] == "GET, HEAD, POST, OPTIONS"


async def test_options_and_head(api: Client) -> None:
    options = await api.send("OPTIONS")
    url = "/graphql?query={__typename}"
    got, head = await api.send("GET", url), await api.send("HEAD", url)

    assert options.status == 204
    assert options.response.headers["allow"] == "GET, HEAD, POST, OPTIONS"
    assert head.status == got.status == 200
    assert head.response.content == b""
    headers = [{**answer.response.headers} for answer in (head, got)]
    assert headers[0].pop("x-request-id") != headers[1].pop("x-request-id")
    assert headers[0] == headers[1]
    assert got.response.headers["content-length"] == str(len(got.response.content))
    mutation = await api.send("HEAD", "/graphql?query=mutation{__typename}")
    assert mutation.status == 405


async def test_a_long_body_is_refused_by_its_announced_and_its_real_length(api: Client) -> None:
    long = b'{"query":"{__typename}","extensions":{"a":"' + b"a" * 300_000 + b'"}}'

    async def streamed() -> Any:
        for start in range(0, len(long), 8192):
            yield long[start : start + 8192]

    announced = await api.send("POST", content=long, headers=JSON)
    chunked = await api.send("POST", content=streamed(), headers=JSON)
    exact = b'{"query":"{__typename}"'.ljust(256 * 1024 - 1) + b"}"
    fits = await api.send("POST", content=exact, headers=JSON)

    assert (announced.status, announced.codes) == (413, ["BAD_REQUEST"])
    assert (chunked.status, chunked.codes) == (413, ["BAD_REQUEST"])
    assert announced.response.headers["connection"] == "close"
    assert fits.status == 200


ACCEPTS = [
    (None, NEW),
    ("", NEW),
    ("*/*", NEW),
    ("application/*", NEW),
    (NEW, NEW),
    (NEW.upper(), NEW),
    (OLD, OLD),
    (f"{OLD}; charset=utf-8", OLD),
    (f"{NEW}; charset=utf-8, {OLD}; charset=utf-8", NEW),
    (f"{OLD}, {NEW}", NEW),
    (f"{NEW}, {OLD};q=0.9", NEW),
    (f"{NEW};q=0.5, {OLD}", OLD),
    (f"{NEW};q=0, */*", OLD),
    (f"{OLD};q=0.3, application/*;q=0.4", NEW),
    (f"text/event-stream, {OLD};q=0.1", OLD),
    # urql
    ("application/graphql-response+json, application/graphql+json, application/json, "
     "text/event-stream, multipart/mixed", NEW),
    # Apollo Client 3 and 4
    ("application/graphql-response+json,application/json;q=0.9", NEW),
    ("multipart/mixed;deferSpec=20220824,application/graphql-response+json,"
     "application/json;q=0.9", NEW),
    # Relay's example, fetch in browsers
    ("application/json, text/plain, */*", NEW),
    ("text/html", None),
    ("image/png, text/event-stream", None),
    ("*/*;q=0", None),
    (f"{NEW};q=nonsense", None),
    (f"{NEW};charset=latin-1", None),
]  # fmt: skip


@pytest.mark.parametrize(("accept", "media"), ACCEPTS)
async def test_the_type_of_the_answer(api: Client, accept: str | None, media: str | None) -> None:
    api.http.headers.pop("accept", None)
    headers = {} if accept is None else {"Accept": accept}
    answer = await api.send("POST", json=TYPENAME, headers=headers)
    got = await api.send("GET", "/graphql?query={__typename}", headers=headers)

    assert answer.status == got.status == (406 if media is None else 200)
    assert answer.response.headers["content-type"] == f"{media or NEW}; charset=utf-8"
    assert answer.response.headers["vary"] == "Accept, Authorization, Cookie"
    assert well_formed(answer.body)


async def test_a_long_accept_takes_little_time(api: Client) -> None:
    headers = {"Accept": f"{NEW}," + "a/b;c=d," * 4000}
    start = time.process_time()
    for _ in range(5):
        answer = await api.send("POST", json=TYPENAME, headers=headers)
    assert time.process_time() - start < 0.25  # half a second when all of it is read
    assert answer.status == 200
    assert len((await api.send("POST", json=TYPENAME, headers={"Accept": "a," * 50 + NEW})).codes)


async def test_a_browser_gets_the_page_and_nobody_else(api: Client) -> None:
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    page = await api.send("GET", headers={"Accept": browser})
    asked = await api.send("GET", "/graphql?query={__typename}", headers={"Accept": browser})

    assert page.status == 200
    assert page.response.headers["content-type"].startswith("text/html")
    assert asked.response.headers["content-type"].startswith(NEW)


async def test_partial_success_is_294_for_the_new_type_and_200_for_the_old(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("community_gql.graph.paging.Page.end_cursor", property(fails))
    query = "{ users { pageInfo { endCursor } nodes { id } } }"
    new = await api.send("POST", json={"query": query}, headers={"Accept": NEW})
    old = await api.send("POST", json={"query": query}, headers={"Accept": OLD})
    null = {"query": "{ users { pageInfo { hasNextPage } totalCount } }"}
    monkeypatch.setattr("community_gql.graph.plans.Counts.collect", fails)
    nulled = await api.send("POST", json=null, headers={"Accept": NEW})

    assert (new.status, new.codes) == (294, ["INTERNAL"])
    assert new.body["data"]["users"]["pageInfo"] == {"endCursor": None}
    assert new.body["errors"][0]["path"] == ["users", "pageInfo", "endCursor"]
    assert (old.status, old.codes) == (200, ["INTERNAL"])
    assert old.response.headers["content-type"].startswith(OLD)
    assert (nulled.status, nulled.body["data"]) == (294, None)


async def test_what_may_be_kept_and_by_whom(api: Client) -> None:
    url = "/graphql?query={users{totalCount}}"
    public = await api.send("GET", url)
    tag = public.response.headers["etag"]
    again = await api.send("GET", url, headers={"If-None-Match": tag})
    posted = await api.send("POST", json=TYPENAME)
    cookie = await api.send("GET", url, headers={"Cookie": "a=b"})
    wrong = await api.send("GET", "/graphql?query={nope}")
    signed_in = await api.send("GET", url, headers=api.authorization("auth0|x"))

    assert public.response.headers["cache-control"] == "public, max-age=5"
    assert (again.status, again.response.content) == (304, b"")
    for private in (posted, cookie, wrong, signed_in):
        assert private.response.headers["cache-control"] == "no-store"
        assert "etag" not in private.response.headers


async def test_what_browsers_are_told(api: Client) -> None:
    for path in ("/graphql?query={__typename}", "/graphql?query={", "/healthz", "/nowhere"):
        headers = (await api.send("GET", path)).response.headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers
    secure = (await api.send("GET", "https://test/healthz")).response.headers
    assert secure["strict-transport-security"] == "max-age=31536000"
