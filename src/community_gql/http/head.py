"""The head of a GraphQL request: what is read of an ASGI scope, once."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import Scope

GRAPHQL_PATHS = frozenset({"/", "/graphql"})


def wants_signpost(path: str, accept: bytes) -> bool:
    """Whether a GET without a document is somebody's `curl` of the start page, who is told more.

    Whoever asks at ``/graphql``, or for a type, gets GraphQL's own answer.
    """
    return path == "/" and accept in (b"", b"*/*")


@dataclass(slots=True)
class Head:
    """The fields of a request's head that decide how it is answered, as bytes."""

    method: str
    query_string: bytes
    is_tls: bool
    client: str | None
    accept: bytes = b""
    """All ``Accept`` lines as one list."""
    authorization: bytes | None = None
    authorizations: int = 0
    has_cookie: bool = False
    content_type: bytes = b""
    content_length: bytes = b""
    content_encoding: bytes = b""
    if_none_match: bytes = b""
    request_id: bytes = b""
    traceparent: bytes = b""
    last_event_id: str | None = None
    read_after: bytes = b""
    cookie: bytes = b""

    @classmethod
    def of(cls, scope: Scope) -> Head:
        """The head of the request with this ASGI scope."""
        client = scope.get("client")
        head = cls(
            scope["method"],
            scope["query_string"],
            scope.get("scheme") == "https",
            client[0] if client else None,
        )
        for name, value in scope["headers"]:
            match name:
                case b"accept":
                    head.accept = b"%b, %b" % (head.accept, value) if head.accept else value
                case b"authorization":
                    head.authorization = value
                    head.authorizations += 1
                case b"cookie":
                    head.has_cookie = True
                    head.cookie = b"%b; %b" % (head.cookie, value) if head.cookie else value
                case b"content-type":
                    head.content_type = value
                case b"content-length":
                    head.content_length = value
                case b"content-encoding":
                    head.content_encoding = value
                case b"x-request-id":
                    head.request_id = value
                case b"x-read-after":
                    head.read_after = value
                case b"traceparent":
                    head.traceparent = value
                case b"last-event-id":
                    head.last_event_id = value.decode("latin1") or None
                case b"if-none-match":
                    lines = head.if_none_match
                    head.if_none_match = b"%b, %b" % (lines, value) if lines else value
        return head

    @property
    def is_safe(self) -> bool:
        """Whether the method only reads."""
        return self.method in ("GET", "HEAD")

    @property
    def is_public(self) -> bool:
        """Whether the request comes without credentials, so that anyone would get its answer."""
        return self.authorization is None and not self.has_cookie

    @property
    def has_document(self) -> bool:
        """Whether a GET asks for an operation, rather than for the page of the explorer."""
        return any(
            name in self.query_string for name in (b"query=", b"documentId=", b"extensions=")
        )
