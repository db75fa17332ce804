"""The benchmark's own PostgreSQL: made once, filled by the product's generator, used again."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from community_gql.db import migrate, revisions
from community_gql.dev import filling, seeding
from community_gql.dev.embedded import EmbeddedPostgres
from community_gql.settings.checks import plain_address

Say = Callable[[str], None]

SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "1h",
    # Whatever starts by itself would be charged to the system that is being measured.
    "autovacuum": "off",
    # These statements are shorter than their compilation.
    "jit": "off",
}
"""What differs from the development server's settings, for every system alike."""

SEED = 1
PREFIX = "bench %d %p "
STATEMENT = re.compile(r"^bench (\S+) (\d+) LOG:  (?:statement|execute [^:]*): ", re.MULTILINE)
CLOCKWORK = ("FROM deleted_accounts WHERE deleted_at >", "pg_notify")
"""In the statements that the product runs every few seconds, whatever the traffic."""


class Database:
    """One filled database of the benchmark's server."""

    def __init__(self, server: EmbeddedPostgres, name: str, people: int) -> None:
        self.server, self.name, self.people = server, name, people
        self.url = plain_address(server.url(name))
        """A libpq address, behind a Unix socket."""

    def run(self, sql: str) -> str:
        """Run statements as the owner; psql's unaligned output."""
        return self.server.psql(sql, self.name)

    def rows(self, select: str) -> list[dict[str, Any]]:
        """The rows of a SELECT as dictionaries."""
        text = self.run(f"SELECT coalesce(json_agg(row_to_json(r)), '[]') FROM ({select}) r")
        found: list[dict[str, Any]] = json.loads(text)
        return found

    def sizes(self) -> dict[str, int]:
        """The number of rows of the large tables."""
        tables = ("users", "stories", "story_tags", "friendships", "match_results")
        return {table: int(self.run(f"SELECT count(*) FROM {table}")) for table in tables}


@contextmanager
def started(folder: Path, say: Say) -> Iterator[EmbeddedPostgres]:
    """The benchmark's server, with SETTINGS."""
    with EmbeddedPostgres.start(folder, say=say) as server:
        for name, value in SETTINGS.items():
            server.psql(f"ALTER SYSTEM SET {name} = '{value}'")
        for name in (
            "log_statement",
            "log_line_prefix",
        ):  # left by a run that was killed
            server.psql(f"ALTER SYSTEM RESET {name}")
    # Some of them count from the next start only.
    with EmbeddedPostgres.start(folder, say=say) as server:
        yield server


def filled(server: EmbeddedPostgres, people: int, say: Say) -> Database:
    """The database of so many people: that of an earlier run if it still fits, or a new one.

    Its name holds what decides its content: the size, the migrations and the generator.
    """
    name = f"bench_{people}_{_origin()}"
    if not server.psql(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):
        for old in server.psql(
            f"SELECT datname FROM pg_database WHERE datname LIKE 'bench\\_{people}\\_%'"
        ).split():
            server.psql(f'DROP DATABASE "{old}" WITH (FORCE)')
        say(f"making a database of {people:,} people, which later runs use again")
        making = f"{name}_making"  # an interrupted attempt must not pass for a filled one
        server.create_database(making)
        migrate.upgrade(server.url(making))
        _seed(server.url(making), people, say)
        # The generator writes person by person. In a community stories lie as they were written.
        server.psql("CLUSTER stories USING idx_stories_created", making)
        server.psql("VACUUM ANALYZE stories", making)
        server.psql(f'ALTER DATABASE "{making}" RENAME TO "{name}"')
        server.psql("CHECKPOINT")
    return Database(server, name, people)


def _origin() -> str:
    generator = Path(seeding.__file__).parent
    files = sorted([*(revisions.folder() / "versions").glob("*.py"), *generator.glob("*.py")])
    digest = hashlib.blake2b(digest_size=4)
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _seed(url: str, people: int, say: Say) -> None:
    shown: set[tuple[str, int]] = set()

    def progress(what: str, done: int, total: int) -> None:
        quarter = (what, 4 * done // max(total, 1))
        if quarter not in shown:
            shown.add(quarter)
            say(f"seeding {what}: {done:,} of {total:,}")

    asyncio.run(filling.fill(url, people=people, seed=SEED, progress=progress))


class Recording:
    """What clients have the server run in one database, by its own log.

    A message that holds several statements, such as ``BEGIN; SET ...``, is one entry.
    """

    def __init__(self, database: Database) -> None:
        self._server, self._name = database.server, database.name
        self._log = self._server.folder / "postgres.log"

    def __enter__(self) -> Recording:
        self._server.psql("ALTER SYSTEM SET log_statement = 'all'")
        self._server.psql(f"ALTER SYSTEM SET log_line_prefix = '{PREFIX}'")
        self._reload()
        return self

    def __exit__(self, *problem: object) -> None:
        self._server.psql("ALTER SYSTEM RESET log_statement")
        self._server.psql("ALTER SYSTEM RESET log_line_prefix")
        self._reload()

    def statements(self, work: Callable[[], None]) -> list[str]:
        """The statements that run during ``work``."""
        start = self._log.stat().st_size
        work()
        time.sleep(0.05)  # a statement is logged when it begins, but the file may lag behind
        with self._log.open("rb") as file:
            file.seek(start)
            return logged(file.read().decode(errors="replace"), self._name)

    def _reload(self) -> None:
        self._server.psql("SELECT pg_reload_conf()")
        time.sleep(0.3)  # the running sessions notice before their next statement


def logged(text: str, database: str) -> list[str]:
    """The statements in a database, in a piece of the server's log, but for CLOCKWORK's."""
    _, *parts = STATEMENT.split(text)
    sessions: dict[str, list[str]] = {}
    for name, session, statement in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        if name != database:
            continue
        if not any(words in statement for words in CLOCKWORK):
            sessions.setdefault(session, []).append(statement)
    return [statement for listed in sessions.values() for statement in listed]
