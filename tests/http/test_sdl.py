"""``GET /schema.graphql``, and the same text from the command line and out of the wheel."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from community_gql.identity.development import DevelopmentIssuer
from tests.support.client import Client, serving
from tests.support.factories import person

CHECKOUT = Path(__file__).parents[2]
FILE = (CHECKOUT / "schema.graphql").read_text(encoding="utf-8")
PATH = "/schema.graphql"


@pytest.fixture
async def closed(database_url: str, issuer: DevelopmentIssuer) -> AsyncIterator[Client]:
    async with serving(database_url, issuer, introspection="signed-in") as client:
        yield client


async def test_the_file_as_text(api: Client) -> None:
    answer = (await api.send("GET", PATH)).response
    assert answer.status_code == 200
    assert answer.text == FILE
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"

    head = (await api.send("HEAD", PATH)).response
    assert (head.status_code, head.content) == (200, b"")
    for name in ("etag", "content-length", "content-type"):
        assert head.headers[name] == answer.headers[name]
    assert (await api.send("POST", PATH)).status == 405


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("{}", 304),
        ('"other", {}', 304),
        ("W/{}", 304),
        ("*", 304),
        ('"other"', 200),
        ('"x{}"', 200),
        ("", 200),
    ],
)
async def test_whoever_has_it_gets_304(api: Client, given: str, status: int) -> None:
    tag = (await api.send("GET", PATH)).response.headers["etag"]
    assert tag.startswith('"')
    asked = {"If-None-Match": given.format(tag)}
    answer = (await api.send("GET", PATH, headers=asked)).response
    assert answer.status_code == status
    assert answer.headers["etag"] == tag
    assert (answer.content == b"") == (status == 304)


async def test_it_is_for_whoever_may_introspect(closed: Client, db: asyncpg.Connection) -> None:
    refused = await closed.send("GET", PATH)
    assert (refused.status, refused.codes) == (401, ["UNAUTHENTICATED"])
    assert "signed in" in refused.errors[0]["message"]
    assert refused.response.headers["www-authenticate"].startswith("Bearer")
    tag = f'"{"0" * 24}", *'
    assert (await closed.send("GET", PATH, headers={"If-None-Match": tag})).status == 401
    bad = {"Authorization": "Bearer nonsense"}
    assert (await closed.send("GET", PATH, headers=bad)).status == 401

    ada = await person(db, "Ada")
    answer = await closed.send("GET", PATH, headers=closed.authorization(ada.sub))
    assert answer.response.text == FILE
    assert answer.response.headers["cache-control"] == "private, no-cache"


async def test_nobody_may_have_it(database_url: str, issuer: DevelopmentIssuer) -> None:
    async with serving(database_url, issuer, introspection="nobody") as api:
        answer = await api.send("GET", PATH, headers=api.authorization("auth0|ada"))
    assert (answer.status, answer.codes) == (403, ["SCHEMA_CLOSED"])


def test_the_wheel_has_it_and_prints_it(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    done = subprocess.run(build, cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:  # a wheel of pure Python is installed by unpacking it
        archive.extractall(installed)
    assert (installed / "community_gql" / "schema.graphql").read_text(encoding="utf-8") == FILE

    command = (
        "import community_gql.cli as cli, sys; "
        f"assert cli.__file__.startswith({str(installed)!r}); "
        "sys.argv = ['community-gql', 'schema', 'export']; cli.main()"
    )
    printed = subprocess.run(
        [sys.executable, "-c", command],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert printed.stdout == FILE, printed.stderr
