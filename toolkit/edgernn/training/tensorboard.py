"""Log the epochs of a training for TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgernn.errors import OutputError
from edgernn.extras import needs
from edgernn.training.progress import OnProgress, Progress


@contextmanager
def log_to_tensorboard(folder: str | Path) -> Iterator[OnProgress]:
    """Yield a function to give to `edgernn.training.train` as ``on_progress``.

    Each epoch that ends adds ``loss/train``, ``validation/METRIC``, ``learning_rate`` and
    ``seconds``. Of a run that is continued, the epochs after the last that was kept are replaced.

    Args:
        folder: Where to write; ``tensorboard --logdir`` takes it, or a folder above it.

    Raises:
        OutputError: The folder cannot be written.
        TargetUnavailable: The package is missing.

    Example:
        >>> with log_to_tensorboard("runs/kw") as on_progress:  # doctest: +SKIP
        ...     train(task, config, options, on_progress=on_progress)
    """
    with needs("tensorboard"):
        from tensorboardX import SummaryWriter
    writers: list[SummaryWriter] = []

    def log(progress: Progress) -> None:
        record = progress.record
        if record is None or not progress.epoch_ended:
            return
        if not writers:  # not before an epoch has ended: nothing empty is left where one fails
            try:
                writers.append(SummaryWriter(str(folder), purge_step=record.epoch))
            except OSError as error:
                raise OutputError(
                    f"cannot write {folder}: {error.strerror or error}; choose another folder"
                ) from None
        values = {
            "loss/train": record.train_loss,
            f"validation/{progress.metric.name}": record.validation,
            "learning_rate": record.learning_rate,
            "seconds": record.seconds,
        }
        for name, value in values.items():
            writers[0].add_scalar(name, value, record.epoch)
        writers[0].flush()

    try:
        yield log
    finally:
        for writer in writers:
            writer.close()
