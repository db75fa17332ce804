"""The session cookie: what it holds, and what it is worth to whoever steals or bends it."""

from __future__ import annotations

import time

import pytest
from joserfc import jwe
from joserfc.jwk import OctKey
from starlette.requests import Request
from starlette.responses import Response

from community_gql.identity.sessions import COOKIE, Sessions, recall, remember
from community_gql.identity.tokens import Identity

SECRET, OTHER = "s" * 40, "t" * 40


def identity(seconds: float = 60) -> Identity:
    now = time.time()
    return Identity("auth0|ada", frozenset({"manage:tags"}), now, now + seconds, "ada@example.com")


def test_what_is_sealed_comes_back() -> None:
    sessions = Sessions([SECRET])
    ada = identity()
    kept = sessions.open(sessions.seal({"viewer": remember(ada)}, 60))
    assert kept is not None
    assert recall(kept["viewer"]) == ada


def test_it_cannot_be_read() -> None:
    sealed = Sessions([SECRET]).seal({"viewer": remember(identity())}, 60)
    assert "ada" not in sealed
    assert sealed.count(".") == 4


@pytest.mark.parametrize("part", range(5))
def test_no_bit_of_it_can_be_changed(part: int) -> None:
    sessions = Sessions([SECRET])
    parts = sessions.seal({"viewer": {"sub": "ada"}}, 60).split(".")
    changed = parts[part]
    parts[part] = ("B" if changed[:1] == "A" else "A") + changed[1:]
    assert sessions.open(".".join(parts)) is None


def asked(*cookies: str) -> Request:
    """A request with these lines of cookies."""
    headers = [(b"cookie", line.encode()) for line in cookies]
    return Request({"type": "http", "scheme": "http", "path": "/", "headers": headers})


def test_it_is_found_among_other_cookies() -> None:
    sessions = Sessions([SECRET])
    one, two = (sessions.seal({"a": number}, 60) for number in (1, 2))
    assert sessions.read(asked()) == sessions.read(asked("a=b; ;c")) == {}
    assert sessions.read(asked(f"x=y;{COOKIE}={one} ; z=1")) == {"a": 1}
    assert sessions.read(asked(f"{COOKIE}={one}", f"a; {COOKIE}={two}")) == {"a": 2}
    assert sessions.read(asked(f"x{COOKIE}={one}")) == {}
    assert sessions.read(asked(f"{COOKIE}=")) is None


@pytest.mark.parametrize("name", [COOKIE, "another"])
def test_no_cookie_takes_long_to_read(name: str) -> None:
    """Python 3.11.7 takes seconds to unquote such a one (CVE-2024-7592)."""
    request = asked(name + '="' + "\\" * 32_000 + '"')
    start = time.process_time()
    assert not Sessions([SECRET]).read(request)
    Sessions([SECRET]).end(request, Response())
    assert time.process_time() - start < 0.5


def test_two_of_the_same_differ() -> None:
    sessions = Sessions([SECRET])
    assert sessions.seal({}, 60) != sessions.seal({}, 60)


def test_it_ends() -> None:
    sessions = Sessions([SECRET])
    assert sessions.open(sessions.seal({}, 60)) == {}
    assert sessions.open(sessions.seal({}, -1)) is None
    assert recall(remember(identity(-1))) is None


def test_the_secret_can_be_changed_without_ending_sessions() -> None:
    old = Sessions([OTHER]).seal({"a": 1}, 60)
    assert Sessions([SECRET]).open(old) is None
    assert Sessions([SECRET, OTHER]).open(old) == {"a": 1}
    new = Sessions([SECRET, OTHER]).seal({"a": 2}, 60)
    assert Sessions([OTHER]).open(new) is None
    assert Sessions([SECRET]).open(new) == {"a": 2}


@pytest.mark.parametrize("text", ["", "x", "....", "a.b.c.d.e", "ä", "\x00", "a" * 100_000])
def test_nonsense_is_no_session(text: str) -> None:
    assert Sessions([SECRET]).open(text) is None


def test_another_algorithm_with_the_right_secret_is_no_session() -> None:
    sessions = Sessions([SECRET])
    key: OctKey = sessions._keys[0]
    plain = b'{"exp": 99999999999}'
    direct = {"alg": "dir", "enc": "A256GCM"}
    for header in (direct | {"alg": "A256KW"}, direct | {"zip": "DEF"}):
        sealed = jwe.encrypt_compact(header, plain, key, ["dir", "A256KW", "A256GCM", "DEF"])
        assert sessions.open(sealed) is None
    for content in (b"[]", b"5", b"{}", b"null", b'{"exp": "soon"}'):
        sealed = jwe.encrypt_compact(direct, content, key)
        assert sessions.open(sealed) is None
