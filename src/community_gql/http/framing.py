"""Where a request ends and to whom it goes, which all who read its head must agree on."""

from __future__ import annotations

from collections.abc import Sequence

FRAMING = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect", b"upgrade"})
"""The header fields that say so, and those that change what follows the head."""
USUAL = {b"host", b"content-length"}
"""A head with one of each leaves no doubt."""


def fault_of(fields: Sequence[tuple[bytes, bytes]], version: str) -> tuple[int, str] | None:
    """The status and the message for a head that leaves a doubt; None for one that does not.

    ``fields`` are those in FRAMING, with names in lower case, and ``version`` is that of HTTP.
    """
    names = [name for name, _ in fields]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    hosts = names.count(b"host")
    old = version != "1.1"
    if hosts > 1 or (hosts == 0 and not old):
        return 400, "A request has one Host field."
    if codings and (old or b"content-length" in names):
        return 400, "The length of the body is said in two ways."
    if codings and (len(codings) > 1 or codings[0].strip().lower() != b"chunked"):
        return 501, "The only Transfer-Encoding is chunked."
    if names.count(b"content-length") > 1:
        return 400, "The length of the body is said twice."
    return None


def expects(fields: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether the client waits to be told to send the body."""
    return any(name == b"expect" and value.lower() == b"100-continue" for name, value in fields)


def skipped_head(fields: Sequence[tuple[bytes, bytes]]) -> bytes | None:
    """A head for the body of a request that asks to upgrade; None if it has no body."""
    if b"upgrade" not in [name for name, _ in fields]:
        return None
    found = None
    for name, value in fields:
        if name == b"transfer-encoding" or (name == b"content-length" and int(value)):
            found = b"POST / HTTP/1.1\r\n%b: %b\r\n\r\n" % (name, value)
    return found
