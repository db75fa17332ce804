"""The log: one line of JSON for each event, and faults in full without anyone's values."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import select
import sys
import time
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy.exc import DBAPIError

from community_gql.telemetry.correlation import current_id

HIDDEN = "…"
_STDERR = 2  # its file descriptor
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


class JsonLines(logging.Formatter):
    """A line of JSON for a record: ``time`` (RFC 3339), ``level``, ``logger``, ``message``, and
    whatever the record carries beyond."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (request_id := current_id()) is not None:
            line["request_id"] = request_id
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info and record.exc_info[1] is not None:
            line["traceback"] = describe(record.exc_info[1])
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class PlainLines(logging.Formatter):
    """A line for people to read on a terminal; in colours if it has any.

    A request of GraphQL: method, path, operation, status, milliseconds, statements, executor (with
    the reason, when it was the loaders), and the codes of its errors.
    """

    def __init__(self, *, colours: bool) -> None:
        super().__init__()
        self._colours = colours

    @classmethod
    def on_stderr(cls) -> PlainLines:
        """With colours if stderr is a terminal and neither NO_COLOR nor TERM speaks against it."""
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        return cls(colours=sys.stderr.isatty() and not plain)

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback of a fault."""
        if hasattr(record, "statements"):
            return self._request(record)
        level = record.levelname.lower()
        colour = {"info": 2, "warning": 33}.get(level, 31)
        text = f"{self._in(colour, f'{level}:')} {record.getMessage()}"
        if record.exc_info and record.exc_info[1] is not None:
            text += f"\n{describe(record.exc_info[1])}"
        if told := getattr(record, "traceback", None):
            text += f"\n{told}"
        return text

    def _request(self, record: Any) -> str:
        status = record.status
        colour = 32 if status < 294 else 33 if status < 500 else 31
        name = "".join(
            letter if letter.isprintable() else "?" for letter in record.operation or "-"
        )
        many = "" if record.statements == 1 else "s"
        executor = record.executor or ""
        if record.fallback_reason:
            executor += f": {record.fallback_reason}"
        parts = [
            self._in(2, f"{record.method:4} {record.path:8}"),
            f"{name:24}",
            self._in(colour, str(status)),
            f"{record.milliseconds:7.1f} ms ",
            f"{record.statements:2} {f'statement{many}':10}",
            self._in(2, executor),
            self._in(colour, " ".join(record.codes)),
        ]
        return " ".join(parts).rstrip()

    def _in(self, colour: int, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours and text else text


class JsonLinesHandler(logging.Handler):
    """Writes lines of JSON to stderr, each in one write, so that processes do not mix theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLines())

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line of a record."""
        try:
            os.write(_STDERR, self.format(record).encode() + b"\n")
        except Exception:
            self.handleError(record)


Event = tuple[float, str, Mapping[str, Any]]
"""When it was, by ``time.time``, its message, and fields beside that."""


def write_event(logger: logging.Logger, message: str, fields: Mapping[str, Any]) -> None:
    """Write an event at info, with ``fields`` beside the message."""
    write_events(logger, [(time.time(), message, fields)])


def write_events(logger: logging.Logger, events: Iterable[Event]) -> None:
    """Write events at info, such as happen for each request.

    With the JSON log each is one line of one object, without a record: a record that passes
    through ``logging`` takes five times the processor time. Any other logging gets its records.
    """
    if writes_json(logger):
        write_lines(line(logger.name, *event) for event in events)
        return
    for at, message, fields in events:
        # `Logger.info` would look for the place in the code that calls it.
        record = logger.makeRecord(
            logger.name, logging.INFO, __file__, 0, message, (), None, None, dict(fields)
        )
        record.created, record.msecs = at, at % 1 * 1000
        logger.handle(record)


def writes_json(logger: logging.Logger) -> bool:
    """Whether what it writes goes out as lines of JSON, and nowhere else."""
    parent = logger.parent
    return (
        len(logger.handlers) == 0
        and parent is not None
        and not parent.propagate
        and len(parent.handlers) == 1
        and isinstance(parent.handlers[0], JsonLinesHandler)
    )


def line(name: str, at: float, message: str, fields: Mapping[str, Any]) -> bytes:
    """The line of an event of that logger."""
    now = moment(at).decode()
    # Two objects that become one line: a dictionary of all would be filled twice.
    text = orjson.dumps({"time": now, "level": "info", "logger": name, "message": message})
    if fields:
        text = b"%b,%b" % (text[:-1], orjson.dumps(fields, default=str)[1:])
    return text


def pieces_of_line(
    name: str, message: str, fields: Mapping[str, Any], left_out: Collection[str]
) -> list[bytes]:
    """A line such as ``write_events`` writes, in pieces.

    Between them belong the time (``moment``) and, in the order of ``fields``, the JSON texts of
    those that are ``left_out``.
    """
    pieces, text = [b'{"time":"'], b'"'
    same = {"level": "info", "logger": name, "message": message}
    for key, value in (same | dict(fields)).items():
        text += b",%b:" % orjson.dumps(key)
        if key in left_out:
            pieces.append(text)
            text = b""
        else:
            text += orjson.dumps(value, default=str)
    return [*pieces, text + b"}"]


def moment(at: float) -> bytes:
    """A time of ``time.time`` as RFC 3339 has it, to the millisecond."""
    milliseconds = int(at * 1000)
    return b"%b.%03d+00:00" % (_second(milliseconds // 1000), milliseconds % 1000)


@lru_cache(maxsize=8)
def _second(at: int) -> bytes:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


def write_lines(lines: Iterable[bytes]) -> None:
    """Write whole lines, as many at once as the kernel keeps together in a pipe."""
    together = bytearray()
    for line in lines:
        if together and len(together) + len(line) >= select.PIPE_BUF:
            _write_bytes(together)
            together = bytearray()
        together += line
        together += b"\n"
    _write_bytes(together)


def _write_bytes(lines: bytes | bytearray) -> None:
    with contextlib.suppress(OSError):  # nobody reads the log: no reason to fail a request
        os.write(_STDERR, lines)


def describe(error: BaseException, values: Any = None) -> str:
    """The traceback of an error and its causes, with every text and number of ``values`` hidden.

    Errors of the database appear as their class, SQLSTATE, constraint and statement only: their
    messages quote what was written.
    """
    secrets = _secrets(values)
    parts: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        frames = "".join(traceback.format_tb(current.__traceback__))
        kind = f"{type(current).__module__}.{type(current).__qualname__}"
        message = _message(current)[:2000]
        parts.append(f"{frames}{kind}: {secrets.sub(HIDDEN, message) if secrets else message}")
        cause = current.__cause__
        current = cause or (None if current.__suppress_context__ else current.__context__)
    return "\ncaused by\n".join(parts)


def fingerprint(error: BaseException) -> str:
    """A short name of a fault that stays the same wherever it happens again.

    It is made of the error's class and the functions of ours that it came through, not of lines,
    texts or versions.
    """
    parts = [f"{type(error).__module__}.{type(error).__qualname__}"]
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = frame.f_globals.get("__name__", "")
        if module.startswith("community_gql"):
            parts.append(f"{module}.{frame.f_code.co_qualname}")
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=6).hexdigest()


def _message(error: BaseException) -> str:
    if isinstance(error, DBAPIError):
        return f"{_database_message(error.orig)} in: {error.statement}"
    if hasattr(error, "sqlstate"):
        statement = getattr(error, "query", None)  # what the driver ran, without values
        return _database_message(error) + (f" in: {statement}" if statement else "")
    return str(error)


def _database_message(error: BaseException | None) -> str:
    cause = getattr(error, "__cause__", None)
    state = getattr(error, "sqlstate", None)
    constraint = getattr(cause or error, "constraint_name", None)
    return f"SQLSTATE {state}" + (f", constraint {constraint}" if constraint else "")


def _secrets(values: Any) -> re.Pattern[str] | None:
    """Matches any text or number in ``values``, in any case; parts of them as whole words."""
    whole = sorted({text for text in _texts(values) if text}, key=len, reverse=True)[:1000]
    words = {word for text in whole for word in text.split()}
    patterns = [re.escape(text) for text in whole if len(text) > 3]
    patterns += [rf"(?<!\w){re.escape(word)}(?!\w)" for word in sorted(words)[:1000]]
    return re.compile("|".join(patterns), re.IGNORECASE) if patterns else None


def _texts(values: Any) -> Iterator[str]:
    if isinstance(values, Mapping):
        for value in values.values():
            yield from _texts(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _texts(value)
    elif isinstance(values, str):
        yield values
        yield repr(values)[1:-1]
    elif isinstance(values, int | float) and not isinstance(values, bool):
        yield str(values)
