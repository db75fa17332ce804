"""The explorer's pages and files as they are served, and what development tells it."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import orjson
import pytest

from community_gql.app import create_app
from community_gql.http import explorer, page
from community_gql.identity.development import DevelopmentIssuer
from community_gql.settings import Settings, home
from tests.support import factories as make
from tests.support.client import Answer, Client, serving
from tests.support.factories import Person

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
ASSETS = "/explorer/assets"
POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; "
    "style-src 'self' 'unsafe-inline'; font-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A build of two pages and some files, in the place of the real one."""
    folder = tmp_path / "package" / "build"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<title>Explorer</title>")
    (folder / "schema.html").write_text("<title>Map</title>")
    (folder / "assets" / "index-abc.js").write_text("let a = 1;")
    (folder / "assets" / "index-abc.css").write_text("a {}")
    (folder / "assets" / "codicon-abc.ttf").write_bytes(b"\0\1")
    (folder / "assets" / "leaf-abc.svg").write_text("<svg/>")
    (folder.parent / "secret.txt").write_text("secret")
    monkeypatch.setattr(explorer, "BUILD", folder)
    return folder


@pytest.fixture
async def pages(build: Path, database_url: str, issuer: DevelopmentIssuer) -> AsyncIterator[Client]:
    async with serving(database_url, issuer) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "title"), [("/", "Explorer"), ("/graphql", "Explorer"), ("/schema", "Map")]
)
async def test_a_page_and_its_policy(pages: Client, path: str, title: str) -> None:
    page = (await pages.send("GET", path, headers=BROWSER)).response
    head = (await pages.send("HEAD", path, headers=BROWSER)).response
    again = {**BROWSER, "If-None-Match": page.headers["etag"]}
    same = (await pages.send("GET", path, headers=again)).response

    assert (page.status_code, page.text) == (200, f"<title>{title}</title>")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"] == POLICY
    assert page.headers["cache-control"] == "no-cache"
    assert (head.status_code, head.headers["etag"]) == (200, page.headers["etag"])
    assert (same.status_code, same.content) == (304, b"")


async def test_a_new_build_is_a_new_page(pages: Client, build: Path) -> None:
    before = (await pages.send("GET", "/", headers=BROWSER)).response.headers["etag"]
    (build / "index.html").write_text("<title>New</title>")
    after = await pages.send("GET", "/", headers={**BROWSER, "If-None-Match": before})

    assert after.response.text == "<title>New</title>"


@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("index-abc.js", {"text/javascript", "application/javascript"}),
        ("index-abc.css", {"text/css"}),
        ("leaf-abc.svg", {"image/svg+xml"}),
        ("codicon-abc.ttf", {"font/ttf", "font/sfnt", "application/x-font-ttf", "text/plain"}),
    ],
)
async def test_a_file_is_kept_for_good(pages: Client, name: str, types: set[str]) -> None:
    file = (await pages.send("GET", f"{ASSETS}/{name}")).response
    head = (await pages.send("HEAD", f"{ASSETS}/{name}")).response
    same = await pages.send(
        "GET", f"{ASSETS}/{name}", headers={"If-None-Match": file.headers["etag"]}
    )

    assert file.status_code == 200
    assert file.headers["content-type"].partition(";")[0] in types
    assert file.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert file.headers["x-content-type-options"] == "nosniff"
    assert file.headers["content-security-policy"].startswith("default-src 'none'")
    assert head.headers["content-length"] == file.headers["content-length"]
    assert same.status == 304


@pytest.mark.parametrize(
    ("accepts", "encoding", "content"),
    [
        ("gzip, deflate, br, zstd", "br", b"brotli"),
        ("gzip", "gzip", b"gzipped"),
        ("br;q=0, GZIP;q=0.5", "gzip", b"gzipped"),
        ("identity", None, b"let a = 1;"),
        ("", None, b"let a = 1;"),
        ("br; q=0", None, b"let a = 1;"),
    ],
)
async def test_a_file_is_sent_compressed_to_those_who_accept_it(
    pages: Client, build: Path, accepts: str, encoding: str | None, content: bytes
) -> None:
    (build / "assets" / "index-abc.js.br").write_bytes(b"brotli")
    (build / "assets" / "index-abc.js.gz").write_bytes(b"gzipped")
    path, headers = f"{ASSETS}/index-abc.js", {"Accept-Encoding": accepts}
    plain = (await pages.send("GET", path, headers={"Accept-Encoding": "identity"})).response
    async with pages.http.stream("GET", path, headers=headers) as file:
        raw = b"".join([chunk async for chunk in file.aiter_raw()])
    again = {**headers, "If-None-Match": file.headers["etag"]}
    same = (await pages.send("GET", path, headers=again)).response

    assert (file.headers.get("content-encoding"), raw) == (encoding, content)
    assert int(file.headers["content-length"]) == len(content)
    assert file.headers["content-type"] == plain.headers["content-type"]
    assert file.headers["vary"] == "Accept-Encoding"
    assert file.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert (file.headers["etag"] == plain.headers["etag"]) is (encoding is None)
    assert (same.status_code, same.headers["etag"]) == (304, file.headers["etag"])


@pytest.mark.parametrize(
    "path",
    [
        f"{ASSETS}/unknown.js",
        f"{ASSETS}/",
        ASSETS,
        f"{ASSETS}/../index.html",
        f"{ASSETS}/%2e%2e/index.html",
        f"{ASSETS}/..%2f..%2fsecret.txt",
        f"{ASSETS}//etc/passwd",
        f"{ASSETS}/%2fetc%2fpasswd",
        f"{ASSETS}/%00",
        f"{ASSETS}/%ed%a0%80",
        f"{ASSETS}/{'long' * 100}.js",
        "/explorer/index.html",
        "/explorer",
    ],
)
async def test_nothing_else_is_served(pages: Client, path: str) -> None:
    answer = (await pages.send("GET", path, follow_redirects=True)).response

    assert answer.status_code == 404
    assert "secret" not in answer.text


async def test_a_browser_gets_a_page_where_there_is_nothing(api: Client) -> None:
    sought = "/nothing/<script>here"
    shown = (await api.send("GET", sought, headers=BROWSER)).response
    line = (await api.send("GET", sought)).response

    assert (shown.status_code, line.status_code) == (404, 404)
    assert shown.headers["content-security-policy"] == page.POLICY
    assert "<h1>Nothing here</h1>" in shown.text
    assert "&lt;script&gt;here" in shown.text
    assert '<a href="/">' in shown.text
    assert line.text == "Not found. GraphQL answers at /graphql.\n"


async def test_files_are_only_read(pages: Client) -> None:
    assert (await pages.send("POST", f"{ASSETS}/index-abc.js")).status == 405
    assert (await pages.send("POST", "/schema")).status == 405


async def test_without_a_build_there_are_no_files(
    database_url: str, issuer: DevelopmentIssuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explorer, "BUILD", tmp_path / "build")
    async with serving(database_url, issuer) as api:
        assert (await api.send("GET", f"{ASSETS}/index-abc.js")).status == 404


async def test_without_a_build_the_page_says_how_to_get_it(
    api: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(explorer, "BUILD", tmp_path)
    for path in ("/", "/graphql", "/schema"):
        page = (await api.send("GET", path, headers=BROWSER)).response
        assert page.status_code == 200
        assert "make explorer" in page.text
        assert "script" not in page.headers["content-security-policy"]
    assert (await api("{ __typename }")).data == {"__typename": "Query"}


@pytest.fixture
def unbuilt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A place for a build that is not there yet; the file beside it that says what is done."""
    monkeypatch.setattr(explorer, "BUILD", tmp_path / "build")
    return tmp_path / explorer.PROGRESS


async def test_a_page_says_that_it_is_being_built_and_reloads(api: Client, unbuilt: Path) -> None:
    file = os.open(unbuilt, os.O_RDWR | os.O_CREAT)
    os.write(file, b"installing <packages>")
    fcntl.flock(file, fcntl.LOCK_EX)
    during = (await api.send("GET", "/", headers=BROWSER)).response
    os.close(file)
    after = (await api.send("GET", "/", headers=BROWSER)).response

    assert "Installing &lt;packages&gt;." in during.text
    assert '<meta http-equiv="refresh" content="2">' in during.text
    assert "script" not in during.headers["content-security-policy"]
    assert "refresh" not in after.text  # whoever built has ended without a build
    assert "installing &lt;packages&gt;" in after.text
    assert "make explorer" in after.text


async def test_the_file_is_where_the_build_writes_it(unbuilt: Path) -> None:
    text = (home() / "explorer" / "build.py").read_text()
    assert f'PROGRESS = BUILD.with_name("{explorer.PROGRESS}")' in text


@pytest.mark.parametrize("headers", [{"Accept": "*/*"}, {"Accept": ""}])
async def test_curl_is_told_where_to_go(pages: Client, headers: dict[str, str]) -> None:
    told = (await pages.send("GET", "/", headers=headers)).response
    command = next(line for line in told.text.splitlines() if "curl" in line)

    assert (told.status_code, told.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert told.headers["vary"] == "Accept"
    body = command.partition("-d '")[2].rstrip("'")
    asked = await pages.send("POST", json=orjson.loads(body))
    assert asked.response.json()["data"] == {"tags": {"nodes": []}}


@pytest.mark.parametrize(
    ("path", "accept"),
    [("/graphql", "*/*"), ("/", "application/json"), ("/", "application/graphql-response+json")],
)
async def test_programs_get_the_answer_of_graphql(pages: Client, path: str, accept: str) -> None:
    answer = (await pages.send("GET", path, headers={"Accept": accept})).response
    assert answer.status_code in (200, 422)
    assert answer.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"


# --- what was run -------------------------------------------------------------------------------

PEOPLE = "{ users(first: 3) { nodes { stories(first: 2) { nodes { title } } } } }"
WRITE = 'mutation { createGarden(input: {name: "a"}) { garden { owner { id } } } }'


async def ask(
    api: Client, query: str, who: Person | None = None, /, **extensions: object
) -> Answer:
    headers = {} if who is None else api.authorization(who.sub)
    if who is not None:
        await api.meet(who)
    body = {"query": query, "extensions": extensions}
    return await api.send("POST", json=body, headers=headers)


@pytest.mark.parametrize("pushdown", ["always", "off"])
async def test_development_tells_the_statements_to_whoever_asks(
    api: Client, db: asyncpg.Connection, pushdown: str
) -> None:
    ada = await make.person(db, "Ada")
    await make.story(db, ada)
    answer = await ask(api, PEOPLE, ada, sql=True)
    execution = answer.response.json()["extensions"]["execution"]

    assert execution["executor"] == {"always": "compiled", "off": "loaders"}[pushdown]
    assert execution["sql"] == answer.statements
    assert execution["statements"] == len(answer.statements) == {"always": 1, "off": 2}[pushdown]
    assert execution["milliseconds"] > 0
    assert ada.sub not in "".join(execution["sql"])  # values are bound, and not told


async def test_what_a_mutation_ran_is_told_in_order(api: Client, db: asyncpg.Connection) -> None:
    ada = await make.person(db, "Ada")
    answer = await ask(api, WRITE, ada, sql=True)
    execution = answer.response.json()["extensions"]["execution"]

    assert execution["sql"] == answer.statements
    assert any(text.startswith("INSERT INTO gardens") for text in execution["sql"])
    assert execution["sql"][-1].startswith("SELECT")  # the payload


@pytest.mark.parametrize("pushdown", ["always", "on", "off"])
async def test_development_explains_a_query(
    api: Client, db: asyncpg.Connection, pushdown: str
) -> None:
    ada = await make.person(db, "Ada")
    await make.story(db, ada, title="Moss")
    answer = (await ask(api, PEOPLE, ada, explain=True)).response.json()
    execution = answer["extensions"]["execution"]

    assert answer["data"]["users"]["nodes"] == [{"stories": {"nodes": [{"title": "Moss"}]}}]
    assert execution["executor"] == ("loaders" if pushdown == "off" else "compiled")
    assert len(execution["plans"]) == len(execution["sql"]) == execution["statements"]
    assert all("actual time=" in plan and "Execution Time" in plan for plan in execution["plans"])


async def test_a_mutation_is_not_run_twice_to_explain_it(
    api: Client, db: asyncpg.Connection
) -> None:
    ada = await make.person(db, "Ada")
    answer = (await ask(api, WRITE, ada, sql=True, explain=True)).response.json()
    execution = answer["extensions"]["execution"]

    assert "plans" not in execution
    assert not any("EXPLAIN" in text for text in execution["sql"])
    assert await db.fetchval("SELECT count(*) FROM gardens") == 1


@pytest.mark.parametrize(
    "wish", [{}, {"explain": "true"}, {"sql": False}, {"sql": "true"}, {"sql": None}]
)
async def test_nobody_else_is_told(api: Client, wish: dict[str, object]) -> None:
    answer = await ask(api, PEOPLE, None, **wish)

    assert answer.response.json()["extensions"]["execution"].keys() == {
        "executor",
        "fallbackReason",
        "statements",
        "milliseconds",
    }


async def test_production_tells_nobody(database_url: str) -> None:
    app = create_app(Settings.load(database_url=database_url))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as http,
    ):
        body = {"query": PEOPLE, "extensions": {"sql": True, "explain": True}}
        answer = await http.post("/graphql", json=body)
        options = await http.get("/auth/options")

    assert answer.json()["extensions"].keys() == {"cost"}
    assert options.json() == {"signIn": None, "people": []}


def test_pages_of_the_server_have_the_colours_of_the_explorer() -> None:
    sheet = (home() / "explorer" / "src" / "style.css").read_text().replace(",", "")
    colours = re.findall(r"--(ink|paper|leaf|line|shade|canvas): ([^;}]+)", page.html("A", ""))

    assert len(colours) == 12  # in both themes
    assert [pair for pair in colours if f"--{pair[0]}: {pair[1]};" not in sheet] == []
