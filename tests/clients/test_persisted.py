"""Automatic persisted queries, with the links of Apollo and urql themselves."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import Live
from tests.clients.projects import HERE, every, modules
from tests.identity.issuer import free_port
from tests.support import server

pytestmark = [pytest.mark.system, every]

# Apollo asks for a document that is not known by its hash again with both, by POST; urql by its
# own method. Told that hashes are not understood, both go on with texts.
MISS = {
    ("apollo", "POST"): ["POST hash 422", "POST both 200", "POST hash 200"],
    ("apollo", "GET"): ["GET hash 422", "POST both 200", "GET hash 200"],
    ("urql", "POST"): ["POST hash 422", "POST both 200", "POST hash 200"],
    ("urql", "GET"): ["GET hash 422", "GET both 200", "GET hash 200"],
}


def asked(url: str, client: str, method: str) -> list[str]:
    """What the client sent to ask the same twice; both answers had data."""
    script = ["node", "persisted.mjs", url, client, method]
    done = subprocess.run(script, cwd=HERE, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["counts"] == ["number", "number"]
    sent: list[str] = said["sent"]
    return sent


@pytest.mark.parametrize(("client", "method"), MISS)
def test_a_text_is_sent_once(live: Live, client: str, method: str) -> None:
    modules()
    assert asked(f"{live.origin}/graphql", client, method) == MISS[client, method]
    assert set(asked(f"{live.origin}/graphql", client, method)) == {f"{method} hash 200"}


@pytest.mark.parametrize("client", ["apollo", "urql"])
def test_a_server_without_them_gets_texts(live: Live, tmp_path: Path, client: str) -> None:
    modules()
    port = free_port()
    with server.process(live.database_url, tmp_path, port, persisted_queries="off"):
        first, *others = asked(f"http://127.0.0.1:{port}/graphql", client, "POST")

    assert first == "POST hash 422"
    # Apollo goes on to send the hash beside the text.
    assert others == ["POST both 200", f"POST {'both' if client == 'apollo' else 'text'} 200"]
