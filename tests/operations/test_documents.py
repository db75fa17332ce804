"""Trusted documents, and the cache of those that were read."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import orjson
import pytest
from graphql import get_introspection_query

from community_gql.identity.development import DevelopmentIssuer
from community_gql.operations.documents import Documents, Refused, TrustedDocuments
from community_gql.operations.trees import Trees, start_of
from community_gql.settings import SettingsError
from tests.support.client import serving

PEOPLE = "query People { users { totalCount } }"
RENAME = "mutation M { __typename }"
UNKNOWN = "query Other { users { totalCount } }"


def digest(text: str, algorithm: str) -> str:
    return hashlib.new(algorithm, text.encode()).hexdigest()


@pytest.fixture
def codegen(tmp_path: Path) -> Path:
    """``persisted-documents.json`` of graphql-codegen's client preset: SHA-1 by default."""
    path = tmp_path / "persisted-documents.json"
    path.write_bytes(orjson.dumps({digest(text, "sha1"): text for text in (PEOPLE, RENAME)}))
    return path


@pytest.fixture
def relay(tmp_path: Path) -> Path:
    """The file of the Relay compiler's ``persistConfig``: MD5 by default."""
    path = tmp_path / "persisted_queries.json"
    path.write_bytes(orjson.dumps({digest(PEOPLE, "md5"): PEOPLE}))
    return path


@pytest.mark.parametrize("mode", ["allow", "enforce"])
async def test_a_document_is_found_by_the_id_of_its_manifest(
    database_url: str, issuer: DevelopmentIssuer, codegen: Path, relay: Path, mode: str
) -> None:
    options = {"trusted_documents": mode, "trusted_documents_files": f"{codegen}, {relay}"}
    async with serving(database_url, issuer, **options) as api:
        for id_ in (
            digest(PEOPLE, "sha1"),
            digest(PEOPLE, "md5"),
            f"sha256:{digest(PEOPLE, 'sha256')}",
        ):
            posted = await api.send("POST", json={"documentId": id_})
            got = await api.send("GET", "/graphql", params={"documentId": id_})
            assert posted.data == got.data == {"users": {"totalCount": 0}}

        unknown = await api.send("POST", json={"documentId": "0" * 40})
        assert (unknown.status, unknown.codes) == (422, ["DOCUMENT_NOT_FOUND"])
        both = await api.send("POST", json={"documentId": id_, "query": PEOPLE})
        assert (both.status, both.codes) == (422, ["BAD_REQUEST"])
        mutation = await api.send("GET", "/graphql", params={"documentId": digest(RENAME, "sha1")})
        assert (mutation.status, mutation.response.headers["allow"]) == (405, "POST")

        same, other = await api(PEOPLE), await api(UNKNOWN)
        assert same.status == 200
        refused = (403, ["DOCUMENT_NOT_TRUSTED"])
        assert mode == "allow" or (other.status, other.codes) == refused
        assert mode == "enforce" or other.status == 200
        introspection = await api(get_introspection_query())
        assert introspection.status == (200 if mode == "allow" else 403)


async def test_without_the_mode_an_id_is_refused(
    database_url: str, issuer: DevelopmentIssuer, codegen: Path
) -> None:
    async with serving(database_url, issuer, trusted_documents_files=str(codegen)) as api:
        answer = await api.send("POST", json={"documentId": digest(PEOPLE, "sha1")})

    assert (answer.status, answer.codes) == (422, ["BAD_REQUEST"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (b"{", "is not JSON"),
        (b"[]", "must be a JSON object"),
        (b'{"a": {}}', "must be a JSON object"),
        (b"{}", "names no documents"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_named(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "manifest.json"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(SettingsError, match=said):
        TrustedDocuments.load("enforce", [path])


def test_two_manifests_must_not_disagree(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.json", "b.json")]
    for path, text in zip(paths, (PEOPLE, UNKNOWN), strict=True):
        path.write_bytes(orjson.dumps({"1": text}))

    with pytest.raises(SettingsError, match="a different document than an earlier file for id '1'"):
        TrustedDocuments.load("allow", paths)


def test_a_document_is_read_once_while_it_is_in_use() -> None:
    documents = Documents()

    assert documents.get(PEOPLE) is documents.get(PEOPLE)


def test_the_cache_is_bounded_by_bytes_and_forgets_what_was_used_longest_ago() -> None:
    size = Documents().get("{ users { totalCount a0: totalCount } }").size
    documents = Documents(max_bytes=10 * size)
    first = documents.get(PEOPLE)
    for number in range(50):
        documents.get(f"{{ users {{ totalCount a{number}: totalCount }} }}")
        assert documents.get(PEOPLE) is first
        assert documents.kept.bytes <= 10 * size
    documents.get("{ users { totalCount } }" + " " * (17 * size // 2))
    assert documents.kept.bytes <= 10 * size
    assert documents.get(PEOPLE) is not first


def test_a_tree_that_was_dropped_is_made_again() -> None:
    documents = Documents()
    documents.trees = Trees(0)
    text = "query A { users { totalCount } } query B { ...F } fragment F on Query { __typename }"
    operation = documents.get(text).operation("B")

    assert operation.node is not operation.node
    assert start_of(operation.node) == text.index("query B")
    assert list(operation.fragments) == ["F"]


def test_what_is_refused_is_not_kept() -> None:
    documents = Documents()
    for text in ("{", "{ nope }"):
        with pytest.raises(Refused):
            documents.get(text)

    assert documents.kept.bytes == 0


def test_an_empty_name_of_an_operation_is_none(tmp_path: Path) -> None:
    document: Any = Documents().get(PEOPLE)

    assert document.operation(None) is document.operation("People")
