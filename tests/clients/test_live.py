"""Clients that follow the stories across the end of their token and restarts of the server."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from community_gql.identity.development import DevelopmentIssuer
from tests.clients.conftest import Live
from tests.clients.projects import HERE, PYTHON, Project, every, modules
from tests.clients.snippets import file
from tests.identity.issuer import free_port
from tests.support import server

pytestmark = pytest.mark.system

EMAIL = "ada@example.com"
FOLLOW = (
    "subscription Follow($after: String) { stories(after: $after) { kind story { title } moment } }"
)
RELAY = """import { graphql } from "relay-runtime";
export const follow = graphql`
  subscription FollowSubscription($after: String) {
    stories(after: $after) { kind story { title } moment }
  }
`;
"""


class Followers:
    """The clients, in a process of their own, and what they have printed."""

    def __init__(self, command: list[str], folder: Path, path: str) -> None:
        self.told: dict[str, list[str]] = defaultdict(list)
        self.closed: dict[str, list[int]] = defaultdict(list)
        self.connected: dict[str, int] = defaultdict(int)
        self._errors = (folder / "errors.txt").open("w+")
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"PATH": path, "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def until(self, true: Callable[[], bool], what: str, seconds: float = 60) -> None:
        """Read what they print until it is so."""
        deadline = time.monotonic() + seconds
        while not true():
            try:
                line = json.loads(self._lines.get(timeout=0.2))
            except queue.Empty:
                self._errors.seek(0)
                said = self._errors.read()
                assert self.process.poll() is None, said
                assert time.monotonic() < deadline, f"not {what}: {dict(self.told)}\n{said}"
                continue
            name = line["name"]
            if "kind" in line:
                assert line["kind"] == "APPEARED", line
                self.told[name].append(line["title"])
            elif "closed" in line:
                self.closed[name].append(line["closed"])
            else:
                assert "connected" in line, line
                self.connected[name] += 1

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._errors.close()


class Stage:
    """A server that can be restarted, a token that ends, and stories that are written."""

    def __init__(self, live: Live, folder: Path) -> None:
        self.live, self.port, self.token_file = live, free_port(), folder / "token"
        self.sub = live.value("SELECT auth0_sub FROM users WHERE email = $1", EMAIL)
        self.origin = f"http://127.0.0.1:{self.port}"
        self.written: list[str] = []
        self._running = ExitStack()
        self.start()

    def start(self) -> None:
        given = {"cost_per_minute": 10**9, "max_sockets_per_person": 50}
        self.process = self._running.enter_context(
            server.process(self.live.database_url, self.live.issuer, self.port, **given)
        )

    def stop(self) -> None:
        """End it as an operator does."""
        self.process.terminate()
        self.process.wait(30)
        self._running.close()

    def sign(self, seconds: float) -> None:
        lifetime = timedelta(seconds=seconds)
        self.token_file.write_text(
            DevelopmentIssuer(self.live.issuer).token(self.sub, lifetime=lifetime)
        )

    def write(self) -> None:
        """Somebody publishes a story; the server may be away meanwhile."""
        self.written.append(f"Live {len(self.written)} {self.port}")
        self.live.value(
            "INSERT INTO stories (user_id, title, content, visibility) "
            "VALUES ($1, $2, 'x', 'public') RETURNING id",
            self.sub,
            self.written[-1],
        )

    def moment(self) -> str:
        asked = httpx.post(f"{self.origin}/graphql", json={"query": "{ moment }"}, timeout=30)
        return str(asked.json()["data"]["moment"])


@contextmanager
def stage(live: Live, folder: Path) -> Iterator[Stage]:
    made = Stage(live, folder)
    try:
        yield made
    finally:
        made.stop()


def see_them_through(stage: Stage, followers: Followers, names: list[str], life: float) -> None:
    """Every client is told each story once, whatever happens in between."""

    def told() -> bool:
        return all(len(followers.told[name]) >= len(stage.written) for name in names)

    followers.until(lambda: all(followers.connected[name] for name in names), "connected")
    stage.write()
    followers.until(told, "told")

    stage.sign(3600)  # what they find when the first one has ended
    followers.until(
        lambda: all(followers.connected[name] > 1 for name in names),
        "back with a new token",
        life + 60,
    )
    stage.write()
    followers.until(told, "told after the token's end")

    stage.stop()
    stage.write()
    stage.start()
    stage.write()
    followers.until(told, "told after the restart")
    for name in names:
        assert followers.told[name] == stage.written, name
        assert followers.connected[name] > 2


def follow(live: Live, names: list[str], folder: Path, life: float) -> None:
    node_modules = modules()
    project = Project(f"live-{len(names)}", node_modules)
    project.write("live.ts", (HERE / "live.ts").read_text(encoding="utf-8"))
    project.write("resuming.ts", file("live/src/resuming.ts"))
    if "relay" in names:
        project.write("relay.ts", RELAY)
        config = {"src": ".", "schema": "./schema.graphql", "language": "typescript",
                  "eagerEsModules": True}  # fmt: skip
        project.write("relay.config.json", json.dumps(config))
        project.run("relay-compiler")
    with stage(live, folder) as on:
        on.sign(life)
        path = os.pathsep.join([str(node_modules / ".bin"), os.environ["PATH"]])
        url = f"{on.origin}/graphql"
        command = ["jiti", "live.ts", url, str(on.token_file), on.moment(), *names]
        followers = Followers(command, project.folder, path)
        try:
            see_them_through(on, followers, names, life)
        finally:
            followers.end()
        for name in set(names) - {"graphql-sse"}:
            assert followers.closed[name][:1] == [4403], name
            assert 1012 in followers.closed[name], name


def test_the_libraries_of_both_transports(live: Live, tmp_path: Path) -> None:
    follow(live, ["graphql-ws", "graphql-sse"], tmp_path, life=8)


@every
def test_the_clients_of_applications(live: Live, tmp_path: Path) -> None:
    follow(live, ["urql", "apollo", "relay"], tmp_path, life=20)


DRIVER = """import asyncio, json, sys
from pathlib import Path
from follow import stories

url, token_file, moment = sys.argv[1:]
def token() -> str:
    print(json.dumps({"name": "ariadne", "connected": True}), flush=True)
    return Path(token_file).read_text()

async def main() -> None:
    async for change in stories(url, token, moment):
        line = {"name": "ariadne", "kind": change.kind.value, "title": change.story.title}
        print(json.dumps(line), flush=True)

asyncio.run(main())
"""


@every
def test_the_loop_of_python(live: Live, tmp_path: Path) -> None:
    project = Project("live-python")
    for name in ("follow.py", "live/live.graphql", "live/pyproject.toml"):
        project.write(name, file(f"python/{name}"))
    project.write("driver.py", DRIVER)
    project.paths.insert(0, PYTHON)
    project.run("cd live && ariadne-codegen --config pyproject.toml")
    with stage(live, tmp_path) as on:
        on.sign(8)
        command = [str(PYTHON / "python"), "driver.py", f"{on.origin}/graphql"]
        command += [str(on.token_file), on.moment()]
        followers = Followers(command, project.folder, os.environ["PATH"])
        try:
            see_them_through(on, followers, ["ariadne"], 8)
        finally:
            followers.end()
