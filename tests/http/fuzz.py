"""``make fuzz``: schemathesis against a real server with a small seeded community.

Queries and mutations by chance, made from the schema that the server shows, sent by one of the
founders. Fails on an answer that ``fuzz_hooks.py`` does not accept, and on a fault in the log.
"""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from community_gql.app import create_app
from community_gql.db import migrate
from community_gql.dev import seeding
from community_gql.dev.embedded import EmbeddedPostgres
from community_gql.http.config import BoundedConfig
from community_gql.http.limits import ConnectionLimits
from community_gql.http.server import DrainingServer
from community_gql.identity.development import DevelopmentIssuer
from community_gql.settings import Settings
from tests.http.server import HOST, free_port

HOOKS = Path(__file__).with_name("fuzz_hooks.py")


class Loud(logging.Handler):
    """Keeps what is louder than info."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def served(settings: Settings, issuer: DevelopmentIssuer) -> Iterator[None]:
    """The app with the development issuer, in a thread."""
    config = BoundedConfig(
        create_app(settings, development=issuer),
        limits=ConnectionLimits.of(settings),
        host=HOST,
        port=settings.port,
        log_level="warning",
    )
    server = DrainingServer(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def main(schemathesis: str, *options: str) -> int:
    """Run it; the exit code for the shell."""
    loud = Loud()
    logging.getLogger("community_gql").addHandler(loud)
    with EmbeddedPostgres.start_throwaway() as postgres, tempfile.TemporaryDirectory() as folder:
        postgres.create_database("community")
        url = postgres.url("community")
        migrate.upgrade(url)
        asyncio.run(seeding.seed(url, people=40, progress=lambda *_: None))
        (founder, *_) = asyncio.run(seeding.known_people(url, 1))
        issuer = DevelopmentIssuer(Path(folder))
        token = issuer.token(founder.auth0_sub, permissions=sorted(founder.permissions))
        settings = Settings.load(database_url=url, port=free_port(), cost_per_minute=10**12)
        with served(settings, issuer):
            done = subprocess.run(
                [
                    schemathesis, "run", f"http://{HOST}:{settings.port}/graphql",
                    "--header", f"Authorization: Bearer {token}",
                    "--checks", "answered_well", "--no-color", *options,
                ],
                env=os.environ | {"SCHEMATHESIS_HOOKS": str(HOOKS)},
            )  # fmt: skip
    for line in loud.lines:
        print(line)  # noqa: T201
    return 1 if loud.lines else done.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
