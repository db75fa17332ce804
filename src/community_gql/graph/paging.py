"""Keyset paging in both directions: windows, orders, cursors and pages.

A cursor names a row by the values of its order's keys, the last of which is unique, so that rows
inserted while someone pages are neither repeated nor skipped. Cursors are bound to the list, its
order and its filter by a digest, and are treated as untrusted input.
"""

from __future__ import annotations

import binascii
import hashlib
import math
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    DateTime,
    Double,
    Integer,
    String,
    Uuid,
    bindparam,
    cast,
    func,
    literal_column,
    tuple_,
)

from community_gql.errors import BadRequest
from community_gql.graph.terms import Entity, Sql, SqlType

DEFAULT_PAGE_SIZE = 20
MAX_PAGE_SIZE = 100
MAX_COUNT = 1000
"""How far the rows of a list are counted; one more is looked for, to see whether there are more."""
RELEVANCE_POOL = 1000
"""Relevance ranks this many of the newest hits, so that a common word costs no more."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_INT64 = range(-(2**63), 2**63)


_TO_URL, _FROM_URL = bytes.maketrans(b"+/", b"-_"), bytes.maketrans(b"-_+/", b"+/**")
"""Between base64's alphabet and that of URLs; what is not of the latter becomes neither."""


def encode_opaque(text: str) -> str:
    """URL-safe base64 without padding: the form of cursors."""
    encoded = binascii.b2a_base64(text.encode(), newline=False)
    return encoded.translate(_TO_URL, b"=").decode()


def opaque_sql(text: ColumnElement[str]) -> ColumnElement[str]:
    """``encode_opaque`` as SQL; the newlines are those that ``encode`` adds."""
    encoded = func.encode(_bytes_sql(text), literal_column("'base64'"))
    return func.translate(encoded, literal_column(r"E'+/=\n'"), literal_column("'-_'"))


def _bytes_sql(text: ColumnElement[str]) -> ColumnElement[bytes]:
    return func.convert_to(text, literal_column("'UTF8'"))


def decode_opaque(opaque: str) -> str:
    """The text behind ``opaque``. Raises ValueError unless it is exactly what we would write."""
    try:
        padded = opaque.encode("ascii").translate(_FROM_URL) + b"=" * (-len(opaque) % 4)
        text = binascii.a2b_base64(padded, strict_mode=True).decode()
    except (binascii.Error, UnicodeError) as error:
        raise ValueError("not base64url text") from error
    if "\x00" in text or encode_opaque(text) != opaque:
        raise ValueError("not in the form that we write")
    return text


# Per kind of key: the text in the cursor, back, and the text as SQL. No text holds a "~".


def _micros(value: datetime) -> str:
    return str((value - _EPOCH) // _MICROSECOND)


def _micros_sql(value: Sql) -> ColumnElement[str]:
    # Exact: PostgreSQL extracts the epoch as numeric.
    return cast(cast(func.extract("epoch", value) * literal_column("1000000"), BigInteger), String)


def _datetime(text: str) -> datetime:
    return _EPOCH + _integer(text) * _MICROSECOND  # OverflowError outside years 1 to 9999


def _integer(text: str) -> int:
    value = int(text) if len(text) <= 20 else 2**63
    if value not in _INT64:
        raise ValueError("not a 64-bit integer")
    return value


def _flag(text: str) -> bool:
    return bool(("0", "1").index(text))


def _flag_sql(value: Sql) -> ColumnElement[str]:
    return cast(cast(value, Integer), String)


def _float_bits(value: float) -> str:
    return struct.pack(">d", value).hex()


def _float_bits_sql(value: Sql) -> ColumnElement[str]:
    return func.encode(func.float8send(value), literal_column("'hex'"))


def _float(text: str) -> float:
    (value,) = struct.unpack(">d", bytes.fromhex(text))
    if not math.isfinite(value):
        raise ValueError("not a finite number")
    return float(value)


def _text(text: str) -> str:
    value = bytes.fromhex(text).decode()
    if "\x00" in value:
        raise ValueError("NUL in text")
    return value


def _hex_sql(value: Sql) -> ColumnElement[str]:
    return func.encode(_bytes_sql(value), literal_column("'hex'"))


def _plain_sql(value: Sql) -> ColumnElement[str]:
    return cast(value, String)


@dataclass(frozen=True, slots=True)
class _KeyKind:
    type: type[SqlType]
    write: Callable[[Any], str]
    read: Callable[[str], Any]
    sql: Callable[[Sql], ColumnElement[str]]


_KEY_KINDS = (
    _KeyKind(DateTime, _micros, _datetime, _micros_sql),
    _KeyKind(Boolean, lambda value: str(int(value)), _flag, _flag_sql),
    _KeyKind(BigInteger, str, _integer, _plain_sql),
    _KeyKind(Double, _float_bits, _float, _float_bits_sql),
    _KeyKind(Uuid, str, UUID, _plain_sql),
    _KeyKind(String, lambda value: value.encode().hex(), _text, _hex_sql),
)


def _key_kind(key: Sql) -> _KeyKind:
    for kind in _KEY_KINDS:
        if isinstance(key.type, kind.type):
            return kind
    raise TypeError(f"an order cannot use a key of type {key.type!r}")


@dataclass(frozen=True, eq=False)
class Order:
    """An order of a list: its keys, never NULL, the last one unique, all in one direction.

    ``keys(entity, binds)`` gives the key expressions; ``binds`` are the filter's bind parameters
    by name. ``pool`` limits the order to that many of the newest hits.
    """

    keys: Callable[[Entity, Mapping[str, Sql]], tuple[Sql, ...]]
    descending: bool = False
    pool: Order | None = None
    needs: str | None = None
    """The filter member without which this order has no meaning."""


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of a list: at most ``size`` rows on one side of ``cursor``."""

    size: int = DEFAULT_PAGE_SIZE
    backward: bool = False
    cursor: str | None = None

    @classmethod
    def of(
        cls,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
    ) -> Window:
        """The window that the four arguments of a connection describe.

        Raises BadRequest for a page size outside 0 to 100 and for both directions at once.
        """
        forward = first is not None or after is not None
        backward = last is not None or before is not None
        if forward and backward:
            raise BadRequest("Page either forward (first, after) or backward (last, before).")
        name, size = ("last", last) if backward else ("first", first)
        if size is None:
            size = DEFAULT_PAGE_SIZE
        if not 0 <= size <= MAX_PAGE_SIZE:
            raise BadRequest(f"'{name}' must be between 0 and {MAX_PAGE_SIZE}, not {size}.")
        return cls(size, backward, before if backward else after)


@dataclass(frozen=True, slots=True)
class Cursors:
    """Writes and reads the cursors of one list in one order with one filter."""

    kinds: tuple[_KeyKind, ...]
    digest: str

    @classmethod
    def of(cls, keys: Sequence[Sql], coordinate: str, order: str, filters: object) -> Cursors:
        """Cursors over ``keys``, bound to the list's coordinate, its order and its filter."""
        kinds = tuple(_key_kind(key) for key in keys)
        return cls(kinds, "").bound(coordinate, order, filters)

    def bound(self, coordinate: str, order: str, filters: object) -> Cursors:
        """The same for another list, order or filter with the same keys."""
        bound = orjson.dumps([coordinate, order, filters], default=str)
        return Cursors(self.kinds, hashlib.blake2b(bound, digest_size=6).hexdigest())

    def with_digest(self, digest: str) -> Cursors:
        """The same for the list, order and filter that another's ``digest`` names."""
        return Cursors(self.kinds, digest)

    def write(self, values: Sequence[object]) -> str:
        """The cursor of the row with these key values."""
        texts = (kind.write(value) for kind, value in zip(self.kinds, values, strict=True))
        return encode_opaque("~".join((self.digest, *texts)))

    def read(self, cursor: str) -> tuple[Any, ...]:
        """The key values in ``cursor``. Raises BadRequest when it is damaged or foreign."""
        try:
            digest, *texts = decode_opaque(cursor).split("~")
            if digest == self.digest and len(texts) == len(self.kinds):
                values = []
                for kind, text in zip(self.kinds, texts, strict=True):
                    value = kind.read(text)
                    # int(), UUID() and fromhex() take more spellings than the one that we write.
                    if kind.write(value) != text:
                        raise ValueError("not in the form that we write")
                    values.append(value)
                return tuple(values)
        except (ValueError, OverflowError, struct.error):
            pass
        raise BadRequest(
            "The cursor does not belong to this list: take it from pageInfo or an edge of the "
            "same connection, with the same orderBy and filter."
        )


def cursor_sql(digest: ColumnElement[str], keys: Sequence[Sql]) -> ColumnElement[str]:
    """``Cursors.write`` as SQL: the cursor of the row with these keys; ``digest`` is a bind."""
    text = digest
    for key in keys:
        text = text.op("||")(literal_column("'~'", String)).op("||")(_key_kind(key).sql(key))
    return opaque_sql(text)


def beyond(keys: Sequence[Sql], cursor: Sequence[Sql], descending: bool) -> ColumnElement[bool]:
    """The rows after ``cursor`` when reading ``keys`` in the given direction."""
    here, there = tuple_(*keys), tuple_(*cursor)
    return here < there if descending else here > there


def cursor_binds(keys: Sequence[Sql], prefix: str = "") -> list[Sql]:
    """Bind parameters ``cursor_0``, ``cursor_1``, ... of the keys' types, after ``prefix``."""
    return [bindparam(f"{prefix}cursor_{i}", type_=key.type) for i, key in enumerate(keys)]


@dataclass(slots=True)
class Page:
    """A page of one parent's list. ``keys[i]`` are the order key values of ``rows[i]``.

    ``count`` tells the number of rows of the whole list, up to MAX_COUNT + 1.
    """

    rows: list[Any]
    keys: list[Sequence[Any]]
    has_next_page: bool
    has_previous_page: bool
    cursors: Cursors
    count: Callable[[], Awaitable[int]]

    @classmethod
    def cut(
        cls,
        found: list[tuple[Any, Sequence[Any]]],
        window: Window,
        cursors: Cursors,
        count: Callable[[], Awaitable[int]],
    ) -> Page:
        """The page in ``found``: (row, keys) in reading direction, with one row too many if any."""
        more = len(found) > window.size
        found = found[: window.size]
        if window.backward:
            found.reverse()
        behind = window.cursor is not None
        return cls(
            rows=[row for row, _ in found],
            keys=[keys for _, keys in found],
            has_next_page=behind if window.backward else more,
            has_previous_page=more if window.backward else behind,
            cursors=cursors,
            count=count,
        )

    async def total_count(self) -> int:
        """How many rows the whole list has, or MAX_COUNT when it has more."""
        return _up_to_most(await self.count())

    async def total_count_is_exact(self) -> bool:
        """Whether the list has no more rows than ``total_count``."""
        return _is_exact(await self.count())

    def cursor(self, index: int) -> str:
        """The cursor of row ``index``."""
        return self.cursors.write(self.keys[index])

    @property
    def start_cursor(self) -> str | None:
        """The cursor of the first row; None on an empty page."""
        return self.cursor(0) if self.rows else None

    @property
    def end_cursor(self) -> str | None:
        """The cursor of the last row; None on an empty page."""
        return self.cursor(-1) if self.rows else None

    def edges(self) -> list[PageEdge]:
        """The rows with their places on the page."""
        return [PageEdge(row, self, index) for index, row in enumerate(self.rows)]


def _up_to_most(count: int) -> int:
    return min(count, MAX_COUNT)


def _is_exact(count: int) -> bool:
    return count <= MAX_COUNT


COUNTS: Mapping[Any, Callable[[int], Any]] = {
    Page.total_count: _up_to_most,
    Page.total_count_is_exact: _is_exact,
}
"""What tells of the count of a page's list, and what it makes of ``Page.count``."""


@dataclass(slots=True)
class PageEdge:
    """A row and its place on a page."""

    node: Any
    page: Page
    index: int

    @property
    def cursor(self) -> str:
        """The row's cursor, made only when asked for."""
        return self.page.cursor(self.index)
