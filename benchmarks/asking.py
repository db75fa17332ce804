"""Requests, and answers brought to one common form so that they can be compared."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from benchmarks.processes import Failed
from community_gql.graph.paging import decode_opaque

HEADERS = {"Accept": "application/graphql-response+json, application/json"}


@dataclass(frozen=True)
class Request:
    """An HTTP request; ``body`` is JSON."""

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def graphql(cls, document: str, variables: Mapping[str, Any]) -> Request:
        """A GraphQL request."""
        body = orjson.dumps({"query": document, "variables": variables})
        return cls("POST", "/graphql", body, HEADERS | {"Content-Type": "application/json"})

    def signed(self, token: str | None) -> Request:
        """The same with a bearer token."""
        if token is None:
            return self
        headers = {**self.headers, "Authorization": f"Bearer {token}"}
        return Request(self.method, self.path, self.body, headers)


class Client:
    """One kept-alive connection to a server of this machine."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def bytes(self, request: Request) -> bytes:
        """The body of an answer with status 200. Raises Failed for any other."""
        self._connection.request(request.method, request.path, request.body, dict(request.headers))
        response = self._connection.getresponse()
        body = response.read()
        if response.status != 200:
            said = body[:500].decode(errors="replace")
            raise Failed(f"{request.method} {request.path}: status {response.status}: {said}")
        return body

    def json(self, request: Request) -> Any:
        """The answer, read; raises Failed if it has GraphQL errors."""
        found = orjson.loads(self.bytes(request))
        if isinstance(found, dict) and found.get("errors"):
            raise Failed(f"errors: {str(found['errors'])[:500]}")
        return found

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def common(value: Any, name: str = "") -> Any:
    """The common form of an answer: what is spelled differently made the same, values untouched.

    Lists are plain lists, with ``hasNextPage`` beside them where it was asked for; ids are the
    database's keys as text; enums are in lower case; moments are in UTC with six digits. Cursors
    are left out: each system has its own.
    """
    if isinstance(value, dict):
        if "nodes" in value:
            nodes = common(value["nodes"])
            if "pageInfo" not in value:
                return nodes
            return {"nodes": nodes, "hasNextPage": value["pageInfo"]["hasNextPage"]}
        return {key: common(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [common(item, name) for item in value]
    if value is None:
        return None
    match name:
        case "id":
            return _key(str(value))
        case "visibility":
            return str(value).lower()
        case "createdAt":
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is None:
                raise Failed(f"a moment without a time zone: {value}")
            return moment.astimezone(UTC).isoformat(timespec="microseconds")
    return value


def end_cursor(found: Any) -> str | None:
    """The cursor to the page after the first one in an answer; None behind the last."""
    if isinstance(found, dict):
        if "pageInfo" in found:
            end: str = found["pageInfo"]["endCursor"]
            return end if found["pageInfo"]["hasNextPage"] else None
        for item in found.values():
            if (cursor := end_cursor(item)) is not None:
                return cursor
    return None


def _key(value: str) -> str:
    if value.isdigit() or (value.count("-") == 4 and "_" not in value):
        return value
    kind, separator, key = value.partition("_")
    return key if separator and kind.isalpha() else decode_opaque(value).partition(":")[2]


def difference(one: Any, other: Any, path: str = "") -> str | None:
    """Where two answers first differ, with both values; None when they are equal."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        pairs = [(f"{path}.{key}", one[key], other[key]) for key in one]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(f"{path}[{i}]", a, b) for i, (a, b) in enumerate(zip(one, other, strict=True))]
    elif one == other and type(one) is type(other):
        return None
    else:
        return f"at {path or 'the top'}: {str(one)[:200]} and {str(other)[:200]}"
    for where, a, b in pairs:
        if (found := difference(a, b, where)) is not None:
            return found
    return None
