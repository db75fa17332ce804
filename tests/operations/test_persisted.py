"""Automatic persisted queries: a hash in the place of a text that was sent once."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
import pytest

from community_gql.identity.development import DevelopmentIssuer
from community_gql.operations.persisted import PersistedQueries
from tests.support.client import Client, serving

TEXT = "query Typed { __typename }"
NOT_FOUND = (422, ["PERSISTED_QUERY_NOT_FOUND"])
NOT_SUPPORTED = (422, ["PERSISTED_QUERY_NOT_SUPPORTED"])


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def hashed(text: str, **members: Any) -> dict[str, Any]:
    """The members of a request with the hash of this text."""
    return {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": sha256(text)}}, **members}


def by_url(members: dict[str, Any]) -> dict[str, str]:
    return {k: v if isinstance(v, str) else orjson.dumps(v).decode() for k, v in members.items()}


async def test_a_text_that_was_sent_once_is_known_by_its_hash(api: Client) -> None:
    unknown = await api.send("POST", json=hashed(TEXT))
    assert (unknown.status, unknown.codes) == NOT_FOUND
    assert unknown.errors[0]["message"] == "PersistedQueryNotFound"

    sent = await api.send("GET", params=by_url(hashed(TEXT, query=TEXT)))
    assert sent.data == {"__typename": "Query"}
    for answer in (
        await api.send("POST", json=hashed(TEXT)),
        await api.send("GET", params=by_url(hashed(TEXT))),
        await api.send("GET", headers={"Accept": "*/*"}, params=by_url(hashed(TEXT))),
    ):
        assert (answer.status, answer.data) == (200, {"__typename": "Query"})


async def test_a_hash_of_another_text_is_refused_and_teaches_nothing(api: Client) -> None:
    other = "query Other { __typename }"
    answer = await api.send("POST", json=hashed(other, query="query Evil { __typename }"))
    assert (answer.status, answer.codes) == (422, ["BAD_REQUEST"])
    assert "SHA-256" in answer.errors[0]["message"]
    after = await api.send("POST", json=hashed(other))
    assert (after.status, after.codes) == NOT_FOUND


async def test_what_is_not_valid_is_not_kept(api: Client) -> None:
    assert (await api.send("POST", json=hashed("{ nope }", query="{ nope }"))).status == 422
    after = await api.send("POST", json=hashed("{ nope }"))
    assert (after.status, after.codes) == NOT_FOUND


async def test_a_mutation_by_get_stays_refused(api: Client) -> None:
    text = 'mutation { deleteStory(input: {id: "x"}) { userErrors { code } } }'
    await api.send("POST", json=hashed(text, query=text))
    assert (await api.send("GET", params=by_url(hashed(text)))).status == 405


@pytest.mark.parametrize(
    "given",
    [
        "x", [], 5, {}, {"version": 2, "sha256Hash": sha256(TEXT)}, {"version": 1},
        {"version": 1, "sha256Hash": 5}, {"version": 1, "sha256Hash": None},
    ],
)  # fmt: skip
async def test_what_is_no_hash_is_refused(api: Client, given: object) -> None:
    answer = await api.send("POST", json={"extensions": {"persistedQuery": given}})
    assert (answer.status, answer.codes) == (422, ["BAD_REQUEST"])


async def test_off_answers_texts_and_supports_no_hashes(
    database_url: str, issuer: DevelopmentIssuer
) -> None:
    async with serving(database_url, issuer, persisted_queries="off") as api:
        with_text = await api.send("POST", json=hashed(TEXT, query=TEXT))
        alone = await api.send("POST", json=hashed(TEXT))

    assert with_text.data == {"__typename": "Query"}
    assert (alone.status, alone.codes) == NOT_SUPPORTED
    assert alone.errors[0]["message"] == "PersistedQueryNotSupported"


@pytest.mark.parametrize("mode", ["allow", "enforce"])
async def test_beside_trusted_documents(
    database_url: str, issuer: DevelopmentIssuer, tmp_path: Any, mode: str
) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_bytes(orjson.dumps({"1": TEXT}))
    options = {"trusted_documents": mode, "trusted_documents_files": str(manifest)}
    other = "query Other { __typename }"
    async with serving(database_url, issuer, **options) as api:
        sent = await api.send("POST", json=hashed(other, query=other))
        alone = await api.send("POST", json=hashed(other))
        trusted = await api.send("POST", json=hashed(TEXT, query=TEXT))
        by_id = await api.send("POST", json={"documentId": "1"})

    assert trusted.data == by_id.data == {"__typename": "Query"}
    if mode == "allow":
        assert sent.data == alone.data == {"__typename": "Query"}
    else:
        assert (sent.status, sent.codes) == (403, ["DOCUMENT_NOT_TRUSTED"])
        assert (alone.status, alone.codes) == NOT_SUPPORTED


def test_it_is_bounded_in_bytes() -> None:
    persisted = PersistedQueries(max_bytes=100_000)
    for number in range(1000):
        text = f"{{ a{number}: __typename }} # {'x' * 500}"
        persisted.keep(text, hashed(text)["extensions"])

    assert 10 < len(persisted.kept) < 200
    assert persisted.kept.bytes <= 100_000
