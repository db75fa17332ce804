"""Matches that keep up with what people change, beside the server of ``community-gql dev``."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from community_gql.cli.console import say
from community_gql.settings import OperatorError, Settings

FIRST_SECONDS, PAUSE_SECONDS = 2.0, 10.0


@contextlib.contextmanager
def refreshed(settings: Settings) -> Iterator[None]:
    """Bring the matches up to date again and again during the block, in a thread."""
    stop = threading.Event()
    thread = threading.Thread(target=refresh, args=(settings, stop), daemon=True)
    if settings.matching != "machine":
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if thread.is_alive():
            thread.join(timeout=5)


def refresh(settings: Settings, stop: threading.Event) -> None:
    """Run until ``stop``; a problem is said once."""
    stop.wait(FIRST_SECONDS)  # the server starts first
    try:
        from community_gql.matching import running
    except ImportError as error:
        say(f"matches are not computed: {error}. pip install 'community-gql[matching]'")
        return
    said = ""
    while not stop.is_set():
        work = running.run(settings.database_url, settings.matching, lambda *_: None, adopt=True)
        try:
            asyncio.run(work)
            said = ""
        except OperatorError as error:
            if not stop.is_set() and said != str(error):
                said = str(error)
                say(f"matching: {error}")
        stop.wait(PAUSE_SECONDS)
