"""The app around the view: CORS, proxies, workers, and a second executor's way in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from graphql import GraphQLError
from starlette.requests import Request

from community_gql.db.database import opened
from community_gql.errors import Unavailable
from community_gql.http.health import Readiness
from community_gql.identity.development import DevelopmentIssuer
from community_gql.settings import Settings, SettingsError
from tests.http.server import served
from tests.support.client import Client, serving

PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type",
}


async def test_cors_is_for_configured_origins_only(
    database_url: str, issuer: DevelopmentIssuer
) -> None:
    good, bad = {"Origin": "https://app.example.com"}, {"Origin": "https://evil.example.com"}
    async with serving(database_url, issuer, cors_origins=good["Origin"]) as api:
        allowed = await api.send("OPTIONS", headers=good | PREFLIGHT)
        refused = await api.send("OPTIONS", headers=bad | PREFLIGHT)
        answer = await api.send("POST", json={"query": "{ __typename }"}, headers=good)
        foreign = await api.send("POST", json={"query": "{ __typename }"}, headers=bad)

    assert allowed.status == 200
    assert allowed.response.headers["access-control-allow-origin"] == good["Origin"]
    headers = allowed.response.headers["access-control-allow-headers"].lower()
    assert {"authorization", "last-event-id"} <= set(headers.split(", "))
    assert refused.status == 400
    assert answer.response.headers["access-control-allow-origin"] == good["Origin"]
    assert "RateLimit-Remaining" in answer.response.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in answer.response.headers
    assert "access-control-allow-origin" not in foreign.response.headers


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"cors_origins": "app.example.com"}, "CORS_ORIGINS is wrong.*is not an origin"),
        ({"cors_origins": "https://a.example.com/"}, "CORS_ORIGINS is wrong"),
        ({"redis_url": "localhost:secret"}, "REDIS_URL is wrong: it must be a Redis address"),
        ({"introspection": "some"}, "INTROSPECTION is wrong"),
    ],
)
def test_a_wrong_setting_is_named(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said) as refused:
        Settings.load(database_url="postgresql://h/d", **setting)
    assert "secret" not in str(refused.value)


def test_lists_in_the_environment_have_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", "https://a.example.com, https://b.example.com,")
    monkeypatch.setenv("TRUSTED_DOCUMENTS_FILES", "a.json,b.json")
    loaded = Settings.load(database_url="postgresql://h/d")

    assert loaded.cors_origins == ("https://a.example.com", "https://b.example.com")
    assert loaded.trusted_documents_files == (Path("a.json"), Path("b.json"))


def test_the_address_behind_a_proxy_counts_and_workers_share_the_port(
    empty_database_url: Callable[..., str], migrated_template: str, tmp_path: Path
) -> None:
    url = empty_database_url(migrated_template)
    body = {"query": "{ users { totalCount } }"}
    with served(url, tmp_path, workers=2, cost_per_minute=1200, cost_limit=1200) as running:

        def ask(address: str) -> int:
            headers = {"X-Forwarded-For": address, "X-Forwarded-Proto": "https"}
            answer = httpx.post(f"{running.url}/graphql", json=body, headers=headers, timeout=30)
            assert "strict-transport-security" in answer.headers
            return answer.status_code

        # Each of the two processes counts for itself.
        assert [ask("192.0.2.1") for _ in range(3)].count(429) >= 1
        assert ask("192.0.2.2") == 200


async def test_an_executor_may_answer_in_json_text(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = b'{"b": 1, "a":{"\\u00e9": null}}'

    async def run(*_: Any) -> Any:
        return text, []

    monkeypatch.setattr("community_gql.operations.batched.run", run)
    answer = await api("{ __typename }")

    assert text in answer.response.content
    assert answer.data == {"b": 1, "a": {"é": None}}


async def test_a_mutation_that_lost_the_database_half_way_shows_what_it_did(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = GraphQLError("away", path=["b"], original_error=Unavailable("away"))
    outcome: dict[str, Any] = {}

    async def run(*_: Any) -> Any:
        return outcome["data"], [away]

    monkeypatch.setattr("community_gql.operations.batched.run", run)
    query = 'mutation { createGarden(input: {name: "a"}) { userErrors { code } } }'
    outcome["data"] = {"a": {"userErrors": []}, "b": None}
    half = await api(query)
    outcome["data"] = {"a": None, "b": None}
    none = await api(query)

    assert (half.status, half.codes) == (294, ["UNAVAILABLE"])
    assert (none.status, none.codes, "data" in none.body) == (503, ["UNAVAILABLE"], False)


async def test_readiness_waits_for_no_check_without_end(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What asks for it gives up sooner than a check that hangs."""
    monkeypatch.setattr("community_gql.http.health.SECONDS", 0.2)

    async def hangs() -> bool:
        await asyncio.sleep(60)
        return True

    async with opened(database_url) as database:
        asked = Readiness(database, {"keys": hangs}).answer(Request({"type": "http"}))
        answer = await asyncio.wait_for(asked, 20)

    assert answer.status_code == 503
    assert b'"keys":false' in bytes(answer.body)


async def test_readiness_asks_the_other_layers_too(database_url: str) -> None:
    async def no_keys() -> bool:
        raise ConnectionError

    async with opened(database_url) as database:
        answer = await Readiness(database, {"keys": no_keys}).answer(Request({"type": "http"}))

    assert answer.status_code == 503
    assert bytes(answer.body) == (b'{"ready":false,"database":true,"migrations":true,"keys":false}')
