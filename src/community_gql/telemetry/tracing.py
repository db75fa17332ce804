"""Spans, for whoever listens: nobody unless ``install`` was called.

The product marks what takes time with ``span``. Where tracing is off that is one shared object
that does nothing, and nothing of OpenTelemetry is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
Value = str | int | float | bool
Kind = Literal["server", "client", "internal"]


class Span(Protocol):
    """One thing that takes time."""

    trace_id: str | None
    """The trace that it belongs to, if that is recorded."""

    def rename(self, name: str) -> None:
        """Give it a better name."""

    def set(self, attributes: Mapping[str, Value | None]) -> None:
        """Say more of it; None is left out."""

    def failed(self, kind: str) -> None:
        """Mark it as failed, with the kind of error: never its text, which may quote values."""


Start = Callable[[str, Kind, bytes], AbstractContextManager[Span]]
"""Starts a span with a name, a kind, and the ``traceparent`` of whoever asked, empty for none."""

NOTHING: AbstractContextManager[None] = nullcontext()
on = False
"""Whether anybody listens. What happens for each request asks this before it makes a span."""
_start: Start | None = None
_end: Callable[[], None] | None = None


def span(
    name: str, kind: Kind = "internal", traceparent: bytes = b""
) -> AbstractContextManager[Span | None]:
    """A span around a block, or None where nobody listens."""
    return NOTHING if _start is None else _start(name, kind, traceparent)


def spanned(name: str, work: Callable[P, T]) -> Callable[P, T]:
    """``work`` in a span of its own."""

    def run(*given: P.args, **options: P.kwargs) -> T:
        with span(name):
            return work(*given, **options)

    return run


def install(start: Start | None, end: Callable[[], None] | None = None) -> None:
    """Have spans started so; ``end`` writes what is left of them. None switches them off."""
    global _start, _end, on
    _start, _end, on = start, end, start is not None


def close() -> None:
    """Write what is left of the spans, which may take seconds."""
    if _end is not None:
        _end()
