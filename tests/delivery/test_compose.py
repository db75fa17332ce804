"""``compose.yaml``, started: every part of it, in containers, and what they are together."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from joserfc import jwt

from tests.delivery.images import (
    CHECKOUT,
    ON_DEMAND,
    STORE,
    needs,
    product,
    run,
    stand_in,
    wheel,
)
from tests.http.server import HOST, free_port
from tests.support.provider import key

pytestmark = [pytest.mark.system, *ON_DEMAND]
COMPOSE: dict[str, Any] = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
PROJECT = f"community-gql-{uuid.uuid4().hex[:8]}"
ISSUER = "https://issuer/"
AUDIENCE = "https://api.example.com"
TOOL = CHECKOUT / ".venv" / "release" / "bin" / "podman-compose"
WRITE = """mutation Plant($name: String!) {
  updateProfile(input: { displayName: $name }) { user { id } userErrors { message } } }"""
READ = "query Name { viewer { user { profile { displayName } } } }"
PUBLIC = "query Known { users { totalCount } }"
CHEAP = "query Some { users(first: 1) { nodes { id } } }"
"""For who asks all the time: the budget of an address holds many of it."""


@dataclass
class Compose:
    """The parts as they run."""

    url: str
    files: list[str]
    env: dict[str, str]
    started: set[str] = field(default_factory=set)

    def __call__(self, *words: str) -> str:
        return run(TOOL, *self.files, "-p", PROJECT, *words, env=self.env)

    def start(self, service: str) -> None:
        """Start a service once what it depends on is as the file wants it.

        podman-compose does that itself, but podman before 4.6 waits for no health, and for ever
        for a container that has ended already.
        """
        if service in self.started:
            return
        self.started.add(service)
        wanted = SERVICES.get(service, {}).get("depends_on", {})
        if isinstance(wanted, list):
            wanted = {name: {"condition": "service_started"} for name in wanted}
        for name, how in wanted.items():
            self.start(name)
            match how["condition"]:
                case "service_healthy":
                    awaited(lambda n=name: healthy(self, n))  # type: ignore[misc]
                case "service_completed_successfully":
                    awaited(lambda n=name: "Exited (0)" in state(self.container(n)))  # type: ignore[misc]
        self("up", "-d", "--no-deps", "--no-build", service)

    def inside(self, service: str, *words: str) -> str:
        """What a program in the container of a service says."""
        return run("podman", "exec", self.container(service), *words)

    def container(self, service: str) -> str:
        found = run(
            *("podman", "ps", "--all", "--quiet"),
            *("--filter", f"label=com.docker.compose.service={service}"),
            *("--filter", f"label=com.docker.compose.project={PROJECT}"),
        )
        (name,) = found.split()
        return name

    def logs(self, service: str) -> str:
        return run("sh", "-c", f"podman logs {self.container(service)} 2>&1")


def awaited(holds: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def healthy(compose: Compose, service: str) -> bool:
    """What the health check of a service says now: nothing here asks for it by itself."""
    try:
        run("podman", "healthcheck", "run", compose.container(service))
    except AssertionError:
        return False
    return True


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    needs("buildah", "mmdebstrap", "podman", "openssl")
    if not TOOL.exists():
        pytest.skip("podman-compose is not installed: make test-delivery does it")
    folder = tmp_path_factory.mktemp("compose")
    wheel()
    product("localhost/community-gql")
    for image in sorted({service["image"] for service in SERVICES.values()}):
        if "/" in image:
            stand_in(image)
    port = free_port()
    given = {
        "POSTGRES_PASSWORD": uuid.uuid4().hex,
        "REPLICATION_PASSWORD": uuid.uuid4().hex,
        "OIDC_ISSUER": ISSUER,
        "AUTH0_AUDIENCE": AUDIENCE,
        "PORT": str(port),
    }
    files = ["-f", str(CHECKOUT / "compose.yaml"), "-f", str(issuer(folder))]
    made = Compose(f"http://{HOST}:{port}", files, given)
    try:
        for service in ("issuer", *SERVICES):
            made.start(service)
        awaited(lambda: answers(made.url))
        yield made
    finally:
        for service in made.started & SERVICES.keys():  # for whoever looks why a test failed
            (STORE / f"{service}.log").write_text(made.logs(service))
        made("down", "--volumes", "--timeout", "5")


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=10).status_code == 200
    except httpx.TransportError:
        return False


def issuer(folder: Path) -> Path:
    """A file for compose that adds an OpenID provider, with a certificate that the nodes trust."""
    subject = ("-subj", "/CN=issuer", "-addext", "subjectAltName=DNS:issuer")
    names = ("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem"))
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *names)
    known = folder / "www" / ".well-known"
    known.mkdir(parents=True)
    (known / "openid-configuration").write_text(
        json.dumps({
            "issuer": ISSUER,
            "jwks_uri": f"{ISSUER}keys",
            "authorization_endpoint": f"{ISSUER}authorize",
            "token_endpoint": f"{ISSUER}token",
        })
    )  # fmt: skip
    (folder / "www" / "keys").write_text(json.dumps({"keys": [key().as_dict(private=False)]}))
    (folder / "Caddyfile").write_text(
        "https://issuer {\n\ttls /cert.pem /key.pem\n\troot * /www\n\tfile_server {\n"
        "\t\thide nothing\n\t}\n}\n"
    )
    node = {
        "environment": {"SSL_CERT_FILE": "/cert.pem"},
        "volumes": [f"{folder}/cert.pem:/cert.pem:ro"],
    }
    files = ["Caddyfile:/etc/caddy/Caddyfile", "cert.pem:/cert.pem", "key.pem:/key.pem", "www:/www"]
    added = {
        "issuer": {
            "image": SERVICES["proxy"]["image"],
            "volumes": [f"{folder}/{file}:ro" for file in files],
        },
        "api-1": node,
        "api-2": node,
    }
    file = folder / "issuer.yaml"
    file.write_text(json.dumps({"services": added}))  # JSON is YAML
    return file


def bearer(name: str) -> dict[str, str]:
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": f"test|{name}",
        "iat": now,
        "exp": now + 3600,
        "https://community-gql/email": f"{name}@example.com",
    }
    header = {"alg": "RS256", "kid": key().kid, "typ": "at+jwt"}
    return {"Authorization": f"Bearer {jwt.encode(header, claims, key(), algorithms=['RS256'])}"}


def ask(http: httpx.Client, query: str, who: dict[str, str], **variables: str) -> Any:
    """The data of an answer; each over a connection of its own, so that nodes take turns."""
    body = {"query": query, "variables": variables}
    answer = http.post("/graphql", json=body, headers=who | {"Connection": "close"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert "errors" not in found, found
    return found["data"]


def test_nobody_misses_their_own_writes_whichever_node_they_reach(compose: Compose) -> None:
    """Clients that send no token: the nodes tell each other through Redis."""
    ada = bearer("ada")
    with httpx.Client(base_url=compose.url, timeout=30) as http:
        for turn in range(40):
            payload = ask(http, WRITE, ada, name=f"Ada {turn}")["updateProfile"]
            assert payload["userErrors"] == []
            for _ in range(2):
                read = ask(http, READ, ada)
                assert read["viewer"]["user"]["profile"]["displayName"] == f"Ada {turn}"
        assert ask(http, PUBLIC, {})["users"]["totalCount"] == 1

    for node in ("api-1", "api-2"):
        lines = [json.loads(line) for line in compose.logs(node).splitlines() if line[:1] == "{"]
        requests = [x for x in lines if x["logger"] == "community_gql.requests"]
        assert {"Plant", "Name"} <= {line.get("operation") for line in requests}
        assert not [line for line in lines if line["level"] in ("error", "critical")]
        assert not [line for line in lines if "settings" in line]  # that the role would lack
    keys = compose.inside("redis", "redis-cli", "--scan").split()
    assert keys != []


def test_each_part_is_used(compose: Compose) -> None:
    """Statements come through PgBouncer, prepared; queries reach the replica; nodes are counted."""

    def sql(service: str, statement: str) -> str:
        return compose.inside(
            service, "psql", "-U", "community", "-d", "community", "-Atc", statement
        ).strip()

    with httpx.Client(base_url=compose.url, timeout=30) as http:
        for _ in range(30):
            ask(http, PUBLIC, {})
    asked = "calls > 10 AND query LIKE '%op=Known%'"
    assert sql("postgres-replica", "SELECT pg_is_in_recovery()") == "t"
    assert sql("postgres", "SELECT state FROM pg_stat_replication") == "streaming"
    clients = "SELECT count(DISTINCT client_addr) FROM pg_stat_activity WHERE datname = 'community'"
    assert sql("postgres", f"{clients} AND client_addr IS NOT NULL") == "1"
    prepared = "SELECT count(*) FROM pg_prepared_statements"
    assert int(sql("postgres-replica", prepared)) == 0  # of this session; theirs cannot be seen
    assert sql("postgres", f"SELECT count(*) FROM pg_stat_statements WHERE {asked}") == "0"
    scrape = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9464/metrics').read())"
    assert "community_gql_workers" in compose.inside("api-1", "python", "-c", scrape)


def test_a_node_is_nobody_and_cannot_write(compose: Compose) -> None:
    assert "uid=65532" in compose.inside("api-1", "id")
    assert healthy(compose, "api-1")
    compose.inside("api-1", "touch", "/tmp/x")
    for path in ("/opt/x", "/x", "/etc/x"):
        with pytest.raises(AssertionError, match="Read-only file system"):
            compose.inside("api-1", "touch", path)
    capabilities = compose.inside("api-1", "grep", "CapEff", "/proc/self/status")
    assert int(capabilities.split()[1], 16) == 0


def test_a_node_leaves_and_comes_back_while_clients_ask(compose: Compose) -> None:
    with httpx.Client(base_url=compose.url, timeout=30) as http:
        statuses = []

        def press(seconds: float) -> None:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                statuses.append(http.post("/graphql", json={"query": CHEAP}).status_code)

        container = compose.container("api-1")
        press(1)
        run("sh", "-c", f"podman stop --time 30 {container} > {STORE}/stop.log 2>&1 &")
        awaited(lambda: press(0.5) or "Exited" in state(container))  # type: ignore[func-returns-value]
        press(1)
        run("podman", "start", container)
        awaited(lambda: press(0.5) or healthy(compose, "api-1"))  # type: ignore[func-returns-value]
        press(3)

    assert set(statuses) == {200}


def state(container: str) -> str:
    return run("podman", "ps", "--all", "--filter", f"id={container}", "--format", "{{.Status}}")


def test_the_example_is_all_that_has_to_be_filled_in() -> None:
    needs("podman")
    if not TOOL.exists():
        pytest.skip("podman-compose is not installed: make test-delivery does it")
    given = {"POSTGRES_PASSWORD": "a", "REPLICATION_PASSWORD": "b", "AUTH0_AUDIENCE": "c"}
    shown = run(TOOL, "-f", str(CHECKOUT / "compose.yaml"), "config", env=given)
    assert set(yaml.safe_load(shown)["services"]) == set(SERVICES)
