"""What the commands say: results on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Never

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from community_gql.settings import OperatorError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def fail(text: str) -> Never:
    """End the command with ``text`` as its error."""
    raise OperatorError(text)


def say(text: str) -> None:
    """Say on stderr what happens now; stdout is for results."""
    err.print(f"[dim]·[/dim] {escape(text)}", soft_wrap=True)


@contextlib.contextmanager
def shown_progress(doing: str) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function of (what, done, total): a bar per kind of row, or lines without a tty."""
    if not err.is_terminal:
        shown: set[tuple[str, int]] = set()

        def line(what: str, done: int, total: int) -> None:
            quarter = (what, 4 * done // max(total, 1))
            if quarter not in shown:
                shown.add(quarter)
                say(f"{doing} {what}: {done:,} of {total:,}")

        yield line
        return
    columns = (
        TextColumn("[dim]·[/dim] {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err) as bars:
        tasks = {}

        def bar(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(f"{doing} {what}", total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield bar
