"""The process that serves for ``community-gql dev``; a new one for each change of the code.

Its arguments: SOCKET (an open descriptor), PORT, DATABASE_URL.
"""

from __future__ import annotations

import functools
import os
import signal
import socket
import sys
import threading

from rich.markup import escape

from community_gql.cli.console import err, say
from community_gql.cli.refreshing import refreshed
from community_gql.cli.reload import end_with_parent
from community_gql.cli.serve import serve_on
from community_gql.settings import OperatorError, Settings

DEV_HOST = "127.0.0.1"  # the development issuer signs for anyone: never reachable from outside


def serve_development(
    listener: socket.socket, settings: Settings, *, handed_on: bool = False
) -> None:
    """Serve the database of the settings with the development issuer until a signal."""
    from community_gql.app import create_app
    from community_gql.dev.seeding import known_people
    from community_gql.identity.development import DevelopmentIssuer

    issuer = DevelopmentIssuer(settings.data_dir / "issuer")
    people = functools.partial(known_people, settings.database_url)
    application = create_app(settings, development=issuer, people=people)
    with refreshed(settings):
        serve_on(listener, application, settings, handed_on=handed_on)


def main() -> int:
    """Migrate what is new and serve; the exit status."""
    number, port, url = sys.argv[1:]
    end = functools.partial(os.kill, os.getpid(), signal.SIGTERM)
    threading.Thread(target=end_with_parent, args=[end], daemon=True).start()
    try:
        settings = Settings.load(database_url=url, port=int(port))

        from community_gql.db import migrate

        migrate.upgrade(url, say=say)
        with socket.socket(fileno=int(number)) as listener:
            served = settings.model_copy(update={"host": DEV_HOST})
            serve_development(listener, served, handed_on=True)
    except OperatorError as error:
        err.print(f"[bold red]error:[/bold red] {escape(str(error))}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
