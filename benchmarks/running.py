"""Starting the systems, checking that they agree, and measuring them in turn."""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.asking import Client, Request, common, difference, end_cursor
from benchmarks.cases import Person, Query, Variant, variants, viewers
from benchmarks.database import Database, Recording, Say
from benchmarks.issuing import Issuer
from benchmarks.processes import Failed, Process, cpu_of, free_port
from benchmarks.system import Surroundings, System
from benchmarks.systems import REFERENCE

WRK = Path(__file__).parent / "wrk.lua"
NO_WRK = (
    "wrk is not installed: it sends the requests. On Debian and Ubuntu: apt-get install wrk; "
    "with Homebrew: brew install wrk"
)
COUNTED = 2
"""So often statements are counted; the least counts, in case something else asked meanwhile."""


@dataclass
class Running:
    """A system that runs, and the requests that it is asked with."""

    system: System
    process: Process
    requests: dict[str, list[Request]] = field(default_factory=dict)
    """By query, one for each variant."""
    bytes: dict[str, float] = field(default_factory=dict)
    """By query, the mean size of an answer's body."""


@dataclass(frozen=True)
class Load:
    """What one run of wrk gave, and what it cost. Times are in seconds."""

    requests: int
    per_second: float
    p50: float
    p99: float
    worst: float
    server_cpu: float
    """Per request."""
    database_cpu: float
    """Per request."""


class Field:
    """The systems on one database."""

    def __init__(self, database: Database, issuer: Issuer, logs: Path, say: Say) -> None:
        self.database, self.issuer, self.say = database, issuer, say
        self.people = viewers(database)
        self.running: dict[str, Running] = {}
        self.missing: dict[str, str] = {}
        """Why a system takes no part."""
        self._tokens = {person.sub: issuer.token(person) for person in self.people}
        self._logs = logs
        self._stack = ExitStack()

    def __enter__(self) -> Field:
        return self

    def __exit__(self, *problem: object) -> None:
        self._stack.close()

    def start(self, system: System) -> Running | None:
        """Start a system; None, with a line that says why, when it cannot be started."""
        self.say(f"starting {system.title}")
        port = free_port()
        given = Surroundings(self.database, self.issuer, port)
        try:
            system.prepare(self.database)
            process = Process(
                system.words(given),
                system.environment(given),
                port,
                self._logs / f"{system.name}.log",
            )
        except (Failed, OSError) as error:
            self.leave_out(system, str(error))
            return None
        self._stack.callback(process.stop)
        self.running[system.name] = Running(system, process)
        return self.running[system.name]

    def leave_out(self, system: System, why: str) -> None:
        """Go on without a system, and say so loudly."""
        self.say(f"!!! {system.title} IS LEFT OUT: {why}")
        self.missing[system.name] = why
        if (found := self.running.pop(system.name, None)) is not None:
            found.process.stop()

    def asks(self, query: Query) -> list[Running]:
        """The running systems that have the query."""
        return [one for one in self.running.values() if one.system.answers(query)]

    def token(self, viewer: Person | None) -> str | None:
        """The viewer's token."""
        return None if viewer is None else self._tokens[viewer.sub]

    # --- the answers ---

    def agree(self, query: Query) -> int:
        """Make the requests of a query, and check that all systems answer them alike.

        The reference's answers count; a system that differs is left out, loudly. Returns how many
        answers were compared. Of a query that writes only the form is compared.
        """
        listed = variants(query, self.database, self.people)
        # Signed out as well, though that is not measured.
        checked = [*listed, Variant(None, listed[0].values)] if not query.writes else listed
        answers: dict[str, list[Any]] = {}
        for one in self.asks(query):
            try:
                answers[one.system.name] = self._ask(one, query, checked)
            except (Failed, OSError, KeyError, TypeError, ValueError) as error:
                self.leave_out(one.system, f"{query.name}: {type(error).__name__}: {error}")
        if REFERENCE not in answers:
            raise Failed(f"the reference has no answer to {query.name}")
        for name, found in answers.items():
            if (where := difference(answers[REFERENCE], found)) is not None:
                system = self.running[name].system
                self.leave_out(system, f"its answer to {query.name} differs {where}")
        if not answers[REFERENCE][0] or answers[REFERENCE][0] == answers[REFERENCE][1]:
            raise Failed(f"the variants of {query.name} make no difference")
        return len(answers[REFERENCE])

    def _ask(self, one: Running, query: Query, listed: Sequence[Variant]) -> list[Any]:
        after, requests, answers, sizes = None, [], [], []
        with closing(Client(one.process.port)) as client:
            for variant in listed:
                if variant.viewer is None:
                    after = None
                request = one.system.request(query, variant.values, after)
                requests.append(request.signed(self.token(variant.viewer)))
                found = client.json(requests[-1])
                # The next variant asks for the next page, or the first one again behind the last.
                after = end_cursor(found) if query.pages else None
            time.sleep(one.system.settles)
            for request in requests:
                found = client.json(request)
                answer = common(one.system.result(query, found))
                if query.writes:  # ids and moments differ from one story to the next
                    answer |= {"id": bool(answer["id"]), "createdAt": bool(answer["createdAt"])}
                answers.append(answer)
                sizes.append(len(client.bytes(request)))
        count = sum(variant.viewer is not None for variant in listed)
        one.requests[query.name] = requests[:count]
        one.bytes[query.name] = statistics.fmean(sizes[:count])
        return answers

    # --- the load ---

    def load(self, one: Running, query: Query, connections: int, seconds: float) -> Load:
        """Send a query's requests in turn for some time."""
        return load(
            one.process,
            one.requests[query.name],
            self.database.server.pid,
            connections,
            seconds,
            size=None if query.writes else one.bytes[query.name],
        )

    def ask(self, one: Running, requests: Sequence[Request], seconds: float) -> Load:
        """Send some other requests in turn over one connection."""
        return load(one.process, requests, self.database.server.pid, 1, seconds)

    def statements(self, recording: Recording, one: Running, query: Query) -> float:
        """How many statements a request costs, its transaction's own included."""
        with closing(Client(one.process.port)) as client:

            def ask() -> None:
                for request in one.requests[query.name]:
                    client.bytes(request)

            counts = [len(recording.statements(ask)) for _ in range(COUNTED)]
        return min(counts) / len(one.requests[query.name])

    def clean(self, last_story: int) -> None:
        """Remove the stories that were written since, and what they leave behind in the tables."""
        self.database.run(f"DELETE FROM stories WHERE id > {last_story}")
        for table in ("stories", "story_tags"):
            self.database.run(f"VACUUM (ANALYZE) {table}")


def load(
    process: Process,
    requests: Sequence[Request],
    postmaster: int,
    connections: int,
    seconds: float,
    *,
    size: float | None = None,
) -> Load:
    """Run wrk, and note what server and database spend meanwhile.

    ``size`` is the mean size of the answers' bodies: answers that are much shorter or longer are
    others than those that were compared. Raises Failed.
    """
    if (wrk := shutil.which("wrk")) is None:
        raise Failed(NO_WRK)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(lua(requests))
        file.flush()
        words = [wrk, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "20s"]
        words += ["-s", str(WRK), f"http://127.0.0.1:{process.port}", "--", file.name]
        before = process.cpu(), cpu_of(postmaster)
        done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        after = process.cpu(), cpu_of(postmaster)
    found = re.search(r"^\{.*\}$", done.stdout, re.MULTILINE)
    if done.returncode or found is None:
        raise Failed(f"wrk: {done.stdout} {done.stderr}")
    result = json.loads(found[0])
    count = result["requests"]
    if result["failed"] or not count:
        raise Failed(f"{result['failed']} of {count} requests failed; {process.last_words()}")
    if size is not None and not size * 0.9 < result["bytes"] / count < size * 1.1 + 2000:
        raise Failed(f"answers of {result['bytes'] / count:.0f} bytes instead of {size:.0f}")
    return Load(
        requests=count,
        per_second=count / (result["microseconds"] / 1e6),
        p50=result["p50"] / 1e6,
        p99=result["p99"] / 1e6,
        worst=result["max"] / 1e6,
        server_cpu=(after[0] - before[0]) / count,
        database_cpu=(after[1] - before[1]) / count,
    )


def lua(requests: Sequence[Request]) -> str:
    """The requests as a Lua table, for wrk."""
    lines = []
    for one in requests:
        headers = ", ".join(f"[{_quoted(k)}] = {_quoted(v)}" for k, v in one.headers.items())
        body = "nil" if one.body is None else _quoted(one.body.decode())
        lines.append(
            f"{{ method = {_quoted(one.method)}, path = {_quoted(one.path)}, "
            f"headers = {{ {headers} }}, body = {body} }}"
        )
    return "return {\n" + ",\n".join(lines) + "\n}\n"


def _quoted(text: str) -> str:
    # Lua's decimal escapes take every byte.
    return (
        '"'
        + "".join(
            chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\' else f"\\{byte:03d}"
            for byte in text.encode()
        )
        + '"'
    )
