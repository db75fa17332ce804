"""The head of a GraphQL request: what is read of an ASGI scope, once."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import Scope

GRAPHQL_PATHS = frozenset({"/", "/graphql"})


def wants_signpost(path: str, accept: bytes) -> bool:
    """Whether a GET without a document is somebody's `curl` of the start page, who is told more.

    Whoever asks at ``/graphql``, or for a type, gets GraphQL's own answer.
    """
    return path == "/" and accept in (b"", b"*/*")


_OTHERS = {
    b"content-encoding": "content_encoding",
    b"traceparent": "traceparent",
    b"x-forwarded-proto": "forwarded_proto",
    b"x-read-after": "read_after",
    b"x-request-id": "request_id",
}
"""Fields of which the last line is taken as it is, by what has them. Most requests have none, but
many that nobody reads: those are not compared with each."""


class Head:
    """The fields of a request's head that decide how it is answered, as bytes.

    What a request does not bring is the class's: a head is made for each.
    """

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
    forwarded_for: bytes = b""
    """All ``X-Forwarded-For`` lines as one list; of who it came from, see ``TrustedProxies``."""
    forwarded_proto: bytes = b""

    def __init__(self, method: str, query_string: bytes, is_tls: bool, client: str | None) -> None:
        self.method, self.query_string = method, query_string
        self.is_tls, self.client = is_tls, client

    @classmethod
    def of(cls, scope: Scope) -> Head:
        """The head of the request with this ASGI scope."""
        client = scope.get("client")
        is_tls = scope.get("scheme") == "https"
        head = cls(scope["method"], scope["query_string"], is_tls, client[0] if client else None)
        head.read(scope["headers"])
        return head

    def read(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Take what they say; their names are in lower case."""
        for name, value in fields:
            match name:
                case b"accept":
                    self.accept = b"%b, %b" % (self.accept, value) if self.accept else value
                case b"authorization":
                    self.authorization = value
                    self.authorizations += 1
                case b"cookie":
                    self.has_cookie = True
                    self.cookie = b"%b; %b" % (self.cookie, value) if self.cookie else value
                case b"content-type":
                    self.content_type = value
                case b"content-length":
                    self.content_length = value
                case b"last-event-id":
                    self.last_event_id = value.decode("latin1") or None
                case b"if-none-match":
                    lines = self.if_none_match
                    self.if_none_match = b"%b, %b" % (lines, value) if lines else value
                case b"x-forwarded-for":
                    lines = self.forwarded_for
                    self.forwarded_for = b"%b, %b" % (lines, value) if lines else value
                case _:
                    if (attribute := _OTHERS.get(name)) is not None:
                        setattr(self, attribute, value)

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
