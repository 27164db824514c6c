"""Show on stderr how a training goes: a bar on a terminal, else one line per epoch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from edgernn.tasks.base import Metric
from edgernn.training.runs import EpochRecord


@dataclass(frozen=True)
class Progress:
    """Say how far a training is.

    Attributes:
        epoch: The epoch being trained, or that has just ended, from 1.
        epochs: Upper bound; early stopping may end before it.
        step: Optimizer steps done in this epoch.
        steps: Optimizer steps of one epoch.
        loss: Mean training loss of the epoch so far.
        metric: What the validation measures.
        record: The latest finished epoch, or None before the first has ended.
        best: The best finished epoch, or None likewise.
        seconds_left: Time until the last epoch ends, or None before the first step.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    metric: Metric
    record: EpochRecord | None
    best: EpochRecord | None
    seconds_left: float | None

    @property
    def epoch_ended(self) -> bool:
        """Whether this reports the end of an epoch, validation included."""
        return self.record is not None and self.record.epoch == self.epoch


OnProgress = Callable[[Progress], None]


@contextmanager
def show_progress(stream: TextIO | None = None) -> Iterator[OnProgress]:
    """Yield a function to give to `edgernn.training.train` as ``on_progress``.

    Args:
        stream: Where to write, or None for stderr.

    Example:
        >>> with show_progress() as on_progress:  # doctest: +SKIP
        ...     train(task, config, options, on_progress=on_progress)
    """
    stream = sys.stderr if stream is None else stream
    if not stream.isatty():
        yield lambda progress: _print_line(progress, stream)
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]}"))
    with Bar(*columns, console=Console(file=stream)) as bar:
        line = bar.add_task("starting", total=None, words="")

        def show(progress: Progress) -> None:
            bar.update(
                line,
                description=f"epoch {progress.epoch}/{progress.epochs}",
                total=progress.epochs * progress.steps,
                completed=(progress.epoch - 1) * progress.steps + progress.step,
                words=describe(progress),
            )

        yield show


def describe(progress: Progress) -> str:
    """Say the loss, the validation metric and the time left in one line of text."""
    words = f"loss {progress.loss:.4f}"
    if progress.record is not None and progress.best is not None:
        words += f"  validation {progress.metric.name} {progress.record.validation:.4f}"
        words += f" (best {progress.best.validation:.4f})"
    if progress.seconds_left is not None:
        minutes, seconds = divmod(round(progress.seconds_left), 60)
        words += f"  {minutes}:{seconds:02d} left"
    return words


def _print_line(progress: Progress, stream: TextIO) -> None:
    if progress.epoch_ended:
        line = f"epoch {progress.epoch}/{progress.epochs}  {describe(progress)}"
        print(line, file=stream, flush=True)
