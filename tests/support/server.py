"""The product in a process of its own, on a TCP port: for tests that need a real server.

python tests/support/server.py PORT ISSUER_FOLDER    (DATABASE_URL in the environment)
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from community_gql.app import create_app
from community_gql.cli.serve import listen, serve_on
from community_gql.dev.seeding import known_people
from community_gql.identity.development import DevelopmentIssuer
from community_gql.settings import Settings
from community_gql.settings.checks import plain_address


@contextmanager
def process(
    database_url: str, issuer: Path, port: int, **settings: object
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that answers on the port of this machine; killed at the end of the block."""
    unwanted = {name.upper() for name in Settings.model_fields} | {"AUTH0_DOMAIN"}
    kept = {key: item for key, item in os.environ.items() if key not in unwanted}
    made = subprocess.Popen(
        [sys.executable, __file__, str(port), str(issuer)],
        env=kept
        | {"DATABASE_URL": plain_address(database_url)}
        | {name.upper(): str(value) for name, value in settings.items()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 180
        while not _answers(port):
            assert made.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.05)
        yield made
    finally:
        made.kill()
        made.wait()


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2).close()
    except urllib.error.HTTPError as refused:
        refused.close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    settings = Settings.load(port=int(sys.argv[1]))
    application = create_app(
        settings,
        development=DevelopmentIssuer(Path(sys.argv[2])),
        people=functools.partial(known_people, settings.database_url),
    )
    with listen("127.0.0.1", settings.port) as listener:
        serve_on(listener, application, settings)
