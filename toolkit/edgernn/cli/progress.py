"""The bar that commands show while they work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Show(Protocol):
    """Move a bar."""

    def __call__(self, done: int, total: int, words: str | None = None) -> None:
        """Show what is done, of how much, and other words if there are."""


@contextmanager
def progress_bar(words: str) -> Iterator[Show]:
    """Show a bar on stderr if it is a terminal.

    Args:
        words: What stands before the bar at first.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Left

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Left())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as shown:
        line = shown.add_task(words, total=None)

        def show(done: int, total: int, words: str | None = None) -> None:
            new = words is not None and words != shown.tasks[0].description
            # What is done now is seen however soon it is over; numbers are redrawn in their time.
            shown.update(line, description=words, completed=done, total=total, refresh=new)

        yield show
