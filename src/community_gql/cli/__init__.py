"""The commands: ``dev``, ``serve``, ``explain``, ``stats``, ``db``, ``tags``, ``matching``, ...

Only the modules of this package may import inside functions: importing SQLAlchemy, Alembic and
Strawberry takes more than half a second, and ``--help`` or a mistyped option should be quick.
"""


def main() -> None:
    """Run the command line; report a user's mistake as a sentence, not a traceback."""
    # Each worker of `serve` imports the script that started it, and has no use for the commands.
    from community_gql.cli.commands import run

    run()
