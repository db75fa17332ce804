"""Measuring changes that cannot be repeated: each is sent once, by people made for it.

The people and what is theirs are made anew before each turn and removed after it, so the community
stays as it was.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from benchmarks.asking import HEADERS, Client, Request, common, difference
from benchmarks.cases import PROSE, Person
from benchmarks.database import Database, Recording
from benchmarks.processes import Failed, cpu_of
from benchmarks.running import Field, Running
from benchmarks.systems import REFERENCE

PEOPLE = 250
"""So many people take part, with a story and a match each."""
COMPARED = 40
"""So many of them are compared."""
BATCH = 1_000
BATCHES = 12
"""So many batches of matches are sent in a turn."""
STORIES = 10**12
"""The keys of their stories begin here."""
MACHINE = "benchmark@clients"
SYSTEMS = ("compiled", REFERENCE)
SETTLE_SECONDS = 1.0
_MINE = "LIKE 'bench|%'"

MAKE = f"""
INSERT INTO users (auth0_sub, email, public_id, created_at)
SELECT 'bench|' || n, 'bench' || n || '@example.org', md5('bench' || n)::uuid, '2020-01-01'
FROM generate_series(0, {PEOPLE - 1}) n;
INSERT INTO stories (id, user_id, title, content, visibility, created_at, updated_at)
SELECT {STORIES} + n, 'bench|' || n, 'Before', 'It rained.', 'public', '2020-01-02', '2020-01-03'
FROM generate_series(0, {PEOPLE - 1}) n;
INSERT INTO story_tags SELECT s.id, t.id FROM stories s, tags t
WHERE s.id >= {STORIES} AND t.name IN ('gardening', 'growth');
INSERT INTO match_results (user_id, target_user_id, score, created_at)
SELECT 'bench|' || n, 'bench|' || (n + 1) % {PEOPLE}, 0.5, '2020-01-04'
FROM generate_series(0, {PEOPLE - 1}) n;
"""
REMOVE = f"DELETE FROM users WHERE auth0_sub {_MINE}"
TOUCHED = (
    "users", "stories", "story_tags", "user_tags", "gardens", "friendships", "match_results",
    "stale_lists", "stale_features", "changes",
)  # fmt: skip
LEFT = f"""
SELECT 'story' AS kind, concat_ws('|', id, title, content, visibility, tags_cached,
  updated_at > '2020-01-03') AS what FROM stories WHERE id >= {STORIES}
UNION ALL SELECT 'link', concat_ws('|', story_id, tag_id) FROM story_tags
  WHERE story_id >= {STORIES}
UNION ALL SELECT 'worn', concat_ws('|', user_id, tag_id) FROM user_tags WHERE user_id {_MINE}
UNION ALL SELECT 'garden', concat_ws('|', user_id, name, theme) FROM gardens WHERE user_id {_MINE}
UNION ALL SELECT 'friends', concat_ws('|', requester_id, addressee_id, status) FROM friendships
  WHERE requester_id {_MINE}
UNION ALL SELECT 'match', concat_ws('|', user_id, target_user_id, score) FROM match_results
  WHERE user_id {_MINE}
UNION ALL SELECT 'list', user_id FROM stale_lists WHERE user_id {_MINE}
UNION ALL SELECT 'features', user_id FROM stale_features WHERE user_id {_MINE}
ORDER BY 1, 2
"""
"""What such a change leaves behind, but for times and keys that the database gave."""


@dataclass(frozen=True)
class Write:
    """A change, in this project's schema and as a request to the hand-written endpoint."""

    name: str
    about: str
    document: str
    method: str
    path: str
    by_machine: bool = False
    """Whether a machine sends it, in batches."""

    def given(self, n: int) -> dict[str, Any]:
        """The values of the request of that number, with plain keys."""
        match self.name:
            case "updateStory":
                return {
                    "title": f"After {n}", "content": PROSE, "tags": ["courage", "growth"],
                    "expectedUpdatedAt": "2020-01-03T00:00:00+00:00",
                }  # fmt: skip
            case "addTags":
                return {"names": ["gardening", "growth", "courage"]}
            case "createGarden":
                return {"name": f"Garden {n}", "theme": "rooftop"}
            case "requestFriendship":
                return {"userId": _key(n + 1)}
        places = range(n * BATCH, (n + 1) * BATCH)
        return {
            "matches": [
                {
                    "userId": _key(place // 50), "targetUserId": _key(place // 50 + 1 + place % 50),
                    "score": place % 97 / 100,
                }
                for place in places
            ]
        }  # fmt: skip

    def graphql(self, n: int) -> Request:
        """The request to this project."""
        given = self.given(n)
        if self.name == "updateStory":
            given["id"] = f"Story_{STORIES + n}"
        for item in [given, *given.get("matches", ())]:
            item |= {name: f"User_{item[name]}" for name in ("userId", "targetUserId")
                     if name in item}  # fmt: skip
        return Request.graphql(self.document, {"input": given})

    def plain(self, n: int) -> Request:
        """The request to the hand-written endpoint."""
        body, path = orjson.dumps(self.given(n)), self.path.format(STORIES + n)
        return Request(self.method, path, body, HEADERS | {"Content-Type": "application/json"})


def _document(name: str, selection: str) -> str:
    type_ = f"{name[0].upper()}{name[1:]}Input"
    return (
        f"mutation {type_[:-5]}($input: {type_}!) {{\n"
        f"  {name}(input: $input) {{ {selection} userErrors {{ code }} }}\n}}"
    )


WRITES = (
    Write(
        "updateStory",
        "title, text and both tags of a story, if it is the expected version",
        _document("updateStory", "story { id title visibility createdAt tagNames }"),
        "PATCH",
        "/stories/{}",
    ),
    Write(
        "addTags",
        "three tags for a person",
        _document("addTags", "user { id tags { name } }"),
        "POST",
        "/tags",
    ),
    Write(
        "createGarden",
        "a person's garden",
        _document("createGarden", "garden { id name theme createdAt }"),
        "POST",
        "/gardens",
    ),
    Write(
        "requestFriendship",
        "a person asks another, who was among their matches",
        _document("requestFriendship", "friendship { id status createdAt }"),
        "POST",
        "/friendships",
    ),
    Write(
        "putMatches",
        f"{BATCH:,} matches of {BATCH // 50} people",
        _document("putMatches", "createdAt skipped"),
        "PUT",
        "/matches",
        by_machine=True,
    ),
)


def measured(field: Field, writes: Sequence[Write], rounds: int) -> list[dict[str, Any]]:
    """What is measured of each change, with equal answers and rows. Raises Failed."""
    if not writes:
        return []
    senders = Senders(field)
    taken: dict[tuple[str, str], list[_Turn]] = {}
    statements = compared(senders, writes)
    for number in range(rounds):
        for write in writes:
            field.say(f"round {number + 1} of {rounds}: {write.name}")
            names = senders.names if number % 2 else senders.names[::-1]
            for name in names:
                taken.setdefault((write.name, name), []).append(senders.turn(name, write))
    return [_summary(write, senders.names, taken, statements) for write in writes]


def compared(senders: Senders, writes: Sequence[Write]) -> dict[tuple[str, str], float]:
    """How many statements each change takes on each system, by the names of both.

    Raises Failed when their answers differ, or the rows that they leave.
    """
    field = senders.field
    statements: dict[tuple[str, str], float] = {}
    with Recording(field.database) as recording:
        for write in writes:
            field.say(f"comparing {write.name}: answers, rows and statements")
            turns = {name: senders.turn(name, write, recording) for name in senders.names}
            _compare(write, turns)
            for name, turn in turns.items():
                statements[write.name, name] = turn.statements
    return statements


@dataclass(frozen=True)
class _Turn:
    """All requests of a change, sent to one system. Times are in seconds, for each request."""

    answers: list[Any]
    left: list[dict[str, Any]]
    seconds: float
    server_cpu: float
    database_cpu: float
    statements: float


class Senders:
    """Sends changes to the systems, by so many people."""

    def __init__(self, field: Field, people: int = PEOPLE) -> None:
        self.field = field
        self.names = [name for name in SYSTEMS if name in field.running]
        senders = [Person(f"bench|{n}", f"bench{n}@example.org", _key(n)) for n in range(people)]
        self._tokens = [field.issuer.token(person) for person in senders]
        self._machine = field.issuer.token(Person(MACHINE, "", ""), ["write:matches"])
        with _made(field.database):
            for name in self.names:
                self._meet(field.running[name])

    def _meet(self, one: Running) -> None:
        """Have everybody's token verified, and their account found, before it is measured."""
        document = "{ viewer { email } }"
        with closing(Client(one.process.port)) as client:
            for token in self._tokens:
                if one.system.name == REFERENCE:
                    client.bytes(Request("GET", f"/people/{_key(0)}").signed(token))
                else:
                    client.json(Request.graphql(document, {}).signed(token))

    def turn(self, name: str, write: Write, recording: Recording | None = None) -> _Turn:
        """One turn, between making the people and removing them."""
        one = self.field.running[name]
        count = BATCHES if write.by_machine else len(self._tokens)
        if recording is not None:  # the document has to be seen, and compiled
            count = 4 if write.by_machine else COMPARED
        form = write.plain if name == REFERENCE else write.graphql
        tokens = [self._machine] * count if write.by_machine else self._tokens
        # Every request but the first of a turn finds its document compiled.
        requests = [form(n % (PEOPLE // 20)).signed(tokens[n]) if write.by_machine
                    else form(n).signed(tokens[n]) for n in range(count)]  # fmt: skip
        with _made(self.field.database), closing(Client(one.process.port)) as client:
            if recording is not None:
                found = self._recorded(client, requests, recording, name)
                answers, statements = found
                return _Turn(answers, self.field.database.rows(LEFT), 0, 0, 0, statements)
            postmaster = self.field.database.server.pid
            before = one.process.cpu(), cpu_of(postmaster), time.perf_counter()
            answers = [client.bytes(request) for request in requests]
            after = time.perf_counter(), one.process.cpu(), cpu_of(postmaster)
        for answer in answers:
            if b'"errors"' in answer:
                raise Failed(f"{name}: {write.name}: {answer[:500]!r}")
        return _Turn(
            [], [], (after[0] - before[2]) / count,
            (after[1] - before[0]) / count, (after[2] - before[1]) / count, 0,
        )  # fmt: skip

    @staticmethod
    def _recorded(
        client: Client, requests: Sequence[Request], recording: Recording, name: str
    ) -> tuple[list[Any], float]:
        half = len(requests) // 2
        answers = [client.json(request) for request in requests[:half]]
        if name != REFERENCE:
            time.sleep(SETTLE_SECONDS)  # its payload is compiled meanwhile
        counted = recording.statements(
            lambda: answers.extend(client.json(request) for request in requests[half:])
        )
        return answers, len(counted) / (len(requests) - half)


def _compare(write: Write, turns: Mapping[str, _Turn]) -> None:
    """Raises Failed for systems whose answers or rows differ."""
    wanted = turns[REFERENCE]
    plain = [_plain(answer) for answer in wanted.answers]
    for name, turn in turns.items():
        if name == REFERENCE:
            continue
        answers = []
        for answer in turn.answers:
            payload = answer["data"][write.name]
            if payload.pop("userErrors") != []:
                raise Failed(f"{name}: {write.name}: {answer}")
            inner = [value for value in payload.values() if isinstance(value, dict)]
            answers.append(_plain(inner[0] if inner else payload))
        if where := difference(plain, answers) or difference(wanted.left, turn.left):
            raise Failed(f"{write.name} of {name} differs {where}")


def _plain(answer: dict[str, Any]) -> dict[str, Any]:
    """The common form, without the keys and times that the database gave."""
    found: dict[str, Any] = common(answer)
    if "id" in found and len(found["id"]) < 13:
        found["id"] = True
    if "createdAt" in found and not found["createdAt"].startswith("2020"):
        found["createdAt"] = True
    if "status" in found:
        found["status"] = found["status"].lower()
    return found


def _summary(
    write: Write,
    names: Sequence[str],
    taken: Mapping[tuple[str, str], Sequence[_Turn]],
    statements: Mapping[tuple[str, str], float],
) -> dict[str, Any]:
    """The medians, with the ratios of processor time, as of a query."""
    costs = {
        name: [turn.server_cpu + turn.database_cpu for turn in taken[write.name, name]]
        for name in names
    }
    systems = {}
    for name in names:
        turns = taken[write.name, name]
        ratios = [a / b for a, b in zip(costs[name], costs[REFERENCE], strict=True)]
        seconds = statistics.median(turn.seconds for turn in turns)
        systems[name] = {
            "latency": seconds,
            "per_second": 1 / seconds,
            "server_cpu": statistics.median(turn.server_cpu for turn in turns),
            "database_cpu": statistics.median(turn.database_cpu for turn in turns),
            "cpu": statistics.median(costs[name]),
            "cpu_ratio": statistics.median(ratios),
            "cpu_ratios": ratios,
            "statements": statements[write.name, name],
        }
    return {
        "name": write.name,
        "about": f"{write.about}; each sent once over one connection",
        "everywhere": False,
        "systems": systems,
    }


@contextmanager
def _made(database: Database) -> Iterator[None]:
    """People for the block, and nothing of them after it."""
    database.run(REMOVE)
    database.run(MAKE)
    try:
        yield
    finally:
        database.run(REMOVE)
        for table in TOUCHED:
            database.run(f"VACUUM (ANALYZE) {table}")


def _key(n: int) -> str:
    """The public id of one of the people, as MAKE makes it."""
    digest = _md5(f"bench{n % PEOPLE}")
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
